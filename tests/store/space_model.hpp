// A model of the allocator: what each granule is, found by looking at every one of them.
#pragma once

#include <cstdint>
#include <vector>

#include "store/space.hpp"
#include "support/catch.hpp"

namespace firn::test {

class SpaceModel {
 public:
  explicit SpaceModel(std::uint64_t granules) : granules_(granules, free_granule) {}

  void grow(std::uint64_t granules) { granules_.resize(granules_.size() + granules, free_granule); }

  void allocate(store::Extent extent) {
    for (std::uint64_t at = first(extent); at < first(extent) + extent.count; ++at) {
      REQUIRE(at < granules_.size());
      REQUIRE(granules_[at] == free_granule);
      granules_[at] = live_granule;
    }
  }

  void free(store::Extent extent, std::uint64_t number) {
    for (std::uint64_t at = first(extent); at < first(extent) + extent.count; ++at) {
      REQUIRE(granules_[at] == live_granule);
      granules_[at] = number;
    }
  }

  std::uint64_t publish(std::uint64_t number) {
    std::uint64_t released = 0;
    for (std::uint64_t& granule : granules_) {
      if (granule == free_granule || granule == live_granule || granule + 1 > number) continue;
      granule = free_granule;
      ++released;
    }
    return released;
  }

  [[nodiscard]] std::uint64_t live() const {
    return count([](auto g) { return g == live_granule; });
  }
  [[nodiscard]] std::uint64_t pending() const {
    return count([](auto g) { return g != live_granule && g != free_granule; });
  }

 private:
  static constexpr std::uint64_t free_granule = ~std::uint64_t{0};
  static constexpr std::uint64_t live_granule = free_granule - 1;

  static std::uint64_t first(store::Extent extent) {
    return std::uint64_t{extent.chunk} * 64 + extent.granule;
  }
  template <class Predicate>
  [[nodiscard]] std::uint64_t count(Predicate predicate) const {
    std::uint64_t total = 0;
    for (const std::uint64_t granule : granules_) total += predicate(granule) ? 1 : 0;
    return total;
  }

  std::vector<std::uint64_t> granules_;  // free, live, or the number it was given up under
};

}  // namespace firn::test
