// The allocator against a plain model: one entry per granule, no cleverness.
#include "store/space.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include <firn/bytes.hpp>

#include "store/space_model.hpp"
#include "support/catch.hpp"

namespace {

using namespace firn;
using namespace firn::store;
using firn::test::SpaceModel;

// FIRN_SEED=n repeats a failure; it is printed with it.
std::uint64_t seed_base() {
  const char* text = std::getenv("FIRN_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

SpaceOptions small(Reuse reuse, std::uint32_t chunks) {
  return {.chunk_bytes = 64 * 512, .reuse = reuse, .chunk_count = chunks, .background_chunks = 1};
}

Space started(const SpaceOptions& options) {
  Result<Space> space = Space::create(options);
  REQUIRE(space.has_value());
  space->start();
  return *std::move(space);
}

// What publication has to give back, and what the superblock would list.
struct History {
  SpaceModel model;
  std::vector<std::pair<Extent, Group>> live;

  void step(Space& space, std::mt19937_64& random, bool cleaning) {
    const auto group = static_cast<Group>(random() % group_count);
    const unsigned choice = static_cast<unsigned>(random() % 100);
    if (choice < 55) {
      const std::uint64_t granules = random() % 40 == 0 ? 65 + random() % 200 : 1 + random() % 24;
      const std::uint64_t bytes = granules * 512 - random() % 512;
      const Claim claim = random() % 8 == 0 ? Claim::background : Claim::ordinary;
      const SpaceStatistics before = space.statistics();
      const Result<Extent> extent = space.allocate(group, bytes, claim);
      if (extent.has_value()) {
        REQUIRE(extent->count == granules);
        model.allocate(*extent);
        live.emplace_back(*extent, group);
      } else {
        REQUIRE(extent.error().code == ErrorCode::no_space);
        const SpaceStatistics after = space.statistics();
        REQUIRE(after.live == before.live);
        REQUIRE(after.free == before.free);
        REQUIRE(after.used_chunks == before.used_chunks);
      }
    } else if (choice < 95) {
      if (live.empty()) return;
      const std::size_t at = random() % live.size();
      // The number being written, or the one after its cut.
      const std::uint64_t number = space.published_number() + 1 + random() % 2;
      REQUIRE(space.free(live[at].first, number).has_value());
      model.free(live[at].first, number);
      live[at] = live.back();
      live.pop_back();
    } else if (choice < 99) {
      const std::uint64_t number = space.published_number() + 1;
      REQUIRE(space.publish(number) == model.publish(number));
    } else if (cleaning || random() % 4 == 0) {
      clean(space, random);
    } else {
      const auto chunks = static_cast<std::uint32_t>(random() % 2);
      REQUIRE(space.grow(chunks).has_value());
      model.grow(std::uint64_t{chunks} * 64);
    }
  }

  // Copies what lives in the emptiest chunks, as the cleaner of an append-only segment does.
  void clean(Space& space, std::mt19937_64& random) {
    const auto victims = space.pick_victims(2, 80);
    REQUIRE(victims.has_value());
    for (const std::uint32_t victim : *victims) space.drain(victim);
    for (const std::uint32_t victim : *victims) {
      REQUIRE(space.sealed(victim));
      for (auto& [extent, group] : live) {
        if (extent.chunk != victim || extent.count > 64) continue;
        const Result<Extent> copy =
            space.allocate(group, std::uint64_t{extent.count} * 512, Claim::background);
        if (!copy.has_value()) return;
        model.allocate(*copy);
        const std::uint64_t number = space.published_number() + 1 + random() % 2;
        REQUIRE(space.free(extent, number).has_value());
        model.free(extent, number);
        extent = *copy;
      }
    }
  }

  // A space rebuilt from the mapping and the pending-free list, as recovery does. What was given up
  // under numbers not published is live again: the superblock's mapping still names it.
  Space rebuilt(const Space& space, SpaceOptions options) const {
    options.chunk_count = space.chunk_count();
    options.published_number = space.published_number();
    Result<Space> other = Space::create(options);
    REQUIRE(other.has_value());
    for (const auto& [extent, group] : live) REQUIRE(other->mark_live(extent, group).has_value());
    for (const std::uint32_t ahead : {1U, 2U}) {
      for (const Extent extent : space.pending(space.published_number() + ahead)) {
        REQUIRE(other->mark_live(extent, Group::leaves).has_value());
      }
    }
    for (const Extent extent : space.pending(space.published_number())) {
      REQUIRE(other->mark_pending(extent, Group::leaves).has_value());
    }
    other->start();
    for (const std::uint32_t ahead : {1U, 2U}) {
      const std::uint64_t number = space.published_number() + ahead;
      for (const Extent extent : space.pending(number)) {
        REQUIRE(other->free(extent, number).has_value());
      }
    }
    return *std::move(other);
  }
};

}  // namespace

TEST_CASE("space: agrees with a plain model through random histories", "[allocator]") {
  const Reuse reuse = GENERATE(Reuse::holes, Reuse::write_once);
  for (std::uint64_t seed = seed_base(); seed < seed_base() + 40; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    SpaceOptions options = small(reuse, static_cast<std::uint32_t>(4 + random() % 40));
    Space space = started(options);
    History history{SpaceModel(std::uint64_t{options.chunk_count} * 64), {}};
    for (int step = 0; step < 3000; ++step) {
      history.step(space, random, reuse == Reuse::write_once);
      if (step % 100 == 0) {
        space.check_well_formed();
        const SpaceStatistics statistics = space.statistics();
        REQUIRE(statistics.live == history.model.live());
        REQUIRE(statistics.pending == history.model.pending());
        for (const auto& [extent, group] : history.live) REQUIRE(space.is_live(extent));
        REQUIRE(statistics.live + statistics.pending + statistics.dead + statistics.free ==
                std::uint64_t{space.chunk_count()} * 64);
      }
    }
    Space rebuilt = history.rebuilt(space, options);
    rebuilt.check_well_formed();
    const SpaceStatistics before = space.statistics();
    const SpaceStatistics after = rebuilt.statistics();
    REQUIRE(after.live == before.live);
    REQUIRE(after.pending == before.pending);
    if (reuse == Reuse::holes) {
      REQUIRE(after.dead == 0);
      REQUIRE(after.free == before.free + before.dead);  // drained chunks have their holes back
      REQUIRE(after.empty_chunks == before.empty_chunks);
    }
    // It goes on working, and in the end all of it comes back.
    for (int step = 0; step < 300; ++step) {
      history.step(rebuilt, random, reuse == Reuse::write_once);
    }
    for (const auto& [extent, group] : history.live) {
      REQUIRE(rebuilt.free(extent, rebuilt.published_number() + 1).has_value());
    }
    for (int times = 0; times < 3; ++times) rebuilt.publish(rebuilt.published_number() + 1);
    if (reuse == Reuse::write_once) {
      for (unsigned group = 0; group < group_count; ++group) {
        rebuilt.seal(static_cast<Group>(group));
      }
    }
    rebuilt.check_well_formed();
    REQUIRE(rebuilt.statistics().free == std::uint64_t{rebuilt.chunk_count()} * 64);
  }
}

TEST_CASE("space: a location comes back only after the number behind its own is published",
          "[allocator]") {
  SpaceOptions options = small(Reuse::holes, 2);
  options.background_chunks = 0;
  options.published_number = 7;
  Space space = started(options);
  const Extent first = *space.allocate(Group::leaves, 64 * 512);
  const Extent second = *space.allocate(Group::leaves, 64 * 512);
  REQUIRE(first != second);
  REQUIRE(space.free(first, 8).has_value());   // while 8 is being written
  REQUIRE(space.free(second, 9).has_value());  // behind the cut of 8
  REQUIRE(space.publish(8) == 0);
  REQUIRE(space.pending(8).size() == 1);
  REQUIRE(space.allocate(Group::leaves, 512).error().code == ErrorCode::no_space);
  REQUIRE(space.publish(9) == 64);
  REQUIRE(space.allocate(Group::leaves, 64 * 512)->chunk == first.chunk);
  REQUIRE(space.allocate(Group::leaves, 512).error().code == ErrorCode::no_space);
  REQUIRE(space.publish(10) == 64);
  REQUIRE(space.allocate(Group::leaves, 64 * 512)->chunk == second.chunk);
}

TEST_CASE("space: what is pending in the superblock waits for the next publication after recovery",
          "[allocator]") {
  SpaceOptions options = small(Reuse::holes, 1);
  options.background_chunks = 0;
  options.published_number = 5;
  Result<Space> space = Space::create(options);
  REQUIRE(space->mark_pending({0, 0, 64}, Group::runs).has_value());
  space->start();
  REQUIRE(space->allocate(Group::runs, 512).error().code == ErrorCode::no_space);
  REQUIRE(space->publish(6) == 64);
  REQUIRE(space->allocate(Group::runs, 512).has_value());
}

TEST_CASE("space: images written together lie together", "[allocator]") {
  Space space = started({.chunk_count = 16});
  Extent former = *space.allocate(Group::leaves, 5000);
  for (int image = 0; image < 50; ++image) {
    // Other groups write at the same time, elsewhere.
    const Extent run = *space.allocate(Group::runs, 40'000);
    const Extent leaf = *space.allocate(Group::leaves, 5000);
    REQUIRE(run.chunk != leaf.chunk);
    REQUIRE(space.offset_of(leaf) == space.offset_of(former) + std::uint64_t{former.count} * 512);
    former = leaf;
  }
}

TEST_CASE("space: an extent longer than a chunk takes whole consecutive chunks", "[allocator]") {
  const Reuse reuse = GENERATE(Reuse::holes, Reuse::write_once);
  Space space = started(small(reuse, 10));
  REQUIRE(space.allocate(Group::other, 512).has_value());
  const Extent large = *space.allocate(Group::other, 200 * 512);
  REQUIRE(large.granule == 0);
  REQUIRE(large.count == 200);
  space.check_well_formed();
  REQUIRE(space.statistics().groups[2].dead == (reuse == Reuse::write_once ? 4 * 64 - 200 : 0));
  REQUIRE(space.allocate(Group::other, 8 * 64 * 512).error().code == ErrorCode::no_space);
  REQUIRE(space.free(large, 1).has_value());
  space.publish(1);
  REQUIRE(space.publish(2) == 200);
  space.check_well_formed();
  REQUIRE(space.statistics().empty_chunks == 9);
  REQUIRE(space.allocate(Group::leaves, std::uint64_t{1} << 50).error().code ==
          ErrorCode::no_space);
}

TEST_CASE("space: exhausted - it says so and changes nothing - growth helps on line",
          "[allocator]") {
  Space space = started(small(Reuse::holes, 4));
  std::uint64_t taken = 0;
  while (space.allocate(Group::leaves, 3 * 512).has_value()) taken += 3;
  while (space.allocate(Group::runs, 512).has_value()) ++taken;
  REQUIRE(taken == 3 * 64);  // the fourth chunk is the background's
  const Result<Extent> refused = space.allocate(Group::leaves, 512);
  REQUIRE(refused.error().code == ErrorCode::no_space);
  REQUIRE(refused.error().place.segment == 0);
  REQUIRE(space.statistics().live == taken);
  REQUIRE(space.allocate(Group::other, 512, Claim::background)->chunk == 3);
  REQUIRE(space.grow(1).has_value());
  REQUIRE(space.chunk_count() == 5);
  REQUIRE(space.allocate(Group::leaves, 512).has_value());
  REQUIRE(space.grow(~std::uint32_t{0}).error().code == ErrorCode::too_large);
  space.check_well_formed();
}

TEST_CASE("space: what is reserved stays there for who reserved it", "[allocator]") {
  Space space = started(small(Reuse::holes, 4));
  REQUIRE(space.available() == 3 * 64);
  REQUIRE(space.reserve(100).has_value());
  REQUIRE(space.reserve(93).error().code == ErrorCode::no_space);
  REQUIRE(space.available() == 92);
  while (space.allocate(Group::leaves, 512).has_value()) continue;
  REQUIRE(space.statistics().live == 92);
  for (int index = 0; index < 90; ++index) {
    REQUIRE(space.allocate(Group::runs, 512, Claim::reserved).has_value());
  }
  REQUIRE(space.statistics().reserved == 10);
  space.unreserve(10);
  REQUIRE(space.statistics().reserved == 0);
  // The background may take all that is not reserved.
  while (space.allocate(Group::other, 512, Claim::background).has_value()) continue;
  REQUIRE(space.statistics().free == 0);
  space.check_well_formed();
}

TEST_CASE("space: write-once chunks are filled once - sealed - and come back whole",
          "[allocator]") {
  SpaceOptions options = small(Reuse::write_once, 8);
  Space space = started(options);
  std::vector<Extent> extents;
  for (int index = 0; index < 24; ++index) {
    extents.push_back(*space.allocate(Group::leaves, 16 * 512));
  }
  REQUIRE(space.sealed(extents[0].chunk));
  // 3 of 4 extents die in the second chunk filled, 1 of 4 in the fourth, all in the third.
  for (const unsigned index : {4U, 5U, 6U, 12U, 8U, 9U, 10U, 11U}) {
    REQUIRE(space.free(extents[index], 1).has_value());
  }
  space.publish(1);
  const std::uint32_t empty = space.statistics().empty_chunks;
  space.publish(2);
  REQUIRE(space.statistics().empty_chunks == empty + 1);
  const auto victims = space.pick_victims(10, 80);
  REQUIRE(*victims == std::vector<std::uint32_t>{extents[4].chunk, extents[12].chunk});
  REQUIRE(space.pick_victims(1, 80)->size() == 1);
  const Extent copy = *space.allocate(Group::leaves, 16 * 512, Claim::background);
  const Extent fresh = *space.allocate(Group::leaves, 16 * 512);
  REQUIRE(copy.chunk != fresh.chunk);  // survivors and newcomers apart
  space.check_well_formed();
}

TEST_CASE("space: damage in what recovery marks is corrupt", "[allocator]") {
  Result<Space> space = Space::create(small(Reuse::holes, 4));
  REQUIRE(space->mark_live({1, 10, 20}, Group::leaves).has_value());
  for (const Extent extent : {Extent{1, 29, 1}, Extent{1, 0, 11}, Extent{0, 0, 75},
                              Extent{0, 60, 5}, Extent{4, 0, 1}, Extent{0, 64, 1}, Extent{0, 0, 0},
                              Extent{3, 0, 65}, Extent{0, 0, ~0U}, Extent{~0U, ~0U, ~0U}}) {
    CAPTURE(extent.chunk, extent.granule, extent.count);
    REQUIRE(space->mark_live(extent, Group::leaves).error().code == ErrorCode::corrupt);
    REQUIRE(space->mark_pending(extent, Group::leaves).error().code == ErrorCode::corrupt);
  }
  REQUIRE(space->mark_live({1, 30, 34}, Group::leaves).has_value());
  REQUIRE(space->mark_live({2, 0, 128}, Group::leaves).has_value());
  space->start();
  space->check_well_formed();
  REQUIRE(space->statistics().live == 20 + 34 + 128);
}

TEST_CASE("space: nonsense options are refused", "[allocator]") {
  const auto code = [](SpaceOptions options) { return Space::create(options).error().code; };
  REQUIRE(code({.chunk_bytes = 3 << 20}) == ErrorCode::invalid_argument);
  REQUIRE(code({.chunk_bytes = 1 << 27}) == ErrorCode::invalid_argument);
  REQUIRE(code({.chunk_bytes = 16384}) == ErrorCode::invalid_argument);
  REQUIRE(code({.granule_bytes = 256}) == ErrorCode::invalid_argument);
  REQUIRE(code({.chunk_count = ~0U}) == ErrorCode::too_large);
  REQUIRE(started({.chunk_bytes = 1 << 26, .granule_bytes = 4096, .chunk_count = 3})
              .allocate(Group::leaves, 1)
              ->count == 1);
}
