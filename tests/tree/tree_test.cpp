// Trees against a map: alone, with many operations under way, with keys of every size, in pools so
// small that eviction never rests.
#include <algorithm>

#include "base/yield.hpp"
#include "support/catch.hpp"
#include "tree/tree_world.hpp"

namespace {

using namespace firn;
using namespace firn::test;

using Pairs = std::map<std::string, std::string>;

struct Mix {
  std::uint64_t keys = 400;
  std::size_t key_size_max = 12;
  std::size_t value_size_max = 80;
  bool rarely_large = false;
};

std::string key_of(std::uint64_t number, const Mix& mix) {
  base::Random random(number * 977 + 5);
  std::string key = random.one_in(2) ? "common/prefix/" : "";
  const std::size_t size = 1 + random.below(mix.key_size_max);
  for (std::size_t at = 0; at < size; ++at) key.push_back(static_cast<char>(random.below(256)));
  return key + std::to_string(number);
}

std::string value_of(base::Random& random, const Mix& mix) {
  std::size_t size = random.below(mix.value_size_max + 1);
  if (mix.rarely_large && random.one_in(40)) size = random.below(60000);
  return std::string(size, static_cast<char>('a' + random.below(26)));
}

std::strong_ordering backwards(Bytes left, Bytes right) noexcept { return right <=> left; }

void compare_all(TreeWorld& tree, const Pairs& model, bool disturbed = false) {
  const tree::Census census = tree.census();
  if (!disturbed) CHECK(census.pairs == model.size());
  // Forward and backward.
  for (const bool forward : {true, false}) {
    TreeCursor cursor;
    Pairs met;
    std::string before;
    Target target = forward ? Target::first : Target::last;
    while (tree.move(cursor, target)) {
      const std::string key(cursor.shown.key.view().text());
      if (target == Target::after || target == Target::before) {
        const bool ascending = forward == (tree.shape.compare == nullptr);
        REQUIRE((ascending ? before < key : key < before));
      }
      if (key.back() != '~') met[key] = std::string(cursor.shown.value.text());
      before = key;
      target = forward ? Target::after : Target::before;
    }
    REQUIRE(met == model);
  }
}

void random_history(const TreeWorldOptions& options, const Mix& mix, int steps) {
  TreeWorld tree(options);
  base::Random random(options.seed);
  Pairs model;
  for (int step = 0; step < steps; ++step) {
    // Phases in which the tree grows and shrinks.
    const bool shrinking = (step / (steps / 6 + 1)) % 2 == 1;
    const std::string key = key_of(random.below(mix.keys), mix);
    const bool there = model.count(key) == 1;
    const auto what = random.below(10);
    if (what < 2) {
      const auto found = tree.lookup(key);
      REQUIRE(found.has_value() == there);
      if (there) REQUIRE(*found == model[key]);
    } else if (what < (shrinking ? 8u : 4u)) {
      REQUIRE(tree.write(Write::erase, key) == there);
      model.erase(key);
    } else {
      const std::string value = value_of(random, mix);
      const Write kind = what == 8 ? Write::update : what == 9 ? Write::insert : Write::put;
      const bool expected = kind == Write::put || (kind == Write::update ? there : !there);
      REQUIRE(tree.write(kind, key, value) == expected);
      if (expected) model[key] = value;
    }
    if (random.one_in(static_cast<std::uint64_t>(steps / 4))) {
      REQUIRE(tree.world.checkpoint().has_value());
    }
  }
  compare_all(tree, model);
  for (const auto& [key, value] : model) REQUIRE(tree.write(Write::erase, key));
  const tree::Census census = tree.census();
  CHECK(census.pairs == 0);
  CHECK(census.leaf_pages <= 3);
}

// At yield points, in the midst of steps, others run: what is ready, and writes of keys that end
// with
// '~', which split and merge the leaves under everybody's feet.
struct Yielding {
  explicit Yielding(TreeWorld& its_tree) : tree(its_tree) {
    active = this;
    base::yield_hook.store([](const char*) noexcept { active->run_another(); });
  }
  ~Yielding() {
    base::yield_hook.store(nullptr);
    active = nullptr;
    REQUIRE(tree.world.executors.run([&] {
      return std::all_of(writes.begin(), writes.end(), [](const auto& its) { return its->done(); });
    }));
  }
  void run_another() {
    if (depth >= 2) return;
    ++depth;
    Executors& executors = tree.world.executors;
    while (executors.random().one_in(4) && executors.tick_one()) {
    }
    std::erase_if(writes, [](const auto& its) { return its->done(); });
    if (executors.random().one_in(6) && writes.size() < 8) {
      auto& its = *writes.emplace_back(tree.operation());
      its.deed = TreeDeed::write;
      its.kind = executors.random().one_in(2) ? Write::put : Write::erase;
      its.key = key_of(executors.random().below(1500), {}) + "~";
      its.value = std::string(executors.random().below(700), '~');
      static_cast<void>(its.post(executors.executor(executors.random().below(3))));
    }
    --depth;
  }
  static Yielding* active;
  TreeWorld& tree;
  std::vector<std::unique_ptr<TreeOperation>> writes;
  int depth = 0;
};
Yielding* Yielding::active = nullptr;

}  // namespace

TEST_CASE("tree: a random history agrees with a map", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    random_history({.seed = seed, .leaf_class = static_cast<unsigned>(seed % 3)}, {}, 4000);
  }
}

TEST_CASE("tree: keys and values of every size find room", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const Mix mix{.keys = 120, .key_size_max = 1900, .value_size_max = 3000, .rarely_large = true};
    random_history({.seed = seed, .leaf_class = static_cast<unsigned>(seed % 4)}, mix, 1200);
    random_history(
        {.seed = seed, .leaf_class = static_cast<unsigned>(seed % 3), .compare = &backwards}, mix,
        1200);
  }
}

TEST_CASE("tree: a pool of a few frames suffices", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    random_history({.seed = seed, .leaf_class = 0, .frame_bytes = 400 * 1024},
                   {.keys = 4000, .value_size_max = 300}, 6000);
  }
}

TEST_CASE("tree: keys in order fill the leaves", "[tree]") {
  TreeWorld tree({.leaf_class = 1});
  for (int number = 0; number < 4000; ++number) {
    char key[17];
    std::snprintf(key, sizeof key, "%016d", number);
    REQUIRE(tree.write(Write::insert, key, std::string(100, 'v')));
  }
  const tree::Census census = tree.census();
  CHECK(census.pairs == 4000);
  CHECK(census.leaf_used_bytes * 100 >= census.leaf_capacity_bytes * 85);
}

TEST_CASE("tree: rows of keys between others and cursors past empty leaves", "[tree]") {
  const auto key_at = [](char row, int number) {
    char key[17];
    std::snprintf(key, sizeof key, "%c%06d", row, number);
    return std::string(key);
  };
  // Over all of these some leaf begins with the first 'c', and some leaf loses just all its keys,
  // and stays, because its neighbours are full.
  for (int shift = 0; shift < 36; ++shift) {
    TreeWorld tree({.leaf_class = 0});
    Pairs model;
    for (const char row : {'a', 'c', 'b'}) {
      for (int number = 0; number < (row == 'a' ? 100 + shift : 70); ++number) {
        const std::string key = key_at(row, number);
        REQUIRE(tree.write(Write::insert, key, std::string(100, row)));
        model[key] = std::string(100, row);
      }
    }
    compare_all(tree, model);
    for (int number = 20 + shift; number < 54 + shift; ++number) {
      REQUIRE(tree.write(Write::erase, key_at('a', number)));
      model.erase(key_at('a', number));
    }
    compare_all(tree, model);
  }
}

TEST_CASE("tree: keys in random order fill the leaves to two thirds", "[tree]") {
  TreeWorld tree({.leaf_class = 1});
  base::Random random(5);
  for (int number = 0; number < 6000; ++number) {
    static_cast<void>(
        tree.write(Write::put, std::to_string(random.below(1ULL << 60)), std::string(100, 'v')));
  }
  const tree::Census census = tree.census();
  CHECK(census.leaf_used_bytes * 100 >= census.leaf_capacity_bytes * 65);
}

TEST_CASE("tree: a comparator of the user's decides the order", "[tree]") {
  TreeWorld tree({.leaf_class = 0, .compare = &backwards});
  Pairs model;
  base::Random random(9);
  for (int step = 0; step < 3000; ++step) {
    const std::string key = key_of(random.below(500), {});
    if (random.one_in(3)) {
      REQUIRE(tree.write(Write::erase, key) == (model.erase(key) == 1));
    } else {
      REQUIRE(tree.write(Write::put, key, "x"));
      model[key] = "x";
    }
  }
  CHECK(tree.census().pairs == model.size());
  TreeCursor cursor;
  Target target = Target::first;
  for (auto expected = model.rbegin(); expected != model.rend(); ++expected) {
    REQUIRE(tree.move(cursor, target));
    REQUIRE(cursor.shown.key.view().text() == expected->first);
    target = Target::after;
  }
}

TEST_CASE("tree: many operations under way agree with a map of their keys", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    TreeWorld tree({.seed = seed,
                    .leaf_class = static_cast<unsigned>(seed % 2),
                    .frame_bytes = seed % 2 == 0 ? 600ULL * 1024 : 0});
    base::Random random(seed);
    const Mix mix{.keys = 1500, .value_size_max = 200, .rarely_large = seed % 4 == 0};
    Pairs model;
    struct Flight {
      std::unique_ptr<TreeOperation> operation;
      std::uint64_t number = 0;
      bool expected = false;
    };
    std::vector<Flight> flights(24);
    std::vector<bool> busy(mix.keys);
    const auto land = [&](Flight& flight) {
      if (flight.operation == nullptr || !flight.operation->done()) return;
      TreeOperation& its = *flight.operation;
      if (!its.result().has_value()) FAIL(its.result().error().message());
      REQUIRE(*its.result() == flight.expected);
      if (its.deed == TreeDeed::lookup && flight.expected) REQUIRE(*its.found == model[its.key]);
      if (its.deed == TreeDeed::write && flight.expected) {
        if (its.kind == Write::erase) {
          model.erase(its.key);
        } else {
          model[its.key] = its.value;
        }
      }
      busy[flight.number] = false;
      flight.operation.reset();
    };
    std::optional<Yielding> others(tree);
    for (int step = 0; step < 12000; ++step) {
      Flight& flight = flights[random.below(flights.size())];
      land(flight);
      const std::uint64_t number = random.below(mix.keys);
      if (flight.operation == nullptr && !busy[number]) {
        flight.operation = tree.operation();
        TreeOperation& its = *flight.operation;
        its.key = key_of(number, mix);
        flight.number = number;
        busy[number] = true;
        const bool there = model.count(its.key) == 1;
        const bool shrinking = (step / 2000) % 2 == 1;
        const auto what = random.below(10);
        flight.expected = there;
        if (what >= 3) {
          its.deed = TreeDeed::write;
          its.kind = what < (shrinking ? 8u : 5u) ? Write::erase : Write::put;
          its.value = value_of(random, mix);
          if (its.kind == Write::put) flight.expected = true;
        }
        REQUIRE(its.post(tree.world.executors.executor(random.below(3))).has_value());
      } else {
        static_cast<void>(tree.world.executors.tick_one());
      }
      if (step % 3000 == 2999) {
        REQUIRE(tree.world.checkpoint().has_value());
      }
    }
    REQUIRE(tree.world.executors.run([&] {
      return std::all_of(flights.begin(), flights.end(), [](const Flight& flight) {
        return flight.operation == nullptr || flight.operation->done();
      });
    }));
    for (Flight& flight : flights) land(flight);
    others.reset();
    compare_all(tree, model, true);
  }
}

TEST_CASE("tree: a lookup that waited finds its key where a split has put it", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    TreeWorld tree({.seed = seed});
    const auto key_of_number = [](int number) { return "key/" + std::to_string(1000 + number); };
    constexpr int count = 120;
    for (int number = 0; number < count; number += 3) {
      tree.write(Write::put, key_of_number(number), std::string(60, 'v'));
    }
    REQUIRE(tree.world.checkpoint().has_value());
    static_cast<void>(tree.world.pool->evict(~std::uint64_t{0} >> 1, 1 << 12));
    std::vector<std::unique_ptr<TreeOperation>> all;
    const auto post = [&](int number, TreeDeed deed, std::size_t executor) {
      all.push_back(tree.operation());
      TreeOperation& its = *all.back();
      its.deed = deed;
      its.key = key_of_number(number);
      its.value = std::string(200, 'w');
      REQUIRE(its.post(tree.world.executors.executor(executor)).has_value());
    };
    for (int number = 0; number < count; ++number) {
      if (number % 3 == 0) {
        post(number, TreeDeed::lookup, 0);
      } else {
        post(number, TreeDeed::write, 1 + static_cast<std::size_t>(number) % 2);
      }
    }
    REQUIRE(tree.world.executors.run([&] {
      return std::all_of(all.begin(), all.end(), [](const auto& its) { return its->done(); });
    }));
    for (const auto& its : all) {
      REQUIRE(its->result().has_value());
      REQUIRE(*its->result());
      if (its->deed == TreeDeed::lookup) REQUIRE(its->found == std::string(60, 'v'));
    }
  }
}

TEST_CASE("tree: cursors meet in order what is there throughout beside writers", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    TreeWorld tree({.seed = seed, .leaf_class = 0});
    base::Random random(seed);
    // Even numbers stay; odd ones come and go.
    const auto key_at = [](std::uint64_t number) {
      char key[17];
      std::snprintf(key, sizeof key, "%016llu", static_cast<unsigned long long>(number));
      return std::string(key);
    };
    constexpr std::uint64_t count = 600;
    for (std::uint64_t number = 0; number < count; number += 2) {
      REQUIRE(tree.write(Write::put, key_at(number), std::string(50, 'e')));
    }
    for (int round = 0; round < 4; ++round) {
      const bool forward = round % 2 == 0;
      TreeCursor cursor;
      std::vector<std::string> met;
      Target target = forward ? Target::first : Target::last;
      while (true) {
        auto move = tree.operation();
        move->move_with(cursor, target);
        REQUIRE(move->post(tree.world.executors.executor(0)).has_value());
        // Now and then only, or at each move.
        for (int writes = round < 2 && !random.one_in(8) ? 3 : 0; writes < 3; ++writes) {
          const std::uint64_t odd = random.below(count / 2) * 2 + 1;
          static_cast<void>(tree.write(random.one_in(2) ? Write::put : Write::erase, key_at(odd),
                                       std::string(random.below(200), 'o')));
        }
        REQUIRE(tree.world.executors.run([&] { return move->done(); }));
        if (!move->result().has_value()) FAIL(move->result().error().message());
        if (!*move->result()) break;
        const std::string key(cursor.shown.key.view().text());
        if (!met.empty()) REQUIRE((forward ? met.back() < key : key < met.back()));
        met.push_back(key);
        target = forward ? Target::after : Target::before;
      }
      std::size_t even = 0;
      for (const std::string& key : met) even += (key.back() - '0') % 2 == 0;
      CHECK(even == count / 2);
    }
  }
}

// Pairs that stay, and others that come and go at every yield point and between the moves: each
// move is judged by the pairs that stay.
TEST_CASE("tree: cursors that go on and turn and seek miss nothing that stays", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const bool by_bytes = seed % 4 != 3;
    TreeWorld tree({.seed = seed,
                    .leaf_class = static_cast<unsigned>(seed % 2),
                    .compare = by_bytes ? nullptr : &backwards,
                    .frame_bytes = seed % 2 == 0 ? 600ULL * 1024 : 0});
    base::Random random(seed);
    const auto less = [by_bytes](const std::string& left, const std::string& right) {
      return by_bytes ? left < right : right < left;
    };
    std::map<std::string, std::string, decltype(less)> model(less);
    const Mix mix{.keys = 500,
                  .key_size_max = seed % 3 == 0 ? 400u : 12u,
                  .value_size_max = 300,
                  .rarely_large = true};
    for (std::uint64_t number = 0; number < mix.keys; ++number) {
      const std::string key = key_of(number, mix);
      model[key] = value_of(random, mix);
      REQUIRE(tree.write(Write::put, key, model[key]));
    }
    tree.evict_all();
    Yielding others(tree);
    std::vector<TreeCursor> cursors(4);
    for (int step = 0; step < 6000; ++step) {
      const std::size_t which = random.below(cursors.size());
      TreeCursor& cursor = cursors[which];
      while (random.one_in(8)) others.run_another();
      const std::string key(cursor.shown.key.view().text());
      const std::string value(cursor.shown.value.text());
      if (random.one_in(4)) {  // what was written before a move is seen by it
        const auto next = model.upper_bound(key);
        const bool beside = next != model.end() && random.one_in(2);
        const std::string changed = beside ? next->first : key_of(random.below(mix.keys), mix);
        if (random.one_in(2)) {
          REQUIRE(tree.write(Write::erase, changed) == (model.erase(changed) == 1));
        } else {
          model[changed] = value_of(random, mix);
          REQUIRE(tree.write(Write::put, changed, model[changed]));
        }
      }
      Target target = which % 2 == 0 ? Target::after : Target::before;
      if (random.one_in(16)) target = target == Target::after ? Target::before : Target::after;
      if (key.empty() || random.one_in(64)) target = Target::at_or_after;
      // A key of nobody, or one that lies in what is shown.
      const std::string other = key_of(random.below(mix.keys * 2), mix);
      Bytes looked_for = target == Target::at_or_after ? bytes_of(other) : cursor.shown.key.view();
      if (target == Target::at_or_after && random.one_in(2) && value.size() > 3) {
        looked_for =
            Bytes(cursor.shown.value.data() + 1, std::min<std::size_t>(value.size() - 1, 9));
      }
      const std::string from(looked_for.text());
      const bool moved = tree.move(cursor, target, looked_for);
      const std::string to(cursor.shown.key.view().text());
      if (!moved) {
        REQUIRE(to == key);
        REQUIRE(cursor.shown.value.text() == value);
        if (target == Target::before) {
          REQUIRE(model.lower_bound(from) == model.begin());
        } else {
          REQUIRE((target == Target::after ? model.upper_bound(from) : model.lower_bound(from)) ==
                  model.end());
        }
        // To the other end.
        REQUIRE(tree.move(cursor, target == Target::before ? Target::last : Target::first));
        continue;
      }
      if (target == Target::before) {
        REQUIRE(less(to, from));
        REQUIRE(model.upper_bound(to) == model.lower_bound(from));
      } else {
        REQUIRE((target == Target::after ? less(from, to) : !less(to, from)));
        REQUIRE((target == Target::after ? model.upper_bound(from) : model.lower_bound(from)) ==
                model.lower_bound(to));
      }
      if (const auto stays = model.find(to); stays != model.end()) {
        REQUIRE(cursor.shown.value.text() == stays->second);
      } else {
        REQUIRE(to.back() == '~');
        REQUIRE(cursor.shown.value.text() == std::string(cursor.shown.value.size(), '~'));
      }
    }
  }
}

TEST_CASE("tree: a move that waits leaves the pair where it is shown", "[tree]") {
  for (const bool forward : {true, false}) {
    // Each key is longer than those before it, so the room for it grows under the one looked for.
    TreeWorld tree({.leaf_class = 1});
    Pairs model;
    for (int number = 0; number < 30; ++number) {
      const auto length = static_cast<std::size_t>(forward ? number : 30 - number) * 20;
      const std::string key = std::to_string(100 + number) + std::string(length, '.');
      model[key] = std::string(number % 3 == 1 ? 5000 : 10, static_cast<char>('a' + number % 26));
      REQUIRE(tree.write(Write::put, key, model[key]));
    }
    TreeCursor cursor;
    Pairs met;
    Target target = forward ? Target::first : Target::last;
    while (true) {
      tree.evict_all();
      const std::string key(cursor.shown.key.view().text());
      const std::string value(cursor.shown.value.text());
      if (!tree.move(cursor, target)) {
        CHECK(cursor.shown.key.view().text() == key);
        CHECK(cursor.shown.value.text() == value);
        break;
      }
      met[std::string(cursor.shown.key.view().text())] = std::string(cursor.shown.value.text());
      target = forward ? Target::after : Target::before;
    }
    CHECK(met == model);
  }
}

TEST_CASE("tree: a cursor may seek what its record says", "[tree]") {
  TreeWorld tree({.leaf_class = 0});
  // A list through the pairs: the record of each begins with the key of the next one.
  constexpr int count = 97;
  const auto key_at = [](int number) { return std::to_string(1000 + number * 41 % count); };
  for (int number = 0; number < count; ++number) {
    const std::size_t size = number % 5 == 0 ? 3000 : 100;
    REQUIRE(tree.write(Write::put, key_at(number), key_at(number + 1) + std::string(size, '.')));
  }
  TreeCursor cursor;
  REQUIRE(tree.move(cursor, Target::at_or_after, bytes_of(key_at(0))));
  for (int number = 1; number < 3 * count; ++number) {
    if (number % 3 == 0) tree.evict_all();
    REQUIRE(tree.move(cursor, Target::at_or_after, Bytes(cursor.shown.value.data(), 4)));
    REQUIRE(cursor.shown.key.view().text() == key_at(number));
  }
}

TEST_CASE("tree: a write parks while its leaf stays latched", "[tree]") {
  TreeWorld tree({.leaf_class = 0});
  const tree::NodeEditor root(tree.world.pool->resolve(tree.shape.root),
                              buffer::page_bytes(tree.shape.root.size_class()));
  const tree::PageSlot leaf = root.child(0);
  const auto share = [&](runtime::ExecutorCore&) {
    buffer::Waiter waiter(*tree.world.pool, *runtime::current_fiber());
    Error error;
    REQUIRE(tree.world.pool->shared_or_park(waiter, leaf, error) == buffer::Access::ready);
  };
  tree.world.executors.on_fiber(share);
  auto write = tree.operation();
  write->deed = TreeDeed::write;
  write->key = "key";
  write->value = std::string(3000, 'v');  // has a page of its own
  REQUIRE(write->post(tree.world.executors.executor(0)).has_value());
  static_cast<void>(tree.world.executors.run([ticks = 1000]() mutable { return --ticks == 0; }));
  CHECK(!write->done());
  const auto next = tree.world.store->allocate_page(0);
  CHECK(next->slot() < 32);  // each attempt takes an id
  tree.world.pool->release_shared(leaf);
  REQUIRE(tree.world.executors.run([&] { return write->done(); }));
  CHECK(tree.lookup("key").has_value());
}

TEST_CASE("tree: clearing gives every page back but the root", "[tree]") {
  TreeWorld tree({.leaf_class = 0, .frame_bytes = 600 * 1024});
  base::Random random(4);
  for (int number = 0; number < 3000; ++number) {
    const std::size_t size = number % 100 == 0 ? 20000 : 100;
    REQUIRE(
        tree.write(Write::put, std::to_string(random.below(1ULL << 60)), std::string(size, 'v')));
  }
  REQUIRE(tree.world.checkpoint().has_value());
  const std::uint64_t before = tree.world.store->statistics().pages;
  CHECK(before > 100);
  Result<void> cleared;
  tree.world.executors.on_fiber([&](runtime::ExecutorCore&) { cleared = tree.tree->clear(); });
  if (!cleared.has_value()) FAIL(cleared.error().message());
  REQUIRE(tree.world.checkpoint().has_value());
  CHECK(tree.world.store->statistics().pages == 1);
}

TEST_CASE("tree: a comparator's large keys split their leaves without loss", "[tree]") {
  TreeWorld tree({.leaf_class = 0, .compare = &backwards});
  const auto put = [&](char first, std::size_t key_size, std::size_t value_size) {
    static int number = 0;
    std::string key(1, first);
    key += std::to_string(1000 - number++);
    key.resize(std::max(key_size, key.size()), '.');
    REQUIRE(tree.write(Write::put, key, std::string(value_size, 'v')));
  };
  for (int round = 0; round < 13; ++round) put('z', 5, 0);
  put('y', 400, 0);
  for (int round = 0; round < 2; ++round) put('x', 500, 514);
  for (int round = 0; round < 2; ++round) put('w', 420, 0);
  for (int round = 0; round < 200; ++round) put('v', 6, 19);
  CHECK(tree.census().pairs == 218);
}
