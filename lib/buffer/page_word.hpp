// The value of a page's state word: its fields, and each transition as a function from word to
// word. Pure values: page_state.hpp makes them atomic, and tests/model/ explores every interleaving
// of them.
//
//   bits 63..16  version   grows by 1 when X is released and when the page is evicted or freed
//   bits 15..8   class     free, evicted, exclusive, or readable with 0 to 250 shares
//   bits  7..4   spare
//   bit   3      append    one writer extends what lies beside the page; invisible to readers
//   bit   2      dirty     memory holds what the device does not
//   bit   1      io        one transfer, or the release of the memory, is under way
//   bit   0      waiter    somebody may be parked on the page
//
// Class 0 is "free", so that descriptors which were never touched, and read as zeroes, are free
// pages.
#pragma once

#include <cstdint>

namespace firn::buffer {

/// What an operation wants of a page, and therefore what it waits for.
enum class Want : std::uint8_t {
  read,       // optimistically
  share,      // the shared latch
  exclusive,  // the exclusive latch
  append,     // the append bit
  retire,     // the exclusive latch with no transfer under way, to evict or to free
  create,     // a free page whose memory is gone
};

class PageWord {
 public:
  static constexpr std::uint64_t waiter_bit = 1;
  static constexpr std::uint64_t io_bit = 2;
  static constexpr std::uint64_t dirty_bit = 4;
  static constexpr std::uint64_t append_bit = 8;
  static constexpr std::uint64_t class_one = std::uint64_t{1} << 8;
  static constexpr std::uint64_t version_one = std::uint64_t{1} << 16;
  static constexpr std::uint64_t class_free = 0;
  static constexpr std::uint64_t class_evicted = 1;
  static constexpr std::uint64_t class_exclusive = 2;
  static constexpr std::uint64_t class_readable = 3;  // plus the number of shares
  static constexpr std::uint64_t share_count_max = 250;

  constexpr PageWord() noexcept = default;
  constexpr explicit PageWord(std::uint64_t raw) noexcept : raw_(raw) {}

  [[nodiscard]] constexpr std::uint64_t raw() const noexcept { return raw_; }
  [[nodiscard]] constexpr std::uint64_t version() const noexcept { return raw_ >> 16; }
  [[nodiscard]] constexpr bool free() const noexcept { return field() == class_free; }
  [[nodiscard]] constexpr bool evicted() const noexcept { return field() == class_evicted; }
  [[nodiscard]] constexpr bool exclusive() const noexcept { return field() == class_exclusive; }
  [[nodiscard]] constexpr bool readable() const noexcept { return field() >= class_readable; }
  /// Shares held; only of a readable word.
  [[nodiscard]] constexpr std::uint64_t share_count() const noexcept {
    return field() - class_readable;
  }
  [[nodiscard]] constexpr bool append() const noexcept { return (raw_ & append_bit) != 0; }
  [[nodiscard]] constexpr bool dirty() const noexcept { return (raw_ & dirty_bit) != 0; }
  [[nodiscard]] constexpr bool io() const noexcept { return (raw_ & io_bit) != 0; }
  [[nodiscard]] constexpr bool waiting() const noexcept { return (raw_ & waiter_bit) != 0; }

  /// Whether what was read under this readable word still holds under `now`: same version,
  /// readable. Shares, append, dirty, io and waiter bits do not matter.
  [[nodiscard]] constexpr bool validates(PageWord now) const noexcept {
    return version() == now.version() && now.readable();
  }
  /// Whether `want` can be had from this word by one compare-and-swap.
  [[nodiscard]] constexpr bool available(Want want) const noexcept {
    switch (want) {
      case Want::read:
        return readable();
      case Want::share:
        return readable() && share_count() < share_count_max;
      case Want::exclusive:
        return field() == class_readable && !append();
      case Want::append:
        return readable() && !append();
      case Want::retire:
        return field() == class_readable && !append() && !io();
      case Want::create:
        return free() && !io();
    }
    return false;
  }
  /// Whether `want` must wait for somebody who will look at the waiter bit. A page that is evicted,
  /// or not free, with nobody at work on it is not waited for: the operation has to act itself.
  [[nodiscard]] constexpr bool blocks(Want want) const noexcept {
    if (exclusive()) return true;
    if (!readable()) return io();
    return want != Want::create && !available(want);
  }
  /// Whether the page may be evicted but for its keep count.
  [[nodiscard]] constexpr bool evictable() const noexcept {
    return available(Want::retire) && !dirty();
  }

  // The transitions. Who may take which is in legal_transition().
  [[nodiscard]] constexpr PageWord shared() const noexcept { return plus(class_one); }
  [[nodiscard]] constexpr PageWord share_released() const noexcept { return minus(class_one); }
  [[nodiscard]] constexpr PageWord latched() const noexcept { return with(class_exclusive); }
  [[nodiscard]] constexpr PageWord released() const noexcept {
    return with(class_readable).plus(version_one);
  }
  [[nodiscard]] constexpr PageWord appending() const noexcept { return set(append_bit); }
  [[nodiscard]] constexpr PageWord append_released() const noexcept { return clear(append_bit); }
  [[nodiscard]] constexpr PageWord dirtied() const noexcept { return set(dirty_bit); }
  [[nodiscard]] constexpr PageWord cleaned() const noexcept { return clear(dirty_bit); }
  [[nodiscard]] constexpr PageWord writing() const noexcept { return cleaned().set(io_bit); }
  [[nodiscard]] constexpr PageWord written(bool success) const noexcept {
    return success ? clear(io_bit) : clear(io_bit).set(dirty_bit);
  }
  [[nodiscard]] constexpr PageWord faulting() const noexcept { return set(io_bit); }
  [[nodiscard]] constexpr PageWord faulted(bool success) const noexcept {
    return success ? with(class_readable).clear(io_bit) : clear(io_bit);
  }
  /// The version changes while the memory is still there; io stays until it is gone.
  [[nodiscard]] constexpr PageWord evicting() const noexcept {
    return with(class_evicted).set(io_bit).plus(version_one);
  }
  [[nodiscard]] constexpr PageWord freeing() const noexcept {
    return with(class_free).clear(dirty_bit).set(io_bit).plus(version_one);
  }
  [[nodiscard]] constexpr PageWord memory_gone() const noexcept { return clear(io_bit); }
  [[nodiscard]] constexpr PageWord waited_for() const noexcept { return set(waiter_bit); }
  [[nodiscard]] constexpr PageWord nobody_waits() const noexcept { return clear(waiter_bit); }

  friend constexpr bool operator==(PageWord, PageWord) noexcept = default;

 private:
  [[nodiscard]] constexpr std::uint64_t field() const noexcept { return (raw_ >> 8) & 0xff; }
  [[nodiscard]] constexpr PageWord set(std::uint64_t bits) const noexcept {
    return PageWord(raw_ | bits);
  }
  [[nodiscard]] constexpr PageWord clear(std::uint64_t bits) const noexcept {
    return PageWord(raw_ & ~bits);
  }
  [[nodiscard]] constexpr PageWord plus(std::uint64_t unit) const noexcept {
    return PageWord(raw_ + unit);
  }
  [[nodiscard]] constexpr PageWord minus(std::uint64_t unit) const noexcept {
    return PageWord(raw_ - unit);
  }
  [[nodiscard]] constexpr PageWord with(std::uint64_t new_class) const noexcept {
    return PageWord((raw_ & ~std::uint64_t{0xff00}) | new_class << 8);
  }

  std::uint64_t raw_ = 0;
};

/// Whether a share given back may let somebody go on: the last one, or the one that makes room.
[[nodiscard]] constexpr bool share_release_unblocks(PageWord before) noexcept {
  return before.share_count() == 1 || before.share_count() == PageWord::share_count_max;
}

/// Every arrow of the protocol; nothing else may happen to a word.
[[nodiscard]] constexpr bool legal_transition(PageWord from, PageWord to) noexcept {
  if (to == from.waited_for() || to == from.nobody_waits()) return true;
  if (from.readable()) {
    return (from.available(Want::share) && to == from.shared()) ||
           (from.share_count() > 0 && to == from.share_released()) ||
           (from.available(Want::exclusive) && to == from.latched()) ||
           (from.share_count() == 1 && !from.append() && to == from.latched()) ||
           (!from.append() && to == from.appending()) ||
           (from.append() && to == from.append_released()) ||
           (from.share_count() > 0 && from.dirty() && !from.io() && to == from.writing()) ||
           (from.io() && (to == from.written(true) || to == from.written(false)));
  }
  if (from.exclusive()) {
    return to == from.released() || to == from.dirtied() || (!from.io() && to == from.cleaned()) ||
           (from.io() && (to == from.written(true) || to == from.written(false))) ||
           (!from.io() && !from.dirty() && to == from.evicting()) ||
           (!from.io() && to == from.freeing());
  }
  if (from.evicted()) {
    return from.io() ? to == from.faulted(true) || to == from.faulted(false)
                     : to == from.faulting();
  }
  return from.io() ? to == from.memory_gone() : to == from.latched();
}

}  // namespace firn::buffer
