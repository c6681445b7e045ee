// Checks of segment files from outside. One thread, one executor of its own: pages are read with
// many requests under way, then each tree is walked.
#include <firn/check.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "domain/native/reader.hpp"
#include "domain/opened_segment.hpp"
#include "store/aligned_block.hpp"

namespace firn {
namespace {

using domain::OpenedSegment;
using format::PageId;

static_assert(SegmentStatistics::class_count == format::size_class_count);

/// Reads pages one size class after the other, as many at once as there is memory for.
class Verification {
 public:
  Verification(OpenedSegment& opened, const CheckOptions& options, CheckReport& report) noexcept
      : opened_(opened), options_(options), report_(report) {}

  Result<void> run() noexcept;

 private:
  static constexpr std::size_t depth_max = 64;
  static constexpr std::size_t buffer_bytes = std::size_t{8} << 20;

  struct Slot {
    store::PageRead read;
    Verification* self = nullptr;
    Slot* next_free = nullptr;
  };

  void lay_out(unsigned size_class) noexcept;
  void ended(Slot& slot) noexcept;
  void wait_for_all() noexcept;
  void tick() noexcept;

  OpenedSegment& opened_;
  const CheckOptions& options_;
  CheckReport& report_;
  store::AlignedBlock* buffer_ = nullptr;
  std::array<Slot, depth_max> slots_;
  Slot* free_ = nullptr;
  std::size_t under_way_ = 0;
  std::uint64_t done_bytes_ = 0;
  unsigned size_class_ = format::size_class_count;  // of the slots' layout: none yet
};

Result<void> Verification::run() noexcept {
  FIRN_TRY_ASSIGN(auto buffer, store::AlignedBlock::make(buffer_bytes));
  buffer_ = &buffer;
  FIRN_TRY(base::guard_allocation([&] { report_.damage.reserve(CheckReport::damage_listed_max); }));
  std::array<PageId, 256> pages;
  PageId last;
  while (true) {
    const std::size_t count = opened_.store().list_pages(last, pages);
    if (count == 0) break;
    for (const PageId page : std::span(pages.data(), count)) {
      if (page.size_class() != size_class_) {
        wait_for_all();
        lay_out(page.size_class());
      }
      while (free_ == nullptr) tick();
      Slot& slot = *std::exchange(free_, free_->next_free);
      ++under_way_;
      slot.read.page = page;
      opened_.store().read(opened_.executor(), slot.read);
    }
    last = pages[count - 1];
    if (options_.progress) options_.progress(done_bytes_, report_.image_bytes);
  }
  wait_for_all();
  if (options_.progress) options_.progress(done_bytes_, report_.image_bytes);
  return {};
}

// Divides the buffer into pages of one class.
void Verification::lay_out(unsigned size_class) noexcept {
  size_class_ = size_class;
  const std::size_t page_bytes = format::page_bytes(size_class);
  const std::size_t count = std::min(depth_max, buffer_bytes / page_bytes);
  free_ = nullptr;
  for (std::size_t index = 0; index < count; ++index) {
    Slot& slot = slots_[index];
    slot.self = this;
    slot.read.data = buffer_->data() + index * page_bytes;
    slot.read.context = &slot;
    slot.read.done = [](store::PageRead& read) noexcept {
      Slot& its = *static_cast<Slot*>(read.context);
      its.self->ended(its);
    };
    slot.next_free = std::exchange(free_, &slot);
  }
}

void Verification::ended(Slot& slot) noexcept {
  done_bytes_ += slot.read.image_bytes;
  if (!slot.read.outcome.has_value()) {
    ++report_.damaged_pages;
    if (report_.damage.size() < CheckReport::damage_listed_max) {
      report_.damage.push_back(slot.read.outcome.error());  // there is room
    }
  }
  slot.next_free = std::exchange(free_, &slot);
  --under_way_;
}

void Verification::wait_for_all() noexcept {
  while (under_way_ > 0) tick();
}

void Verification::tick() noexcept {
  const std::size_t before = under_way_;
  if (opened_.executor().tick(std::chrono::nanoseconds::zero()) == 0 && under_way_ == before) {
    opened_.executor().wait_for_work();
  }
}

std::uint64_t granules_to_bytes(const OpenedSegment& opened, std::uint64_t granules) noexcept {
  return granules * opened.superblock().granule_bytes;
}

void fill_group(const OpenedSegment& opened, const store::SpaceStatistics::OfGroup& from,
                SegmentStatistics::OfGroup& to) noexcept {
  to.chunks = from.chunks;
  to.live_bytes = granules_to_bytes(opened, from.live);
  to.pending_bytes = granules_to_bytes(opened, from.pending);
  to.free_bytes = granules_to_bytes(opened, from.free);
}

void fill_classes(OpenedSegment& opened, SegmentStatistics& statistics) noexcept {
  for (unsigned size_class = 0; size_class < format::size_class_count; ++size_class) {
    statistics.classes[size_class].page_bytes = format::page_bytes(size_class);
  }
  std::array<PageId, 256> pages;
  PageId last;
  while (const std::size_t count = opened.store().list_pages(last, pages)) {
    for (const PageId page : std::span(pages.data(), count)) {
      SegmentStatistics::OfClass& of_class = statistics.classes[page.size_class()];
      ++of_class.pages;
      of_class.image_bytes +=
          granules_to_bytes(opened, opened.store().entry(page).location.extent().count);
    }
    last = pages[count - 1];
  }
}

// What is wrong in a tree is listed once: a page that cannot be read is listed already, and only
// its table is added.
void add_damage(CheckReport& report, const Error& error) noexcept {
  const auto listed =
      std::find_if(report.damage.begin(), report.damage.end(), [&](const Error& one) {
        return one.place.page == error.place.page && one.place.segment == error.place.segment;
      });
  if (error.place.page != Place::none && listed != report.damage.end()) {
    listed->place.table = error.place.table;
  } else if (report.damage.size() < CheckReport::damage_listed_max) {
    report.damage.push_back(error);  // there is room
  }
}

// Walks every tree. Damage is reported; what is returned could not be looked at.
Result<void> check_tables(OpenedSegment& opened, CheckReport& report) noexcept {
  domain::Reader reader(opened);
  const auto take = [&report](const Result<void>& walked) noexcept -> Result<void> {
    if (walked.has_value()) return {};
    const ErrorCode code = walked.error().code;
    if (code != ErrorCode::corrupt && code != ErrorCode::io_error) return walked;
    ++report.damaged_trees;
    add_damage(report, walked.error());
    return {};
  };
  const Result<void> read = reader.open();
  FIRN_TRY(take(read));
  if (!read.has_value() || !reader.has_catalogue()) return {};
  tree::Census whole;
  FIRN_TRY(take(reader.census_of_catalogue(whole)));
  std::uint64_t reached = whole.pages();
  bool all_counted = report.damaged_trees == 0;
  for (const domain::CatalogueRow& row : reader.rows()) {
    // A tree that is being freed is no whole one.
    const bool destroyed = row.state == domain::RowState::destroyed;
    all_counted = all_counted && !destroyed && !row.former_root.valid();
    if (destroyed) continue;
    domain::TableReader table(reader, row);
    tree::Census census;
    const Result<void> walked =
        FIRN_PLANTED("check-skips-trees") ? Result<void>() : table.census(census);
    FIRN_TRY(take(walked));
    all_counted = all_counted && walked.has_value();
    reached += census.pages();
    if (FIRN_PLANTED("check-misses-values")) reached -= census.value_pages;
    FIRN_TRY(base::guard_allocation([&] {
      report.tables.push_back({.id = row.id,
                               .name = row.name,
                               .pairs = census.pairs,
                               .catalogued_pairs = row.pair_count,
                               .whole = walked.has_value()});
    }));
  }
  if (all_counted && report.pages > reached) report.unreachable_pages = report.pages - reached;
  return {};
}

}  // namespace

Result<CheckReport> check_segment(std::string_view path, const CheckOptions& options) noexcept {
  OpenedSegment opened;
  FIRN_TRY(opened.open(path));
  const store::StoreStatistics of_store = opened.store().statistics();
  const store::SpaceStatistics of_space = opened.store().space_statistics();
  CheckReport report;
  report.checkpoint = of_store.published_number;
  report.segment_bytes = opened.file().size();
  report.pages = of_store.pages;
  report.image_bytes = of_store.image_bytes;
  report.free_bytes = granules_to_bytes(opened, of_space.free);
  report.damaged_copies = of_store.damaged_superblocks;
  std::unique_ptr<Verification> verification(new (std::nothrow)
                                                 Verification(opened, options, report));
  if (verification == nullptr) return fail(ErrorCode::no_memory, "no memory for a check");
  FIRN_TRY(verification->run());
  verification.reset();
  FIRN_TRY(check_tables(opened, report));
  return report;
}

Result<SegmentStatistics> segment_statistics(std::string_view path) noexcept {
  OpenedSegment opened;
  FIRN_TRY(opened.open(path));
  const store::StoreStatistics of_store = opened.store().statistics();
  const store::SpaceStatistics of_space = opened.store().space_statistics();
  SegmentStatistics statistics;
  statistics.checkpoint = of_store.published_number;
  // The store counts the opening that it would be if it wrote.
  statistics.open_count = of_store.open_count - 1;
  statistics.segment_bytes = opened.file().size();
  statistics.granule_bytes = opened.superblock().granule_bytes;
  statistics.chunk_bytes = opened.superblock().chunk_bytes;
  statistics.damaged_copies = of_store.damaged_superblocks;
  statistics.pages = of_store.pages;
  statistics.image_bytes = of_store.image_bytes;
  // What is neither free nor of a page: superblocks, manifest, mapping.
  statistics.mapping_bytes = granules_to_bytes(opened, of_space.live) - of_store.image_bytes -
                             format::superblock_area_bytes;
  statistics.pending_bytes = granules_to_bytes(opened, of_space.pending);
  statistics.free_bytes = granules_to_bytes(opened, of_space.free);
  statistics.empty_chunks = of_space.empty_chunks;
  statistics.holes = of_space.holes;
  statistics.longest_hole_bytes = granules_to_bytes(opened, of_space.longest_hole);
  statistics.fragmentation = of_space.fragmentation;
  fill_classes(opened, statistics);
  const auto group = [&](store::Group which) {
    return of_space.groups[static_cast<std::size_t>(which)];
  };
  fill_group(opened, group(store::Group::leaves), statistics.leaves);
  fill_group(opened, group(store::Group::runs), statistics.runs);
  store::SpaceStatistics::OfGroup other = group(store::Group::other);
  const store::SpaceStatistics::OfGroup metadata = group(store::Group::metadata);
  other.chunks += metadata.chunks;
  other.live += metadata.live;
  other.pending += metadata.pending;
  other.free += metadata.free;
  fill_group(opened, other, statistics.other);
  return statistics;
}

}  // namespace firn
