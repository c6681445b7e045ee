// The pool's part of a checkpoint: every image last changed under its number, or owed to it, goes
// to the device; then the store publishes.
//   1. begin_checkpoint: from here on changes are made under the next number.
//   2. The frame table is swept. A page that is latched exclusively may still be changed under this
//      number, so the next sweep comes back to it; one that is not was changed before, or will be
//      changed under the next number and then save its image. A frame with nothing left to write is
//      not visited again, so that pages that are latched now and then cannot hold up the end.
//   3. publish.
#include <utility>

#include "base/planted.hpp"
#include "buffer/pool.hpp"

namespace firn::buffer {
namespace {

// Frames looked at before others of the executor run.
constexpr std::uint32_t visits_per_turn = 256;
// Sweeps that end with failed writes before the checkpoint gives up; the next one goes on.
constexpr unsigned failed_sweeps_max = 4;

void let_others_run(runtime::ExecutorCore& executor) noexcept {
  executor.enqueue(*runtime::current_fiber());
  runtime::FiberContext::suspend();
}

}  // namespace

Result<void> Pool::checkpoint(runtime::ExecutorCore& executor,
                              const store::Payload& payload) noexcept {
  FIRN_ASSERT(runtime::current_fiber() != nullptr);
  if (checkpoint_running_.exchange(true)) {
    return fail(ErrorCode::busy, "a checkpoint is being written");
  }
  Result<void> done;
  if (store_.failed()) {
    done = fail(ErrorCode::failed, "the store has failed: reopen it");
  } else {
    if (unfinished_number_ == 0) unfinished_number_ = store_.begin_checkpoint();
    done = write_until(executor, unfinished_number_);
    if (done.has_value()) done = store_.publish(executor, unfinished_number_, payload);
    if (done.has_value()) {
      unfinished_number_ = 0;
      counters_.checkpoints.fetch_add(1, std::memory_order_relaxed);
    }
  }
  checkpoint_running_.store(false);
  return done;
}

// Step 2.
Result<void> Pool::write_until(runtime::ExecutorCore& executor, std::uint64_t number) noexcept {
  Waiter waiter(*this, *runtime::current_fiber());
  unsigned failed_sweeps = 0;
  // Writes end, and fail, mostly while this waits between two sweeps.
  std::uint64_t failed_seen = counters_.failed_write_backs.load();
  // What comes into later entries was loaded, or made under the next number.
  const std::uint32_t end = frames_.end();
  for (bool first = true;; first = false) {
    std::uint64_t left = 0;
    std::uint64_t ended_before = 0;
    write_queue_.with_lock([&]() noexcept { ended_before = writes_ended_; });
    for (std::uint32_t index = 1; index < end; ++index) {
      if (index % visits_per_turn == 0) let_others_run(executor);
      if (!first && frames_[index].swept) continue;
      while (true) {
        const Visit visit = visit_for_checkpoint(executor, index, number);
        frames_[index].swept = visit == Visit::nothing;
        if (visit == Visit::left) ++left;
        if (visit != Visit::no_room) break;
        wait_for_write(waiter);
      }
    }
    if (left == 0) return {};
    if (store_.failed()) return fail(ErrorCode::failed, "the store has failed: reopen it");
    const std::uint64_t failed_now = counters_.failed_write_backs.load();
    if (std::exchange(failed_seen, failed_now) != failed_now &&
        ++failed_sweeps > failed_sweeps_max) {
      Error error;
      write_queue_.with_lock([&]() noexcept { error = write_error_; });
      return fail(error);
    }
    const bool ended = write_queue_.try_or_park(
        waiter, [&]() noexcept { return writes_under_way_ == 0 || writes_ended_ != ended_before; });
    if (!ended) {
      runtime::FiberContext::suspend();
    } else {
      let_others_run(executor);
    }
  }
}

void Pool::wait_for_write(Waiter& waiter) noexcept {
  const bool free =
      write_queue_.try_or_park(waiter, [this]() noexcept { return writes_under_way_ == 0; });
  if (!free) runtime::FiberContext::suspend();
}

// Begins to write what the frame's page owes to the checkpoint.
Pool::Visit Pool::visit_for_checkpoint(runtime::ExecutorCore& executor, std::uint32_t index,
                                       std::uint64_t number) noexcept {
  Frame& frame = frames_[index];
  const PageSlot page = PageSlot::from_bits(frame.page.load(std::memory_order_seq_cst));
  if (!page.valid()) return Visit::nothing;
  const PageWord word = descriptors_[page].state.load_in_order();
  if (word.exclusive()) return Visit::left;
  if (!word.readable() || (!word.dirty() && !word.io())) return Visit::nothing;
  // A change saves the owed image before it moves the stamp on.
  const std::uint64_t stamp = frame.stamp.load(std::memory_order_acquire);
  const std::uint32_t owed = frame.owed.load(std::memory_order_acquire);
  if (owed == 0 && stamp > number) return Visit::nothing;
  if (word.io()) return Visit::left;
  switch (start_write(executor, page, segment::IoClass::checkpoint)) {
    case Write::no_room:
      return Visit::no_room;
    case Write::begun:
    case Write::nothing:
      break;
  }
  return Visit::left;
}

}  // namespace firn::buffer
