// An executor with a thread of its own that ticks it: for work that goes on while no program ticks.
// Made and destroyed by one thread at a time; the executor is reached through its mailbox.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include <firn/result.hpp>

#include "runtime/executor_core.hpp"

namespace firn::runtime {

class ExecutorThread {
 public:
  static Result<std::unique_ptr<ExecutorThread>> start() noexcept;
  /// As `join`: `end` was or will be called for the thread.
  ~ExecutorThread() { join(); }
  ExecutorThread(const ExecutorThread&) = delete;
  ExecutorThread& operator=(const ExecutorThread&) = delete;

  [[nodiscard]] ExecutorCore& executor() noexcept { return *state_->core; }
  /// On its own thread, by the last of its work: when that has returned the executor has nothing
  /// left, and the thread ends and takes the executor with it.
  void end() noexcept { state_->ending = true; }
  /// Waits until it has ended. On itself, by the last of its work: nobody waits for it.
  void join() noexcept;

 private:
  struct State {
    ~State() { delete core; }
    ExecutorCore* core = nullptr;
    bool ending = false;  // the thread's
  };
  ExecutorThread() noexcept = default;
  static void run(State& state) noexcept;

  std::shared_ptr<State> state_;  // the thread has it too
  std::thread thread_;
};

}  // namespace firn::runtime
