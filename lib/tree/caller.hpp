// Who runs a step of a tree: an operation, which keeps its waiter inside itself and makes it when
// it first has to wait, or a fiber, which brings one. One thread, the executor's.
#pragma once

#include <utility>

#include "buffer/pool.hpp"
#include "runtime/fiber.hpp"

namespace firn::tree {

using buffer::PageSlot;
using buffer::PageWord;
using detail::Progress;

/// Where a descent that had to wait for a child, or whose way was looked up ahead, goes on: at the
/// child, as long as its parent is what it was. Otherwise it starts again at the root.
struct Resumption {
  PageSlot parent;
  PageWord parent_word;
  PageSlot child;
  unsigned level = 0;  ///< of the child
};

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
      auto& parked = OperationAccess::engine_state<Parked>(*operation_, pool_, *operation_);
      waiter_ = &parked.waiter;
      resumption_ = &parked.resumption;
    }
    waiter_->scan = scans_;
    return *waiter_;
  }
  /// The one that the operation was parked with, once; else the start that was given, once.
  [[nodiscard]] Resumption take_resumption() noexcept {
    if (resumption_ != nullptr && resumption_->child != PageSlot()) {
      return std::exchange(*resumption_, Resumption());
    }
    return std::exchange(start_, Resumption());
  }
  void start_at(const Resumption& start) noexcept { start_ = start; }
  /// Before the operation parks, after which nothing of it may be touched.
  void resume_at(const Resumption& resumption) noexcept {
    static_cast<void>(waiter());
    if (resumption_ != nullptr) *resumption_ = resumption;
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
  // What an operation keeps once it has waited.
  struct Parked {
    Parked(buffer::Pool& pool, OperationBase& operation) noexcept : waiter(pool, operation) {}
    buffer::Waiter waiter;
    Resumption resumption;
  };

  buffer::Pool& pool_;
  OperationBase* operation_ = nullptr;
  buffer::Waiter* waiter_ = nullptr;
  Resumption* resumption_ = nullptr;
  Resumption start_;
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
