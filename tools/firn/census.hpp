// What commands tell of a table's tree.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "domain/native/catalogue_row.hpp"
#include "tree/tree.hpp"

namespace firn::cli {

/// Children of an inner node, on the average.
[[nodiscard]] double fan_out(const tree::Census& census);
/// The part of the leaves' bytes that is in use.
[[nodiscard]] double leaf_fill(const tree::Census& census);
/// Bytes above which the table's values have a page of their own.
[[nodiscard]] std::uint64_t value_threshold(const domain::CatalogueRow& row);

[[nodiscard]] nlohmann::ordered_json census_json(const tree::Census& census);

}  // namespace firn::cli
