// Giving frames back: a second-chance clock over the frame table, in batches.
//   1. Pages that were used since the last round lose one chance; the others that are clean, not
//      kept and without transfer are candidates.
//   2. Each candidate is latched and turned into "evicted" with io, unless it has changed since.
//   3. The memory of the batch goes in one call; only then may anybody load these pages again.
#include <algorithm>
#include <array>

#include "buffer/pool.hpp"

namespace firn::buffer {
namespace {

// Pages in one call of Memory::release: beyond this the call costs the same per page.
constexpr std::size_t batch_max = 64;

}  // namespace

std::uint64_t Pool::evict(std::uint64_t bytes, std::uint32_t visits_max) noexcept {
  std::array<PageSlot, batch_max> batch;
  std::uint64_t evicted = 0;
  std::uint32_t visits = 0;
  // Small pools would lose everything in one batch.
  const std::uint32_t in_use = frames_.end() - 1;
  if (in_use == 0) return 0;
  const std::size_t batch_size = std::clamp<std::size_t>(in_use / 16, 1, batch_max);
  while (visits < visits_max && evicted < bytes) {
    const std::uint64_t pages_wanted = (bytes - evicted - 1) / smallest_page_bytes + 1;
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(batch_size, pages_wanted));
    std::size_t count = 0;
    while (count < wanted && visits < visits_max) {
      const std::size_t run = std::min<std::size_t>(wanted - count, visits_max - visits);
      count += retire({batch.data() + count, run}, in_use);
      visits += static_cast<std::uint32_t>(run);
    }
    if (count == 0) break;
    const std::uint64_t gone = give_up_memory({batch.data(), count});
    if (gone == 0) break;
    evicted += gone;
  }
  return evicted;
}

// 1 and 2: visits as many frames as there is room for in `batch`; returns how many of their pages
// are in it now.
std::size_t Pool::retire(std::span<PageSlot> batch, std::uint32_t in_use) noexcept {
  const std::uint64_t hand = hand_.fetch_add(batch.size(), std::memory_order_relaxed);
  auto index = static_cast<std::uint32_t>(hand % in_use);
  std::size_t seen = 0;
  for (std::size_t visit = 0; visit < batch.size(); ++visit) {
    const PageSlot page =
        PageSlot::from_bits(frames_[index + 1].page.load(std::memory_order_acquire));
    if (++index == in_use) index = 0;
    if (!page.valid()) continue;
    __builtin_prefetch(&descriptors_[page], 1);  // anywhere in memory, and all needed below
    batch[seen++] = page;
  }
  std::size_t count = 0;
  for (const PageSlot page : batch.first(seen)) {
    Descriptor& descriptor = descriptors_[page];
    std::uint16_t heat = descriptor.heat.load(std::memory_order_relaxed);
    if (heat > 0) {
      // A hint: what another evictor or a reader stores meanwhile may be lost.
      descriptor.heat.store(static_cast<std::uint16_t>(heat - 1), std::memory_order_relaxed);
      continue;
    }
    const auto [began, to_wake] = descriptor.begin_evict();
    if (to_wake) wake(descriptor);
    if (began) batch[count++] = page;
  }
  return count;
}

// 3. Returns the bytes that are free now: less than all only if the kernel refuses.
std::uint64_t Pool::give_up_memory(std::span<PageSlot> pages) noexcept {
  const BatchResult released = memory_->release(pages);
  std::array<std::uint32_t, batch_max> frames;
  std::uint64_t bytes = 0;
  for (std::size_t place = 0; place < released.done; ++place) {
    Descriptor& descriptor = descriptors_[pages[place]];
    frames[place] = descriptor.frame.load(std::memory_order_relaxed);
    descriptor.frame.store(0, std::memory_order_relaxed);
    bytes += page_bytes(pages[place].size_class());
  }
  frames_.free({frames.data(), released.done});
  for (std::size_t place = 0; place < pages.size(); ++place) {
    PageState& state = descriptors_[pages[place]].state;
    // What the kernel keeps is still whole.
    const bool to_wake = place < released.done ? state.finish_evict() : state.finish_fault(true);
    if (to_wake) wake(descriptors_[pages[place]]);
  }
  release_error_.store(released.system_error, std::memory_order_relaxed);
  counters_.evictions.fetch_add(released.done, std::memory_order_relaxed);
  counters_.evicted_bytes.fetch_add(bytes, std::memory_order_relaxed);
  frame_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  bytes_.give(bytes);
  return bytes;
}

}  // namespace firn::buffer
