// A system-call filter for one thread: what could block it is trapped and written down.
#pragma once

#include <array>
#include <span>
#include <string>

namespace firn::test {

/// From now on, and for ever, this thread's blocking system calls do not reach the kernel: they are
/// counted and answered with EAGAIN. Reading and writing one of `allowed_fds` is let through: event
/// descriptors that do not block. False: this kernel takes no filter.
[[nodiscard]] bool trap_blocking_calls(std::span<const int> allowed_fds);

/// How many were trapped since the last call, on all threads, and the number of the last of them.
struct Trapped {
  int count = 0;
  long last_number = -1;
};
Trapped take_trapped() noexcept;

}  // namespace firn::test
