// Work of an operation that may wait for devices, in plain blocking style: it runs on a fiber of
// the domain's own executor while the operation waits, and wakes it. Nothing can cancel it.
#pragma once

#include <atomic>
#include <memory>

#include "domain/native/fibers.hpp"
#include "runtime/operation_access.hpp"

namespace firn::domain {

/// Made by the first step of its operation, looked at by the second one. From `start` until the
/// operation is woken it belongs to `background`.
class Job : private runtime::Runnable {
 public:
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  /// The last act of a step that waits. `count`: raised from now until the work has ended.
  void start(OperationBase& operation, runtime::ExecutorCore& background,
             std::atomic<std::uint32_t>& count) noexcept {
    operation_ = &operation;
    count_ = &count;
    count.fetch_add(1);
    home = &background;
    run = [](runtime::Runnable& runnable) noexcept { static_cast<Job&>(runnable).begin(); };
    OperationAccess::commit(operation);
    OperationAccess::prepare_wait(operation);
    background.send(*this);
  }
  [[nodiscard]] const Result<void>& outcome() const noexcept { return outcome_; }

 protected:
  Job() noexcept = default;
  [[nodiscard]] virtual Result<void> work() noexcept = 0;

 private:
  void begin() noexcept {
    const auto started = spawn(
        *home,
        [](void* context) noexcept {
          auto& self = *static_cast<Job*>(context);
          self.outcome_ = self.work();
          self.end();
        },
        this);
    if (started.has_value()) return;
    outcome_ = started;
    end();
  }
  // Nothing of the job may be touched afterwards.
  void end() noexcept {
    count_->fetch_sub(1);
    runtime::ExecutorCore::wake(OperationAccess::runnable(*operation_));
  }

  OperationBase* operation_ = nullptr;
  std::atomic<std::uint32_t>* count_ = nullptr;
  Result<void> outcome_;
};

/// What an operation keeps while its job runs.
struct JobState {
  explicit JobState(std::unique_ptr<Job>&& owned) noexcept : job(std::move(owned)) {}
  std::unique_ptr<Job> job;
};

/// The job of an operation whose step was begun before; null: this is the first step.
inline Job* job_of(OperationBase& operation) noexcept {
  if (!OperationAccess::has_engine_state(operation)) return nullptr;
  return OperationAccess::engine_state<JobState>(operation, nullptr).job.get();
}

}  // namespace firn::domain
