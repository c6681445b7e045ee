// Operations: one public call each, as a state machine that its caller owns.
//
// An operation is made by a handle (`table.lookup(key)`), is neither copied nor moved, and
// allocates nothing. How it runs is chosen where it is called:
//   blocking    auto found = table.lookup(key).wait();
//   polled      operation.post(executor); while (!operation.done()) executor.tick(budget);
//   callback    operation.post(executor, [](auto& result) noexcept { ... });
//   coroutine   auto found = co_await table.lookup(key);
//   fiber       auto found = firn::fiber::await(table.lookup(key));
// There is one implementation behind all five: `step()`, which either finishes or hands the
// operation to a waiter and is called again, from the start, when it is woken.
//
// Thread rules: an operation belongs to the executor it was posted to; `post`, `cancel`, `done`,
// `result` and the destructor are called on the thread that ticks that executor.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include <firn/export.hpp>
#include <firn/result.hpp>

namespace firn {

class Executor;
class OperationBase;

namespace runtime {
class ExecutorCore;
class ParkingLot;
}  // namespace runtime

/// ready -> running <-> waiting -> done. `OperationBase::transition` asserts the legal arrows.
enum class OperationState : std::uint8_t { ready, running, waiting, done };

namespace detail {

// Something an executor can run. It stands in at most one queue at a time, and once it was handed
// to a queue, a waiter or a ring, only its home executor touches it.
struct Runnable {
  Runnable* next = nullptr;
  void (*run)(Runnable&) noexcept = nullptr;
  runtime::ExecutorCore* home = nullptr;
  std::atomic<const void*> wait_key{nullptr};  // what it is parked on, null when it is not
};

// What one step came to. After `waiting` the operation belongs to its waiter and must not be
// touched.
enum class Progress : std::uint8_t { waiting, yes, no, failed };

// What a second posting answers.
inline constexpr Error posted_before =
    fail(ErrorCode::invalid_state, "the operation was posted before").error;
// What posting to an executor of the process that this one was forked from answers.
inline constexpr Error executor_of_parent =
    fail(ErrorCode::invalid_state, "a forked child cannot use its parent's executor").error;

FIRN_API Result<runtime::ExecutorCore*> executor_of_this_thread() noexcept;
FIRN_API void run_until_done(OperationBase& operation) noexcept;
// Calls the operation's notice, counting how deeply notices stand inside one another on this
// thread.
FIRN_API void deliver(OperationBase& operation) noexcept;
// Whether notices are nested so deeply that the next operation starts from its executor's queue.
FIRN_API bool nested_too_deeply() noexcept;
FIRN_API void start_from_queue(OperationBase& operation) noexcept;
// Null in a forked child of the process that made it.
FIRN_API runtime::ExecutorCore* core_of(Executor& executor) noexcept;

}  // namespace detail

/// The part of an operation that does not depend on its result.
class OperationBase : private detail::Runnable {
 public:
  OperationBase(const OperationBase&) = delete;
  OperationBase& operator=(const OperationBase&) = delete;

  [[nodiscard]] OperationState state() const noexcept { return state_; }
  [[nodiscard]] bool done() const noexcept { return state_ == OperationState::done; }

  /// Asks for an early end: the operation becomes done with `cancelled` at the latest when what it
  /// waits for arrives, and has then changed nothing; or, where it cannot be undone any more, with
  /// its outcome. One that was never posted is done at once; one that is done stays as it is.
  FIRN_API void cancel() noexcept;

 protected:
  OperationBase() noexcept = default;
  // Destroying an operation that was posted and is not done is a programmer's error.
  virtual ~OperationBase() {
    FIRN_ASSERT(state_ == OperationState::ready || state_ == OperationState::done);
  }

  // Runs the operation from the start as far as it goes without waiting.
  virtual detail::Progress step() noexcept = 0;
  // Turns what `step` found (not `waiting`) into the result.
  virtual void settle(detail::Progress progress) noexcept = 0;

  static constexpr std::size_t engine_state_size = 272;

  Result<void> start(runtime::ExecutorCore* executor) noexcept {
    if (state_ != OperationState::ready) {
      return fail(detail::posted_before);
    }
    home = executor;
    transition(OperationState::running);
    if (notify_ != nullptr && detail::nested_too_deeply()) {
      detail::start_from_queue(*this);
    } else {
      advance();
    }
    return {};
  }

  // Called as the last act when the operation is done; may destroy it. Null: nobody is told.
  void (*notify_)(OperationBase&) noexcept = nullptr;
  Error error_;  // why `step` said failed

 private:
  friend struct OperationAccess;

  // The two arrows into `running`, the two out of it, and the early end of a fresh operation.
  static constexpr bool legal(OperationState from, OperationState to) noexcept {
    switch (from) {
      case OperationState::ready:
        return to == OperationState::running || to == OperationState::done;
      case OperationState::running:
        return to == OperationState::waiting || to == OperationState::done;
      case OperationState::waiting:
        return to == OperationState::running;
      case OperationState::done:
        return false;
    }
    return false;
  }
  void transition(OperationState to) noexcept {
    FIRN_ASSERT(legal(state_, to));
    state_ = to;
  }

  void advance() noexcept {
    const detail::Progress progress = step();
    if (progress == detail::Progress::waiting) return;  // it may be running elsewhere by now
    finish(progress);
  }
  void finish(detail::Progress progress) noexcept {
    if (drop_engine_state_ != nullptr) drop_engine_state();
    settle(progress);
    transition(OperationState::done);
    if (notify_ != nullptr) detail::deliver(*this);  // may destroy *this
  }

  FIRN_API void drop_engine_state() noexcept;

  OperationState state_ = OperationState::ready;
  bool cancel_requested_ = false;
  bool committed_ = false;  // too late for `cancel`
  // What the engine keeps for an operation that has waited: made when it first does.
  void (*drop_engine_state_)(void* state) noexcept = nullptr;
  alignas(std::max_align_t) std::byte engine_state_[engine_state_size];
};

/// An operation whose outcome is a `Result<T>`.
template <class T>
class Operation : public OperationBase {
 public:
  using value_type = T;
  static constexpr std::size_t callback_size_max = 48;

  /// Starts the operation on `executor`. It may finish inside the call, if nothing must be waited
  /// for. Posting twice is `invalid_state` and leaves the first posting alone; so is posting to an
  /// executor of the process that this one was forked from.
  [[nodiscard]] Result<void> post(Executor& executor) noexcept {
    runtime::ExecutorCore* const core = detail::core_of(executor);
    if (core == nullptr) return fail(detail::executor_of_parent);
    return start(core);
  }

  /// The same, and calls `callback(Result<T>&)` once on the executor's thread when the operation is
  /// done, possibly before `post` returns. The callback may destroy the operation. It is kept
  /// inside the operation: at most `callback_size_max` bytes, trivially copyable.
  template <class F>
  [[nodiscard]] Result<void> post(Executor& executor, F callback) noexcept {
    static_assert(std::is_nothrow_invocable_v<F&, Result<T>&>, "callbacks are noexcept");
    static_assert(sizeof(F) <= callback_size_max, "keep a pointer to larger state");
    static_assert(std::is_trivially_copyable_v<F>, "capture pointers and plain values");
    if (state() != OperationState::ready) {
      return fail(detail::posted_before);
    }
    runtime::ExecutorCore* const core = detail::core_of(executor);
    if (core == nullptr) return fail(detail::executor_of_parent);
    ::new (static_cast<void*>(callback_)) F(std::move(callback));
    notify_ = [](OperationBase& base) noexcept {
      auto& self = static_cast<Operation&>(base);
      F copy = *std::launder(reinterpret_cast<F*>(self.callback_));
      copy(*self.result_);
    };
    return start(core);
  }

  /// The outcome; the operation must be done.
  [[nodiscard]] Result<T>& result() noexcept {
    FIRN_ASSERT(done());
    return *result_;
  }

  /// Runs the operation to its end on this thread and waits where it must. This is the one call,
  /// beside `fiber::await`, that blocks.
  [[nodiscard]] Result<T> wait() noexcept {
    auto executor = detail::executor_of_this_thread();
    if (!executor.has_value()) return fail(executor.error());
    FIRN_TRY(start(*executor));
    if (!done()) detail::run_until_done(*this);
    return take_result();
  }

  /// `co_await`: resumes on the executor that runs the coroutine (`Task::start`, a tick). Outside
  /// of both that is the thread's own one, which only its blocking calls tick.
  auto operator co_await() noexcept { return Awaiter{*this, false}; }

  /// Starts the operation and has `notify(context)` called when it is done. For adaptors: returns
  /// whether it finished at once, in which case `notify` is not called. Only a `ready` one: a
  /// second posting is the adaptor's to refuse.
  bool start_with(runtime::ExecutorCore* executor, void (*notify)(void*) noexcept,
                  void* context) noexcept;

 protected:
  Operation() noexcept = default;
  ~Operation() = default;

  // With a result, a failure, or what a value is made of: it is built in place, and its parts are
  // moved out, since copying at once what was just written in narrow pieces stalls the processor.
  template <class... A>
  void settle_with(A&&... outcome) noexcept {
    result_.emplace(std::forward<A>(outcome)...);
  }

 private:
  Result<T> take_result() noexcept {
    if (!result_->has_value()) return fail(result_->error());
    if constexpr (std::is_void_v<T>) {
      return {};
    } else {
      return Result<T>(std::move(**result_));
    }
  }
  struct Awaiter {
    Operation& operation;
    bool posted_before = false;
    bool await_ready() noexcept;
    void await_suspend(std::coroutine_handle<> handle) noexcept;
    Result<T> await_resume() noexcept {
      if (posted_before) return fail(detail::posted_before);
      return operation.take_result();
    }
  };
  struct Notice {
    void (*notify)(void*) noexcept;
    void* context;
  };

  std::optional<Result<T>> result_;
  alignas(std::max_align_t) std::byte callback_[callback_size_max];
};

namespace detail {
/// The executor whose tick runs on this thread, else the thread's own one.
FIRN_API Result<runtime::ExecutorCore*> current_executor() noexcept;
}  // namespace detail

template <class T>
bool Operation<T>::start_with(runtime::ExecutorCore* executor, void (*notify)(void*) noexcept,
                              void* context) noexcept {
  FIRN_ASSERT(state() == OperationState::ready);
  static_cast<void>(start(executor));
  if (done()) return true;
  ::new (static_cast<void*>(callback_)) Notice{notify, context};
  notify_ = [](OperationBase& base) noexcept {
    auto& self = static_cast<Operation&>(base);
    const Notice notice = *std::launder(reinterpret_cast<Notice*>(self.callback_));
    notice.notify(notice.context);
  };
  return false;
}

template <class T>
bool Operation<T>::Awaiter::await_ready() noexcept {
  posted_before = operation.state() != OperationState::ready;
  if (posted_before) return true;
  auto executor = detail::current_executor();
  if (!executor.has_value()) {
    operation.cancel();
    operation.result_.emplace(fail(executor.error()));
    return true;
  }
  return operation.start_with(
      *executor,
      [](void* address) noexcept { std::coroutine_handle<>::from_address(address).resume(); },
      nullptr);
}

template <class T>
void Operation<T>::Awaiter::await_suspend(std::coroutine_handle<> handle) noexcept {
  // The operation waits and belongs to this thread's executor: nobody can finish it before this
  // thread returns to that executor, so setting the context now is not too late.
  std::launder(reinterpret_cast<Notice*>(operation.callback_))->context = handle.address();
}

}  // namespace firn
