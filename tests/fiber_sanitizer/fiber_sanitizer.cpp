// Proves that sanitizers see into fibers: plants one error per mode, which the sanitizer must
// report, and a clean mode, which must be quiet. Run by expect_report.cmake.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include <firn/firn.hpp>

#include "runtime/fiber_context.hpp"

namespace {

using firn::runtime::FiberContext;
using firn::runtime::StackPool;

constexpr int round_count = 1000;

struct Counter {
  std::mutex mutex;
  bool guarded = true;
  int count = 0;
};

void count_up(void* argument) noexcept {
  auto& counter = *static_cast<Counter*>(argument);
  for (int i = 0; i < round_count; ++i) {
    if (counter.guarded) {
      const std::lock_guard lock(counter.mutex);
      ++counter.count;
    } else {
      ++counter.count;
    }
    FiberContext::suspend();
  }
}

// Two threads with four fibers each, all counting up the same counter.
int count_on_two_threads(bool guarded) {
  Counter counter;
  counter.guarded = guarded;
  // All fibers begin before any counts and count before any ends: TSan forgets what ended fibers
  // did.
  std::latch all_started(2);
  std::latch all_counted(2);
  const auto run_fibers = [&] {
    StackPool pool;
    std::vector<FiberContext> fibers(4);
    bool started = true;
    for (FiberContext& fiber : fibers)
      started = fiber.start(pool, count_up, &counter).has_value() && started;
    if (!started) std::abort();
    all_started.arrive_and_wait();
    for (int i = 0; i < round_count; ++i)
      for (FiberContext& fiber : fibers) fiber.resume();
    all_counted.arrive_and_wait();
    for (FiberContext& fiber : fibers) fiber.resume();
  };
  std::thread first(run_fibers);
  std::thread second(run_fibers);
  first.join();
  second.join();
  return counter.count == 8 * round_count || !guarded ? 0 : 1;
}

// The fiber begins on one thread and ends on another; its stack is then used by a new fiber.
int move_between_threads() {
  StackPool pool;
  for (int i = 0; i < 100; ++i) {
    int total = 0;
    FiberContext fiber;
    const auto add = [](void* argument) noexcept {
      const int local = 1;
      *static_cast<int*>(argument) += local;
      FiberContext::suspend();
      *static_cast<int*>(argument) += local;
    };
    if (!fiber.start(pool, add, &total)) return 1;
    std::thread([&fiber] { fiber.resume(); }).join();
    fiber.resume();
    if (!fiber.finished() || total != 2) return 1;
  }
  return 0;
}

// Two threads, each with an executor and fibers, all using one table of Firn: fibers park for its
// latch and are woken by the other thread.
int share_table() {
  using firn::BytesType;
  auto domain = firn::Domain::open("", {.type = firn::DomainType::light}).wait();
  if (!domain.has_value()) return 1;
  auto table =
      domain->create_table<BytesType>("t", {.persistence = firn::Persistence::volatile_}).wait();
  if (!table.has_value()) return 1;
  std::atomic<int> failure_count{0};
  const auto run_fibers = [&](char letter) {
    firn::Table<BytesType> own = *table;
    auto executor = firn::Executor::create();
    int left = 8;
    const auto work = [&]() noexcept {
      for (int i = 0; i < round_count / 4; ++i) {
        const char key[] = {letter, static_cast<char>('a' + i % 20)};
        const firn::Bytes mine(std::string_view(key, sizeof key));
        if (!firn::fiber::await(own.put(mine, mine)).has_value()) ++failure_count;
        if (!firn::fiber::await(own.put("both", mine)).has_value()) ++failure_count;
        const auto found = firn::fiber::await(own.lookup(mine));
        if (!found.has_value() || *found != mine.text()) ++failure_count;
        if (i % 16 == 0) firn::fiber::yield();
      }
      --left;
    };
    for (int i = 0; i < 8; ++i)
      if (!firn::fiber::spawn(*executor, work).has_value()) std::abort();
    while (left > 0)
      if (executor->tick(std::chrono::milliseconds(1)) == 0) executor->wait_for_work();
  };
  std::thread first(run_fibers, 'x');
  std::thread second(run_fibers, 'y');
  first.join();
  second.join();
  return failure_count == 0 ? 0 : 1;
}

// Unwinding makes ASan clean the rest of the stack; it complains if it does not know the fiber's.
void throw_and_catch(void*) noexcept {
  try {
    throw 1;
  } catch (int) {
  }
}

int run_alone(FiberContext::Entry entry) {
  StackPool pool;
  FiberContext fiber;
  if (!fiber.start(pool, entry, nullptr)) return 1;
  while (!fiber.finished()) fiber.resume();
  return 0;
}

// The pointers are volatile, or the compiler would see the error and refuse it; what they point to
// is volatile, or the faulty write would be optimised away as dead.
void use_after_free(void*) noexcept {
  volatile int* volatile memory = new int(1);
  FiberContext::suspend();
  delete memory;
  FiberContext::suspend();
  *memory = 2;
}

volatile int* volatile abandoned_local = nullptr;

// A local variable of a fiber that has ended, and whose stack is idle in the pool.
int use_after_fiber() {
  StackPool pool;
  FiberContext fiber;
  const auto leave_pointer = [](void*) noexcept {
    int local = 1;
    abandoned_local = &local;
    FiberContext::suspend();
  };
  if (!fiber.start(pool, leave_pointer, nullptr)) return 1;
  fiber.resume();
  *abandoned_local = 2;  // still alive
  fiber.resume();
  *abandoned_local = 3;
  return 0;
}

void overrun_local(void*) noexcept {
  volatile int numbers[4] = {1, 2, 3, 4};
  volatile int* volatile cursor = numbers;
  FiberContext::suspend();
  cursor[4] = 5;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc == 2 ? argv[1] : "";
  if (mode == "clean")
    return count_on_two_threads(true) + move_between_threads() + run_alone(throw_and_catch) +
           share_table();
  if (mode == "race") return count_on_two_threads(false);
  if (mode == "use-after-free") return run_alone(use_after_free);
  if (mode == "use-after-fiber") return use_after_fiber();
  if (mode == "overrun-local") return run_alone(overrun_local);
  std::fprintf(stderr, "usage: %s clean|race|use-after-free|use-after-fiber|overrun-local\n",
               argv[0]);
  return 2;
}
