// The inside of the store, shared by store.cpp (pages), checkpoint.cpp (publishing) and open.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "base/spin.hpp"
#include "store/manifest.hpp"
#include "store/space.hpp"
#include "store/store.hpp"

namespace firn::store {

inline constexpr std::uint8_t segment_zero = 0;

/// Lifetimes by size class, where nobody says better: what recovery assumes of an image.
[[nodiscard]] inline Group group_of(PageId page) noexcept {
  return page.size_class() <= 2 ? Group::leaves : Group::runs;
}

struct Store::Impl {
  // A change of the mapping under a number, and what the entry was before it.
  struct Change {
    PageId page;
    MappingEntry now;
    MappingEntry before;
  };
  struct IdSpace {
    std::uint64_t next_slot = 1;
    std::vector<std::uint64_t> free;
    // Free since opening, as ranges: their number is bounded by that of the pages between them,
    // whatever a file says `next_slot` is. Taken from the last one's front.
    struct Range {
      std::uint64_t begin = 0;
      std::uint64_t end = 0;
    };
    std::vector<Range> gaps;
    std::array<std::vector<std::uint64_t>, 3> given_up;  // by number % 3
  };

  Impl(segment::Backend& its_backend, const StoreOptions& its_options) noexcept
      : backend(its_backend), options(its_options) {}

  // Constant after opening.
  segment::Backend& backend;
  StoreOptions options;
  std::uint32_t granule_bytes = 512;
  std::uint64_t open_count = 0;
  bool read_only = false;

  // Guarded by `mutex`.
  mutable base::SpinLock mutex;
  std::vector<Space> space;                    // one, of segment 0; empty until opened
  std::array<std::vector<Change>, 2> changes;  // by number % 2
  std::size_t changes_expected = 0;            // room that writes under way will need
  std::array<IdSpace, format::size_class_count> ids;
  std::uint64_t next_version = 0;
  StoreStatistics statistics;

  // Any thread: reads take no mutex.
  std::atomic<std::uint64_t> page_reads{0};
  std::atomic<std::uint64_t> page_read_bytes{0};

  // The checkpointer's own; one at a time.
  std::vector<ExtentReference> references;  // mapping extents of the published checkpoint, in order
  Location manifest;
  std::uint64_t reference_bytes = 0;  // of the log extents in `references`
  std::uint64_t snapshot_bytes = 0;   // of the snapshot extents in it
  Payload payload{};

  [[nodiscard]] Space& space_of(std::uint8_t) noexcept { return space.front(); }
  [[nodiscard]] std::uint64_t offset_of(Extent extent) const noexcept {
    return space.front().offset_of(extent);
  }
  // What lies beyond the last chunk that a location can name is not used.
  [[nodiscard]] std::uint64_t chunks_of_backend() const noexcept {
    return std::min<std::uint64_t>(backend.size() / options.chunk_bytes, Location::chunk_count_max);
  }
  // Under the mutex: makes room so that recording a change later cannot fail.
  Result<void> expect_change(std::uint64_t number) noexcept;
};

/// The location as an error shows it: the segment is in the place, the page too.
[[nodiscard]] inline Failure corrupt_page(PageId page, const char* detail,
                                          std::uint64_t value = 0) noexcept {
  Failure failure = fail(ErrorCode::corrupt, detail, value);
  failure.error.place = {.page = page.bits(), .segment = segment_zero};
  return failure;
}

}  // namespace firn::store
