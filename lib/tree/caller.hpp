// Who runs a step of a tree: an operation, which keeps its waiter inside itself and makes it when
// it first has to wait, or a fiber, which brings one. One thread, the executor's.
#pragma once

#include <utility>

#include "buffer/pool.hpp"
#include "runtime/fiber.hpp"

namespace firn::tree {

using detail::Progress;

class Caller {
 public:
  Caller(buffer::Pool& pool, OperationBase& operation) noexcept
      : pool_(pool), operation_(&operation) {
    if (OperationAccess::has_engine_state(operation)) static_cast<void>(waiter());
  }
  explicit Caller(buffer::Pool& pool, buffer::Waiter& waiter) noexcept
      : pool_(pool), waiter_(&waiter) {}
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  [[nodiscard]] buffer::Waiter& waiter() noexcept {
    if (waiter_ == nullptr) {
      waiter_ = &OperationAccess::engine_state<buffer::Waiter>(*operation_, pool_, *operation_);
    }
    waiter_->scan = scans_;
    return *waiter_;
  }
  /// What is loaded from now on will hardly be used again.
  void scans() noexcept { scans_ = true; }
  /// Gives back what was held for pages, if anything was.
  void done() noexcept {
    if (waiter_ != nullptr) waiter_->done();
  }
  [[nodiscard]] runtime::ExecutorCore& executor() noexcept {
    return operation_ != nullptr ? OperationAccess::home(*operation_)
                                 : *runtime::current_fiber()->home;
  }

 private:
  buffer::Pool& pool_;
  OperationBase* operation_ = nullptr;
  buffer::Waiter* waiter_ = nullptr;
  bool scans_ = false;
};

/// Repeats `step(Caller&)` on this fiber until it has ended. `background`: as of buffer::Waiter.
template <class Step>
Progress on_fiber(buffer::Pool& pool, Step&& step, bool background = false) noexcept {
  buffer::Waiter waiter(pool, *runtime::current_fiber());
  waiter.background = background;
  while (true) {
    Caller caller(pool, waiter);
    const Progress progress = step(caller);
    if (progress != Progress::waiting) return progress;
    runtime::FiberContext::suspend();
  }
}

}  // namespace firn::tree
