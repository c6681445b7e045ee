// Executors around a core with a seam of its own: how tests and the simulator come by them.
#pragma once

#include <firn/executor.hpp>

#include "runtime/executor_core.hpp"

namespace firn {

struct ExecutorAccess {
  /// The executor owns `core` from now on.
  [[nodiscard]] static Executor adopt(runtime::ExecutorCore* core) noexcept {
    return Executor(core);
  }
};

}  // namespace firn
