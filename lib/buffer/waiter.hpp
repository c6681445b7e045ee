// Who waits for pages and for what pages need, and the two kinds of queue it stands in besides the
// parking lot: amounts that are granted in order of arrival, and room that is tried for again.
//
// What a waiter may hold while it is parked, in the order in which it is taken, so that no cycle
// can form: the permission for pages that it makes, a keep count on the page it wants (a ticket),
// the permission for one read, memory. It holds no latch but those of pages that it has made and
// that nobody knows yet, and whoever is asked for one of them never waits for those before it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include <firn/result.hpp>

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
  bool background = false;  ///< may use the memory set aside for what makes room

 private:
  friend class Pool;
  friend class Quota;
  friend class WaitQueue;

  // The runnable is about to belong to whoever wakes it.
  void commit() noexcept {
    if (operation_ != nullptr) OperationAccess::prepare_wait(*operation_);
  }
  void wake() noexcept { runtime::ExecutorCore::wake(runnable_); }

  Pool& pool_;
  runtime::Runnable& runnable_;
  OperationBase* operation_ = nullptr;  // null: a fiber

  PageSlot kept_;  // holds a keep count
  // Of the one waiter that was favoured: keep counts of the pages it waited for before.
  std::array<PageSlot, 7> held_;
  std::uint8_t held_count_ = 0;
  bool favoured_ = false;
  std::uint32_t fault_count_ = 0;
  FaultRecord* fault_ = nullptr;  // the read it waited for
  std::uint64_t creation_ = 0;    // granted, of new pages
  std::uint64_t ticket_ = 0;      // granted, not yet used for a keep count
  std::uint64_t memory_ = 0;      // granted
  std::uint64_t read_ = 0;        // granted: 1

  // While it stands in a queue, under the queue's lock.
  Waiter* next_ = nullptr;
  std::uint64_t wanted_ = 0;
  std::uint64_t* grant_ = nullptr;
  bool refused_ = false;  // woken because there is no hope; `error_` says why
  Error error_;
};

/// An amount of something of which there is so much: bytes of memory, tickets, reads. Shared.
///   1. Nobody overtakes: while somebody waits, what is given back goes to the first one.
///   2. What is granted counts as taken before the waiter wakes.
///   3. With `one_always`, nobody waits for ever where the limit has become less than one wants:
///   who
///      is alone gets it.
class Quota {
 public:
  explicit Quota(bool one_always = false) noexcept : one_always_(one_always) {}

  /// Takes `amount` if it is there and nobody waits for some; background work waits for nobody.
  [[nodiscard]] bool take(std::uint64_t amount, bool background) noexcept;
  /// Counts it even beyond the limit.
  void force(std::uint64_t amount) noexcept { used_.fetch_add(amount); }
  void give(std::uint64_t amount) noexcept;
  /// Parks the waiter until `amount` has been granted: then `grant` holds it.
  void park(Waiter& waiter, std::uint64_t amount, std::uint64_t& grant) noexcept;
  /// Wakes everybody with an error.
  void refuse_all(const Error& error) noexcept;
  void set_limit(std::uint64_t limit) noexcept;
  /// Of the limit, what only background work may take.
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
