// The buffer manager's names for page ids and size classes.
#pragma once

#include "format/page_id.hpp"

namespace firn::buffer {

using PageSlot = format::PageId;
using format::page_bytes;
using format::size_class_count;
using format::smallest_page_bytes;

/// The binary logarithm of page_bytes().
[[nodiscard]] constexpr unsigned page_shift(unsigned size_class) noexcept {
  return 12 + size_class;
}
static_assert(std::size_t{1} << page_shift(0) == smallest_page_bytes);

}  // namespace firn::buffer
