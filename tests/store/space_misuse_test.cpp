// Planted mistakes of callers: each stops the process instead of handing a live location out again.
#include <firn/bytes.hpp>

#include "store/space.hpp"
#include "support/catch.hpp"
#include "support/dies.hpp"

namespace {

using namespace firn;
using namespace firn::store;

template <class Action>
bool space_dies(Action action) {
  Result<Space> space = Space::create({.chunk_count = 8, .published_number = 3});
  space->start();
  const Extent extent = *space->allocate(Group::leaves, 4096);
  REQUIRE(extent.count == 8);
  space->check_well_formed();
  return firn::test::dies([&] { action(*space, extent); });
}

}  // namespace

TEST_CASE("space: an extent freed twice is found", "[allocator]") {
  REQUIRE(
      !space_dies([](Space& space, Extent extent) { static_cast<void>(space.free(extent, 4)); }));
  REQUIRE(space_dies([](Space& space, Extent extent) {
    static_cast<void>(space.free(extent, 4));
    static_cast<void>(space.free(extent, 4));
  }));
  REQUIRE(space_dies([](Space& space, Extent extent) {
    static_cast<void>(space.free(extent, 4));
    static_cast<void>(space.free({extent.chunk, extent.granule + 7, 1}, 5));
  }));
  REQUIRE(space_dies([](Space& space, Extent extent) {
    static_cast<void>(space.free(extent, 4));
    space.publish(4);
    space.publish(5);
    static_cast<void>(space.free(extent, 6));
  }));
}

TEST_CASE("space: an extent that is longer than what was allocated is found", "[allocator]") {
  REQUIRE(space_dies([](Space& space, Extent extent) {
    ++extent.count;
    static_cast<void>(space.free(extent, 4));
  }));
  REQUIRE(space_dies([](Space& space, Extent extent) {
    extent.chunk = 8;
    static_cast<void>(space.free(extent, 4));
  }));
}

TEST_CASE("space: a number out of turn is found", "[allocator]") {
  // Under the published number: its image would be reused one checkpoint early.
  REQUIRE(
      space_dies([](Space& space, Extent extent) { static_cast<void>(space.free(extent, 3)); }));
  REQUIRE(
      space_dies([](Space& space, Extent extent) { static_cast<void>(space.free(extent, 6)); }));
  REQUIRE(space_dies([](Space& space, Extent) { space.publish(3); }));
  REQUIRE(space_dies([](Space& space, Extent) { space.publish(5); }));
}

TEST_CASE("space: reservations and phases out of turn are found", "[allocator]") {
  REQUIRE(space_dies([](Space& space, Extent) { space.unreserve(1); }));
  REQUIRE(space_dies([](Space& space, Extent) {
    static_cast<void>(space.allocate(Group::leaves, 512, Claim::reserved));
  }));
  REQUIRE(space_dies([](Space& space, Extent) {
    static_cast<void>(space.mark_live({5, 0, 1}, Group::leaves));
  }));
  REQUIRE(firn::test::dies(
      [] { static_cast<void>(Space::create({.chunk_count = 8})->allocate(Group::leaves, 512)); }));
}
