#include <atomic>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "base/planted.hpp"
#include "runtime/support.hpp"
#include "support/dies.hpp"

namespace firn::test {
namespace {

using namespace std::chrono_literals;
using runtime::ExecutorCore;
using runtime::Latch;
using runtime::ParkingLot;
using runtime::Runnable;

// Takes a latch and keeps it.
class TakeOperation final : public Operation<bool> {
 public:
  TakeOperation(Latch& latch, bool shared) noexcept : latch_(latch), shared_(shared) {}

 private:
  detail::Progress step() noexcept override {
    const bool held = shared_ ? latch_.shared_or_park(*this) : latch_.exclusive_or_park(*this);
    return held ? detail::Progress::yes : detail::Progress::waiting;
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(error_));
    settle_with(Result<bool>(true));
  }
  Latch& latch_;
  bool shared_;
};

std::chrono::nanoseconds processor_time_of_this_thread() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

std::size_t bucket_of(const void* key) {
  return base::Random::mix(reinterpret_cast<std::uintptr_t>(key)) % ParkingLot::bucket_count;
}

struct Waiter : Runnable {
  Waiter(ExecutorCore& core, std::vector<int>& record, int which) : order(record), number(which) {
    home = &core;
    run = [](Runnable& self) noexcept {
      auto& waiter = static_cast<Waiter&>(self);
      waiter.order.push_back(waiter.number);
    };
  }
  std::vector<int>& order;
  int number;
};

constexpr auto blocked = []() noexcept { return true; };
constexpr auto nothing = []() noexcept {};

}  // namespace

TEST_CASE("park: a thread whose operation waits for a latch uses no processor", "[park]") {
  Latch latch;
  REQUIRE(latch.try_exclusive());
  constexpr auto held_for = 300ms;
  std::chrono::nanoseconds used{};
  std::thread waiter([&] {
    TakeOperation operation(latch, false);
    const auto before = processor_time_of_this_thread();
    static_cast<void>(operation.wait());
    used = processor_time_of_this_thread() - before;
    latch.release_exclusive();
  });
  std::this_thread::sleep_for(held_for);
  latch.release_exclusive();
  waiter.join();
  CHECK(used < held_for / 10);
}

TEST_CASE("park: a forked child finds every bucket free and empty", "[park]") {
  ParkingLot& lot = ParkingLot::shared();
  const Executor executor = make_executor();  // from now on forks are seen
  const int key = 0;
  std::vector<int> order;
  auto* home = *detail::executor_of_this_thread();
  Waiter first(*home, order, 1);
  Waiter second(*home, order, 2);
  REQUIRE(lot.park(&key, first, blocked, nothing));
  // Another thread is in the midst of parking when the process forks.
  std::atomic<bool> inside{false};
  std::atomic<bool> go_on{false};
  std::thread parker([&] {
    const auto slow = [&]() noexcept {
      inside = true;
      while (!go_on) std::this_thread::yield();
      return false;
    };
    static_cast<void>(lot.park(&key, second, slow, nothing));
  });
  while (!inside) std::this_thread::yield();
  const int status = status_of_child([&] {
    ::alarm(20);  // for what waits for its parent
    if (lot.unpark_all(&key) != 0) ::_exit(1);
  });
  CHECK(status == 0);
  go_on = true;
  parker.join();
  CHECK(lot.withdraw(first));
}

TEST_CASE("park: two threads wake each other 100 thousand times and lose no wake-up", "[park]") {
  constexpr int round_count = 100'000;
  // A round takes a microsecond on two free processors, and a thousand on busy ones.
  constexpr auto time_max = 15s;
  constexpr int round_count_min = 1000;
  Latch ping;
  Latch pong;
  REQUIRE(ping.try_exclusive());
  REQUIRE(pong.try_exclusive());
  int turns = 0;  // both guarded by whoever's turn it is
  bool last = false;
  std::thread other([&] {
    bool ended = false;
    while (!ended) {
      static_cast<void>(TakeOperation(ping, false).wait());
      ended = last;
      ++turns;
      pong.release_exclusive();
    }
  });
  const auto start = std::chrono::steady_clock::now();
  int round = 0;
  while (!last) {
    ++turns;
    ++round;
    last = round == round_count || (round >= round_count_min && round % 64 == 0 &&
                                    std::chrono::steady_clock::now() - start > time_max);
    ping.release_exclusive();
    static_cast<void>(TakeOperation(pong, false).wait());
  }
  other.join();
  CHECK(turns == 2 * round);
  if (round < round_count) WARN("a busy machine: " << round << " rounds in the time given");
}

TEST_CASE("park: threads that contend for a latch exclude one another and all get on", "[park]") {
  constexpr int thread_count = 4;
  constexpr int round_count = 5000;
  Latch latch;
  int guarded = 0;
  std::atomic<int> seen_torn{0};
  int twin = 0;
  std::vector<std::thread> threads;
  for (int number = 0; number < thread_count; ++number) {
    threads.emplace_back([&, number] {
      for (int round = 0; round < round_count; ++round) {
        const bool shared = (round + number) % 3 == 0;
        static_cast<void>(TakeOperation(latch, shared).wait());
        if (shared) {
          if (guarded != twin) ++seen_torn;
          latch.release_shared();
        } else {
          ++guarded;
          if (round % 64 == 0) std::this_thread::yield();
          ++twin;
          latch.release_exclusive();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(seen_torn == 0);
  CHECK(guarded == twin);
  CHECK(latch.try_exclusive());
}

TEST_CASE("park: a waiting writer keeps new readers out and then all of them enter together",
          "[park]") {
  Executor executor = make_executor();
  Latch latch;
  REQUIRE(latch.try_shared());
  TakeOperation writer(latch, false);
  REQUIRE(writer.post(executor).has_value());
  CHECK_FALSE(latch.try_shared());
  TakeOperation first(latch, true);
  TakeOperation second(latch, true);
  REQUIRE(first.post(executor).has_value());
  REQUIRE(second.post(executor).has_value());
  CHECK(first.state() == OperationState::waiting);
  latch.release_shared();
  executor.tick(1ms);
  CHECK(writer.done());
  CHECK_FALSE(first.done());
  latch.release_exclusive();
  executor.tick(1ms);
  CHECK(first.done());
  CHECK(second.done());
  latch.release_shared();
  latch.release_shared();
  CHECK(latch.try_exclusive());
}

TEST_CASE("park: who is taken out of the lot leaves the latch usable", "[park]") {
  Executor executor = make_executor();
  Latch latch;
  REQUIRE(latch.try_exclusive());
  TakeOperation cancelled(latch, false);
  REQUIRE(cancelled.post(executor).has_value());
  cancelled.cancel();
  executor.tick(1ms);
  CHECK(cancelled.done());
  latch.release_exclusive();
  CHECK(latch.try_shared());  // the waiter bit is gone with the waiter
  latch.release_shared();
}

TEST_CASE("park: wakes in order of arrival and only the waiters of the key", "[park]") {
  std::unique_ptr<ExecutorCore> core(*ExecutorCore::create());
  ParkingLot& lot = ParkingLot::shared();
  // Two keys in one bucket.
  std::vector<char> places(100'000);
  const char* key = &places[0];
  const char* neighbour = nullptr;
  for (const char& place : places) {
    if (&place != key && bucket_of(&place) == bucket_of(key)) neighbour = &place;
  }
  REQUIRE(neighbour != nullptr);
  std::vector<int> order;
  std::vector<std::unique_ptr<Waiter>> waiters;
  for (int number = 0; number < 8; ++number) {
    waiters.push_back(std::make_unique<Waiter>(*core, order, number));
    const void* place = number % 2 == 0 ? key : neighbour;
    REQUIRE(lot.park(place, *waiters.back(), blocked, nothing));
  }
  CHECK(lot.withdraw(*waiters[2]));
  CHECK_FALSE(lot.withdraw(*waiters[2]));
  bool remain = false;
  CHECK(lot.unpark(key, 2, [&remain](bool more) noexcept { remain = more; }) == 2);
  CHECK(remain);
  core->tick(1ms);
  CHECK(order == std::vector<int>{0, 4});
  CHECK(lot.unpark(key, 2, [&remain](bool more) noexcept { remain = more; }) == 1);
  CHECK_FALSE(remain);
  CHECK(lot.unpark_all(neighbour) == 4);
  core->tick(1ms);
  CHECK(order == std::vector<int>{0, 4, 6, 1, 3, 5, 7});
  CHECK(lot.unpark_all(key) == 0);
}

TEST_CASE("park: nobody parks once the condition has ended", "[park]") {
  std::unique_ptr<ExecutorCore> core(*ExecutorCore::create());
  std::vector<int> order;
  Waiter waiter(*core, order, 1);
  const int key = 0;
  const auto ended = []() noexcept { return false; };
  CHECK_FALSE(ParkingLot::shared().park(&key, waiter, ended, nothing));
  CHECK(ParkingLot::shared().unpark_all(&key) == 0);
  base::plant("park-without-check");
  const bool parked = ParkingLot::shared().park(&key, waiter, ended, nothing);
  base::plant(nullptr);
  CHECK(parked);
  CHECK(ParkingLot::shared().withdraw(waiter));
}

TEST_CASE("park: a sleeping executor that is not told of its mail is found", "[park]") {
  Executor executor = make_executor();
  Latch latch;
  REQUIRE(latch.try_exclusive());
  LatchOperation operation(latch, 1);
  REQUIRE(operation.post(executor).has_value());
  executor.tick(0ns);
  base::plant("executor-lost-wakeup");
  std::thread([&] { latch.release_exclusive(); }).join();
  base::plant(nullptr);
  CHECK_FALSE(readable(executor.fd()));
  executor.tick(0ns);
  CHECK(operation.done());
}

}  // namespace firn::test
