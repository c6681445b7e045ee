// How the runtime reaches into an operation: the public class shows its users none of this.
#pragma once

#include <new>
#include <utility>

#include <firn/operation.hpp>

#include "runtime/executor_core.hpp"
#include "runtime/parking_lot.hpp"

namespace firn {

struct OperationAccess {
  static detail::Runnable& runnable(OperationBase& operation) noexcept { return operation; }
  static runtime::ExecutorCore& home(OperationBase& operation) noexcept { return *operation.home; }
  static Error& error(OperationBase& operation) noexcept { return operation.error_; }
  static bool cancel_requested(const OperationBase& operation) noexcept {
    return operation.cancel_requested_;
  }
  static void notify(OperationBase& operation) noexcept { operation.notify_(operation); }

  /// The engine's own object inside the operation, made at the first call; it lives until the
  /// operation is done. One type for each operation.
  template <class State, class... A>
  static State& engine_state(OperationBase& operation, A&&... arguments) noexcept {
    static_assert(sizeof(State) <= OperationBase::engine_state_size);
    static_assert(alignof(State) <= alignof(std::max_align_t));
    if (operation.drop_engine_state_ == nullptr) {
      ::new (static_cast<void*>(operation.engine_state_)) State(std::forward<A>(arguments)...);
      operation.drop_engine_state_ = [](void* state) noexcept {
        std::launder(static_cast<State*>(state))->~State();
      };
    }
    return *std::launder(reinterpret_cast<State*>(operation.engine_state_));
  }
  static bool has_engine_state(const OperationBase& operation) noexcept {
    return operation.drop_engine_state_ != nullptr;
  }
  /// From now on a request to cancel comes too late: the operation ends with its outcome.
  static void commit(OperationBase& operation) noexcept { operation.committed_ = true; }

  // Before the operation is handed to whoever will wake it: from then on it may run at any moment
  // on its home executor, and the caller may not touch it again.
  static detail::Runnable& prepare_wait(OperationBase& operation) noexcept {
    operation.transition(OperationState::waiting);
    operation.run = &resume;
    operation.home->expect();
    return operation;
  }

 private:
  friend class OperationBase;
  static void resume(detail::Runnable& runnable) noexcept {
    auto& operation = static_cast<OperationBase&>(runnable);
    operation.home->came_back();
    operation.transition(OperationState::running);
    if (operation.cancel_requested_ && !operation.committed_) {
      operation.error_ = fail(ErrorCode::cancelled).error;
      operation.finish(detail::Progress::failed);
    } else {
      operation.advance();
    }
  }
};

namespace runtime {

/// Parks `operation` on `key` if `still_blocked()` holds under the key's bucket; the operation's
/// `step` returns what this returns. False: nothing to wait for, try again.
template <class StillBlocked>
[[nodiscard]] bool park_operation(ParkingLot& lot, const void* key, OperationBase& operation,
                                  StillBlocked&& still_blocked) noexcept {
  return lot.park(key, OperationAccess::runnable(operation),
                  std::forward<StillBlocked>(still_blocked),
                  [&operation]() noexcept { OperationAccess::prepare_wait(operation); });
}

}  // namespace runtime
}  // namespace firn
