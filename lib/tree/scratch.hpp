// Memory of this thread in which nodes are built before they are stored: three pages of the largest
// class. Made at the first use, not used across a wait.
#pragma once

#include <array>
#include <cstddef>

#include <firn/buffer.hpp>

namespace firn::tree {

struct Scratch {
  static constexpr std::size_t page_size = std::size_t{64} << 10;
  alignas(64) std::array<std::byte, page_size> first;
  alignas(64) std::array<std::byte, page_size> second;
  alignas(64) std::array<std::byte, page_size> third;
  Buffer value;  ///< warm
};

namespace detail {
extern constinit thread_local Scratch* thread_scratch;
[[nodiscard]] Scratch* make_scratch() noexcept;
}  // namespace detail

/// Null: no memory.
[[nodiscard]] inline Scratch* scratch_of_this_thread() noexcept {
  Scratch* const scratch = detail::thread_scratch;
  return scratch != nullptr ? scratch : detail::make_scratch();
}

}  // namespace firn::tree
