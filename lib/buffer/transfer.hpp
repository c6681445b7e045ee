// A page's read and a page's write while they are under way.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "buffer/page_slot.hpp"
#include "store/store.hpp"

namespace firn::buffer {

class Pool;

/// One read, and afterwards its error until everybody who waited has seen it.
struct FaultRecord {
  store::PageRead read;
  Pool* pool = nullptr;
  std::atomic<std::uint64_t> page{0};  // PageId::bits; changes only while nobody holds the record
  std::atomic<bool> failed{false};     // set before the waiters are woken
  bool elsewhere = false;              // begun on another executor than the background one
  Error error;
  std::byte* bounce = nullptr;                 // where the page's own memory may not be written to
  std::atomic<std::uint32_t> holder_count{0};  // the read itself and who waits for it
  FaultRecord* next_free = nullptr;

  /// Joins the read of `of`, if this record still is one.
  [[nodiscard]] bool try_hold(PageSlot of) noexcept {
    std::uint32_t count = holder_count.load(std::memory_order_relaxed);
    do {
      if (count == 0 || page.load(std::memory_order_relaxed) != of.bits()) return false;
    } while (!holder_count.compare_exchange_weak(count, count + 1, std::memory_order_acquire));
    return true;
  }
};

/// One write of an image.
struct WriteRecord {
  store::PageWrite write;
  Pool* pool = nullptr;
  PageSlot page;
  std::byte* block = nullptr;  // of the write arena
  unsigned block_class = 0;
  std::uint32_t owed = 0;       // block of the copy arena that is written instead, or 0
  bool released_early = false;  // planted bug only
  bool elsewhere = false;       // begun on another executor than the background one
  WriteRecord* next_free = nullptr;
};

}  // namespace firn::buffer
