// Lookups and raw reads.
#include "support/calling_codec.hpp"
#include "support/light.hpp"

#include <chrono>
#include <utility>

using namespace firn::test;
using firn::Bytes;

TEST_CASE("lookup: finds the record of a key", "[lookup]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(words.insert(2, "two").wait());
  REQUIRE(found(words, 1) == "one");
  REQUIRE(found(words, 2) == "two");
}

TEST_CASE("lookup: an absent key is an empty result and no error", "[lookup]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(found(words, 1) == std::nullopt);
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(found(words, 0) == std::nullopt);
  REQUIRE(found(words, 2) == std::nullopt);
}

TEST_CASE("lookup: own transaction's updates first", "[lookup]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.insert(1, "before").wait());
  auto transaction = domain.begin().wait().value();
  REQUIRE(words.put(transaction, 1, "within").wait());
  REQUIRE(words.insert(transaction, 2, "fresh").wait());
  REQUIRE(words.lookup(transaction, 1).wait().value() == "within");
  REQUIRE(words.lookup(transaction, 2).wait().value() == "fresh");
  REQUIRE(words.erase(transaction, 1).wait());
  REQUIRE(words.lookup(transaction, 1).wait().value() == std::nullopt);
  REQUIRE(transaction.commit().wait());
}

TEST_CASE("lookup: empty keys and empty records are legal", "[lookup]") {
  firn::Domain domain = open_domain();
  auto table = create<firn::BytesType>(domain, "bytes");
  REQUIRE(found(table, "") == std::nullopt);
  REQUIRE(table.insert("", "").wait());
  REQUIRE(found(table, "") == "");
  REQUIRE(table.insert("k", Bytes()).wait());
  REQUIRE(found(table, "k") == "");
  REQUIRE(table.put(Bytes(), "record").wait());
  REQUIRE(found(table, "") == "record");
}

TEST_CASE("lookup: a key above the limit is absent and not an error", "[lookup]") {
  firn::Domain domain = open_domain();
  auto table = create<firn::BytesType>(domain, "bytes");
  const std::string key(5000, 'k');
  REQUIRE(found(table, Bytes(key)) == std::nullopt);
}

TEST_CASE("lookup: a record that does not decode is corrupt with its table", "[lookup]") {
  firn::Domain domain = open_domain();
  auto picky = create<PickyType>(domain, "picky");
  auto other = create<WordType>(domain, "other");
  REQUIRE(picky.insert(1, "bad").wait());
  REQUIRE(picky.insert(2, "ok").wait());
  const auto looked = picky.lookup(1).wait();
  REQUIRE(error_of(looked) == "corrupt");
  REQUIRE(looked.error().place.table == picky.id());
  REQUIRE(found(picky, 2) == "ok");
}

TEST_CASE("lookup: raw bytes stay readable when a record does not decode", "[lookup]") {
  firn::Domain domain = open_domain();
  auto picky = create<PickyType>(domain, "picky");
  REQUIRE(picky.insert(1, "bad").wait());
  std::string raw;
  const auto show = [&raw](Bytes bytes) noexcept { raw.assign(bytes.text()); };
  REQUIRE(picky.read(1, show).wait().value());
  REQUIRE(raw == "bad");
}

TEST_CASE("lookup: a read of an absent key says so and shows nothing", "[lookup]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  int shown = 0;
  REQUIRE_FALSE(words.read(1, [&shown](Bytes) noexcept { ++shown; }).wait().value());
  REQUIRE(shown == 0);
}

TEST_CASE("lookup: a read within a transaction sees its updates", "[lookup]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto transaction = domain.begin().wait().value();
  REQUIRE(words.put(transaction, 1, "within").wait());
  std::string raw;
  const auto show = [&raw](Bytes bytes) noexcept { raw.assign(bytes.text()); };
  REQUIRE(words.read(transaction, 1, show).wait().value());
  REQUIRE(raw == "within");
  REQUIRE(transaction.commit().wait());
}

TEST_CASE("lookup: records of every size come back as they went in", "[lookup]") {
  firn::Domain domain = open_domain();
  auto table = create<firn::BytesType>(domain, "bytes");
  for (std::size_t size = 0; size <= 1'000'000; size = size * 3 + 1) {
    const std::string key = std::to_string(size);
    const std::string record(size, static_cast<char>('a' + size % 26));
    REQUIRE(table.put(Bytes(key), Bytes(record)).wait());
    REQUIRE(found(table, Bytes(key)) == record);
  }
}

TEST_CASE("lookup: codecs and visitors may update the very table", "[lookup]") {
  firn::Domain domain = open_domain();
  auto executor = firn::Executor::create().value();
  auto table = create<CallingType>(domain, "calling");
  for (const std::size_t size : {0u, 1u, 256u, 257u, 10'000u, 200'000u}) {
    const std::string record(size, 'r');
    const auto update = [&]() noexcept {
      const auto former = std::exchange(CallingCodec::call, nullptr);
      auto put = table.put(1, std::string(size, 's'));
      CHECK(put.post(executor));
      CHECK(put.done());  // it found the latch free
      while (!put.done()) executor.tick(std::chrono::nanoseconds::zero());
      CallingCodec::call = former;
    };
    REQUIRE(table.put(1, record).wait());
    CallingCodec::call = update;
    const auto found = table.lookup(1).wait().value();
    CallingCodec::call = nullptr;
    CHECK(found == record);
    REQUIRE(table.put(1, record).wait());
    bool same = false;
    const auto visit = [&](Bytes shown) noexcept {
      update();
      same = shown == Bytes(record);
    };
    CHECK(table.read(1, visit).wait().value());
    CHECK(same);
  }
}

// Stored bytes come from elsewhere: another version, a damaged page. No bytes may do worse than
// `corrupt`. Written here as they are, read as the fields of a link.
namespace {
struct RawLinkCodec {
  static constexpr std::string_view id = "test.raw-link.1";
  static firn::Result<void> encode(const Link& value, firn::Encoder& encoder) noexcept {
    encoder.put(value.word.encoded_key());
    return encoder.status();
  }
  static firn::Result<void> decode(Bytes bytes, Link& out) noexcept {
    return LinkType::RecordCodec::decode(bytes, out);
  }
};
struct RawLinkType : firn::TableType<std::uint64_t, Link> {
  static constexpr std::string_view name = "test.raw-link";
  using RecordCodec = RawLinkCodec;
};
}  // namespace

TEST_CASE("lookup: hostile bytes in a table are corrupt or decode and never crash", "[lookup]") {
  firn::Domain domain = open_domain();
  auto table = create<RawLinkType>(domain, "raw");
  std::uint64_t random = 20261120;
  int decoded_count = 0;
  int corrupt_count = 0;
  for (std::uint64_t round = 0; round < 10'000; ++round) {
    std::string bytes;
    for (std::uint64_t size = round % 40; size > 0; --size) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      // Small values make sizes that are nearly right.
      bytes.push_back(static_cast<char>((random >> 33) % (round % 2 == 0 ? 5 : 256)));
    }
    const auto hostile = firn::Ref<WordType>::from_encoded(1, Bytes(bytes));
    REQUIRE(table.put(7, {.word = hostile}).wait());
    const auto looked = table.lookup(7).wait();
    if (looked.has_value()) {
      ++decoded_count;
    } else {
      ++corrupt_count;
      REQUIRE(error_of(looked) == "corrupt");
    }
    auto cursor = table.cursor();
    REQUIRE(cursor.next().wait().has_value() == looked.has_value());
    REQUIRE(cursor.raw_record() == Bytes(bytes));
  }
  REQUIRE(decoded_count > 100);
  REQUIRE(corrupt_count > 100);
}
