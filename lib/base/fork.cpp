#include "base/fork.hpp"

#include <pthread.h>

namespace firn::base {

constinit std::atomic<std::uint32_t> process_generation_count{0};

void watch_forks() noexcept {
  // Registered once for the process; the handler outlives every domain.
  [[maybe_unused]] static const int registered = pthread_atfork(
      nullptr, nullptr, [] { process_generation_count.fetch_add(1, std::memory_order_relaxed); });
}

}  // namespace firn::base
