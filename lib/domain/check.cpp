// Checks of segment files from outside. One thread, one executor of its own: the store is opened
// for reading on a fiber, then pages are read with many requests under way.
#include <firn/check.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "base/allocation.hpp"
#include "format/superblock.hpp"
#include "runtime/executor_core.hpp"
#include "runtime/fiber.hpp"
#include "segment/fiber_io.hpp"
#include "segment/file.hpp"
#include "store/aligned_block.hpp"
#include "store/store.hpp"

namespace firn {
namespace {

using format::PageId;

static_assert(SegmentStatistics::class_count == format::size_class_count);

constexpr std::uint64_t mapping_bytes_least = std::uint64_t{256} << 20;

/// A segment's file and the store in it, both for reading only.
class Opened {
 public:
  Opened() noexcept = default;
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  Result<void> open(std::string_view path) noexcept;

  [[nodiscard]] runtime::ExecutorCore& executor() noexcept { return *executor_; }
  [[nodiscard]] store::Store& store() noexcept { return *store_; }
  [[nodiscard]] const segment::FileBackend& file() const noexcept { return *file_; }
  /// A valid superblock of the domain, for what never changes in it.
  [[nodiscard]] const format::Superblock& superblock() const noexcept { return superblock_; }

 private:
  template <class Work>
  Result<void> on_fiber(Work&& work) noexcept;
  Result<void> look_for_superblock() noexcept;

  // In the order of their lives: the last one goes first.
  std::unique_ptr<runtime::ExecutorCore> executor_;
  std::unique_ptr<segment::FileBackend> file_;
  std::unique_ptr<store::Store> store_;
  format::Superblock superblock_;
};

Result<void> Opened::open(std::string_view path) noexcept {
  if (runtime::current_fiber() != nullptr) {
    return fail(ErrorCode::invalid_state, "a check blocks: call it outside of fibers");
  }
  if (path.find('\0') != std::string_view::npos) {
    return fail(ErrorCode::invalid_argument, "the path holds a zero byte");
  }
  std::string name;
  FIRN_TRY(base::guard_allocation([&] { name = path; }));
  FIRN_TRY_ASSIGN(file_, segment::FileBackend::open(name.c_str(), {.read_only = true}));
  FIRN_TRY_ASSIGN(auto* const core, runtime::ExecutorCore::create());
  executor_.reset(core);
  return on_fiber([this]() noexcept -> Result<void> {
    FIRN_TRY(look_for_superblock());
    store::StoreOptions options;
    // A whole mapping takes half a percent of the pages; ids that lie far apart take more.
    options.mapping_bytes_max = mapping_bytes_least + file_->size() / 8;
    FIRN_TRY_ASSIGN(store_, store::Store::open_read_only(*executor_, *file_, options));
    return {};
  });
}

// Runs `work()` to its end on a fiber, while this thread ticks.
template <class Work>
Result<void> Opened::on_fiber(Work&& work) noexcept {
  struct Job {
    std::remove_reference_t<Work>* work;
    Result<void> outcome;
    bool done;
  } job{&work, {}, false};
  FIRN_TRY_ASSIGN(runtime::Fiber* const fiber,
                  executor_->fibers().prepare(*executor_, sizeof(Job*), alignof(Job*)));
  ::new (fiber->memory) Job*(&job);
  runtime::FiberPool::start(*fiber, [](void* memory) noexcept {
    Job& its = **std::launder(static_cast<Job**>(memory));
    its.outcome = (*its.work)();
    its.done = true;
  });
  while (!job.done) {
    if (executor_->tick(std::chrono::nanoseconds::zero()) == 0 && !job.done) {
      executor_->wait_for_work();
    }
  }
  return job.outcome;
}

// Tells what was never Firn's from what is damaged, which the store cannot: to it, four blocks
// without a whole superblock are damage.
Result<void> Opened::look_for_superblock() noexcept {
  Failure none = fail(ErrorCode::not_found, "no Firn segment: there is no superblock in it");
  none.error.place = segment::place_in(file_->id());
  if (file_->size() < format::superblock_area_bytes) {
    none.error.detail = "no Firn segment: it ends after {} bytes";
    none.error.value = file_->size();
    return none;
  }
  FIRN_TRY_ASSIGN(const auto area, store::AlignedBlock::make(format::superblock_area_bytes));
  std::array<segment::Request, 4> requests;
  for (unsigned index = 0; index < requests.size(); ++index) {
    requests[index].offset = format::superblock_offset(index / 2, index % 2);
    requests[index].set_buffer(area.data() + requests[index].offset, format::superblock_bytes);
  }
  static_cast<void>(segment::await_all(*file_, *executor_, requests));
  bool anything = false;
  for (const segment::Request& request : requests) {
    if (!request.outcome.has_value()) {
      anything = true;  // perhaps one is there: the store says what follows
      continue;
    }
    const Bytes block(area.data() + request.offset, format::superblock_bytes);
    format::Superblock found;
    const format::SuperblockState state = format::decode_superblock(block, found);
    // Damage to the magic itself is left to its three copies.
    anything = anything || found.magic == format::Superblock::magic_text;
    if (state == format::SuperblockState::valid && found.number > superblock_.number) {
      superblock_ = found;
    }
  }
  if (!anything) return none;
  return {};
}

/// Reads pages one size class after the other, as many at once as there is memory for.
class Verification {
 public:
  Verification(Opened& opened, const CheckOptions& options, CheckReport& report) noexcept
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

  Opened& opened_;
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

std::uint64_t granules_to_bytes(const Opened& opened, std::uint64_t granules) noexcept {
  return granules * opened.superblock().granule_bytes;
}

void fill_group(const Opened& opened, const store::SpaceStatistics::OfGroup& from,
                SegmentStatistics::OfGroup& to) noexcept {
  to.chunks = from.chunks;
  to.live_bytes = granules_to_bytes(opened, from.live);
  to.pending_bytes = granules_to_bytes(opened, from.pending);
  to.free_bytes = granules_to_bytes(opened, from.free);
}

void fill_classes(Opened& opened, SegmentStatistics& statistics) noexcept {
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

}  // namespace

Result<CheckReport> check_segment(std::string_view path, const CheckOptions& options) noexcept {
  Opened opened;
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
  return report;
}

Result<SegmentStatistics> segment_statistics(std::string_view path) noexcept {
  Opened opened;
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
