// Finds the name somebody meant.
#pragma once

#include <span>
#include <string_view>

namespace firn::cli {

/// The candidate that is fewest edits (insert, delete, replace, swap of neighbours) away from
/// `word`, or nothing if none is near enough to be meant.
[[nodiscard]] std::string_view nearest(std::string_view word,
                                       std::span<const std::string_view> candidates);

}  // namespace firn::cli
