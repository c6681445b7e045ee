// The descriptors of all pages of each size class, as arrays that cost memory where they were
// touched. Never given back while the pool is open: versions outlive eviction. Shared.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include <firn/result.hpp>

#include "buffer/descriptor.hpp"
#include "buffer/mapped.hpp"
#include "buffer/memory.hpp"

namespace firn::buffer {

class DescriptorTable {
 public:
  Result<void> create(const Memory& memory) noexcept {
    for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
      const std::uint64_t count = memory.slot_count(size_class);
      const std::uint64_t pages = count / descriptors_per_page + 1;
      FIRN_TRY_ASSIGN(descriptors_[size_class], Mapped::map(pages * smallest_page_bytes, false));
      FIRN_TRY_ASSIGN(touched_[size_class],
                      Mapped::map((pages / 64 + 1) * sizeof(std::uint64_t), false));
    }
    return {};
  }

  [[nodiscard]] Descriptor& operator[](PageSlot page) const noexcept {
    auto* first = reinterpret_cast<Descriptor*>(descriptors_[page.size_class()].data());
    return first[page.slot()];
  }
  /// Before the first write to a descriptor; returns the bytes that it makes resident.
  [[nodiscard]] std::uint64_t touch(PageSlot page) noexcept {
    const std::uint64_t place = page.slot() / descriptors_per_page;
    auto* words = reinterpret_cast<std::atomic<std::uint64_t>*>(touched_[page.size_class()].data());
    std::atomic<std::uint64_t>& word = words[place / 64];
    const std::uint64_t bit = std::uint64_t{1} << (place % 64);
    if ((word.load(std::memory_order_relaxed) & bit) != 0) return 0;
    return (word.fetch_or(bit, std::memory_order_relaxed) & bit) != 0 ? 0 : smallest_page_bytes;
  }

 private:
  static constexpr std::uint64_t descriptors_per_page = smallest_page_bytes / sizeof(Descriptor);

  std::array<Mapped, size_class_count> descriptors_;
  std::array<Mapped, size_class_count> touched_;
};

}  // namespace firn::buffer
