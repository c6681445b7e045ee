// Lookups and raw reads.
#include "support/calling_codec.hpp"
#include "support/light.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
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

TEST_CASE("lookup: many at once find what single ones find", "[lookup]") {
  firn::Domain domain = open_domain("", 8 << 20);
  auto words = create<WordType>(domain, "words");
  constexpr std::uint64_t count = 3000;
  for (std::uint64_t key = 0; key < count; key += 2) {
    REQUIRE(words.insert(key, std::to_string(key) + std::string(key % 100, 'r')).wait());
  }
  for (const std::size_t size : {0UL, 1UL, 31UL, 32UL, 33UL, 500UL}) {
    std::vector<std::uint64_t> keys;
    for (std::size_t index = 0; index < size; ++index) keys.push_back(index * 7919 % (count + 9));
    std::vector<std::optional<std::string>> records(size + 1, "stale");
    const auto found_count = words.lookup_batch(keys, records).wait();
    REQUIRE(error_of(found_count) == "");
    std::size_t expected = 0;
    for (std::size_t index = 0; index < size; ++index) {
      REQUIRE(records[index] == found(words, keys[index]));
      expected += records[index].has_value();
    }
    REQUIRE(*found_count == expected);
  }
}

// Even keys stay; odd ones come and go, and with them leaves, while batches read.
TEST_CASE("lookup: batches see every pair beside a writer", "[lookup]") {
  firn::Domain domain = open_domain("", 16 << 20);
  auto words = create<WordType>(domain, "words");
  constexpr std::uint64_t count = 4000;
  const auto record_of = [](std::uint64_t key) {
    return std::to_string(key) + std::string(key * 37 % 200, 'r');
  };
  for (std::uint64_t key = 0; key < count; key += 2) {
    REQUIRE(words.insert(key, record_of(key)).wait());
  }
  std::atomic<bool> stop{false};
  std::atomic<bool> failed{false};
  std::thread writer([&, table = words]() mutable {
    for (std::uint64_t round = 0; !stop; ++round) {
      for (std::uint64_t key = 1; key < count && !stop; key += 2) {
        const bool written = round % 2 == 0 ? table.put(key, record_of(key)).wait().has_value()
                                            : table.erase(key).wait().has_value();
        if (!written) failed = true;
      }
    }
  });
  std::uint64_t wrong_count = 0;
  std::array<std::uint64_t, 32> keys{};
  std::array<std::optional<std::string>, 32> records;
  for (std::uint64_t round = 0; round < 1000; ++round) {
    for (std::size_t index = 0; index < keys.size(); ++index) {
      keys[index] = (round * 32 + index) * 2654435761 % count;
    }
    if (!words.lookup_batch(keys, records).wait()) failed = true;
    for (std::size_t index = 0; index < keys.size(); ++index) {
      const bool right =
          records[index] ? *records[index] == record_of(keys[index]) : keys[index] % 2 == 1;
      wrong_count += right ? 0 : 1;
    }
  }
  stop = true;
  writer.join();
  REQUIRE(!failed);
  REQUIRE(wrong_count == 0);
}

TEST_CASE("lookup: a batch of plain bytes within a transaction", "[lookup]") {
  firn::Domain domain = open_domain();
  auto table = create<firn::BytesType>(domain, "bytes");
  REQUIRE(table.insert("a", "1").wait());
  auto transaction = domain.begin().wait().value();
  REQUIRE(table.put(transaction, "b", "2").wait());
  const std::array<Bytes, 3> keys = {"a", "b", "c"};
  std::array<std::optional<std::string>, 3> records;
  REQUIRE(table.lookup_batch(transaction, keys, records).wait().value() == 2);
  REQUIRE(records[0] == "1");
  REQUIRE(records[1] == "2");
  REQUIRE(records[2] == std::nullopt);
  REQUIRE(transaction.commit().wait());
}

TEST_CASE("lookup: a batch names what is wrong with it", "[lookup]") {
  firn::Domain domain = open_domain();
  auto picky = create<PickyType>(domain, "picky");
  REQUIRE(picky.insert(1, "ok").wait());
  REQUIRE(picky.insert(2, "bad").wait());
  const std::vector<std::uint64_t> keys = {1, 2, 3};
  std::vector<std::optional<std::string>> records(2);
  REQUIRE(error_of(picky.lookup_batch(keys, records).wait()) == "invalid_argument");
  records.resize(3);
  const auto looked = picky.lookup_batch(keys, records).wait();
  REQUIRE(error_of(looked) == "corrupt");
  REQUIRE(looked.error().place.table == picky.id());
  REQUIRE(records[0] == "ok");
  REQUIRE(records[1] == std::nullopt);
  REQUIRE(domain.destroy_table(std::move(picky), firn::Force::yes).wait());
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
