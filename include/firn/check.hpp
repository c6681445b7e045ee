// Looking at the file of a segment from outside, without opening its domain: whether it is whole,
// and what it holds. Nothing is ever written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <firn/error.hpp>
#include <firn/export.hpp>
#include <firn/result.hpp>

namespace firn {

struct CheckOptions {
  /// Called on the calling thread, now and then and once at the end: bytes of page images that were
  /// verified, and bytes there are. Must not throw.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;
};

/// What a check found. All sizes are bytes.
struct CheckReport {
  static constexpr std::size_t damage_listed_max = 1000;
  struct OfTable {
    std::uint64_t id = 0;
    std::string name;
    std::uint64_t pairs = 0;             ///< counted; 0 if it is not whole
    std::uint64_t catalogued_pairs = 0;  ///< may differ after a crash: it is told, not relied on
    bool whole = true;
  };

  std::uint64_t checkpoint = 0;      ///< number of the checkpoint that was checked, the newest one
  std::uint64_t segment_bytes = 0;   ///< the file's size in whole blocks
  std::uint64_t pages = 0;           ///< all of them were read and verified
  std::uint64_t image_bytes = 0;     ///< of these pages on the device
  std::uint64_t free_bytes = 0;      ///< that new images may take
  std::uint64_t damaged_pages = 0;   ///< of `pages`; the device may have refused to read them
  std::uint64_t damaged_copies = 0;  ///< of superblocks; the next opening for writing renews them
  std::uint64_t damaged_trees = 0;   ///< of tables and of the catalogue
  /// Pages of no table; 0 where damage, or a table that is still being freed, hides them.
  std::uint64_t unreachable_pages = 0;
  std::vector<OfTable> tables;  ///< of a native domain, as far as the catalogue could be read
  /// One per damaged page, in no order, and one per tree that is not whole, with its place: the
  /// first `damage_listed_max`.
  std::vector<Error> damage;

  [[nodiscard]] bool clean() const noexcept {
    return damaged_pages == 0 && damaged_copies == 0 && damaged_trees == 0 &&
           unreachable_pages == 0;
  }
};

/// Reads and verifies all that the newest checkpoint in the segment file (or block device) `path`
/// refers to: superblock, mapping, and every page image; nothing may be named twice or lie outside.
/// In a native domain also the catalogue and every table's tree: each page of its table and level,
/// keys in order and within the fences, fences as the parents say. (Keys whose order is a
/// comparator of the type's own are not compared.) Pages are read twice for that, through 64 MiB of
/// memory. Damaged pages are a success with a report. Damage that hides which pages there are is
/// the error `corrupt`. Further errors: `not_found` where nothing is, or nothing of Firn; `busy`
/// while a process has it open for writing; `unsupported_format`, `invalid_argument` where `path`
/// is no such file, `io_error`, `no_memory`. Blocks; `invalid_state` on a fiber.
[[nodiscard]] FIRN_API Result<CheckReport> check_segment(std::string_view path,
                                                         const CheckOptions& options = {}) noexcept;

/// What a segment's file holds, as its newest checkpoint says. All sizes are bytes.
struct SegmentStatistics {
  static constexpr std::size_t class_count = 9;
  struct OfClass {
    std::uint64_t page_bytes = 0;  ///< in memory
    std::uint64_t pages = 0;
    std::uint64_t image_bytes = 0;  ///< on the device, where images are trimmed
  };
  /// Chunks that were opened for images of one lifetime.
  struct OfGroup {
    std::uint64_t chunks = 0;
    std::uint64_t live_bytes = 0;     ///< the checkpoint refers to it
    std::uint64_t pending_bytes = 0;  ///< given up, free once the next checkpoint is published
    std::uint64_t free_bytes = 0;
  };

  std::uint64_t checkpoint = 0;  ///< number of the newest one
  std::uint64_t open_count = 0;  ///< how often the domain was opened for writing
  std::uint64_t segment_bytes = 0;
  std::uint32_t granule_bytes = 0;  ///< unit of space
  std::uint32_t chunk_bytes = 0;
  std::uint64_t damaged_copies = 0;  ///< of superblocks
  std::uint64_t pages = 0;
  std::uint64_t image_bytes = 0;
  std::uint64_t mapping_bytes = 0;  ///< of the mapping and its manifest
  std::uint64_t pending_bytes = 0;
  std::uint64_t free_bytes = 0;
  std::uint64_t empty_chunks = 0;
  std::uint64_t holes = 0;  ///< in chunks that are not empty
  std::uint64_t longest_hole_bytes = 0;
  double fragmentation = 0;  ///< of the free space in such chunks: what is not in its longest hole
  std::array<OfClass, class_count> classes{};
  OfGroup leaves;
  OfGroup runs;
  OfGroup other;  ///< superblocks, mapping
};

/// As in `check_segment`, but no page is read. `corrupt` where the mapping is damaged.
[[nodiscard]] FIRN_API Result<SegmentStatistics> segment_statistics(std::string_view path) noexcept;

}  // namespace firn
