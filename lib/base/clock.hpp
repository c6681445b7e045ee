// The clock, as a seam: production reads the steady clock, the simulator advances its own.
#pragma once

#include <chrono>

namespace firn::base {

using TimePoint = std::chrono::steady_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const noexcept = 0;
};

/// The machine's monotonic clock. Shared, thread-safe.
const Clock& steady_clock() noexcept;

/// A clock that moves only when told. One thread at a time.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return now_; }
  void advance(std::chrono::nanoseconds by) noexcept { now_ += by; }
  void advance_to(TimePoint to) noexcept {
    if (to > now_) now_ = to;
  }

 private:
  TimePoint now_{};
};

}  // namespace firn::base
