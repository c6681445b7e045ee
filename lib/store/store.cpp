// Pages: ids, reads and writes. Checkpoints are in checkpoint.cpp, opening in open.cpp.
#include "store/store.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "store/store_impl.hpp"

namespace firn::store {
namespace {

// A device that refuses a place gets this many others before the write fails.
constexpr unsigned write_attempts_max = 3;
constexpr std::size_t memory_unit = 4096;  // what memory is given in

// Ends a read or write from the executor's next tick: callers never hear of the end inside the
// call.
template <class Access>
void end_later(runtime::ExecutorCore& executor, Access& access) noexcept {
  access.request.context = &access;
  access.request.link.request = &access.request;
  access.request.link.home = &executor;
  access.request.link.run = [](detail::Runnable& runnable) noexcept {
    auto& link = static_cast<segment::Request::Link&>(runnable);
    auto& ended = *static_cast<Access*>(link.request->context);
    ended.done(ended);
  };
  runtime::ExecutorCore::wake(access.request.link);
}

}  // namespace

Store::Store(segment::Backend& segment, const StoreOptions& options) noexcept
    : impl_(new (std::nothrow) Impl(segment, options)) {}

Store::~Store() {
  if (impl_ == nullptr) return;
  // What is under way would end in a store that is gone.
  impl_->for_each_segment([](Segment& segment) { FIRN_ASSERT(segment.requests.load() == 0); });
  FIRN_ASSERT(!impl_->publishing && impl_->waiting_writes == nullptr);
  while (impl_->gone_segments != nullptr) {
    impl_->gone_segments = std::move(impl_->gone_segments->next_gone);
  }
}

Result<void> Store::Impl::expect_change(std::uint64_t number) noexcept {
  FIRN_TRY(changes[number % 2].make_room(changes_expected + 1));
  ++changes_expected;
  return {};
}

void Store::Impl::record(PageId page, MappingEntry before, MappingEntry now,
                         std::uint64_t number) noexcept {
  // There is room: it was made when the change was expected.
  changes[number % 2].push_back({.page = page, .now = now, .before = before});
  if (!before.location.none()) {
    Segment& segment = segment_of(before.location);
    --segment.images;
    --statistics.pages;
    statistics.image_bytes -= segment.bytes_of(before.location.extent());
  }
  if (!now.location.none()) {
    Segment& segment = segment_of(now.location);
    ++segment.images;
    ++statistics.pages;
    statistics.image_bytes += segment.bytes_of(now.location.extent());
  }
}

void Store::Impl::give_back(Segment& segment, Extent extent, std::uint64_t number) noexcept {
  // No superblock names a place in a volatile segment.
  if (segment.record.is_volatile) return segment.space.take_back(extent);
  number = std::max(number, segment.space.published_number() + 1);
  if (!segment.space.free(extent, number).has_value()) segment.lost_granules += extent.count;
}

Result<PageId> Store::allocate_page(unsigned size_class) noexcept {
  FIRN_ASSERT(size_class < format::size_class_count);
  std::uint64_t slot = 0;
  {
    const base::SpinGuard guard(impl_->mutex);
    Impl::IdSpace& ids = impl_->ids[size_class];
    while (!ids.gaps.empty() && ids.gaps.back().begin == ids.gaps.back().end) ids.gaps.pop_back();
    if (!ids.free.empty()) {
      slot = ids.free.back();
      ids.free.pop_back();
    } else if (!ids.gaps.empty()) {
      slot = ids.gaps.back().begin++;
    } else if (ids.next_slot <= Mapping::slot_max) {
      slot = ids.next_slot++;
    } else {
      return fail(ErrorCode::no_memory, "a size class holds at most {} pages", Mapping::slot_max);
    }
  }
  const PageId page(size_class, slot);
  if (auto ensured = mapping_.ensure(page); !ensured.has_value()) {
    const base::SpinGuard guard(impl_->mutex);
    // Put back where it came from, unless others followed it: then it waits for the next opening.
    Impl::IdSpace& ids = impl_->ids[size_class];
    if (slot + 1 == ids.next_slot) {
      --ids.next_slot;
    } else if (!ids.gaps.empty() && ids.gaps.back().begin == slot + 1) {
      --ids.gaps.back().begin;
    }
    return fail(ensured.error());
  }
  return page;
}

Result<void> Store::free_pages(std::span<const PageId> pages, std::uint64_t number) noexcept {
  const base::SpinGuard guard(impl_->mutex);
  if (!FIRN_PLANTED("free-without-room")) FIRN_TRY(make_room_to_free(pages, number));
  for (const PageId page : pages) {
    if (FIRN_PLANTED("free-without-room")) FIRN_TRY(make_room_to_free({&page, 1}, number));
    Impl::IdSpace& ids = impl_->ids[page.size_class()];
    const MappingEntry before = mapping_.get(page);
    if (before.location.none()) {
      ids.free.push_back(page.slot());
      continue;
    }
    Segment& segment = impl_->segment_of(before.location);
    if (segment.record.is_volatile) {
      segment.space.take_back(before.location.extent());
    } else {
      const Result<void> given_up = segment.space.free(before.location.extent(), number);
      FIRN_ASSERT(given_up.has_value());
    }
    mapping_.set(page, MappingEntry{});
    impl_->record(page, before, {}, number);
    if (FIRN_PLANTED("free-not-logged")) impl_->changes[number % 2].pop_back();
    ids.given_up[number % 3].push_back(page.slot());
  }
  return {};
}

// Under the mutex: in each list that one of them goes to there is room for all.
Result<void> Store::make_room_to_free(std::span<const PageId> pages,
                                      std::uint64_t number) noexcept {
  const std::size_t count = pages.size();
  FIRN_TRY(impl_->changes[number % 2].make_room(impl_->changes_expected + count));
  for (const PageId page : pages) {
    Impl::IdSpace& ids = impl_->ids[page.size_class()];
    const Location location = mapping_.get(page).location;
    if (location.none()) {
      FIRN_TRY(ids.free.make_room(count));
      continue;
    }
    FIRN_TRY(ids.given_up[number % 3].make_room(count));
    FIRN_TRY(impl_->segment_of(location).space.make_room_to_free(count, number));
  }
  return {};
}

MappingEntry Store::entry(PageId page) const noexcept { return mapping_.get(page); }

void Store::read(runtime::ExecutorCore& executor, PageRead& read) noexcept {
  read.store = this;
  read.executor = &executor;
  submit_read(read);
}

// The segment that the page's image lies in, counted as one of its requests; null if there is none.
Store::Segment* Store::begin_read(PageRead& read) noexcept {
  while (true) {
    read.entry = mapping_.get(read.page);
    if (read.entry.location.none()) return nullptr;
    Segment* const segment =
        impl_->directory[read.entry.location.segment()].load(std::memory_order_acquire);
    // An image that was moved away from a segment before that was closed lies elsewhere by now.
    if (segment == nullptr) continue;
    segment->requests.fetch_add(1);
    if (!segment->gone.load()) return segment;
    segment->requests.fetch_sub(1);
  }
}

void Store::submit_read(PageRead& read) noexcept {
  Segment* const segment = begin_read(read);
  if (segment == nullptr) {
    read.outcome = corrupt_page(read.page, segment_zero, "a page that has no image is referred to");
    return end_later(*read.executor, read);
  }
  const Extent extent = read.entry.location.extent();
  read.image_bytes = static_cast<std::uint32_t>(segment->bytes_of(extent));
  segment::Request& request = read.request;
  request.kind = segment::RequestKind::read;
  request.io_class = read.io_class;
  request.offset = segment->space.offset_of(extent);
  request.set_buffer(read.data, read.image_bytes);
  request.context = &read;
  request.backend_context = this;
  request.done = [](segment::Request& finished) noexcept {
    auto& self = *static_cast<PageRead*>(finished.context);
    self.store->finish_read(self);
  };
  segment->backend.submit(*read.executor, request);
}

void Store::finish_read(PageRead& read) noexcept {
  const std::uint8_t id = read.entry.location.segment();
  read.outcome = read.request.outcome;
  if (!read.outcome.has_value()) {
    Failure failure = fail(read.outcome.error());
    failure.error.place = {.page = read.page.bits(), .segment = id};
    read.outcome = failure;
  } else {
    const Bytes image(read.data, read.image_bytes);
    const format::ImageFault fault =
        format::check_image(image, read.page, domain_id_, read.entry.checksum);
    if (fault != format::ImageFault::none) {
      format::PageHeader header;
      std::memcpy(&header, read.data, sizeof header);
      read.outcome = corrupt_page(read.page, id, format::describe(fault), header.page_id);
    } else {
      // Not all of the page: that would make memory present which nobody needs.
      const std::size_t end = (read.image_bytes + memory_unit - 1) / memory_unit * memory_unit;
      std::memset(read.data + read.image_bytes, 0, end - read.image_bytes);
    }
  }
  impl_->page_reads.fetch_add(1, std::memory_order_relaxed);
  impl_->page_read_bytes.fetch_add(read.image_bytes, std::memory_order_relaxed);
  impl_->directory[id].load(std::memory_order_relaxed)->requests.fetch_sub(1);
  // Its place may have been given up and used again while this was under way.
  if (!read.outcome.has_value() && mapping_.get(read.page) != read.entry) return submit_read(read);
  read.done(read);
}

void Store::write(runtime::ExecutorCore& executor, PageWrite& write) noexcept {
  write.store = this;
  write.executor = &executor;
  write.attempts = 0;
  write.outcome = {};
  format::PageHeader header;
  std::memcpy(&header, write.data, sizeof header);
  FIRN_ASSERT(header.length >= sizeof header);
  FIRN_ASSERT(header.length <= format::page_bytes(write.page.size_class()));
  {
    const base::SpinGuard guard(impl_->mutex);
    header.version = ++impl_->next_version;
    if (failed() || impl_->read_only) {
      write.outcome = fail(ErrorCode::failed, "the store takes no writes");
    } else {
      write.outcome = impl_->expect_change(write.number);
    }
  }
  if (!write.outcome.has_value()) return end_later(executor, write);
  header.page_id = write.page.bits();
  header.domain = domain_id_;
  std::memcpy(write.data, &header, sizeof header);
  write.request.kind = segment::RequestKind::write;
  write.request.io_class = write.io_class;
  write.request.context = &write;
  write.request.done = [](segment::Request& finished) noexcept {
    auto& self = *static_cast<PageWrite*>(finished.context);
    self.store->finish_write(self);
  };
  place_and_submit(write);
}

// Finds the image a place, seals it as long as that is, and hands it to the device.
void Store::place_and_submit(PageWrite& write) noexcept {
  format::PageHeader header;
  std::memcpy(&header, write.data, sizeof header);
  Segment* segment = nullptr;
  bool waits = false;
  {
    const base::SpinGuard guard(impl_->mutex);
    auto placed = impl_->place(write.segment, write.group, header.length, write.claim);
    if (placed.has_value()) {
      write.location = *placed;
      segment = &impl_->segment_of(write.location);
      ++segment->requests;
    } else {
      waits = wait_for_room(write, placed.error());
    }
  }
  // A write that waits may be on its way again by now.
  if (waits) return impl_->options.room_maker->make_room();
  if (segment == nullptr) return end_later(*write.executor, write);
  const Extent extent = write.location.extent();
  const std::uint64_t image_bytes = segment->bytes_of(extent);
  format::seal_image(write.data, image_bytes, domain_id_);
  std::memcpy(&write.checksum, write.data, sizeof write.checksum);
  write.request.set_buffer(write.data, image_bytes);
  write.request.offset = segment->space.offset_of(extent);
  segment->backend.submit(*write.executor, write.request);
}

// Under the mutex: there is no place for it. False: it fails.
bool Store::wait_for_room(PageWrite& write, const Error& error) noexcept {
  if (error.code != ErrorCode::no_space || impl_->options.room_maker == nullptr ||
      FIRN_PLANTED("store-no-wait-for-room")) {
    write.outcome = fail(error);
    --impl_->changes_expected;
    return false;
  }
  write.outcome = fail(error);  // in case there will be none
  write.next_waiting = std::exchange(impl_->waiting_writes, &write);
  return true;
}

bool Store::writes_wait() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  return impl_->waiting_writes != nullptr;
}

void Store::room_made(bool made) noexcept {
  PageWrite* waiting = nullptr;
  {
    const base::SpinGuard guard(impl_->mutex);
    waiting = std::exchange(impl_->waiting_writes, nullptr);
    for (PageWrite* write = waiting; write != nullptr && !made; write = write->next_waiting) {
      --impl_->changes_expected;
    }
  }
  while (waiting != nullptr) {
    PageWrite& write = *std::exchange(waiting, waiting->next_waiting);
    if (!made) {
      end_later(*write.executor, write);
      continue;
    }
    // On its own executor, whose ring the request is for.
    write.outcome = {};
    write.request.context = &write;
    write.request.link.request = &write.request;
    write.request.link.home = write.executor;
    write.request.link.run = [](detail::Runnable& runnable) noexcept {
      auto& link = static_cast<segment::Request::Link&>(runnable);
      auto& again = *static_cast<PageWrite*>(link.request->context);
      again.store->place_and_submit(again);
    };
    runtime::ExecutorCore::wake(write.request.link);
  }
}

// Under the mutex: in the segment that is asked for, else in another one that is as persistent.
Result<Location> Store::Impl::place(std::uint8_t asked_id, Group group, std::uint64_t bytes,
                                    Claim claim) noexcept {
  keep_room_to_publish();
  Segment* const asked = segment(asked_id);
  Result<Location> placed = fail(ErrorCode::no_space, "no segment takes images");
  const auto try_in = [&](Segment& its) {
    if (its.state != SegmentState::active) return false;
    const Result<Extent> extent = its.space.allocate(group, bytes, claim);
    if (extent.has_value()) {
      placed = Location(its.record.id, *extent);
    } else if (&its == asked) {
      placed = fail(extent.error());
    }
    return extent.has_value();
  };
  if (asked != nullptr && try_in(*asked)) return placed;
  const bool is_volatile = asked != nullptr && asked->record.is_volatile;
  for (const std::unique_ptr<Segment>& other : segments) {
    if (other == nullptr || other.get() == asked) continue;
    if (other->record.is_volatile == is_volatile && try_in(*other)) break;
  }
  return placed;
}

// A whole mapping, the log until then, the changes that are not published yet and the places they
// give up; and a chunk for manifests.
void Store::Impl::keep_room_to_publish() noexcept {
  const std::uint64_t mapping_bytes = statistics.pages * sizeof(MappingChange);
  const std::uint64_t log_bytes = log_bytes_max(mapping_bytes);
  const std::uint64_t changed = changes[0].size() + changes[1].size() + changes_expected;
  const std::uint64_t needed = mapping_bytes + log_bytes - std::min(log_bytes, reference_bytes) +
                               changed * (sizeof(MappingChange) + sizeof(std::uint64_t));
  zero().space.keep_for_metadata(static_cast<std::uint32_t>(needed / options.chunk_bytes + 2));
}

void Store::finish_write(PageWrite& write) noexcept {
  write.outcome = write.request.outcome;
  const bool again = !write.outcome.has_value() &&
                     write.outcome.error().code == ErrorCode::io_error &&
                     ++write.attempts < write_attempts_max;
  {
    const base::SpinGuard guard(impl_->mutex);
    Segment& segment = impl_->segment_of(write.location);
    --segment.requests;
    if (!again) --impl_->changes_expected;
    if (write.outcome.has_value() || FIRN_PLANTED("failed-write-recorded")) {
      segment.unsynced = true;
      record_write(write);
    } else {
      impl_->give_back(segment, write.location.extent(), write.number);
    }
  }
  if (again) {
    write.outcome = {};
    return place_and_submit(write);
  }
  write.done(write);
}

// Under the mutex: the image is the page's newest from now on.
void Store::record_write(PageWrite& write) noexcept {
  const MappingEntry before = mapping_.get(write.page);
  const MappingEntry now{.location = write.location, .checksum = write.checksum};
  mapping_.set(write.page, now);
  impl_->record(write.page, before, now,
                FIRN_PLANTED("change-under-wrong-number") ? number() : write.number);
  ++impl_->statistics.page_writes;
  impl_->statistics.page_write_bytes +=
      impl_->segment_of(write.location).bytes_of(write.location.extent());
  if (!before.location.none()) {
    impl_->give_back(impl_->segment_of(before.location), before.location.extent(), write.number);
  }
}

StoreStatistics Store::statistics() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  StoreStatistics statistics = impl_->statistics;
  statistics.page_reads = impl_->page_reads.load(std::memory_order_relaxed);
  statistics.page_read_bytes = impl_->page_read_bytes.load(std::memory_order_relaxed);
  statistics.number = number();
  statistics.published_number = published_number();
  statistics.open_count = impl_->open_count;
  // A publication may write the whole mapping anew: its memory is set aside, since nobody could
  // make room for it when it comes.
  const std::uint64_t snapshot_bytes = statistics.pages * sizeof(MappingChange);
  statistics.memory_bytes = mapping_.memory_bytes() + snapshot_bytes + snapshot_bytes / 16 +
                            std::min<std::uint64_t>(snapshot_bytes, impl_->options.chunk_bytes);
  for (const auto& list : impl_->changes) {
    // And what is collected from it: the order, and the changes or their former entries.
    statistics.memory_bytes += list.capacity() * sizeof(Impl::Change) +
                               list.size() * (sizeof(std::uint32_t) + sizeof(MappingChange));
  }
  impl_->for_each_segment([&](const Segment& segment) {
    statistics.memory_bytes += segment.space.memory_bytes();
    for (std::uint64_t ahead = 0; ahead < 3; ++ahead) {
      statistics.memory_bytes += segment.space.pending_bytes(statistics.published_number + ahead);
    }
  });
  return statistics;
}

SpaceStatistics Store::space_statistics(std::uint8_t segment) const noexcept {
  constexpr std::uint32_t chunks_at_a_time = 16;
  SpaceStatistics total;
  for (std::uint32_t from = 0;; from += chunks_at_a_time) {
    const base::SpinGuard guard(impl_->mutex);
    FIRN_ASSERT(impl_->segment(segment) != nullptr);
    const Space& space = impl_->segment(segment)->space;
    if (from < space.used_chunks()) {
      space.add_statistics(from, from + chunks_at_a_time, total);
      continue;
    }
    space.finish_statistics(total);
    return total;
  }
}

std::uint64_t Store::available_bytes() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  return impl_->zero().space.available() * impl_->granule_bytes;
}

Payload Store::payload() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  return impl_->payload;
}

std::size_t Store::list_pages(PageId after, std::span<PageId> out) const noexcept {
  std::size_t count = 0;
  for (unsigned size_class = after.size_class(); size_class < format::size_class_count;
       ++size_class) {
    std::uint64_t end = 0;
    {
      const base::SpinGuard guard(impl_->mutex);
      end = impl_->ids[size_class].next_slot;
    }
    std::uint64_t slot = size_class == after.size_class() ? after.slot() + 1 : 1;
    for (; count < out.size(); ++slot) {
      slot = mapping_.next_known(size_class, slot, end);
      if (slot == end) break;
      const PageId page(size_class, slot);
      const base::SpinGuard guard(impl_->mutex);
      if (!mapping_.get(page).location.none()) out[count++] = page;
    }
  }
  return count;
}

void Store::check_well_formed() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  std::array<std::uint64_t, segment_count_max> images{};
  std::array<std::uint64_t, segment_count_max> live{};
  std::uint64_t pages = 0;
  std::uint64_t image_bytes = 0;
  for (unsigned size_class = 0; size_class < format::size_class_count; ++size_class) {
    const std::uint64_t end = impl_->ids[size_class].next_slot;
    for (std::uint64_t slot = 1;; ++slot) {
      slot = mapping_.next_known(size_class, slot, end);
      if (slot == end) break;
      const Location location = mapping_.get(PageId(size_class, slot)).location;
      if (location.none()) continue;
      const Segment* segment = impl_->segment(location.segment());
      FIRN_ASSERT(segment != nullptr && segment->state != SegmentState::leaving);
      FIRN_ASSERT(segment->space.is_live(location.extent()));
      ++images[location.segment()];
      live[location.segment()] += location.extent().count;
      image_bytes += segment->bytes_of(location.extent());
      ++pages;
    }
  }
  FIRN_ASSERT(pages == impl_->statistics.pages);
  FIRN_ASSERT(image_bytes == impl_->statistics.image_bytes);
  impl_->for_each_segment([&](const Segment& segment) {
    const std::uint8_t id = segment.record.id;
    segment.space.check_well_formed();
    FIRN_ASSERT(segment.images == images[id]);
    if (failed()) return;  // what a publication had placed is nobody's
    std::uint64_t named = live[id] + segment.head_granules + segment.lost_granules;
    if (id == segment_zero) {
      if (impl_->publishing) return;  // with places that are named soon
      named += impl_->manifest.extent().count;
      for (const ExtentReference& reference : impl_->references) {
        named += Location::from_bits(reference.location).extent().count;
      }
    }
    // Places of writes under way are named when these end.
    FIRN_ASSERT(named <= segment.space.live_granules());
    FIRN_ASSERT(segment.requests.load() > 0 || named == segment.space.live_granules());
  });
}

}  // namespace firn::store
