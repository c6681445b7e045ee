// Bringing pages in. What a fault needs is taken in one order (waiter.hpp): a keep count, the
// permission for a read, memory; then the io bit makes it the one read of the page.
#include <cstdlib>
#include <cstring>

#include "base/planted.hpp"
#include "base/spin.hpp"
#include "buffer/optimistic_read.hpp"
#include "buffer/pool.hpp"

namespace firn::buffer {
namespace {

// About 2 microseconds: a holder that is on a processor has finished by then.
constexpr int spin_count_max = 64;
// Frames that an operation looks at when it needs memory and the cleaner is behind.
constexpr std::uint32_t inline_visits_max = 256;
constexpr std::uint64_t inline_bytes = 64 * smallest_page_bytes;
// A descent loads fewer pages than this if nobody takes them away again.
constexpr std::uint32_t faults_before_favour = 16;
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
    if (page_bytes(page.size_class()) > tickets_.limit() ||
        page.size_class() > write_arena_.class_max()) {
      error = too_small(page).error;
      return Access::failed;
    }
    if (const Access got = keep_or_park(waiter, page); got != Access::ready) {
      if (got == Access::again) continue;
      return got;
    }
    if (waiter.read_ == 0 && !reads_.take(1, waiter.background)) {
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

// What the waiter was woken with; true: an error of this page.
bool Pool::take_outcome(Waiter& waiter, PageSlot page, Error& error) noexcept {
  if (waiter.refused_) {
    waiter.refused_ = false;
    error = waiter.error_;
    return true;
  }
  if (waiter.fault_ == nullptr) return false;
  const bool failed = waiter.fault_->failed.load(std::memory_order_acquire) &&
                      waiter.fault_->page.load(std::memory_order_relaxed) == page.bits();
  if (failed) error = waiter.fault_->error;
  leave_fault(waiter);
  return failed;
}

void Pool::leave_fault(Waiter& waiter) noexcept {
  if (waiter.fault_ != nullptr) leave(*waiter.fault_);
  waiter.fault_ = nullptr;
}

void Pool::give_back(Waiter& waiter) noexcept {
  leave_fault(waiter);
  waiter.refused_ = false;
  if (waiter.kept_.valid()) drop_keep(waiter.kept_);
  waiter.kept_ = PageSlot();
  while (waiter.held_count_ > 0) drop_keep(waiter.held_[--waiter.held_count_]);
  if (waiter.favoured_) favour_given_.store(false);
  waiter.favoured_ = false;
  waiter.fault_count_ = 0;
  tickets_.give(waiter.ticket_);
  reads_.give(waiter.read_);
  bytes_.give(waiter.memory_);
  waiter.ticket_ = waiter.read_ = waiter.memory_ = 0;
}

// The waiter comes to another page than the one it has kept.
void Pool::move_on(Waiter& waiter) noexcept {
  if (!waiter.kept_.valid()) return;
  if (waiter.favoured_ && waiter.held_count_ < waiter.held_.size()) {
    waiter.held_[waiter.held_count_++] = waiter.kept_;
  } else {
    drop_keep(waiter.kept_);
  }
  waiter.kept_ = PageSlot();
}

// After so many faults that others must be taking its pages away.
void Pool::favour(Waiter& waiter) noexcept {
  if (++waiter.fault_count_ < faults_before_favour || waiter.favoured_) return;
  waiter.favoured_ = !favour_given_.exchange(true);
}

// A keep count on the page, from a ticket unless the page has one.
Access Pool::keep_or_park(Waiter& waiter, PageSlot page) noexcept {
  if (waiter.kept_ == page) return Access::ready;
  move_on(waiter);
  favour(waiter);
  Descriptor& descriptor = descriptors_[page];
  const std::uint64_t bytes = page_bytes(page.size_class());
  bool kept = descriptor.add_keep(true).added;
  if (!kept) {
    if (waiter.ticket_ != bytes) {
      tickets_.give(waiter.ticket_);
      waiter.ticket_ = 0;
      if (waiter.favoured_) {
        tickets_.force(bytes);  // it gets on, whoever waits
      } else if (!tickets_.take(bytes, waiter.background)) {
        counters_.memory_waits.fetch_add(1, std::memory_order_relaxed);
        tickets_.park(waiter, bytes, waiter.ticket_);
        return Access::parked;
      }
    }
    waiter.ticket_ = 0;  // the page's now
    const auto [added, before] = descriptor.add_keep(false);
    if (!added || before > 0) tickets_.give(bytes);
    kept = added;
  }
  if (!kept || !confirm_keep(descriptor, bytes)) return Access::again;
  waiter.kept_ = page;
  return Access::ready;
}

bool Pool::confirm_keep(Descriptor& page, std::uint64_t bytes) noexcept {
  if (page.keep_holds()) return true;
  if (page.release_keep()) tickets_.give(bytes);
  return false;
}

void Pool::drop_keep(PageSlot page) noexcept {
  if (descriptors_[page].release_keep()) tickets_.give(page_bytes(page.size_class()));
}

bool Pool::try_keep(PageSlot page) noexcept {
  Descriptor& descriptor = descriptors_[page];
  const std::uint64_t bytes = page_bytes(page.size_class());
  if (!descriptor.add_keep(true).added) {
    if (!tickets_.take(bytes, false)) return false;
    const auto [added, before] = descriptor.add_keep(false);
    if (!added || before > 0) tickets_.give(bytes);
    if (!added) return false;
  }
  return confirm_keep(descriptor, bytes);
}
void Pool::release_keep(PageSlot page) noexcept { drop_keep(page); }

// Memory for the page, counted before it is used.
Access Pool::memory_or_park(Waiter& waiter, std::uint64_t bytes) noexcept {
  if (waiter.memory_ == bytes) return Access::ready;
  bytes_.give(waiter.memory_);
  waiter.memory_ = 0;
  if (reserve(bytes, waiter.background)) {
    waiter.memory_ = bytes;
    return Access::ready;
  }
  counters_.memory_waits.fetch_add(1, std::memory_order_relaxed);
  bytes_.park(waiter, bytes, waiter.memory_);
  kick();
  return Access::parked;
}

bool Pool::reserve(std::uint64_t bytes, bool background) noexcept {
  if (bytes_.take(bytes, background)) {
    if (under_pressure()) kick();
    return true;
  }
  // More than is needed, so that not every operation has to; never most of a small pool.
  const std::uint64_t wanted =
      std::max(bytes, std::min(inline_bytes, frame_bytes_.load(std::memory_order_relaxed) / 16));
  kick();
  return evict(wanted, inline_visits_max) > 0 && bytes_.take(bytes, background);
}

// Parks on the page if what it wants is blocked. A waiter that finds a read under way is told its
// outcome.
bool Pool::park(Waiter& waiter, PageSlot page, Want want) noexcept {
  Descriptor& descriptor = descriptors_[page];
  leave_fault(waiter);
  if (waiter.kept_ != page) move_on(waiter);
  // Who comes to a read under way keeps the page too, so that it is still there when it runs.
  const std::uint64_t bytes = page_bytes(page.size_class());
  if (!waiter.kept_.valid() && want != Want::retire && descriptor.add_keep(true).added &&
      confirm_keep(descriptor, bytes)) {
    waiter.kept_ = page;
  }
  tickets_.give(waiter.ticket_);
  reads_.give(waiter.read_);
  bytes_.give(waiter.memory_);
  waiter.ticket_ = waiter.read_ = waiter.memory_ = 0;
  const bool parked = runtime::ParkingLot::shared().park(
      &descriptor, waiter.runnable_,
      [&]() noexcept {
        if (!descriptor.state.mark_waiting(want)) return false;
        // The frame may be another page's by now, or the page's memory is going: the record says
        // whose read it is.
        const PageWord word = descriptor.state.load();
        const std::uint32_t frame = descriptor.frame.load(std::memory_order_acquire);
        if (word.evicted() && word.io() && frame != 0) {
          const std::uint32_t fault = frames_[frame].fault.load(std::memory_order_relaxed);
          if (fault != 0 && faults_[fault - 1].try_hold(page)) waiter.fault_ = &faults_[fault - 1];
        }
        return true;
      },
      [&]() noexcept {
        counters_.page_waits.fetch_add(1, std::memory_order_relaxed);
        waiter.commit();
      });
  return parked;
}

// To the end of its executor's queue: for what nobody can be woken for.
void Pool::park_again(Waiter& waiter) noexcept {
  give_back(waiter);
  waiter.commit();
  waiter.wake();
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

void Pool::charge_descriptor(PageSlot page) noexcept {
  const std::uint64_t bytes = descriptors_.touch(page);
  if (bytes == 0) return;
  bytes_.force(bytes);
  other_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

std::uint32_t Pool::take_frame(PageSlot page) noexcept {
  std::uint64_t grown = 0;
  const std::uint32_t index = frames_.allocate(page, grown);
  if (grown > 0) {
    bytes_.force(grown);
    other_bytes_.fetch_add(grown, std::memory_order_relaxed);
  }
  const unsigned size_class = page.size_class();
  frame_bytes_.fetch_add(page_bytes(size_class), std::memory_order_relaxed);
  unsigned largest = class_max_.load(std::memory_order_relaxed);
  while (largest < size_class && !class_max_.compare_exchange_weak(largest, size_class)) {
  }
  return index;
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
  read.data = record->bounce;
#endif
  // Below 16 KiB, on a stock kernel, the access itself is the cheaper way.
  if (memory_->kind() == MemoryKind::guard || page.size_class() >= 2) {
    PageSlot batch[1] = {page};
    static_cast<void>(memory_->populate(batch));
  }
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
    FIRN_ASSERT(memory_->release(batch).done == 1);
    descriptor.frame.store(0, std::memory_order_relaxed);
    frames_.free(index);
    frame_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  if (descriptor.state.finish_fault(success) && !FIRN_PLANTED("pool-lost-wake")) wake(descriptor);
  if (!success) bytes_.give(bytes);
  leave(record);
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

void Pool::prefetch(runtime::ExecutorCore& executor, std::span<const PageSlot> pages) noexcept {
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
  if (!known(page)) return fault_or_park(waiter, page, error);
  Descriptor& descriptor = descriptors_[page];
  for (int spin = 0;; ++spin) {
    const PageWord word = descriptor.state.load();
    if (word.available(Want::share)) {
      if (!descriptor.state.try_share(word)) continue;
      touch(descriptor);
      return Access::ready;
    }
    if (!word.readable() && !word.exclusive()) {
      const Access got = fault_or_park(waiter, page, error);
      if (got != Access::again) return got;
    } else if (spin < spin_count_max) {
      base::pause_briefly();
    } else if (park(waiter, page, Want::share)) {
      return Access::parked;
    }
  }
}

Access Pool::exclusive_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept {
  if (!known(page)) return fault_or_park(waiter, page, error);
  Descriptor& descriptor = descriptors_[page];
  for (int spin = 0;; ++spin) {
    const PageWord word = descriptor.state.load();
    if (word.available(Want::exclusive)) {
      if (!descriptor.state.try_exclusive(word)) continue;
      touch(descriptor);
      return Access::ready;
    }
    if (!word.readable() && !word.exclusive()) {
      const Access got = fault_or_park(waiter, page, error);
      if (got != Access::again) return got;
    } else if (spin < spin_count_max) {
      base::pause_briefly();
    } else if (park(waiter, page, Want::exclusive)) {
      return Access::parked;
    }
  }
}

}  // namespace firn::buffer
