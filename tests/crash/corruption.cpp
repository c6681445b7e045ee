// One damage at a time to what a published checkpoint of a random page history refers to: each must
// be noticed, named, and harm nothing else.
//   firn_corruption [--seed N] [--faults N] [--seconds N]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "crash/harness.hpp"
#include "crash/page_history.hpp"
#include "format/superblock.hpp"
#include "store/manifest.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using format::ImageFault;
using segment::SectorImage;
using Block = std::vector<std::byte>;

struct Settings {
  std::uint64_t seed = 1;
  std::uint64_t faults = 200'000;
  unsigned seconds = 3600;
};

struct Object {
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
  PageId page;  // of an image
};

// A checkpoint on a device, taken apart.
struct Checkpoint {
  SectorImage image;
  std::uint64_t content = 0;
  std::uint64_t number = 0;
  Object manifest;
  std::vector<Object> extents;
  std::vector<Object> pages;
};

Block bytes_of(const SectorImage& image, std::uint64_t offset, std::size_t bytes) {
  Block block(bytes);
  image.read(offset, block);
  return block;
}

Object object_at(std::uint64_t location_bits, PageId page = {}) {
  const store::Extent extent = store::Location::from_bits(location_bits).extent();
  return {.offset = std::uint64_t{extent.chunk} * history_options.chunk_bytes +
                    std::uint64_t{extent.granule} * segment::sector_bytes,
          .bytes = extent.count * segment::sector_bytes,
          .page = page};
}

format::Superblock superblock_of(const SectorImage& image, unsigned slot, unsigned copy) {
  format::Superblock superblock;
  const Block block =
      bytes_of(image, format::superblock_offset(slot, copy), format::superblock_bytes);
  if (format::decode_superblock(Bytes(block.data(), block.size()), superblock) !=
      format::SuperblockState::valid) {
    superblock.number = 0;
  }
  return superblock;
}

Checkpoint take_apart(const SectorImage& image) {
  Checkpoint checkpoint;
  checkpoint.image = image;
  format::Superblock newest = superblock_of(image, 0, 0);
  const format::Superblock other = superblock_of(image, 1, 0);
  if (other.number > newest.number) newest = other;
  checkpoint.number = newest.number;
  checkpoint.content = content_of(newest.payload);
  checkpoint.manifest = object_at(newest.manifest_location);
  store::Manifest manifest;
  const Block block = bytes_of(image, checkpoint.manifest.offset, checkpoint.manifest.bytes);
  FIRN_ASSERT(store::decode_manifest(Bytes(block.data(), block.size()), manifest).has_value());
  std::map<std::uint64_t, std::uint64_t> mapping;
  for (const store::ExtentReference& reference : manifest.references) {
    const Object object = checkpoint.extents.emplace_back(object_at(reference.location));
    const Block extent_block = bytes_of(image, object.offset, object.bytes);
    store::MappingExtent extent;
    FIRN_ASSERT(
        store::decode_mapping_extent(Bytes(extent_block.data(), extent_block.size()), extent)
            .has_value());
    for (const store::MappingChange& change : extent.changes) {
      mapping[change.page] = change.location;
    }
  }
  for (const auto& [page, location] : mapping) {
    if (location != 0) {
      checkpoint.pages.push_back(object_at(location, PageId::from_bits(page)));
    }
  }
  return checkpoint;
}

enum class Target : unsigned { superblock, manifest, mapping, page, count };
enum class Kind : unsigned { flip, tear, other, stale, leftover, zeroes, swap, cut, forged, count };
constexpr const char* target_names[] = {"superblock", "manifest", "mapping", "page"};
constexpr const char* kind_names[] = {"flip",   "tear", "other",     "stale", "leftover",
                                      "zeroes", "swap", "cut short", "forged"};

struct Tally {
  std::uint64_t counts[static_cast<unsigned>(Target::count)][static_cast<unsigned>(Kind::count)]{};
  std::uint64_t total = 0;
  void add(Target target, Kind kind) {
    ++counts[static_cast<unsigned>(target)][static_cast<unsigned>(kind)];
    ++total;
  }
};

// Damages one history's last checkpoint. Runs on a fiber; `wrong` says what went wrong first.
class Matrix {
 public:
  Matrix(SimulatedExecutor& executor, std::vector<Checkpoint> checkpoints,
         const std::vector<Content>& contents, std::uint64_t seed, Tally& tally)
      : executor_(executor),
        checkpoints_(std::move(checkpoints)),
        contents_(contents),
        last_(checkpoints_.back()),
        former_(checkpoints_[checkpoints_.size() - 2]),
        random_(seed),
        tally_(tally) {}

  std::string wrong;

  void run() {
    SectorImage image = last_.image;
    segment::SimulatedDevice device(image);
    segment::SimulatedBackend backend(device, {});
    device_ = &device;
    backend_ = &backend;
    pages();
    superblocks();
    mapping();
    cuts();
    forgeries();
    failed_openings();
  }

 private:
  bool ok() const { return wrong.empty(); }
  void reject(const std::string& what) {
    if (ok()) wrong = std::string(phase_) + ", after " + std::to_string(tally_.total) + ": " + what;
  }

  // --- damage at rest ---
  void put(std::uint64_t offset, const Block& block) { device_->overwrite(offset, block); }
  [[nodiscard]] Block whole(const Object& object) const {
    return bytes_of(last_.image, object.offset, object.bytes);
  }
  // `block` cut or filled up with `rest` to the size of `rest`.
  static Block fitted(const Block& block, Block rest) {
    std::copy_n(block.begin(), std::min(block.size(), rest.size()), rest.begin());
    return rest;
  }

  // Calls use(kind, block) with each damaged form of `object`; `others` and `earlier` are images
  // of other objects of its type and of its own past.
  template <class Use>
  void damages(const Object& object, std::size_t flips, const std::vector<Block>& others,
               const std::vector<Block>& earlier, Use use) {
    const Block good = whole(object);
    const auto all = [&](Kind kind, const Block& block) {
      if (block != good && ok()) use(kind, block);
    };
    // Each byte of the head over the seeds, and random ones.
    for (std::size_t flip = 0; flip < flips && ok(); ++flip) {
      Block flipped = good;
      const std::size_t at = flip < 64 ? flip % good.size() : random_.below(good.size());
      flipped[at] ^= std::byte{1} << random_.below(8);
      all(Kind::flip, flipped);
    }
    std::vector<Block> former;  // what a torn write may leave
    former.emplace_back(good.size());
    all(Kind::zeroes, former.back());
    for (const Block& other : others) all(Kind::other, fitted(other, good));
    for (const Block& one : earlier) {
      all(Kind::stale, fitted(one, good));
      former.push_back(fitted(one, good));
    }
    for (std::size_t index = 0; index + 1 < checkpoints_.size(); index += 2) {
      former.push_back(bytes_of(checkpoints_[index].image, object.offset, object.bytes));
      all(Kind::leftover, former.back());
    }
    for (const Block& old : former) {
      for (std::size_t at = segment::sector_bytes; at < good.size(); at += segment::sector_bytes) {
        Block torn = good;
        const auto cut = torn.begin() + static_cast<long>(at);
        const auto old_cut = old.begin() + static_cast<long>(at);
        if (random_.one_in(2)) {
          std::copy(old.begin(), old_cut, torn.begin());
        } else {
          std::copy(old_cut, old.end(), cut);
        }
        all(Kind::tear, torn);
      }
    }
  }

  // --- pages ---
  Result<void> read(Store& store, PageId page, std::byte* into) {
    std::memset(into, 0, format::page_bytes(page.size_class()));  // not all of it is read
    store::PageRead read;
    read.page = page;
    read.data = into;
    read.context = runtime::current_fiber();
    read.done = &firn::test::detail::wake<store::PageRead>;
    store.read(executor_.core(), read);
    runtime::FiberContext::suspend();
    return read.outcome;
  }

  void expect_good(Store& store, std::size_t index) {
    const PageId page = last_.pages[index].page;
    const auto outcome = read(store, page, buffer_.data());
    if (!outcome.has_value()) return reject("a whole page: " + outcome.error().message());
    if (std::memcmp(buffer_.data(), expected_[index].data(), expected_[index].size()) != 0) {
      reject("a wrong read of a whole page");
    }
  }

  void expect_corrupt(Store& store, std::size_t index, const char* detail, PageId named = {}) {
    const PageId page = last_.pages[index].page;
    const auto outcome = read(store, page, buffer_.data());
    if (outcome.has_value()) return reject("a damaged page is read");
    const Error& error = outcome.error();
    if (error.code != ErrorCode::corrupt || error.place.segment != 0 ||
        error.place.page != page.bits()) {
      return reject("another error or place for a damaged page: " + error.message());
    }
    if (detail != nullptr && std::strcmp(error.detail, detail) != 0) {
      return reject(std::string("another kind than '") + detail + "': " + error.message());
    }
    if (named != PageId() && error.value != named.bits()) {
      reject("names another page than the one whose image it is: " + error.message());
    }
  }

  void expect_neighbours(Store& store, std::size_t index, std::size_t but) {
    const std::size_t count = last_.pages.size();
    for (const std::size_t step : {std::size_t{1}, count - 1}) {
      const std::size_t neighbour = (index + step) % count;
      if (neighbour != index && neighbour != but) expect_good(store, neighbour);
    }
  }

  [[nodiscard]] const char* detail_of(Kind kind, const Object& object, const Block& block) const {
    switch (kind) {
      case Kind::flip:
        return format::describe(ImageFault::checksum);
      case Kind::zeroes:
        return format::describe(ImageFault::zeroes);
      case Kind::other:
      case Kind::stale: {
        // Whole only if it fills the place.
        const format::ImageFault fault =
            format::check_image({block.data(), block.size()}, object.page, history_domain_id, 0);
        return fault == ImageFault::none ? nullptr : format::describe(fault);
      }
      default:
        return nullptr;
    }
  }

  void pages() {
    phase_ = "pages";
    auto opened = Store::open_read_only(executor_.core(), *backend_, history_options);
    if (!opened.has_value()) return reject("does not open: " + opened.error().message());
    Store& store = **opened;
    if (const std::string differs = differs_from(store, executor_.core(), contents_[last_.content]);
        !differs.empty()) {
      return reject("before any damage: " + differs);
    }
    for (const Object& object : last_.pages) {
      Block& page = expected_.emplace_back(format::page_bytes(object.page.size_class()));
      FIRN_ASSERT(read(store, object.page, buffer_.data()).has_value());
      std::memcpy(page.data(), buffer_.data(), page.size());
    }
    for (std::size_t index = 0; index < last_.pages.size() && ok(); ++index) {
      const Object& object = last_.pages[index];
      std::vector<Block> others;
      std::vector<Block> earlier;
      for (const Object& other : last_.pages) {
        if (other.page != object.page) others.push_back(whole(other));
      }
      for (const Checkpoint& checkpoint : checkpoints_) {
        for (const Object& one : checkpoint.pages) {
          if (one.page == object.page && one.offset != object.offset) {
            earlier.push_back(bytes_of(checkpoint.image, one.offset, one.bytes));
          }
        }
      }
      const Block good = whole(object);
      damages(object, 400, others, earlier, [&](Kind kind, const Block& block) {
        put(object.offset, block);
        expect_corrupt(store, index, detail_of(kind, object, block));
        expect_neighbours(store, index, index);
        put(object.offset, good);
        tally_.add(Target::page, kind);
      });
      expect_good(store, index);
      for (std::size_t second = index + 1; second < last_.pages.size() && ok(); ++second) {
        const Object& other = last_.pages[second];
        const Block other_good = whole(other);
        put(object.offset, fitted(other_good, good));
        put(other.offset, fitted(good, other_good));
        const bool equal = object.bytes == other.bytes;
        const char* detail = equal ? format::describe(ImageFault::other_page) : nullptr;
        expect_corrupt(store, index, detail, equal ? other.page : PageId());
        expect_corrupt(store, second, detail, equal ? object.page : PageId());
        expect_neighbours(store, index, second);
        put(object.offset, good);
        put(other.offset, other_good);
        tally_.add(Target::page, Kind::swap);
      }
    }
    for (std::size_t index = 0; index < last_.pages.size(); ++index) expect_good(store, index);
  }

  // --- opening ---
  // The checkpoint `wanted` is found, whole, with so many superblock copies damaged.
  void expect_opens(segment::Backend& backend, const Checkpoint& wanted, std::uint64_t damaged,
                    bool thorough) {
    auto opened = Store::open_read_only(executor_.core(), backend, history_options);
    if (!opened.has_value()) return reject("does not open: " + opened.error().message());
    Store& store = **opened;
    if (content_of(store.payload()) != wanted.content) return reject("another checkpoint");
    if (store.statistics().damaged_superblocks != damaged) {
      return reject(std::to_string(store.statistics().damaged_superblocks) +
                    " superblock copies counted as damaged, not " + std::to_string(damaged));
    }
    if (!thorough) return;
    store.check_well_formed();
    reject_unless_empty(differs_from(store, executor_.core(), contents_[wanted.content]));
  }
  void reject_unless_empty(const std::string& what) {
    if (!what.empty()) reject(what);
  }

  void expect_refused(segment::Backend& backend, const char* detail) {
    auto opened = Store::open_read_only(executor_.core(), backend, history_options);
    if (opened.has_value()) return reject("opens in spite of damage");
    const Error& error = opened.error();
    if (error.code != ErrorCode::corrupt || error.place.segment != 0) {
      return reject("another error or place: " + error.message());
    }
    if (detail != nullptr && std::strcmp(error.detail, detail) != 0) {
      reject(std::string("another kind than '") + detail + "': " + error.message());
    }
  }

  // Opening for writing renews what is damaged.
  void expect_renewal() {
    segment::SimulatedDevice device(device_->content());
    {
      segment::SimulatedBackend backend(device, {});
      auto opened = Store::open(executor_.core(), backend, history_options);
      if (!opened.has_value()) return reject("does not open: " + opened.error().message());
    }
    segment::SimulatedBackend backend(device, {});
    expect_opens(backend, last_, 0, false);
  }

  void superblocks() {
    phase_ = "superblocks";
    const auto newest = static_cast<unsigned>(last_.number % 2);
    for (unsigned slot = 0; slot < 2; ++slot) {
      for (unsigned copy = 0; copy < 2; ++copy) {
        const Object object{.offset = format::superblock_offset(slot, copy),
                            .bytes = format::superblock_bytes,
                            .page = {}};
        const Block good = whole(object);
        const std::vector<Block> others = {
            bytes_of(last_.image, format::superblock_offset(1 - slot, 0), object.bytes),
            whole(last_.manifest), whole(last_.pages.front())};
        const std::vector<Block> earlier = {
            bytes_of(checkpoints_[checkpoints_.size() - 3].image, object.offset, object.bytes)};
        damages(object, 150, others, earlier, [&](Kind kind, const Block& block) {
          put(object.offset, block);
          expect_opens(*backend_, last_, 1, random_.one_in(16));
          if (random_.one_in(32)) expect_renewal();
          put(object.offset, good);
          tally_.add(Target::superblock, kind);
        });
      }
      // Both copies: of the newest slot, the checkpoint before is found; of the other, nothing.
      for (unsigned round = 0; round < 24 && ok(); ++round) {
        for (unsigned copy = 0; copy < 2; ++copy) {
          const std::uint64_t offset = format::superblock_offset(slot, copy);
          Block block = bytes_of(last_.image, offset, format::superblock_bytes);
          if (round % 3 == 0) {
            std::fill(block.begin(), block.end(), std::byte{});
          } else {
            block[random_.below(block.size())] ^= std::byte{1} << random_.below(8);
          }
          put(offset, block);
        }
        expect_opens(*backend_, slot == newest ? former_ : last_, 2, true);
        if (slot != newest) expect_renewal();
        restore_superblocks();
        tally_.add(Target::superblock, round % 3 == 0 ? Kind::zeroes : Kind::flip);
      }
    }
    // A slot's copies swapped with the other's are still two whole copies of each.
    for (unsigned copy = 0; copy < 2 && ok(); ++copy) {
      for (unsigned slot = 0; slot < 2; ++slot) {
        put(format::superblock_offset(slot, copy),
            bytes_of(last_.image, format::superblock_offset(1 - slot, copy),
                     format::superblock_bytes));
      }
      expect_opens(*backend_, last_, 2, true);
      expect_renewal();
      restore_superblocks();
      tally_.add(Target::superblock, Kind::swap);
    }
    for (unsigned slot = 0; slot < 2; ++slot) {
      for (unsigned copy = 0; copy < 2; ++copy) {
        const std::uint64_t offset = format::superblock_offset(slot, copy);
        Block block = bytes_of(last_.image, offset, format::superblock_bytes);
        block[random_.below(block.size())] ^= std::byte{1} << random_.below(8);
        put(offset, block);
      }
    }
    expect_refused(*backend_, nullptr);
    restore_superblocks();
  }
  void restore_superblocks() { put(0, bytes_of(last_.image, 0, format::superblock_area_bytes)); }

  void mapping() {
    phase_ = "mapping";
    std::vector<Object> objects = last_.extents;
    objects.push_back(last_.manifest);
    for (std::size_t index = 0; index < objects.size() && ok(); ++index) {
      const Object& object = objects[index];
      const bool is_manifest = index + 1 == objects.size();
      const Target target = is_manifest ? Target::manifest : Target::mapping;
      std::vector<Block> others = {whole(last_.pages.front()), whole(last_.pages.back())};
      for (std::size_t other = 0; other < objects.size(); ++other) {
        if (other != index) others.push_back(whole(objects[other]));
      }
      std::vector<Block> earlier;
      for (std::size_t past = 0; past + 1 < checkpoints_.size(); ++past) {
        const Checkpoint& checkpoint = checkpoints_[past];
        const Object& one = is_manifest ? checkpoint.manifest : checkpoint.extents.back();
        if (one.offset != object.offset) {
          earlier.push_back(bytes_of(checkpoint.image, one.offset, one.bytes));
        }
      }
      const Block good = whole(object);
      damages(object, 160, others, earlier, [&](Kind kind, const Block& block) {
        put(object.offset, block);
        expect_refused(*backend_, detail_of(kind, object, block));
        put(object.offset, good);
        tally_.add(target, kind);
      });
      for (std::size_t second = index + 1; second < objects.size() && ok(); ++second) {
        const Block other_good = whole(objects[second]);
        put(object.offset, fitted(other_good, good));
        put(objects[second].offset, fitted(good, other_good));
        expect_refused(*backend_, nullptr);
        put(object.offset, good);
        put(objects[second].offset, other_good);
        tally_.add(target, Kind::swap);
      }
    }
    expect_opens(*backend_, last_, 0, true);
  }

  // The device ends early: refused, unless nothing lay there.
  void cuts() {
    phase_ = "cuts";
    std::uint64_t used = format::superblock_area_bytes;
    const auto reach = [&](const Object& object) {
      used = std::max(used, object.offset + object.bytes);
    };
    reach(last_.manifest);
    for (const Object& object : last_.extents) reach(object);
    for (const Object& object : last_.pages) reach(object);
    for (unsigned round = 0; round < 64 && ok(); ++round) {
      const std::uint64_t sectors = last_.image.size() / segment::sector_bytes;
      const std::uint64_t size =
          (round < 8 ? 16 * round : 1 + random_.below(sectors - 1)) * segment::sector_bytes;
      SectorImage image = last_.image;
      image.resize(size);
      image.cut_to_size();
      segment::SimulatedDevice device(image);
      segment::SimulatedBackend backend(device, {});
      auto opened = Store::open_read_only(executor_.core(), backend, history_options);
      if (!opened.has_value()) {
        // What was cut off wholly cannot be told from what never was.
        const bool gone = size == 0 && opened.error().code == ErrorCode::not_found;
        if (!gone &&
            (opened.error().code != ErrorCode::corrupt || opened.error().place.segment != 0)) {
          reject("cut to " + std::to_string(size) + ": " + opened.error().message());
        }
      } else if (size < used) {
        reject("opens although cut to " + std::to_string(size));
      } else {
        reject_unless_empty(differs_from(**opened, executor_.core(), contents_[last_.content]));
      }
      tally_.add(Target::mapping, Kind::cut);
    }
  }

  // --- what no accident leaves: every checksum is right, and the content makes no sense ---
  template <class Head>
  static Head head_of(const Block& block) {
    Head head;
    std::memcpy(&head, block.data(), sizeof head);
    return head;
  }
  static std::uint64_t seal(Block& block) {
    format::seal_image(block.data(), block.size(), history_domain_id);
    return head_of<format::PageHeader>(block).checksum;
  }
  // The superblocks of the last checkpoint, changed.
  template <class Change>
  void forge_superblock(Change change) {
    const auto slot = static_cast<unsigned>(last_.number % 2);
    format::Superblock superblock = superblock_of(last_.image, slot, 0);
    change(superblock);
    Block block(format::superblock_bytes);
    format::encode_superblock(superblock, block.data());
    for (unsigned copy = 0; copy < 2; ++copy) {
      put(format::superblock_offset(slot, copy), block);
    }
  }
  template <class Change>
  void forge_manifest(Change change) {
    Block block = bytes_of(device_->content(), last_.manifest.offset, last_.manifest.bytes);
    change(block);
    const std::uint64_t sum = seal(block);
    put(last_.manifest.offset, block);
    forge_superblock([&](format::Superblock& superblock) { superblock.manifest_checksum = sum; });
  }
  // The last extent that changes a page to a place.
  template <class Change>
  void forge_mapping(Change change) {
    for (std::size_t index = last_.extents.size(); index-- > 0;) {
      const Object& object = last_.extents[index];
      Block block = whole(object);
      const auto head = head_of<store::MappingHead>(block);
      for (std::size_t one = 0; one < head.change_count; ++one) {
        const std::size_t at = sizeof head + one * sizeof(store::MappingChange);
        store::MappingChange entry;
        std::memcpy(&entry, block.data() + at, sizeof entry);
        if (entry.location == 0 || is_superseded(entry)) continue;
        change(entry);
        std::memcpy(block.data() + at, &entry, sizeof entry);
        const std::uint64_t sum = seal(block);
        put(object.offset, block);
        forge_manifest([&](Block& manifest) {
          std::memcpy(manifest.data() + sizeof(store::ManifestHead) +
                          index * sizeof(store::ExtentReference) + sizeof(std::uint64_t),
                      &sum, sizeof sum);
        });
        return;
      }
    }
  }
  [[nodiscard]] bool is_superseded(const store::MappingChange& entry) const {
    const Object object = object_at(entry.location);
    return std::none_of(last_.pages.begin(), last_.pages.end(), [&](const Object& page) {
      return page.page.bits() == entry.page && page.offset == object.offset;
    });
  }
  void judge_forgery(Target target) {
    expect_refused(*backend_, nullptr);
    put(last_.manifest.offset, whole(last_.manifest));
    for (const Object& object : last_.extents) put(object.offset, whole(object));
    restore_superblocks();
    tally_.add(target, Kind::forged);
  }

  void forgeries() {
    phase_ = "forgeries";
    using store::Extent;
    using store::Location;
    const auto place = [](Extent extent) { return Location(0, extent).bits(); };
    const auto at = [&](const Object& object, std::uint64_t bytes) {
      return place({static_cast<std::uint32_t>(object.offset / history_options.chunk_bytes),
                    static_cast<std::uint32_t>(object.offset % history_options.chunk_bytes /
                                               segment::sector_bytes),
                    static_cast<std::uint32_t>(bytes / segment::sector_bytes)});
    };
    const std::uint64_t places[] = {
        at(last_.manifest, 512),         // the manifest's own place
        at(last_.extents.front(), 512),  // a mapping extent's
        place({0, 0, 1}),                // a superblock's
        place({0xffffff, 0, 1}),         // outside
        place({1, 0xfffff, 1}),          // outside its chunk
        place({1, 63, 2}),               // across the end of a chunk
        place({3, 0, 0xfff}),            // larger than any class
        std::uint64_t{3} << 32,          // of no length
        place({2, 0, 1}) | 7ULL << 56,   // another segment
    };
    for (const std::uint64_t bits : places) {
      forge_mapping([&](store::MappingChange& entry) { entry.location = bits; });
      judge_forgery(Target::mapping);
      const Object& first = last_.extents.front();
      if (bits != at(first, first.bytes)) {
        forge_manifest([&](Block& block) {
          std::memcpy(block.data() + sizeof(store::ManifestHead), &bits, sizeof bits);
        });
        judge_forgery(Target::manifest);
      }
      if (bits == at(last_.manifest, last_.manifest.bytes)) continue;
      forge_superblock([&](format::Superblock& block) { block.manifest_location = bits; });
      judge_forgery(Target::superblock);
    }
    for (const Object& page : last_.pages) {  // another page's place
      const std::uint64_t bits = at(page, 512);
      forge_mapping([&](store::MappingChange& entry) {
        const bool own = entry.page == page.page.bits();
        entry.location = own ? at(last_.manifest, 512) : bits;
      });
      judge_forgery(Target::mapping);
    }
    for (const std::uint64_t id : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 43,
                                   std::uint64_t{12} << PageId::slot_bits | 1}) {
      forge_mapping([&](store::MappingChange& entry) { entry.page = id; });
      judge_forgery(Target::mapping);
    }
    const auto with_head = [&](auto change) {
      forge_manifest([&](Block& block) {
        auto head = head_of<store::ManifestHead>(block);
        change(head);
        std::memcpy(block.data(), &head, sizeof head);
      });
      judge_forgery(Target::manifest);
    };
    with_head([](store::ManifestHead& head) { head.reference_count = 1'000'000; });
    with_head([](store::ManifestHead& head) { head.reference_count = ~std::uint64_t{0}; });
    with_head([](store::ManifestHead& head) { ++head.number; });
    with_head([](store::ManifestHead& head) { head.next_slot[0] = 0; });
    with_head([](store::ManifestHead& head) { head.next_slot[8] = ~std::uint64_t{0}; });
    with_head([](store::ManifestHead& head) { head.page.kind = format::PageKind::raw; });
    with_head([](store::ManifestHead& head) { head.page.page_id = 77; });
    with_head([](store::ManifestHead& head) { head.page.domain = 1; });
    with_head([](store::ManifestHead& head) { head.page.length = 1'000'000; });
    const auto with_superblock = [&](auto change) {
      forge_superblock(change);
      judge_forgery(Target::superblock);
    };
    with_superblock([](format::Superblock& block) { block.domain = 0; });
    with_superblock([](format::Superblock& block) { ++block.domain; });
    with_superblock([](format::Superblock& block) { block.chunk_bytes = 64U << 20; });
    with_superblock([](format::Superblock& block) { block.chunk_bytes = 0; });
    with_superblock([](format::Superblock& block) { block.chunk_bytes *= 2; });
    with_superblock([](format::Superblock& block) { block.granule_bytes = 0; });
    with_superblock([](format::Superblock& block) { block.granule_bytes = 4096; });
    with_superblock([](format::Superblock& block) { block.manifest_bytes = 0; });
    with_superblock([](format::Superblock& block) { block.number += 2; });
  }

  // Opening fails at its superblock, then both copies of the newest superblock are lost: the
  // checkpoint before is still there, since nothing that it names was used for the opening's.
  void failed_openings() {
    phase_ = "failed openings";
    for (std::size_t index = 1; index < checkpoints_.size() && ok(); ++index) {
      const Checkpoint& newest = checkpoints_[index];
      segment::SimulatedDevice device(newest.image);
      {
        segment::SimulatedBackend backend(device, {});
        // Reads of the superblocks, then the sync before they are written.
        backend.inject({.kind = segment::FaultKind::cancelled,
                        .first = 5,
                        .count = segment::FaultRule::forever,
                        .offset_max = format::superblock_area_bytes - 1});
        if (Store::open(executor_.core(), backend, history_options).has_value()) {
          return reject("opens without a superblock of its own");
        }
      }
      const auto slot = static_cast<unsigned>(newest.number % 2);
      for (unsigned copy = 0; copy < 2; ++copy) {
        device.flip_bit(format::superblock_offset(slot, copy) + random_.below(4096), 3);
      }
      segment::SimulatedBackend backend(device, {});
      expect_opens(backend, checkpoints_[index - 1], 2, true);
      tally_.add(Target::superblock, Kind::flip);
    }
  }

  SimulatedExecutor& executor_;
  const std::vector<Checkpoint> checkpoints_;
  const std::vector<Content>& contents_;
  const Checkpoint& last_;
  const Checkpoint& former_;
  base::Random random_;
  const char* phase_ = "";
  Tally& tally_;
  segment::SimulatedDevice* device_ = nullptr;
  segment::SimulatedBackend* backend_ = nullptr;
  std::vector<Block> expected_;  // of each page of the checkpoint
  store::AlignedBlock buffer_ = *store::AlignedBlock::make(64 * 1024);
};

// Runs a history and damages what it leaves; what is wrong, or empty.
std::string damage_one_history(std::uint64_t seed, Tally& tally) {
  segment::SimulatedDevice device(history_bytes);
  std::vector<Checkpoint> checkpoints;
  std::vector<Content> contents;
  {
    SimulatedExecutor executor(seed);
    segment::SimulatedBackend backend(device, device_options(seed));
    PageHistory::Options options;
    options.seed = seed;
    options.checkpoints = 8;
    options.grow = false;
    if (seed % 2 == 0) {  // a mapping of several sectors
      options.pages_max = 40;
      options.changes = 24;
    }
    options.on_published = [&] { checkpoints.push_back(take_apart(device.content())); };
    PageHistory history(backend, executor, options);
    Result<void> ran;
    if (!executor.run([&]() noexcept { ran = history.run(); })) return "got stuck";
    if (!ran.has_value()) return ran.error().message();
    contents = history.contents();
  }
  SimulatedExecutor executor(seed);
  Matrix matrix(executor, std::move(checkpoints), contents, seed, tally);
  if (!executor.run([&]() noexcept { matrix.run(); })) return "opening got stuck";
  return matrix.wrong;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  settings.seed = number_after(argc, argv, "--seed", settings.seed);
  settings.faults = number_after(argc, argv, "--faults", settings.faults);
  settings.seconds = static_cast<unsigned>(number_after(argc, argv, "--seconds", settings.seconds));
  std::printf("seed %llu\n", static_cast<unsigned long long>(settings.seed));
  const auto start = std::chrono::steady_clock::now();
  Tally tally;
  std::uint64_t histories = 0;
  for (std::uint64_t seed = settings.seed; tally.total < settings.faults; ++seed, ++histories) {
    const auto spent = std::chrono::steady_clock::now() - start;
    if (spent > std::chrono::seconds(settings.seconds)) break;
    if (const std::string wrong = damage_one_history(seed, tally); !wrong.empty()) {
      std::printf("history %llu: %s\n", static_cast<unsigned long long>(seed), wrong.c_str());
      return 1;
    }
  }
  for (unsigned target = 0; target < static_cast<unsigned>(Target::count); ++target) {
    std::printf("%-10s", target_names[target]);
    for (unsigned kind = 0; kind < static_cast<unsigned>(Kind::count); ++kind) {
      if (const std::uint64_t count = tally.counts[target][kind]; count > 0) {
        std::printf(" %s %llu", kind_names[kind], static_cast<unsigned long long>(count));
      }
    }
    std::printf("\n");
  }
  std::printf("%llu faults in %llu histories: all noticed and named, nothing else harmed\n",
              static_cast<unsigned long long>(tally.total),
              static_cast<unsigned long long>(histories));
  return tally.total >= settings.faults ? 0 : 2;
}
