// A shared/exclusive latch of one word whose waiters are parked operations, never sleeping threads.
// Shared between threads; held for short stretches without waiting, I/O or user code.
//
// Word: exclusive bit 63, waiter bit 62, count of shared holders below. The waiter bit is set,
// under the bucket's mutex, by whoever parks, and is cleared there by the release that wakes them
// all. While it is set no new shared holder enters, so that readers cannot starve a writer.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/planted.hpp"
#include "base/spin.hpp"
#include "runtime/operation_access.hpp"
#include "runtime/parking_lot.hpp"

namespace firn::runtime {

class Latch {
 public:
  [[nodiscard]] bool try_exclusive() noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    return (word & ~waiters) == 0 &&
           word_.compare_exchange_strong(word, word | exclusive, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }
  [[nodiscard]] bool try_shared() noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while ((word & (exclusive | waiters)) == 0) {
      if (word_.compare_exchange_weak(word, word + 1, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }
  void release_exclusive() noexcept {
    const std::uint64_t before = word_.fetch_and(~exclusive, std::memory_order_release);
    FIRN_DEBUG_ASSERT((before & exclusive) != 0);
    if (FIRN_PLANTED("latch-lost-wakeup")) return;
    if ((before & waiters) != 0) wake();
  }
  void release_shared() noexcept {
    const std::uint64_t before = word_.fetch_sub(1, std::memory_order_release);
    FIRN_DEBUG_ASSERT((before & ~(exclusive | waiters)) != 0);
    if ((before & waiters) == 0 || (before & ~waiters) != 1) return;
    if (FIRN_PLANTED("latch-shared-lost-wakeup")) return;
    wake();
  }

  // Takes the latch, or parks `operation` until it may be free. True: held. False: parked, and the
  // operation starts again when it is woken.
  [[nodiscard]] bool exclusive_or_park(OperationBase& operation) noexcept {
    return acquire_or_park(
        operation, [this]() noexcept { return try_exclusive(); }, ~waiters);
  }
  [[nodiscard]] bool shared_or_park(OperationBase& operation) noexcept {
    return acquire_or_park(
        operation, [this]() noexcept { return try_shared(); }, exclusive | waiters);
  }

  [[nodiscard]] bool held_exclusively() const noexcept {
    return (word_.load(std::memory_order_relaxed) & exclusive) != 0;
  }

 private:
  static constexpr std::uint64_t exclusive = std::uint64_t{1} << 63;
  static constexpr std::uint64_t waiters = std::uint64_t{1} << 62;
  // About 2 microseconds: a holder that is on a processor has finished by then.
  static constexpr int spin_count_max = 64;

  template <class Try>
  bool acquire_or_park(OperationBase& operation, Try&& try_once,
                       std::uint64_t blocked_by) noexcept {
    while (true) {
      for (int spin = 0; spin < spin_count_max; ++spin) {
        if (try_once()) return true;
        base::pause_briefly();
      }
      const bool parked = park_operation(ParkingLot::shared(), this, operation, [&]() noexcept {
        // Set under the bucket's mutex; a release after this sees it and comes for the mutex.
        const std::uint64_t before = word_.fetch_or(waiters, std::memory_order_acq_rel);
        if ((before & blocked_by) != 0) return true;
        if ((before & waiters) == 0) word_.fetch_and(~waiters, std::memory_order_relaxed);
        return false;
      });
      if (parked) return false;
    }
  }

  // Everybody who waits tries again: a handful at most, and shared ones may then enter together.
  void wake() noexcept {
    ParkingLot::shared().unpark(this, ~std::size_t{0}, [this](bool) noexcept {
      word_.fetch_and(~waiters, std::memory_order_relaxed);
    });
  }

  std::atomic<std::uint64_t> word_{0};
};

}  // namespace firn::runtime
