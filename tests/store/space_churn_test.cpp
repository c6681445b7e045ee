// Long churn of trimmed images: does the space stay usable, and how long does the file get?
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <firn/bytes.hpp>

#include "store/space.hpp"
#include "support/catch.hpp"

namespace {

using namespace firn;
using namespace firn::store;

// Images of pages, trimmed to their used length, replaced one at a time at random: harder than the
// engine's own load, whose images die in batches.
class Churn {
 public:
  Churn(Space& space, std::uint64_t seed) : space_(space), random_(seed) {}

  // Three of ten bytes are runs, one of twenty metadata; the groups keep their sizes from here on.
  bool fill(std::uint64_t bytes) {
    targets_ = {bytes * 13 / 20, bytes * 6 / 20, bytes / 20};
    for (const Group group : {Group::leaves, Group::runs, Group::other}) {
      while (live_in(group) < target_of(group)) {
        if (place(group, next_bytes(group)) == 0) return false;
      }
    }
    return true;
  }

  // Rewrites images until `bytes` have been written, publishing after every `publish_every` bytes.
  bool rewrite(std::uint64_t bytes, std::uint64_t publish_every) {
    auto until_publish = static_cast<std::int64_t>(publish_every);
    for (std::uint64_t written = 0; written < bytes;) {
      const std::size_t at = random_() % images_.size();
      const Image old = images_[at];
      images_[at] = images_.back();
      images_.pop_back();
      live_in(old.group) -= old.extent.count * 512ULL;
      if (!space_.free(old.extent, space_.published_number() + 1).has_value()) return false;
      while (live_in(old.group) < target_of(old.group)) {
        const std::uint64_t wanted = next_bytes(old.group);
        std::uint64_t size = place(old.group, wanted);
        while (size == 0 && empty_a_chunk()) size = place(old.group, wanted);
        if (size == 0) return false;
        written += size;
        until_publish -= static_cast<std::int64_t>(size);
        if (until_publish > 0) continue;
        space_.publish(space_.published_number() + 1);
        until_publish = static_cast<std::int64_t>(publish_every);
      }
    }
    return true;
  }

  [[nodiscard]] std::uint64_t live_bytes() const { return space_.live_granules() * 512; }
  [[nodiscard]] double file_by_live() const {
    return static_cast<double>(space_.used_chunks()) * static_cast<double>(1_MiB) /
           static_cast<double>(live_bytes());
  }
  // Bytes written from one place to the next: how long the writes are.
  [[nodiscard]] double write_length() const {
    return static_cast<double>(placed_) / static_cast<double>(starts_);
  }
  [[nodiscard]] double moved_by_written() const {
    return static_cast<double>(moved_) / static_cast<double>(placed_);
  }
  void forget_writes() { placed_ = starts_ = 0; }

 private:
  struct Image {
    Extent extent;
    Group group;
  };

  std::uint64_t& live_in(Group group) { return live_[static_cast<unsigned>(group)]; }
  std::uint64_t target_of(Group group) const { return targets_[static_cast<unsigned>(group)]; }
  std::uint64_t next_bytes(Group group) {
    switch (group) {
      case Group::leaves:
        return 8_KiB + random_() % 8_KiB;
      case Group::runs:
        return 4_KiB + random_() % 124_KiB;
      case Group::other:
      case Group::metadata:
        return 1 + random_() % 4_KiB;
    }
    return 1;
  }
  // What the store does when there is room but no hole: moves what lives in the emptiest chunk.
  bool empty_a_chunk() {
    const auto victims = space_.pick_victims(1, 90);
    if (!victims.has_value() || victims->empty()) return false;
    space_.drain(victims->front());
    for (Image& image : images_) {
      if (image.extent.chunk != victims->front()) continue;
      const std::uint64_t bytes = image.extent.count * 512ULL;
      const Result<Extent> copy = space_.allocate(image.group, bytes, Claim::background);
      if (!copy.has_value()) return false;
      if (!space_.free(image.extent, space_.published_number() + 1).has_value()) return false;
      image.extent = *copy;
      moved_ += bytes;
    }
    for (int times = 0; times < 2; ++times) space_.publish(space_.published_number() + 1);
    return true;
  }
  // Returns the bytes it takes, 0 if there is no room.
  std::uint64_t place(Group group, std::uint64_t bytes) {
    const Result<Extent> extent = space_.allocate(group, bytes);
    if (!extent.has_value()) return 0;
    images_.push_back({*extent, group});
    std::uint64_t& end = ends_[static_cast<unsigned>(group)];
    if (space_.offset_of(*extent) != end) ++starts_;
    end = space_.offset_of(*extent) + std::uint64_t{extent->count} * 512;
    placed_ += bytes;
    live_in(group) += extent->count * 512ULL;
    return extent->count * 512ULL;
  }

  Space& space_;
  std::mt19937_64 random_;
  std::vector<Image> images_;
  std::array<std::uint64_t, group_count> targets_{}, live_{};
  std::uint64_t placed_ = 0, starts_ = 0, moved_ = 0;
  std::uint64_t ends_[group_count] = {};
};

constexpr std::uint64_t live = 96_MiB;

}  // namespace

TEST_CASE("space: at 85 % live it stays usable through long churn", "[allocator]") {
  constexpr auto chunks = static_cast<std::uint32_t>(live * 100 / 85 / 1_MiB);
  Space space = *Space::create({.chunk_count = chunks});
  space.start();
  Churn churn(space, 1);
  REQUIRE(churn.fill(live));
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    REQUIRE(churn.rewrite(live, live / 200));
    space.check_well_formed();
  }
  const SpaceStatistics statistics = space.statistics();
  SUCCEED(
      fmt::format("85 % live, 20 rewrites: file {:.3f} x live, longest hole {} granules, {} holes, "
                  "fragmentation {:.2f}, writes of {:.0f} KiB, moved {:.4f} of what was written",
                  churn.file_by_live(), statistics.longest_hole, statistics.holes,
                  statistics.fragmentation, churn.write_length() / 1024, churn.moved_by_written()));
  REQUIRE(churn.file_by_live() <= 1.3);
  REQUIRE(churn.moved_by_written() <= 0.05);
}

TEST_CASE("space: a file that may grow stops growing", "[allocator]") {
  struct Case {
    std::uint64_t publish_per_mille;
    double file_max;
  };
  for (const Case& each : {Case{2, 1.3}, Case{20, 1.3}, Case{100, 1.6}}) {
    Space space = *Space::create({.chunk_count = 1000});
    space.start();
    Churn churn(space, 2);
    REQUIRE(churn.fill(live));
    std::string figures;
    double former = 0;
    for (const int rewrites : {1, 3, 6, 10}) {
      former = churn.file_by_live();
      churn.forget_writes();
      REQUIRE(churn.rewrite(live * static_cast<unsigned>(rewrites),
                            live * each.publish_per_mille / 1000));
      figures +=
          fmt::format(" {:.3f} ({:.0f} KiB)", churn.file_by_live(), churn.write_length() / 1024);
    }
    space.check_well_formed();
    SUCCEED(
        fmt::format("publishing every {} per mille: file / live (write length) after 1, 4, 10, 20 "
                    "rewrites:{}",
                    each.publish_per_mille, figures));
    REQUIRE(churn.file_by_live() <= each.file_max);
    REQUIRE(churn.file_by_live() <= former * 1.03);
  }
}
