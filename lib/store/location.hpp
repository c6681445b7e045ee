// Where an image lies, in 8 bytes: segment 8, chunk 24, granule 20, granules 12. Part of the
// format.
#pragma once

#include <cstdint>

#include "store/space.hpp"

namespace firn::store {

class Location {
 public:
  static constexpr std::uint32_t count_max = (1U << 12) - 1;
  static constexpr std::uint32_t chunk_count_max = 1U << 24;

  constexpr Location() noexcept = default;
  constexpr Location(std::uint8_t segment, Extent extent) noexcept
      : bits_((std::uint64_t{segment} << 56) | (std::uint64_t{extent.chunk} << 32) |
              (std::uint64_t{extent.granule} << 12) | extent.count) {
    FIRN_DEBUG_ASSERT(extent.chunk < (1U << 24) && extent.granule < (1U << 20));
    FIRN_DEBUG_ASSERT(extent.count > 0 && extent.count <= count_max);
  }
  [[nodiscard]] static constexpr Location from_bits(std::uint64_t bits) noexcept {
    Location location;
    location.bits_ = bits;
    return location;
  }

  /// No image.
  [[nodiscard]] constexpr bool none() const noexcept { return bits_ == 0; }
  [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
  [[nodiscard]] constexpr std::uint8_t segment() const noexcept {
    return static_cast<std::uint8_t>(bits_ >> 56);
  }
  [[nodiscard]] constexpr Extent extent() const noexcept {
    return {.chunk = static_cast<std::uint32_t>(bits_ >> 32) & 0xffffffU,
            .granule = static_cast<std::uint32_t>(bits_ >> 12) & 0xfffffU,
            .count = static_cast<std::uint32_t>(bits_) & 0xfffU};
  }
  friend constexpr bool operator==(Location, Location) noexcept = default;

 private:
  std::uint64_t bits_ = 0;
};

}  // namespace firn::store
