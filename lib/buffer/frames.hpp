// The frames in use, as a dense table that the clock sweeps: which page each holds, under which
// checkpoint number it was last changed, and whether it owes an older image. Shared.
//
// An entry belongs to who loads, creates or evicts its page, that is to the holder of the io bit or
// of the exclusive latch; others look at it as a hint and believe only the page's descriptor.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include <firn/assertion.hpp>
#include <firn/result.hpp>

#include "base/spin.hpp"
#include "buffer/mapped.hpp"
#include "buffer/page_slot.hpp"
#include "format/page_header.hpp"

namespace firn::buffer {

struct Frame {
  /// The stamp of a page that was created and not yet changed: it has no older image.
  static constexpr std::uint64_t fresh = ~std::uint64_t{0};

  std::atomic<std::uint64_t> page{0};   // PageId::bits; 0: the entry is free
  std::atomic<std::uint64_t> stamp{0};  // number of the last change; under the exclusive latch
  std::atomic<std::uint32_t> owed{0};   // block of the copy arena with the image of stamp - 1, or 0
  std::atomic<std::uint32_t> link{0};   // next free entry
  std::atomic<std::uint32_t> fault{0};  // record of the read that brought the page, from 1; or 0
  std::atomic<format::PageKind> kind{format::PageKind::none};
  std::atomic<std::uint8_t> level{0};
  bool swept = false;  // the checkpointer's: nothing is left to write
};
static_assert(sizeof(Frame) == 32);

class FrameTable {
 public:
  Result<void> create(std::uint64_t frame_count_max) noexcept {
    FIRN_TRY_ASSIGN(memory_, Mapped::map((frame_count_max + 1) * sizeof(Frame), false));
    frames_ = reinterpret_cast<Frame*>(memory_.data());
    count_max_ = static_cast<std::uint32_t>(frame_count_max);
    return {};
  }

  /// An entry for the page, from 1; there are enough for the largest budget. `grown`: the bytes of
  /// the table that were not in use before.
  [[nodiscard]] std::uint32_t allocate(PageSlot page, std::uint64_t& grown) noexcept {
    grown = 0;
    std::uint32_t index = 0;
    {
      const base::SpinGuard guard(lock_);
      index = free_;
      if (index != 0) {
        free_ = frames_[index].link.load(std::memory_order_relaxed);
      } else {
        index = end_.load(std::memory_order_relaxed);
        FIRN_ASSERT(index <= count_max_);
        end_.store(index + 1, std::memory_order_seq_cst);  // likewise
        if (index % entries_per_page == 1) grown = smallest_page_bytes;
      }
    }
    // Seen by a checkpointer that has made the number larger before it looks here.
    frames_[index].page.store(page.bits(), std::memory_order_seq_cst);
    return index;
  }
  void free(std::span<const std::uint32_t> indices) noexcept {
    if (indices.empty()) return;
    std::uint32_t former = 0;
    for (const std::uint32_t index : indices) {
      frames_[index].page.store(0, std::memory_order_relaxed);
      frames_[index].link.store(former, std::memory_order_relaxed);
      former = index;
    }
    const base::SpinGuard guard(lock_);
    frames_[indices.front()].link.store(free_, std::memory_order_relaxed);
    free_ = indices.back();
  }
  [[nodiscard]] Frame& operator[](std::uint32_t index) const noexcept { return frames_[index]; }
  /// Behind the last entry that was ever in use.
  [[nodiscard]] std::uint32_t end() const noexcept { return end_.load(std::memory_order_seq_cst); }

 private:
  static constexpr std::uint32_t entries_per_page = smallest_page_bytes / sizeof(Frame);

  Mapped memory_;
  Frame* frames_ = nullptr;
  std::uint32_t count_max_ = 0;
  std::atomic<std::uint32_t> end_{1};
  base::SpinLock lock_;
  std::uint32_t free_ = 0;  // under lock_
};

}  // namespace firn::buffer
