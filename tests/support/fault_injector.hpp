// Failure at the nth call: a workload is run once as it is and then with its 1st, 2nd, 3rd… request
// failing, once or from there on, in each way that a simulated device can fail.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "segment/simulated.hpp"

namespace firn::test {

struct FailurePoint {
  segment::FaultKind kind = segment::FaultKind::io_error;
  std::uint64_t nth = 1;  ///< among the requests that the kind strikes
  bool lasting = false;   ///< that one and all after it

  [[nodiscard]] segment::FaultRule rule() const noexcept {
    segment::FaultRule rule;
    rule.kind = kind;
    rule.first = nth;
    rule.count = lasting ? segment::FaultRule::forever : 1;
    return rule;
  }
  [[nodiscard]] std::string describe() const {
    return fmt::format("{} at request {}{}", segment::name_of(kind), nth,
                       lasting ? " and all after it" : "");
  }
};

/// Whether the device says that something failed. The other kinds lie, and only checksums and
/// versions notice.
[[nodiscard]] constexpr bool is_honest(segment::FaultKind kind) noexcept {
  using segment::FaultKind;
  switch (kind) {
    case FaultKind::torn_write:
    case FaultKind::lost_write:
    case FaultKind::misdirected_write:
    case FaultKind::bit_flip_at_rest:
    case FaultKind::bit_flip_on_read:
    case FaultKind::misdirected_read:
    case FaultKind::stale_read:
      return false;
    default:
      return true;
  }
}

struct FailureOptions {
  std::vector<segment::FaultKind> kinds;  ///< none: all
  bool once = true;
  bool lasting = true;
  std::uint64_t step = 1;  ///< each step-th request only
};

struct FailureCounts {
  std::uint64_t points = 0;
  std::uint64_t faults = 0;
};

/// `workload(std::span<const FaultRule> faults, const FailurePoint*)` opens its devices afresh with
/// these rules, runs, judges the outcome itself and returns how many faults were injected: with
/// none, the kind's last request has been passed. The first run is without rules and without a
/// point.
template <class Workload>
FailureCounts for_each_failure_point(const FailureOptions& options, Workload&& workload) {
  FailureCounts counts;
  workload(std::span<const segment::FaultRule>(), nullptr);
  for (unsigned number = 0; number < segment::fault_kind_count; ++number) {
    FailurePoint point;
    point.kind = static_cast<segment::FaultKind>(number);
    bool wanted = options.kinds.empty();
    for (const segment::FaultKind kind : options.kinds) wanted = wanted || kind == point.kind;
    for (unsigned lasting = 0; wanted && lasting < 2; ++lasting) {
      if (!(lasting == 0 ? options.once : options.lasting)) continue;
      point.lasting = lasting != 0;
      for (point.nth = 1;; point.nth += options.step) {
        const segment::FaultRule rule = point.rule();
        const std::uint64_t faults = workload(std::span(&rule, 1), &point);
        if (faults == 0) break;
        ++counts.points;
        counts.faults += faults;
      }
    }
  }
  return counts;
}

}  // namespace firn::test
