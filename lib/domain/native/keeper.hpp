// The fiber that looks after an open domain: checkpoints by time and by bytes, room in the segment,
// and at last the end of it all. It sleeps while nothing changes. Of the background executor, but
// for what says otherwise.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.hpp"
#include "runtime/fiber.hpp"

namespace firn::domain {

class NativeDomain;

class Keeper {
 public:
  explicit Keeper(NativeDomain& domain) noexcept : domain_(domain) {}
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  /// Once the background executor is known; from then on changes may be noted.
  void prepare() noexcept;
  Result<void> start() noexcept;
  /// Until nothing of it stands in the executor's queue. On a fiber.
  void settle() noexcept;
  /// Any thread, after each change of a table.
  void note_change() noexcept {
    if (!changed_.load(std::memory_order_relaxed)) [[unlikely]]
      notice();
  }
  /// A checkpoint begins: what is changed from now on is noticed anew.
  void begin_checkpoint() noexcept;
  /// Any thread, once: the domain is dismantled in later ticks, and the fiber ends.
  void end() noexcept;

 private:
  struct Call : runtime::Timer {
    Keeper* keeper = nullptr;
  };

  void notice() noexcept;
  void prepare(Call& call, void (*function)(runtime::Runnable&) noexcept) noexcept;
  void run() noexcept;
  void watch() noexcept;
  [[nodiscard]] bool checkpoint_is_due() const noexcept;
  void sleep() noexcept;
  void rest_for_at_most(std::chrono::nanoseconds time) noexcept;
  void wake() noexcept;

  NativeDomain& domain_;
  runtime::Fiber* fiber_ = nullptr;
  bool sleeping_ = false;
  bool ending_ = false;
  bool noticed_ = false;  // there are changes that no checkpoint holds
  base::TimePoint first_change_{};
  std::uint64_t bytes_at_checkpoint_ = 0;
  Call alarm_;
  bool alarm_under_way_ = false;  // scheduled, or fallen due and in the queue
  Call end_call_;
  Call change_call_;

  std::atomic<bool> changed_{false};
  std::atomic<bool> change_call_under_way_{false};
};

}  // namespace firn::domain
