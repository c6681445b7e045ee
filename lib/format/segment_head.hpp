// The head of every segment but segment 0 and volatile ones: which domain and which segment of it a
// file or device holds, so that a wrong or swapped one is refused.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <firn/bytes.hpp>

namespace firn::format {

inline constexpr std::size_t segment_head_bytes = 4096;
/// Two copies, 16 KiB apart, in the first 32 KiB; written in one piece, when the segment is added.
inline constexpr std::size_t segment_head_area_bytes = 32 * 1024;
[[nodiscard]] constexpr std::uint64_t segment_head_offset(unsigned copy) noexcept {
  return std::uint64_t{copy} * 16 * 1024;
}
inline constexpr std::size_t segment_name_bytes_max = 255;

struct SegmentHead {
  static constexpr std::array<char, 8> magic_text = {'F', 'I', 'R', 'N', 'S', 'E', 'G', 'M'};

  std::uint64_t checksum = 0;  ///< of the block's 4096 bytes after this field
  std::array<char, 8> magic = magic_text;
  std::uint32_t version = 1;  ///< of this head's layout
  std::uint32_t granule_bytes = 0;
  std::uint64_t domain = 0;
  std::uint64_t identity = 0;  ///< no other segment that the domain ever had has the same
  std::uint32_t chunk_bytes = 0;
  std::uint8_t id = 0;
  std::uint8_t name_bytes = 0;
  std::uint16_t reserved = 0;
  std::array<char, 256> name{};  ///< for people who find the file
};
static_assert(sizeof(SegmentHead) == 48 + 256);
static_assert(std::is_trivially_copyable_v<SegmentHead>);

/// Writes `head` into a block of `segment_head_bytes`, checksum and all.
void encode_segment_head(const SegmentHead& head, std::byte* block) noexcept;
/// False: the block is no whole head. Any bytes are safe.
[[nodiscard]] bool decode_segment_head(Bytes block, SegmentHead& out) noexcept;

}  // namespace firn::format
