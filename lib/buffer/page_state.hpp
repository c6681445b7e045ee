// The state word of a page, shared by every thread: latch, version, residence and waiters in 64
// bits. Its fields are those of page_word.hpp; tests/model/ proves the protocol below.
//
// Reading optimistically
//   1. optimistic_begin() gives a word that is neither exclusive, evicted nor free.
//   2. Frame number and chain head are read after that, and bytes are copied out by
//   copy_optimistic().
//   3. validate() says whether the copy is one state of the page. Shares, appends, write-back and
//      waiters do not disturb it.
//   Before 3 a copied byte may be torn, of a later content, or of another page. It may be compared,
//   and used as an offset after clamping to the page; it may not be followed, looped on or handed
//   out. A child's word is taken before its parent is validated, and used after.
//
// Writing
//   1. try_exclusive(seen) takes the latch only if nothing changed since `seen`, so a writer needs
//   no
//      second look at what it read optimistically. It ends with a release fence.
//   2. mark_dirty(), then store_page().
//   3. release_exclusive() adds 1 to the version. What returns true must wake the waiters.
//   The append bit excludes the exclusive latch and other appenders, nobody else; it protects what
//   lies beside the page and publishes itself by its own count, hence it leaves the version alone.
//
// Memory orders
//   The reader is a sequence lock. If a copied byte came from a store under X, then the writer's
//   release fence, before that store, synchronises with the reader's acquire fence, after that
//   load; so the reader's second look at the word sees X or a later value, and X, evicted and free
//   do not validate. In the other direction the word read first was stored with release by whoever
//   published the bytes. ThreadSanitizer does not model fences: there the page's bytes are relaxed
//   atomics (optimistic_read.hpp) and the fences are left out. A keep count and the exclusive latch
//   of an evictor meet like Dekker's two flags: each side writes its own word and then reads the
//   other's, all seq_cst (descriptor.hpp).
//
// Parking and waking
//   Under the lock of the waiter list of the page: a waiter calls mark_waiting(), which fails if
//   there is nothing left to wait for, and enters the list; a waker takes the whole list and calls
//   clear_waiting(). A call that returns "wake" was the release of something that a waiter may
//   want; the bit stays until the list is taken, so a release in between wakes at worst twice,
//   never not at all. Nobody parks on a keep count: who is refused because of one comes back later.
//
// Faults and write-back: one transfer at a time, owned by whoever set the io bit. It is no latch:
// io forbids eviction and freeing, and an evicted page with io is somebody's fault, or memory on
// its way out; whoever wants the page parks.
#pragma once

#include <atomic>
#include <cstdint>

#include <firn/assertion.hpp>

#include "buffer/page_word.hpp"

#if defined(__SANITIZE_THREAD__)
#define FIRN_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIRN_THREAD_SANITIZER 1
#endif
#endif

namespace firn::buffer {

/// Shared by all threads. A call that returns a plain bool named "wake" in its comment has to be
/// followed, if it is true, by waking the page's waiters.
class PageState {
 public:
  constexpr PageState() noexcept = default;
  constexpr explicit PageState(PageWord word) noexcept : word_(word.raw()) {}

  [[nodiscard]] PageWord load() const noexcept {
    return PageWord(word_.load(std::memory_order_acquire));
  }

  /// In one order with everybody's latching: for who has changed something else first, and asks
  /// whether somebody latched before that.
  [[nodiscard]] PageWord load_in_order() const noexcept {
    return PageWord(word_.load(std::memory_order_seq_cst));
  }

  /// The word to read under, or nothing if the page cannot be read now. As std::optional, whose
  /// flag of its own costs more than all the rest.
  class Seen {
   public:
    constexpr explicit Seen(PageWord word) noexcept : word_(word) {}
    [[nodiscard]] constexpr bool has_value() const noexcept { return word_.readable(); }
    constexpr explicit operator bool() const noexcept { return has_value(); }
    [[nodiscard]] constexpr PageWord operator*() const noexcept { return word_; }

   private:
    PageWord word_;
  };
  [[nodiscard]] Seen optimistic_begin() const noexcept { return Seen(load()); }
  /// Whether everything copied since `seen` was loaded is one state of the page.
  [[nodiscard]] bool validate(PageWord seen) const noexcept {
    FIRN_DEBUG_ASSERT(seen.readable());
#ifdef FIRN_THREAD_SANITIZER
    return seen.validates(load());
#else
    std::atomic_thread_fence(std::memory_order_acquire);
    const PageWord now(word_.load(std::memory_order_relaxed));
    return now == seen || seen.validates(now);  // mostly nothing at all has changed
#endif
  }

  // Latches. `seen` is a word loaded before; they fail if the version has moved or the latch is
  // held, and repeat what failed only through bits that do not matter.
  [[nodiscard]] bool try_share(PageWord seen) noexcept {
    return take(seen, Want::share, [](PageWord word) { return word.shared(); });
  }
  /// Returns wake.
  [[nodiscard]] bool release_share() noexcept {
    const PageWord from(word_.fetch_sub(PageWord::class_one, std::memory_order_release));
    FIRN_ASSERT(from.readable() && from.share_count() > 0);
    check(from, from.share_released());
    return from.waiting() && share_release_unblocks(from);
  }
  [[nodiscard]] bool try_exclusive(PageWord seen) noexcept {
    return take(seen, Want::exclusive, [](PageWord word) { return word.latched(); });
  }
  /// From the only share to the exclusive latch. On failure the share is still held.
  [[nodiscard]] bool try_upgrade() noexcept {
    PageWord from = load();
    do {
      FIRN_ASSERT(from.readable() && from.share_count() > 0);
      if (from.share_count() != 1 || from.append()) return false;
    } while (!exchange(from, from.latched()));
    release_fence();
    return true;
  }
  /// Adds 1 to the version and keeps the waiter bit. Returns wake.
  [[nodiscard]] bool release_exclusive() noexcept {
    constexpr std::uint64_t step =
        PageWord::version_one +
        (PageWord::class_readable - PageWord::class_exclusive) * PageWord::class_one;
    const PageWord from(word_.fetch_add(step, std::memory_order_release));
    FIRN_ASSERT(from.exclusive());
    check(from, PageWord(from.raw() + step));
    return from.waiting();
  }
  [[nodiscard]] bool try_append(PageWord seen) noexcept {
    return take(seen, Want::append, [](PageWord word) { return word.appending(); });
  }
  /// Returns wake.
  [[nodiscard]] bool release_append() noexcept {
    const PageWord from(word_.fetch_and(~PageWord::append_bit, std::memory_order_release));
    FIRN_ASSERT(from.readable() && from.append());
    check(from, from.append_released());
    return from.waiting();
  }

  // Under the exclusive latch.
  void mark_dirty() noexcept {
    const PageWord from(word_.fetch_or(PageWord::dirty_bit, std::memory_order_relaxed));
    FIRN_ASSERT(from.exclusive());
    check(from, from.dirtied());
  }
  /// The image is kept elsewhere, or nobody wants it any more. No transfer is under way.
  void clear_dirty() noexcept {
    const PageWord from(word_.fetch_and(~PageWord::dirty_bit, std::memory_order_relaxed));
    FIRN_ASSERT(from.exclusive() && !from.io());
    check(from, from.cleaned());
  }

  /// Under a share: claims the one transfer of a dirty page and clears dirty, before the copy is
  /// made.
  [[nodiscard]] bool begin_write_back() noexcept {
    PageWord from = load();
    do {
      FIRN_ASSERT(from.readable() && from.share_count() > 0);
      if (!from.dirty() || from.io()) return false;
    } while (!exchange(from, from.writing()));
    return true;
  }
  /// The image is on the device, or is not: then the page is dirty again. Needs no latch. Returns
  /// wake.
  [[nodiscard]] bool finish_write_back(bool success) noexcept {
    PageWord from = load();
    do {
      FIRN_ASSERT(from.io() && (from.readable() || from.exclusive()));
    } while (!exchange(from, from.written(success)));
    return from.waiting();
  }

  /// Claims the one read of an evicted page. False: somebody else did, or it is not evicted.
  [[nodiscard]] bool begin_fault() noexcept {
    PageWord from = load();
    do {
      if (!from.evicted() || from.io()) return false;
    } while (!exchange(from, from.faulting()));
    release_fence();
    return true;
  }
  /// Publishes the page, loaded and checked, or gives it back as evicted. Returns wake.
  [[nodiscard]] bool finish_fault(bool success) noexcept {
    PageWord from = load();
    do {
      FIRN_ASSERT(from.evicted() && from.io());
    } while (!exchange(from, from.faulted(success)));
    return from.waiting();
  }

  /// Under the exclusive latch, clean, without io, and no keep count seen under the latch: the
  /// latch turns into "evicted" with io, and readers from before cannot validate. Then the memory
  /// goes.
  void begin_evict() noexcept {
    retire([](PageWord word) { return word.evicting(); });
  }
  /// The memory is gone. Returns wake.
  [[nodiscard]] bool finish_evict() noexcept { return memory_gone(); }
  /// As begin_evict(), dirty or not; the id can be created again after finish_free().
  void begin_free() noexcept {
    retire([](PageWord word) { return word.freeing(); });
  }
  /// Returns wake.
  [[nodiscard]] bool finish_free() noexcept { return memory_gone(); }
  /// A free page, or one never used, to the exclusive latch of its creator.
  [[nodiscard]] bool try_create() noexcept {
    PageWord from = load();
    do {
      if (!from.available(Want::create)) return false;
    } while (!exchange(from, from.latched()));
    release_fence();
    return true;
  }

  /// Under the lock of the waiter list. False: what was wanted may be there now, try again.
  [[nodiscard]] bool mark_waiting(Want want) noexcept {
    PageWord from = load();
    do {
      if (!from.blocks(want)) return false;
    } while (!exchange(from, from.waited_for()));
    return true;
  }
  /// Under the lock of the waiter list, which is empty now.
  void clear_waiting() noexcept {
    word_.fetch_and(~PageWord::waiter_bit, std::memory_order_acq_rel);
  }

 private:
  friend class Descriptor;

  static void check([[maybe_unused]] PageWord from, [[maybe_unused]] PageWord to) noexcept {
    FIRN_DEBUG_ASSERT(legal_transition(from, to));
  }
  // On failure `from` is the word as it is now.
  [[nodiscard]] bool exchange(PageWord& from, PageWord to) noexcept {
    std::uint64_t raw = from.raw();
    if (word_.compare_exchange_weak(raw, to.raw(), std::memory_order_seq_cst,
                                    std::memory_order_acquire)) {
      check(from, to);
      return true;
    }
    from = PageWord(raw);
    return false;
  }
  template <class Transition>
  [[nodiscard]] bool take(PageWord seen, Want want, Transition transition) noexcept {
    PageWord from = seen;
    do {
      if (from.version() != seen.version() || !from.available(want)) return false;
    } while (!exchange(from, transition(from)));
    if (want != Want::share) release_fence();
    return true;
  }
  // Only waiters can touch the word meanwhile.
  template <class Transition>
  void retire(Transition transition) noexcept {
    PageWord from = load();
    do {
      FIRN_ASSERT(from.exclusive() && !from.io());
      FIRN_ASSERT(!from.dirty() || transition(from).free());
    } while (!exchange(from, transition(from)));
    release_fence();
  }
  [[nodiscard]] bool memory_gone() noexcept {
    const PageWord from(word_.fetch_and(~PageWord::io_bit, std::memory_order_release));
    FIRN_ASSERT((from.evicted() || from.free()) && from.io());
    check(from, from.memory_gone());
    return from.waiting();
  }
  // Before the first store to memory that a late optimistic reader may still be copying.
  static void release_fence() noexcept {
#ifndef FIRN_THREAD_SANITIZER
    std::atomic_thread_fence(std::memory_order_release);
#endif
  }

  std::atomic<std::uint64_t> word_{0};
};
static_assert(sizeof(PageState) == 8 && std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace firn::buffer
