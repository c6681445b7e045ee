#include "runtime/executor_core.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "base/spin.hpp"
#include "runtime/fiber.hpp"
#include "runtime/io_queue.hpp"

namespace firn::runtime {
namespace {

thread_local ExecutorCore* current_core = nullptr;

// The budget is looked at after this many runnables: reading the clock costs as much as a few of
// them.
constexpr std::size_t runs_between_clock_reads = 16;

}  // namespace

ExecutorCore* ExecutorCore::current() noexcept { return current_core; }

ExecutorCore::Scope::Scope(ExecutorCore& core) noexcept : former_(current_core) {
  current_core = &core;
}
ExecutorCore::Scope::~Scope() { current_core = former_; }

Result<ExecutorCore*> ExecutorCore::create(ExecutorSeam seam) noexcept {
  if (seam.clock == nullptr) seam.clock = &base::steady_clock();
  const int event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd < 0) {
    return fail_system(ErrorCode::io_error, errno, "no event descriptor for an executor");
  }
  auto* core = new (std::nothrow) ExecutorCore(seam, event_fd);
  if (core == nullptr || core->fibers_ == nullptr) {
    if (core == nullptr) ::close(event_fd);
    delete core;
    return fail(ErrorCode::no_memory, "no memory for an executor");
  }
  return core;
}

ExecutorCore::ExecutorCore(ExecutorSeam seam, int event_fd) noexcept
    : seam_(seam), event_fd_(event_fd), fibers_(new (std::nothrow) FiberPool) {}

ExecutorCore::~ExecutorCore() {
  while (sender_count_.load(std::memory_order_acquire) != 0) base::pause_briefly();
  take_mail();
  FIRN_ASSERT(idle());  // operations, fibers and timers end before their executor
  io_.reset();
  ::close(event_fd_);
}

void ExecutorCore::enqueue(Runnable& runnable) noexcept {
  runnable.next = nullptr;
  if (last_ == nullptr) {
    first_ = &runnable;
  } else {
    last_->next = &runnable;
  }
  last_ = &runnable;
  ++ready_count_;
}

void ExecutorCore::send(Runnable& runnable) noexcept {
  // Once it is pushed the owner may run it, and end the executor before this function does.
  sender_count_.fetch_add(1, std::memory_order_relaxed);
  push_mail(runnable);
  sender_count_.fetch_sub(1, std::memory_order_release);
}

void ExecutorCore::push_mail(Runnable& runnable) noexcept {
  Runnable* head = mailbox_.load(std::memory_order_relaxed);
  do {
    runnable.next = head;
  } while (!mailbox_.compare_exchange_weak(head, &runnable, std::memory_order_seq_cst,
                                           std::memory_order_relaxed));
  // The push stands before this look at `armed_`, the owner's arming before its last look at the
  // mailbox: one of the two sees the other.
  if (FIRN_PLANTED("executor-lost-wakeup")) return;
  if (armed_.load(std::memory_order_seq_cst) && armed_.exchange(false, std::memory_order_seq_cst)) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event_fd_, &one, sizeof one);
  }
}

void ExecutorCore::take_mail() noexcept {
  Runnable* newest = mailbox_.exchange(nullptr, std::memory_order_acquire);
  Runnable* oldest = nullptr;
  while (newest != nullptr) {
    Runnable* next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest != nullptr) {
    Runnable* next = oldest->next;
    enqueue(*oldest);
    oldest = next;
  }
}

Runnable* ExecutorCore::pop() noexcept {
  if (first_ == nullptr) return nullptr;
  Runnable* before = nullptr;
  Runnable* chosen = first_;
  if (seam_.order != nullptr) {
    for (std::uint64_t skip = seam_.order->below(ready_count_); skip > 0; --skip) {
      before = chosen;
      chosen = chosen->next;
    }
  }
  (before == nullptr ? first_ : before->next) = chosen->next;
  if (last_ == chosen) last_ = before;
  --ready_count_;
  chosen->next = nullptr;
  return chosen;
}

std::size_t ExecutorCore::tick(std::chrono::nanoseconds budget) noexcept {
  const Scope scope(*this);
  begin_tick();
  const bool bounded = budget > std::chrono::nanoseconds::zero();
  const base::TimePoint end = bounded ? now() + budget : base::TimePoint{};
  std::size_t run_count = 0;
  while (true) {
    take_mail();
    for (std::size_t index = 0; index < source_count_; ++index) sources_[index]->poll();
    if (!timers_.empty()) fire_timers();
    std::size_t round = ready_count_;
    if (round == 0) break;
    for (; round > 0; --round) {
      Runnable* runnable = pop();
      if (runnable == nullptr) break;
      runnable->run(*runnable);
      ++run_count;
      if (bounded && run_count % runs_between_clock_reads == 0 && now() >= end) {
        end_tick(run_count);
        return run_count;
      }
    }
    if (!bounded || now() >= end) break;
  }
  end_tick(run_count);
  return run_count;
}

void ExecutorCore::begin_tick() noexcept {
  ticking_ = true;
  bool signalled = !armed_.exchange(false, std::memory_order_seq_cst);
  for (std::size_t index = 0; index < source_count_; ++index) {
    if (sources_[index]->disarm()) signalled = true;
  }
  if (signalled) drain();
}

void ExecutorCore::end_tick(std::size_t run_count) noexcept {
  // A sender may have written only after this tick began, when it had taken the arming away before:
  // the descriptor would stay readable. A tick that found nothing takes that back.
  if (run_count == 0) drain();
  for (std::size_t index = 0; index < source_count_; ++index) sources_[index]->arm();
  arm();
  ticking_ = false;
}

void ExecutorCore::drain() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto read = ::read(event_fd_, &count, sizeof count);
}

Result<IoQueue*> ExecutorCore::io() noexcept {
  if (io_ == nullptr) {
    FIRN_TRY_ASSIGN(io_, IoQueue::create(*this, seam_.io_method, seam_.io_calls));
  }
  return io_.get();
}

void ExecutorCore::arm() noexcept {
  armed_.store(true, std::memory_order_seq_cst);
  if (mailbox_.load(std::memory_order_seq_cst) != nullptr) {
    take_mail();  // the sender may have been too early to see the arming
  }
}

bool ExecutorCore::idle() const noexcept {
  return ready_count_ == 0 && timers_.empty() && expected_count_ == 0 &&
         mailbox_.load(std::memory_order_acquire) == nullptr;
}

std::optional<base::TimePoint> ExecutorCore::deadline() const noexcept {
  if (ready_count_ > 0) return base::TimePoint::min();
  if (timers_.empty()) return std::nullopt;
  return timers_.front()->due;
}

void ExecutorCore::wait_for_work() noexcept {
  std::optional<std::chrono::nanoseconds> timeout;
  if (const auto due = deadline()) {
    if (*due == base::TimePoint::min()) return;
    timeout = *due - now();
    if (*timeout <= std::chrono::nanoseconds::zero()) return;
  }
  if (io_ != nullptr && io_->sleep(timeout)) return;
  int timeout_ms = -1;
  if (timeout.has_value()) {
    // Rounded up, so that the timer has fallen due when poll returns; at most an hour at a time.
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(*timeout).count();
    timeout_ms = static_cast<int>(std::min<std::int64_t>(ms, 3'600'000));
  }
  pollfd descriptor{.fd = event_fd_, .events = POLLIN, .revents = 0};
  [[maybe_unused]] const int ready = ::poll(&descriptor, 1, timeout_ms);
}

Result<void> ExecutorCore::attach(CompletionSource& source) noexcept {
  if (source_count_ == source_count_max) {
    return fail(ErrorCode::no_memory, "an executor takes at most {} completion sources",
                source_count_max);
  }
  sources_[source_count_++] = &source;
  return {};
}

void ExecutorCore::detach(CompletionSource& source) noexcept {
  auto* end = sources_.data() + source_count_;
  auto* found = std::find(sources_.data(), end, &source);
  FIRN_ASSERT(found != end);
  *found = sources_[--source_count_];
}

void ExecutorCore::fire_timers() noexcept {
  const base::TimePoint time = now();
  while (!timers_.empty() && timers_.front()->due <= time) {
    Timer& timer = *timers_.front();
    unschedule(timer);
    enqueue(timer);
  }
}

Result<void> ExecutorCore::schedule(Timer& timer, base::TimePoint due) noexcept {
  unschedule(timer);
  FIRN_TRY(base::guard_allocation([&] { timers_.push_back(&timer); }));
  timer.due = due;
  heap_place(timers_.size() - 1, timer);
  sift_up(timers_.size() - 1);
  return {};
}

void ExecutorCore::unschedule(Timer& timer) noexcept {
  if (timer.heap_index == Timer::not_scheduled) return;
  const std::size_t index = timer.heap_index;
  FIRN_ASSERT(index < timers_.size() && timers_[index] == &timer);
  timer.heap_index = Timer::not_scheduled;
  Timer* moved = timers_.back();
  timers_.pop_back();
  if (moved == &timer) return;
  heap_place(index, *moved);
  sift_up(index);
  sift_down(moved->heap_index);
}

void ExecutorCore::heap_place(std::size_t index, Timer& timer) noexcept {
  timers_[index] = &timer;
  timer.heap_index = index;
}

void ExecutorCore::sift_up(std::size_t index) noexcept {
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (timers_[parent]->due <= timers_[index]->due) return;
    Timer& child = *timers_[index];
    heap_place(index, *timers_[parent]);
    heap_place(parent, child);
    index = parent;
  }
}

void ExecutorCore::sift_down(std::size_t index) noexcept {
  while (true) {
    std::size_t least = index;
    for (std::size_t child = 2 * index + 1; child <= 2 * index + 2; ++child) {
      if (child < timers_.size() && timers_[child]->due < timers_[least]->due) least = child;
    }
    if (least == index) return;
    Timer& parent = *timers_[index];
    heap_place(index, *timers_[least]);
    heap_place(least, parent);
    index = least;
  }
}

}  // namespace firn::runtime
