// Making a store, and opening one: from the newest superblock by way of manifest, further segments
// and mapping extents to the mapping and the maps of free space. Nothing read is trusted: each
// block is checked against the checksum that the block above holds, and each place against the
// segment and all other places.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "format/superblock.hpp"
#include "segment/fiber_io.hpp"
#include "store/aligned_block.hpp"
#include "store/manifest.hpp"
#include "store/store_impl.hpp"

namespace firn::store {

class Opening {
 public:
  Opening(Store& store, runtime::ExecutorCore& executor) noexcept
      : store_(store), impl_(*store.impl_), executor_(executor) {}

  Result<void> create(std::uint64_t domain_id) noexcept;
  Result<void> open(bool read_only) noexcept;

 private:
  Result<void> make_zero(std::uint64_t published) noexcept;
  Result<void> open_segments(bool read_only) noexcept;
  Result<void> open_segment(const SegmentRecord& record) noexcept;
  Result<void> find_superblock() noexcept;
  Result<AlignedBlock> read_extent(const ExtentReference& reference, format::PageKind kind,
                                   format::PageKind other_kind) noexcept;
  Result<void> read_manifest() noexcept;
  Result<void> read_mapping() noexcept;
  Result<void> apply(const MappingExtent& extent) noexcept;
  Store::Segment* segment_to_mark(Location location) noexcept;
  Result<void> mark_space() noexcept;
  Result<void> wipe_superblocks() noexcept;
  Result<void> renew_copies() noexcept;
  Result<void> publish_opening() noexcept;
  // An error of what was decoded, with the segment that it was read from.
  static Result<void> placed(Result<void> decoded) noexcept {
    if (decoded.has_value()) return decoded;
    return in_segment(fail(decoded.error()), segment_zero);
  }
  static Failure corrupt(const char* detail, std::uint64_t value = 0) noexcept {
    return in_segment(fail(ErrorCode::corrupt, detail, value), segment_zero);
  }

  Store& store_;
  Store::Impl& impl_;
  runtime::ExecutorCore& executor_;
  format::Superblock superblock_;
  std::array<bool, 2> renew_{};  // copies of that superblock that are not as they should be
  bool read_only_ = false;
  Manifest manifest_;
  std::vector<std::uint64_t> given_up_;
};

Result<void> Opening::make_zero(std::uint64_t published) noexcept {
  const std::uint64_t chunks = Store::Segment::chunks_of(impl_.backend, impl_.options.chunk_bytes);
  if (chunks < segment_chunks_min) {
    return fail(ErrorCode::no_space, "a segment has at least 4 chunks, this one {} bytes",
                impl_.backend.size());
  }
  FIRN_TRY_ASSIGN(auto space, Space::create({.chunk_bytes = impl_.options.chunk_bytes,
                                             .granule_bytes = impl_.granule_bytes,
                                             .chunk_count = static_cast<std::uint32_t>(chunks),
                                             .segment = segment_zero,
                                             .published_number = published}));
  SegmentRecord record;
  record.granule_bytes = impl_.granule_bytes;
  record.chunk_bytes = impl_.options.chunk_bytes;
  record.size_bytes = chunks * impl_.options.chunk_bytes;
  std::unique_ptr<Store::Segment> zero(
      new (std::nothrow) Store::Segment(std::move(record), impl_.backend, std::move(space)));
  if (zero == nullptr) return fail(ErrorCode::no_memory, "no memory for a segment");
  zero->head_granules = format::superblock_area_bytes / impl_.granule_bytes;
  const auto superblocks = static_cast<std::uint32_t>(zero->head_granules);
  FIRN_TRY(zero->space.mark_live({.count = superblocks}, Group::metadata));
  impl_.enter(std::move(zero));
  return {};
}

// The segments that the manifest lists, each from the layer above. Volatile ones hold nothing and
// are left away where nothing will be written.
Result<void> Opening::open_segments(bool read_only) noexcept {
  for (const SegmentRecord& record : manifest_.segments) {
    if (record.is_volatile && read_only) continue;
    const Result<void> opened = open_segment(record);
    if (!opened.has_value()) return in_segment(fail(opened.error()), record.id);
  }
  return {};
}

Result<void> Opening::open_segment(const SegmentRecord& record) noexcept {
  if (impl_.options.source == nullptr) {
    return fail(ErrorCode::not_found, "nobody was told how to open further segments");
  }
  FIRN_TRY_ASSIGN(auto backend, impl_.options.source->open_segment(record));
  const segment::SegmentCapabilities capabilities = backend->capabilities();
  if (backend->id() != record.id || capabilities.is_volatile != record.is_volatile ||
      capabilities.append_only != record.append_only) {
    return fail(ErrorCode::invalid_argument, "opened as another kind of segment than it was made");
  }
  if (capabilities.block_bytes > record.granule_bytes) {
    return fail(ErrorCode::unsupported, "the device's blocks are larger than the {} bytes used",
                record.granule_bytes);
  }
  if (backend->size() < record.size_bytes) {
    return fail(ErrorCode::corrupt, "the segment ends after {} bytes", backend->size());
  }
  if (!record.is_volatile) {
    FIRN_TRY(check_segment_head(executor_, *backend, record, superblock_.domain, !read_only_));
  }
  SegmentRecord own;
  FIRN_TRY(base::guard_allocation([&] { own = record; }));
  // It may have grown since.
  own.size_bytes = Store::Segment::chunks_of(*backend, record.chunk_bytes) * record.chunk_bytes;
  FIRN_TRY_ASSIGN(auto space, make_segment_space(own, superblock_.number));
  std::unique_ptr<Store::Segment> segment(
      new (std::nothrow) Store::Segment(std::move(own), *backend, std::move(space)));
  if (segment == nullptr) return fail(ErrorCode::no_memory, "no memory for a segment");
  segment->owned = std::move(backend);
  segment->head_granules = segment->space.live_granules();
  segment->unsynced = true;
  impl_.enter(std::move(segment));
  return {};
}

Result<void> Opening::create(std::uint64_t domain_id) noexcept {
  store_.domain_id_ = domain_id;
  if (!std::has_single_bit(impl_.options.chunk_bytes)) {
    return fail(ErrorCode::invalid_argument, "a chunk of {} bytes: a power of two",
                impl_.options.chunk_bytes);
  }
  if (impl_.backend.capabilities().block_bytes > format::superblock_bytes) {
    return fail(ErrorCode::unsupported, "the device's blocks of {} bytes are larger than 4096",
                impl_.backend.capabilities().block_bytes);
  }
  impl_.granule_bytes = std::max<std::uint32_t>(512, impl_.backend.capabilities().block_bytes);
  impl_.open_count = 1;
  impl_.next_version = impl_.open_count << 40;
  FIRN_TRY(store_.mapping_.start());
  FIRN_TRY(make_zero(0));
  impl_.zero().space.start();
  store_.number_.store(1);
  FIRN_TRY(wipe_superblocks());
  return publish_opening();
}

// A former domain's superblock may have a larger number than this one's first. What is written
// until that is whole holds nothing, which the marks say until checkpoint 2 takes their place.
Result<void> Opening::wipe_superblocks() noexcept {
  FIRN_TRY_ASSIGN(const AlignedBlock area, AlignedBlock::make(format::superblock_area_bytes));
  for (unsigned copy = 0; copy < 2 && !FIRN_PLANTED("making-not-marked"); ++copy) {
    format::encode_making_mark(area.data() + format::superblock_offset(0, copy));
  }
  segment::Request request;
  request.kind = segment::RequestKind::write;
  request.set_buffer(area.data(), format::superblock_area_bytes);
  FIRN_TRY(segment::await(impl_.backend, executor_, request));
  segment::Request barrier;
  barrier.kind = segment::RequestKind::sync;
  return segment::await(impl_.backend, executor_, barrier);
}

Result<void> Opening::open(bool read_only) noexcept {
  FIRN_TRY(store_.mapping_.start());
  FIRN_TRY(find_superblock());
  store_.domain_id_ = superblock_.domain;
  impl_.granule_bytes = superblock_.granule_bytes;
  impl_.options.chunk_bytes = superblock_.chunk_bytes;
  impl_.open_count = superblock_.open_count + 1;
  impl_.next_version = impl_.open_count << 40;
  impl_.payload = superblock_.payload;
  if (impl_.granule_bytes < impl_.backend.capabilities().block_bytes) {
    return fail(ErrorCode::unsupported, "the device's blocks are larger than the {} bytes used",
                impl_.granule_bytes);
  }
  if (impl_.backend.size() / impl_.options.chunk_bytes < segment_chunks_min) {
    return corrupt("the segment ends after {} bytes", impl_.backend.size());
  }
  FIRN_TRY(make_zero(superblock_.number));
  read_only_ = read_only;
  FIRN_TRY(read_manifest());
  FIRN_TRY(open_segments(read_only));
  FIRN_TRY(read_mapping());
  FIRN_TRY(mark_space());
  store_.number_.store(superblock_.number + 1);
  store_.published_.store(superblock_.number);
  impl_.open_number = superblock_.number + 1;
  if (read_only) {
    impl_.read_only = true;
    return {};
  }
  FIRN_TRY(renew_copies());
  return publish_opening();
}

// A checkpoint of what was found: it renews both copies of the older superblock and begins the open
// count, whose versions no image has had before.
Result<void> Opening::publish_opening() noexcept {
  const std::uint64_t number = store_.begin_checkpoint();
  return store_.publish(executor_, number, impl_.payload);
}

// Of the four blocks that should hold superblocks the valid one with the largest number. One that
// cannot be read counts as damaged while its slot has another copy.
Result<void> Opening::find_superblock() noexcept {
  const std::uint64_t size = impl_.backend.size();
  if (size == 0) return fail(ErrorCode::not_found, "the segment is empty");
  if (size < format::superblock_area_bytes) return corrupt("the segment ends after {} bytes", size);
  FIRN_TRY_ASSIGN(const AlignedBlock area, AlignedBlock::make(format::superblock_area_bytes));
  std::array<segment::Request, 4> requests;
  for (unsigned index = 0; index < requests.size(); ++index) {
    const std::uint64_t offset = format::superblock_offset(index / 2, index % 2);
    requests[index].kind = segment::RequestKind::read;
    requests[index].offset = offset;
    requests[index].set_buffer(area.data() + offset, format::superblock_bytes);
  }
  static_cast<void>(segment::await_all(impl_.backend, executor_, requests));
  using format::SuperblockState;
  std::array<format::Superblock, 4> found;
  std::array<SuperblockState, 4> states{};
  const format::Superblock* newest = nullptr;
  unsigned empty = 0;
  bool being_made = false;
  for (unsigned index = 0; index < requests.size(); ++index) {
    states[index] = SuperblockState::damaged;
    if (!requests[index].outcome.has_value()) continue;
    const Bytes block(area.data() + requests[index].offset, format::superblock_bytes);
    states[index] = format::decode_superblock(block, found[index]);
    if (states[index] == SuperblockState::being_made) {
      being_made = true;
      states[index] = SuperblockState::empty;
    }
    if (states[index] == SuperblockState::empty) ++empty;
    if (states[index] != SuperblockState::valid) continue;
    if (found[index].number % 2 != index / 2) {  // of the other slot
      states[index] = SuperblockState::damaged;
      continue;
    }
    if (newest != nullptr && found[index].number <= newest->number) continue;
    if (newest != nullptr && FIRN_PLANTED("older-superblock-taken")) continue;
    newest = &found[index];
  }
  const auto valid = [&](unsigned index) { return states[index] == SuperblockState::valid; };
  for (unsigned index = 0; index < requests.size(); ++index) {
    // Perhaps the newest checkpoint is in there: an older one must not be taken for it.
    const Result<void>& outcome = requests[index].outcome;
    if (!outcome.has_value() && !valid(index ^ 1)) return outcome;
  }
  if (empty == requests.size() || (newest == nullptr && being_made)) {
    return fail(ErrorCode::not_found, "the segment holds no Firn domain");
  }
  if (newest == nullptr) return corrupt("no superblock is whole");
  superblock_ = *newest;
  for (unsigned index = 0; index < requests.size(); ++index) {
    // Checkpoint 1 has no other slot yet.
    const bool unused = states[index] == SuperblockState::empty && superblock_.number == 1 &&
                        index / 2 != superblock_.number % 2;
    const bool older =
        valid(index) && valid(index ^ 1) && found[index].number < found[index ^ 1].number;
    if ((valid(index) && !older) || unused) continue;
    ++impl_.statistics.damaged_superblocks;
    if (index / 2 == superblock_.number % 2) renew_[index % 2] = true;
  }
  return placed(format::check_superblock(superblock_));
}

// The copies of the newest superblock are made whole: the opening's checkpoint goes to the other
// slot. Durable with that one's first sync.
Result<void> Opening::renew_copies() noexcept {
  FIRN_TRY_ASSIGN(const AlignedBlock block, AlignedBlock::make(format::superblock_bytes));
  format::encode_superblock(superblock_, block.data());
  for (unsigned copy = 0; copy < 2; ++copy) {
    if (!renew_[copy] || FIRN_PLANTED("damaged-copy-kept")) continue;
    segment::Request request;
    request.kind = segment::RequestKind::write;
    request.offset = format::superblock_offset(static_cast<unsigned>(superblock_.number % 2), copy);
    request.set_buffer(block.data(), format::superblock_bytes);
    FIRN_TRY(segment::await(impl_.backend, executor_, request));
  }
  return {};
}

Result<AlignedBlock> Opening::read_extent(const ExtentReference& reference, format::PageKind kind,
                                          format::PageKind other_kind) noexcept {
  const Location location = Location::from_bits(reference.location);
  const Extent extent = location.extent();
  const std::size_t bytes = std::size_t{extent.count} * impl_.granule_bytes;
  const std::uint64_t offset = impl_.zero().space.offset_of(extent);
  const std::uint64_t end = offset + bytes;
  if (extent.count == 0 || location.segment() != segment_zero || end > impl_.backend.size()) {
    return corrupt("a mapping extent lies outside the segment");
  }
  FIRN_TRY_ASSIGN(AlignedBlock block, AlignedBlock::make(bytes));
  segment::Request request;
  request.kind = segment::RequestKind::read;
  request.offset = offset;
  request.set_buffer(block.data(), bytes);
  FIRN_TRY(segment::await(impl_.backend, executor_, request));
  const format::ImageFault fault =
      format::check_image({block.data(), bytes}, PageId(), superblock_.domain, reference.checksum);
  format::PageHeader header;
  std::memcpy(&header, block.data(), sizeof header);
  if (fault != format::ImageFault::none) return corrupt(format::describe(fault), header.page_id);
  if (header.kind != kind && header.kind != other_kind) {
    return corrupt("a block of the mapping is of another kind");
  }
  return block;
}

Result<void> Opening::read_manifest() noexcept {
  const ExtentReference manifest{.location = superblock_.manifest_location,
                                 .checksum = superblock_.manifest_checksum};
  FIRN_TRY_ASSIGN(const AlignedBlock block,
                  read_extent(manifest, format::PageKind::manifest, format::PageKind::manifest));
  const std::uint32_t manifest_granules = Location::from_bits(manifest.location).extent().count;
  if (std::uint64_t{manifest_granules} * impl_.granule_bytes != superblock_.manifest_bytes) {
    return corrupt("the superblock gives the manifest {} bytes, and a place of another length",
                   superblock_.manifest_bytes);
  }
  FIRN_TRY(placed(decode_manifest(
      {block.data(), std::size_t{manifest_granules} * impl_.granule_bytes}, manifest_)));
  if (manifest_.number != superblock_.number) {
    return corrupt("the manifest is of checkpoint {}", manifest_.number);
  }
  for (unsigned size_class = 0; size_class < format::size_class_count; ++size_class) {
    if (manifest_.next_slot[size_class] == 0 ||
        manifest_.next_slot[size_class] > Mapping::slot_max + 1) {
      return corrupt("the manifest counts {} pages of a class", manifest_.next_slot[size_class]);
    }
    impl_.ids[size_class].next_slot = manifest_.next_slot[size_class];
  }
  impl_.manifest = Location::from_bits(manifest.location);
  return impl_.zero().space.mark_live(impl_.manifest.extent(), Group::metadata);
}

Result<void> Opening::read_mapping() noexcept {
  Space& space = impl_.zero().space;
  for (const ExtentReference& reference : manifest_.references) {
    FIRN_TRY_ASSIGN(
        const AlignedBlock extent_block,
        read_extent(reference, format::PageKind::mapping_log, format::PageKind::snapshot));
    // Before the next one is read: a list that names one extent again and again ends here.
    FIRN_TRY(space.mark_live(Location::from_bits(reference.location).extent(), Group::metadata));
    const std::size_t bytes =
        std::size_t{Location::from_bits(reference.location).extent().count} * impl_.granule_bytes;
    format::PageHeader header;
    std::memcpy(&header, extent_block.data(), sizeof header);
    MappingExtent extent;
    FIRN_TRY(placed(decode_mapping_extent({extent_block.data(), bytes}, extent)));
    if (header.kind == format::PageKind::snapshot) {
      impl_.snapshot_bytes += bytes;
    } else {
      impl_.reference_bytes += bytes;
    }
    FIRN_TRY(apply(extent));
  }
  impl_.references = std::move(manifest_.references);
  return {};
}

Result<void> Opening::apply(const MappingExtent& extent) noexcept {
  for (const MappingChange& change : extent.changes) {
    const PageId page = PageId::from_bits(change.page);
    const Location location = Location::from_bits(change.location);
    // A place that a later change replaces may be in a segment that is gone.
    if (!page.valid() || page.slot() >= impl_.ids[page.size_class()].next_slot) {
      return corrupt("a change of the mapping makes no sense");
    }
    FIRN_TRY(store_.mapping_.ensure(page));
    if (store_.mapping_.memory_bytes() > impl_.options.mapping_bytes_max) {
      return in_segment(fail(ErrorCode::no_memory, "the mapping takes more than {} bytes of memory",
                             impl_.options.mapping_bytes_max),
                        segment_zero);
    }
    store_.mapping_.set(page, {.location = location, .checksum = change.checksum});
  }
  if (extent.number == superblock_.number) {
    return base::guard_allocation(
        [&] { given_up_.insert(given_up_.end(), extent.given_up.begin(), extent.given_up.end()); });
  }
  return {};
}

// Null: no checkpoint names a place there.
Store::Segment* Opening::segment_to_mark(Location location) noexcept {
  return impl_.persists(location) ? impl_.segment(location.segment()) : nullptr;
}

// Every place that the checkpoint names is taken; a place named twice, or outside, is `corrupt`.
Result<void> Opening::mark_space() noexcept {
  for (unsigned size_class = 0; size_class < format::size_class_count; ++size_class) {
    Store::Impl::IdSpace& ids = impl_.ids[size_class];
    std::uint64_t free_from = 1;
    const auto end_gap = [&](std::uint64_t end) noexcept -> Result<void> {
      const std::uint64_t begin = std::exchange(free_from, end + 1);
      if (begin == end) return {};
      return base::guard_allocation([&] { ids.gaps.push_back({.begin = begin, .end = end}); });
    };
    for (std::uint64_t slot = 1;; ++slot) {
      slot = store_.mapping_.next_known(size_class, slot, ids.next_slot);
      if (slot == ids.next_slot) break;
      const PageId page(size_class, slot);
      const Location location = store_.mapping_.get(page).location;
      if (location.none()) continue;
      FIRN_TRY(end_gap(slot));
      Store::Segment* const segment = segment_to_mark(location);
      if (segment == nullptr ||
          segment->bytes_of(location.extent()) > format::page_bytes(page.size_class())) {
        return corrupt_page(page, segment_zero, "the mapping names a place that makes no sense",
                            location.bits());
      }
      const auto marked = segment->space.mark_live(location.extent(), group_of(page));
      if (!marked.has_value()) {
        Failure failure = fail(marked.error());
        failure.error.place.page = page.bits();
        return failure;
      }
      ++segment->images;
      ++impl_.statistics.pages;
      impl_.statistics.image_bytes += segment->bytes_of(location.extent());
    }
    FIRN_TRY(end_gap(ids.next_slot));
  }
  if (!FIRN_PLANTED("given-up-forgotten")) {
    for (const std::uint64_t bits : given_up_) {
      const Location location = Location::from_bits(bits);
      Store::Segment* const segment = segment_to_mark(location);
      if (segment == nullptr) return corrupt("a place given up makes no sense");
      FIRN_TRY(segment->space.mark_pending(location.extent(), Group::metadata));
    }
  }
  impl_.for_each_segment([](Store::Segment& segment) { segment.space.start(); });
  return {};
}

Result<std::unique_ptr<Store>> Store::make(segment::Backend& segment,
                                           const StoreOptions& options) noexcept {
  std::unique_ptr<Store> store(new (std::nothrow) Store(segment, options));
  if (store == nullptr || store->impl_ == nullptr) {
    return fail(ErrorCode::no_memory, "no memory for a page store");
  }
  return store;
}

Result<std::unique_ptr<Store>> Store::create(runtime::ExecutorCore& executor,
                                             segment::Backend& segment, const StoreOptions& options,
                                             std::uint64_t domain_id) noexcept {
  FIRN_ASSERT(domain_id != 0);
  FIRN_TRY_ASSIGN(auto store, make(segment, options));
  FIRN_TRY(Opening(*store, executor).create(domain_id));
  return store;
}

Result<std::unique_ptr<Store>> Store::open(runtime::ExecutorCore& executor,
                                           segment::Backend& segment,
                                           const StoreOptions& options) noexcept {
  FIRN_TRY_ASSIGN(auto store, make(segment, options));
  FIRN_TRY(Opening(*store, executor).open(false));
  return store;
}

Result<std::unique_ptr<Store>> Store::open_read_only(runtime::ExecutorCore& executor,
                                                     segment::Backend& segment,
                                                     const StoreOptions& options) noexcept {
  FIRN_TRY_ASSIGN(auto store, make(segment, options));
  FIRN_TRY(Opening(*store, executor).open(true));
  return store;
}

}  // namespace firn::store
