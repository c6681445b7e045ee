// Bits of granules, one per granule, worked on a word at a time.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace firn::store::granule_map {

inline constexpr std::uint32_t word_bits = 64;

// The bits of [begin, end) that lie in one word.
constexpr std::uint64_t mask(std::uint32_t begin, std::uint32_t end) noexcept {
  const std::uint64_t upto = end == word_bits ? ~std::uint64_t{0} : (std::uint64_t{1} << end) - 1;
  return upto & ~((std::uint64_t{1} << begin) - 1);
}

// Calls visit(word, mask) for the words of [begin, end) until it returns false.
template <class Word, class Visit>
constexpr bool for_each_word(std::span<Word> words, std::uint32_t begin, std::uint32_t end,
                             Visit visit) noexcept {
  while (begin < end) {
    const std::uint32_t index = begin / word_bits;
    const std::uint32_t stop = end < (index + 1) * word_bits ? end : (index + 1) * word_bits;
    if (!visit(words[index], mask(begin % word_bits, stop - index * word_bits))) return false;
    begin = stop;
  }
  return true;
}

inline void set(std::span<std::uint64_t> words, std::uint32_t begin, std::uint32_t end) noexcept {
  for_each_word(words, begin, end, [](std::uint64_t& word, std::uint64_t bits) {
    word |= bits;
    return true;
  });
}

inline void clear(std::span<std::uint64_t> words, std::uint32_t begin, std::uint32_t end) noexcept {
  for_each_word(words, begin, end, [](std::uint64_t& word, std::uint64_t bits) {
    word &= ~bits;
    return true;
  });
}

[[nodiscard]] inline bool all_set(std::span<const std::uint64_t> words, std::uint32_t begin,
                                  std::uint32_t end) noexcept {
  return for_each_word(words, begin, end, [](const std::uint64_t& word, std::uint64_t bits) {
    return (word & bits) == bits;
  });
}

[[nodiscard]] inline bool none_set(std::span<const std::uint64_t> words, std::uint32_t begin,
                                   std::uint32_t end) noexcept {
  return for_each_word(words, begin, end, [](const std::uint64_t& word, std::uint64_t bits) {
    return (word & bits) == 0;
  });
}

[[nodiscard]] inline std::uint32_t count(std::span<const std::uint64_t> words) noexcept {
  std::uint32_t total = 0;
  for (const std::uint64_t word : words) total += static_cast<std::uint32_t>(std::popcount(word));
  return total;
}

// The first bit at or after `from` that is `wanted`, or `end`.
[[nodiscard]] inline std::uint32_t find(std::span<const std::uint64_t> words, std::uint32_t from,
                                        std::uint32_t end, bool wanted) noexcept {
  while (from < end) {
    const std::uint32_t index = from / word_bits;
    const std::uint64_t word = wanted ? words[index] : ~words[index];
    const std::uint64_t rest = word >> (from % word_bits);
    if (rest != 0) {
      const std::uint32_t at = from + static_cast<std::uint32_t>(std::countr_zero(rest));
      return at < end ? at : end;
    }
    from = (index + 1) * word_bits;
  }
  return end;
}

// Calls visit(begin, end) for each run of clear bits in [from, end) until it returns false.
template <class Visit>
void for_each_hole(std::span<const std::uint64_t> words, std::uint32_t from, std::uint32_t end,
                   Visit visit) noexcept {
  for (std::uint32_t begin = find(words, from, end, false); begin < end;) {
    const std::uint32_t stop = find(words, begin, end, true);
    if (!visit(begin, stop)) return;
    begin = find(words, stop, end, false);
  }
}

[[nodiscard]] inline std::uint32_t longest_hole(std::span<const std::uint64_t> words,
                                                std::uint32_t end) noexcept {
  std::uint32_t longest = 0;
  for_each_hole(words, 0, end, [&](std::uint32_t begin, std::uint32_t stop) {
    if (stop - begin > longest) longest = stop - begin;
    return true;
  });
  return longest;
}

}  // namespace firn::store::granule_map
