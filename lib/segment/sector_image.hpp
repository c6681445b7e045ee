// What a simulated device holds: sectors in blocks that images share until one of them changes, so
// that a copy costs a pointer per 128 KiB and a change one block. A 64-bit hash of the content is
// kept along; sectors that were never written are zeroes and cost nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace firn::segment {

constexpr std::size_t sector_bytes = 512;

/// The hash of one sector's bytes; 0 for zeroes, and only for them.
[[nodiscard]] std::uint64_t hash_of_sector(const std::byte* sector) noexcept;
/// What a sector adds to the hash of its image, which is their sum.
[[nodiscard]] std::uint64_t hash_term(std::uint64_t sector, std::uint64_t hash) noexcept;

/// The bytes of one write, hashed once however often they land. Immutable.
struct Payload {
  explicit Payload(std::vector<std::byte> data);
  [[nodiscard]] std::size_t sector_count() const noexcept { return hashes.size(); }
  [[nodiscard]] const std::byte* sector(std::size_t index) const noexcept {
    return bytes.data() + index * sector_bytes;
  }
  std::vector<std::byte> bytes;
  std::vector<std::uint64_t> hashes;
};

/// One thread at a time; copies may go to other threads.
class SectorImage {
 public:
  static constexpr std::size_t block_sectors = 8;
  static constexpr std::size_t block_bytes = block_sectors * sector_bytes;

  explicit SectorImage(std::uint64_t size_bytes = 0) noexcept : size_(size_bytes) {}

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Equal for equal content and size, and but for chance only then.
  [[nodiscard]] std::uint64_t hash() const noexcept { return sum_ ^ hash_term(~0ull, size_); }
  /// The sum of the terms of all sectors.
  [[nodiscard]] std::uint64_t sum() const noexcept { return sum_; }
  [[nodiscard]] std::uint64_t used_bytes() const noexcept { return block_count_ * block_bytes; }

  /// A smaller size cuts off what lies beyond it.
  void resize(std::uint64_t size_bytes);
  void cut_to_size();
  /// Beyond the size and what was written: zeroes. Any offset and length.
  void read(std::uint64_t offset, std::span<std::byte> into) const noexcept;
  [[nodiscard]] std::uint64_t sector_hash(std::uint64_t sector) const noexcept {
    const Block* block = find(sector / block_sectors);
    return block == nullptr ? 0 : block->hashes[sector % block_sectors];
  }
  /// Null for zeroes that take no space.
  [[nodiscard]] const std::byte* sector_data(std::uint64_t sector) const noexcept {
    const Block* block = find(sector / block_sectors);
    return block == nullptr ? nullptr : block->bytes.data() + sector % block_sectors * sector_bytes;
  }
  void write_sector(std::uint64_t sector, const std::byte* bytes, std::uint64_t hash);
  void zero_sector(std::uint64_t sector);
  /// Whole sectors, hashed here.
  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  void flip_bit(std::uint64_t offset, unsigned bit);

 private:
  struct Block {
    std::array<std::uint64_t, block_sectors> hashes{};
    std::array<std::byte, block_bytes> bytes;
  };
  static constexpr std::size_t group_blocks = 32;
  using Group = std::array<std::shared_ptr<Block>, group_blocks>;

  [[nodiscard]] const Block* find(std::uint64_t block) const noexcept {
    const std::uint64_t group = block / group_blocks;
    if (group >= groups_.size() || groups_[group] == nullptr) return nullptr;
    return (*groups_[group])[block % group_blocks].get();
  }
  Block& own(std::uint64_t block);
  void drop(std::uint64_t block);

  std::uint64_t size_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t block_count_ = 0;
  std::vector<std::shared_ptr<Group>> groups_;
};

}  // namespace firn::segment
