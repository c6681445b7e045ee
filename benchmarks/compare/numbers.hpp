// Which record an operation is about: random numbers, and the distributions of YCSB (Cooper et al.,
// "Benchmarking cloud serving systems with YCSB", 2010) as its generators draw them.
#pragma once

#include <cmath>
#include <cstdint>

#include "pairs.hpp"

namespace comparison {

/// splitmix64: one thread's own.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(mix(seed + 1)) {}
  std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t word = state_;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebULL;
    return word ^ (word >> 31);
  }
  /// Below `bound`.
  std::uint64_t below(std::uint64_t bound) noexcept {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  /// In [0, 1).
  double fraction() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

/// Ranks from 0 on, rank r with a weight of 1 / (r + 1)^0.99 (Gray et al., "Quickly generating
/// billion-record synthetic databases", 1994). Constant after construction.
class Zipfian {
 public:
  static constexpr double theta = 0.99;

  explicit Zipfian(std::uint64_t count) noexcept : Zipfian(count, zeta_of(count)) {}
  Zipfian(std::uint64_t count, double zeta) noexcept
      : count_(static_cast<double>(count)),
        zeta_(zeta),
        eta_((1 - std::pow(2.0 / count_, 1 - theta)) / (1 - zeta_of(2) / zeta)) {}

  [[nodiscard]] std::uint64_t draw(Random& random) const noexcept {
    const double part = random.fraction();
    const double scaled = part * zeta_;
    if (scaled < 1) return 0;
    if (scaled < 1 + std::pow(0.5, theta)) return 1;
    return static_cast<std::uint64_t>(count_ * std::pow(eta_ * part - eta_ + 1, 1 / (1 - theta)));
  }

 private:
  static double zeta_of(std::uint64_t count) noexcept {
    double sum = 0;
    for (std::uint64_t rank = count; rank >= 1; --rank) {
      sum += 1 / std::pow(static_cast<double>(rank), theta);
    }
    return sum;
  }
  double count_;
  double zeta_;
  double eta_;
};

/// YCSB's scrambled zipfian: a rank among 10 billion, hashed to one of `count` records, so that the
/// popular ones lie anywhere.
class ScrambledZipfian {
 public:
  explicit ScrambledZipfian(std::uint64_t count) noexcept : count_(count) {}
  [[nodiscard]] std::uint64_t draw(Random& random) const noexcept {
    return fnv(ranks_.draw(random)) % count_;
  }

 private:
  static std::uint64_t fnv(std::uint64_t value) noexcept {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (int octet = 0; octet < 8; ++octet, value >>= 8) {
      hash = (hash ^ (value & 0xff)) * 1099511628211ULL;
    }
    return hash & 0x7fffffffffffffffULL;  // Java's Math.abs
  }
  Zipfian ranks_{10'000'000'000ULL, 26.46902820178302};
  std::uint64_t count_;
};

}  // namespace comparison
