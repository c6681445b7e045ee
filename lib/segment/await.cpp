#include "segment/await.hpp"

namespace firn::segment {
namespace {

struct Pending {
  runtime::Fiber* fiber;
  std::size_t left;
};

void one_done(Request& request) noexcept {
  auto& pending = *static_cast<Pending*>(request.context);
  if (--pending.left == 0) runtime::ExecutorCore::wake(*pending.fiber);
}

}  // namespace

Result<void> await_all(Backend& backend, runtime::ExecutorCore& executor,
                       std::span<Request> requests) noexcept {
  Pending pending{.fiber = runtime::current_fiber(), .left = requests.size()};
  FIRN_ASSERT(pending.fiber != nullptr);
  if (requests.empty()) return {};
  for (Request& request : requests) {
    request.done = &one_done;
    request.context = &pending;
    backend.submit(executor, request);
  }
  runtime::FiberContext::suspend();
  for (const Request& request : requests) FIRN_TRY(request.outcome);
  return {};
}

}  // namespace firn::segment
