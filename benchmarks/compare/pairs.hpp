// The pairs that every engine holds: 16-byte keys and values that can be checked against them, both
// derived from a record's number.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace comparison {

/// One to one, and its bits look random.
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t number) noexcept {
  number = (number ^ (number >> 33)) * 0xff51afd7ed558ccdULL;
  number = (number ^ (number >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return number ^ (number >> 33);
}

enum class KeyOrder : std::uint8_t {
  random,      ///< keys of successive numbers lie anywhere
  sequential,  ///< keys are in the order of their numbers
};

struct PairShape {
  KeyOrder order = KeyOrder::random;
  std::uint32_t value_size = 100;  ///< bytes, at least 8
};

inline constexpr std::size_t key_size = 16;
inline constexpr std::size_t mark_size = 8;  ///< of the value's first bytes, which tell its key

/// Two halves, big endian: the number and its mix; which comes first decides the order.
class Key {
 public:
  Key() = default;
  Key(std::uint64_t number, KeyOrder order) noexcept {
    const bool random = order == KeyOrder::random;
    const std::uint64_t halves[2] = {__builtin_bswap64(random ? mix(number) : number),
                                     __builtin_bswap64(random ? number : mix(number))};
    std::memcpy(bytes_.data(), halves, sizeof halves);
  }
  [[nodiscard]] std::string_view view() const noexcept { return {bytes_.data(), bytes_.size()}; }

 private:
  std::array<char, key_size> bytes_ = {};
};

/// The number that such a key belongs to.
[[nodiscard]] inline std::uint64_t number_of(std::string_view key, KeyOrder order) noexcept {
  std::uint64_t half = 0;
  if (key.size() != key_size) return ~half;
  std::memcpy(&half, key.data() + (order == KeyOrder::random ? 8 : 0), sizeof half);
  return __builtin_bswap64(half);
}

[[nodiscard]] inline bool is_value_of(std::uint64_t number, std::string_view value,
                                      const PairShape& shape) noexcept {
  const std::uint64_t mark = mix(~number);
  return value.size() == shape.value_size && std::memcmp(value.data(), &mark, sizeof mark) == 0;
}

/// Makes values: the mark, then bytes that no engine could compress.
class ValueMaker {
 public:
  ValueMaker(std::uint32_t value_size, std::uint64_t seed)
      : value_(value_size, '\0'), pool_(pool_size + value_size, '\0') {
    for (std::size_t at = 0; at + 8 <= pool_.size(); at += 8) {
      const std::uint64_t word = mix(seed * 0x9e3779b97f4a7c15ULL + at + 1);
      std::memcpy(pool_.data() + at, &word, sizeof word);
    }
  }
  /// Valid until the next call.
  [[nodiscard]] std::string_view make(std::uint64_t number, std::uint64_t random) noexcept {
    const std::uint64_t mark = mix(~number);
    std::memcpy(value_.data(), &mark, sizeof mark);
    std::memcpy(value_.data() + mark_size, pool_.data() + random % pool_size,
                value_.size() - mark_size);
    return value_;
  }

 private:
  static constexpr std::size_t pool_size = 64 << 10;
  std::string value_;
  std::string pool_;
};

/// What a lookup found, held against the number that it looked for.
struct ValueCheck {
  std::uint64_t number = 0;
  const PairShape& shape;
  bool right = false;
  void see(std::string_view value) noexcept { right = is_value_of(number, value, shape); }
};

/// What a scan meets: keys that ascend, each with its value.
struct PairCheck {
  const PairShape& shape;
  bool right = true;
  std::string last = {};
  void see(std::string_view key, std::string_view value) {
    right = right && (last.empty() || last < key) &&
            is_value_of(number_of(key, shape.order), value, shape);
    last.assign(key);
  }
};

/// Where an engine that keeps many lookups under way gets them from.
class LookupSource {
 public:
  virtual ~LookupSource() = default;
  struct Lookup {
    std::uint64_t number = 0;
    bool timed = false;
  };
  /// False: no more.
  virtual bool next(Lookup& lookup) = 0;
  /// `nanoseconds` counts only of one that is to be timed.
  virtual void done(const Lookup& lookup, bool right, std::uint64_t nanoseconds) = 0;
  [[nodiscard]] virtual const PairShape& shape() const = 0;
};

}  // namespace comparison
