// One damage at a time to the pages of trees in a published checkpoint: no read gives a wrong
// value, errors name segment and page, a census notices each, and the rest is whole.
//   firn_tree_corruption [--seed N] [--faults N] [--seconds N]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "crash/harness.hpp"
#include "crash/tree_opened.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using Block = std::vector<std::byte>;

struct Image {
  PageId page;
  std::uint64_t offset = 0;
  Block block;
};

// Damages the last checkpoint of one history. Runs on a fiber; `wrong` says what went wrong first.
class Matrix {
 public:
  Matrix(runtime::ExecutorCore& core, segment::SimulatedDevice& device,
         segment::SimulatedBackend& backend, std::uint64_t seed)
      : device_(device), random_(seed), opened_(backend, core, true) {}

  std::string wrong;
  std::uint64_t faults = 0;

  void run(runtime::ExecutorCore& core) {
    if (!opened_.outcome().has_value()) return reject("does not open");
    TreeReader reader(opened_.store(), core);
    reader.read();
    if (!reader.wrong.empty()) return reject(reader.wrong);
    tables_ = reader.tables;
    for (const std::uint64_t bits : reader.pages) {
      images_.push_back(image_of(PageId::from_bits(bits)));
    }
    for (std::size_t index = 0; index < images_.size() && wrong.empty(); ++index) {
      damage_one(index);
    }
    expect(PageId(), false);
  }

 private:
  void reject(const std::string& what) {
    if (wrong.empty()) wrong = "after " + std::to_string(faults) + ": " + what;
  }

  Image image_of(PageId page) {
    const auto extent = opened_.store().entry(page).location.extent();
    Image image{.page = page,
                .offset = std::uint64_t{extent.chunk} * tree_history_options.chunk_bytes +
                          std::uint64_t{extent.granule} * segment::sector_bytes,
                .block = Block(extent.count * segment::sector_bytes)};
    device_.content().read(image.offset, image.block);
    return image;
  }

  void damage_one(std::size_t index) {
    const Image& image = images_[index];
    const auto damage = [&](const Block& block) {
      if (block == image.block || !wrong.empty()) return;
      device_.overwrite(image.offset, block);
      expect(image.page, true);
      device_.overwrite(image.offset, image.block);
      ++faults;
    };
    for (int flip = 0; flip < 12; ++flip) {
      Block flipped = image.block;
      const std::uint64_t reach = flip < 6 ? 256 : flipped.size();
      flipped[random_.below(reach)] ^= std::byte{1} << random_.below(8);
      damage(flipped);
    }
    damage(Block(image.block.size()));
    for (std::size_t at = segment::sector_bytes; at < image.block.size();
         at += segment::sector_bytes) {
      Block torn = image.block;
      std::fill(torn.begin() + static_cast<long>(at), torn.end(), std::byte{});
      damage(torn);
    }
    // Another page's image in its place.
    const Image& other = images_[(index + 1) % images_.size()];
    Block block = image.block;
    std::copy_n(other.block.begin(), std::min(block.size(), other.block.size()), block.begin());
    damage(block);
  }

  // All trees are read with nothing in memory. `damaged`: the page, if there is one.
  void expect(PageId damaged, bool any) {
    while (opened_.pool().evict(~std::uint64_t{0} >> 1, 1U << 20) > 0) {
    }
    bool noticed = false;
    bool names_it = true;
    const auto look = [&](const Error& error) {
      noticed = true;
      names_it = names_it && error.code == ErrorCode::corrupt && error.place.segment == 0 &&
                 error.place.page == damaged.bits();
    };
    const Pairs entries = tables_[catalogue_table];
    for (const auto& [id, pairs] : tables_) {
      const tree::Shape shape =
          id == catalogue_table ? opened_.catalogue() : shape_of(entries.at(table_key(id)));
      tree::Tree tree(opened_.pool(), shape);
      tree::Census census;
      if (auto counted = tree.census(census); !counted.has_value()) look(counted.error());
      Pairs scanned;
      std::string lost;
      const auto scan = opened_.scan(tree, scanned, lost);
      if (!scan.has_value()) look(scan.error());
      for (const auto& [key, value] : scanned) {
        const auto known = pairs.find(key);
        if (known == pairs.end() || known->second != value) return reject("a cursor reads wrongly");
      }
      if (scan.has_value() && scanned.size() != pairs.size()) return reject("a cursor loses pairs");
      for (const auto& [key, value] : pairs) {
        if (!random_.one_in(4)) continue;
        std::string found;
        const auto looked = opened_.lookup(tree, key, found);
        if (!looked.has_value()) {
          look(looked.error());
        } else if (!*looked || found != value) {
          return reject("a wrong read");
        }
      }
    }
    if (noticed != any) reject(any ? "a damaged page is not noticed" : "damage that is not there");
    if (!names_it) reject("another error or place for a damaged page");
  }

  segment::SimulatedDevice& device_;
  base::Random random_;
  OpenedTrees opened_;
  Tables tables_;
  std::vector<Image> images_;
};

std::string damage_one_history(std::uint64_t seed, std::uint64_t& faults) {
  segment::SimulatedDevice device(tree_history_bytes);
  std::vector<TreeContent> contents;
  {
    Executors executors(seed, 2);
    segment::SimulatedBackend backend(device, device_options(seed));
    TreeHistory history(backend, executors, {.seed = seed, .tall = seed % 4 == 0});
    if (const std::string wrong = history.run(); !wrong.empty()) return wrong;
    contents = history.contents();
  }
  // Trees that are being cleared are no whole ones.
  for (const auto& [id, table] : contents.back()) {
    if (table.clearing) return {};
  }
  std::string wrong;
  SimulatedExecutor executor(seed);
  segment::SimulatedBackend backend(device, {});
  const bool ended = executor.run([&]() noexcept {
    Matrix matrix(executor.core(), device, backend, seed);
    matrix.run(executor.core());
    wrong = matrix.wrong;
    faults += matrix.faults;
  });
  return ended ? wrong : "reading got stuck";
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t first_seed = number_after(argc, argv, "--seed", 1);
  const std::uint64_t wanted = number_after(argc, argv, "--faults", 8'000);
  const std::chrono::seconds seconds(number_after(argc, argv, "--seconds", 3600));
  std::printf("seed %llu\n", static_cast<unsigned long long>(first_seed));
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t faults = 0;
  std::uint64_t histories = 0;
  for (std::uint64_t seed = first_seed; faults < wanted; ++seed, ++histories) {
    if (std::chrono::steady_clock::now() - start > seconds) break;
    if (const std::string wrong = damage_one_history(seed, faults); !wrong.empty()) {
      std::printf("history %llu: %s\n", static_cast<unsigned long long>(seed), wrong.c_str());
      std::fflush(stdout);
      std::_Exit(1);  // operations may be under way
    }
  }
  std::printf("%llu faults in pages of %llu tree histories: all noticed and named, none read\n",
              static_cast<unsigned long long>(faults), static_cast<unsigned long long>(histories));
  return faults >= wanted ? 0 : 2;
}
