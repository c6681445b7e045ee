// The record of what was done to simulated devices: each call with its data, when it was submitted
// and when it completed. What a power cut could have left follows from it (tests/support).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "segment/backend.hpp"
#include "segment/sector_image.hpp"

namespace firn::segment {

/// A set of the sectors of one write, by their index within it.
class SectorSet {
 public:
  SectorSet() = default;
  SectorSet(std::size_t sector_count, bool value)
      : count_(sector_count), words_((sector_count + 63) / 64, value ? ~0ull : 0) {}
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] bool contains(std::size_t index) const noexcept {
    return (words_[index / 64] >> (index % 64) & 1) != 0;
  }
  void put(std::size_t index, bool value) noexcept {
    const std::uint64_t bit = 1ull << (index % 64);
    words_[index / 64] = value ? words_[index / 64] | bit : words_[index / 64] & ~bit;
  }

 private:
  std::size_t count_ = 0;
  std::vector<std::uint64_t> words_;
};

/// What one request does to the medium; what a lying device does differently is already in it.
struct DeviceCall {
  static constexpr std::uint64_t never = ~std::uint64_t{0};

  RequestKind kind = RequestKind::read;
  bool failed = false;             ///< its outcome was an error
  bool idle = false;               ///< changes nothing, whatever its outcome says
  std::uint32_t device = 0;        ///< which device of the journal
  std::uint64_t offset = 0;        ///< where it lands
  std::uint64_t asked_offset = 0;  ///< where it was meant to
  std::uint64_t size = 0;          ///< bytes; of grow the new size
  std::shared_ptr<const Payload> data;
  SectorSet reach;  ///< the sectors that can land at all; empty: all
  /// Places in the order of events: the journal's in a journal, the device's own in a device.
  std::uint64_t submitted_at = 0;
  std::uint64_t completed_at = never;

  [[nodiscard]] bool changes_medium() const noexcept {
    return kind != RequestKind::read && kind != RequestKind::sync && !idle;
  }
  [[nodiscard]] bool reaches(std::size_t sector) const noexcept {
    return reach.size() == 0 || reach.contains(sector);
  }
};

/// Applies `call` to `image`: the sectors in `landed` (null: all), as far as it reaches them.
void land(const DeviceCall& call, const SectorSet* landed, SectorImage& image);

/// One thread at a time, with all its devices.
struct Journal {
  enum class EventKind : std::uint8_t { submit, complete, mark };
  struct Event {
    EventKind kind = EventKind::mark;
    std::uint64_t call = 0;   ///< of submit and complete: index into `calls`
    std::uint64_t topic = 0;  ///< of mark: the workload's own, say "notified"
    std::uint64_t value = 0;  ///< of mark: say the number of the transaction
  };
  struct Device {
    SectorImage start;
    std::uint32_t tear_bytes = sector_bytes;
    bool durable_on_completion = false;
  };

  /// Notes what the workload knows by now: a crash before this differs from a crash after it, even
  /// where the medium is the same.
  void mark(std::uint64_t topic, std::uint64_t value) {
    events.push_back({.kind = EventKind::mark, .call = 0, .topic = topic, .value = value});
  }
  /// Equal for equal histories, in any process.
  [[nodiscard]] std::uint64_t hash() const noexcept;

  std::vector<Device> devices;
  std::vector<DeviceCall> calls;
  std::vector<Event> events;
};

}  // namespace firn::segment
