// The known name that an unknown one was most likely meant to be.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

namespace firn::base {

/// The number of letters to insert, remove or replace to turn `left` into `right` (Levenshtein),
/// looking at the first 32 letters of each.
[[nodiscard]] constexpr std::size_t edit_distance(std::string_view left,
                                                  std::string_view right) noexcept {
  constexpr std::size_t length_max = 32;
  left = left.substr(0, length_max);
  right = right.substr(0, length_max);
  std::size_t row[length_max + 1] = {};
  for (std::size_t index = 0; index <= right.size(); ++index) row[index] = index;
  for (std::size_t line = 1; line <= left.size(); ++line) {
    std::size_t diagonal = row[0];
    row[0] = line;
    for (std::size_t index = 1; index <= right.size(); ++index) {
      const std::size_t above = row[index];
      const std::size_t replaced = diagonal + (left[line - 1] == right[index - 1] ? 0 : 1);
      row[index] = std::min({above + 1, row[index - 1] + 1, replaced});
      diagonal = above;
    }
  }
  return row[right.size()];
}

/// The first of the nearest names; `known` is not empty.
[[nodiscard]] constexpr const char* nearest(std::string_view name,
                                            std::span<const char* const> known) noexcept {
  const char* best = known.front();
  for (const char* candidate : known) {
    if (edit_distance(name, candidate) < edit_distance(name, best)) best = candidate;
  }
  return best;
}

}  // namespace firn::base
