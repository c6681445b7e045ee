// What a history is made of: its keys, its values, and the steps, all drawn from the seed before
// anything runs, so that a part of a history can be run without the rest.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <firn/firn.hpp>

#include "base/random.hpp"

namespace firn::tests {

inline constexpr std::size_t key_count = 512;
inline constexpr std::size_t slot_count = 6;    // tables
inline constexpr std::size_t cursor_count = 3;  // open at a time, for each table
inline constexpr std::uint32_t no_bound = ~std::uint32_t{0};

enum class Act : std::uint8_t {
  put,
  insert,
  update,
  erase,
  erase_present,
  lookup,
  read,
  follow,
  next,
  previous,
  seek,
  open_cursor,
  scan,
  create_table,
  open_table,
  destroy_table,
  list,
  begin,
  commit,
  reopen_domain,
};

/// One step. `key`, `other` and `value` mean what the act makes of them.
struct Step {
  Act act = Act::put;
  std::uint8_t slot = 0;
  std::uint8_t cursor = 0;
  std::uint8_t flag = 0;
  std::uint16_t key = 0;
  std::uint16_t other = 0;
  std::uint32_t value_at = 0;
  std::uint32_t value_size = 0;
};

enum class Shape : std::uint8_t { dense, prefix, zeros, high, longest, mixed };
inline constexpr std::array<const char*, 6> shape_names = {
    "dense", "long shared prefix", "0x00", "0xff", "longest", "mixed"};

/// Keys and values of one history.
class Universe {
 public:
  explicit Universe(std::uint64_t seed) : shape_(static_cast<Shape>(base::Random(seed).below(6))) {
    base::Random random(seed);
    while (keys_.size() < key_count) {
      for (std::size_t index = keys_.size(); index < key_count; ++index) {
        keys_.push_back(index == 0 ? std::string() : key_of(random, index));
      }
      std::sort(keys_.begin(), keys_.end());
      keys_.erase(std::unique(keys_.begin(), keys_.end()), keys_.end());
    }
    pool_.resize(pool_size);
    for (std::size_t at = 0; at < pool_size; ++at) pool_[at] = static_cast<char>(random.next());
  }

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  /// In bytewise order; the first is empty.
  [[nodiscard]] const std::string& key(std::size_t index) const noexcept { return keys_[index]; }
  [[nodiscard]] Bytes value(std::uint32_t at, std::uint32_t size) const noexcept {
    return Bytes(std::string_view(pool_).substr(at, size));
  }

  static constexpr std::size_t pool_size = std::size_t{1} << 17;
  static constexpr std::uint32_t value_size_max = 1U << 16;

 private:
  std::string key_of(base::Random& random, std::size_t index) const {
    const auto some = [&random](std::size_t size) {
      std::string text(size, '\0');
      for (char& each : text) each = static_cast<char>(random.next());
      return text;
    };
    const auto of_two = [&random](std::size_t size, char one, char two) {
      std::string text(size, one);
      for (char& each : text) each = random.one_in(4) ? two : one;
      return text;
    };
    switch (shape_) {
      case Shape::dense:
        return {static_cast<char>(index >> 8), static_cast<char>(index)};
      case Shape::prefix:
        return std::string(100, 'p') + std::to_string(random.below(100'000));
      case Shape::zeros:
        return of_two(1 + random.below(24), '\0', '\1');
      case Shape::high:
        return of_two(1 + random.below(24), '\xff', '\xfe');
      case Shape::longest:
        return index % 16 == 0 ? std::string(2044, 'l') + some(4) : some(1 + random.below(8));
      case Shape::mixed:
        return some(1 + random.below(40));
    }
    return {};
  }

  const Shape shape_;
  std::vector<std::string> keys_;
  std::string pool_;
};

/// Draws steps. The weights differ from seed to seed, and some acts are left out: that reaches
/// corners which an even mix does not.
class StepSource {
 public:
  explicit StepSource(std::uint64_t seed) : random_(seed ^ 0x5eed) {
    static constexpr std::array<std::pair<Act, std::uint32_t>, 20> usual = {{
        {Act::put, 200},         {Act::insert, 100},       {Act::update, 60},
        {Act::erase, 120},       {Act::erase_present, 60}, {Act::lookup, 140},
        {Act::read, 60},         {Act::follow, 40},        {Act::next, 120},
        {Act::previous, 100},    {Act::seek, 60},          {Act::open_cursor, 40},
        {Act::scan, 1},          {Act::create_table, 2},   {Act::open_table, 2},
        {Act::destroy_table, 1}, {Act::list, 1},           {Act::begin, 6},
        {Act::commit, 6},        {Act::reopen_domain, 0},
    }};
    for (const auto& [act, weight] : usual) {
      const std::uint64_t factor = random_.below(4);  // 0: left out
      const bool kept = act == Act::put || act == Act::create_table || act == Act::scan;
      total_ += static_cast<std::uint32_t>(weight * (kept ? 2 : factor));
      ends_.emplace_back(act, total_);
    }
    // A small working set meets itself more often.
    keys_used_ = random_.one_in(3) ? 8 : random_.one_in(2) ? 64 : key_count;
    value_size_usual_ = random_.one_in(3) ? 16 : 1024;
  }

  Step draw() noexcept {
    Step step;
    const std::uint64_t at = random_.below(total_);
    step.act = std::find_if(ends_.begin(), ends_.end(), [at](const auto& end) {
                 return at < end.second;
               })->first;
    // About once in a history of 100,000 steps everything is closed.
    if (random_.one_in(100'000)) step.act = Act::reopen_domain;
    const std::uint64_t word = random_.next();
    step.slot = static_cast<std::uint8_t>(word % slot_count);
    step.cursor = static_cast<std::uint8_t>((word >> 8) % cursor_count);
    step.flag = static_cast<std::uint8_t>(word >> 16);
    step.key = key();
    step.other = key();
    const bool large = random_.one_in(2000);
    step.value_size = static_cast<std::uint32_t>(
        random_.below(large ? Universe::value_size_max : value_size_usual_ + 1));
    step.value_at =
        static_cast<std::uint32_t>(random_.below(Universe::pool_size - Universe::value_size_max));
    return step;
  }

 private:
  std::uint16_t key() noexcept {
    // Spread over the whole order, whatever their number is.
    const std::uint64_t index = random_.below(keys_used_) * (key_count / keys_used_);
    return static_cast<std::uint16_t>(index);
  }

  base::Random random_;
  std::vector<std::pair<Act, std::uint32_t>> ends_;
  std::uint32_t total_ = 0;
  std::uint64_t keys_used_ = 0;
  std::uint32_t value_size_usual_ = 0;
};

}  // namespace firn::tests
