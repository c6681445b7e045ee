// Where runnables wait for latches, pages and room: 1,024 buckets by the address of what is waited
// for, so that a latch needs one bit of its own and no memory. Shared between threads.
//   1. A runnable is parked only if the caller's condition still holds under the bucket's mutex;
//   who
//      ends the condition changes it first and then unparks: so no wake-up is lost.
//   2. After `park` returned true the runnable belongs to the lot, then to its home executor.
//   3. No thread sleeps here: the mutex is held for a few instructions, never across user code.
// After WebKit's parking lot (F. Pizlo, "Locking in WebKit", 2016).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <firn/operation.hpp>

#include "base/planted.hpp"
#include "base/random.hpp"
#include "base/spin.hpp"

namespace firn::runtime {

using detail::Runnable;

class ParkingLot {
 public:
  static constexpr std::size_t bucket_count = 1024;

  /// The process's lot. Its memory is never freed, so that a late unpark stays harmless.
  static ParkingLot& shared() noexcept;
  /// From now on forked children find it empty, whatever their parent's threads were doing with it.
  /// Any thread, any number of times.
  static void watch_forks() noexcept;

  /// Appends `runnable` to the waiters of `key` if `still_blocked()`; `committed()` is called just
  /// before, when the runnable is about to belong to the lot. Neither may wait or park.
  template <class StillBlocked, class Committed>
  bool park(const void* key, Runnable& runnable, StillBlocked&& still_blocked,
            Committed&& committed) noexcept {
    Bucket& bucket = bucket_of(key);
    const base::SpinGuard guard(bucket.mutex);
    if (!FIRN_PLANTED("park-without-check") && !still_blocked()) return false;
    committed();
    runnable.wait_key.store(key, std::memory_order_relaxed);
    runnable.next = nullptr;
    (bucket.last == nullptr ? bucket.first : bucket.last->next) = &runnable;
    bucket.last = &runnable;
    return true;
  }

  /// Wakes up to `count_max` waiters of `key` in order of arrival and returns how many.
  /// `settle(remain)` is called under the bucket's mutex with whether waiters of the key remain.
  template <class Settle>
  std::size_t unpark(const void* key, std::size_t count_max, Settle&& settle) noexcept {
    Bucket& bucket = bucket_of(key);
    Runnable* woken = nullptr;
    std::size_t count = 0;
    {
      const base::SpinGuard guard(bucket.mutex);
      woken = take(bucket, key, count_max, count);
      settle(has_waiter(bucket, key));
    }
    wake_all(woken);
    return count;
  }
  std::size_t unpark_all(const void* key) noexcept {
    return unpark(key, ~std::size_t{0}, [](bool) {});
  }

  /// Takes `runnable` out of the lot. False: it was woken already and is on its way home.
  bool withdraw(Runnable& runnable) noexcept;

 private:
  struct alignas(64) Bucket {
    base::SpinLock mutex;
    Runnable* first = nullptr;
    Runnable* last = nullptr;
  };

  Bucket& bucket_of(const void* key) noexcept {
    const auto word = reinterpret_cast<std::uintptr_t>(key);
    return buckets_[base::Random::mix(word) % bucket_count];
  }
  static Runnable* take(Bucket& bucket, const void* key, std::size_t count_max,
                        std::size_t& count) noexcept;
  static bool has_waiter(const Bucket& bucket, const void* key) noexcept;
  static void wake_all(Runnable* woken) noexcept;

  std::array<Bucket, bucket_count> buckets_;
};

}  // namespace firn::runtime
