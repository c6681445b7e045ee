// What a waiter holds while it waits, and how it parks (waiter.hpp): keep counts, permissions for
// reads, memory.
#include <algorithm>

#include "buffer/pool.hpp"

namespace firn::buffer {
namespace {

// Frames that an operation looks at when it needs memory and the cleaner is behind.
constexpr std::uint32_t inline_visits_max = 256;
constexpr std::uint64_t inline_bytes = 64 * smallest_page_bytes;
// A descent loads fewer pages than this if nobody takes them away again.
constexpr std::uint32_t faults_before_favour = 16;
}  // namespace

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
  let_go(waiter);
  creations_.give(waiter.creation_);
  waiter.creation_ = 0;
}

// What it has made it still holds.
void Pool::let_go(Waiter& waiter) noexcept {
  leave_fault(waiter);
  waiter.refused_ = false;
  drop_keeps(waiter);
  if (waiter.favoured_) favour_given_.store(false);
  waiter.favoured_ = false;
  waiter.fault_count_ = 0;
  give_back_granted(waiter);
}

void Pool::drop_keeps(Waiter& waiter) noexcept {
  if (waiter.kept_.valid()) drop_keep(waiter.kept_);
  waiter.kept_ = PageSlot();
  while (waiter.held_count_ > 0) drop_keep(waiter.held_[--waiter.held_count_]);
}

// For one page, and not used.
void Pool::give_back_granted(Waiter& waiter) noexcept {
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
  give_back_granted(waiter);
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
  let_go(waiter);
  waiter.commit();
  waiter.wake();
}

}  // namespace firn::buffer
