#include "format/segment_head.hpp"

#include <cstring>

#include "format/checksum.hpp"

namespace firn::format {
namespace {

// The head names the domain, so its own checksum cannot be seeded with it.
constexpr std::uint64_t segment_head_seed = 0x4649524e5345474d;

std::uint64_t checksum_of_head(Bytes block) noexcept {
  return checksum(block.subview(sizeof(SegmentHead::checksum)), segment_head_seed);
}

}  // namespace

void encode_segment_head(const SegmentHead& head, std::byte* block) noexcept {
  std::memset(block, 0, segment_head_bytes);
  std::memcpy(block, &head, sizeof head);
  const std::uint64_t sum = checksum_of_head({block, segment_head_bytes});
  std::memcpy(block, &sum, sizeof sum);
}

bool decode_segment_head(Bytes block, SegmentHead& out) noexcept {
  if (block.size() != segment_head_bytes) return false;
  std::memcpy(&out, block.data(), sizeof out);
  return out.checksum == checksum_of_head(block) && out.magic == SegmentHead::magic_text;
}

}  // namespace firn::format
