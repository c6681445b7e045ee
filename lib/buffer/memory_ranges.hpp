// The loop that the back ends share: ranges of a batch, one system call each.
#pragma once

#include <cerrno>

#include "buffer/memory.hpp"

namespace firn::buffer {

// Pages at the front of a sorted batch that lie wholly in its first `bytes`.
[[nodiscard]] inline std::uint32_t pages_in(std::span<const PageSlot> batch,
                                            std::uint64_t bytes) noexcept {
  std::uint32_t pages = 0;
  for (const PageSlot page : batch) {
    if (bytes < page_bytes(page.size_class())) break;
    bytes -= page_bytes(page.size_class());
    ++pages;
  }
  return pages;
}

// EAGAIN passes; a call that goes on saying it is broken.
inline constexpr int try_again_max = 100;

template <class Call>
BatchResult Memory::for_each_range(std::span<const PageSlot> batch, Counters& counters,
                                   Call call) const noexcept {
  std::array<iovec, memory_batch_max> ranges;
  const std::size_t count = ranges_of(batch, ranges);
  std::uint64_t bytes = 0;
  int system_error = 0;
  for (std::size_t index = 0; index < count && system_error == 0; ++index) {
    int tries = 0;
    do {
      counters.calls.fetch_add(1, std::memory_order_relaxed);
      system_error = call(ranges[index].iov_base, ranges[index].iov_len) == 0 ? 0 : errno;
    } while ((system_error == EAGAIN || system_error == EINTR) && ++tries < try_again_max);
    if (system_error == 0) bytes += ranges[index].iov_len;
  }
  return {pages_in(batch, bytes), system_error};
}

}  // namespace firn::buffer
