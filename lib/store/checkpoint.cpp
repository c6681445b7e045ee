// Publishing a checkpoint.
//   1. Changes are collected, from here on moves are recorded under the next number; places for the
//      mapping extents and the manifest are taken.
//   2. Mapping extents and manifest are written. Without room or memory until here, nothing has
//      changed, and the same number can be published again.
//   3. What the new manifest replaces is given up under this number.
//   4. Sync of every segment that was written to: images, mapping and manifest are durable.
//   5. The superblock is written, in both copies of the older slot.
//   6. Sync: the checkpoint is published, what was given up two checkpoints ago is free, and a
//      segment that neither superblock names is let go.
// Any other failure, and any from 3 on, leaves the former checkpoint in force and the store failed.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "format/superblock.hpp"
#include "segment/fiber_io.hpp"
#include "store/publication.hpp"

namespace firn::store {
namespace {

// The mapping is written anew when its log has grown so much relative to it, and when the
// manifest's list, which every checkpoint writes, gets long (16 KiB).
constexpr std::size_t references_max = 1024;
// Work under the mutex, and work between two turns of the executor's others.
constexpr unsigned items_at_a_time = 64;
constexpr std::size_t sorted_at_a_time = 4096;

// A mapping extent fills at most a chunk, and at most what a location can count.
std::size_t extent_bytes_max(const Store::Impl& impl) noexcept {
  return std::min<std::size_t>(impl.options.chunk_bytes,
                               std::size_t{Location::count_max} * impl.granule_bytes);
}

std::size_t round_up(std::size_t size, std::size_t unit) noexcept {
  return (size + unit - 1) / unit * unit;
}

}  // namespace

std::uint64_t Store::begin_checkpoint() noexcept {
  // A segment that begins to drain learns under the mutex which number its images have at most.
  const base::SpinGuard guard(impl_->mutex);
  const std::uint64_t number = number_.fetch_add(1, std::memory_order_seq_cst);
  FIRN_ASSERT(number == published_number() + 1);  // one checkpoint at a time
  return number;
}

Result<void> Store::publish(runtime::ExecutorCore& executor, std::uint64_t number,
                            const Payload& payload) noexcept {
  FIRN_ASSERT(number == published_number() + 1 && number < this->number());
  if (failed()) return fail(ErrorCode::failed, "the store has failed: reopen it");
  if (impl_->read_only) return fail(ErrorCode::invalid_state, "the store is open for reading only");
  {
    const base::SpinGuard guard(impl_->mutex);
    impl_->publishing = true;
  }
  Publication publication(*this, executor, number);
  const Result<void> published = publication.run(payload);
  {
    const base::SpinGuard guard(impl_->mutex);
    impl_->publishing = false;
  }
  if (published.has_value()) release_segments(number);
  return published;
}

Result<void> Publication::run(const Payload& payload) noexcept {
  Result<void> written;
  Result<void> guarded = base::guard_allocation([&] {
    written = prepare();
    if (!written.has_value()) return;
    list_given_up();
    written = write_extents();
  });
  if (!guarded.has_value()) written = guarded;
  if (!written.has_value() && changed_nothing(written.error().code)) {
    take_pieces_back();
    return written;
  }
  // From here on a failure is the store's.
  if (written.has_value()) {
    give_up_former();
    written = sync_segments();
  }
  if (written.has_value()) written = write_superblock(payload);
  if (written.has_value()) written = sync_superblock();
  if (!written.has_value()) {
    if (!FIRN_PLANTED("publish-failure-forgotten")) {
      store_.failed_.store(true, std::memory_order_release);
    }
    return written;
  }
  finish(payload);
  release_given_up();
  return {};
}

// Room and memory may be there when the same number is published again; a device that refuses is
// not asked again.
bool Publication::changed_nothing(ErrorCode code) noexcept {
  return code == ErrorCode::no_space || code == ErrorCode::no_memory ||
         code == ErrorCode::too_large;
}

// Step 1.
Result<void> Publication::prepare() {
  {
    // Every image of this number is written, and no move is recorded under it any more.
    const base::SpinGuard guard(store_.impl_->mutex);
    store_.impl_->open_number = number_ + 1;
  }
  collect_segments();
  collect_changes();
  const Store::Impl& impl = *store_.impl_;
  const std::uint64_t log_bytes = impl.reference_bytes + changes_.size() * sizeof(MappingChange);
  // The snapshot's own extents do not count: they would be as many again.
  const std::size_t snapshot_references = impl.snapshot_bytes / extent_bytes_max(impl);
  const bool folds = impl.references.size() > references_max + snapshot_references ||
                     log_bytes > impl.log_bytes_max(impl.snapshot_bytes);
  const bool log_fits = layout(false);
  if (!folds && log_fits) return place_pieces();
  collect_snapshot();
  if (!layout(true)) {
    return fail(ErrorCode::too_large, "the mapping is too large for chunks of this size");
  }
  Result<void> placed = place_pieces();
  if (placed.has_value() || !log_fits) return placed;
  // Where the whole mapping finds no room, its changes may.
  changes_ = {};
  collect_changes();
  if (!layout(false)) return placed;
  return place_pieces();
}

// A place for each piece, or for none.
Result<void> Publication::place_pieces() noexcept {
  for (Piece& piece : pieces_) {
    const base::SpinGuard guard(store_.impl_->mutex);
    auto extent =
        store_.impl_->zero().space.allocate(Group::metadata, piece.bytes, Claim::metadata);
    if (extent.has_value()) {
      piece.location = Location(segment_zero, *extent);
      continue;
    }
    give_pieces_back();
    return fail(extent.error());
  }
  return {};
}

void Publication::take_pieces_back() noexcept {
  const base::SpinGuard guard(store_.impl_->mutex);
  give_pieces_back();
}

// Under the mutex. Nothing refers to them, whatever was written there.
void Publication::give_pieces_back() noexcept {
  for (Piece& taken : pieces_) {
    if (taken.location.none()) continue;
    store_.impl_->zero().space.take_back(taken.location.extent());
    taken.location = {};
  }
}

// The segments that the manifest lists: those that are not leaving. One that is added meanwhile may
// have images only of later numbers, or is listed.
void Publication::collect_segments() {
  Store::Impl& impl = *store_.impl_;
  segment_count_ = 0;
  segment_entries_.clear();
  is_volatile_ = {};
  for (unsigned id = 1; id < segment_count_max; ++id) {
    const SegmentRecord* record = nullptr;
    std::uint64_t size_bytes = 0;
    {
      const base::SpinGuard guard(impl.mutex);
      Store::Segment* segment = impl.segments[id].get();
      if (segment == nullptr) continue;
      is_volatile_[id] = segment->record.is_volatile;
      if (segment->state == SegmentState::leaving) {
        if (segment->left_out_by == 0) segment->left_out_by = number_;
        continue;
      }
      record = &segment->record;  // goes only when a checkpoint is published
      size_bytes = segment->size_bytes();
    }
    encode_segment_entry(*record, size_bytes, segment_entries_);
    ++segment_count_;
  }
}

// The changes of this number, the last of each page only. A page that is in a volatile segment now
// is gone as far as a checkpoint is concerned.
void Publication::collect_changes() {
  const Store::Impl& impl = *store_.impl_;
  // Every write of this number is done: nobody else touches its list any more.
  const auto& list = impl.changes[number_ % 2];
  FIRN_ASSERT(list.size() <= std::numeric_limits<std::uint32_t>::max());
  MappedVector<std::uint32_t> order(list.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto earlier = [&](std::uint32_t left, std::uint32_t right) {
    return std::pair(list[left].page, left) < std::pair(list[right].page, right);
  };
  const auto at = [&](std::size_t index) {
    return order.begin() + static_cast<std::ptrdiff_t>(std::min(index, order.size()));
  };
  for (std::size_t begin = 0; begin < order.size(); begin += sorted_at_a_time) {
    std::sort(at(begin), at(begin + sorted_at_a_time), earlier);
    let_others_run(executor_);
  }
  for (std::size_t run = sorted_at_a_time; run < order.size(); run *= 2) {
    for (std::size_t begin = 0; begin < order.size(); begin += 2 * run) {
      std::inplace_merge(at(begin), at(begin + run), at(begin + 2 * run), earlier);
      let_others_run(executor_);
    }
  }
  const auto is_last = [&](std::size_t index) {
    return index + 1 == order.size() || list[order[index]].page != list[order[index + 1]].page;
  };
  std::size_t count = 0;
  for (std::size_t index = 0; index < order.size(); ++index) count += is_last(index) ? 1 : 0;
  changes_.reserve(count);
  for (std::size_t index = 0; index < order.size(); ++index) {
    const auto& change = list[order[index]];
    if (is_last(index)) changes_.push_back(durable(change.page, change.now));
  }
  const base::SpinGuard guard(impl.mutex);
  for (unsigned size_class = 0; size_class < format::size_class_count; ++size_class) {
    next_slot_[size_class] = impl.ids[size_class].next_slot;
  }
}

// The whole mapping as of this number: the array, but for pages that have changed under the next
// number already the entry that they had before.
void Publication::collect_snapshot() {
  const Store::Impl& impl = *store_.impl_;
  changes_ = {};
  constexpr std::size_t entries_at_a_time = 256;  // the mutex is held for short
  std::size_t pages = 0;
  {
    // Once, so that there are never two of it; pages of the next number come on top.
    const base::SpinGuard guard(impl.mutex);
    pages = impl.statistics.pages;
  }
  changes_.reserve(pages + pages / 16 + entries_at_a_time);
  for (unsigned size_class = 0; size_class < format::size_class_count; ++size_class) {
    std::uint64_t end = 1;
    while (true) {
      const std::uint64_t slot =
          store_.mapping_.next_known(size_class, end, next_slot_[size_class]);
      if (slot == next_slot_[size_class]) break;
      end = std::min(slot + entries_at_a_time, next_slot_[size_class]);
      if (changes_.capacity() - changes_.size() < entries_at_a_time) {
        changes_.reserve(2 * changes_.capacity() + entries_at_a_time);
      }
      let_others_run(executor_);
      const base::SpinGuard guard(impl.mutex);
      for (std::uint64_t one = slot; one < end; ++one) {
        const PageId page(size_class, one);
        const MappingChange change = durable(page, store_.mapping_.get(page));
        if (change.location != 0) changes_.push_back(change);
      }
    }
  }
  if (FIRN_PLANTED("mapping-fold-takes-newer")) return;
  // What was recorded until now; later changes were not in the array yet when it was read.
  std::size_t newer_count = 0;
  {
    const base::SpinGuard guard(impl.mutex);
    newer_count = impl.changes[(number_ + 1) % 2].size();
  }
  MappedVector<MappingChange> former;
  former.reserve(newer_count);
  while (former.size() < newer_count) {
    const std::size_t end = std::min(former.size() + entries_at_a_time, newer_count);
    let_others_run(executor_);
    const base::SpinGuard guard(impl.mutex);
    const auto& list = impl.changes[(number_ + 1) % 2];
    for (std::size_t index = former.size(); index < end; ++index) {
      former.push_back(durable(list[index].page, list[index].before));
    }
  }
  // The first change of a page tells what its entry was. The snapshot is in the order of ids.
  const auto by_page = [](const MappingChange& left, const MappingChange& right) {
    return left.page < right.page;
  };
  const std::size_t sorted_count = changes_.size();
  std::stable_sort(former.begin(), former.end(), by_page);
  for (std::size_t index = 0; index < former.size(); ++index) {
    if (index > 0 && former[index].page == former[index - 1].page) continue;
    const auto end = changes_.begin() + static_cast<std::ptrdiff_t>(sorted_count);
    const auto place = std::lower_bound(changes_.begin(), end, former[index], by_page);
    if (place != end && place->page == former[index].page) {
      *place = former[index];
    } else {
      changes_.push_back(former[index]);
    }
  }
  std::erase_if(changes_, [](const MappingChange& change) { return change.location == 0; });
}

MappingChange Publication::durable(PageId page, MappingEntry entry) const noexcept {
  if (is_volatile_[entry.location.segment()]) entry = {};
  return {.page = page.bits(), .location = entry.location.bits(), .checksum = entry.checksum};
}

// Cuts what is to be written into extents, and sizes the manifest. False: the manifest would be
// larger than an extent.
bool Publication::layout(bool fold) {
  fold_ = fold;
  const Store::Impl& impl = *store_.impl_;
  const std::size_t most = extent_bytes_max(impl);
  pieces_.clear();
  std::size_t changes_left = changes_.size();
  std::size_t pending_left = 0;
  {
    const base::SpinGuard guard(impl.mutex);
    store_.impl_->for_each_segment([&](const Store::Segment& segment) {
      pending_left += segment.space.pending(number_).size();
    });
  }
  // What this publication itself will give up: the old manifest, and on folding the old extents.
  // Writes under the next number give up under that one.
  pending_left += 1 + (fold_ ? impl.references.size() : 0);
  do {
    Piece piece;
    std::size_t room = most - sizeof(MappingHead);
    piece.change_count = std::min(changes_left, room / sizeof(MappingChange));
    room -= piece.change_count * sizeof(MappingChange);
    piece.given_up_count = std::min(pending_left, room / sizeof(std::uint64_t));
    changes_left -= piece.change_count;
    pending_left -= piece.given_up_count;
    piece.bytes = round_up(sizeof(MappingHead) + piece.change_count * sizeof(MappingChange) +
                               piece.given_up_count * sizeof(std::uint64_t),
                           impl.granule_bytes);
    pieces_.push_back(piece);
  } while (changes_left + pending_left > 0);
  const std::size_t references = pieces_.size() + (fold_ ? 0 : impl.references.size());
  Piece manifest;
  manifest.bytes = round_up(
      sizeof(ManifestHead) + references * sizeof(ExtentReference) + segment_entries_.size(),
      impl.granule_bytes);
  pieces_.push_back(manifest);
  return manifest.bytes <= most;
}

// What will have been given up under this number: what others gave up, and what the new manifest
// replaces. Nobody else gives up under it any more.
void Publication::list_given_up() {
  Store::Impl& impl = *store_.impl_;
  given_up_.clear();
  for (const std::unique_ptr<Store::Segment>& place : impl.segments) {
    const Store::Segment* segment = nullptr;
    {
      const base::SpinGuard guard(impl.mutex);
      segment = place.get();  // goes only when a checkpoint is published
    }
    if (segment == nullptr) continue;
    for (const Extent extent : segment->space.pending(number_)) {
      given_up_.push_back(Location(segment->record.id, extent).bits());
    }
  }
  if (!impl.manifest.none()) given_up_.push_back(impl.manifest.bits());
  if (!fold_) return;
  for (const ExtentReference& reference : impl.references) given_up_.push_back(reference.location);
}

// Step 3.
void Publication::give_up_former() noexcept {
  Store::Impl& impl = *store_.impl_;
  const base::SpinGuard guard(impl.mutex);
  if (!impl.manifest.none()) impl.give_back(impl.zero(), impl.manifest.extent(), number_);
  if (!fold_) return;
  for (const ExtentReference& reference : impl.references) {
    impl.give_back(impl.zero(), Location::from_bits(reference.location).extent(), number_);
  }
}

// Step 2.
Result<void> Publication::write_extents() {
  Store::Impl& impl = *store_.impl_;
  references_ = fold_ ? std::vector<ExtentReference>() : impl.references;
  std::size_t change_at = 0;
  std::size_t given_up_at = 0;
  for (std::size_t index = 0; index + 1 < pieces_.size(); ++index) {
    const Piece& piece = pieces_[index];
    MappingHead head;
    head.number = number_;
    head.change_count = static_cast<std::uint32_t>(piece.change_count);
    const std::size_t given_up = std::min(piece.given_up_count, given_up_.size() - given_up_at);
    head.given_up_count = static_cast<std::uint32_t>(given_up);
    head.page.kind = fold_ ? format::PageKind::snapshot : format::PageKind::mapping_log;
    FIRN_TRY_ASSIGN(const AlignedBlock block, AlignedBlock::make(piece.bytes));
    std::byte* at = block.data() + sizeof head;
    const std::size_t changes_bytes = piece.change_count * sizeof(MappingChange);
    if (changes_bytes > 0) std::memcpy(at, &changes_[change_at], changes_bytes);
    at += changes_bytes;
    const std::size_t given_up_bytes = given_up * sizeof(std::uint64_t);
    if (given_up > 0) std::memcpy(at, &given_up_[given_up_at], given_up_bytes);
    at += given_up_bytes;
    head.page.length = static_cast<std::uint32_t>(at - block.data());
    std::memcpy(block.data(), &head, sizeof head);
    FIRN_TRY(write_piece(piece, block));
    change_at += piece.change_count;
    given_up_at += given_up;
  }
  FIRN_ASSERT(given_up_at == given_up_.size());
  const Piece& manifest = pieces_.back();
  ManifestHead head;
  head.number = number_;
  head.reference_count = references_.size();
  head.next_slot = next_slot_;
  head.page.kind = format::PageKind::manifest;
  head.segment_count = segment_count_;
  head.segment_bytes = static_cast<std::uint32_t>(segment_entries_.size());
  const std::size_t reference_bytes = references_.size() * sizeof(ExtentReference);
  head.page.length =
      static_cast<std::uint32_t>(sizeof head + reference_bytes + segment_entries_.size());
  FIRN_TRY_ASSIGN(const AlignedBlock block, AlignedBlock::make(manifest.bytes));
  std::memcpy(block.data(), &head, sizeof head);
  std::byte* at = block.data() + sizeof head;
  std::memcpy(at, references_.data(), reference_bytes);
  if (!segment_entries_.empty()) {
    std::memcpy(at + reference_bytes, segment_entries_.data(), segment_entries_.size());
  }
  return write_piece(manifest, block);
}

// Seals and writes one extent; its reference goes to the end of `references_`.
Result<void> Publication::write_piece(const Piece& piece, const AlignedBlock& block) {
  format::PageHeader header;
  std::memcpy(&header, block.data(), sizeof header);
  header.domain = store_.domain_id_;
  {
    const base::SpinGuard guard(store_.impl_->mutex);
    header.version = ++store_.impl_->next_version;
    store_.impl_->statistics.meta_write_bytes += piece.bytes;
  }
  std::memcpy(block.data(), &header, sizeof header);
  format::seal_image(block.data(), piece.bytes, store_.domain_id_);
  std::uint64_t checksum = 0;
  std::memcpy(&checksum, block.data(), sizeof checksum);
  references_.push_back({.location = piece.location.bits(), .checksum = checksum});
  segment::Request request;
  request.kind = segment::RequestKind::write;
  request.io_class = segment::IoClass::checkpoint;
  request.offset = store_.impl_->zero().space.offset_of(piece.location.extent());
  request.set_buffer(block.data(), piece.bytes);
  return segment::await(store_.impl_->backend, executor_, request);
}

// Step 4: the segments with images that no sync covers, several at a time.
Result<void> Publication::sync_segments() noexcept {
  Store::Impl& impl = *store_.impl_;
  constexpr std::size_t syncs_at_a_time = 8;
  for (unsigned id = 0; id < segment_count_max;) {
    std::array<segment::Request, syncs_at_a_time> requests;
    std::array<segment::Backend*, syncs_at_a_time> backends{};
    std::size_t count = 0;
    {
      const base::SpinGuard guard(impl.mutex);
      for (; id < segment_count_max && count < syncs_at_a_time; ++id) {
        Store::Segment* segment = impl.segments[id].get();
        if (segment == nullptr || segment->record.is_volatile) continue;
        if (id == segment_zero && FIRN_PLANTED("superblock-without-sync")) continue;
        if (id != segment_zero && FIRN_PLANTED("further-segment-unsynced")) continue;
        if (id != segment_zero && !std::exchange(segment->unsynced, false)) continue;
        backends[count] = &segment->backend;
        requests[count].kind = segment::RequestKind::sync;
        requests[count].io_class = segment::IoClass::checkpoint;
        ++count;
      }
    }
    sync_count_ += static_cast<unsigned>(count);
    const Result<void> synced =
        segment::await_each({backends.data(), count}, executor_, {requests.data(), count});
    if (!synced.has_value() && !FIRN_PLANTED("sync-error-ignored")) return synced;
  }
  return {};
}

// Step 6.
Result<void> Publication::sync_superblock() noexcept {
  ++sync_count_;
  if (FIRN_PLANTED("publish-without-sync")) return {};
  segment::Request request;
  request.kind = segment::RequestKind::sync;
  request.io_class = segment::IoClass::checkpoint;
  const Result<void> synced = segment::await(store_.impl_->backend, executor_, request);
  if (FIRN_PLANTED("sync-error-ignored")) return {};
  return synced;
}

// Step 5.
Result<void> Publication::write_superblock(const Payload& payload) noexcept {
  const Store::Impl& impl = *store_.impl_;
  const ExtentReference manifest = references_.back();
  references_.pop_back();
  format::Superblock superblock;
  superblock.granule_bytes = impl.granule_bytes;
  superblock.chunk_bytes = impl.options.chunk_bytes;
  superblock.domain = store_.domain_id_;
  superblock.number = number_;
  superblock.open_count = impl.open_count;
  superblock.manifest_location = manifest.location;
  superblock.manifest_checksum = manifest.checksum;
  superblock.manifest_bytes = static_cast<std::uint32_t>(pieces_.back().bytes);
  superblock.payload = payload;
  FIRN_TRY_ASSIGN(const AlignedBlock block, AlignedBlock::make(format::superblock_bytes));
  format::encode_superblock(superblock, block.data());
  const auto slot = static_cast<unsigned>(number_ % 2);
  segment::Request copies[2];
  for (unsigned copy = 0; copy < 2; ++copy) {
    copies[copy].kind = segment::RequestKind::write;
    copies[copy].io_class = segment::IoClass::checkpoint;
    copies[copy].offset = format::superblock_offset(slot, copy);
    copies[copy].set_buffer(block.data(), format::superblock_bytes);
  }
  if (FIRN_PLANTED("superblock-one-copy")) {
    return segment::await(impl.backend, executor_, copies[0]);
  }
  return segment::await_all(impl.backend, executor_, copies);
}

void Publication::finish(const Payload& payload) noexcept {
  Store::Impl& impl = *store_.impl_;
  GrowingList<Store::Impl::Change> published;  // its memory goes, and not under the mutex
  const base::SpinGuard guard(impl.mutex);
  impl.payload = payload;
  impl.manifest = pieces_.back().location;
  std::uint64_t written = 0;
  for (std::size_t index = 0; index + 1 < pieces_.size(); ++index) written += pieces_[index].bytes;
  if (fold_) {
    impl.snapshot_bytes = written;
    impl.reference_bytes = 0;
    ++impl.statistics.folds;
  } else {
    impl.reference_bytes += written;
  }
  impl.references = std::move(references_);
  std::swap(impl.changes[number_ % 2], published);
  impl.for_each_segment([&](Store::Segment& segment) { segment.space.begin_publish(number_); });
  impl.statistics.meta_write_bytes += 2 * format::superblock_bytes;
  impl.statistics.syncs += sync_count_;
  ++impl.statistics.checkpoints;
  store_.published_.store(number_, std::memory_order_release);
}

// What was given up under the number before: no superblock names it any more. Nobody gives up under
// number + 2, whose lists these are, before the next checkpoint begins.
void Publication::release_given_up() noexcept {
  Store::Impl& impl = *store_.impl_;
  const auto in_pieces = [&](auto some) {
    for (bool more = true; more;) {
      {
        const base::SpinGuard guard(impl.mutex);
        for (unsigned count = 0; count < items_at_a_time && more; ++count) more = some();
      }
      if (more) let_others_run(executor_);
    }
  };
  for (std::unique_ptr<Store::Segment>& place : impl.segments) {
    in_pieces([&] { return place != nullptr && place->space.release_some(1); });
  }
  const std::uint64_t reusable = FIRN_PLANTED("given-up-id-reused-early") ? number_ : number_ + 2;
  for (Store::Impl::IdSpace& ids : impl.ids) {
    in_pieces([&] {
      GrowingList<std::uint64_t>& list = ids.given_up[reusable % 3];
      // Without memory the rest waits for a later publication.
      if (list.empty() || !ids.free.make_room().has_value()) return false;
      ids.free.push_back(list.back());
      list.pop_back();
      return true;
    });
  }
}

}  // namespace firn::store
