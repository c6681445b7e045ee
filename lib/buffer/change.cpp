// Changing, creating and freeing pages, and what a change owes to the checkpoint that is being
// written.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/planted.hpp"
#include "base/spin.hpp"
#include "buffer/optimistic_read.hpp"
#include "buffer/pool.hpp"

namespace firn::buffer {
namespace {

constexpr std::uint64_t pages_per_look = 64;

}  // namespace

bool Pool::begin_change(std::span<const PageSlot> changed, std::span<const PageSlot> freed,
                        std::uint64_t& number) noexcept {
  // Once for all, after the last latch: whoever visits these pages for the checkpoint of a smaller
  // number finds them latched, or changed under this one.
  number = store_.number();
  if (FIRN_PLANTED("pool-number-before-latches")) {
    const std::uint64_t former = former_number_.exchange(number);
    if (former != 0) number = former;
  }
  for (const PageSlot page : freed) {
    const Descriptor& descriptor = descriptors_[page];
    const PageWord word = descriptor.state.load();
    FIRN_ASSERT(word.exclusive());
    if (word.io() || descriptor.keep_count() > 0 || frame_of(page).owed.load() != 0 ||
        old_image_unwritten(page, number)) {
      return false;
    }
  }
  std::size_t saved = 0;
  for (; saved < changed.size(); ++saved) {
    FIRN_ASSERT(descriptors_[changed[saved]].state.load().exclusive());
    if (old_image_unwritten(changed[saved], number) && !save_owed(changed[saved])) break;
  }
  if (saved < changed.size()) {
    for (const PageSlot page : changed.first(saved)) {
      if (old_image_unwritten(page, number)) drop_owed(page);
    }
    return false;
  }
  for (const PageSlot page : changed) {
    Frame& frame = frame_of(page);
    const std::uint64_t stamp = frame.stamp.load(std::memory_order_relaxed);
    FIRN_ASSERT(stamp <= number || stamp == Frame::fresh ||
                FIRN_PLANTED("pool-number-before-latches"));
    frame.stamp.store(number, std::memory_order_release);
    descriptors_[page].state.mark_dirty();
  }
  return true;
}

// Whether memory, or a write that may yet fail, holds the only image of a former number.
bool Pool::old_image_unwritten(PageSlot page, std::uint64_t number) const noexcept {
  const PageWord word = descriptors_[page].state.load();
  if (!word.dirty() && !word.io()) return false;
  const std::uint64_t stamp = frame_of(page).stamp.load(std::memory_order_relaxed);
  return stamp < number && stamp != 0;
}

// Under the exclusive latch: copies the image aside. False: no buffer.
bool Pool::save_owed(PageSlot page) noexcept {
  Frame& frame = frame_of(page);
  if (FIRN_PLANTED("pool-owed-skipped")) return true;
  std::byte* block = nullptr;
  {
    const base::SpinGuard guard(copy_lock_);
    if (page.size_class() <= copy_arena_.class_max()) {
      block = copy_arena_.allocate(page.size_class());
    }
  }
  if (block == nullptr) return false;
  FIRN_ASSERT(frame.owed.load(std::memory_order_relaxed) == 0);
  make_image(page, block);
  frame.owed.store(copy_arena_.number_of(block), std::memory_order_release);
  counters_.owed_copies.fetch_add(1, std::memory_order_relaxed);
  return true;
}

// Under the exclusive latch, before the change: the copy is of no use after all.
void Pool::drop_owed(PageSlot page) noexcept {
  const std::uint32_t owed = frame_of(page).owed.exchange(0);
  if (owed == 0) return;
  const base::SpinGuard guard(copy_lock_);
  copy_arena_.free(copy_arena_.block_of(owed), page.size_class());
}

// Writes the old images themselves, one after another, and waits for each; they are what the
// checkpoint needs anyway.
Access Pool::settle_or_park(Waiter& waiter, std::span<const PageSlot> changed,
                            std::span<const PageSlot> freed, Error& error) noexcept {
  let_go(waiter);
  const std::uint64_t number = store_.number();
  bool kept = false;
  for (const bool freeing : {false, true}) {
    for (const PageSlot page : freeing ? freed : changed) {
      Descriptor& descriptor = descriptors_[page];
      while (true) {
        const PageWord word = descriptor.state.load();
        if (!word.readable() && !word.exclusive()) break;  // nothing in memory any more
        const Frame& frame = frame_of(page);
        const bool old = old_image_unwritten(page, number);
        const bool owes = freeing && frame.owed.load() != 0;
        if (word.io() && (freeing || old)) {
          if (park(waiter, page, Want::retire)) return Access::parked;
          continue;
        }
        if (!old && !owes) {
          kept = kept || (freeing && descriptor.keep_count() > 0);
          break;
        }
        if (store_.failed()) {
          error = fail(ErrorCode::failed, "the store takes no writes").error;
          return Access::failed;
        }
        if (word.exclusive()) {
          if (park(waiter, page, Want::exclusive)) return Access::parked;
          continue;
        }
        const bool hopeless = write_queue_.with_lock([&]() noexcept {
          if (writes_failed_row_ >= failed_row_max) error = write_error_;
          return writes_failed_row_ >= failed_row_max;
        });
        const Write write = start_write(*waiter.runnable_.home, page, segment::IoClass::write_back);
        if (hopeless) return Access::failed;  // if this write succeeds, the next one has hope
        switch (write) {
          case Write::begun:
          case Write::nothing:
            break;
          case Write::no_room: {
            const bool room = write_queue_.try_or_park(
                waiter, [this]() noexcept { return writes_under_way_ == 0; });
            if (!room) return Access::parked;
          }
        }
      }
    }
  }
  if (!kept) return Access::again;
  park_again(waiter);
  return Access::parked;
}

Access Pool::create_or_park(Waiter& waiter, unsigned size_class, const format::PageHeader& header,
                            PageSlot& page, Error& error) noexcept {
  NewPage wanted[1] = {{.size_class = size_class, .header = header, .page = {}}};
  const Access access = create_or_park(waiter, wanted, error);
  if (access == Access::ready) page = wanted[0].page;
  return access;
}

Access Pool::create_or_park(Waiter& waiter, std::span<NewPage> pages, Error& error) noexcept {
  if (take_outcome(waiter, PageSlot(), error)) return Access::failed;
  std::uint64_t bytes = 0;
  unsigned largest = 0;
  for (const NewPage& wanted : pages) {
    bytes += page_bytes(wanted.size_class);
    largest = std::max(largest, wanted.size_class);
  }
  if (bytes > bytes_max_of(waiter) || largest > write_arena_.class_max()) {
    error = fail(ErrorCode::no_memory,
                 "the memory budget has no room for new pages of {} bytes and their images", bytes)
                .error;
    return Access::failed;
  }
  move_on(waiter, bytes);
  const std::uint64_t held = FIRN_PLANTED("pool-creations-unlimited") ? 0 : bytes;
  if (waiter.creation_ < held) {
    creations_.give(std::exchange(waiter.creation_, 0));
    if (waiter.urgent()) {
      creations_.force(held);
    } else if (!creations_.take(held, false)) {
      give_back_granted(waiter);
      counters_.memory_waits.fetch_add(1, std::memory_order_relaxed);
      creations_.park(waiter, held, waiter.creation_);
      return Access::parked;
    }
    waiter.creation_ = held;
  }
  if (memory_or_park(waiter, bytes) == Access::parked) return Access::parked;
  if (const auto named = name_pages(pages); !named.has_value()) {
    error = named.error();
    return Access::failed;
  }
  waiter.memory_ = 0;
  for (const NewPage& wanted : pages) create(wanted);
  give_back_granted(waiter);
  return Access::ready;
}

// Ids for all, or for none.
Result<void> Pool::name_pages(std::span<NewPage> pages) noexcept {
  for (std::size_t named = 0; named < pages.size(); ++named) {
    auto page = store_.allocate_page(pages[named].size_class);
    if (page.has_value() && known(*page)) {
      pages[named].page = *page;
      continue;
    }
    // An id that cannot be given back waits for the next opening.
    const std::uint64_t number = store_.number();
    if (page.has_value()) static_cast<void>(store_.free_page(*page, number));
    for (const NewPage& former : pages.first(named)) {
      static_cast<void>(store_.free_page(former.page, number));
    }
    if (!page.has_value()) return fail(page.error());
    return fail(ErrorCode::no_memory, "the address space reserved for pages is full");
  }
  return {};
}

// Memory has been taken for it.
void Pool::create(const NewPage& wanted) noexcept {
  const PageSlot page = wanted.page;
  // The store's maps grow in blocks of many pages.
  if (page.slot() % pages_per_look == 1) refresh_store_bytes();
  charge_descriptor(page);
  Descriptor& descriptor = descriptors_[page];
  // Somebody may have a look at the id of a page that was there before.
  while (!descriptor.state.try_create()) base::pause_briefly();
  const std::uint32_t index = take_frame(page);
  Frame& frame = frames_[index];
  frame.stamp.store(Frame::fresh, std::memory_order_relaxed);
  frame.owed.store(0, std::memory_order_relaxed);
  frame.fault.store(0, std::memory_order_relaxed);
  frame.kind.store(wanted.header.kind, std::memory_order_relaxed);
  frame.level.store(wanted.header.level, std::memory_order_relaxed);
  descriptor.heat.store(heat_of(frame), std::memory_order_relaxed);
  descriptor.frame.store(index, std::memory_order_release);
  make_present(page);
  format::PageHeader head = wanted.header;
  head.page_id = page.bits();
  if (head.length < sizeof head) head.length = sizeof head;
  store_page(resolve(page), &head, sizeof head);
}

unsigned Pool::page_class_max() const noexcept {
  unsigned size_class = write_arena_.class_max();
  while (size_class > 0 && page_bytes(size_class) > frame_limit() / 2) --size_class;
  return size_class;
}

Result<void> Pool::free_pages(std::span<const PageSlot> pages, std::uint64_t number) noexcept {
  for (const PageSlot page : pages) FIRN_ASSERT(descriptors_[page].state.load().exclusive());
  FIRN_TRY(store_.free_pages(pages, number));
  for (const PageSlot page : pages) retire_freed(page);
  return {};
}

// The store has given it up.
void Pool::retire_freed(PageSlot page) noexcept {
  Descriptor& descriptor = descriptors_[page];
  const std::uint32_t index = descriptor.frame.load(std::memory_order_relaxed);
  FIRN_ASSERT(frames_[index].owed.load() == 0);
  descriptor.state.begin_free();
  PageSlot batch[1] = {page};
  // If the kernel refuses, the next page of this id finds the memory there.
  static_cast<void>(memory_->release(batch));
  descriptor.frame.store(0, std::memory_order_relaxed);
  frames_.free({&index, 1});
  const std::uint64_t bytes = page_bytes(page.size_class());
  frame_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  if (descriptor.state.finish_free()) wake(descriptor);
  bytes_.give(bytes);
}

}  // namespace firn::buffer
