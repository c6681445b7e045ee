// Counters that many threads add to.
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "domain/core.hpp"
#include "support/catch.hpp"

namespace {

using namespace firn;
using firn::detail::StripedCounter;

}  // namespace

TEST_CASE("domain: counters add up over more threads than have a line of their own", "[domain]") {
  const auto counter = std::make_unique<StripedCounter>();
  constexpr std::uint64_t rounds = 2000;
  constexpr std::uint64_t generations = 4;  // lines pass from thread to thread
  for (std::uint64_t generation = 0; generation < generations; ++generation) {
    constexpr std::uint64_t thread_count = 40;
    std::atomic<bool> torn{false};
    std::vector<std::thread> threads;
    for (std::uint64_t index = 0; index < thread_count; ++index) {
      threads.emplace_back([&] {
        for (std::uint64_t round = 0; round < rounds; ++round) {
          counter->add_in_order(1);
          if (counter->sum_in_order() == 0) torn = true;
          counter->subtract(1);
          counter->add(3);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(!torn);
    CHECK(counter->sum_in_order() == (generation + 1) * thread_count * rounds * 3);
  }
  // Taken away elsewhere than added: less than nothing on one line, and in all if seen in part.
  counter->add(~std::uint64_t{0} * counter->sum());
  CHECK(counter->sum() == 0);
  std::thread([&] { counter->add(~std::uint64_t{0}); }).join();
  CHECK(counter->sum() == 0);
  CHECK(counter->sum_in_order() == ~std::uint64_t{0});
}

// What a thread counts in its last destructors goes to a line that others may share.
TEST_CASE("domain: a thread that ends still counts", "[domain]") {
  static StripedCounter* late = nullptr;
  const auto counter = std::make_unique<StripedCounter>();
  late = counter.get();
  struct Last {
    bool expected = false;
    ~Last() {
      for (int round = 0; round < 1000; ++round) late->add();
    }
  };
  std::vector<std::thread> threads;
  for (int index = 0; index < 24; ++index) {
    threads.emplace_back([&] {
      thread_local Last last;
      last.expected = true;  // made before the line is chosen: destroyed after it was given back
      counter->add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(counter->sum() == 24 * 1001);
}
