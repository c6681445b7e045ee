// Tables whose type brings its own order.
#include "support/light.hpp"

#include <random>

using namespace firn::test;

namespace {

// The encoded bytes from the back: an order that no prefix helps with.
struct Backward {
  static constexpr std::string_view id = "test.backward.1";
  static std::strong_ordering compare(firn::Bytes left, firn::Bytes right) noexcept {
    return right <=> left;
  }
};
struct BackwardType : firn::TableType<std::string, std::string> {
  static constexpr std::string_view name = "test.backward";
  using Comparator = Backward;
};
// As CaseBlindType, under another id.
struct OtherBlind : CaseBlind {
  static constexpr std::string_view id = "test.case-blind.2";
};
struct OtherBlindType : firn::TableType<std::string, std::string> {
  static constexpr std::string_view name = "test.case-blind";
  using Comparator = OtherBlind;
};
struct PlainType : firn::TableType<std::string, std::string> {
  static constexpr std::string_view name = "test.case-blind";
};

}  // namespace

TEST_CASE("comparator: the order of pairs is the comparator's", "[comparator]") {
  firn::Domain domain = open_domain();
  auto table = create<BackwardType>(domain, "backward");
  std::map<std::string, std::string, std::greater<>> model;
  std::mt19937_64 random(11);
  for (int i = 0; i < 500; ++i) {
    std::string key(random() % 4, 'a');
    for (char& letter : key) letter = static_cast<char>('a' + random() % 5);
    REQUIRE(table.put(key, std::to_string(i)).wait());
    model[key] = std::to_string(i);
  }
  auto cursor = table.cursor();
  for (const auto& [key, record] : model) {
    REQUIRE(cursor.next().wait().value());
    REQUIRE(cursor.key() == key);
    REQUIRE(cursor.record() == record);
  }
  REQUIRE_FALSE(cursor.next().wait().value());
}

TEST_CASE("comparator: the default is the bytewise order of an order-keeping encoding",
          "[comparator]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  for (const std::uint64_t key : {256u, 1u, 65536u, 255u, 2u}) {
    REQUIRE(words.insert(key, "r").wait());
  }
  std::uint64_t before = 0;
  auto cursor = words.cursor();
  while (cursor.next().wait().value()) {
    REQUIRE(before < cursor.key());
    before = cursor.key();
  }
  REQUIRE(before == 65536);
}

TEST_CASE("comparator: keys that compare equal are one key", "[comparator]") {
  firn::Domain domain = open_domain();
  auto table = create<CaseBlindType>(domain, "blind");
  REQUIRE(table.insert("Name", "1").wait());
  REQUIRE(error_of(table.insert("nAME", "2").wait()) == "already_exists");
  REQUIRE(found(table, "NAME") == "1");
  REQUIRE(table.update("name", "3").wait());
  REQUIRE(table.put("NaMe", "4").wait());
  REQUIRE(domain.statistics().pair_count == 1);
  REQUIRE(contents(table) == std::map<std::string, std::string>{{"Name", "4"}});
  REQUIRE(table.erase("nAmE", firn::Expect::present).wait());
  REQUIRE(contents(table).empty());
}

TEST_CASE("comparator: its id is kept in the catalogue", "[comparator]") {
  firn::Domain domain = open_domain();
  auto blind = create<CaseBlindType>(domain, "blind");
  auto words = create<WordType>(domain, "words");
  const auto tables = domain.tables().wait().value();
  REQUIRE(tables.size() == 2);
  REQUIRE(tables[0].comparator == "test.case-blind.1");
  REQUIRE(tables[1].comparator == "firn.bytewise");
}

TEST_CASE("comparator: another id at open is wrong_type", "[comparator]") {
  firn::Domain domain = open_domain();
  auto table = create<CaseBlindType>(domain, "blind");
  REQUIRE(error_of(domain.open_table<OtherBlindType>("blind").wait()) == "wrong_type");
  REQUIRE(error_of(domain.open_table<PlainType>("blind").wait()) == "wrong_type");
  REQUIRE(error_of(domain.open_table<CaseBlindType>("blind").wait()) == "");
}
