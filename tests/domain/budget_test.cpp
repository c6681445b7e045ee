// The memory budget of a light domain.
#include "support/light.hpp"

#include <atomic>
#include <thread>
#include <vector>

using namespace firn::test;
using firn::Domain;

namespace {

constexpr std::uint64_t budget = 1 << 20;

// Inserts until the budget is used up, and returns how many pairs there are.
std::uint64_t fill(Domain& domain, firn::Table<WordType>& words, std::size_t record_size) {
  for (std::uint64_t key = 0;; ++key) {
    const auto inserted = words.insert(key, std::string(record_size, 'r')).wait();
    const auto statistics = domain.statistics();
    REQUIRE(statistics.memory_used <= statistics.memory_budget);
    if (inserted.has_value()) continue;
    REQUIRE(error_of(inserted) == "no_memory");
    REQUIRE(inserted.error().place.table == words.id());
    return key;
  }
}

}  // namespace

TEST_CASE("budget: used up it is no_memory and nothing has changed", "[domain]") {
  Domain domain = open_light("", budget);
  auto words = create<WordType>(domain, "words");
  const std::uint64_t count = fill(domain, words, 1000);
  REQUIRE(count > 900);
  const auto before = domain.statistics();
  REQUIRE(before.pair_count == count);
  REQUIRE(error_of(words.put(count, std::string(1000, 'x')).wait()) == "no_memory");
  REQUIRE(error_of(words.put(0, std::string(3000, 'x')).wait()) == "no_memory");
  REQUIRE(error_of(words.update(0, std::string(3000, 'x')).wait()) == "no_memory");
  REQUIRE(found(words, 0) == std::string(1000, 'r'));
  REQUIRE(found(words, count) == std::nullopt);
  const auto after = domain.statistics();
  REQUIRE(after.memory_used == before.memory_used);
  REQUIRE(after.pair_count == before.pair_count);
  REQUIRE(after.update_count == before.update_count);
}

TEST_CASE("budget: reads and updates in place go on when it is used up", "[domain]") {
  Domain domain = open_light("", budget);
  auto words = create<WordType>(domain, "words");
  const std::uint64_t count = fill(domain, words, 100);
  REQUIRE(found(words, count - 1) == std::string(100, 'r'));
  REQUIRE(words.update(0, std::string(100, 'x')).wait());
  REQUIRE(contents(words).size() == count);
}

TEST_CASE("budget: erase makes room again", "[domain]") {
  Domain domain = open_light("", budget);
  auto words = create<WordType>(domain, "words");
  const std::uint64_t count = fill(domain, words, 1000);
  REQUIRE(words.erase(0).wait());
  REQUIRE(words.insert(count, std::string(1000, 'r')).wait());
  for (std::uint64_t key = 0; key <= count; ++key) REQUIRE(words.erase(key).wait());
  REQUIRE(fill(domain, words, 1000) == count);
}

TEST_CASE("budget: destroying a table makes room again", "[domain]") {
  Domain domain = open_light("", budget);
  auto words = create<WordType>(domain, "words");
  const std::uint64_t count = fill(domain, words, 1000);
  REQUIRE(domain.destroy_table(std::move(words)).wait());
  auto again = create<WordType>(domain, "again");
  REQUIRE(fill(domain, again, 1000) >= count - 1);
}

TEST_CASE("budget: tables are charged to it as well", "[domain]") {
  Domain domain = open_light("", budget);
  std::uint64_t count = 0;
  for (; count < 100'000; ++count) {
    const auto made = domain.create_table<WordType>(std::to_string(count), volatile_table()).wait();
    if (made.has_value()) continue;
    REQUIRE(error_of(made) == "no_memory");
    break;
  }
  REQUIRE(count > 100);
  REQUIRE(count < 100'000);
  REQUIRE(domain.statistics().table_count == count);
  REQUIRE(domain.statistics().memory_used <= budget);
  REQUIRE(domain.destroy_table(open<WordType>(domain, "0")).wait());
  REQUIRE(error_of(domain.create_table<WordType>("0", volatile_table()).wait()) == "");
}

// A refused request must not look to others, even for a moment, as if it had been granted.
TEST_CASE("budget: what one thread is refused does not make another thread's call fail",
          "[domain]") {
  Domain domain = open_light("", budget);
  auto words = create<WordType>(domain, "words");
  std::atomic<bool> stop{false};
  std::atomic<int> wrong_count{0};
  std::thread greedy([&, table = words]() mutable {
    const std::string large(2 << 20, 'r');
    while (!stop.load(std::memory_order_relaxed)) {
      if (error_of(table.insert(1, large).wait()) != "no_memory") ++wrong_count;
    }
  });
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    if (error_of(words.put(2, std::string(i % 2 == 0 ? 10 : 200, 'r')).wait()) != "") ++wrong_count;
    if (domain.statistics().memory_used > budget) ++wrong_count;
    if (error_of(words.erase(2).wait()) != "") ++wrong_count;
  }
  stop = true;
  greedy.join();
  REQUIRE(wrong_count == 0);
}
