// Every crash: from the recorded history of simulated devices, the media that a power cut could
// have left.
//
// The history is cut between any two of its events (a submission, a completion, a mark). At a cut
// the writes that no sync covers yet are pending, finished or not, and each may have landed, not
// landed or landed in part, in any order:
//   1. up to `exhaustive_max` pending writes: every subset;
//   2. beyond: none, all, each prefix, all but one, only one, and random ones;
//   3. tears of each write (prefixes, suffixes, holes, alternate sectors, random ones) with the
//   other
//      writes missing, landed, or landed as far as they were submitted earlier;
//   4. states in which each write is kept, dropped or torn at random;
//   5. where writes overlap, in every order of these, or in `order_max` random ones.
// A state is met once: states with equal content between the same two marks are the same. A mark
// tells them apart, because what was notified before it must be found after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "segment/device_journal.hpp"
#include "segment/simulated.hpp"

namespace firn::test {

struct CrashOptions {
  std::uint64_t seed = 1;
  std::size_t exhaustive_max = 6;
  std::size_t order_max = 24;
  std::size_t random_tear_count = 2;    ///< for each write at its first cut
  std::size_t random_state_count = 24;  ///< at each cut
  bool tears = true;
  /// Visits this share of the states, the same ones for the same seed.
  std::uint64_t one_in = 1;
  std::uint64_t nested_one_in = 1;  ///< inside recoveries, see `for_each_crash`
  /// Visits only the state of this index and, within its recovery, that of the next: to debug.
  std::vector<std::uint64_t> only;
};

struct CrashCounts {
  std::uint64_t cuts = 0;
  std::uint64_t candidates = 0;  ///< states composed, most of them met before
  std::uint64_t states = 0;      ///< different ones
  std::uint64_t visited = 0;
  std::size_t pending_max = 0;
  bool stopped = false;  ///< by the visitor

  void add(const CrashCounts& other) noexcept {
    cuts += other.cuts;
    candidates += other.candidates;
    states += other.states;
    visited += other.visited;
    pending_max = pending_max < other.pending_max ? other.pending_max : pending_max;
    stopped = stopped || other.stopped;
  }
};

/// One pending call that landed, wholly or in part.
struct Landing {
  std::uint64_t call = 0;
  bool torn = false;
  segment::SectorSet sectors;  ///< if torn
};

/// How a crash image came about. Valid during the visit.
struct CrashState {
  const segment::Journal* journal = nullptr;
  std::uint64_t seed = 0;
  std::uint64_t index = 0;
  std::uint64_t cut = 0;  ///< so many events of the journal had happened
  std::span<const std::uint64_t> pending;
  std::span<const Landing> landings;  ///< in the order they landed
  std::span<const std::pair<std::uint64_t, std::uint64_t>> marks;

  /// The value of the latest mark of that topic before the cut.
  [[nodiscard]] std::optional<std::uint64_t> last_mark(std::uint64_t topic) const noexcept {
    for (const auto& [found, value] : marks) {
      if (found == topic) return value;
    }
    return std::nullopt;
  }
  /// "seed 1, state 17: cut after 40 of 92 events: ...".
  [[nodiscard]] std::string describe() const;
};

/// The devices of the journal after the crash, ready to be opened.
class CrashImage {
 public:
  explicit CrashImage(const std::vector<segment::SectorImage>& images) {
    devices_.reserve(images.size());
    for (const segment::SectorImage& image : images) {
      devices_.push_back(std::make_unique<segment::SimulatedDevice>(image));
    }
  }
  [[nodiscard]] segment::SimulatedDevice& device(std::size_t index = 0) { return *devices_[index]; }
  [[nodiscard]] std::size_t device_count() const noexcept { return devices_.size(); }

 private:
  std::vector<std::unique_ptr<segment::SimulatedDevice>> devices_;
};

/// False ends the enumeration.
using CrashVisit = std::function<bool(CrashImage&, const CrashState&)>;

CrashCounts enumerate_crashes(const segment::Journal& journal, const CrashOptions& options,
                              const CrashVisit& visit);

/// Calls `visit(CrashImage&, const CrashState&)` for each state; it may return whether to go on.
template <class Visit>
CrashCounts for_each_crash_image(const segment::Journal& journal, const CrashOptions& options,
                                 Visit&& visit) {
  return enumerate_crashes(journal, options, [&](CrashImage& image, const CrashState& state) {
    if constexpr (std::is_void_v<decltype(visit(image, state))>) {
      visit(image, state);
      return true;
    } else {
      return static_cast<bool>(visit(image, state));
    }
  });
}

/// The crashes that led to an image, the outermost first.
using CrashPath = std::vector<const CrashState*>;
[[nodiscard]] std::string describe(const CrashPath& path);

/// Calls `recover(CrashImage&, const CrashPath&)` for each state, records what it does to the
/// devices, and cuts that again, `depth` deep in all (1: crashes of the workload only).
using CrashRecover = std::function<bool(CrashImage&, const CrashPath&)>;
std::vector<CrashCounts> for_each_crash(const segment::Journal& journal,
                                        const CrashOptions& options, unsigned depth,
                                        const CrashRecover& recover);

}  // namespace firn::test
