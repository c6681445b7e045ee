// Pages: ids, reads and writes. Checkpoints are in checkpoint.cpp, opening in open.cpp.
#include "store/store.hpp"

#include <algorithm>
#include <cstring>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "store/store_impl.hpp"

namespace firn::store {
namespace {

// A device that refuses a place gets this many others before the write fails.
constexpr unsigned write_attempts_max = 3;

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
  executor.enqueue(access.request.link);
}

}  // namespace

Store::Store(segment::Backend& segment, const StoreOptions& options) noexcept
    : impl_(new (std::nothrow) Impl(segment, options)) {}
Store::~Store() = default;

Result<void> Store::Impl::expect_change(std::uint64_t number) noexcept {
  std::vector<Change>& list = changes[number % 2];
  const std::size_t needed = list.size() + changes_expected + 1;
  if (needed > list.capacity()) {
    FIRN_TRY(base::guard_allocation([&] { list.reserve(std::max(needed, 2 * list.capacity())); }));
  }
  // Both lists: a write may be recorded under either, whichever its number says.
  ++changes_expected;
  return {};
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

Result<void> Store::free_page(PageId page, std::uint64_t number) noexcept {
  const base::SpinGuard guard(impl_->mutex);
  Impl::IdSpace& ids = impl_->ids[page.size_class()];
  std::vector<std::uint64_t>& given_up = ids.given_up[number % 3];
  FIRN_TRY(base::guard_allocation([&] {
    if (given_up.size() == given_up.capacity()) given_up.reserve(2 * given_up.size() + 16);
  }));
  const MappingEntry before = mapping_.get(page);
  if (!before.location.none()) {
    FIRN_TRY(impl_->expect_change(number));
    --impl_->changes_expected;
    FIRN_TRY(impl_->space_of(before.location.segment()).free(before.location.extent(), number));
    mapping_.set(page, MappingEntry{});
    if (!FIRN_PLANTED("free-not-logged")) {
      impl_->changes[number % 2].push_back({.page = page, .now = {}, .before = before});
    }
    --impl_->statistics.pages;
    impl_->statistics.image_bytes -=
        std::uint64_t{before.location.extent().count} * impl_->granule_bytes;
  }
  given_up.push_back(page.slot());
  return {};
}

void Store::read(runtime::ExecutorCore& executor, PageRead& read) noexcept {
  const MappingEntry entry = mapping_.get(read.page);
  if (entry.location.none()) {
    read.outcome = corrupt_page(read.page, "a page that has no image is referred to");
    return end_later(executor, read);
  }
  const Extent extent = entry.location.extent();
  read.image_bytes = extent.count * impl_->granule_bytes;
  segment::Request& request = read.request;
  request.kind = segment::RequestKind::read;
  request.io_class = read.io_class;
  request.offset = impl_->offset_of(extent);
  request.set_buffer(read.data, read.image_bytes);
  request.context = &read;
  request.backend_context = this;
  request.done = [](segment::Request& finished) noexcept {
    auto& self = *static_cast<PageRead*>(finished.context);
    self.store->finish_read(self);
  };
  read.store = this;
  impl_->backend.submit(executor, request);
}

void Store::finish_read(PageRead& read) noexcept {
  read.outcome = read.request.outcome;
  if (!read.outcome.has_value()) {
    Failure failure = fail(read.outcome.error());
    failure.error.place = {.page = read.page.bits(), .segment = segment_zero};
    read.outcome = failure;
  } else {
    const std::uint64_t expected = mapping_.get(read.page).checksum;
    const Bytes image(read.data, read.image_bytes);
    const format::ImageFault fault = format::check_image(image, read.page, domain_id_, expected);
    if (fault != format::ImageFault::none) {
      format::PageHeader header;
      std::memcpy(&header, read.data, sizeof header);
      read.outcome = corrupt_page(read.page, format::describe(fault), header.page_id);
    } else {
      const std::size_t whole = format::page_bytes(read.page.size_class());
      if (read.image_bytes < whole) {
        std::memset(read.data + read.image_bytes, 0, whole - read.image_bytes);
      }
    }
  }
  impl_->page_reads.fetch_add(1, std::memory_order_relaxed);
  impl_->page_read_bytes.fetch_add(read.image_bytes, std::memory_order_relaxed);
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
  const std::uint32_t granule = impl_->granule_bytes;
  const std::size_t image_bytes = (header.length + granule - 1) / granule * granule;
  format::seal_image(write.data, image_bytes, domain_id_);
  std::memcpy(&write.checksum, write.data, sizeof write.checksum);
  write.request.kind = segment::RequestKind::write;
  write.request.io_class = write.io_class;
  write.request.set_buffer(write.data, image_bytes);
  write.request.context = &write;
  write.request.done = [](segment::Request& finished) noexcept {
    auto& self = *static_cast<PageWrite*>(finished.context);
    self.store->finish_write(self);
  };
  place_and_submit(write);
}

// Finds the image a place and hands it to the device.
void Store::place_and_submit(PageWrite& write) noexcept {
  const std::size_t image_bytes = write.request.vectors[0].iov_len;
  {
    const base::SpinGuard guard(impl_->mutex);
    auto extent = impl_->space_of(write.segment).allocate(write.group, image_bytes, write.claim);
    if (extent.has_value()) {
      write.extent = *extent;
    } else {
      write.outcome = fail(extent.error());
      --impl_->changes_expected;
    }
  }
  if (!write.outcome.has_value()) return end_later(*write.executor, write);
  write.request.offset = impl_->offset_of(write.extent);
  impl_->backend.submit(*write.executor, write.request);
}

void Store::finish_write(PageWrite& write) noexcept {
  write.outcome = write.request.outcome;
  if (!write.outcome.has_value() && write.outcome.error().code == ErrorCode::io_error &&
      ++write.attempts < write_attempts_max) {
    {
      const base::SpinGuard guard(impl_->mutex);
      give_back(write.extent, write.number);
    }
    write.outcome = {};
    return place_and_submit(write);
  }
  {
    const base::SpinGuard guard(impl_->mutex);
    --impl_->changes_expected;
    if (write.outcome.has_value() || FIRN_PLANTED("failed-write-recorded")) {
      record_write(write);
    } else {
      give_back(write.extent, write.number);
    }
  }
  write.done(write);
}

// Under the mutex: the image is the page's newest from now on.
void Store::record_write(PageWrite& write) noexcept {
  const MappingEntry before = mapping_.get(write.page);
  const MappingEntry now{.location = Location(write.segment, write.extent),
                         .checksum = write.checksum};
  mapping_.set(write.page, now);
  const std::uint64_t under = FIRN_PLANTED("change-under-wrong-number") ? number() : write.number;
  // There is room: it was made when the write began.
  impl_->changes[under % 2].push_back({.page = write.page, .now = now, .before = before});
  StoreStatistics& statistics = impl_->statistics;
  ++statistics.page_writes;
  const std::uint64_t bytes = std::uint64_t{write.extent.count} * impl_->granule_bytes;
  statistics.page_write_bytes += bytes;
  statistics.image_bytes += bytes;
  if (before.location.none()) {
    ++statistics.pages;
  } else {
    const Extent former = before.location.extent();
    statistics.image_bytes -= std::uint64_t{former.count} * impl_->granule_bytes;
    give_back(former, write.number);
  }
}

// Under the mutex. If the list of what was given up cannot grow, the place stays out of use until
// the store is opened again, which is all that memory can cost here.
void Store::give_back(Extent extent, std::uint64_t number) noexcept {
  number = std::max(number, impl_->space_of(segment_zero).published_number() + 1);
  static_cast<void>(impl_->space_of(segment_zero).free(extent, number));
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
  // Two bits per granule, and what a chunk has besides.
  constexpr std::uint64_t chunk_record_bytes = 32;
  const std::uint64_t granules = impl_->options.chunk_bytes / impl_->granule_bytes;
  for (const Space& space : impl_->space) {
    statistics.memory_bytes += space.chunk_count() * (granules / 4 + chunk_record_bytes);
    for (std::uint64_t ahead = 0; ahead < 3; ++ahead) {
      statistics.memory_bytes += space.pending_bytes(statistics.published_number + ahead);
    }
  }
  return statistics;
}

SpaceStatistics Store::space_statistics() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  return impl_->space_of(segment_zero).statistics();
}

std::uint64_t Store::available_bytes() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  return impl_->space_of(segment_zero).available() * impl_->granule_bytes;
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

Result<void> Store::take_growth() noexcept {
  const base::SpinGuard guard(impl_->mutex);
  Space& space = impl_->space_of(segment_zero);
  const std::uint64_t chunks = impl_->chunks_of_backend();
  if (chunks <= space.chunk_count()) return {};
  return space.grow(static_cast<std::uint32_t>(chunks - space.chunk_count()));
}

void Store::check_well_formed() const noexcept {
  const base::SpinGuard guard(impl_->mutex);
  const Space& space = impl_->space_of(segment_zero);
  space.check_well_formed();
  std::uint64_t live = 0;
  std::uint64_t pages = 0;
  for (unsigned size_class = 0; size_class < format::size_class_count; ++size_class) {
    const std::uint64_t end = impl_->ids[size_class].next_slot;
    for (std::uint64_t slot = 1;; ++slot) {
      slot = mapping_.next_known(size_class, slot, end);
      if (slot == end) break;
      const Location location = mapping_.get(PageId(size_class, slot)).location;
      if (location.none()) continue;
      FIRN_ASSERT(space.is_live(location.extent()));
      live += location.extent().count;
      ++pages;
    }
  }
  FIRN_ASSERT(pages == impl_->statistics.pages);
  FIRN_ASSERT(live * impl_->granule_bytes == impl_->statistics.image_bytes);
}

}  // namespace firn::store
