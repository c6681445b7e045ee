// What the fibers of one executor need of each other: a mutex, a sleep, a way to start one. All of
// it belongs to that executor's thread.
#pragma once

#include <chrono>
#include <new>

#include <firn/result.hpp>

#include "runtime/fiber.hpp"

namespace firn::domain {

/// Runs `entry(context)` on a fiber of its own, from the next tick on.
inline Result<void> spawn(runtime::ExecutorCore& executor, void (*entry)(void* context) noexcept,
                          void* context) noexcept {
  struct Start {
    void (*entry)(void*) noexcept;
    void* context;
  };
  FIRN_TRY_ASSIGN(runtime::Fiber * fiber,
                  executor.fibers().prepare(executor, sizeof(Start), alignof(Start)));
  ::new (fiber->memory) Start{entry, context};
  runtime::FiberPool::start(*fiber, [](void* memory) noexcept {
    const Start start = *std::launder(static_cast<Start*>(memory));
    start.entry(start.context);
  });
  return {};
}

/// Others of the executor run first.
inline void let_others_run(runtime::ExecutorCore& executor) noexcept {
  executor.enqueue(*runtime::current_fiber());
  runtime::FiberContext::suspend();
}

/// At least so long; others run meanwhile.
inline void rest_for(runtime::ExecutorCore& executor, std::chrono::nanoseconds time) noexcept {
  struct Alarm : runtime::Timer {
    runtime::Fiber* fiber = nullptr;
  } alarm;
  alarm.home = &executor;
  alarm.fiber = runtime::current_fiber();
  alarm.run = [](runtime::Runnable& runnable) noexcept {
    runnable.home->enqueue(*static_cast<Alarm&>(runnable).fiber);
  };
  if (!executor.schedule(alarm, executor.now() + time).has_value()) {
    return let_others_run(executor);  // no memory for a timer: look again soon
  }
  runtime::FiberContext::suspend();
}

/// Held across waits; granted in order of arrival.
class FiberMutex {
 public:
  void lock() noexcept {
    if (!locked_) {
      locked_ = true;
      return;
    }
    Waiting self{runtime::current_fiber(), nullptr};
    (last_ == nullptr ? first_ : last_->next) = &self;
    last_ = &self;
    runtime::FiberContext::suspend();  // whoever unlocks hands the mutex over
  }
  void unlock() noexcept {
    if (first_ == nullptr) {
      locked_ = false;
      return;
    }
    runtime::Fiber* const next = first_->fiber;
    first_ = first_->next;
    if (first_ == nullptr) last_ = nullptr;
    next->home->enqueue(*next);
  }

 private:
  struct Waiting {
    runtime::Fiber* fiber;
    Waiting* next;
  };
  bool locked_ = false;
  Waiting* first_ = nullptr;
  Waiting* last_ = nullptr;
};

class FiberGuard {
 public:
  [[nodiscard]] explicit FiberGuard(FiberMutex& mutex) noexcept : mutex_(mutex) { mutex_.lock(); }
  ~FiberGuard() { mutex_.unlock(); }
  FiberGuard(const FiberGuard&) = delete;
  FiberGuard& operator=(const FiberGuard&) = delete;

 private:
  FiberMutex& mutex_;
};

}  // namespace firn::domain
