#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fork.hpp"
#include "base/yield.hpp"
#include "runtime/support.hpp"
#include "support/dies.hpp"

namespace firn::test {
namespace {

using namespace std::chrono_literals;
using runtime::ExecutorCore;
using runtime::Latch;
using runtime::Runnable;

std::unique_ptr<ExecutorCore> make_core(runtime::ExecutorSeam seam = {}) {
  auto core = ExecutorCore::create(seam);
  REQUIRE(core.has_value());
  return std::unique_ptr<ExecutorCore>(*core);
}

// A runnable that does what the test says.
struct Work : runtime::Runnable {
  explicit Work(
      ExecutorCore& core, std::function<void()> what = [] {})
      : deed(std::move(what)) {
    home = &core;
    run = [](Runnable& self) noexcept { static_cast<Work&>(self).deed(); };
  }
  std::function<void()> deed;
};

}  // namespace

TEST_CASE("executor: its descriptor is readable while something sent waits and only then",
          "[executors]") {
  Executor executor = make_executor();
  Latch latch;
  REQUIRE(latch.try_exclusive());
  LatchOperation operation(latch, 7);
  REQUIRE(operation.post(executor).has_value());
  // A program may poll before it ticks for the first time.
  const bool ticked_before = GENERATE(false, true);
  if (ticked_before) executor.tick(0ns);
  CHECK_FALSE(readable(executor.fd()));
  CHECK_FALSE(executor.deadline().has_value());
  std::thread([&] { latch.release_exclusive(); }).join();
  CHECK(readable(executor.fd()));
  executor.wait_for_work();
  executor.tick(0ns);
  CHECK(operation.done());
  CHECK_FALSE(readable(executor.fd()));
}

TEST_CASE("executor: its descriptor falls silent although senders write late", "[executors]") {
  constexpr int count = 20'000;
  auto core = make_core();
  std::vector<std::unique_ptr<Work>> works;
  int ran = 0;
  for (int index = 0; index < count; ++index) {
    works.push_back(std::make_unique<Work>(*core, [&ran] { ++ran; }));
  }
  std::thread sender([&] {
    for (auto& work : works) core->send(*work);
  });
  while (ran < count) core->tick(0ns);
  sender.join();
  core->tick(0ns);
  CHECK_FALSE(readable(core->fd()));
}

TEST_CASE("executor: may be destroyed while the thread that woke the last operation leaves",
          "[executors]") {
  constexpr int round_count = 1000;
  std::atomic<Work*> handed{nullptr};
  std::atomic<bool> over{false};
  std::thread sender([&] {
    while (!over.load(std::memory_order_acquire)) {
      if (Work* work = handed.exchange(nullptr, std::memory_order_acquire)) {
        ExecutorCore::wake(*work);
      } else {
        std::this_thread::yield();
      }
    }
  });
  for (int round = 0; round < round_count; ++round) {
    auto core = make_core();
    bool ran = false;
    Work work(*core, [&ran] { ran = true; });
    handed.store(&work, std::memory_order_release);
    while (!ran) {
      core->tick(0ns);
      if (!ran) std::this_thread::yield();
    }
  }
  over.store(true, std::memory_order_release);
  sender.join();
}

namespace {
// Two threads, each with a loop of its own, hand the latch to each other: each waits for the next
// turn in its loop, never in Firn.
template <class WaitInLoop>
int pass_latch_between_loops(int round_count, WaitInLoop&& wait_in_loop) {
  Latch latch;
  std::atomic<int> total{0};
  const auto loop = [&] {
    auto made = Executor::create();
    if (!made.has_value()) return;
    Executor executor = *std::move(made);
    for (int round = 0; round < round_count; ++round) {
      LatchOperation operation(latch, 1);
      if (!operation.post(executor).has_value()) return;
      while (!operation.done()) {
        if (executor.tick(100us) == 0) wait_in_loop(executor);
      }
      total.fetch_add(*operation.result(), std::memory_order_relaxed);
      while (!latch.try_exclusive()) std::this_thread::yield();
      if (round % 8 == 0) std::this_thread::yield();  // the other one finds it held
      latch.release_exclusive();
    }
  };
  std::thread first(loop);
  std::thread second(loop);
  first.join();
  second.join();
  return total.load();
}
}  // namespace

TEST_CASE("executor: sits in a loop around poll", "[executors]") {
  const int total = pass_latch_between_loops(5000, [](Executor& executor) {
    pollfd descriptor{.fd = executor.fd(), .events = POLLIN, .revents = 0};
    if (executor.deadline().has_value()) return;
    static_cast<void>(::poll(&descriptor, 1, -1));
  });
  CHECK(total == 10'000);
}

TEST_CASE("executor: sits in a loop around epoll", "[executors]") {
  const int total = pass_latch_between_loops(5000, [](Executor& executor) {
    if (executor.deadline().has_value()) return;
    const int epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.fd = executor.fd()}};
    static_cast<void>(::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, executor.fd(), &event));
    static_cast<void>(::epoll_wait(epoll_fd, &event, 1, -1));
    ::close(epoll_fd);
  });
  CHECK(total == 10'000);
}

TEST_CASE("executor: a budget of zero runs what is ready and nothing that comes of it",
          "[executors]") {
  auto core = make_core();
  int ran = 0;
  Work second(*core, [&ran] { ++ran; });
  Work first(*core, [&] {
    ++ran;
    core->enqueue(second);
  });
  core->enqueue(first);
  CHECK(core->tick(0ns) == 1);
  CHECK(core->deadline() == base::TimePoint::min());
  CHECK(core->tick(0ns) == 1);
  CHECK(ran == 2);
  CHECK_FALSE(core->deadline().has_value());
}

TEST_CASE("executor: a budget ends a tick and the rest stays ready", "[executors]") {
  base::ManualClock clock;
  auto core = make_core({.clock = &clock});
  constexpr std::size_t count = 1000;
  std::vector<std::unique_ptr<Work>> works;
  for (std::size_t index = 0; index < count; ++index) {
    works.push_back(std::make_unique<Work>(*core, [&clock] { clock.advance(1us); }));
    core->enqueue(*works.back());
  }
  const std::size_t ran = core->tick(100us);
  CHECK(ran >= 100);
  CHECK(ran < 120);  // the clock is read every few runs
  CHECK(core->deadline() == base::TimePoint::min());
  // The largest budget is one, too.
  CHECK(core->tick(std::chrono::nanoseconds::max()) == count - ran);
  CHECK_FALSE(core->deadline().has_value());
}

TEST_CASE("executor: timers fire in order when they fall due and not before", "[executors]") {
  base::ManualClock clock;
  auto core = make_core({.clock = &clock});
  struct Alarm : runtime::Timer {
    std::vector<int>* rang = nullptr;
    int number = 0;
  };
  std::vector<int> rang;
  std::array<Alarm, 6> alarms;
  const auto start = core->now();
  const int minutes[] = {5, 1, 4, 2, 6, 3};
  for (std::size_t index = 0; index < alarms.size(); ++index) {
    alarms[index].rang = &rang;
    alarms[index].number = minutes[index];
    alarms[index].run = [](Runnable& timer) noexcept {
      auto& alarm = static_cast<Alarm&>(timer);
      alarm.rang->push_back(alarm.number);
    };
    REQUIRE(core->schedule(alarms[index], start + minutes[index] * 1min).has_value());
  }
  CHECK(core->deadline() == start + 1min);
  CHECK(core->tick(0ns) == 0);
  core->unschedule(alarms[3]);                                   // 2 never rings
  REQUIRE(core->schedule(alarms[0], start + 150s).has_value());  // 5 rings before 3
  clock.advance(3min);
  CHECK(core->tick(0ns) == 3);
  CHECK(rang == std::vector<int>{1, 5, 3});
  CHECK(core->deadline() == start + 4min);
  REQUIRE(core->schedule(alarms[1], start + 7min).has_value());  // used again
  clock.advance(1h);
  core->tick(1ms);
  CHECK(rang == std::vector<int>{1, 5, 3, 4, 6, 1});
  CHECK_FALSE(core->deadline().has_value());
}

TEST_CASE("executor: waiting for work ends at the deadline", "[executors]") {
  auto core = make_core();
  bool rang = false;
  struct Alarm : runtime::Timer {
    bool* rang = nullptr;
  } alarm;
  alarm.rang = &rang;
  alarm.run = [](Runnable& timer) noexcept { *static_cast<Alarm&>(timer).rang = true; };
  REQUIRE(core->schedule(alarm, core->now() + 20ms).has_value());
  core->wait_for_work();
  core->tick(0ns);
  CHECK(rang);
}

TEST_CASE("executor: destroying one that still has something to run asserts", "[executors]") {
  Latch latch;
  CHECK(dies([&] {
    auto executor = Executor::create();
    alignas(LatchOperation) static std::byte memory[sizeof(LatchOperation)];
    if (!latch.try_exclusive()) return;
    auto* operation = ::new (static_cast<void*>(memory)) LatchOperation(latch, 1);
    static_cast<void>(operation->post(*executor));
  }));
  CHECK(dies([] {
    auto executor = Executor::create();
    static_cast<void>(fiber::spawn(*executor, []() noexcept {}));
  }));
  CHECK(dies([] {
    auto core = *ExecutorCore::create();
    static runtime::Timer timer;
    static_cast<void>(core->schedule(timer, core->now() + 1h));
    delete core;
  }));
  CHECK_FALSE(dies([] { auto executor = Executor::create(); }));
}

TEST_CASE("executor: a forked child blocks on a descriptor of its own", "[executors]") {
  base::watch_forks();
  auto parents = detail::executor_of_this_thread();
  REQUIRE(parents.has_value());
  const int status = status_of_child([&] {
    auto own = detail::executor_of_this_thread();
    if (!own.has_value() || *own == *parents || (*own)->fd() == (*parents)->fd()) ::_exit(1);
    if (*own != *detail::executor_of_this_thread()) ::_exit(2);
  });
  CHECK(status == 0);
}

TEST_CASE("executor: a forked child destroys its parent's executor and uses it for nothing else",
          "[executors]") {
  Latch latch;
  REQUIRE(latch.try_exclusive());
  alignas(Executor) std::byte memory[sizeof(Executor)];  // so that each process destroys it once
  auto& executor = *::new (static_cast<void*>(memory)) Executor(make_executor());
  LatchOperation waiting(latch, 1);
  REQUIRE(waiting.post(executor).has_value());
  REQUIRE(fiber::spawn(executor, [&]() noexcept { fiber::yield(); }).has_value());
  executor.tick(0ns);  // the fiber is suspended, the operation parked
  const int status = status_of_child([&] {
    ::alarm(20);  // for what waits for its parent
    const auto refused = [](const Result<void>& result) {
      return !result.has_value() && result.error().code == ErrorCode::invalid_state;
    };
    Latch free_latch;
    LatchOperation own(free_latch, 2);
    if (!refused(own.post(executor))) ::_exit(1);
    if (!refused(own.post(executor, [](Result<int>&) noexcept { ::_exit(2); }))) ::_exit(3);
    if (!refused(fiber::spawn(executor, []() noexcept {}))) ::_exit(4);
    if (executor.tick(1ms) != 0) ::_exit(5);
    executor.wait_for_work();
    executor.~Executor();
    if (own.wait().value_or(0) != 2) ::_exit(6);
  });
  CHECK(status == 0);
  latch.release_exclusive();
  executor.tick(1ms);
  CHECK(waiting.result().value() == 1);
  executor.~Executor();
}

TEST_CASE("executor: a forked child waits for no sender of its parent's", "[executors]") {
  // A sender that stands between its push and its write, for ever as far as the child can see.
  auto* core = *ExecutorCore::create();
  core->tick(0ns);
  Work work(*core);
  int status = -1;
  std::atomic<bool> in_send{false};
  std::atomic<bool> forked{false};
#ifdef FIRN_PLANTED_BUGS
  static std::atomic<bool>* stand_in = nullptr;
  static std::atomic<bool>* stand_until = nullptr;
  stand_in = &in_send;
  stand_until = &forked;
  base::yield_hook.store([](const char* place) noexcept {
    if (std::string_view(place) != "executor.send") return;
    stand_in->store(true);
    while (!stand_until->load()) std::this_thread::yield();
  });
  std::thread sender([&] { core->send(work); });
  while (!in_send) std::this_thread::yield();
  core->tick(0ns);
  status = status_of_child([&] {
    ::alarm(20);
    delete core;
  });
  forked = true;
  sender.join();
  base::yield_hook.store(nullptr);
  CHECK(status == 0);
#endif
  core->tick(0ns);
  delete core;
}

TEST_CASE("executor: what a tick inside a fiber runs is not on that fiber", "[executors]") {
  Executor executor = make_executor();
  ExecutorCore& core = *detail::core_of(executor);
  std::string seen;
  const auto look = [&] { seen += fiber::inside() ? "fiber;" : "none;"; };
  Work work(core, look);
  REQUIRE(fiber::spawn(executor, [&]() noexcept {
            look();
            core.enqueue(work);
            executor.tick(0ns);
            look();
            fiber::yield();  // as before: the fiber is this executor's
            look();
          }).has_value());
  REQUIRE(fiber::spawn(executor, [&]() noexcept {
            look();
            fiber::yield();
            look();
          }).has_value());
  executor.tick(1ms);
  CHECK(seen == "fiber;fiber;none;fiber;fiber;fiber;");
}

#ifdef FIRN_DEBUG
TEST_CASE("executor: use by a second thread while the first one ticks asserts", "[executors]") {
  const auto misuse = [](auto act) {
    return dies([act] {
      Executor executor = make_executor();
      Latch latch;
      if (!latch.try_exclusive()) return;
      LatchOperation waiting(latch, 1);
      LatchOperation another(latch, 2);
      static_cast<void>(waiting.post(executor));
      Work work(*detail::core_of(executor), [&] {
        std::thread([&] { act(executor, waiting, another); }).join();
        ::_exit(0);
      });
      detail::core_of(executor)->enqueue(work);
      executor.tick(0ns);
    });
  };
  CHECK(misuse([](Executor& executor, auto&, auto&) { executor.tick(0ns); }));
  CHECK(misuse([](Executor& executor, auto&, auto&) { executor.wait_for_work(); }));
  CHECK(misuse(
      [](Executor& executor, auto&, auto& another) { static_cast<void>(another.post(executor)); }));
  CHECK(misuse([](Executor& executor, auto&, auto&) {
    static_cast<void>(fiber::spawn(executor, []() noexcept {}));
  }));
  CHECK(misuse([](Executor&, auto& waiting, auto&) { waiting.cancel(); }));
  CHECK_FALSE(misuse([](Executor&, auto&, auto& another) { another.cancel(); }));
}
#endif

TEST_CASE("executor: a fiber may not wait inside the scope of another executor", "[executors]") {
  CHECK(dies([] {
    auto first = Executor::create();
    auto second = Executor::create();
    static_cast<void>(fiber::spawn(*first, [&]() noexcept {
      const ExecutorCore::Scope scope(*detail::core_of(*second));
      fiber::yield();
    }));
    first->tick(0ns);
  }));
}

namespace {

// One small script against a table, in the five ways to run operations. Each writes what it sees.
enum class Way : std::uint8_t { wait, poll, callback, coroutine, fiber };
constexpr int script_count = 200;

// Five lines share a key; every second time it is another one that is erased, and missing.
std::string key_of(int line) {
  return line % 10 == 9 ? "nowhere" : "key " + std::to_string(line / 5 * 7 % 17);
}

void note(std::string& transcript, const Result<std::optional<std::string>>& found) {
  transcript += !found.has_value() ? "error;" : *found ? **found + ";" : "none;";
}
void note(std::string& transcript, const Result<void>& done) {
  transcript += done.has_value() ? "ok;" : std::string(name_of(done.error().code)) + ";";
}

// Calls run(operation, transcript) for each line of the script.
template <class Run>
void play(Table<StoppingBytes>& table, std::string& transcript, Run&& run) {
  for (int line = 0; line < script_count; ++line) {
    const std::string key = key_of(line);
    const std::string record = "record " + std::to_string(line);
    switch (line % 5) {
      case 0:
        run(table.put(Bytes(key), Bytes(record)), transcript);
        break;
      case 1:
        run(table.insert(Bytes(key), Bytes(record)), transcript);
        break;
      case 2:
        run(table.update(Bytes(key), Bytes(record)), transcript);
        break;
      case 3:
        run(table.lookup(Bytes(key)), transcript);
        break;
      default:
        run(table.erase(Bytes(key), Expect::present), transcript);
    }
  }
}

Task<void> play_in_coroutine(Table<StoppingBytes>& table, std::string& transcript) {
  for (int line = 0; line < script_count; ++line) {
    const std::string key = key_of(line);
    const std::string record = "record " + std::to_string(line);
    switch (line % 5) {
      case 0:
        note(transcript, co_await table.put(Bytes(key), Bytes(record)));
        break;
      case 1:
        note(transcript, co_await table.insert(Bytes(key), Bytes(record)));
        break;
      case 2:
        note(transcript, co_await table.update(Bytes(key), Bytes(record)));
        break;
      case 3:
        note(transcript, co_await table.lookup(Bytes(key)));
        break;
      default:
        note(transcript, co_await table.erase(Bytes(key), Expect::present));
    }
  }
}

std::string transcript_of(Way way, Table<StoppingBytes>& table) {
  std::string transcript;
  auto made = Executor::create();
  if (!made.has_value()) return "no executor";
  Executor executor = *std::move(made);
  switch (way) {
    case Way::wait:
      play(table, transcript,
           [](auto operation, std::string& out) { note(out, operation.wait()); });
      break;
    case Way::poll:
      play(table, transcript, [&](auto operation, std::string& out) {
        if (!operation.post(executor).has_value()) std::abort();
        while (!operation.done()) executor.tick(100us);
        note(out, operation.result());
      });
      break;
    case Way::callback:
      play(table, transcript, [&](auto operation, std::string& out) {
        bool called = false;
        const auto call = [&](auto& result) noexcept {
          note(out, result);
          called = true;
        };
        if (!operation.post(executor, call).has_value()) std::abort();
        while (!called) executor.tick(100us);
      });
      break;
    case Way::coroutine: {
      Task<void> task = play_in_coroutine(table, transcript);
      task.start(executor);
      while (!task.done()) executor.tick(100us);
      break;
    }
    case Way::fiber: {
      bool ended = false;
      const auto work = [&]() noexcept {
        play(table, transcript,
             [](auto operation, std::string& out) { note(out, fiber::await(operation)); });
        ended = true;
      };
      if (!fiber::spawn(executor, work).has_value()) std::abort();
      while (!ended) executor.tick(100us);
      executor.tick(0ns);
      break;
    }
  }
  return transcript;
}

constexpr Way all_ways[] = {Way::wait, Way::poll, Way::callback, Way::coroutine, Way::fiber};

}  // namespace

TEST_CASE("executor: one script gives one transcript in all five ways to run it", "[executors]") {
  std::string expected;
  for (const Way way : all_ways) {
    // Another thread writes to the same table, so that operations really wait.
    BytesTable bytes;
    std::atomic<bool> over{false};
    std::thread disturber([&] {
      while (!over.load(std::memory_order_relaxed)) {
        static_cast<void>(bytes.table.put("zzz", "disturbance").wait());
      }
    });
    const std::string transcript = transcript_of(way, bytes.table);
    over = true;
    disturber.join();
    if (expected.empty()) expected = transcript;
    CHECK(transcript == expected);
  }
  CHECK(expected.find("record") != std::string::npos);
  CHECK(expected.find("not_found") != std::string::npos);
  CHECK(expected.find("already_exists") != std::string::npos);
}

TEST_CASE("executor: threads from 1 to 64 with one each share a table", "[executors]") {
  const int thread_count = GENERATE(1, 2, 4, 8, 16, 32, 64);
  constexpr int operation_count = 640;  // in all
  BytesTable bytes;
  std::vector<std::thread> threads;
  std::atomic<int> failure_count{0};
  for (int number = 0; number < thread_count; ++number) {
    threads.emplace_back([&, number] {
      Table<StoppingBytes> table = bytes.table;
      auto made = Executor::create();
      if (!made.has_value()) {
        ++failure_count;
        return;
      }
      Executor executor = *std::move(made);
      for (int index = number; index < operation_count; index += thread_count) {
        const std::string key = "key " + std::to_string(index);
        auto update = table.put(Bytes(key), Bytes(key));
        auto lookup = table.lookup(Bytes(key));
        if (!update.post(executor).has_value()) ++failure_count;
        while (!update.done()) {
          if (executor.tick(100us) == 0) executor.wait_for_work();
        }
        if (!lookup.post(executor).has_value()) ++failure_count;
        while (!lookup.done()) {
          if (executor.tick(100us) == 0) executor.wait_for_work();
        }
        const auto& found = lookup.result();
        if (!found.has_value() || *found != key) ++failure_count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failure_count == 0);
  int count = 0;
  auto cursor = bytes.table.cursor();
  while (cursor.next().wait().value_or(false)) ++count;
  CHECK(count == operation_count);
}

}  // namespace firn::test
