#include "runtime/fiber_context.hpp"

#include <atomic>
#include <cfenv>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sanitizer.hpp"
#include "support/catch.hpp"

namespace {

using firn::runtime::FiberContext;
using firn::runtime::StackPool;

// Runs `deed` in a child and tells the signal that ended it, or 0.
template <class Deed>
int signal_ending(Deed deed) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core = {0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    std::signal(SIGABRT, SIG_DFL);  // the test framework has handlers of its own
    std::signal(SIGSEGV, SIG_DFL);
    ::dup2(::open("/dev/null", O_WRONLY), STDERR_FILENO);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);  // TSan's runtime writes out what the parent has buffered
    deed();
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

struct Journal {
  std::string text;
  FiberContext* inner = nullptr;
};

void note_twice(void* argument) noexcept {
  auto& journal = *static_cast<Journal*>(argument);
  journal.text += 'b';
  FiberContext::suspend();
  journal.text += 'd';
}

void suspend_once(void*) noexcept { FiberContext::suspend(); }

void do_nothing(void*) noexcept {}

// Fills about 1 KiB of stack per level. The volatile array keeps the frame from being optimised
// away.
[[gnu::noinline]] int use_stack(int depth) noexcept {
  volatile char frame[1024];
  frame[0] = static_cast<char>(depth);
  frame[1023] = static_cast<char>(depth);
  const int below = depth == 0 ? 0 : use_stack(depth - 1);
  return below + (frame[0] == frame[1023] ? 1 : 0);
}

volatile int deep = 1 << 20;

// pthread_self is declared as a constant function, so compilers keep its result across a
// suspension.
[[gnu::noinline]] std::thread::id thread_id() noexcept {
  asm volatile("" ::: "memory");
  return std::this_thread::get_id();
}

}  // namespace

#if !FIRN_ASAN && !FIRN_TSAN
static std::atomic<std::uint64_t> allocation_count = 0;

// Counts allocations. Weak, so that another test file may bring its own; then the test that counts
// notices that nothing is counted.
[[gnu::weak]] void* operator new(std::size_t size_bytes, const std::nothrow_t&) noexcept {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size_bytes);
}
[[gnu::weak]] void* operator new(std::size_t size_bytes) {
  if (void* const memory = ::operator new(size_bytes, std::nothrow)) return memory;
  std::abort();
}
[[gnu::weak]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::weak]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST_CASE("fiber: starts without heap once the pool is warm", "[fiber]") {
  StackPool pool;
  const auto run_one = [&pool] {
    FiberContext fiber;
    if (!fiber.prepare(pool)) return false;
    auto* const number = ::new (fiber.reserve(sizeof(int), alignof(int))) int(1);
    fiber.start([](void* argument) noexcept { ++*static_cast<int*>(argument); }, number);
    fiber.resume();
    return fiber.finished();
  };
  REQUIRE(run_one());
  const std::uint64_t count_before = allocation_count;
  bool all_ran = true;
  for (int i = 0; i < 1000; ++i) all_ran = run_one() && all_ran;
  const std::uint64_t count_after = allocation_count;
  CHECK(all_ran);
  CHECK(count_after == count_before);
  CHECK(pool.mapped_count() == 1);
  ::operator delete(::operator new(1));
  REQUIRE(allocation_count > count_after);
}
#endif

TEST_CASE("fiber: resume and suspend alternate in order", "[fiber]") {
  StackPool pool;
  Journal journal;
  FiberContext fiber;
  REQUIRE(fiber.start(pool, note_twice, &journal));
  REQUIRE(journal.text.empty());
  journal.text += 'a';
  fiber.resume();
  REQUIRE(!fiber.finished());
  journal.text += 'c';
  fiber.resume();
  REQUIRE(journal.text == "abcd");
  REQUIRE(fiber.finished());
  REQUIRE(pool.in_use_count() == 0);
}

TEST_CASE("fiber: a finished context starts again", "[fiber]") {
  StackPool pool;
  FiberContext fiber;
  for (int i = 0; i < 3; ++i) {
    REQUIRE(fiber.start(pool, suspend_once, nullptr));
    fiber.resume();
    REQUIRE(!fiber.finished());
    fiber.resume();
    REQUIRE(fiber.finished());
  }
}

TEST_CASE("fiber: nested resumes return to their resumer", "[fiber]") {
  StackPool pool;
  Journal journal;
  FiberContext inner;
  journal.inner = &inner;
  REQUIRE(inner.start(pool, note_twice, &journal));
  FiberContext outer;
  const auto resume_inner = [](void* argument) noexcept {
    auto& own = *static_cast<Journal*>(argument);
    FiberContext* const self = FiberContext::current();
    own.text += '(';
    own.inner->resume();
    own.text += FiberContext::current() == self ? ')' : '!';
    FiberContext::suspend();
    own.inner->resume();
    own.text += FiberContext::current() == self ? '.' : '!';
  };
  REQUIRE(outer.start(pool, resume_inner, &journal));
  REQUIRE(FiberContext::current() == nullptr);
  outer.resume();
  REQUIRE(journal.text == "(b)");
  REQUIRE(FiberContext::current() == nullptr);
  outer.resume();
  REQUIRE(journal.text == "(b)d.");
  REQUIRE(inner.finished());
  REQUIRE(outer.finished());
}

TEST_CASE("fiber: one that another fiber began is resumed by the thread", "[fiber]") {
  StackPool pool;
  Journal journal;
  FiberContext inner;
  journal.inner = &inner;
  REQUIRE(inner.start(pool, note_twice, &journal));
  FiberContext outer;
  REQUIRE(outer.start(
      pool, [](void* argument) noexcept { static_cast<Journal*>(argument)->inner->resume(); },
      &journal));
  outer.resume();
  REQUIRE(outer.finished());
  REQUIRE(!inner.finished());
  inner.resume();
  REQUIRE(journal.text == "bd");
  REQUIRE(inner.finished());
}

TEST_CASE("fiber: ten thousand in waves of 100 map no more than 100 stacks", "[fiber]") {
  StackPool pool;
  std::uint64_t finished_count = 0;
  for (int wave = 0; wave < 100; ++wave) {
    std::vector<FiberContext> fibers(100);
    bool all_started = true;
    for (FiberContext& fiber : fibers)
      all_started = fiber.start(pool, suspend_once, nullptr).has_value() && all_started;
    REQUIRE(all_started);
    for (FiberContext& fiber : fibers) fiber.resume();
    REQUIRE(pool.in_use_count() == 100);
    for (FiberContext& fiber : fibers) {
      fiber.resume();
      finished_count += fiber.finished() ? 1 : 0;
    }
  }
  REQUIRE(finished_count == 10'000);
  REQUIRE(pool.mapped_count() == 100);
  REQUIRE(pool.in_use_count() == 0);
  REQUIRE(pool.idle_count() == 100);
}

TEST_CASE("fiber: moves between two threads", "[fiber]") {
  struct Visits {
    std::vector<std::thread::id> threads;
    bool current_is_right = true;
  };
  StackPool pool;
  Visits visits;
  FiberContext fiber;
  const auto record_threads = [](void* argument) noexcept {
    auto& own = *static_cast<Visits*>(argument);
    FiberContext* const self = FiberContext::current();
    for (int i = 0; i < 100; ++i) {
      own.threads.push_back(thread_id());
      FiberContext::suspend();
      own.current_is_right = FiberContext::current() == self && own.current_is_right;
    }
  };
  REQUIRE(fiber.start(pool, record_threads, &visits));
  std::binary_semaphore turns[2] = {std::binary_semaphore(1), std::binary_semaphore(0)};
  const auto take_turns = [&](std::size_t own) {
    while (true) {
      turns[own].acquire();
      const bool over = fiber.finished();
      if (!over) fiber.resume();
      turns[1 - own].release();
      if (over) return;
    }
  };
  std::thread first(take_turns, 0);
  std::thread second(take_turns, 1);
  first.join();
  second.join();
  REQUIRE(fiber.finished());
  REQUIRE(visits.current_is_right);
  REQUIRE(visits.threads.size() == 100);
  for (std::size_t i = 2; i < visits.threads.size(); ++i) {
    REQUIRE(visits.threads[i] == visits.threads[i - 2]);
    REQUIRE(visits.threads[i] != visits.threads[i - 1]);
  }
}

TEST_CASE("fiber: keeps its rounding mode to itself", "[fiber]") {
  StackPool pool;
  std::vector<int> modes;
  FiberContext fiber;
  const auto round_upward = [](void* argument) noexcept {
    auto& own = *static_cast<std::vector<int>*>(argument);
    std::fesetround(FE_UPWARD);
    FiberContext::suspend();
    own.push_back(std::fegetround());
  };
  REQUIRE(fiber.start(pool, round_upward, &modes));
  fiber.resume();
  modes.push_back(std::fegetround());
  fiber.resume();
  modes.push_back(std::fegetround());
  REQUIRE(modes == std::vector<int>{FE_TONEAREST, FE_UPWARD, FE_TONEAREST});
}

TEST_CASE("fiber: throws and catches between suspensions", "[fiber]") {
  StackPool pool;
  int caught_count = 0;
  FiberContext fiber;
  const auto throw_and_catch = [](void* argument) noexcept {
    for (int i = 0; i < 3; ++i) {
      try {
        throw i;
      } catch (int number) {
        if (number == i) ++*static_cast<int*>(argument);
      }
      FiberContext::suspend();
    }
  };
  REQUIRE(fiber.start(pool, throw_and_catch, &caught_count));
  while (!fiber.finished()) fiber.resume();
  REQUIRE(caught_count == 3);
}

TEST_CASE("fiber: what is reserved lies on its stack and is aligned", "[fiber]") {
  struct Callable {
    alignas(64) char text[64];
    bool seen;
  };
  StackPool pool;
  FiberContext fiber;
  REQUIRE(fiber.prepare(pool));
  auto* const byte = static_cast<char*>(fiber.reserve(1, 1));
  *byte = 'x';
  void* const place = fiber.reserve(sizeof(Callable), alignof(Callable));
  REQUIRE(reinterpret_cast<std::uintptr_t>(place) % alignof(Callable) == 0);
  auto* const callable = ::new (place) Callable{{'f', 'i', 'r', 'n'}, false};
  const auto call = [](void* argument) noexcept {
    auto& own = *static_cast<Callable*>(argument);
    use_stack(8);
    own.seen = own.text[0] == 'f' && own.text[3] == 'n';
    FiberContext::suspend();
  };
  fiber.start(call, callable);
  fiber.resume();
  REQUIRE(callable->seen);
  REQUIRE(*byte == 'x');
  fiber.resume();
  REQUIRE(fiber.finished());
}

TEST_CASE("fiber: a prepared one that never starts gives its stack back", "[fiber]") {
  StackPool pool;
  {
    FiberContext fiber;
    REQUIRE(fiber.prepare(pool));
    REQUIRE(pool.in_use_count() == 1);
  }
  REQUIRE(pool.in_use_count() == 0);
}

TEST_CASE("fiber: three quarters of the stack may be used", "[fiber]") {
  StackPool pool(StackPool::Options{.stack_size_bytes = 256 * 1024});
  int level_count = 0;
  FiberContext fiber;
  const auto descend = [](void* argument) noexcept {
    *static_cast<int*>(argument) = use_stack((FIRN_ASAN || FIRN_TSAN) ? 96 : 160);
  };
  REQUIRE(fiber.start(pool, descend, &level_count));
  fiber.resume();
  REQUIRE(level_count == ((FIRN_ASAN || FIRN_TSAN) ? 97 : 161));
}

TEST_CASE("fiber: a stack overflow dies at the guard", "[fiber]") {
  const int ended_by = signal_ending([] {
    StackPool pool;
    FiberContext fiber;
    if (!fiber.start(
            pool, [](void*) noexcept { deep = use_stack(deep); }, nullptr))
      return;
    fiber.resume();
  });
  REQUIRE(ended_by == SIGSEGV);
}

TEST_CASE("fiber: misuse asserts", "[fiber]") {
  const auto resume_finished = [] {
    StackPool pool;
    FiberContext fiber;
    if (!fiber.start(pool, do_nothing, nullptr)) return;
    fiber.resume();
    fiber.resume();
  };
  const auto resume_itself = [] {
    StackPool pool;
    FiberContext fiber;
    if (!fiber.start(
            pool, [](void*) noexcept { FiberContext::current()->resume(); }, nullptr))
      return;
    fiber.resume();
  };
  const auto resume_empty = [] {
    FiberContext fiber;
    fiber.resume();
  };
  const auto destroy_suspended = [] {
    StackPool pool;
    FiberContext fiber;
    if (!fiber.start(pool, suspend_once, nullptr)) return;
    fiber.resume();
  };
  const auto destroy_unresumed = [] {
    StackPool pool;
    FiberContext fiber;
    if (!fiber.start(pool, do_nothing, nullptr)) return;
  };
  const auto suspend_thread = [] { FiberContext::suspend(); };
  const auto reserve_too_much = [] {
    StackPool pool;
    FiberContext fiber;
    if (!fiber.prepare(pool)) return;
    static_cast<void>(fiber.reserve(4000, 1));
    static_cast<void>(fiber.reserve(4000, 1));
  };
  CHECK(signal_ending(resume_finished) == SIGABRT);
  CHECK(signal_ending(resume_itself) == SIGABRT);
  CHECK(signal_ending(resume_empty) == SIGABRT);
  CHECK(signal_ending(destroy_suspended) == SIGABRT);
  CHECK(signal_ending(destroy_unresumed) == SIGABRT);
  CHECK(signal_ending(suspend_thread) == SIGABRT);
  CHECK(signal_ending(reserve_too_much) == SIGABRT);
  CHECK(signal_ending([] {}) == 0);
}

#ifdef FIRN_DEBUG
TEST_CASE("fiber: suspending in a catch block asserts", "[fiber]") {
  const auto suspend_in_catch = [] {
    StackPool pool;
    FiberContext fiber;
    const auto entry = [](void*) noexcept {
      try {
        throw 1;
      } catch (int) {
        FiberContext::suspend();
      }
    };
    if (!fiber.start(pool, entry, nullptr)) return;
    fiber.resume();
    fiber.resume();
  };
  REQUIRE(signal_ending(suspend_in_catch) == SIGABRT);
}
#endif
