// Segment I/O for fibers: the call returns when the I/O has ended, and the executor runs others
// meanwhile. On a fiber of `executor` only.
#pragma once

#include <cstddef>
#include <span>

#include <firn/assertion.hpp>

#include "runtime/fiber.hpp"
#include "segment/backend.hpp"

namespace firn::segment {

/// Submits each of `requests` to the backend of the same index, or to the only one; they may be
/// ended in any order. Returns when the last has ended: the first error in the order of the span,
/// if any. Each outcome is in its request. Uses their `done` and `context`.
inline Result<void> await_each(std::span<Backend* const> backends, runtime::ExecutorCore& executor,
                               std::span<Request> requests) noexcept {
  struct Waiter {
    runtime::Fiber* fiber;
    std::size_t left;
  };
  if (requests.empty()) return {};
  Waiter waiter{runtime::current_fiber(), requests.size()};
  FIRN_ASSERT(waiter.fiber != nullptr && waiter.fiber->home == &executor);
  for (std::size_t index = 0; index < requests.size(); ++index) {
    Request& request = requests[index];
    request.context = &waiter;
    request.done = [](Request& finished) noexcept {
      auto& its_waiter = *static_cast<Waiter*>(finished.context);
      if (--its_waiter.left == 0) runtime::ExecutorCore::wake(*its_waiter.fiber);
    };
    backends[backends.size() == 1 ? 0 : index]->submit(executor, request);
  }
  runtime::FiberContext::suspend();
  for (const Request& request : requests) FIRN_TRY(request.outcome);
  return {};
}

/// The same with one backend for all.
inline Result<void> await_all(Backend& backend, runtime::ExecutorCore& executor,
                              std::span<Request> requests) noexcept {
  Backend* const only = &backend;
  return await_each({&only, 1}, executor, requests);
}

inline Result<void> await(Backend& backend, runtime::ExecutorCore& executor,
                          Request& request) noexcept {
  return await_all(backend, executor, {&request, 1});
}

}  // namespace firn::segment
