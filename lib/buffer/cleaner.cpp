#include "buffer/cleaner.hpp"
#include "buffer/prefetch.hpp"

#include <algorithm>
#include <utility>

#include "base/allocation.hpp"

namespace firn::buffer {
namespace {

// Frames looked at in one round before others of the executor run.
constexpr std::uint32_t visits_per_round = 1024;
// How far the cleaner writes ahead of the clock: frames, and part of all.
constexpr std::uint64_t ahead_max = 4096;
constexpr std::uint64_t ahead_part = 4;
// Rounds of the whole clock that may pass over pages because they were used or latched.
constexpr unsigned vain_rounds_max = 12;
constexpr auto alarm_delay = std::chrono::milliseconds(1);

}  // namespace

Pool::Cleaner::Cleaner(Pool& pool, runtime::ExecutorCore& executor) noexcept
    : pool_(pool), executor_(executor) {
  timer_.pool = &pool;
  timer_.home = &executor;
  timer_.run = [](runtime::Runnable& runnable) noexcept {
    static_cast<Alarm&>(runnable).pool->kick();
  };
}

Result<void> Pool::Cleaner::start() noexcept {
  FIRN_TRY_ASSIGN(fiber_,
                  executor_.fibers().prepare(executor_, sizeof(Cleaner*), alignof(Cleaner*)));
  *static_cast<Cleaner**>(fiber_->memory) = this;
  ended_.store(false);
  runtime::FiberPool::start(*fiber_, [](void* memory) noexcept {
    Cleaner& self = **static_cast<Cleaner**>(memory);
    self.run();
    self.ended_.store(true);
  });
  return {};
}

void Pool::Cleaner::run() noexcept {
  unsigned vain_rounds = 0;
  while (!stop_.load()) {
    pool_.work_pending_.store(false);
    pool_.refresh_store_bytes();
    if (!pool_.under_pressure()) {
      vain_rounds = 0;
      sleep(false);
      continue;
    }
    const std::uint64_t limit = pool_.bytes_.limit();
    const std::uint64_t wanted = pool_.bytes_.used() + pool_.low_bytes();
    const std::uint64_t evicted = pool_.evict(
        std::max<std::uint64_t>(wanted > limit ? wanted - limit : 0, smallest_page_bytes),
        visits_per_round);
    const bool begun = clean_ahead(evicted == 0);
    const auto [failed_row, error] = pool_.write_queue_.with_lock(
        [this]() noexcept { return std::pair(pool_.writes_failed_row_, pool_.write_error_); });
    const int refused = pool_.release_error_.load(std::memory_order_relaxed);
    const bool failing = failed_row > 0 || refused != 0 || pool_.store_.failed();
    if (evicted > 0 || (begun && !failing)) {
      vain_rounds = 0;
    } else if (failing || ++vain_rounds * visits_per_round >
                              vain_rounds_max * std::uint64_t{pool_.frames_.end()}) {
      vain_rounds = 0;
      if (refused != 0) {
        pool_.bytes_.refuse(
            fail_system(ErrorCode::no_memory, refused, "the kernel takes no memory back").error);
      } else if (pool_.store_.failed() || failed_row >= failed_row_max) {
        pool_.bytes_.refuse(
            failed_row > 0 ? error
                           : fail(ErrorCode::failed, "the store takes no writes any more").error);
      } else {
        pool_.rouse_stale();
      }
      // Writes that succeed wake it; a device that refuses them is not asked all the time.
      sleep(true);
      continue;
    }
    executor_.enqueue(*fiber_);
    runtime::FiberContext::suspend();
  }
}

// Writes what the clock will come to; whether a write was begun. With `far` it looks at all frames:
// a hand that goes round without finding anything may stop at the same place again and again.
bool Pool::Cleaner::clean_ahead(bool far) noexcept {
  const std::uint32_t in_use = pool_.frames_.end() - 1;
  if (in_use == 0) return false;
  const std::uint64_t hand = pool_.hand_.load(std::memory_order_relaxed);
  const std::uint64_t near = std::clamp<std::uint64_t>(
      in_use / ahead_part, std::min<std::uint64_t>(in_use, 64), ahead_max);
  const std::uint64_t ahead = far ? in_use : near;
  if (clean_hand_ < hand || clean_hand_ >= hand + ahead) clean_hand_ = hand;
  bool begun = false;
  const std::uint64_t end = std::min(hand + ahead, clean_hand_ + visits_per_round);
  for (; clean_hand_ < end; ++clean_hand_) {
    const auto index = static_cast<std::uint32_t>(1 + clean_hand_ % in_use);
    const PageSlot page =
        PageSlot::from_bits(pool_.frames_[index].page.load(std::memory_order_acquire));
    if (!page.valid()) continue;
    if (pool_.descriptors_[page].heat.load(std::memory_order_relaxed) > 1) continue;
    const Write write = pool_.start_write(executor_, page, segment::IoClass::write_back);
    if (write == Write::no_room) break;
    begun = begun || write == Write::begun;
  }
  return begun;
}

void Pool::Cleaner::sleep(bool with_alarm) noexcept {
  if (with_alarm) static_cast<void>(executor_.schedule(timer_, executor_.now() + alarm_delay));
  const bool parked = runtime::ParkingLot::shared().park(
      &pool_.work_pending_, *fiber_,
      [this]() noexcept { return !pool_.work_pending_.load() && !stop_.load(); }, []() noexcept {});
  if (parked) {
    runtime::FiberContext::suspend();
  } else {
    executor_.enqueue(*fiber_);
    runtime::FiberContext::suspend();
  }
}

Result<void> Pool::start_background(runtime::ExecutorCore& executor) noexcept {
  FIRN_ASSERT(cleaner_ == nullptr);
  std::unique_ptr<Cleaner> cleaner(new (std::nothrow) Cleaner(*this, executor));
  if (cleaner == nullptr) return fail(ErrorCode::no_memory);
  FIRN_TRY(
      base::guard_allocation([&] { prefetches_ = std::make_unique<Prefetch[]>(prefetch_count); }));
  FIRN_TRY(cleaner->start());
  cleaner_ = std::move(cleaner);
  return {};
}

void Pool::end_background() noexcept {
  if (cleaner_ == nullptr) return;
  cleaner_->end();
  work_pending_.store(true);
  runtime::ParkingLot::shared().unpark_all(&work_pending_);
}

bool Pool::background_ended() noexcept {
  if (cleaner_ != nullptr && !cleaner_->ended()) return false;
  if (prefetches_under_way_.load() > 0 || reads_.used() > 0) return false;
  if (requests_elsewhere()) return false;
  return write_queue_.with_lock([this]() noexcept { return writes_under_way_ == 0; });
}

void Pool::stop_background() noexcept {
  if (cleaner_ == nullptr) return;
  end_background();
  runtime::ExecutorCore& executor = cleaner_->executor();
  while (!background_ended()) {
    if (executor.tick(std::chrono::nanoseconds::zero()) == 0 && !background_ended()) {
      executor.wait_for_work();
    }
  }
  cleaner_.reset();
}

bool Pool::is_background(const runtime::ExecutorCore& executor) const noexcept {
  return cleaner_ != nullptr && &cleaner_->executor() == &executor;
}

void Pool::kick() noexcept {
  if (work_pending_.load(std::memory_order_relaxed) || work_pending_.exchange(true)) return;
  runtime::ParkingLot::shared().unpark_all(&work_pending_);
}

std::uint64_t Pool::low_bytes() const noexcept {
  return std::max<std::uint64_t>(frame_limit() / 64, smallest_page_bytes);
}

bool Pool::under_pressure() const noexcept {
  return bytes_.used() + low_bytes() / 2 > bytes_.limit() || bytes_.waited_for();
}

}  // namespace firn::buffer
