// How hints of a table's type decide its layout in native domains.
#include "support/native.hpp"

using namespace firn::test;
using firn::Domain;
using firn::Hints;
using firn::domain::layout_for;

namespace {

struct SmallType : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "hints.small";
  static constexpr Hints hints{.record_size_typical = 100};
};
struct LogType : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "hints.log";
  static constexpr Hints hints{.record_size_typical = 100, .write_heavy = true};
};
struct LargeType : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "hints.large";
  static constexpr Hints hints{.record_size_typical = 3000, .value_threshold = 200};
};

std::uint64_t leaf_size(const Hints& hints) {
  return firn::buffer::page_bytes(layout_for(hints).leaf_class);
}

}  // namespace

TEST_CASE("hints: record size and writing choose the leaf", "[hints]") {
  CHECK(leaf_size({}) == 8192);
  CHECK(leaf_size({.record_size_typical = 100}) == 4096);
  CHECK(leaf_size({.record_size_typical = 256}) == 4096);
  CHECK(leaf_size({.record_size_typical = 257}) == 8192);
  CHECK(leaf_size({.record_size_typical = 1024}) == 8192);
  CHECK(leaf_size({.record_size_typical = 100, .write_heavy = true}) == 16384);
  CHECK(leaf_size({.record_size_typical = 1025}) == 32768);
  CHECK(leaf_size({.record_size_typical = 4096}) == 65536);
  CHECK(leaf_size({.record_size_typical = ~std::uint32_t{0}}) == 65536);
}

TEST_CASE("hints: each layout holds its pairs and is kept by the catalogue", "[hints]") {
  NativeFile file;
  const auto fill_and_check = [](auto table, bool fill) {
    for (std::uint64_t key = 0; key < 500; ++key) {
      const std::string record(key * 7 % 5000, 'r');
      if (fill) REQUIRE(error_of(table.put(key, record).wait()) == "");
      CHECK(found(table, key) == record);
    }
  };
  {
    Domain domain = file.open();
    fill_and_check(create_persistent<SmallType>(domain, "small"), true);
    fill_and_check(create_persistent<LogType>(domain, "log"), true);
    fill_and_check(create_persistent<LargeType>(domain, "large"), true);
    fill_and_check(create_persistent<WordType>(domain, "usual"), true);
    close(domain);
  }
  Domain domain = file.open();
  std::map<std::string, std::uint64_t> sizes;
  const auto tables = domain.tables().wait().value();
  for (const auto& info : tables) sizes[info.name] = info.leaf_size;
  CHECK(sizes == std::map<std::string, std::uint64_t>{
                     {"small", 4096}, {"log", 16384}, {"large", 65536}, {"usual", 8192}});
  fill_and_check(open<SmallType>(domain, "small"), false);
  fill_and_check(open<LogType>(domain, "log"), false);
  fill_and_check(open<LargeType>(domain, "large"), false);
  fill_and_check(open<WordType>(domain, "usual"), false);
}

TEST_CASE("hints: domains without pages tell of no leaf size", "[hints]") {
  Domain domain = open_light();
  auto words = create<WordType>(domain, "words");
  CHECK(domain.tables().wait().value().front().leaf_size == 0);
}
