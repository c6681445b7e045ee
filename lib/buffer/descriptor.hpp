// The hot 16 bytes of a page: state word, frame, heat and keep count. Descriptors lie in arrays
// that are touched lazily: zeroes are a free page without a frame. Shared by all threads; `frame`
// is written by the owner of the exclusive latch or of the fault and read after the state word.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include <firn/assertion.hpp>

#include "buffer/page_state.hpp"

namespace firn::buffer {

class Descriptor {
 public:
  /// Outcome of begin_evict() and begin_free(). The waiters are to be woken if `wake` is set.
  struct Retired {
    bool began;
    bool wake;
  };

  PageState state;
  std::atomic<std::uint32_t> frame{0};
  std::atomic<std::uint16_t> heat{0};  // second chance of the clock; a hint

  [[nodiscard]] std::uint16_t keep_count() const noexcept { return keep_.load(); }

  /// Forbids eviction and freeing, not the exclusive latch, until release_keep(). Works on an
  /// evicted page as well: once loaded it stays. False while somebody has the exclusive latch, for
  /// it may be an evictor that has looked at the count already, on a free page, and at the limit of
  /// the count.
  [[nodiscard]] bool try_keep() noexcept {
    if (!add_keep(false).added) return false;
    if (keep_holds()) return true;
    release_keep();
    return false;
  }
  /// For who holds a latch, the append bit, or another keep count of the page.
  [[nodiscard]] bool try_keep_latched() noexcept {
    FIRN_DEBUG_ASSERT(!state.load().evicted() && !state.load().free());
    return add_keep(false).added;
  }
  /// The same in two steps, for who counts the pages that are kept: adds to the count, and says
  /// what it was; with `only_kept` leaves a count of 0 alone.
  struct KeepAdded {
    bool added;
    std::uint16_t before;
  };
  [[nodiscard]] KeepAdded add_keep(bool only_kept) noexcept {
    std::uint16_t count = keep_.load(std::memory_order_relaxed);
    do {
      if (count == std::numeric_limits<std::uint16_t>::max()) return {false, count};
      if (only_kept && count == 0) return {false, count};
    } while (!keep_.compare_exchange_weak(count, static_cast<std::uint16_t>(count + 1),
                                          std::memory_order_seq_cst, std::memory_order_relaxed));
    return {true, count};
  }
  /// Whether a count just added holds; if not it is to be released.
  [[nodiscard]] bool keep_holds() const noexcept {
    const PageWord now(state.word_.load(std::memory_order_seq_cst));
    return !now.exclusive() && !now.free();
  }
  /// Returns whether it was the last one.
  bool release_keep() noexcept {
    const std::uint16_t before = keep_.fetch_sub(1, std::memory_order_seq_cst);
    FIRN_ASSERT(before > 0);
    return before == 1;
  }

  /// Evicts the page if it is unlatched, clean, without io and without keep count. After "began"
  /// the memory is given up, then state.finish_evict() is called.
  [[nodiscard]] Retired begin_evict() noexcept {
    const PageWord seen = state.load();
    if (!seen.evictable()) return {false, false};
    return begin_retire(seen, false);
  }
  /// The same for a page that nobody will want again, dirty or not; then state.finish_free().
  [[nodiscard]] Retired begin_free() noexcept {
    const PageWord seen = state.load();
    if (!seen.available(Want::retire)) return {false, false};
    return begin_retire(seen, true);
  }

 private:
  [[nodiscard]] Retired begin_retire(PageWord seen, bool to_free) noexcept {
    // The look under the latch decides; without this one, evictors that try again and again would
    // change the version under a waiter that has just got its page.
    if (keep_count() > 0) return {false, false};
    const auto takes = [to_free](PageWord word) {
      return word.available(Want::retire) && (to_free || !word.dirty());
    };
    PageWord from = seen;
    do {
      if (from.version() != seen.version() || !takes(from)) return {false, false};
    } while (!state.exchange(from, from.latched()));
    PageState::release_fence();
    if (keep_.load(std::memory_order_seq_cst) > 0) return {false, state.release_exclusive()};
    if (to_free) {
      state.begin_free();
    } else {
      state.begin_evict();
    }
    return {true, false};
  }

  std::atomic<std::uint16_t> keep_{0};
};
static_assert(sizeof(Descriptor) == 16 && alignof(Descriptor) == 8);

}  // namespace firn::buffer
