// What a waiter holds while it waits, and how it parks (waiter.hpp): keep counts, permissions for
// reads, memory.
#include <algorithm>
#include <utility>

#include "buffer/pool.hpp"

namespace firn::buffer {
namespace {

// Frames that an operation looks at when it needs memory and the cleaner is behind.
constexpr std::uint32_t inline_visits_max = 256;
constexpr std::uint64_t inline_bytes = 64 * smallest_page_bytes;
// A descent loads fewer pages than this if nobody takes them away again.
constexpr std::uint32_t faults_before_favour = 16;
// And whoever keeps them waits for each but once, if all that it needs at a time fits.
constexpr std::uint32_t urgent_faults_max = 32;
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
  creations_.give(std::exchange(waiter.creation_, 0));
  waiter.fault_count_ = 0;
}

// What it has made it still holds.
void Pool::let_go(Waiter& waiter) noexcept {
  leave_fault(waiter);
  waiter.refused_ = false;
  drop_keeps(waiter);
  if (waiter.favoured_) favour_given_.store(false);
  waiter.favoured_ = false;
  if (waiter.background) waiter.fault_count_ = 0;
  give_back_granted(waiter);
}

void Pool::drop_keeps(Waiter& waiter) noexcept {
  if (waiter.kept_.valid()) drop_keep(waiter.kept_);
  waiter.kept_ = PageSlot();
  drop_held(waiter);
}

void Pool::drop_held(Waiter& waiter) noexcept {
  while (waiter.held_count_ > 0) drop_keep(waiter.held_[--waiter.held_count_]);
  waiter.held_bytes_ = 0;
}

// For one page, and not used.
void Pool::give_back_granted(Waiter& waiter) noexcept {
  tickets_.give(waiter.ticket_);
  reads_.give(waiter.read_);
  bytes_.give(waiter.memory_);
  waiter.ticket_ = waiter.read_ = waiter.memory_ = 0;
}

// The waiter comes to something else than the page it has kept, of so many bytes.
void Pool::move_on(Waiter& waiter, std::uint64_t bytes) noexcept {
  if (!waiter.urgent()) return drop_keeps(waiter);
  if (waiter.kept_.valid() && waiter.held_count_ < waiter.held_.size()) {
    waiter.held_bytes_ += page_bytes(waiter.kept_.size_class());
    waiter.held_[waiter.held_count_++] = std::exchange(waiter.kept_, PageSlot());
  }
  if (waiter.kept_.valid()) drop_keep(std::exchange(waiter.kept_, PageSlot()));
  if (waiter.held_bytes_ + bytes > share_of(waiter)) drop_held(waiter);
}

// What the waiter may pin, the page that it wants included.
std::uint64_t Pool::share_of(const Waiter& waiter) const noexcept {
  const std::uint64_t third = frame_limit() / 3;
  return waiter.background ? third : waiter.favoured_ ? 2 * third : 0;
}

// The largest page, or set of new ones, that it can be given.
std::uint64_t Pool::bytes_max_of(const Waiter& waiter) const noexcept {
  return waiter.background ? share_of(waiter) : frame_limit() / 2;
}

// After so many faults that others must be taking its pages away.
void Pool::favour(Waiter& waiter) noexcept {
  if (waiter.fault_count_ < faults_before_favour || waiter.urgent()) return;
  if (favour_given_.exchange(true)) return;
  waiter.favoured_ = true;
  waiter.fault_count_ = 0;
}

// A keep count on the page, from a ticket unless the page has one.
Access Pool::keep_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept {
  const std::uint64_t bytes = page_bytes(page.size_class());
  if (waiter.kept_ == page) {
    if (waiter.held_bytes_ + bytes > share_of(waiter)) drop_held(waiter);
    return Access::ready;
  }
  move_on(waiter, bytes);
  favour(waiter);
  if (waiter.urgent() && waiter.fault_count_ > urgent_faults_max) {
    error =
        fail(ErrorCode::no_memory,
             "the memory budget leaves {} bytes for pages: one operation needs more", frame_limit())
            .error;
    return Access::failed;
  }
  Descriptor& descriptor = descriptors_[page];
  bool kept = descriptor.add_keep(true).added;
  if (!kept) {
    if (waiter.ticket_ != bytes) {
      tickets_.give(std::exchange(waiter.ticket_, 0));
      if (waiter.urgent()) {
        tickets_.force(bytes);
      } else if (!tickets_.take(bytes, false)) {
        give_back_granted(waiter);
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
  ++waiter.fault_count_;
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
  bytes_.give(std::exchange(waiter.memory_, 0));
  if (reserve(bytes, waiter.urgent())) {
    waiter.memory_ = bytes;
    return Access::ready;
  }
  counters_.memory_waits.fetch_add(1, std::memory_order_relaxed);
  bytes_.park(waiter, bytes, waiter.memory_);
  kick();
  return Access::parked;
}

bool Pool::reserve(std::uint64_t bytes, bool urgent) noexcept {
  if (bytes_.take(bytes, urgent)) {
    if (under_pressure()) kick();
    return true;
  }
  // More than is needed, so that not every operation has to; never most of a small pool.
  const std::uint64_t wanted =
      std::max(bytes, std::min(inline_bytes, frame_bytes_.load(std::memory_order_relaxed) / 16));
  kick();
  return evict(wanted, inline_visits_max) > 0 && bytes_.take(bytes, urgent);
}

// Parks on the page if what it wants is blocked. A waiter that finds a read under way is told its
// outcome.
bool Pool::park(Waiter& waiter, PageSlot page, Want want) noexcept {
  Descriptor& descriptor = descriptors_[page];
  leave_fault(waiter);
  // Who comes to a read under way keeps the page too, so that it is still there when it runs.
  const std::uint64_t bytes = page_bytes(page.size_class());
  if (waiter.kept_ != page) move_on(waiter, bytes);
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
