// The smallest store that survives power cuts, to prove the harness: eight pages, written copy on
// write, and two superblocks in turn. Each rule it keeps can be broken on purpose.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "segment/simulated.hpp"
#include "support/simulated_io.hpp"

namespace firn::test {

enum class Mistake {
  none,
  no_sync_before_superblock,
  sync_before_writes_complete,
  reuse_before_publication,
  torn_superblock_ignored,
  one_superblock_place,
  notified_before_sync,
  recovery_overwrites_newest,
};

constexpr std::uint64_t topic_begun = 1;
constexpr std::uint64_t topic_notified = 2;

class ReferenceStore {
 public:
  static constexpr std::size_t page_count = 8;
  static constexpr std::size_t record_bytes = 1024;
  static constexpr std::size_t location_count = 30;
  static constexpr std::uint64_t device_bytes = (2 + location_count) * record_bytes;
  using Versions = std::array<std::uint64_t, page_count>;

  ReferenceStore(segment::Backend& backend, SimulatedIo& io, Mistake mistake)
      : backend_(backend), io_(io), mistake_(mistake) {}

  /// Both superblocks of an empty store, durable.
  Result<void> create() {
    FIRN_TRY(write_super(1, 0));
    FIRN_TRY(write_super(2, 0));
    current_.number = 2;
    return {};
  }

  /// `corrupt` if nothing opens or a page is not what its superblock says.
  Result<void> open() {
    std::optional<Super> newest;
    for (std::uint64_t slot = 0; slot < 2; ++slot) {
      Super super;
      FIRN_TRY(read_record(slot, super));
      if (super.magic != magic || super.number == 0) continue;
      if (mistake_ != Mistake::torn_superblock_ignored && super.checksum != sum_of(super)) continue;
      if (!newest.has_value() || super.number > newest->number) newest = super;
    }
    if (!newest.has_value()) return fail(ErrorCode::corrupt, "no superblock opens");
    current_ = *newest;
    for (std::size_t page = 0; page < page_count; ++page) {
      if (current_.versions[page] == 0) continue;
      if (current_.locations[page] < 2 || current_.locations[page] >= 2 + location_count) {
        return fail(ErrorCode::corrupt, "a location is out of bounds");
      }
      Page image;
      FIRN_TRY(read_record(current_.locations[page], image));
      if (image.checksum != sum_of(image) || image.page != page ||
          image.version != current_.versions[page] || !filled(image)) {
        return fail(ErrorCode::corrupt, "a page is not the one its superblock names", page);
      }
    }
    // As a store that voids its lost epochs: what was recovered is published once more.
    const std::uint64_t number =
        mistake_ == Mistake::recovery_overwrites_newest ? current_.number : current_.number + 1;
    if (mistake_ == Mistake::recovery_overwrites_newest) current_.rest[0] += 1;
    FIRN_TRY(write_super(number, current_.commit));
    current_.number = number;
    return {};
  }

  /// Writes `pages` as of commit `commit` and publishes them.
  Result<void> commit(std::uint64_t commit, std::span<const std::size_t> pages) {
    const Super former = current_;
    std::vector<TestRequest*> writes;
    for (const std::size_t page : pages) {
      if (mistake_ == Mistake::reuse_before_publication) free_now(former.locations[page]);
      Page image;
      image.page = page;
      image.version = commit;
      fill(image);
      image.checksum = sum_of(image);
      current_.locations[page] = allocate(former);
      current_.versions[page] = commit;
      writes.push_back(&io_.start_write(backend_, current_.locations[page] * record_bytes,
                                        std::as_bytes(std::span(&image, 1))));
    }
    TestRequest* early = nullptr;
    if (mistake_ == Mistake::sync_before_writes_complete) early = &io_.start_sync(backend_);
    Result<void> first;
    for (TestRequest* write : writes) {
      const Result<void> outcome = io_.outcome_of(*write);
      if (!outcome.has_value() && first.has_value()) first = outcome;
    }
    if (early != nullptr) {
      FIRN_TRY(io_.outcome_of(*early));
    } else if (first.has_value() && mistake_ != Mistake::no_sync_before_superblock) {
      first = io_.sync(backend_);
    }
    if (!first.has_value()) {
      current_ = former;
      return first;
    }
    FIRN_TRY(write_super(current_.number + 1, commit));
    current_.number += 1;
    // What only the former superblock names is free once the next one is published.
    freed_.clear();
    for (const std::size_t page : pages) freed_.push_back(former.locations[page]);
    return {};
  }

  [[nodiscard]] std::uint64_t commit_number() const noexcept { return current_.commit; }
  [[nodiscard]] Versions versions() const noexcept { return current_.versions; }
  /// Called when a superblock was written and not yet synced: the mistake of notifying early.
  void (*notify)(void* context, std::uint64_t commit) = nullptr;
  void* notify_context = nullptr;

 private:
  static constexpr std::uint64_t magic = 0x4669726e54657374u;
  struct Super {
    std::uint64_t magic = ReferenceStore::magic;
    std::uint64_t checksum = 0;
    std::uint64_t number = 0;
    std::uint64_t commit = 0;
    std::array<std::uint64_t, 60> padding{};
    // The second sector.
    Versions versions{};
    std::array<std::uint64_t, page_count> locations{};
    std::array<std::uint64_t, 48> rest{};
  };
  struct Page {
    std::uint64_t checksum = 0;
    std::uint64_t page = 0;
    std::uint64_t version = 0;
    std::array<std::uint64_t, 125> words{};
  };
  static_assert(sizeof(Super) == record_bytes && sizeof(Page) == record_bytes);

  static void fill(Page& image) {
    base::Random random(image.page * 1000 + image.version);
    for (std::uint64_t& word : image.words) word = random.next();
  }
  static bool filled(const Page& image) {
    Page expected = image;
    fill(expected);
    return expected.words == image.words;
  }
  template <class Record>
  static std::uint64_t sum_of(Record record) {
    record.checksum = 0;
    std::array<std::uint64_t, record_bytes / 8> words;
    std::memcpy(words.data(), &record, record_bytes);
    std::uint64_t sum = 0;
    for (const std::uint64_t word : words) sum = base::Random::mix(sum ^ word) + 1;
    return sum;
  }

  template <class Record>
  Result<void> read_record(std::uint64_t location, Record& record) {
    return io_.read(backend_, location * record_bytes,
                    std::as_writable_bytes(std::span(&record, 1)));
  }

  Result<void> write_super(std::uint64_t number, std::uint64_t commit) {
    Super super = current_;
    super.number = number;
    super.commit = commit;
    super.checksum = sum_of(super);
    const std::uint64_t slot = mistake_ == Mistake::one_superblock_place ? 0 : number % 2;
    FIRN_TRY(io_.write(backend_, slot * record_bytes, std::as_bytes(std::span(&super, 1))));
    if (mistake_ == Mistake::notified_before_sync && notify != nullptr) {
      notify(notify_context, commit);
    }
    FIRN_TRY(io_.sync(backend_));
    current_.commit = commit;
    return {};
  }

  void free_now(std::uint64_t location) {
    if (location != 0) early_.push_back(location);
  }
  std::uint64_t allocate(const Super& former) {
    if (!early_.empty()) {
      const std::uint64_t location = early_.front();
      early_.erase(early_.begin());
      return location;
    }
    const auto named = [&](const auto& list, std::uint64_t location) {
      return std::find(list.begin(), list.end(), location) != list.end();
    };
    std::uint64_t location = next_;
    do {
      location = location + 1 >= 2 + location_count ? 2 : location + 1;
    } while (named(current_.locations, location) || named(former.locations, location) ||
             named(freed_, location));
    next_ = location;
    return location;
  }

  segment::Backend& backend_;
  SimulatedIo& io_;
  const Mistake mistake_;
  Super current_;
  std::uint64_t next_ = 1;
  std::vector<std::uint64_t> freed_;
  std::vector<std::uint64_t> early_;
};

}  // namespace firn::test
