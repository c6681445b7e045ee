#include "runtime/parking_lot.hpp"

#include <pthread.h>

#include <memory>
#include <type_traits>

#include "runtime/executor_core.hpp"

namespace firn::runtime {

namespace {
// Built by the compiler: a static of a function would have the first comers sleep on its guard.
constinit ParkingLot shared_lot;
static_assert(std::is_trivially_destructible_v<ParkingLot>);  // a late unpark stays harmless
}  // namespace

ParkingLot& ParkingLot::shared() noexcept { return shared_lot; }

void ParkingLot::watch_forks() noexcept {
  [[maybe_unused]] static const int registered =
      ::pthread_atfork(nullptr, nullptr, [] { std::construct_at(&shared_lot); });
}

Runnable* ParkingLot::take(Bucket& bucket, const void* key, std::size_t count_max,
                           std::size_t& count) noexcept {
  Runnable* woken = nullptr;
  Runnable** woken_end = &woken;
  Runnable* before = nullptr;
  Runnable* candidate = bucket.first;
  while (candidate != nullptr && count < count_max) {
    Runnable* next = candidate->next;
    if (candidate->wait_key.load(std::memory_order_relaxed) == key) {
      (before == nullptr ? bucket.first : before->next) = next;
      if (bucket.last == candidate) bucket.last = before;
      candidate->wait_key.store(nullptr, std::memory_order_relaxed);
      candidate->next = nullptr;
      *woken_end = candidate;
      woken_end = &candidate->next;
      ++count;
    } else {
      before = candidate;
    }
    candidate = next;
  }
  return woken;
}

bool ParkingLot::has_waiter(const Bucket& bucket, const void* key) noexcept {
  for (const Runnable* waiter = bucket.first; waiter != nullptr; waiter = waiter->next) {
    if (waiter->wait_key.load(std::memory_order_relaxed) == key) return true;
  }
  return false;
}

void ParkingLot::wake_all(Runnable* woken) noexcept {
  while (woken != nullptr) {
    Runnable* next = woken->next;
    ExecutorCore::wake(*woken);
    woken = next;
  }
}

bool ParkingLot::withdraw(Runnable& runnable) noexcept {
  const void* key = runnable.wait_key.load(std::memory_order_relaxed);
  if (key == nullptr) return false;
  Bucket& bucket = bucket_of(key);
  const base::SpinGuard guard(bucket.mutex);
  Runnable* before = nullptr;
  for (Runnable* waiter = bucket.first; waiter != nullptr; waiter = waiter->next) {
    if (waiter == &runnable) {
      (before == nullptr ? bucket.first : before->next) = runnable.next;
      if (bucket.last == &runnable) bucket.last = before;
      runnable.wait_key.store(nullptr, std::memory_order_relaxed);
      runnable.next = nullptr;
      return true;
    }
    before = waiter;
  }
  return false;
}

}  // namespace firn::runtime
