// Coroutines over operations: `Task<T>` is a C++20 coroutine whose `co_await table.lookup(key)`
// waits without blocking its thread. Only the user's own frame is allocated.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include <firn/executor.hpp>
#include <firn/operation.hpp>

namespace firn {

template <class T>
class Task;

namespace detail {

class TaskPromiseBase {
 public:
  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      if (handle.promise().continuation_) return handle.promise().continuation_;
      return std::noop_coroutine();
    }
    void await_resume() noexcept {}
  };

  std::suspend_always initial_suspend() noexcept { return {}; }
  FinalAwaiter final_suspend() noexcept { return {}; }
  // An exception of the user's own that leaves the coroutine has nowhere to go.
  [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }

  std::coroutine_handle<> continuation_;
  bool started_ = false;
};

template <class T>
class TaskPromise : public TaskPromiseBase {
 public:
  Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& value) noexcept {
    value_.emplace(std::forward<U>(value));
  }
  T take() noexcept { return std::move(*value_); }

 private:
  std::optional<T> value_;
};

template <>
class TaskPromise<void> : public TaskPromiseBase {
 public:
  Task<void> get_return_object() noexcept;
  void return_void() noexcept {}
  void take() noexcept {}
};

FIRN_API void run_in(Executor& executor, std::coroutine_handle<> handle) noexcept;

// The handle, of which the optimiser knows nothing. clang (14 at least) may put the frame of a
// coroutine that ends inside its caller on the caller's stack, and then takes for granted that
// calls without the handle among their arguments, `tick` first of all, leave it alone: a loop of
// ticks until `done()` would never end.
template <class Promise>
std::coroutine_handle<Promise> opaque(std::coroutine_handle<Promise> handle) noexcept {
#ifdef __clang__
  void* address = handle.address();
  asm("" : "+r"(address));
  return std::coroutine_handle<Promise>::from_address(address);
#else
  return handle;
#endif
}

}  // namespace detail

/// A coroutine that yields a `T`. Move-only; destroying one that is suspended on an operation is a
/// programmer's error. It runs on the executor it was started on.
template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;

  explicit Task(std::coroutine_handle<promise_type> handle) noexcept
      : handle_(detail::opaque(handle)) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  /// Runs the coroutine until it first waits. Once: a task is started or awaited.
  void start(Executor& executor) noexcept { detail::run_in(executor, begin()); }
  [[nodiscard]] bool done() const noexcept {
    FIRN_ASSERT(handle_ != nullptr);  // an empty handle: moved from
    return handle_.done();
  }
  /// What it returned; once, and only when it is done.
  T result() noexcept {
    FIRN_ASSERT(done());
    return handle_.promise().take();
  }

  /// Awaited by another task: runs on that one's executor. Once, and not after `start`.
  auto operator co_await() noexcept {
    struct Awaiter {
      std::coroutine_handle<promise_type> handle;
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> continuation) noexcept {
        handle.promise().continuation_ = continuation;
        return handle;
      }
      T await_resume() noexcept { return handle.promise().take(); }
    };
    return Awaiter{begin()};
  }

 private:
  // A coroutine that was resumed twice would run past what it waits for.
  std::coroutine_handle<promise_type> begin() noexcept {
    FIRN_ASSERT(handle_ != nullptr);  // an empty handle: moved from
    FIRN_ASSERT(!handle_.promise().started_);
    handle_.promise().started_ = true;
    return handle_;
  }

  std::coroutine_handle<promise_type> handle_;
};

template <class T>
Task<T> detail::TaskPromise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}
inline Task<void> detail::TaskPromise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

}  // namespace firn
