// Logical page ids. A page keeps its id wherever its image lies and whenever it is resident.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#include <firn/assertion.hpp>

namespace firn::format {

/// Size classes are 4 KiB << class: 4, 8, 16, 32, 64, 128, 256, 512 KiB and 1 MiB.
inline constexpr unsigned size_class_count = 9;
inline constexpr std::size_t smallest_page_bytes = 4096;

[[nodiscard]] constexpr std::size_t page_bytes(unsigned size_class) noexcept {
  return smallest_page_bytes << size_class;
}

/// The size class and the slot inside its region, in 48 bits: class in the high 4. Ordered as the
/// addresses of the pages are. Slot 0 of each class is never used, so that 0 can mean "no page".
class PageId {
 public:
  static constexpr unsigned slot_bits = 44;

  constexpr PageId() noexcept = default;
  constexpr PageId(unsigned size_class, std::uint64_t slot) noexcept
      : bits_((std::uint64_t{size_class} << slot_bits) | slot) {
    FIRN_DEBUG_ASSERT(size_class < size_class_count);
    FIRN_DEBUG_ASSERT(slot >> slot_bits == 0);
  }
  /// From a device: any bits; `valid()` tells whether they are an id.
  [[nodiscard]] static constexpr PageId from_bits(std::uint64_t bits) noexcept {
    PageId id;
    id.bits_ = bits;
    return id;
  }

  [[nodiscard]] constexpr bool valid() const noexcept {
    return (bits_ >> slot_bits) < size_class_count && slot() != 0;
  }
  [[nodiscard]] constexpr unsigned size_class() const noexcept {
    return static_cast<unsigned>(bits_ >> slot_bits);
  }
  [[nodiscard]] constexpr std::uint64_t slot() const noexcept {
    return bits_ & ((std::uint64_t{1} << slot_bits) - 1);
  }
  [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
  friend constexpr auto operator<=>(PageId, PageId) noexcept = default;

 private:
  std::uint64_t bits_ = 0;
};
static_assert(sizeof(PageId) == 8);

}  // namespace firn::format
