// Who waits for pages and for what pages need, and the two kinds of queue it stands in besides the
// parking lot: amounts that are granted in order of arrival, and room that is tried for again.
//
// Who waits for whom, so that no cycle can form and somebody always gets on:
//   1. What is needed for pages is taken in one order: the permission to make some, a ticket (for
//      the keep count on the page that is wanted), the permission for a read, memory. Who has to
//      wait for one of these holds none of those behind it, and no latch but of pages that it has
//      made and that nobody knows yet.
//   2. Memory, the last, is made by the cleaner, who needs none of these. It is pinned by nobody
//      who waits for one: a page with a keep count is on its way in, or its waiter runs next. Where
//      one of several that want a page has brought it in, the cleaner, once there is nothing else
//      to evict or to write, wakes those who still wait for the means to.
//   3. But for two waiters, which keep all that they have waited for until they are done: the one
//      of background work, on which others wait (a checkpoint, a table that is made), and one
//      operation, favoured when others took its pages away again and again. They take tickets and
//      permissions whether there are some or not, have reads set aside, and stand first in the
//      queue for memory. Background work pins a third of the frames at most, the favoured operation
//      the rest, so both go on whatever the others hold, as long as their executors are ticked.
//   4. Who cannot be helped is told `no_memory`: who wants a page that is larger than half of the
//      frames there are, or its share of them by 3; and who is not done, by 3, after it has loaded
//      more pages than any operation needs.
// Frames are what the budget leaves beside buffers and maps. These grow with the data, so frames
// may become fewer while somebody waits; the cleaner then wakes those who wait for too much, or
// with too much, and what they do next is by 3 and 4.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include <firn/result.hpp>

#include "base/planted.hpp"
#include "base/spin.hpp"
#include "buffer/page_slot.hpp"
#include "runtime/fiber.hpp"
#include "runtime/operation_access.hpp"

namespace firn::buffer {

class Pool;
class Quota;
struct FaultRecord;

/// One per operation or fiber, inside it. What it was granted for one page it holds while it comes
/// to that page again, past others that it latches, until it waits for something else. The rest is
/// given back by `done`, which the destructor calls: an operation that was cancelled while it
/// waited never runs again.
class Waiter {
 public:
  Waiter(Pool& pool, OperationBase& operation) noexcept;
  Waiter(Pool& pool, runtime::Fiber& fiber) noexcept : pool_(pool), runnable_(fiber) {}
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// All pages are latched, or none is wanted any more; new ones are freed, or it waits no longer.
  void done() noexcept;

  bool scan = false;        ///< what it loads may be evicted at once
  bool background = false;  ///< by 3; one at a time, and from its first wait on

 private:
  friend class Pool;
  friend class Quota;
  friend class WaitQueue;

  // The runnable is about to belong to whoever wakes it.
  void commit() noexcept {
    if (operation_ != nullptr) OperationAccess::prepare_wait(*operation_);
  }
  void wake() noexcept { runtime::ExecutorCore::wake(runnable_); }
  /// One of the two of 3.
  [[nodiscard]] bool urgent() const noexcept {
    return (background && !FIRN_PLANTED("pool-background-waits")) || favoured_;
  }

  Pool& pool_;
  runtime::Runnable& runnable_;
  OperationBase* operation_ = nullptr;  // null: a fiber

  PageSlot kept_;  // holds a keep count
  // Of an urgent one: keep counts of the pages it waited for before.
  std::array<PageSlot, 7> held_;
  std::uint64_t held_bytes_ = 0;
  std::uint8_t held_count_ = 0;
  bool favoured_ = false;
  std::uint32_t fault_count_ = 0;  // since it became urgent, if it is
  FaultRecord* fault_ = nullptr;   // the read it waited for
  std::uint64_t creation_ = 0;     // granted, of new pages
  std::uint64_t ticket_ = 0;       // granted, not yet used for a keep count
  std::uint64_t memory_ = 0;       // granted
  std::uint64_t read_ = 0;         // granted: 1

  // While it stands in a queue, under the queue's lock.
  Waiter* next_ = nullptr;
  std::uint64_t wanted_ = 0;
  std::uint64_t* grant_ = nullptr;
  bool refused_ = false;  // woken because there is no hope; `error_` says why
  Error error_;
};

/// An amount of something of which there is so much: bytes of memory, tickets, reads. Shared.
///   1. Nobody overtakes but who is urgent, and not another one who is: while somebody waits, what
///      is given back goes to the first one.
///   2. What is granted counts as taken before the waiter wakes.
///   3. With `one_always`, nobody waits for ever where the limit has become less than one wants:
///   who
///      is alone gets it.
class Quota {
 public:
  explicit Quota(bool one_always = false) noexcept : one_always_(one_always) {}

  /// Takes `amount` if it is there and nobody waits for some; who is urgent does not look at that.
  [[nodiscard]] bool take(std::uint64_t amount, bool urgent) noexcept;
  /// Counts it even beyond the limit.
  void force(std::uint64_t amount) noexcept { used_.fetch_add(amount); }
  void give(std::uint64_t amount) noexcept;
  /// Parks the waiter until `amount` has been granted: then `grant` holds it.
  void park(Waiter& waiter, std::uint64_t amount, std::uint64_t& grant) noexcept;
  /// Wakes everybody with an error.
  void refuse(const Error& error) noexcept;
  /// Wakes, to look again, those of whom `is_stale(waiter)` is true. What they hold is not changed
  /// meanwhile.
  template <class IsStale>
  void rouse(IsStale&& is_stale) noexcept {
    Waiter* roused = nullptr;
    {
      const base::SpinGuard guard(lock_);
      last_ = nullptr;
      for (Waiter** place = &first_; *place != nullptr;) {
        Waiter& waiter = **place;
        if (is_stale(waiter)) {
          *place = waiter.next_;
          waiter.next_ = std::exchange(roused, &waiter);
        } else {
          last_ = &waiter;
          place = &waiter.next_;
        }
      }
      waiting_.store(first_ != nullptr);
    }
    while (roused != nullptr) std::exchange(roused, roused->next_)->wake();
    grant();
  }
  void set_limit(std::uint64_t limit) noexcept;
  /// Of the limit, what only who is urgent may take.
  void set_reserve(std::uint64_t reserve) noexcept { reserve_.store(reserve); }

  [[nodiscard]] std::uint64_t used() const noexcept { return used_.load(); }
  [[nodiscard]] std::uint64_t limit() const noexcept { return limit_.load(); }
  [[nodiscard]] std::uint64_t reserve() const noexcept { return reserve_.load(); }
  [[nodiscard]] bool waited_for() const noexcept { return waiting_.load(); }

 private:
  [[nodiscard]] bool add(std::uint64_t amount, std::uint64_t reserve) noexcept;
  void grant() noexcept;

  const bool one_always_;
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> limit_{0};
  std::atomic<std::uint64_t> reserve_{0};
  std::atomic<bool> waiting_{false};
  base::SpinLock lock_;
  Waiter* first_ = nullptr;  // under lock_
  Waiter* last_ = nullptr;
};

/// Waiters that try again, all of them, whenever something was given back: for the few who wait for
/// buffers. Shared.
class WaitQueue {
 public:
  /// Parks the waiter unless `try_once()` succeeds; true: it did.
  template <class Try>
  [[nodiscard]] bool try_or_park(Waiter& waiter, Try&& try_once) noexcept {
    const base::SpinGuard guard(lock_);
    if (try_once()) return true;
    waiter.next_ = nullptr;
    waiter.commit();
    (last_ == nullptr ? first_ : last_->next_) = &waiter;
    last_ = &waiter;
    return false;
  }
  /// `give()` runs under the lock under which waiters try.
  template <class Give>
  void give(Give&& give) noexcept {
    Waiter* waiter = nullptr;
    {
      const base::SpinGuard guard(lock_);
      give();
      waiter = first_;
      first_ = nullptr;
      last_ = nullptr;
    }
    while (waiter != nullptr) {
      Waiter* next = waiter->next_;
      waiter->wake();
      waiter = next;
    }
  }
  template <class Look>
  [[nodiscard]] auto with_lock(Look&& look) noexcept {
    const base::SpinGuard guard(lock_);
    return look();
  }

 private:
  base::SpinLock lock_;
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

}  // namespace firn::buffer
