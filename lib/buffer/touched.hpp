// Which parts of something large were ever touched: a bit each, in memory that costs as much as was
// touched. Shared.
#pragma once

#include <atomic>
#include <cstdint>

#include <firn/result.hpp>

#include "buffer/mapped.hpp"

namespace firn::buffer {

class TouchedParts {
 public:
  Result<void> create(std::uint64_t part_count) noexcept {
    FIRN_TRY_ASSIGN(words_, Mapped::map((part_count / 64 + 1) * sizeof(std::uint64_t), false));
    return {};
  }
  /// Whether this is the first touch of the part.
  [[nodiscard]] bool touch(std::uint64_t part) noexcept {
    auto* words = reinterpret_cast<std::atomic<std::uint64_t>*>(words_.data());
    std::atomic<std::uint64_t>& word = words[part / 64];
    const std::uint64_t bit = std::uint64_t{1} << (part % 64);
    if ((word.load(std::memory_order_relaxed) & bit) != 0) return false;
    return (word.fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
  }

 private:
  Mapped words_;
};

}  // namespace firn::buffer
