// The mapping: for each page id the place and the expected checksum of its newest image. Arrays
// that grow by blocks and never move, so a reader needs no latch but the page's own.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <firn/result.hpp>

#include "format/page_id.hpp"
#include "store/location.hpp"

namespace firn::store {

struct MappingEntry {
  Location location;
  std::uint64_t checksum = 0;
  friend bool operator==(const MappingEntry&, const MappingEntry&) = default;
};
static_assert(sizeof(MappingEntry) == 16);

/// Shared between threads: blocks are added by any thread, entries written by one at a time. Who
/// reads one meanwhile may get a location with another image's checksum, and looks again when what
/// it reads there does not match.
class Mapping {
 public:
  /// A block takes a page of memory: files may name few ids far apart.
  static constexpr std::size_t block_entries = 256;
  /// 2^22 blocks: 2^30 pages of a class, 4 TiB of the smallest.
  static constexpr std::size_t block_count_max = std::size_t{1} << 22;
  static constexpr std::uint64_t slot_max = block_entries * block_count_max - 1;

  Mapping() noexcept = default;
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  /// Reserves the address space of the block lists. Before any other call.
  Result<void> start() noexcept;

  [[nodiscard]] MappingEntry get(format::PageId page) const noexcept {
    Cell* cell = find(page);
    if (cell == nullptr) return {};
    const std::uint64_t location = std::atomic_ref(cell->location).load(std::memory_order_acquire);
    return {.location = Location::from_bits(location),
            .checksum = std::atomic_ref(cell->checksum).load(std::memory_order_relaxed)};
  }
  /// `ensure` was called for the page.
  void set(format::PageId page, MappingEntry entry) noexcept {
    Cell* cell = find(page);
    FIRN_ASSERT(cell != nullptr);
    std::atomic_ref(cell->checksum).store(entry.checksum, std::memory_order_relaxed);
    std::atomic_ref(cell->location).store(entry.location.bits(), std::memory_order_release);
  }
  /// Makes sure that the page has an entry. `no_memory`: nothing has changed.
  Result<void> ensure(format::PageId page) noexcept;
  /// The first slot from `slot` on that may have an image, `end` if none has: what was never
  /// ensured is passed over in blocks.
  [[nodiscard]] std::uint64_t next_known(unsigned size_class, std::uint64_t slot,
                                         std::uint64_t end) const noexcept {
    while (slot < end &&
           blocks_[size_class][slot / block_entries].load(std::memory_order_acquire) == nullptr) {
      slot = (slot / block_entries + 1) * block_entries;
    }
    return slot < end ? slot : end;
  }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return memory_bytes_.load(std::memory_order_relaxed);
  }

 private:
  struct Cell {
    std::uint64_t location = 0;
    std::uint64_t checksum = 0;
  };
  static_assert(sizeof(Cell) == sizeof(MappingEntry));
  using Block = std::array<Cell, block_entries>;
  [[nodiscard]] Cell* find(format::PageId page) const noexcept {
    const std::uint64_t slot = page.slot();
    if (page.size_class() >= format::size_class_count || slot > slot_max) return nullptr;
    Block* block = blocks_[page.size_class()][slot / block_entries].load(std::memory_order_acquire);
    return block == nullptr ? nullptr : &(*block)[slot % block_entries];
  }

  std::array<std::atomic<Block*>*, format::size_class_count> blocks_{};
  std::atomic<std::uint64_t> memory_bytes_{0};
  std::atomic<std::size_t> touched_max_{0};  // blocks from here on were never taken
};

}  // namespace firn::store
