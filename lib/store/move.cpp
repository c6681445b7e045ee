#include "store/move.hpp"

#include <algorithm>
#include <cstring>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "segment/fiber_io.hpp"

namespace firn::store {
namespace {

// Entries looked at under the mutex at a time; others of the executor run between.
constexpr std::uint64_t entries_at_a_time = 256;

}  // namespace

bool Mover::concerns(Location location) const noexcept {
  if (location.none() || location.segment() != segment_.record.id) return false;
  if (chunks_.empty()) return true;
  const Extent extent = location.extent();
  const std::uint32_t granules = segment_.record.chunk_bytes / segment_.record.granule_bytes;
  const std::uint32_t last = extent.chunk + (extent.granule + extent.count - 1) / granules;
  const auto found = std::lower_bound(chunks_.begin(), chunks_.end(), extent.chunk);
  return found != chunks_.end() && *found <= last;
}

Result<MoveReport> Mover::run() noexcept {
  FIRN_TRY(collect_and_move());
  return report_;
}

Result<void> Mover::collect_and_move() noexcept {
  for (unsigned size_class = 0; size_class < format::size_class_count; ++size_class) {
    std::uint64_t slot = 1;
    while (true) {
      std::uint64_t end = 0;
      {
        const base::SpinGuard guard(impl_.mutex);
        end = impl_.ids[size_class].next_slot;
      }
      slot = store_.mapping_.next_known(size_class, slot, end);
      if (slot == end) break;
      {
        const base::SpinGuard guard(impl_.mutex);
        const std::uint64_t stop = std::min(end, slot + entries_at_a_time);
        for (; slot < stop && count_ < batch_max && bytes_ < batch_bytes_max; ++slot) {
          const PageId page(size_class, slot);
          const MappingEntry entry = store_.mapping_.get(page);
          if (!concerns(entry.location)) continue;
          Item& item = items_[count_++];
          item.page = page;
          item.entry = entry;
          bytes_ += segment_.bytes_of(entry.location.extent());
        }
      }
      if (count_ == batch_max || bytes_ >= batch_bytes_max) FIRN_TRY(move_batch());
      let_others_run(executor_);
    }
  }
  return move_batch();
}

// Steps 3 and 4.
Result<void> Mover::move_batch() noexcept {
  if (count_ == 0) return {};
  Result<void> first = read_batch();
  const auto keep_first = [&first](Result<void> outcome) {
    if (first.has_value()) first = outcome;
  };
  keep_first(place_batch());
  keep_first(write_batch());
  for (std::size_t index = 0; index < count_; ++index) items_[index] = {};
  count_ = 0;
  bytes_ = 0;
  return first;
}

Result<void> Mover::read_batch() noexcept {
  std::array<segment::Request, batch_max> requests;
  for (std::size_t index = 0; index < count_; ++index) {
    Item& item = items_[index];
    const Extent extent = item.entry.location.extent();
    const std::uint64_t bytes = segment_.bytes_of(extent);
    FIRN_TRY_ASSIGN(item.block, AlignedBlock::make(bytes));
    requests[index].io_class = segment::IoClass::cleaning;
    requests[index].offset = segment_.space.offset_of(extent);
    requests[index].set_buffer(item.block->data(), bytes);
  }
  static_cast<void>(segment::await_all(segment_.backend, executor_, {requests.data(), count_}));
  Result<void> first;
  for (std::size_t index = 0; index < count_; ++index) {
    Item& item = items_[index];
    Result<void> outcome = requests[index].outcome;
    if (outcome.has_value()) {
      const Bytes image(item.block->data(), requests[index].length());
      const format::ImageFault fault =
          format::check_image(image, item.page, store_.domain_id_, item.entry.checksum);
      item.ready = fault == format::ImageFault::none || FIRN_PLANTED("move-unverified");
      if (!item.ready) {
        outcome = corrupt_page(item.page, segment_.record.id, format::describe(fault));
      }
    } else {
      Failure failure = in_segment(fail(outcome.error()), segment_.record.id);
      failure.error.place.page = item.page.bits();
      outcome = failure;
    }
    if (item.ready || !first.has_value()) continue;
    // One that was changed meanwhile may lie there no more.
    const base::SpinGuard guard(impl_.mutex);
    if (store_.mapping_.get(item.page) == item.entry) first = outcome;
  }
  return first;
}

// Places for those that were read.
Result<void> Mover::place_batch() noexcept {
  Result<void> first;
  const base::SpinGuard guard(impl_.mutex);
  for (std::size_t index = 0; index < count_; ++index) {
    Item& item = items_[index];
    if (!std::exchange(item.ready, false) || !first.has_value()) continue;
    format::PageHeader header;
    std::memcpy(&header, item.block->data(), sizeof header);
    first = impl_.expect_change(impl_.open_number);
    if (!first.has_value()) continue;
    const auto placed =
        impl_.place(segment_.record.id, group_of(item.page), header.length, Claim::background);
    if (!placed.has_value()) {
      --impl_.changes_expected;
      first = fail(placed.error());
      continue;
    }
    item.target = *placed;
    item.ready = true;
    ++impl_.segment_of(item.target).requests;
  }
  return first;
}

Result<void> Mover::write_batch() noexcept {
  std::array<segment::Request, batch_max> requests;
  std::array<segment::Backend*, batch_max> backends{};
  std::array<Item*, batch_max> written{};
  std::size_t count = 0;
  for (std::size_t index = 0; index < count_; ++index) {
    Item& item = items_[index];
    if (!item.ready) continue;
    Store::Segment& target = impl_.segment_of(item.target);
    const std::uint64_t bytes = target.bytes_of(item.target.extent());
    // The checksum covers the padding, which is longer where granules are.
    format::seal_image(item.block->data(), bytes, store_.domain_id_);
    std::memcpy(&item.checksum, item.block->data(), sizeof item.checksum);
    requests[count].kind = segment::RequestKind::write;
    requests[count].io_class = segment::IoClass::cleaning;
    requests[count].offset = target.space.offset_of(item.target.extent());
    requests[count].set_buffer(item.block->data(), bytes);
    backends[count] = &target.backend;
    written[count++] = &item;
  }
  const Result<void> outcome =
      segment::await_each({backends.data(), count}, executor_, {requests.data(), count});
  const base::SpinGuard guard(impl_.mutex);
  for (std::size_t index = 0; index < count; ++index) {
    record(*written[index], requests[index].outcome.has_value());
  }
  return outcome;
}

// Under the mutex.
void Mover::record(Item& item, bool written) noexcept {
  Store::Segment& target = impl_.segment_of(item.target);
  const Extent extent = item.target.extent();
  const std::uint64_t number = impl_.open_number;
  --target.requests;
  --impl_.changes_expected;
  const bool current =
      store_.mapping_.get(item.page) == item.entry || FIRN_PLANTED("move-over-newer");
  // Room was made under the number that was open then.
  const bool room = impl_.changes[number % 2].make_room(impl_.changes_expected + 1).has_value();
  if (!written || !current || !room || store_.failed()) {
    ++report_.left_images;
    return impl_.give_back(target, extent, number);
  }
  const MappingEntry before = store_.mapping_.get(item.page);
  const MappingEntry now{.location = item.target, .checksum = item.checksum};
  target.unsynced = true;
  store_.mapping_.set(item.page, now);
  const std::uint64_t under = FIRN_PLANTED("move-under-wrong-number") ? store_.number() : number;
  impl_.record(item.page, before, now, under);
  if (!before.location.none()) {
    impl_.give_back(impl_.segment_of(before.location), before.location.extent(), under);
  }
  ++report_.moved_images;
  report_.moved_bytes += target.bytes_of(extent);
  ++impl_.statistics.moved_images;
  impl_.statistics.moved_bytes += target.bytes_of(extent);
}

namespace {

Failure checkpoint_first(std::uint8_t id) noexcept {
  return in_segment(fail(ErrorCode::busy, "a checkpoint that has begun is to be published first"),
                    id);
}

}  // namespace

Result<MoveReport> Store::drain_segment(runtime::ExecutorCore& executor, std::uint8_t id) noexcept {
  if (failed() || impl_->read_only) return fail(ErrorCode::failed, "the store takes no writes");
  if (id == segment_zero) {
    return fail(ErrorCode::invalid_argument, "segment 0 holds the domain itself");
  }
  Segment* segment = nullptr;
  {
    const base::SpinGuard guard(impl_->mutex);
    segment = impl_->segment(id);
    if (segment == nullptr || segment->state == SegmentState::leaving) {
      return in_segment(fail(ErrorCode::not_found, "no segment of that number"), id);
    }
    if (segment->state == SegmentState::active) {
      segment->state = SegmentState::draining;
      segment->closed_under = number();
    }
    if (impl_->open_number < segment->closed_under) return checkpoint_first(id);
    ++segment->requests;  // stays until this is done
  }
  Result<MoveReport> moved = Mover(*this, executor, *segment, {}).run();
  const base::SpinGuard guard(impl_->mutex);
  --segment->requests;
  if (moved.has_value()) moved->left_images = segment->images;
  return moved;
}

// Up to `most` chunks, emptiest first, those left out that hold what is not moved: heads, manifests
// and mapping extents.
Result<std::vector<std::uint32_t>> Store::find_victims(runtime::ExecutorCore& executor,
                                                       const Segment& segment, std::uint32_t most,
                                                       std::uint32_t live_percent_max) noexcept {
  std::vector<Space::Victim> found;
  for (std::uint32_t from = 0;;) {
    std::array<Space::Victim, 64> some;
    std::size_t count = 0;
    {
      const base::SpinGuard guard(impl_->mutex);
      if (from >= segment.space.used_chunks()) break;
      for (const Space::Victim& one :
           std::span(some.data(), segment.space.list_victims(from, live_percent_max, some))) {
        if (segment.space.group_of(one.chunk) != Group::metadata) some[count++] = one;
      }
    }
    from += static_cast<std::uint32_t>(some.size());
    FIRN_TRY(base::guard_allocation([&] {
      found.insert(found.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count));
    }));
    let_others_run(executor);
  }
  std::sort(found.begin(), found.end());
  if (found.size() > most) found.resize(most);
  std::vector<std::uint32_t> chunks;
  FIRN_TRY(base::guard_allocation([&] {
    for (const Space::Victim& one : found) chunks.push_back(one.chunk);
  }));
  std::sort(chunks.begin(), chunks.end());
  return chunks;
}

Result<MoveReport> Store::clean_segment(runtime::ExecutorCore& executor, std::uint8_t id,
                                        std::uint32_t chunks,
                                        std::uint32_t live_percent_max) noexcept {
  if (failed() || impl_->read_only) return fail(ErrorCode::failed, "the store takes no writes");
  Segment* segment = nullptr;
  {
    const base::SpinGuard guard(impl_->mutex);
    segment = impl_->segment(id);
    if (segment == nullptr || segment->state != SegmentState::active) {
      return in_segment(fail(ErrorCode::not_found, "no segment of that number"), id);
    }
    if (segment->cleaning) return in_segment(fail(ErrorCode::busy, "it is being cleaned"), id);
    segment->cleaning = true;
    ++segment->requests;  // stays until this is done
  }
  const Result<MoveReport> cleaned = clean(executor, *segment, chunks, live_percent_max);
  const base::SpinGuard guard(impl_->mutex);
  segment->cleaning = false;
  --segment->requests;
  return cleaned;
}

// The chunks that a former call closed and could not empty yet come first.
Result<MoveReport> Store::clean(runtime::ExecutorCore& executor, Segment& segment,
                                std::uint32_t chunks, std::uint32_t live_percent_max) noexcept {
  if (segment.victims.empty()) {
    FIRN_TRY_ASSIGN(segment.victims, find_victims(executor, segment, chunks, live_percent_max));
    const base::SpinGuard guard(impl_->mutex);
    std::erase_if(segment.victims,
                  [&](std::uint32_t chunk) { return !segment.space.try_drain(chunk); });
    segment.closed_under = number();
  }
  {
    const base::SpinGuard guard(impl_->mutex);
    if (impl_->open_number < segment.closed_under) return checkpoint_first(segment.record.id);
  }
  const std::vector<std::uint32_t> victims = std::exchange(segment.victims, {});
  if (victims.empty()) return MoveReport{};
  return Mover(*this, executor, segment, victims).run();
}

}  // namespace firn::store
