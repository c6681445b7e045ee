// Buffers for images on their way to the device: one piece of memory of fixed size, divided by the
// buddy system into blocks of the size classes. Aligned as O_DIRECT wants it. Its whole size is
// charged to the budget once, when the pool is made.
//
// One thread at a time: the pool calls it under the lock of the queue of those who wait for it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <firn/result.hpp>

#include "buffer/mapped.hpp"
#include "buffer/page_slot.hpp"

namespace firn::buffer {

class Arena {
 public:
  /// `bytes` is rounded up to a power of two up to 1 MiB, beyond that to whole MiB.
  Result<void> create(std::uint64_t bytes) noexcept;

  /// A block for a page of the class, or null.
  [[nodiscard]] std::byte* allocate(unsigned size_class) noexcept;
  void free(std::byte* block, unsigned size_class) noexcept;

  [[nodiscard]] std::uint64_t bytes() const noexcept { return memory_.bytes(); }
  [[nodiscard]] std::uint64_t free_bytes() const noexcept { return free_units_ * unit; }
  /// What it costs in all.
  [[nodiscard]] std::uint64_t charge() const noexcept {
    return bytes() + units_.size() * sizeof(Unit);
  }
  /// The largest class there is ever room for.
  [[nodiscard]] unsigned class_max() const noexcept { return top_; }
  /// The number of a block, from 1, and back.
  [[nodiscard]] std::uint32_t number_of(const std::byte* block) const noexcept {
    return static_cast<std::uint32_t>((block - memory_.data()) / static_cast<long>(unit)) + 1;
  }
  [[nodiscard]] std::byte* block_of(std::uint32_t number) const noexcept {
    return memory_.data() + std::uint64_t{number - 1} * unit;
  }
  void check_well_formed() const noexcept;

 private:
  static constexpr std::uint64_t unit = smallest_page_bytes;
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  static constexpr std::uint8_t not_free = 0xff;

  void push(std::uint32_t block, unsigned order) noexcept;
  void remove(std::uint32_t block) noexcept;

  struct Unit {
    std::uint32_t next = none, previous = none;
    std::uint8_t free_order = not_free;  // of the first unit of a free block
  };

  Mapped memory_;
  std::vector<Unit> units_;
  std::array<std::uint32_t, size_class_count> heads_{};
  std::uint64_t free_units_ = 0;
  unsigned top_ = 0;
};

}  // namespace firn::buffer
