// The descriptors of all pages of each size class, as arrays that cost memory where they were
// touched. Never given back while the pool is open: versions outlive eviction. Shared.
#pragma once

#include <array>
#include <cstdint>

#include <firn/assertion.hpp>
#include <firn/result.hpp>

#include "buffer/descriptor.hpp"
#include "buffer/mapped.hpp"
#include "buffer/memory.hpp"
#include "buffer/touched.hpp"

namespace firn::buffer {

class DescriptorTable {
 public:
  Result<void> create(const Memory& memory) noexcept {
    for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
      const std::uint64_t count = memory.slot_count(size_class);
      const std::uint64_t pages = count / descriptors_per_page + 1;
      FIRN_TRY_ASSIGN(descriptors_[size_class], Mapped::map(pages * smallest_page_bytes, false));
      // Less what the class in the bits of an id adds, so that they need not be taken apart.
      bases_[size_class] = reinterpret_cast<std::uintptr_t>(descriptors_[size_class].data()) -
                           PageSlot(size_class, 0).bits() * sizeof(Descriptor);
      FIRN_TRY(touched_[size_class].create(pages));
    }
    return {};
  }

  /// Of a page that the pool knows.
  [[nodiscard]] Descriptor& operator[](PageSlot page) const noexcept {
    FIRN_DEBUG_ASSERT(page.size_class() < size_class_count);
    return *reinterpret_cast<Descriptor*>(bases_[page.size_class()] +
                                          page.bits() * sizeof(Descriptor));
  }
  /// Before the first write to a descriptor; returns the bytes that it makes resident.
  [[nodiscard]] std::uint64_t touch(PageSlot page) noexcept {
    const bool first = touched_[page.size_class()].touch(page.slot() / descriptors_per_page);
    return first ? smallest_page_bytes : 0;
  }

 private:
  static constexpr std::uint64_t descriptors_per_page = smallest_page_bytes / sizeof(Descriptor);

  std::array<std::uintptr_t, size_class_count> bases_{};  // modulo 2^64
  std::array<Mapped, size_class_count> descriptors_;
  std::array<TouchedParts, size_class_count> touched_;
};

}  // namespace firn::buffer
