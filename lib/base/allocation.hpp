// The one place where an exception of the standard library ends: cold paths that use its containers
// run inside `guard_allocation`, and running out of memory becomes a Result.
#pragma once

#include <exception>
#include <utility>

#include <firn/result.hpp>

namespace firn::base {

/// Runs `work`; `no_memory` if the standard library could not allocate. `work` leaves nothing half
/// done when it is interrupted. Not for hot paths.
template <class Work>
Result<void> guard_allocation(Work&& work) noexcept {
  try {
    std::forward<Work>(work)();
    return {};
  } catch (const std::exception&) {
    return fail(ErrorCode::no_memory, "the process's allocator has no memory left");
  }
}

}  // namespace firn::base
