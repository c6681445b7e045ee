// How much of the process's own memory is resident: now, and at most since it was asked to watch.
#pragma once

#include <cstdint>

namespace mdfs {

class Resident {
 public:
  /// Bytes; files' pages are not among them.
  [[nodiscard]] static std::uint64_t now() noexcept;
  /// From now on, beyond what is resident now.
  static void watch() noexcept;
  /// Called often; looks every few milliseconds.
  static void look() noexcept;
  /// The most that it was.
  [[nodiscard]] static std::uint64_t peak() noexcept;
};

}  // namespace mdfs
