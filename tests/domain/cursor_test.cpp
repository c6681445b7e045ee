// Cursors against std::map, their bounds, and what moves between changes of the table meet.
#include "support/light.hpp"

#include <limits>
#include <random>
#include <vector>

using namespace firn::test;
using firn::Bytes;

namespace {

using Map = std::map<std::uint64_t, std::string>;

// The pairs 10, 20, ... 10 * count.
firn::Table<WordType> tens(firn::Domain& domain, std::uint64_t count = 5) {
  auto words = create<WordType>(domain, "words");
  for (std::uint64_t i = 1; i <= count; ++i) {
    REQUIRE(words.insert(10 * i, std::to_string(10 * i)).wait());
  }
  return words;
}

template <class Cursor>
std::vector<std::uint64_t> forward(Cursor& cursor) {
  std::vector<std::uint64_t> keys;
  while (cursor.next().wait().value()) {
    keys.push_back(cursor.key());
    REQUIRE(cursor.record() == std::to_string(cursor.key()));
  }
  return keys;
}
template <class Cursor>
std::vector<std::uint64_t> backward(Cursor& cursor) {
  std::vector<std::uint64_t> keys;
  while (cursor.prev().wait().value()) keys.push_back(cursor.key());
  return keys;
}
using Keys = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("iterate: cursors both ways with bounds and seek agree with a map", "[iterate]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  Map model;
  std::mt19937_64 random(20261120);
  for (int i = 0; i < 700; ++i) {
    const std::uint64_t key = random() % 1000;
    const std::string record = std::to_string(key);
    REQUIRE(words.put(key, record).wait());
    model[key] = record;
  }
  for (int round = 0; round < 100; ++round) {
    firn::Range<std::uint64_t> range;
    std::uint64_t lower = random() % 1100;
    std::uint64_t upper = random() % 1100;
    if (lower > upper) std::swap(lower, upper);
    if (random() % 4 != 0) range.lower = lower;
    if (random() % 4 != 0) range.upper = upper;
    const auto begin = range.lower ? model.lower_bound(lower) : model.begin();
    const auto end = range.upper ? model.lower_bound(upper) : model.end();

    auto cursor = words.cursor(range);
    for (auto it = begin; it != end; ++it) {
      REQUIRE(cursor.next().wait().value());
      REQUIRE(cursor.key() == it->first);
      REQUIRE(cursor.record() == it->second);
    }
    REQUIRE_FALSE(cursor.next().wait().value());
    for (auto it = end; it != begin;) {
      --it;
      REQUIRE(cursor.prev().wait().value());
      REQUIRE(cursor.key() == it->first);
    }
    REQUIRE_FALSE(cursor.prev().wait().value());

    const std::uint64_t target = random() % 1100;
    auto expected = model.lower_bound(target);
    if (begin == end || (expected != model.end() && range.lower && expected->first < lower)) {
      expected = begin;
    }
    const bool inside =
        expected != model.end() && (!range.upper || expected->first < upper) && begin != end;
    REQUIRE(cursor.seek(target).wait().value() == inside);
    if (inside) REQUIRE(cursor.key() == expected->first);
  }
}

TEST_CASE("iterate: random walks agree with a map", "[iterate]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  Map model;
  std::mt19937_64 random(7);
  auto cursor = words.cursor();
  // Where the model's cursor stands: off an end, or at a key that may be gone meanwhile.
  enum class Place { fresh, before, at, after } place = Place::fresh;
  std::uint64_t at = 0;
  for (int step = 0; step < 30'000; ++step) {
    const std::uint64_t key = random() % 64;
    switch (random() % 6) {
      case 0:
        REQUIRE(words.put(key, std::to_string(step)).wait());
        model[key] = std::to_string(step);
        continue;
      case 1:
        REQUIRE(words.erase(key).wait());
        model.erase(key);
        continue;
      case 2: {
        const auto expected = model.lower_bound(key);
        REQUIRE(cursor.seek(key).wait().value() == (expected != model.end()));
        place = expected == model.end() ? Place::after : Place::at;
        if (place == Place::at) at = expected->first;
        break;
      }
      case 3: {
        auto expected = model.begin();
        if (place == Place::at) expected = model.upper_bound(at);
        if (place == Place::before) expected = model.lower_bound(0);
        if (place == Place::after) expected = model.end();
        REQUIRE(cursor.next().wait().value() == (expected != model.end()));
        place = expected == model.end() ? Place::after : Place::at;
        if (place == Place::at) at = expected->first;
        break;
      }
      default: {
        auto expected = model.end();
        if (place == Place::at) expected = model.lower_bound(at);
        const bool moves = place != Place::before && expected != model.begin();
        REQUIRE(cursor.prev().wait().value() == moves);
        place = moves ? Place::at : Place::before;
        if (moves) at = std::prev(expected)->first;
        break;
      }
    }
    if (place != Place::at) continue;
    REQUIRE(cursor.key() == at);
    REQUIRE(cursor.record() == model.at(at));
  }
}

TEST_CASE("iterate: unordered tables scan each pair once in no stated order", "[iterate]") {
  firn::Domain domain = open_domain();
  auto table = create<UnorderedType>(domain, "unordered");
  Map model;
  for (std::uint64_t key = 0; key < 500; ++key) {
    REQUIRE(table.insert(key * 7919 % 1000, "r").wait());
    model.emplace(key * 7919 % 1000, "r");
  }
  REQUIRE(contents(table) == model);
}

TEST_CASE("iterate: asking order of an unordered table is unsupported at cursor creation",
          "[iterate]") {
  firn::Domain domain = open_domain();
  auto table = create<UnorderedType>(domain, "unordered");
  REQUIRE(table.insert(1, "r").wait());
  for (const firn::Range<std::uint64_t>& range :
       {firn::Range<std::uint64_t>{.lower = 1}, firn::Range<std::uint64_t>{.upper = 1},
        firn::Range<std::uint64_t>{.lower = 1, .upper = 2}}) {
    auto cursor = table.cursor(range);
    REQUIRE(error_of(cursor.status()) == "unsupported");
    REQUIRE(error_of(cursor.next().wait()) == "unsupported");
  }
}

TEST_CASE("iterate: prev and seek on an unordered table are unsupported", "[iterate]") {
  firn::Domain domain = open_domain();
  auto table = create<UnorderedType>(domain, "unordered");
  REQUIRE(table.insert(1, "r").wait());
  auto cursor = table.cursor();
  REQUIRE(error_of(cursor.status()) == "");
  REQUIRE(error_of(cursor.prev().wait()) == "unsupported");
  REQUIRE(error_of(cursor.seek(1).wait()) == "unsupported");
  REQUIRE(cursor.next().wait().value());
  REQUIRE(error_of(cursor.status()) == "");
}

TEST_CASE("cursor: bounds are half-open", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto exact = words.cursor({.lower = 20, .upper = 40});
  REQUIRE(forward(exact) == Keys{20, 30});
  REQUIRE(backward(exact) == Keys{30, 20});
  auto between = words.cursor({.lower = 15, .upper = 45});
  REQUIRE(backward(between) == Keys{40, 30, 20});
  auto from = words.cursor({.lower = 40});
  REQUIRE(forward(from) == Keys{40, 50});
  auto until = words.cursor({.upper = 20});
  REQUIRE(forward(until) == Keys{10});
}

TEST_CASE("cursor: equal bounds hold nothing", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor({.lower = 20, .upper = 20});
  REQUIRE(error_of(cursor.status()) == "");
  REQUIRE(forward(cursor).empty());
  REQUIRE(backward(cursor).empty());
  REQUIRE_FALSE(cursor.seek(20).wait().value());
  REQUIRE(error_of(cursor.status()) == "");
}

TEST_CASE("cursor: inverted bounds are invalid_argument in status and in each move", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor({.lower = 30, .upper = 20});
  REQUIRE(error_of(cursor.status()) == "invalid_argument");
  REQUIRE(error_of(cursor.next().wait()) == "invalid_argument");
  REQUIRE(error_of(cursor.prev().wait()) == "invalid_argument");
  REQUIRE(error_of(cursor.seek(20).wait()) == "invalid_argument");
  REQUIRE(error_of(cursor.status()) == "invalid_argument");
  REQUIRE_FALSE(cursor.at_pair());
}

TEST_CASE("cursor: bounds that have no encoding are refused in status and in each move",
          "[cursor]") {
  firn::Domain domain = open_domain();
  auto numbers = create<NumberType>(domain, "numbers");
  REQUIRE(numbers.insert(1.0, "one").wait());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const firn::Range<double>& range :
       {firn::Range<double>{.lower = nan}, firn::Range<double>{.upper = nan},
        firn::Range<double>{.lower = 0.0, .upper = nan}}) {
    auto cursor = numbers.cursor(range);
    REQUIRE(error_of(cursor.status()) == "invalid_argument");
    REQUIRE(error_of(cursor.next().wait()) == "invalid_argument");
    REQUIRE(error_of(cursor.prev().wait()) == "invalid_argument");
    REQUIRE(error_of(cursor.status()) == "invalid_argument");
  }
}

TEST_CASE("cursor: a seek to a key without an encoding fails and a later move works", "[cursor]") {
  firn::Domain domain = open_domain();
  auto numbers = create<NumberType>(domain, "numbers");
  REQUIRE(numbers.insert(1.0, "one").wait());
  auto cursor = numbers.cursor();
  REQUIRE(error_of(cursor.seek(std::numeric_limits<double>::quiet_NaN()).wait()) ==
          "invalid_argument");
  REQUIRE(error_of(cursor.status()) == "invalid_argument");
  REQUIRE(cursor.seek(0.5).wait().value());
  REQUIRE(error_of(cursor.status()) == "");
}

TEST_CASE("cursor: seek goes to the first pair at or after a key within the bounds", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor({.lower = 20, .upper = 50});
  REQUIRE(cursor.seek(30).wait().value());
  REQUIRE(cursor.key() == 30);
  REQUIRE(cursor.seek(31).wait().value());
  REQUIRE(cursor.key() == 40);
  REQUIRE(cursor.seek(0).wait().value());
  REQUIRE(cursor.key() == 20);
  REQUIRE_FALSE(cursor.seek(41).wait().value());
  REQUIRE_FALSE(cursor.at_pair());
  REQUIRE(cursor.prev().wait().value());
  REQUIRE(cursor.key() == 40);
  REQUIRE_FALSE(cursor.seek(99).wait().value());
}

TEST_CASE("cursor: turns at both ends", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain, 2);
  auto cursor = words.cursor();
  REQUIRE(forward(cursor) == Keys{10, 20});
  REQUIRE_FALSE(cursor.next().wait().value());
  REQUIRE(backward(cursor) == Keys{20, 10});
  REQUIRE_FALSE(cursor.prev().wait().value());
  REQUIRE(cursor.next().wait().value());
  REQUIRE(cursor.key() == 10);
  REQUIRE(cursor.next().wait().value());
  REQUIRE(cursor.prev().wait().value());
  REQUIRE(cursor.key() == 10);
}

TEST_CASE("cursor: a fresh one goes to the last pair by prev", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor();
  REQUIRE_FALSE(cursor.at_pair());
  REQUIRE(backward(cursor) == Keys{50, 40, 30, 20, 10});
}

TEST_CASE("cursor: over an empty table ends both ways", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto cursor = words.cursor();
  REQUIRE_FALSE(cursor.next().wait().value());
  REQUIRE_FALSE(cursor.prev().wait().value());
  REQUIRE_FALSE(cursor.seek(1).wait().value());
  REQUIRE(error_of(cursor.status()) == "");
}

TEST_CASE("cursor: the current pair may be erased", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor();
  REQUIRE(cursor.seek(30).wait().value());
  REQUIRE(words.erase(30).wait());
  REQUIRE(cursor.key() == 30);
  REQUIRE(cursor.record() == "30");
  REQUIRE(cursor.next().wait().value());
  REQUIRE(cursor.key() == 40);
  REQUIRE(words.erase(40).wait());
  REQUIRE(cursor.prev().wait().value());
  REQUIRE(cursor.key() == 20);
}

TEST_CASE("cursor: every pair can be erased on the way", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain, 200);
  auto cursor = words.cursor();
  std::size_t met = 0;
  while (cursor.next().wait().value()) {
    ++met;
    REQUIRE(words.erase(cursor.key(), firn::Expect::present).wait());
  }
  REQUIRE(met == 200);
  REQUIRE(contents(words).empty());
}

TEST_CASE("cursor: pairs inserted and erased between moves are met or not by their place",
          "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor();
  REQUIRE(cursor.seek(20).wait().value());
  REQUIRE(words.insert(15, "15").wait());
  REQUIRE(words.insert(25, "25").wait());
  REQUIRE(words.erase(30).wait());
  REQUIRE(forward(cursor) == Keys{25, 40, 50});
  REQUIRE(words.insert(60, "60").wait());
  REQUIRE_FALSE(cursor.next().wait().value());
  REQUIRE(backward(cursor) == Keys{60, 50, 40, 25, 20, 15, 10});
}

TEST_CASE("cursor: each key at most once in order and a pair present throughout is seen",
          "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain, 300);
  std::mt19937_64 random(3);
  for (const bool ahead : {true, false}) {
    auto cursor = words.cursor();
    std::vector<std::uint64_t> met;
    while (ahead ? cursor.next().wait().value() : cursor.prev().wait().value()) {
      met.push_back(cursor.key());
      for (int change = 0; change < 4; ++change) {
        const std::uint64_t key = random() % 3000;
        if (key % 10 == 0) continue;
        REQUIRE((random() % 2 == 0 ? words.put(key, "x").wait() : words.erase(key).wait()));
      }
    }
    if (!ahead) std::reverse(met.begin(), met.end());
    REQUIRE(std::adjacent_find(met.begin(), met.end(), std::greater_equal<>()) == met.end());
    const auto throughout =
        std::count_if(met.begin(), met.end(), [](std::uint64_t key) { return key % 10 == 0; });
    REQUIRE(throughout == 300);
  }
}

TEST_CASE("cursor: the record is the one at the time of the move", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor();
  REQUIRE(cursor.next().wait().value());
  REQUIRE(words.put(10, "later").wait());
  REQUIRE(words.put(20, "changed").wait());
  REQUIRE(cursor.record() == "10");
  REQUIRE(cursor.next().wait().value());
  REQUIRE(cursor.record() == "changed");
  REQUIRE(cursor.prev().wait().value());
  REQUIRE(cursor.record() == "later");
}

TEST_CASE("cursor: over a transaction sees what the transaction wrote", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain, 2);
  auto transaction = domain.begin().wait().value();
  REQUIRE(words.insert(transaction, 15, "15").wait());
  {
    auto cursor = words.cursor(transaction, {.lower = 10, .upper = 20});
    REQUIRE(forward(cursor) == Keys{10, 15});
  }
  REQUIRE(transaction.commit().wait());
}

TEST_CASE("cursor: a pair that does not decode is corrupt and the next move goes on", "[cursor]") {
  firn::Domain domain = open_domain();
  auto picky = create<PickyType>(domain, "picky");
  REQUIRE(picky.insert(1, "ok 1").wait());
  REQUIRE(picky.insert(2, "bad").wait());
  REQUIRE(picky.insert(3, "ok 3").wait());
  auto cursor = picky.cursor();
  REQUIRE(cursor.next().wait().value());
  const auto moved = cursor.next().wait();
  REQUIRE(error_of(moved) == "corrupt");
  REQUIRE(moved.error().place.table == picky.id());
  REQUIRE(error_of(cursor.status()) == "corrupt");
  REQUIRE_FALSE(cursor.at_pair());
  REQUIRE(cursor.raw_record() == Bytes("bad"));
  REQUIRE(cursor.next().wait().value());
  REQUIRE(cursor.record() == "ok 3");
  REQUIRE(error_of(cursor.status()) == "");
}

TEST_CASE("cursor: plain bytes are shown as views of the current pair", "[cursor]") {
  firn::Domain domain = open_domain();
  auto table = create<firn::BytesType>(domain, "bytes");
  REQUIRE(table.insert("", "empty key").wait());
  REQUIRE(table.insert("k", "").wait());
  auto cursor = table.cursor();
  REQUIRE(cursor.next().wait().value());
  REQUIRE(cursor.key() == Bytes(""));
  REQUIRE(cursor.record() == Bytes("empty key"));
  REQUIRE(cursor.next().wait().value());
  REQUIRE(cursor.key() == Bytes("k"));
  REQUIRE(cursor.record() == Bytes(""));
}

TEST_CASE("cursor: may seek a key that lies in the pair it shows", "[cursor]") {
  firn::Domain domain = open_domain();
  auto table = create<firn::BytesType>(domain, "bytes");
  const std::string ks(2000, 'k');
  const std::string ls(100000, 'l');
  const auto k = [&](std::size_t size) { return Bytes(std::string_view(ks.data(), size)); };
  const auto l = [&](std::size_t size) { return Bytes(std::string_view(ls.data(), size)); };
  // Keys and records grow on the way, and the room for them with them.
  for (std::size_t size = 4; size < 1000; size *= 2) {
    REQUIRE(table.insert(k(size), k(2 * size)).wait());
  }
  auto cursor = table.cursor();
  REQUIRE(cursor.next().wait().value());
  for (std::size_t size = 8; size < 1000; size *= 2) {
    REQUIRE(cursor.seek(cursor.record()).wait().value());
    REQUIRE(cursor.key() == k(size));
    REQUIRE(cursor.record() == k(2 * size));
    REQUIRE(table.put(k(size), l(100 * size)).wait());
    REQUIRE(cursor.seek(cursor.key()).wait().value());
    REQUIRE(cursor.key() == k(size));
    REQUIRE(cursor.record() == l(100 * size));
    REQUIRE(table.put(k(size), k(2 * size)).wait());
    REQUIRE(cursor.seek(cursor.key()).wait().value());
  }
}

TEST_CASE("cursor: an empty key can be a bound", "[cursor]") {
  firn::Domain domain = open_domain();
  auto table = create<firn::BytesType>(domain, "bytes");
  REQUIRE(table.insert("", "1").wait());
  REQUIRE(table.insert("k", "2").wait());
  auto nothing = table.cursor({.lower = Bytes(""), .upper = Bytes("")});
  REQUIRE_FALSE(nothing.next().wait().value());
  auto all = table.cursor({.lower = Bytes("")});
  REQUIRE(all.next().wait().value());
  REQUIRE(all.next().wait().value());
  REQUIRE_FALSE(all.next().wait().value());
}

TEST_CASE("cursor: follows the order of the table's comparator", "[cursor]") {
  firn::Domain domain = open_domain();
  auto table = create<CaseBlindType>(domain, "blind");
  for (const char* key : {"b", "A", "C", "d"}) REQUIRE(table.insert(key, key).wait());
  auto all = table.cursor();
  std::string order;
  while (all.next().wait().value()) order += all.key();
  REQUIRE(order == "AbCd");
  auto bounded = table.cursor({.lower = "B", .upper = "D"});
  order.clear();
  while (bounded.next().wait().value()) order += bounded.key();
  REQUIRE(order == "bC");
  auto inverted = table.cursor({.lower = "c", .upper = "B"});
  REQUIRE(error_of(inverted.status()) == "invalid_argument");
  auto equal = table.cursor({.lower = "b", .upper = "B"});
  REQUIRE(error_of(equal.status()) == "");
  REQUIRE_FALSE(equal.next().wait().value());
  auto seeking = table.cursor();
  REQUIRE(seeking.seek("c").wait().value());
  REQUIRE(seeking.key() == "C");
}

TEST_CASE("cursor: a cancelled move leaves it where it stood", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor();
  REQUIRE(cursor.next().wait().value());
  const auto key = cursor.key();
  {
    auto move = cursor.next();
    move.cancel();
    REQUIRE(error_of(move.result()) == "cancelled");
  }
  REQUIRE(cursor.at_pair());
  REQUIRE(cursor.key() == key);
  REQUIRE(error_of(cursor.status()) == "");
}

TEST_CASE("cursor: of a table destroyed by force or of a closed domain is invalid_state",
          "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = tens(domain);
  auto cursor = words.cursor();
  REQUIRE(cursor.next().wait().value());
  auto copy = words;
  REQUIRE(domain.destroy_table(std::move(copy), firn::Force::yes).wait());
  REQUIRE(error_of(cursor.next().wait()) == "invalid_state");
  REQUIRE(error_of(cursor.status()) == "invalid_state");

  auto others = create<WordType>(domain, "others");
  auto second = others.cursor();
  REQUIRE(domain.close().wait());
  REQUIRE(error_of(second.next().wait()) == "invalid_state");
}

TEST_CASE("cursor: outlives the handle that made it", "[cursor]") {
  firn::Domain domain = open_domain();
  auto words = std::make_optional(tens(domain));
  auto cursor = words->cursor();
  REQUIRE(cursor.next().wait().value());
  words.reset();
  REQUIRE(cursor.next().wait().value());
  REQUIRE(cursor.key() == 20);
}
