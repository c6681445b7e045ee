// What a store knows of each of its further segments, durable in the manifest, and where it gets
// them from when it is opened. Segment 0 is none of them: the superblock describes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <firn/result.hpp>

#include "segment/backend.hpp"

namespace firn::store {

inline constexpr unsigned segment_count_max = 256;

/// What stands behind a segment. The numbers are part of the format.
enum class SegmentKind : std::uint8_t { file = 1, device = 2, memory = 3, simulated = 4 };

struct SegmentRecord {
  std::uint8_t id = 0;
  SegmentKind kind = SegmentKind::file;
  bool is_volatile = false;  ///< comes back empty; no page in it outlives the process
  bool append_only = false;  ///< its chunks are written once and cleaned
  std::uint32_t granule_bytes = 512;
  std::uint32_t chunk_bytes = 1U << 20;
  std::uint64_t size_bytes = 0;  ///< in whole chunks
  std::uint64_t identity = 0;    ///< as in the segment's own head
  std::string name;
  std::string path;  ///< as the layer above gave it; the store does not look at it
};

/// The layer above, which knows how to reach devices. Called on fibers of the executor that the
/// store was called with.
class SegmentSource {
 public:
  virtual ~SegmentSource() = default;
  SegmentSource(const SegmentSource&) = delete;
  SegmentSource& operator=(const SegmentSource&) = delete;

  /// The backend of a segment of the domain that is being opened, with `record.id` as its number;
  /// `not_found` and the like otherwise. A volatile one is made anew, of that size.
  virtual Result<std::unique_ptr<segment::Backend>> open_segment(
      const SegmentRecord& record) noexcept = 0;
  /// A removed segment is named by no superblock any more, and its backend is closed: what holds it
  /// may be deleted.
  virtual void segment_gone(const SegmentRecord& /*record*/) noexcept {}

 protected:
  SegmentSource() = default;
};

/// The record in the manifest: this head, then name and path, then zeroes up to 8 bytes.
struct SegmentEntryHead {
  static constexpr std::uint8_t flag_volatile = 1;
  static constexpr std::uint8_t flag_append_only = 2;

  std::uint8_t id = 0;
  std::uint8_t kind = 0;
  std::uint8_t flags = 0;
  std::uint8_t name_bytes = 0;
  std::uint16_t path_bytes = 0;
  std::uint16_t reserved = 0;
  std::uint32_t granule_bytes = 0;
  std::uint32_t chunk_bytes = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t identity = 0;
};
static_assert(sizeof(SegmentEntryHead) == 32);
inline constexpr std::size_t segment_path_bytes_max = 4095;

[[nodiscard]] std::size_t segment_entry_bytes(const SegmentRecord& record) noexcept;
/// Appends the record, `segment_entry_bytes` long, with the size that the segment has now.
/// Allocates, so inside `guard_allocation`.
void encode_segment_entry(const SegmentRecord& record, std::uint64_t size_bytes,
                          std::vector<std::byte>& out);

}  // namespace firn::store
