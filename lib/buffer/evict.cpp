// Giving frames back: a second-chance clock over the frame table, in batches.
//   1. Pages that were used since the last round lose one chance; the others that are clean, not
//      kept and without transfer are candidates.
//   2. Each candidate is latched and turned into "evicted" with io, unless it has changed since.
//   3. The memory of the batch goes in one call; only then may anybody load these pages again.
#include <algorithm>

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
  while (visits < visits_max && (evicted < bytes || evicted == 0)) {
    // 1 and 2
    std::size_t count = 0;
    while (count < batch_size && visits < visits_max &&
           evicted + count * smallest_page_bytes < bytes) {
      ++visits;
      const auto index =
          static_cast<std::uint32_t>(1 + hand_.fetch_add(1, std::memory_order_relaxed) % in_use);
      const PageSlot page =
          PageSlot::from_bits(frames_[index].page.load(std::memory_order_acquire));
      if (!page.valid()) continue;
      Descriptor& descriptor = descriptors_[page];
      std::uint16_t heat = descriptor.heat.load(std::memory_order_relaxed);
      if (heat > 0) {
        descriptor.heat.compare_exchange_strong(heat, static_cast<std::uint16_t>(heat - 1),
                                                std::memory_order_relaxed);
        continue;
      }
      const auto [began, to_wake] = descriptor.begin_evict();
      if (to_wake) wake(descriptor);
      if (began) batch[count++] = page;
    }
    if (count == 0) break;
    // 3
    const std::span<PageSlot> gone(batch.data(), count);
    FIRN_ASSERT(memory_->release(gone).done == count);
    std::uint64_t bytes_gone = 0;
    for (const PageSlot page : gone) {
      Descriptor& descriptor = descriptors_[page];
      const std::uint32_t index = descriptor.frame.load(std::memory_order_relaxed);
      descriptor.frame.store(0, std::memory_order_relaxed);
      frames_.free(index);
      bytes_gone += page_bytes(page.size_class());
      if (descriptor.state.finish_evict()) wake(descriptor);
    }
    evicted += bytes_gone;
    counters_.evictions.fetch_add(count, std::memory_order_relaxed);
    counters_.evicted_bytes.fetch_add(bytes_gone, std::memory_order_relaxed);
    frame_bytes_.fetch_sub(bytes_gone, std::memory_order_relaxed);
    bytes_.give(bytes_gone);
  }
  return evicted;
}

}  // namespace firn::buffer
