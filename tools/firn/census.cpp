#include "census.hpp"

#include "tree/node.hpp"

namespace firn::cli {

double fan_out(const tree::Census& census) {
  if (census.inner_pages == 0) return 0;
  // Each node but the root is somebody's child.
  const std::uint64_t children = census.inner_pages + census.leaf_pages - 1;
  return static_cast<double>(children) / static_cast<double>(census.inner_pages);
}

double leaf_fill(const tree::Census& census) {
  if (census.leaf_capacity_bytes == 0) return 0;
  return static_cast<double>(census.leaf_used_bytes) /
         static_cast<double>(census.leaf_capacity_bytes);
}

std::uint64_t value_threshold(const domain::CatalogueRow& row) {
  return row.inline_max != 0 ? row.inline_max : tree::entry_size_max_of(row.leaf_class);
}

nlohmann::ordered_json census_json(const tree::Census& census) {
  return {{"levels", census.levels},         {"inner_pages", census.inner_pages},
          {"leaf_pages", census.leaf_pages}, {"value_pages", census.value_pages},
          {"pairs", census.pairs},           {"fan_out", fan_out(census)},
          {"leaf_fill", leaf_fill(census)}};
}

}  // namespace firn::cli
