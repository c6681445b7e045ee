// The inside of an executor.
//
// Owner thread: the one that ticks. Its fields are touched by no other thread, but for the mailbox
// and `armed_`. Another thread wakes something here by `send`: a push onto the mailbox, which is a
// list through the things themselves, so that waking never waits, never fails and allocates
// nothing.
//
// Sleeping without losing a wake-up: before the owner sleeps it sets `armed_` and looks at the
// mailbox once more; a sender pushes first and then takes `armed_` away; who takes it away writes
// the eventfd.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <firn/operation.hpp>
#include <firn/result.hpp>

#include "base/clock.hpp"
#include "base/random.hpp"

namespace firn::runtime {

using detail::Runnable;

/// A runnable that falls due. Belongs to the executor it was scheduled on.
struct Timer : Runnable {
  base::TimePoint due{};
  std::size_t heap_index = not_scheduled;
  static constexpr std::size_t not_scheduled = ~std::size_t{0};
};

struct IoCalls;
class IoQueue;

/// How an executor does file I/O. `automatic`: io_uring, or helper threads where it is refused.
enum class IoMethod : std::uint8_t { automatic, uring, threads };

/// What replaces clock, chance and file I/O in tests. Null order: first in, first out.
struct ExecutorSeam {
  const base::Clock* clock = nullptr;
  base::Random* order = nullptr;
  IoMethod io_method = IoMethod::automatic;
  const IoCalls* io_calls = nullptr;  ///< of the helper threads; null: the kernel's
};

/// A source of completions that an executor polls in each tick (an io_uring, a queue pair).
class CompletionSource {
 public:
  virtual ~CompletionSource() = default;
  /// Hands finished requests' runnables to `enqueue`, submits what is collected; never blocks.
  virtual void poll() noexcept = 0;
  /// Whether requests are under way, so that an idle executor must be woken by this source.
  [[nodiscard]] virtual bool busy() const noexcept = 0;
  /// A tick ends and its thread may sleep: submits what is collected, sees to it that a completion
  /// makes the executor's descriptor readable, and then enqueues what has finished meanwhile.
  virtual void arm() noexcept {}
  /// A tick begins: undoes `arm`. Whether the descriptor may have been made readable.
  [[nodiscard]] virtual bool disarm() noexcept { return false; }
};

class FiberPool;

class ExecutorCore {
 public:
  static constexpr std::size_t source_count_max = 8;

  static Result<ExecutorCore*> create(ExecutorSeam seam = {}) noexcept;
  ~ExecutorCore();
  ExecutorCore(const ExecutorCore&) = delete;
  ExecutorCore& operator=(const ExecutorCore&) = delete;

  // Owner thread: puts `runnable` last among the ready ones.
  void enqueue(Runnable& runnable) noexcept;
  // Any thread.
  void send(Runnable& runnable) noexcept;
  // Any thread: to the end of the queue of the runnable's home.
  static void wake(Runnable& runnable) noexcept {
    if (runnable.home == current()) {
      runnable.home->enqueue(runnable);
    } else {
      runnable.home->send(runnable);
    }
  }

  // Owner thread. A timer that is scheduled may be moved; one that has fired may be used again.
  Result<void> schedule(Timer& timer, base::TimePoint due) noexcept;
  void unschedule(Timer& timer) noexcept;

  // Owner thread. The source stays registered until `detach`.
  Result<void> attach(CompletionSource& source) noexcept;
  void detach(CompletionSource& source) noexcept;

  // Owner thread: the queue of this executor's file I/O, made by the first call.
  Result<IoQueue*> io() noexcept;

  std::size_t tick(std::chrono::nanoseconds budget) noexcept;
  // Whether a tick is under way, whose end will look at all sources once more.
  [[nodiscard]] bool ticking() const noexcept { return ticking_; }
  [[nodiscard]] int fd() const noexcept { return event_fd_; }
  [[nodiscard]] std::optional<base::TimePoint> deadline() const noexcept;
  void wait_for_work() noexcept;
  [[nodiscard]] bool idle() const noexcept;
  [[nodiscard]] base::TimePoint now() const noexcept { return seam_.clock->now(); }

  // The executor whose tick, or whose scope, is the innermost on this thread; null outside.
  [[gnu::noinline]] static ExecutorCore* current() noexcept;
  // Makes an executor the current one of this thread for a while.
  class Scope {
   public:
    [[nodiscard]] explicit Scope(ExecutorCore& core) noexcept;
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    ExecutorCore* former_;
  };

  // The executor's fibers; owner thread.
  [[nodiscard]] FiberPool& fibers() noexcept { return *fibers_; }

  // Things that were handed out and will come back here; kept for the destructor's assertion.
  void expect() noexcept { ++expected_count_; }
  void came_back() noexcept { --expected_count_; }

 private:
  ExecutorCore(ExecutorSeam seam, int event_fd) noexcept;

  void push_mail(Runnable& runnable) noexcept;
  void take_mail() noexcept;
  void fire_timers() noexcept;
  Runnable* pop() noexcept;
  void begin_tick() noexcept;
  void end_tick(std::size_t run_count) noexcept;
  void drain() noexcept;
  void arm() noexcept;
  void heap_place(std::size_t index, Timer& timer) noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;

  // Constant after construction.
  const ExecutorSeam seam_;
  const int event_fd_;

  // Owner thread.
  Runnable* first_ = nullptr;
  Runnable* last_ = nullptr;
  std::size_t ready_count_ = 0;
  std::size_t expected_count_ = 0;
  std::unique_ptr<FiberPool> fibers_;
  std::vector<Timer*> timers_;  // binary heap by due time
  std::array<CompletionSource*, source_count_max> sources_{};
  std::size_t source_count_ = 0;
  bool ticking_ = false;
  std::unique_ptr<IoQueue> io_;

  // Any thread.
  alignas(64) std::atomic<Runnable*> mailbox_{nullptr};
  std::atomic<bool> armed_{false};
  std::atomic<std::uint32_t> sender_count_{0};  // inside `send`; the destructor waits for them
};

}  // namespace firn::runtime
