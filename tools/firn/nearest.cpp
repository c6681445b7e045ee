#include "nearest.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace firn::cli {
namespace {

// The distance with swaps of neighbours, by rows: `two_back` and `back` are the rows before `row`.
std::size_t edit_distance(std::string_view left, std::string_view right) {
  std::vector<std::size_t> two_back(right.size() + 1);
  std::vector<std::size_t> back(right.size() + 1);
  std::vector<std::size_t> row(right.size() + 1);
  for (std::size_t j = 0; j <= right.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= left.size(); ++i) {
    std::swap(two_back, back);
    std::swap(back, row);
    row[0] = i;
    for (std::size_t j = 1; j <= right.size(); ++j) {
      const bool equal = left[i - 1] == right[j - 1];
      row[j] = std::min({back[j] + 1, row[j - 1] + 1, back[j - 1] + (equal ? 0 : 1)});
      if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1]) {
        row[j] = std::min(row[j], two_back[j - 2] + 1);
      }
    }
  }
  return row[right.size()];
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  // Every third letter may be wrong, and two in a short word. Nobody's command is longer than this.
  constexpr std::size_t word_size_max = 64;
  if (word.size() > word_size_max) return {};
  std::size_t limit = std::max<std::size_t>(2, word.size() / 3);
  std::string_view best;
  for (const std::string_view candidate : candidates) {
    const bool cut_short = word.size() > 1 && candidate.starts_with(word);
    const std::size_t distance = cut_short ? 1 : edit_distance(word, candidate);
    // A candidate that shares no letter with the word is never meant.
    if (distance > limit || distance >= std::max(word.size(), candidate.size())) continue;
    if (!best.empty() && distance == limit) continue;
    best = candidate;
    limit = distance;
  }
  return best;
}

}  // namespace firn::cli
