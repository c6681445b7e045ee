// The inside of an executor.
//
// Owner thread: the one that ticks. Its fields are touched by no other thread, but for the mailbox
// and `written_count_`; debug builds assert that nobody else ticks meanwhile. Another thread wakes
// something here by `send`: a push onto the mailbox, which is a list through the things themselves,
// so that waking never waits, never fails and allocates nothing.
//
// Sleeping without losing a wake-up: outside of `tick` an empty mailbox holds the mark `armed`
// instead of null. The sender whose push replaces the mark writes the eventfd; all others touch
// nothing of the executor after their push, at which the owner may run what was sent, and destroy
// the executor. The one that writes counts it afterwards, as its last act, so that the owner reads
// the eventfd after the write and the destructor waits for it.
//
// A forked child leaves the executors of its parent alone, but for destroying them: descriptor and
// ring are shared, and what is under way there is the parent's.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <firn/operation.hpp>
#include <firn/result.hpp>

#include "base/clock.hpp"
#include "base/fork.hpp"
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

  // Owner thread. A timer that is scheduled may be moved or taken away; one that has run may be
  // used again. Between the two, fallen due and in the queue, it can be neither and must live on.
  // `no_memory`: it is not scheduled.
  Result<void> schedule(Timer& timer, base::TimePoint due) noexcept;
  void unschedule(Timer& timer) noexcept;

  // Owner thread. The source stays registered until `detach`.
  Result<void> attach(CompletionSource& source) noexcept;
  void detach(CompletionSource& source) noexcept;

  // Owner thread: the queue of this executor's file I/O, made by the first call.
  Result<IoQueue*> io() noexcept;

  // Runs nothing in a forked child of the process that made the executor.
  std::size_t tick(std::chrono::nanoseconds budget) noexcept;
  // Whether a tick is under way, whose end will look at all sources once more.
  [[nodiscard]] bool ticking() const noexcept {
    return ticking_thread_.load(std::memory_order_relaxed) != std::thread::id();
  }
  // Whether this thread may be the owner: no other one ticks at this moment.
  [[nodiscard]] bool may_be_owned() const noexcept {
    const std::thread::id owner = ticking_thread_.load(std::memory_order_relaxed);
    return owner == std::thread::id() || owner == std::this_thread::get_id();
  }
  [[nodiscard]] bool of_this_process() const noexcept {
    return process_ == base::process_generation();
  }
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

  // A mark, never looked into.
  static Runnable* armed() noexcept { return reinterpret_cast<Runnable*>(std::uintptr_t{1}); }

  void take_mail() noexcept;
  void fire_timers() noexcept;
  Runnable* pop() noexcept;
  void begin_tick() noexcept;
  void end_tick(std::thread::id former) noexcept;
  void drain_event_fd() noexcept;
  void arm() noexcept;
  void heap_place(std::size_t index, Timer& timer) noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;

  // Constant after construction.
  const ExecutorSeam seam_;
  const int event_fd_;
  const std::uint32_t process_ = base::process_generation();

  // Owner thread.
  Runnable* first_ = nullptr;
  Runnable* last_ = nullptr;
  std::size_t ready_count_ = 0;
  std::size_t expected_count_ = 0;
  std::unique_ptr<FiberPool> fibers_;
  std::vector<Timer*> timers_;  // binary heap by due time
  std::array<CompletionSource*, source_count_max> sources_{};
  std::size_t source_count_ = 0;
  std::unique_ptr<IoQueue> io_;
  bool armed_ = true;                // the mark was put into the mailbox and not taken out since
  std::uint32_t taken_count_ = 0;    // marks that senders took
  std::uint32_t drained_count_ = 0;  // writes that were read back

  // Any thread.
  alignas(64) std::atomic<Runnable*> mailbox_{armed()};
  std::atomic<std::uint32_t> written_count_{0};    // a sender's last act
  std::atomic<std::thread::id> ticking_thread_{};  // written by the owner
};

}  // namespace firn::runtime
