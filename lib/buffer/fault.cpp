// Bringing pages in. What a fault needs is taken in one order (waiter.hpp): a keep count, the
// permission for a read, memory; then the io bit makes it the one read of the page.
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/planted.hpp"
#include "base/spin.hpp"
#include "buffer/optimistic_read.hpp"
#include "buffer/pool.hpp"

namespace firn::buffer {
namespace {

// About 2 microseconds: a holder that is on a processor has finished by then.
constexpr int spin_count_max = 64;
// Inner nodes are few and lead to everything: they get this many rounds of the clock.
constexpr std::uint16_t inner_heat = 8;

Failure corrupt(PageSlot page, const char* detail) noexcept {
  Failure failure = fail(ErrorCode::corrupt, detail);
  failure.error.place.page = page.bits();
  return failure;
}

Failure too_small(PageSlot page) noexcept {
  return fail(ErrorCode::no_memory, "the memory budget has no room for a page of {} bytes",
              page_bytes(page.size_class()));
}

}  // namespace

Access Pool::fault_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept {
  if (take_outcome(waiter, page, error)) return Access::failed;
  if (!known(page)) {
    error = corrupt(page, "a page id outside of every segment").error;
    return Access::failed;
  }
  Descriptor& descriptor = descriptors_[page];
  while (true) {
    const PageWord word = descriptor.state.load();
    if (word.readable()) return Access::again;
    if (word.exclusive() || word.io()) {
      if (park(waiter, page, Want::read)) return Access::parked;
      continue;
    }
    if (word.free()) {
      if (adopt(page) != Adopted::no_image) continue;
      error = corrupt(page, "a page that does not exist is referred to").error;
      return Access::failed;
    }
    if (page_bytes(page.size_class()) > bytes_max_of(waiter) ||
        page.size_class() > write_arena_.class_max()) {
      error = too_small(page).error;
      return Access::failed;
    }
    if (const Access got = keep_or_park(waiter, page, error); got != Access::ready) {
      if (got == Access::again) continue;
      return got;
    }
    if (waiter.read_ == 0 && !reads_.take(1, waiter.urgent())) {
      bytes_.give(std::exchange(waiter.memory_, 0));
      counters_.memory_waits.fetch_add(1, std::memory_order_relaxed);
      reads_.park(waiter, 1, waiter.read_);
      return Access::parked;
    }
    waiter.read_ = 1;
    if (memory_or_park(waiter, page_bytes(page.size_class())) == Access::parked) {
      return Access::parked;
    }
    if (!descriptor.state.begin_fault()) continue;
    start_read(*waiter.runnable_.home, page, &waiter, waiter.scan);
    if (park(waiter, page, Want::read)) return Access::parked;
    if (take_outcome(waiter, page, error)) return Access::failed;
  }
}

// A page of the store that was never touched since opening reads as free: makes it evicted.
Pool::Adopted Pool::adopt(PageSlot page) noexcept {
  Descriptor& descriptor = descriptors_[page];
  charge_descriptor(page);
  if (!descriptor.state.try_create()) return Adopted::changed;
  // Under the exclusive latch, so nobody creates or frees it meanwhile.
  const bool exists = !store_.entry(page).location.none();
  bool wanted = false;
  if (exists) {
    descriptor.state.begin_evict();
    wanted = descriptor.state.finish_evict();
  } else {
    descriptor.state.begin_free();
    wanted = descriptor.state.finish_free();
  }
  if (wanted) wake(descriptor);
  return exists ? Adopted::now_evicted : Adopted::no_image;
}

void Pool::charge_descriptor(PageSlot page) noexcept { charge(descriptors_.touch(page)); }

// One page table of the kernel's maps 2 MiB, and stays when the frames go.
void Pool::charge_table(PageSlot page) noexcept {
  constexpr unsigned table_class = 9;  // of a page as large as what one table maps
  const unsigned size_class = page.size_class();
  const bool first = tables_[size_class].touch(page.slot() >> (table_class - size_class));
  if (first && !FIRN_PLANTED("pool-tables-uncharged")) {
    charge(smallest_page_bytes);
  }
}

void Pool::charge(std::uint64_t bytes) noexcept {
  if (bytes == 0) return;
  bytes_.force(bytes);
  other_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

std::uint32_t Pool::take_frame(PageSlot page) noexcept {
  std::uint64_t grown = 0;
  const std::uint32_t index = frames_.allocate(page, grown);
  charge(grown);
  charge_table(page);
  const unsigned size_class = page.size_class();
  frame_bytes_.fetch_add(page_bytes(size_class), std::memory_order_relaxed);
  unsigned largest = class_max_.load(std::memory_order_relaxed);
  while (largest < size_class && !class_max_.compare_exchange_weak(largest, size_class)) {
  }
  return index;
}

// Below 16 KiB, on a stock kernel, the access itself is the cheaper way.
void Pool::make_present(PageSlot page) noexcept {
  if (memory_->kind() != MemoryKind::guard && page.size_class() < 2) return;
  PageSlot batch[1] = {page};
  static_cast<void>(memory_->populate(batch));
}

// Owns the io bit; memory and permission have been taken, by the waiter or for it.
void Pool::start_read(runtime::ExecutorCore& executor, PageSlot page, Waiter* waiter,
                      bool scan) noexcept {
  FaultRecord* record = nullptr;
  {
    const base::SpinGuard guard(faults_lock_);
    record = faults_free_;
    FIRN_ASSERT(record != nullptr);
    faults_free_ = record->next_free;
  }
  if (waiter != nullptr) waiter->read_ = waiter->memory_ = 0;
  record->page.store(page.bits(), std::memory_order_relaxed);
  record->failed.store(false, std::memory_order_relaxed);
  record->holder_count.store(1, std::memory_order_release);
  Descriptor& descriptor = descriptors_[page];
  const std::uint32_t index = take_frame(page);
  Frame& frame = frames_[index];
  frame.stamp.store(0, std::memory_order_relaxed);
  frame.owed.store(0, std::memory_order_relaxed);
  frame.kind.store(PageKind::none, std::memory_order_relaxed);
  frame.fault.store(static_cast<std::uint32_t>(record - faults_.get()) + 1,
                    std::memory_order_relaxed);
  descriptor.heat.store(scan ? 0 : 1, std::memory_order_relaxed);
  descriptor.frame.store(index, std::memory_order_release);
  counters_.faults.fetch_add(1, std::memory_order_relaxed);

  store::PageRead& read = record->read;
  read.page = page;
  read.data = resolve(page);
  read.context = record;
  read.done = [](store::PageRead& finished) noexcept {
    auto& self = *static_cast<FaultRecord*>(finished.context);
    self.pool->end_read(self);
  };
  read.outcome = {};
#ifdef FIRN_ATOMIC_PAGE_BYTES
  // Late optimistic readers load words of the page while it is read into, which only store_page
  // may do here.
  record->bounce = static_cast<std::byte*>(
      std::aligned_alloc(smallest_page_bytes, page_bytes(page.size_class())));
  FIRN_ASSERT(record->bounce != nullptr);
  // As fresh memory has it: the store writes no further than the image goes.
  std::memset(record->bounce, 0, page_bytes(page.size_class()));
  read.data = record->bounce;
#endif
  make_present(page);
  record->elsewhere = !is_background(executor);
  if (record->elsewhere) requests_elsewhere_.fetch_add(1);
  if (FIRN_PLANTED("pool-two-reads")) {
    auto* other = new store::PageRead();
    other->page = page;
    other->data = static_cast<std::byte*>(
        std::aligned_alloc(smallest_page_bytes, page_bytes(page.size_class())));
    other->done = [](store::PageRead& finished) noexcept {
      std::free(finished.data);
      delete &finished;
    };
    store_.read(executor, *other);
  }
  store_.read(executor, read);
}

void Pool::end_read(FaultRecord& record) noexcept {
  const PageSlot page = record.read.page;
  const std::uint64_t bytes = page_bytes(page.size_class());
  Descriptor& descriptor = descriptors_[page];
#ifdef FIRN_ATOMIC_PAGE_BYTES
  if (record.read.outcome.has_value()) store_page(resolve(page), record.bounce, bytes);
  std::free(record.bounce);
#endif
  Result<void> outcome = record.read.outcome;
  if (outcome.has_value() && !FIRN_PLANTED("pool-publish-unvalidated")) outcome = admit(record);
  const bool success = outcome.has_value();
  const std::uint32_t index = descriptor.frame.load(std::memory_order_relaxed);
  if (success) {
    format::PageHeader header;
    std::memcpy(&header, resolve(page), sizeof header);
    Frame& frame = frames_[index];
    frame.kind.store(header.kind, std::memory_order_relaxed);
    frame.level.store(header.level, std::memory_order_relaxed);
    if (descriptor.heat.load(std::memory_order_relaxed) != 0) {
      descriptor.heat.store(heat_of(frame), std::memory_order_relaxed);
    }
    counters_.fault_bytes.fetch_add(record.read.image_bytes, std::memory_order_relaxed);
  } else {
    record.error = outcome.error();
    record.failed.store(true, std::memory_order_release);
    counters_.failed_faults.fetch_add(1, std::memory_order_relaxed);
    PageSlot batch[1] = {page};
    // If the kernel refuses, the next read of the page finds the memory there.
    static_cast<void>(memory_->release(batch));
    descriptor.frame.store(0, std::memory_order_relaxed);
    frames_.free({&index, 1});
    frame_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  if (descriptor.state.finish_fault(success) && !FIRN_PLANTED("pool-lost-wake")) wake(descriptor);
  if (!success) bytes_.give(bytes);
  const bool elsewhere = record.elsewhere;
  leave(record);
  if (elsewhere) requests_elsewhere_.fetch_sub(1);
}

// Whether the page may be published. The store has compared checksum, id and length; the rest is
// known to the owner of the kind.
Result<void> Pool::admit(const FaultRecord& record) noexcept {
  const std::byte* content = resolve(record.read.page);
  format::PageHeader header;
  std::memcpy(&header, content, sizeof header);
  const auto kind = static_cast<std::size_t>(header.kind);
  if (kind >= kind_count_max || !registered_[kind]) {
    return corrupt(record.read.page, "a page of a kind that does not belong here");
  }
  if (hooks_[kind].validate == nullptr) return {};
  return hooks_[kind].validate(record.read.page,
                               Bytes(content, page_bytes(record.read.page.size_class())));
}

void Pool::leave(FaultRecord& record) noexcept {
  if (record.holder_count.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  {
    const base::SpinGuard guard(faults_lock_);
    record.next_free = faults_free_;
    faults_free_ = &record;
  }
  reads_.give(1);
}

void Pool::wake(Descriptor& page) noexcept {
  runtime::ParkingLot::shared().unpark(&page, ~std::size_t{0},
                                       [&](bool) noexcept { page.state.clear_waiting(); });
}

std::uint16_t Pool::heat_of(const Frame& frame) noexcept {
  const bool inner = frame.level.load(std::memory_order_relaxed) > 0 ||
                     frame.kind.load(std::memory_order_relaxed) == PageKind::inner;
  return inner ? inner_heat : 1;
}

void Pool::warm_up(Descriptor& page) noexcept {
  const std::uint32_t frame = page.frame.load(std::memory_order_relaxed);
  page.heat.store(frame == 0 ? 1 : heat_of(frames_[frame]), std::memory_order_relaxed);
}

void Pool::prefetch_here(runtime::ExecutorCore& executor,
                         std::span<const PageSlot> pages) noexcept {
  for (const PageSlot page : pages) {
    if (!known(page)) continue;
    Descriptor& descriptor = descriptors_[page];
    const PageWord word = descriptor.state.load();
    if (word.io() || word.readable() || word.exclusive()) continue;
    if (word.free() && adopt(page) != Adopted::now_evicted) continue;
    const std::uint64_t bytes = page_bytes(page.size_class());
    if (!reads_.take(1, false)) return;
    if (!reserve(bytes, false)) {
      reads_.give(1);
      return;
    }
    if (descriptor.state.begin_fault()) {
      start_read(executor, page, nullptr, true);
    } else {
      reads_.give(1);
      bytes_.give(bytes);
    }
  }
}

Access Pool::shared_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept {
  return latch_or_park(waiter, page, Want::share, error);
}

Access Pool::exclusive_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept {
  return latch_or_park(waiter, page, Want::exclusive, error);
}

Access Pool::latch_or_park(Waiter& waiter, PageSlot page, Want want, Error& error) noexcept {
  if (!known(page)) return fault_or_park(waiter, page, error);
  Descriptor& descriptor = descriptors_[page];
  for (int spin = 0;; ++spin) {
    const PageWord word = descriptor.state.load();
    if (word.available(want)) {
      const bool taken = want == Want::share ? descriptor.state.try_share(word)
                                             : descriptor.state.try_exclusive(word);
      if (!taken) continue;
      touch(descriptor);
      return Access::ready;
    }
    if (!word.readable() && !word.exclusive()) {
      const Access got = fault_or_park(waiter, page, error);
      if (got != Access::again) return got;
    } else if (spin < spin_count_max) {
      base::pause_briefly();
    } else if (park(waiter, page, want)) {
      return Access::parked;
    }
  }
}

}  // namespace firn::buffer
