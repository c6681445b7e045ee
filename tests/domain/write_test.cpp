// Insert, put, update and erase: what they do, what they refuse, and that a refusal changes
// nothing.
#include "support/light.hpp"

#include <sys/mman.h>

#include <functional>
#include <limits>

using namespace firn::test;
using firn::Bytes;
using firn::Expect;

namespace {

// Bytes of any size that take no memory: pages of a private mapping that is never touched.
class UntouchedBytes {
 public:
  explicit UntouchedBytes(std::size_t size)
      : size_(size),
        data_(
            ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    REQUIRE(data_ != MAP_FAILED);
  }
  ~UntouchedBytes() { ::munmap(data_, size_); }
  UntouchedBytes(const UntouchedBytes&) = delete;
  UntouchedBytes& operator=(const UntouchedBytes&) = delete;
  [[nodiscard]] Bytes view() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  std::size_t size_;
  void* data_;
};

// A table with one pair, and a check that a call which fails has changed no data.
struct OnePair {
  firn::Domain domain = open_domain();
  firn::Table<firn::BytesType> table = create<firn::BytesType>(domain, "bytes");
  OnePair() { REQUIRE(table.insert("key", "record").wait()); }

  std::string_view refusal_of(const std::function<firn::Result<void>()>& call) {
    const auto before = domain.statistics();
    const auto answer = call();
    const auto after = domain.statistics();
    REQUIRE_FALSE(answer);
    CHECK(contents(table) == std::map<std::string, std::string>{{"key", "record"}});
    CHECK(after.update_count == before.update_count);
    // The jobs of a native domain use memory of their own meanwhile.
    if (domain_under_test().type == firn::DomainType::light) {
      CHECK(after.memory_used == before.memory_used);
    }
    CHECK(after.pair_count == 1);
    return error_of(answer);
  }
};

}  // namespace

TEST_CASE("insert: adds a pair", "[insert]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(contents(words) == std::map<std::uint64_t, std::string>{{1, "one"}});
}

TEST_CASE("insert: a key that is present is already_exists and keeps its record", "[insert]") {
  OnePair one;
  REQUIRE(one.refusal_of([&] { return one.table.insert("key", "other").wait(); }) ==
          "already_exists");
}

TEST_CASE("insert: in a transaction it is checked at the call", "[insert]") {
  OnePair one;
  auto transaction = one.domain.begin().wait().value();
  REQUIRE(one.refusal_of([&] { return one.table.insert(transaction, "key", "x").wait(); }) ==
          "already_exists");
  REQUIRE(one.table.insert(transaction, "second", "x").wait());
  REQUIRE(error_of(one.table.insert(transaction, "second", "y").wait()) == "already_exists");
  REQUIRE(transaction.commit().wait());
  REQUIRE(found(one.table, "second") == "x");
}

TEST_CASE("insert: of an erased key succeeds again", "[insert]") {
  OnePair one;
  REQUIRE(one.table.erase("key").wait());
  REQUIRE(one.table.insert("key", "again").wait());
  REQUIRE(found(one.table, "key") == "again");
}

TEST_CASE("insert: a refusal names the table", "[insert]") {
  OnePair one;
  const auto answer = one.table.insert("key", "other").wait();
  REQUIRE(answer.error().place.table == one.table.id());
  REQUIRE(answer.error().message().find("already_exists") != std::string::npos);
}

TEST_CASE("insert: a key of 2048 bytes is legal and one of 2049 too_large", "[insert]") {
  OnePair one;
  const std::string longest(2048, 'k');
  const std::string longer(2049, 'k');
  REQUIRE(one.refusal_of([&] { return one.table.insert(Bytes(longer), "x").wait(); }) ==
          "too_large");
  REQUIRE(one.refusal_of([&] { return one.table.put(Bytes(longer), "x").wait(); }) == "too_large");
  REQUIRE(one.refusal_of([&] { return one.table.update(Bytes(longer), "x").wait(); }) ==
          "too_large");
  REQUIRE(one.refusal_of([&] { return one.table.erase(Bytes(longer)).wait(); }) == "too_large");
  REQUIRE(one.table.insert(Bytes(longest), "x").wait());
  REQUIRE(found(one.table, Bytes(longest)) == "x");
}

TEST_CASE("insert: a record above 1 GiB is too_large and nothing is allocated for it", "[insert]") {
  OnePair one;
  const UntouchedBytes record((std::size_t{1} << 30) + 1);
  REQUIRE(one.refusal_of([&] { return one.table.insert("big", record.view()).wait(); }) ==
          "too_large");
  REQUIRE(one.refusal_of([&] { return one.table.put("key", record.view()).wait(); }) ==
          "too_large");
  REQUIRE(one.refusal_of([&] { return one.table.update("key", record.view()).wait(); }) ==
          "too_large");
}

TEST_CASE("insert: a record of 1 GiB is not too_large but above this budget", "[insert]") {
  OnePair one;
  // Elsewhere the largest page is the limit.
  const bool in_memory = domain_under_test().type == firn::DomainType::light;
  const std::string_view refusal = in_memory ? "no_memory" : "too_large";
  const UntouchedBytes record(std::size_t{1} << 30);
  REQUIRE(one.refusal_of([&] { return one.table.insert("big", record.view()).wait(); }) == refusal);
  REQUIRE(one.refusal_of([&] { return one.table.put("key", record.view()).wait(); }) == refusal);
}

TEST_CASE("insert: what the record's codec refuses changes nothing", "[insert]") {
  firn::Domain domain = open_domain();
  auto picky = create<PickyType>(domain, "picky");
  REQUIRE(picky.insert(1, "ok").wait());
  REQUIRE(error_of(picky.insert(2, "refuse").wait()) == "invalid_argument");
  REQUIRE(error_of(picky.put(1, "refuse").wait()) == "invalid_argument");
  REQUIRE(error_of(picky.update(1, "refuse").wait()) == "invalid_argument");
  REQUIRE(contents(picky) == std::map<std::uint64_t, std::string>{{1, "ok"}});
}

TEST_CASE("insert: what the key's codec refuses changes nothing", "[insert]") {
  firn::Domain domain = open_domain();
  auto numbers = create<NumberType>(domain, "numbers");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  REQUIRE(numbers.insert(1.5, "x").wait());
  REQUIRE(error_of(numbers.insert(nan, "x").wait()) == "invalid_argument");
  REQUIRE(error_of(numbers.put(nan, "x").wait()) == "invalid_argument");
  REQUIRE(error_of(numbers.update(nan, "x").wait()) == "invalid_argument");
  REQUIRE(error_of(numbers.erase(nan).wait()) == "invalid_argument");
  REQUIRE(contents(numbers) == std::map<double, std::string>{{1.5, "x"}});
}

TEST_CASE("insert: the operation owns its key and record", "[insert]") {
  firn::Domain domain = open_domain();
  auto executor = firn::Executor::create().value();
  auto words = create<WordType>(domain, "words");
  std::string record(100, 'r');
  auto operation = words.insert(1, record);
  record.assign(100, 'x');
  REQUIRE(operation.post(executor));
  REQUIRE(operation.done());
  REQUIRE(found(words, 1) == std::string(100, 'r'));
}

TEST_CASE("put: inserts or replaces", "[put]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.put(1, "one").wait());
  REQUIRE(words.put(2, "two").wait());
  REQUIRE(words.put(1, "uno").wait());
  REQUIRE(contents(words) == std::map<std::uint64_t, std::string>{{1, "uno"}, {2, "two"}});
}

TEST_CASE("put: replaces by shorter and by longer records", "[put]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  for (const std::size_t size : {10u, 3u, 0u, 200u, 7u, 5000u, 200u}) {
    const std::string record(size, 'r');
    REQUIRE(words.put(1, record).wait());
    REQUIRE(found(words, 1) == record);
  }
  REQUIRE(domain.statistics().pair_count == 1);
}

TEST_CASE("put: memory of replaced records goes back", "[put]") {
  firn::Domain domain = open_light("", 1 << 20);
  auto words = create<WordType>(domain, "words");
  for (std::size_t round = 0; round < 2000; ++round) {
    REQUIRE(words.put(1, std::string(1 + round % 1000 * 100, 'r')).wait());
  }
  REQUIRE(words.erase(1).wait());
  REQUIRE(words.put(1, "r").wait());
  REQUIRE(domain.statistics().memory_used < 65536);
}

TEST_CASE("update: replaces the record of a present key", "[update]") {
  OnePair one;
  REQUIRE(one.table.update("key", "other").wait());
  REQUIRE(contents(one.table) == std::map<std::string, std::string>{{"key", "other"}});
}

TEST_CASE("update: an absent key is not_found and stays absent", "[update]") {
  OnePair one;
  REQUIRE(one.refusal_of([&] { return one.table.update("kez", "x").wait(); }) == "not_found");
  REQUIRE(one.refusal_of([&] { return one.table.update("", "x").wait(); }) == "not_found");
}

TEST_CASE("update: in a transaction it sees what the transaction inserted", "[update]") {
  OnePair one;
  auto transaction = one.domain.begin().wait().value();
  REQUIRE(one.table.insert(transaction, "new", "1").wait());
  REQUIRE(one.table.update(transaction, "new", "2").wait());
  REQUIRE(transaction.commit().wait());
  REQUIRE(found(one.table, "new") == "2");
}

TEST_CASE("erase: removes a pair", "[erase]") {
  OnePair one;
  REQUIRE(one.table.erase("key").wait());
  REQUIRE(found(one.table, "key") == std::nullopt);
  REQUIRE(contents(one.table).empty());
  REQUIRE(one.domain.statistics().pair_count == 0);
}

TEST_CASE("erase: blind it is fine with an absent key", "[erase]") {
  OnePair one;
  REQUIRE(one.table.erase("absent").wait());
  REQUIRE(contents(one.table).size() == 1);
}

TEST_CASE("erase: with Expect present an absent key is not_found", "[erase]") {
  OnePair one;
  REQUIRE(one.refusal_of([&] { return one.table.erase("absent", Expect::present).wait(); }) ==
          "not_found");
  REQUIRE(one.table.erase("key", Expect::present).wait());
  REQUIRE(error_of(one.table.erase("key", Expect::present).wait()) == "not_found");
}

TEST_CASE("erase: gives its memory back", "[erase]") {
  firn::Domain domain = open_light();
  auto words = create<WordType>(domain, "words");
  const std::uint64_t empty = domain.statistics().memory_used;
  for (std::uint64_t key = 0; key < 1000; ++key) {
    REQUIRE(words.insert(key, std::string(key, 'r')).wait());
  }
  REQUIRE(domain.statistics().memory_used > empty + 1000 * 500);
  for (std::uint64_t key = 0; key < 1000; ++key) REQUIRE(words.erase(key).wait());
  REQUIRE(domain.statistics().memory_used == empty);
}
