#include "base/random.hpp"

#include <sys/random.h>

#include "base/clock.hpp"

namespace firn::base {

std::uint64_t chance() noexcept {
  std::uint64_t number = 0;
  if (::getrandom(&number, sizeof number, GRND_NONBLOCK) == sizeof number) return number;
  // A kernel that has just started: the time since then, and an address that it has chosen.
  const auto time = static_cast<std::uint64_t>(steady_clock().now().time_since_epoch().count());
  return Random::mix(time ^ Random::mix(reinterpret_cast<std::uintptr_t>(&number)));
}

}  // namespace firn::base
