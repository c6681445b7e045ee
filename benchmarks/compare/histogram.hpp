// Times of single operations.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace comparison {

/// Counts by the leading bits of nanoseconds: a quantile is within 7 % of what it was.
class Histogram {
 public:
  void add(std::uint64_t nanoseconds) noexcept {
    nanoseconds = std::max<std::uint64_t>(nanoseconds, 1 << fine_bits);
    const unsigned shift = static_cast<unsigned>(std::bit_width(nanoseconds)) - 1 - fine_bits;
    ++counts_[(std::size_t{shift} << fine_bits) + (nanoseconds >> shift)];
    ++count_;
  }
  void add(const Histogram& other) noexcept {
    for (std::size_t index = 0; index < counts_.size(); ++index) {
      counts_[index] += other.counts_[index];
    }
    count_ += other.count_;
  }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Microseconds that so large a part of all took at most; 0 of none.
  [[nodiscard]] double quantile(double part) const noexcept {
    auto left = static_cast<std::uint64_t>(part * static_cast<double>(count_));
    for (std::size_t index = 0; index < counts_.size(); ++index) {
      if (left < counts_[index]) {
        const std::size_t shift = (index >> fine_bits) - 1;
        const std::size_t leading = index - (shift << fine_bits);
        return (static_cast<double>(leading) + 0.5) * static_cast<double>(1ULL << shift) / 1000;
      }
      left -= counts_[index];
    }
    return 0;
  }

 private:
  static constexpr unsigned fine_bits = 3;
  std::array<std::uint64_t, 64 << fine_bits> counts_{};
  std::uint64_t count_ = 0;
};

}  // namespace comparison
