// Segments besides segment 0: adding, removing, their heads.
#include <cstring>
#include <utility>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "format/segment_head.hpp"
#include "segment/fiber_io.hpp"
#include "store/aligned_block.hpp"
#include "store/store_impl.hpp"

namespace firn::store {
namespace {

Failure refuse(const char* detail, std::uint64_t value, std::uint32_t id) noexcept {
  Failure failure = fail(ErrorCode::invalid_argument, detail, value);
  failure.error.place.segment = id;
  return failure;
}

Result<void> check_new(const segment::Backend& backend, const NewSegment& added) noexcept {
  const std::uint32_t id = backend.id();
  if (id == segment_zero || id >= segment_count_max) {
    return refuse("a further segment has a number from 1 to 255, this one {}", id, id);
  }
  if (added.name.empty() || added.name.size() > format::segment_name_bytes_max) {
    return refuse("a segment's name has 1 to 255 bytes, this one {}", added.name.size(), id);
  }
  if (added.path.size() > segment_path_bytes_max ||
      added.path.find('\0') != std::string_view::npos) {
    return refuse("a segment's path has at most 4095 bytes and no zero, this one {} bytes",
                  added.path.size(), id);
  }
  if (backend.capabilities().block_bytes > AlignedBlock::alignment) {
    return fail(ErrorCode::unsupported, "the device's blocks of {} bytes are larger than 4096",
                backend.capabilities().block_bytes);
  }
  if (added.chunk_bytes == 0 ||
      Store::Segment::chunks_of(backend, added.chunk_bytes) < segment_chunks_min) {
    return in_segment(fail(ErrorCode::no_space,
                           "a segment has at least 4 chunks, this one {} bytes", backend.size()),
                      static_cast<std::uint8_t>(id));
  }
  return {};
}

}  // namespace

Result<Space> make_segment_space(const SegmentRecord& record, std::uint64_t published) noexcept {
  FIRN_TRY_ASSIGN(auto space,
                  Space::create({.chunk_bytes = record.chunk_bytes,
                                 .granule_bytes = record.granule_bytes,
                                 .reuse = record.append_only ? Reuse::write_once : Reuse::holes,
                                 .chunk_count = static_cast<std::uint32_t>(record.size_bytes /
                                                                           record.chunk_bytes),
                                 .segment = record.id,
                                 .published_number = published}));
  if (!record.is_volatile) {
    const std::size_t granules = format::segment_head_area_bytes / record.granule_bytes;
    FIRN_TRY(space.mark_live({.count = static_cast<std::uint32_t>(granules)}, Group::metadata));
  }
  return space;
}

Result<void> write_segment_head(runtime::ExecutorCore& executor, segment::Backend& backend,
                                const SegmentRecord& record, std::uint64_t domain_id) noexcept {
  format::SegmentHead head;
  head.granule_bytes = record.granule_bytes;
  head.domain = domain_id;
  head.identity = record.identity;
  head.chunk_bytes = record.chunk_bytes;
  head.id = record.id;
  head.name_bytes = static_cast<std::uint8_t>(record.name.size());
  std::memcpy(head.name.data(), record.name.data(), record.name.size());
  FIRN_TRY_ASSIGN(const AlignedBlock area, AlignedBlock::make(format::segment_head_area_bytes));
  for (unsigned copy = 0; copy < 2; ++copy) {
    format::encode_segment_head(head, area.data() + format::segment_head_offset(copy));
  }
  segment::Request request;
  request.kind = segment::RequestKind::write;
  request.set_buffer(area.data(), format::segment_head_area_bytes);
  return segment::await(backend, executor, request);
}

Result<void> check_segment_head(runtime::ExecutorCore& executor, segment::Backend& backend,
                                const SegmentRecord& record, std::uint64_t domain_id,
                                bool renew) noexcept {
  if (FIRN_PLANTED("segment-head-unchecked")) return {};
  FIRN_TRY_ASSIGN(const AlignedBlock area, AlignedBlock::make(format::segment_head_area_bytes));
  segment::Request requests[2];
  for (unsigned copy = 0; copy < 2; ++copy) {
    const std::uint64_t offset = format::segment_head_offset(copy);
    requests[copy].offset = offset;
    requests[copy].set_buffer(area.data() + offset, format::segment_head_bytes);
  }
  static_cast<void>(segment::await_all(backend, executor, requests));
  format::SegmentHead head;
  unsigned whole = 2;
  bool is_whole[2] = {};
  for (unsigned copy = 2; copy-- > 0;) {
    if (!requests[copy].outcome.has_value()) continue;
    const Bytes block(area.data() + requests[copy].offset, format::segment_head_bytes);
    format::SegmentHead found;
    is_whole[copy] = format::decode_segment_head(block, found);
    if (!is_whole[copy]) continue;
    whole = copy;
    head = found;
  }
  if (whole == 2) {
    for (const segment::Request& request : requests) FIRN_TRY(request.outcome);
    return fail(ErrorCode::corrupt, "this is no segment of a Firn domain, or its head is damaged");
  }
  if (head.domain != domain_id) {
    return fail(ErrorCode::corrupt, "this is a segment of another domain");
  }
  if (head.id != record.id) {
    return fail(ErrorCode::corrupt, "this is segment {} of the domain", head.id);
  }
  if (head.identity != record.identity || head.granule_bytes != record.granule_bytes ||
      head.chunk_bytes != record.chunk_bytes) {
    return fail(ErrorCode::corrupt, "this is another segment of the same number, or an older one");
  }
  // A copy that is damaged; what is written once stays as it is.
  const unsigned other = 1 - whole;
  if (!renew || is_whole[other] || record.append_only) return {};
  segment::Request request;
  request.kind = segment::RequestKind::write;
  request.offset = format::segment_head_offset(other);
  request.set_buffer(area.data() + format::segment_head_offset(whole), format::segment_head_bytes);
  return segment::await(backend, executor, request);
}

Result<std::uint8_t> Store::free_segment_number() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  for (unsigned id = 1; id < segment_count_max; ++id) {
    if (impl_->segments[id] == nullptr && impl_->claimed[id] == nullptr) {
      return static_cast<std::uint8_t>(id);
    }
  }
  return fail(ErrorCode::too_large, "a domain has at most 255 further segments");
}

// Under the mutex: number and name are nobody else's.
Result<void> Store::Impl::claim(std::uint8_t id, const std::string_view& name,
                                std::size_t entry_bytes) noexcept {
  bool taken = claimed[id] != nullptr || segments[id] != nullptr;
  std::size_t bytes = entry_bytes;
  for (unsigned other = 1; other < segment_count_max; ++other) {
    if (claimed[other] != nullptr && *claimed[other] == name) taken = true;
    const Segment* its = segments[other].get();
    if (its == nullptr) continue;
    if (its->record.name == name) taken = true;
    bytes += segment_entry_bytes(its->record);
  }
  if (taken) {
    return in_segment(fail(ErrorCode::already_exists, "a segment of that number or name"), id);
  }
  // The manifest is one extent, and lists mapping extents besides.
  if (bytes > options.chunk_bytes / 2) {
    return fail(ErrorCode::too_large, "the segments' names and paths are too long together");
  }
  claimed[id] = &name;
  return {};
}

Result<void> Store::add_segment(runtime::ExecutorCore& executor,
                                std::unique_ptr<segment::Backend> backend,
                                const NewSegment& added) noexcept {
  if (failed() || impl_->read_only) {
    return fail(ErrorCode::failed, "the store takes no writes");
  }
  FIRN_TRY(check_new(*backend, added));
  const auto id = static_cast<std::uint8_t>(backend->id());
  const segment::SegmentCapabilities capabilities = backend->capabilities();
  SegmentRecord record;
  record.id = id;
  record.kind = added.kind;
  record.is_volatile = capabilities.is_volatile;
  record.append_only = capabilities.append_only;
  record.granule_bytes = std::max<std::uint32_t>(512, capabilities.block_bytes);
  record.chunk_bytes = added.chunk_bytes;
  record.size_bytes = Segment::chunks_of(*backend, added.chunk_bytes) * added.chunk_bytes;
  FIRN_TRY(base::guard_allocation([&] {
    record.name = added.name;
    record.path = added.path;
  }));
  const std::size_t entry_bytes = segment_entry_bytes(record);
  {
    const base::SpinGuard guard(impl_->mutex);
    FIRN_TRY(impl_->claim(id, added.name, entry_bytes));
    record.identity = ++impl_->next_version;
  }
  auto made = make_segment(executor, std::move(backend), std::move(record));
  const base::SpinGuard guard(impl_->mutex);
  impl_->claimed[id] = nullptr;
  if (!made.has_value()) return in_segment(fail(made.error()), id);
  (*made)->space.start_after(published_number());
  impl_->enter(*std::move(made));
  return {};
}

Result<std::unique_ptr<Store::Segment>> Store::make_segment(
    runtime::ExecutorCore& executor, std::unique_ptr<segment::Backend> backend,
    SegmentRecord record) noexcept {
  FIRN_TRY_ASSIGN(auto space, make_segment_space(record, 0));
  if (!record.is_volatile) {
    FIRN_TRY(write_segment_head(executor, *backend, record, domain_id_));
  }
  std::unique_ptr<Segment> segment(new (std::nothrow)
                                       Segment(std::move(record), *backend, std::move(space)));
  if (segment == nullptr) return fail(ErrorCode::no_memory, "no memory for a segment");
  segment->owned = std::move(backend);
  segment->head_granules = segment->space.live_granules();
  segment->unsynced = true;
  return segment;
}

Result<void> Store::remove_segment(std::uint8_t id) noexcept {
  if (id == segment_zero) return refuse("segment 0 holds the domain itself", 0, id);
  if (failed() || impl_->read_only) {
    return fail(ErrorCode::failed, "the store takes no writes");
  }
  const base::SpinGuard guard(impl_->mutex);
  Segment* const segment = impl_->segment(id);
  if (segment == nullptr || segment->state == SegmentState::leaving) {
    return in_segment(fail(ErrorCode::not_found, "no segment of that number"), id);
  }
  if (segment->images > 0) {
    return in_segment(fail(ErrorCode::busy, "{} images lie in the segment", segment->images), id);
  }
  const bool written = segment->space.live_granules() != segment->head_granules;
  const bool named =
      segment->space.pending_granules() != 0 && !FIRN_PLANTED("segment-removed-while-named");
  if (written || named) {
    return in_segment(fail(ErrorCode::busy, "a published checkpoint names images in the segment"),
                      id);
  }
  segment->state = SegmentState::leaving;
  return {};
}

// Segments that no superblock names any more, when checkpoint `published` is in both copies.
void Store::release_segments(std::uint64_t published) noexcept {
  for (std::unique_ptr<Segment>& place : impl_->segments) {
    Segment* segment = nullptr;
    {
      const base::SpinGuard guard(impl_->mutex);
      if (place == nullptr || place->left_out_by == 0) continue;
      const bool named = published == place->left_out_by && !FIRN_PLANTED("segment-gone-early");
      if (named) continue;
      place->gone.store(true);
      if (place->requests.load() > 0) {
        place->gone.store(false);  // at the next publication
        continue;
      }
      segment = place.get();
      impl_->directory[segment->record.id].store(nullptr, std::memory_order_release);
      segment->next_gone = std::move(impl_->gone_segments);
      impl_->gone_segments = std::move(place);
    }
    segment->owned.reset();  // closed before anybody hears of it
    const Space freed = std::move(segment->space);
    if (impl_->options.source != nullptr) impl_->options.source->segment_gone(segment->record);
  }
}

Result<std::vector<SegmentStatus>> Store::segments() const noexcept {
  std::vector<SegmentStatus> found;
  for (std::unique_ptr<Segment>& place : impl_->segments) {
    SegmentStatus status;
    Segment* segment = nullptr;
    {
      const base::SpinGuard guard(impl_->mutex);
      segment = place.get();
      if (segment == nullptr) continue;
      ++segment->requests;  // stays until its name is copied
      const std::uint64_t granule = segment->record.granule_bytes;
      status.state = segment->state;
      status.images = segment->images;
      status.live_bytes = segment->space.live_granules() * granule;
      status.pending_bytes = segment->space.pending_granules() * granule;
      status.free_bytes = segment->space.free_granules() * granule;
      status.record.size_bytes = segment->size_bytes();
    }
    const Result<void> copied = base::guard_allocation([&] {
      const std::uint64_t size_bytes = status.record.size_bytes;
      status.record = segment->record;
      status.record.size_bytes = size_bytes;
      found.push_back(std::move(status));
    });
    {
      const base::SpinGuard guard(impl_->mutex);
      --segment->requests;
    }
    FIRN_TRY(copied);
  }
  return found;
}

Result<void> Store::take_growth(std::uint8_t id) noexcept {
  const base::SpinGuard guard(impl_->mutex);
  Segment* const segment = impl_->segment(id);
  if (segment == nullptr) {
    return in_segment(fail(ErrorCode::not_found, "no segment of that number"), id);
  }
  const std::uint64_t chunks = Segment::chunks_of(segment->backend, segment->record.chunk_bytes);
  if (chunks <= segment->space.chunk_count()) return {};
  segment->unsynced = true;
  return segment->space.grow(static_cast<std::uint32_t>(chunks - segment->space.chunk_count()));
}

}  // namespace firn::store
