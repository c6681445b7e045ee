// The superblock: the root of everything durable. Each checkpoint writes one of two slots, in two
// copies that lie apart, so that one damaged block never leads back to an older checkpoint.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <firn/bytes.hpp>
#include <firn/result.hpp>

namespace firn::format {

inline constexpr std::size_t superblock_bytes = 4096;
/// Copies of both slots lie in the first 64 KiB of segment 0, 16 KiB apart.
inline constexpr std::size_t superblock_area_bytes = 64 * 1024;
[[nodiscard]] constexpr std::uint64_t superblock_offset(unsigned slot, unsigned copy) noexcept {
  return (std::uint64_t{slot} * 2 + copy) * 16 * 1024;
}

inline constexpr std::uint32_t format_version = 1;
/// Feature bits that a build must know to open the file at all. None is defined yet.
inline constexpr std::uint64_t known_required_features = 0;

struct Superblock {
  static constexpr std::array<char, 8> magic_text = {'F', 'I', 'R', 'N', 'S', 'U', 'P', 'R'};
  /// Nobody counts so far; numbers above are not taken from a file.
  static constexpr std::uint64_t number_max = std::uint64_t{1} << 62;
  /// The high 24 bits of versions; the next opening has a larger one.
  static constexpr std::uint64_t open_count_max = (std::uint64_t{1} << 24) - 2;

  std::uint64_t checksum = 0;  ///< of the block's 4096 bytes after this field
  std::array<char, 8> magic = magic_text;
  std::uint32_t version = format_version;
  std::uint32_t granule_bytes = 0;
  std::uint64_t required_features = 0;
  std::uint64_t compatible_features = 0;
  std::uint64_t domain = 0;      ///< random, never 0
  std::uint64_t number = 0;      ///< of the checkpoint
  std::uint64_t open_count = 0;  ///< how often the domain was opened for writing
  std::uint32_t chunk_bytes = 0;
  std::uint32_t manifest_bytes = 0;
  std::uint64_t manifest_location = 0;  ///< store::Location
  std::uint64_t manifest_checksum = 0;
  std::array<std::byte, 256> payload{};  ///< of the layers above
};
static_assert(sizeof(Superblock) == 88 + 256);
static_assert(std::is_trivially_copyable_v<Superblock>);

/// What a block that should hold a superblock turned out to be. `being_made`: nothing yet, and
/// while no other one is valid the segment holds nothing either.
enum class SuperblockState : std::uint8_t { valid, empty, damaged, being_made };

/// What stands in the blocks of slot 0 until checkpoint 2 takes their place.
void encode_making_mark(std::byte* block) noexcept;
/// Writes `superblock` into a block of `superblock_bytes`, checksum and all.
void encode_superblock(const Superblock& superblock, std::byte* block) noexcept;
/// Any bytes are safe.
[[nodiscard]] SuperblockState decode_superblock(Bytes block, Superblock& out) noexcept;
/// Whether this build can open it: `unsupported_format`, or `corrupt` where its numbers make no
/// sense.
[[nodiscard]] Result<void> check_superblock(const Superblock& superblock) noexcept;

}  // namespace firn::format
