// Runs a piece of work on a fiber of a simulated executor, to its end, on this thread.
#pragma once

#include <new>
#include <type_traits>
#include <utility>

#include <firn/assertion.hpp>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "runtime/executor_core.hpp"
#include "runtime/fiber.hpp"

namespace firn::test {

/// An executor with a clock and an order of its own, both by seed.
class SimulatedExecutor {
 public:
  explicit SimulatedExecutor(std::uint64_t seed = 1) : order_(seed) {
    auto made = runtime::ExecutorCore::create({.clock = &clock_, .order = &order_});
    FIRN_ASSERT(made.has_value());
    core_ = *made;
  }
  ~SimulatedExecutor() { delete core_; }
  SimulatedExecutor(const SimulatedExecutor&) = delete;
  SimulatedExecutor& operator=(const SimulatedExecutor&) = delete;

  [[nodiscard]] runtime::ExecutorCore& core() noexcept { return *core_; }

  /// One tick; the clock jumps to the next timer if nothing else is to do. False: idle.
  bool step() {
    if (core_->tick(std::chrono::nanoseconds::zero()) > 0) return true;
    const auto due = core_->deadline();
    if (!due.has_value()) return false;
    if (*due != base::TimePoint::min()) clock_.advance_to(*due);
    return true;
  }

  /// Runs `work()` on a fiber until it has returned; false if it got stuck.
  template <class Work>
  bool run(Work&& work) {
    return run(std::forward<Work>(work), [] { return false; });
  }
  /// The same; `unstick()` is called whenever nothing moves any more, and says whether to go on.
  template <class Work, class Unstick>
  bool run(Work&& work, Unstick unstick) {
    struct Job {
      std::remove_reference_t<Work>* work;
      bool done;
    } job{&work, false};
    auto fiber = core_->fibers().prepare(*core_, sizeof(Job*), alignof(Job*));
    FIRN_ASSERT(fiber.has_value());
    ::new ((*fiber)->memory) Job*(&job);
    runtime::FiberPool::start(**fiber, [](void* memory) noexcept {
      Job& its = **static_cast<Job**>(memory);
      (*its.work)();
      its.done = true;
    });
    while (!job.done && (step() || unstick())) {
    }
    return job.done;
  }

 private:
  base::ManualClock clock_;
  base::Random order_;
  runtime::ExecutorCore* core_ = nullptr;
};

}  // namespace firn::test
