// Which page of which size class: the place of a page in virtual memory, in one word.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#include <firn/assertion.hpp>

namespace firn::buffer {

/// Size classes are 4 KiB << class: 4, 8, 16, 32, 64, 128, 256, 512 KiB and 1 MiB.
inline constexpr unsigned size_class_count = 9;
inline constexpr std::size_t smallest_page_bytes = 4096;

[[nodiscard]] constexpr std::size_t page_bytes(unsigned size_class) noexcept {
  return smallest_page_bytes << size_class;
}

/// The size class and the slot inside its region, packed as a page id packs them: class in the high
/// 4 of 48 bits. Ordered as the addresses are.
class PageSlot {
 public:
  static constexpr unsigned slot_bits = 44;

  constexpr PageSlot() noexcept = default;
  constexpr PageSlot(unsigned size_class, std::uint64_t slot) noexcept
      : bits_((std::uint64_t{size_class} << slot_bits) | slot) {
    FIRN_DEBUG_ASSERT(size_class < size_class_count);
    FIRN_DEBUG_ASSERT(slot >> slot_bits == 0);
  }

  [[nodiscard]] constexpr unsigned size_class() const noexcept {
    return static_cast<unsigned>(bits_ >> slot_bits);
  }
  [[nodiscard]] constexpr std::uint64_t slot() const noexcept {
    return bits_ & ((std::uint64_t{1} << slot_bits) - 1);
  }
  [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
  friend constexpr auto operator<=>(PageSlot, PageSlot) noexcept = default;

 private:
  std::uint64_t bits_ = 0;
};
static_assert(sizeof(PageSlot) == 8);

}  // namespace firn::buffer
