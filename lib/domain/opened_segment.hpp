// A segment's file from outside, without opening its domain: the store in it, for reading only, and
// an executor for that. Nothing is written. One thread, which blocks; no fiber.
#pragma once

#include <chrono>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>

#include <firn/result.hpp>

#include "format/superblock.hpp"
#include "runtime/executor_core.hpp"
#include "runtime/fiber.hpp"
#include "segment/file.hpp"
#include "store/store.hpp"

namespace firn::domain {

class OpenedSegment {
 public:
  OpenedSegment() noexcept = default;
  OpenedSegment(const OpenedSegment&) = delete;
  OpenedSegment& operator=(const OpenedSegment&) = delete;

  /// Errors: `not_found` where nothing is, or nothing of Firn; `busy` while a process has it open
  /// for writing; `corrupt`, `unsupported_format`, `io_error`, `no_memory`, `invalid_argument`
  /// where `path` is no such file, `invalid_state` on a fiber.
  Result<void> open(std::string_view path) noexcept;
  /// Runs `work()` to its end on a fiber, while this thread ticks.
  template <class Work>
  Result<void> on_fiber(Work&& work) noexcept;

  [[nodiscard]] runtime::ExecutorCore& executor() noexcept { return *executor_; }
  [[nodiscard]] store::Store& store() noexcept { return *store_; }
  [[nodiscard]] const segment::FileBackend& file() const noexcept { return *file_; }
  /// A valid superblock of the domain, for what never changes in it.
  [[nodiscard]] const format::Superblock& superblock() const noexcept { return superblock_; }

 private:
  Result<void> look_for_superblock() noexcept;

  // In the order of their lives: the last one goes first.
  std::unique_ptr<runtime::ExecutorCore> executor_;
  std::unique_ptr<segment::FileBackend> file_;
  std::unique_ptr<store::Store> store_;
  format::Superblock superblock_;
};

template <class Work>
Result<void> OpenedSegment::on_fiber(Work&& work) noexcept {
  struct Call {
    std::remove_reference_t<Work>* work;
    Result<void> outcome;
    bool done;
  } job{&work, {}, false};
  FIRN_TRY_ASSIGN(runtime::Fiber* const fiber,
                  executor_->fibers().prepare(*executor_, sizeof(Call*), alignof(Call*)));
  ::new (fiber->memory) Call*(&job);
  runtime::FiberPool::start(*fiber, [](void* memory) noexcept {
    Call& its = **std::launder(static_cast<Call**>(memory));
    its.outcome = (*its.work)();
    its.done = true;
  });
  while (!job.done) {
    if (executor_->tick(std::chrono::nanoseconds::zero()) == 0 && !job.done) {
      executor_->wait_for_work();
    }
  }
  return job.outcome;
}

}  // namespace firn::domain
