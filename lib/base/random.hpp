// Seeded random numbers: the only source of chance in the engine and its tests, so that a seed
// repeats a run. Generator: xoshiro256** 1.0 by Blackman and Vigna, seeded by splitmix64.
#pragma once

#include <cstdint>

namespace firn::base {

/// One thread at a time.
class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) noexcept {
    for (std::uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15u;
      word = mix(seed);
    }
  }

  constexpr std::uint64_t next() noexcept {
    const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return result;
  }
  /// Uniform in [0, bound); `bound` is at least 1. Lemire's multiplication, without rejection: the
  /// bias is below 2^-32 for the bounds used here.
  constexpr std::uint64_t below(std::uint64_t bound) noexcept {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  constexpr bool one_in(std::uint64_t n) noexcept { return below(n) == 0; }

  /// A mixing of 64 bits in which every input bit reaches every output bit (splitmix64).
  static constexpr std::uint64_t mix(std::uint64_t word) noexcept {
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    return word ^ (word >> 31);
  }

 private:
  static constexpr std::uint64_t rotate(std::uint64_t word, int by) noexcept {
    return (word << by) | (word >> (64 - by));
  }
  std::uint64_t state_[4] = {};
};

/// A number that nobody can repeat, for what must differ between machines and runs. Not for
/// decisions.
[[nodiscard]] std::uint64_t chance() noexcept;

}  // namespace firn::base
