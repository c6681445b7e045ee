// Prefetches on their way to the background executor.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "buffer/pool.hpp"

namespace firn::buffer {

/// Prefetches at a time; one more is left out: it is a hint.
inline constexpr std::uint32_t prefetch_count = 32;

/// Whoever sets `taken` fills it in and sends it.
struct Pool::Prefetch : runtime::Runnable {
  static constexpr std::size_t pages_max = 32;
  std::atomic<bool> taken{false};
  Pool* pool = nullptr;
  std::uint32_t count = 0;
  std::array<PageSlot, pages_max> pages;
};

}  // namespace firn::buffer
