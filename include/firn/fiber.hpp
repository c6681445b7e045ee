// Fibers over operations: code that reads as if it blocked, on a stack of its own, while its thread
// runs others.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <firn/executor.hpp>
#include <firn/operation.hpp>

namespace firn {
namespace detail {

struct FiberStart {
  void* memory = nullptr;  // on the fiber's stack, for the callable
  void* fiber = nullptr;
};
FIRN_API Result<FiberStart> prepare_fiber(Executor& executor, std::size_t size_bytes,
                                          std::size_t alignment) noexcept;
FIRN_API void start_fiber(FiberStart start, void (*entry)(void*) noexcept) noexcept;
FIRN_API void suspend_fiber() noexcept;
FIRN_API void* current_fiber() noexcept;
FIRN_API void wake_fiber(void* fiber) noexcept;

}  // namespace detail

namespace fiber {

/// Runs `work()` (noexcept) on a fiber of `executor`, from its next tick on. A fiber stays on its
/// executor's thread. Stacks have 64 KiB and come from a pool; `no_memory` when that is exhausted,
/// `invalid_state` in a forked child. Call on the executor's thread.
template <class Work>
[[nodiscard]] Result<void> spawn(Executor& executor, Work work) noexcept {
  static_assert(std::is_nothrow_invocable_v<Work&>, "a fiber's work is noexcept");
  FIRN_TRY_ASSIGN(detail::FiberStart start,
                  detail::prepare_fiber(executor, sizeof(Work), alignof(Work)));
  ::new (start.memory) Work(std::move(work));
  detail::start_fiber(start, [](void* memory) noexcept {
    Work& stored = *std::launder(static_cast<Work*>(memory));
    stored();
    std::destroy_at(&stored);
  });
  return {};
}

/// Whether this code runs on a fiber.
[[nodiscard]] inline bool inside() noexcept { return detail::current_fiber() != nullptr; }

/// Runs an operation to its end; the fiber waits, its thread does not. Only on a fiber.
template <class O>
[[nodiscard]] Result<typename std::remove_reference_t<O>::value_type> await(
    O&& operation) noexcept {
  void* self = detail::current_fiber();
  FIRN_ASSERT(self != nullptr);
  auto home = detail::current_executor();
  if (!home.has_value()) return fail(home.error());
  if (operation.state() != OperationState::ready) return fail(detail::posted_before);
  if (!operation.start_with(*home, &detail::wake_fiber, self)) detail::suspend_fiber();
  return std::move(operation.result());
}

/// Lets others run; resumes from the end of the executor's queue. Only on a fiber.
inline void yield() noexcept {
  void* self = detail::current_fiber();
  FIRN_ASSERT(self != nullptr);
  detail::wake_fiber(self);
  detail::suspend_fiber();
}

}  // namespace fiber
}  // namespace firn
