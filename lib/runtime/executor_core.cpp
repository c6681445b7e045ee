#include "runtime/executor_core.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <thread>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "base/sanitizer.hpp"
#include "base/yield.hpp"
#include "runtime/fiber.hpp"
#include "runtime/io_queue.hpp"
#include "runtime/parking_lot.hpp"

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
  base::watch_forks();
  ParkingLot::watch_forks();
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
  if (of_this_process()) {
    FIRN_DEBUG_ASSERT(may_be_owned());
    take_mail();
    FIRN_ASSERT(idle());  // operations, fibers and timers end before their executor
    // A sender may stand between its push and its write; what it sent has run already.
    while (written_count_.load(std::memory_order_acquire) != taken_count_) {
      std::this_thread::yield();
    }
  } else {
    base::leak_on_purpose(fibers_.release());  // some may be suspended, for their parent to resume
  }
  io_.reset();
  ::close(event_fd_);
}

void ExecutorCore::enqueue(Runnable& runnable) noexcept {
  FIRN_DEBUG_ASSERT(may_be_owned());
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
  Runnable* head = mailbox_.load(std::memory_order_relaxed);
  do {
    runnable.next = head == armed() ? nullptr : head;
  } while (!mailbox_.compare_exchange_weak(head, &runnable, std::memory_order_release,
                                           std::memory_order_relaxed));
  if (head != armed()) return;
  FIRN_YIELD("executor.send");
  if (!FIRN_PLANTED("executor-lost-wakeup")) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event_fd_, &one, sizeof one);
  }
  written_count_.fetch_add(1, std::memory_order_release);
}

void ExecutorCore::take_mail() noexcept {
  if (mailbox_.load(std::memory_order_relaxed) == nullptr) return;
  Runnable* newest = mailbox_.exchange(nullptr, std::memory_order_acquire);
  if (armed_ && newest != armed()) ++taken_count_;
  armed_ = false;
  if (newest == armed()) return;
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

void ExecutorCore::arm() noexcept {
  while (!armed_) {
    Runnable* empty = nullptr;
    if (mailbox_.compare_exchange_strong(empty, armed(), std::memory_order_relaxed)) {
      armed_ = true;
    } else {
      take_mail();
    }
  }
}

// Makes the eventfd silent. Of the senders' writes those count that were counted before it is read.
void ExecutorCore::drain_event_fd() noexcept {
  drained_count_ = written_count_.load(std::memory_order_acquire);
  std::uint64_t count = 0;
  [[maybe_unused]] const auto read = ::read(event_fd_, &count, sizeof count);
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
  if (!of_this_process()) return 0;
  FIRN_DEBUG_ASSERT(may_be_owned());
  const Scope scope(*this);
  const OffFiber off_fiber;  // what runs in this tick does not run on the fiber that called it
  const std::thread::id former = ticking_thread_.load(std::memory_order_relaxed);
  begin_tick();
  const bool bounded = budget > std::chrono::nanoseconds::zero();
  const base::TimePoint start = bounded ? now() : base::TimePoint{};
  // Not `start + budget`: a budget may be as large as its type allows.
  const auto used_up = [&]() noexcept { return now() - start >= budget; };
  std::size_t run_count = 0;
  bool over = false;
  while (!over) {
    take_mail();
    for (std::size_t index = 0; index < source_count_; ++index) sources_[index]->poll();
    if (!timers_.empty()) fire_timers();
    std::size_t round = ready_count_;
    if (round == 0) break;
    over = !bounded;
    for (; round > 0; --round) {
      Runnable* runnable = pop();
      if (runnable == nullptr) break;
      runnable->run(*runnable);
      ++run_count;
      if (bounded && run_count % runs_between_clock_reads == 0 && used_up()) break;
    }
    over = over || used_up();
  }
  end_tick(former);
  return run_count;
}

void ExecutorCore::begin_tick() noexcept {
  ticking_thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  bool signalled = written_count_.load(std::memory_order_acquire) != drained_count_;
  for (std::size_t index = 0; index < source_count_; ++index) {
    if (sources_[index]->disarm()) signalled = true;
  }
  if (signalled) drain_event_fd();
}

// Arms also at the end of a tick inside another one: a blocking call there sleeps next.
void ExecutorCore::end_tick(std::thread::id former) noexcept {
  for (std::size_t index = 0; index < source_count_; ++index) sources_[index]->arm();
  arm();
  ticking_thread_.store(former, std::memory_order_relaxed);
}

Result<IoQueue*> ExecutorCore::io() noexcept {
  if (io_ == nullptr) {
    FIRN_TRY_ASSIGN(io_, IoQueue::create(*this, seam_.io_method, seam_.io_calls));
  }
  return io_.get();
}

bool ExecutorCore::idle() const noexcept {
  const Runnable* mail = mailbox_.load(std::memory_order_acquire);
  return ready_count_ == 0 && timers_.empty() && expected_count_ == 0 &&
         (mail == nullptr || mail == armed());
}

std::optional<base::TimePoint> ExecutorCore::deadline() const noexcept {
  if (ready_count_ > 0) return base::TimePoint::min();
  if (timers_.empty()) return std::nullopt;
  return timers_.front()->due;
}

void ExecutorCore::wait_for_work() noexcept {
  if (!of_this_process()) return;
  FIRN_DEBUG_ASSERT(may_be_owned());
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
  if (FIRN_PLANTED("timers-unordered")) return;
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
