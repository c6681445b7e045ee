// Requests on fibers: submit, suspend, go on when all are done.
#pragma once

#include <cstddef>
#include <span>

#include "runtime/fiber.hpp"
#include "segment/backend.hpp"

namespace firn::segment {

/// Submits all requests and suspends the current fiber, which is one of `executor`, until every one
/// is done. Their outcomes are in them; the first failure is returned as well.
Result<void> await_all(Backend& backend, runtime::ExecutorCore& executor,
                       std::span<Request> requests) noexcept;
inline Result<void> await(Backend& backend, runtime::ExecutorCore& executor,
                          Request& request) noexcept {
  return await_all(backend, executor, {&request, 1});
}

}  // namespace firn::segment
