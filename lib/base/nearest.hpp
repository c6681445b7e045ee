// The known name that an unknown one was most likely meant to be.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string_view>
#include <utility>

namespace firn::base {

/// Of longer names only the beginnings are compared.
inline constexpr std::size_t compared_letters_max = 64;

/// The number of letters to insert, remove, replace or swap with their neighbour to turn `left`
/// into `right` (Damerau and Levenshtein, no letter edited twice).
[[nodiscard]] constexpr std::size_t edit_distance(std::string_view left,
                                                  std::string_view right) noexcept {
  left = left.substr(0, compared_letters_max);
  right = right.substr(0, compared_letters_max);
  std::size_t rows[3][compared_letters_max + 1] = {};
  std::size_t* two_back = rows[0];
  std::size_t* back = rows[1];
  std::size_t* row = rows[2];
  for (std::size_t j = 0; j <= right.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= left.size(); ++i) {
    std::swap(two_back, back);
    std::swap(back, row);
    row[0] = i;
    for (std::size_t j = 1; j <= right.size(); ++j) {
      const std::size_t replaced = back[j - 1] + (left[i - 1] == right[j - 1] ? 0 : 1);
      row[j] = std::min({back[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1]) {
        row[j] = std::min(row[j], two_back[j - 2] + 1);
      }
    }
  }
  return row[right.size()];
}

/// How far a known name is from what somebody wrote. One that was cut short is near.
[[nodiscard]] constexpr std::size_t distance(std::string_view word,
                                             std::string_view known) noexcept {
  return word.size() > 1 && known.starts_with(word) && known != word ? 1
                                                                     : edit_distance(word, known);
}

/// The first of the nearest names. `known` is not empty.
template <class Names>
[[nodiscard]] constexpr auto nearest(std::string_view word, const Names& known) noexcept {
  return *std::min_element(std::begin(known), std::end(known),
                           [word](std::string_view left, std::string_view right) {
                             return distance(word, left) < distance(word, right);
                           });
}

/// The same of those that may have been meant: a third of the letters may be wrong, or two of a
/// short word, and not all of them. Empty: there is none.
template <class Names>
[[nodiscard]] constexpr std::string_view nearest_meant(std::string_view word,
                                                       const Names& known) noexcept {
  const std::size_t size = std::min(word.size(), compared_letters_max);
  const std::size_t distance_max = std::max<std::size_t>(2, size / 3);
  std::string_view best;
  std::size_t best_distance = distance_max + 1;
  for (const std::string_view name : known) {
    const std::size_t found = distance(word, name);
    if (found >= best_distance || found >= std::max(size, name.size())) continue;
    best = name;
    best_distance = found;
  }
  return best;
}

}  // namespace firn::base
