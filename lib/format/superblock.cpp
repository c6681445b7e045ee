#include "format/superblock.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "format/checksum.hpp"

namespace firn::format {
namespace {

// The superblock names the domain, so its own checksum cannot be seeded with it.
constexpr std::uint64_t superblock_seed = 0x4649524e53555052;

constexpr std::array<char, 16> making_mark = {'F', 'I', 'R', 'N', ' ', 'b', 'e', 'i',
                                              'n', 'g', ' ', 'm', 'a', 'd', 'e', '\n'};

std::uint64_t checksum_of_superblock(Bytes block) noexcept {
  return checksum(block.subview(sizeof(Superblock::checksum)), superblock_seed);
}

}  // namespace

void encode_superblock(const Superblock& superblock, std::byte* block) noexcept {
  std::memset(block, 0, superblock_bytes);
  std::memcpy(block, &superblock, sizeof superblock);
  const std::uint64_t sum = checksum_of_superblock({block, superblock_bytes});
  std::memcpy(block, &sum, sizeof sum);
}

void encode_making_mark(std::byte* block) noexcept {
  std::memset(block, 0, superblock_bytes);
  std::memcpy(block, making_mark.data(), making_mark.size());
}

SuperblockState decode_superblock(Bytes block, Superblock& out) noexcept {
  if (block.size() != superblock_bytes) return SuperblockState::damaged;
  std::memcpy(&out, block.data(), sizeof out);
  if (out.checksum == checksum_of_superblock(block) && out.magic == Superblock::magic_text) {
    return SuperblockState::valid;
  }
  const bool marked = std::memcmp(block.data(), making_mark.data(), making_mark.size()) == 0;
  const Bytes rest = block.subview(marked ? making_mark.size() : 0);
  const bool zero =
      std::all_of(rest.begin(), rest.end(), [](std::byte byte) { return byte == std::byte{}; });
  if (!zero) return SuperblockState::damaged;
  return marked ? SuperblockState::being_made : SuperblockState::empty;
}

Result<void> check_superblock(const Superblock& superblock) noexcept {
  if (superblock.version > format_version) {
    return fail(ErrorCode::unsupported_format, "format version {} is newer than this build's",
                superblock.version);
  }
  const std::uint64_t unknown = superblock.required_features & ~known_required_features;
  if (unknown != 0) {
    return fail(ErrorCode::unsupported_format, "this build does not know the feature bits {}",
                unknown);
  }
  const std::uint64_t granule = superblock.granule_bytes;
  const std::uint64_t chunk = superblock.chunk_bytes;
  const bool sane = std::has_single_bit(granule) && granule >= 512 && granule <= 4096 &&
                    std::has_single_bit(chunk) && chunk >= 64 * granule && chunk <= 64U << 20 &&
                    superblock.domain != 0 && superblock.number != 0 &&
                    superblock.number <= Superblock::number_max && superblock.open_count != 0 &&
                    superblock.open_count <= Superblock::open_count_max &&
                    superblock.manifest_bytes >= 64 && superblock.manifest_bytes <= chunk;
  if (!sane || superblock.version == 0) {
    return fail(ErrorCode::corrupt, "the superblock of checkpoint {} makes no sense",
                superblock.number);
  }
  return {};
}

}  // namespace firn::format
