// The parts of operations and executors that need not be inline.
#include <firn/executor.hpp>
#include <firn/operation.hpp>

#include "base/fork.hpp"
#include "base/planted.hpp"
#include "base/sanitizer.hpp"
#include "runtime/executor_core.hpp"
#include "runtime/operation_access.hpp"
#include "runtime/parking_lot.hpp"

namespace firn {
namespace {

// Callbacks that post operations whose callbacks post operations ... : beyond this depth the next
// one starts from its executor's queue, so that the stack stays small (each level takes about 300
// B).
constexpr int notice_depth_max = 16;
thread_local int notice_depth = 0;

// A thread's own executor, for blocking calls; made at the first one, gone with the thread. It has
// no destructor: destructors of the program's own statics and thread locals may run later than the
// one below and wait for operations, which then get another executor, given back by nobody.
struct ThreadExecutor {
  runtime::ExecutorCore* core = nullptr;
  std::uint32_t process = 0;
  bool thread_ended = false;
};
constinit thread_local ThreadExecutor thread_executor;

// A forked child leaves its parent's executor alone: they share the event descriptor, and what
// waits on it waits for threads of the parent.
struct ThreadEnd {
  bool expected = false;
  ~ThreadEnd() {
    thread_executor.thread_ended = true;
    if (thread_executor.process != base::process_generation()) return;
    delete std::exchange(thread_executor.core, nullptr);
  }
};
thread_local ThreadEnd thread_end;

}  // namespace

void OperationBase::drop_engine_state() noexcept {
  std::exchange(drop_engine_state_, nullptr)(engine_state_);
}

void OperationBase::cancel() noexcept {
  FIRN_DEBUG_ASSERT(state_ == OperationState::ready || state_ == OperationState::done ||
                    home->may_be_owned());
  switch (state_) {
    case OperationState::ready:
      error_ = fail(ErrorCode::cancelled).error;
      settle(detail::Progress::failed);
      transition(OperationState::done);
      return;
    case OperationState::running:
      cancel_requested_ = true;
      return;
    case OperationState::waiting:
      if (cancel_requested_) return;
      cancel_requested_ = true;
      // From the queue, not from here: the caller's callback must not run inside `cancel`. If the
      // operation is in the lot no longer it is on its way home and finds the request there.
      if (runtime::ParkingLot::shared().withdraw(*this)) {
        if (FIRN_PLANTED("cancel-loses-operation")) return;
        home->enqueue(*this);
      }
      return;
    case OperationState::done:
      return;
  }
}

namespace detail {

Result<runtime::ExecutorCore*> executor_of_this_thread() noexcept {
  ThreadExecutor& own = thread_executor;
  if (own.core == nullptr || own.process != base::process_generation()) {
    FIRN_TRY_ASSIGN(own.core, runtime::ExecutorCore::create());
    own.process = base::process_generation();
    if (own.thread_ended) base::leak_on_purpose(own.core);  // nobody is left to give it back
    thread_end.expected = true;  // the first touch has its destructor called
  }
  return own.core;
}

Result<runtime::ExecutorCore*> current_executor() noexcept {
  if (runtime::ExecutorCore* core = runtime::ExecutorCore::current()) return core;
  return executor_of_this_thread();
}

void run_until_done(OperationBase& operation) noexcept {
  runtime::ExecutorCore& core = OperationAccess::home(operation);
  while (!operation.done()) {
    core.tick(std::chrono::nanoseconds::zero());
    if (!operation.done()) core.wait_for_work();
  }
}

void deliver(OperationBase& operation) noexcept {
  ++notice_depth;
  if (FIRN_PLANTED("completion-twice")) OperationAccess::notify(operation);
  OperationAccess::notify(operation);
  --notice_depth;
}

bool nested_too_deeply() noexcept { return notice_depth >= notice_depth_max; }

void start_from_queue(OperationBase& operation) noexcept {
  Runnable& runnable = OperationAccess::prepare_wait(operation);
  runnable.home->enqueue(runnable);
}

runtime::ExecutorCore* core_of(Executor& executor) noexcept {
  FIRN_ASSERT(executor.core_ != nullptr);  // moved from
  if (!executor.core_->of_this_process()) return nullptr;
  FIRN_DEBUG_ASSERT(executor.core_->may_be_owned());
  return executor.core_.get();
}

}  // namespace detail

void Executor::Deleter::operator()(runtime::ExecutorCore* core) const noexcept { delete core; }

Result<Executor> Executor::create() noexcept {
  FIRN_TRY_ASSIGN(runtime::ExecutorCore * core, runtime::ExecutorCore::create());
  return Executor(core);
}
Executor::~Executor() = default;
Executor::Executor(Executor&& other) noexcept = default;
Executor& Executor::operator=(Executor&& other) noexcept = default;

std::size_t Executor::tick(std::chrono::nanoseconds budget) noexcept { return core_->tick(budget); }
int Executor::fd() const noexcept { return core_->fd(); }
std::optional<Executor::TimePoint> Executor::deadline() const noexcept { return core_->deadline(); }
void Executor::wait_for_work() noexcept { core_->wait_for_work(); }

}  // namespace firn
