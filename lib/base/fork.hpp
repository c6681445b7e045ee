// Tells a forked child from its parent without asking the kernel each time.
#pragma once

#include <atomic>
#include <cstdint>

namespace firn::base {

extern std::atomic<std::uint32_t> process_generation_count;

/// Differs between a process and its forked children, once `watch_forks` was called. Any thread.
[[nodiscard]] inline std::uint32_t process_generation() noexcept {
  return process_generation_count.load(std::memory_order_relaxed);
}

/// From now on forked children get a generation of their own. Any thread, any number of times.
void watch_forks() noexcept;

}  // namespace firn::base
