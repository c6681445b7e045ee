// Fibers of an executor: a stack and a place in its queue. One thread at a time, the executor's.
#pragma once

#include <cstddef>

#include <firn/result.hpp>

#include "runtime/executor_core.hpp"
#include "runtime/fiber_context.hpp"
#include "runtime/stack_pool.hpp"

namespace firn::runtime {

// Waits by being parked somewhere as a runnable; to run it means to resume it.
class Fiber : public Runnable {
 public:
  FiberContext context;
  void (*entry)(void*) noexcept = nullptr;
  void* memory = nullptr;
  Fiber* next_idle = nullptr;
};

/// The fibers of one executor. Finished ones are used again, so that a spawn in a running system
/// allocates nothing.
class FiberPool {
 public:
  FiberPool() noexcept = default;
  ~FiberPool();
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  /// A fiber of `home` with `size_bytes` reserved on its stack, not yet started.
  Result<Fiber*> prepare(ExecutorCore& home, std::size_t size_bytes,
                         std::size_t alignment) noexcept;
  /// From the next tick on.
  static void start(Fiber& fiber, void (*entry)(void*) noexcept) noexcept;

 private:
  static void run(Runnable& runnable) noexcept;
  void recycle(Fiber& fiber) noexcept;

  StackPool stacks_;
  Fiber* idle_ = nullptr;
};

/// The fiber that this code runs on, or null.
Fiber* current_fiber() noexcept;

/// What runs within the scope is on no fiber, although its stack is one's: a tick's runnables are
/// not the fiber that called the tick, which must not be suspended in the midst of it.
class OffFiber {
 public:
  [[nodiscard]] OffFiber() noexcept;
  ~OffFiber();
  OffFiber(const OffFiber&) = delete;
  OffFiber& operator=(const OffFiber&) = delete;

 private:
  Fiber* former_;
};

}  // namespace firn::runtime
