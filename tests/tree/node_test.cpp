// Nodes: what a slotted page keeps, and what damaged ones do.
#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "support/catch.hpp"
#include "tree/node.hpp"

namespace {

using namespace firn;
using namespace firn::tree;

using Pairs = std::map<std::string, std::string>;

// A leaf in memory beside a map.
struct LeafModel {
  explicit LeafModel(unsigned leaf_class, const Fences& fences = {})
      : page(buffer::page_bytes(leaf_class)), scratch(page.size()) {
    NodeEditor::make(page.data(), page.size(), 0, 7, fences, true).finish();
  }
  NodeEditor editor() { return {page.data(), page.size()}; }
  NodeReader reader() {
    NodeReader reader(page.data(), page.size());
    REQUIRE(reader.open(0, 7, true));
    return reader;
  }
  bool put(const std::string& key, const std::string& value) {
    NodeReader::Found found = reader().find(Bytes(std::string_view(key)), nullptr);
    NodeEditor node = editor();
    if (found.equal) {
      if (!node.replace_value(found.index, Bytes(std::string_view(value)), false, scratch.data())) {
        return false;
      }
    } else {
      if (!node.fits(node.entry_size(key.size(), value.size()))) return false;
      node.insert_value(found.index, Bytes(std::string_view(key)), Bytes(std::string_view(value)),
                        false, scratch.data());
    }
    node.finish();
    pairs[key] = value;
    return true;
  }
  void erase(const std::string& key) {
    const NodeReader::Found found = reader().find(Bytes(std::string_view(key)), nullptr);
    REQUIRE(found.equal == (pairs.count(key) == 1));
    if (!found.equal) return;
    NodeEditor node = editor();
    node.erase(found.index);
    node.finish();
    pairs.erase(key);
  }
  static Pairs content(const std::byte* bytes, std::size_t size) {
    NodeReader reader(bytes, size);
    REQUIRE(reader.open(0, 7, true));
    Pairs all;
    for (std::uint32_t index = 0; index < reader.count(); ++index) {
      std::string key(reader.key_size(index), '\0');
      REQUIRE(reader.copy_key(index, reinterpret_cast<std::byte*>(key.data())));
      const ValuePlace place = reader.value(index);
      std::string value(place.size, '\0');
      REQUIRE(reader.copy(value.data(), place.offset, place.size));
      all[key] = value;
    }
    return all;
  }
  void check() {
    REQUIRE(content(page.data(), page.size()) == pairs);
    for (const auto& [key, value] : pairs) {
      REQUIRE(reader().find(Bytes(std::string_view(key)), nullptr).equal);
    }
  }
  std::vector<std::byte> image() {
    format::PageHeader head;
    std::memcpy(&head, page.data(), sizeof head);
    std::vector<std::byte> made(page.size());
    made.resize(serialize_node(page.data(), made.data()));
    made.resize(page.size());
    return made;
  }

  std::vector<std::byte> page;
  std::vector<std::byte> scratch;
  Pairs pairs;
};

std::string random_key(base::Random& random, const std::string& prefix) {
  std::string key = prefix;
  const std::size_t size = random.below(12);
  for (std::size_t at = 0; at < size; ++at) {
    key.push_back(static_cast<char>(random.one_in(3) ? 0 : random.below(4)));
  }
  return key;
}

constexpr std::uint64_t page_id_bits = (std::uint64_t{1} << 44) | 5;

}  // namespace

TEST_CASE("leaf: a leaf without fences stays valid when its first payload goes", "[leaf]") {
  LeafModel leaf(1);
  for (const char* key : {"a", "b", "c"}) REQUIRE(leaf.put(key, std::string(30, 'v')));
  leaf.page = leaf.image();  // the empty fences lie before the payloads
  const PageSlot page = PageSlot::from_bits(page_id_bits);
  for (const char* key : {"a", "b", "c"}) {
    leaf.erase(key);
    const auto image = leaf.image();
    CHECK(validate_node(page, Bytes(image.data(), image.size())).has_value());
  }
}

TEST_CASE("leaf: random pairs are kept in order through changes and compactions", "[leaf]") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    base::Random random(seed);
    const std::string prefix(random.below(20), 'p');
    const std::string upper = prefix + "\xff";
    const bool bounded = random.one_in(2);
    LeafModel leaf(static_cast<unsigned>(random.below(3)),
                   bounded ? Fences{Bytes(std::string_view(prefix)), Bytes(std::string_view(upper)),
                                    true, true}
                           : Fences{});
    for (int step = 0; step < 3000; ++step) {
      const std::string key = random_key(random, prefix);
      if (random.one_in(4)) {
        leaf.erase(key);
      } else {
        static_cast<void>(leaf.put(key, std::string(random.below(60), 'v')));
      }
      if (step % 500 == 0) leaf.check();
    }
    leaf.check();
  }
}

TEST_CASE("leaf: an image holds the same pairs and can be changed again", "[leaf]") {
  base::Random random(3);
  LeafModel leaf(1);
  for (int step = 0; step < 400; ++step) {
    static_cast<void>(leaf.put(random_key(random, "some/"), std::string(random.below(40), 'x')));
    if (random.one_in(3)) leaf.erase(random_key(random, "some/"));
  }
  const auto image = leaf.image();
  REQUIRE(LeafModel::content(image.data(), image.size()) == leaf.pairs);
  leaf.page = image;
  for (int step = 0; step < 400; ++step) {
    static_cast<void>(leaf.put(random_key(random, "some/"), std::string(random.below(40), 'y')));
  }
  leaf.check();
  const auto again = leaf.image();
  REQUIRE(validate_node(PageSlot::from_bits(page_id_bits), Bytes(again.data(), again.size()))
              .has_value());
}

TEST_CASE("leaf: damaged bytes are refused or read without harm", "[leaf]") {
  base::Random random(11);
  LeafModel leaf(1);
  while (leaf.put(random_key(random, "k") + std::to_string(random.below(1000)),
                  std::string(random.below(80), 'z'))) {
  }
  const auto image = leaf.image();
  std::uint64_t refused = 0;
  for (int round = 0; round < 60000; ++round) {
    // On the heap at its exact size, so that a sanitizer sees what reads beyond it.
    auto bytes = std::vector<std::byte>(image);
    const std::size_t flips = 1 + random.below(4);
    for (std::size_t flip = 0; flip < flips; ++flip) {
      const std::size_t at =
          random.one_in(2) ? node_head_at + random.below(200) : random.below(bytes.size());
      bytes[at] = static_cast<std::byte>(random.below(256));
    }
    const bool valid =
        validate_node(PageSlot::from_bits(page_id_bits), Bytes(bytes.data(), bytes.size()))
            .has_value();
    refused += !valid;
    NodeReader reader(bytes.data(), bytes.size());
    if (!reader.open(0, 7, true)) continue;
    const std::string key = random_key(random, "k");
    const auto found = reader.find(Bytes(std::string_view(key)), nullptr);
    REQUIRE((reader.bad() || found.index <= reader.count()));
    std::byte copy[4096];
    for (std::uint32_t index = 0; index < reader.count() && !reader.bad(); ++index) {
      const ValuePlace place = reader.value(index);
      if (place.size <= sizeof copy) reader.copy(copy, place.offset, place.size);
      if (reader.key_size(index) <= sizeof copy) reader.copy_key(index, copy);
    }
    if (valid) {  // what passes may be changed
      LeafModel changed(1);
      changed.page = bytes;
      NodeEditor node = changed.editor();
      if (node.count() > 0) node.erase(0);
      std::vector<std::byte> scratch(bytes.size());
      if (node.fits(node.entry_size(64, 600))) {
        node.insert_value(node.count(), Bytes(std::string_view(std::string(64, 'q'))),
                          Bytes(std::string_view(std::string(600, 'q'))), false, scratch.data());
      }
      node.finish();
    }
  }
  CHECK(refused > 20000);
}

TEST_CASE("leaf: a search finds what a plain one finds in nodes of every shape", "[leaf]") {
  base::Random random(17);
  std::uint64_t counts_met[4] = {};  // empty, without hints, with hints, of hundreds
  for (int round = 0; round < 900; ++round) {
    // Few bytes differ, so heads are equal often; keys end within the head, or far behind it.
    const std::string prefix(random.one_in(2) ? 0 : 1 + random.below(20), 'p');
    const std::string upper = prefix + "\xff";
    const bool bounded = random.one_in(2);
    LeafModel leaf(4, bounded ? Fences{Bytes(std::string_view(prefix)),
                                       Bytes(std::string_view(upper)), true, true}
                              : Fences{});
    const std::uint64_t letters = random.one_in(2) ? 2 + random.below(3) : 256;
    const std::string shared(random.one_in(2) ? 0 : random.below(24), 's');
    const std::size_t tail_max = 1 + random.below(random.one_in(2) ? 5 : 30);
    const auto make_key = [&] {
      std::string key = prefix;
      if (!random.one_in(8)) key += shared;
      for (std::size_t size = random.below(tail_max + 1); size > 0; --size) {
        key.push_back(static_cast<char>(random.below(letters)));
      }
      if (bounded && key >= upper) key = prefix;
      return key;
    };
    const std::uint64_t most = random.one_in(3) ? 800 : random.one_in(2) ? 80 : 8;
    for (std::uint64_t wanted = random.below(most + 1); wanted > 0; --wanted) {
      static_cast<void>(leaf.put(make_key(), "v"));
    }
    const std::size_t count = leaf.pairs.size();
    ++counts_met[count == 0 ? 0 : count < 32 ? 1 : count < 200 ? 2 : 3];
    REQUIRE(leaf.content(leaf.page.data(), leaf.page.size()) == leaf.pairs);
    const auto look_for = [&](const std::string& key) {
      const auto place = leaf.pairs.lower_bound(key);
      const auto found = leaf.reader().find(Bytes(std::string_view(key)), nullptr);
      REQUIRE(found.index == static_cast<std::uint32_t>(std::distance(leaf.pairs.begin(), place)));
      REQUIRE(found.equal == (place != leaf.pairs.end() && place->first == key));
    };
    for (int looks = 0; looks < 60; ++looks) look_for(make_key());
    for (const auto& [key, value] : leaf.pairs) {
      if (!random.one_in(1 + count / 20)) continue;
      look_for(key);
      look_for(key + std::string(1, '\0'));
      if (key.size() > prefix.size()) look_for(key.substr(0, key.size() - 1));
    }
  }
  for (const std::uint64_t met : counts_met) CHECK(met > 20);
}

TEST_CASE("leaf: separators are as short as they can be", "[leaf]") {
  const auto size = [](std::string_view left, std::string_view right) {
    return separator_size(Bytes(left), Bytes(right));
  };
  CHECK(size("apple", "banana") == 1);
  CHECK(size("banana", "bandit") == 4);
  CHECK(size("ban", "band") == 4);
  CHECK(size("", "x") == 1);
}
