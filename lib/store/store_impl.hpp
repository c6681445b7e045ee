// The inside of the store, shared by store.cpp (pages), checkpoint.cpp (publishing), open.cpp,
// segments.cpp (adding and removing segments) and move.cpp (images to other places).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/spin.hpp"
#include "runtime/fiber.hpp"
#include "store/manifest.hpp"
#include "store/space.hpp"
#include "store/store.hpp"

namespace firn::store {

inline constexpr std::uint8_t segment_zero = 0;
inline constexpr std::uint64_t segment_chunks_min = 4;

/// Lifetimes by size class, where nobody says better: what recovery assumes of an image.
[[nodiscard]] inline Group group_of(PageId page) noexcept {
  return page.size_class() <= 2 ? Group::leaves : Group::runs;
}

/// An open segment. Guarded by the store's mutex but for what is constant. It lives as long as the
/// store: a reader that has found its number in the mapping may come late.
struct Store::Segment {
  Segment(SegmentRecord its_record, segment::Backend& its_backend, Space its_space) noexcept
      : record(std::move(its_record)), backend(its_backend), space(std::move(its_space)) {}

  const SegmentRecord record;  // of its size only what it was when it was opened or added
  segment::Backend& backend;
  std::unique_ptr<segment::Backend> owned;  // null: segment 0's is the caller's

  Space space;
  SegmentState state = SegmentState::active;
  std::uint64_t images = 0;  // mapping entries that lie here
  // What is to be emptied takes nothing new since this number was current: all of the segment, or
  // the chunks that the next pass of the cleaner empties.
  std::uint64_t closed_under = 0;
  std::vector<std::uint32_t> victims;
  bool cleaning = false;
  std::uint64_t left_out_by = 0;    // the first checkpoint whose manifest does not list it
  std::uint64_t head_granules = 0;  // live, but of no page
  std::uint64_t lost_granules = 0;  // live, but nobody's: see `give_back`
  bool unsynced = false;            // written to, or grown, since the last sync began
  std::unique_ptr<Segment> next_gone;

  // Any thread: pages' requests that are under way, and that none may begin any more. Who begins
  // one counts it and then looks at `gone`; who closes the segment sets `gone` and then looks at
  // the count.
  std::atomic<std::uint64_t> requests{0};
  std::atomic<bool> gone{false};

  [[nodiscard]] std::uint64_t bytes_of(Extent extent) const noexcept {
    return std::uint64_t{extent.count} * record.granule_bytes;
  }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept {
    return std::uint64_t{space.chunk_count()} * record.chunk_bytes;
  }
  /// What lies beyond the last chunk that a location can name is not used.
  [[nodiscard]] static std::uint64_t chunks_of(const segment::Backend& backend,
                                               std::uint32_t chunk_bytes) noexcept {
    return std::min<std::uint64_t>(backend.size() / chunk_bytes, Location::chunk_count_max);
  }
};

struct Store::Impl {
  // A change of the mapping under a number, and what the entry was before it.
  struct Change {
    PageId page;
    MappingEntry now;
    MappingEntry before;
  };
  struct IdSpace {
    std::uint64_t next_slot = 1;
    GrowingList<std::uint64_t> free;
    // Free since opening, as ranges: their number is bounded by that of the pages between them,
    // whatever a file says `next_slot` is. Taken from the last one's front.
    struct Range {
      std::uint64_t begin = 0;
      std::uint64_t end = 0;
    };
    std::vector<Range> gaps;
    std::array<GrowingList<std::uint64_t>, 3> given_up;  // by number % 3
  };

  Impl(segment::Backend& its_backend, const StoreOptions& its_options) noexcept
      : backend(its_backend), options(its_options) {}

  // Constant after opening.
  segment::Backend& backend;  // segment 0's
  StoreOptions options;
  std::uint32_t granule_bytes = 512;  // segment 0's, like the chunks in `options`
  std::uint64_t open_count = 0;
  bool read_only = false;

  // Guarded by `mutex`. A segment stays where it is until the checkpointer has let it go.
  mutable base::SpinLock mutex;
  std::array<std::unique_ptr<Segment>, segment_count_max> segments;
  // Of those, what reads find without the mutex.
  std::array<std::atomic<Segment*>, segment_count_max> directory{};
  std::unique_ptr<Segment> gone_segments;  // a list
  // Names of segments that are being added, by number; the callers' own.
  std::array<const std::string_view*, segment_count_max> claimed{};
  // By number % 2. That of the number being published is the checkpointer's.
  std::array<GrowingList<Change>, 2> changes;
  std::size_t changes_expected = 0;     // room that writes under way will need
  PageWrite* waiting_writes = nullptr;  // for the room maker; the last one first
  // The lowest number whose changes are not being collected: moves are recorded under it.
  std::uint64_t open_number = 1;
  bool publishing = false;
  std::array<IdSpace, format::size_class_count> ids;
  std::uint64_t next_version = 0;
  StoreStatistics statistics;

  // What the published checkpoint's mapping extents hold; changed by the checkpointer alone.
  std::uint64_t reference_bytes = 0;  // of its log
  std::uint64_t snapshot_bytes = 0;   // of its last whole mapping

  // Any thread: reads take no mutex.
  std::atomic<std::uint64_t> page_reads{0};
  std::atomic<std::uint64_t> page_read_bytes{0};

  // The checkpointer's own; one at a time.
  std::vector<ExtentReference> references;  // mapping extents of the published checkpoint, in order
  Location manifest;
  Payload payload{};

  [[nodiscard]] Segment* segment(std::uint8_t id) noexcept { return segments[id].get(); }
  [[nodiscard]] const Segment* segment(std::uint8_t id) const noexcept {
    return segments[id].get();
  }
  /// Of a segment that is there: every location in the mapping is of one.
  [[nodiscard]] Segment& segment_of(Location location) noexcept {
    FIRN_ASSERT(segments[location.segment()] != nullptr);
    return *segments[location.segment()];
  }
  void enter(std::unique_ptr<Segment> segment) noexcept {
    const std::uint8_t id = segment->record.id;
    directory[id].store(segment.get(), std::memory_order_release);
    segments[id] = std::move(segment);
  }
  /// Segment 0: superblocks, manifests, mapping extents, and pages like others.
  [[nodiscard]] Segment& zero() noexcept { return *segments[segment_zero]; }
  [[nodiscard]] const Segment& zero() const noexcept { return *segments[segment_zero]; }
  [[nodiscard]] bool persists(Location location) const noexcept {
    const Segment* its = segments[location.segment()].get();
    return !location.none() && its != nullptr && !its->record.is_volatile;
  }
  template <class Visit>
  void for_each_segment(Visit visit) {
    for (const std::unique_ptr<Segment>& its : segments) {
      if (its != nullptr) visit(*its);
    }
  }

  // Under the mutex: a place in the segment that is asked for, else in another one that is as
  // persistent.
  Result<Location> place(std::uint8_t asked, Group group, std::uint64_t bytes,
                         Claim claim) noexcept;
  // Under the mutex: keeps as much of segment 0 as the publications to come may need before they
  // get room back.
  void keep_room_to_publish() noexcept;
  /// Bytes of the mapping log that do not yet make the next checkpoint write the mapping anew.
  [[nodiscard]] std::uint64_t log_bytes_max(std::uint64_t mapping_bytes) const noexcept {
    // Of a small segment 0 not too much.
    const std::uint64_t least =
        std::min<std::uint64_t>(options.log_bytes_min, segments[segment_zero]->size_bytes() / 32);
    return std::max(least, mapping_bytes * options.fold_percent / 100);
  }
  // Under the mutex: number and name are those of a segment that is being added.
  Result<void> claim(std::uint8_t id, const std::string_view& name,
                     std::size_t entry_bytes) noexcept;
  // Under the mutex: makes room so that recording a change under `number` later cannot fail.
  Result<void> expect_change(std::uint64_t number) noexcept;
  // Under the mutex: `page`, whose entry is `before`, lies at `now` from here on, under `number`.
  void record(PageId page, MappingEntry before, MappingEntry now, std::uint64_t number) noexcept;
  // Under the mutex: gives up what a page or checkpoint named. If the list of what was given up
  // cannot grow, the place stays out of use until the store is opened again, which is all that
  // memory can cost here.
  void give_back(Segment& segment, Extent extent, std::uint64_t number) noexcept;
};

/// Lets the other fibers and operations of the executor run. On a fiber.
inline void let_others_run(runtime::ExecutorCore& executor) noexcept {
  executor.enqueue(*runtime::current_fiber());
  runtime::FiberContext::suspend();
}

/// The location as an error shows it: the segment is in the place, the page too.
[[nodiscard]] inline Failure corrupt_page(PageId page, std::uint8_t segment, const char* detail,
                                          std::uint64_t value = 0) noexcept {
  Failure failure = fail(ErrorCode::corrupt, detail, value);
  failure.error.place = {.page = page.bits(), .segment = segment};
  return failure;
}

/// `failure` with the segment where it happened.
[[nodiscard]] inline Failure in_segment(Failure failure, std::uint8_t segment) noexcept {
  failure.error.place.segment = segment;
  return failure;
}

// Heads of further segments (segments.cpp). On a fiber of `executor`.
Result<void> write_segment_head(runtime::ExecutorCore& executor, segment::Backend& backend,
                                const SegmentRecord& record, std::uint64_t domain_id) noexcept;
/// That `backend` holds the segment of `record`; a copy of the head that is not whole is written
/// anew if `renew`.
Result<void> check_segment_head(runtime::ExecutorCore& executor, segment::Backend& backend,
                                const SegmentRecord& record, std::uint64_t domain_id,
                                bool renew) noexcept;
/// The space of a further segment, its head marked, not started.
Result<Space> make_segment_space(const SegmentRecord& record, std::uint64_t published) noexcept;

}  // namespace firn::store
