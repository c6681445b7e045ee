// Which granules of one segment are free: allocation in memory, without I/O.
//
// A segment is a row of chunks of equal size (1 MiB by default), a chunk a row of granules (512
// bytes). An extent is a run of granules: inside one chunk, or, where it is longer than a chunk,
// from the start of one over whole consecutive chunks. Each chunk that is not empty belongs to one
// group, so that what lives equally long lies together.
//
// Filling holes (local devices): a group writes its open chunk in address order, hole by hole, so
// that images written one after another lie together. When it is used up, the next one is the chunk
// of the group with the most free granules if 5 % of it is free; else an empty chunk, lowest
// address first. Where none is left to take, long holes are worth more than long writes: the
// shortest hole that suffices in the fullest chunk. Nothing is moved in the steady state; if
// extents of many lengths leave no hole long enough, the caller gets no_space while `available` is
// large, and drains the emptiest chunk.
//
// Write-once (append-only and remote segments): a chunk is filled front to back and sealed; what is
// given up in it stays dead until nothing in it lives, or until a cleaner has copied the rest away.
//
//   1. A granule is free, live, pending or, in chunks that come back only whole, dead.
//   2. Reuse waits for two checkpoints (rule "reuse"): an extent given up under number n is pending
//      until n + 1 is published, because until then one of the two superblocks names an image that
//      uses it. `publish` is told every number in turn, without gaps: a checkpoint that failed is
//      done again under its own number.
//   3. A failed call changes nothing that a caller can see.
//   4. Reserved granules are counted, not placed: an extent may still find no hole of its length,
//      and the end of a write-once chunk may be lost when it is sealed. So reserve a little more.
//      Ordinary allocation leaves `background_chunks` empty chunks alone, where a checkpoint or the
//      cleaner finds room when all else is holes; and all but metadata those of
//      `keep_for_metadata`, so that a checkpoint that frees room can always be published. Images do
//      not fill holes among metadata either.
//
// Memory: two bits per granule and 28 bytes per chunk, so 540 bytes per MiB (0.05 %), and none for
// chunks that were never used: a sparse segment costs as much as what is in it. The second bit
// tells live from given up, without which freeing twice would hand a live location out again.
//
// One thread at a time: the store calls it under its own mutex.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <firn/result.hpp>

#include "store/zeroed_array.hpp"

namespace firn::store {

/// Groups by expected lifetime.
enum class Group : std::uint8_t {
  leaves,
  runs,
  other,
  metadata,  ///< what a checkpoint consists of besides images; never moved
};
inline constexpr unsigned group_count = 4;

/// `count` granules from `granule` of `chunk` on; `granule` is 0 if the extent is longer than a
/// chunk.
struct Extent {
  std::uint32_t chunk = 0;
  std::uint32_t granule = 0;
  std::uint32_t count = 0;
  friend auto operator<=>(const Extent&, const Extent&) = default;
};
static_assert(sizeof(Extent) == 12);

/// Who asks for room: anybody, somebody with a reservation, what makes room for the others, or what
/// a checkpoint consists of besides images.
enum class Claim : std::uint8_t { ordinary, reserved, background, metadata };

enum class Reuse : std::uint8_t { holes, write_once };

struct SpaceOptions {
  std::uint32_t chunk_bytes = 1U << 20;  ///< power of two, 64 granules to 64 MiB
  std::uint32_t granule_bytes = 512;     ///< power of two, at least 512
  Reuse reuse = Reuse::holes;
  std::uint32_t chunk_count = 0;        ///< at first; `grow` adds
  std::uint32_t background_chunks = 2;  ///< kept empty for Claim::background
  std::uint32_t segment = 0;            ///< named in errors
  /// A partly filled chunk is taken again in preference to an empty one once this much is free.
  std::uint32_t refill_percent = 5;
  std::uint64_t published_number = 0;  ///< of the newest superblock
};

struct SpaceStatistics {
  struct OfGroup {
    std::uint64_t chunks = 0, live = 0, pending = 0, dead = 0,
                  free = 0;  ///< granules but for chunks
  };
  std::array<OfGroup, group_count> groups{};                ///< by the group that owns the chunk
  std::uint64_t live = 0, pending = 0, dead = 0, free = 0;  ///< granules, empty chunks included
  std::uint64_t reserved = 0;
  std::uint32_t chunks = 0, empty_chunks = 0;
  std::uint32_t used_chunks = 0;  ///< the file's length: up to the last chunk ever written
  std::uint32_t longest_hole = 0;
  std::uint64_t holes = 0;   ///< in chunks that are not empty
  double fragmentation = 0;  ///< 1 - sum of longest holes / free granules, in the same chunks
};

class Space {
 public:
  /// Nothing can be allocated before `start`; until then recovery marks what is in use.
  static Result<Space> create(const SpaceOptions& options) noexcept;

  /// An extent that the mapping names. `corrupt`: out of bounds, or it overlaps another one.
  Result<void> mark_live(Extent extent, Group group) noexcept;
  /// An extent of the superblock's pending-free list: given up under the published number.
  Result<void> mark_pending(Extent extent, Group group) noexcept;
  /// Ends marking. In write-once mode every chunk with marks in it counts as sealed.
  void start() noexcept;
  /// The same where nothing was given up yet, and checkpoint `published` is the newest by now.
  void start_after(std::uint64_t published) noexcept {
    FIRN_ASSERT(pending_granules_ == 0);
    published_ = published;
    start();
  }

  /// Room for `bytes` (at least 1) of `group`. `no_space`: nothing was changed. With
  /// Claim::reserved the granules come out of what was reserved before.
  Result<Extent> allocate(Group group, std::uint64_t bytes, Claim claim = Claim::ordinary) noexcept;

  /// Gives a live extent up under `number`: the one now being written or the one after it.
  /// `no_memory`: nothing was changed.
  Result<void> free(Extent extent, std::uint64_t number) noexcept;
  /// So many calls of it under `number` do not fail.
  Result<void> make_room_to_free(std::size_t count, std::uint64_t number) noexcept {
    return pending_[number % pending_count].make_room(count);
  }

  /// Undoes `allocate`: nothing was written to the extent, or handed to a device. In write-once
  /// mode its granules stay out of use until nothing in the chunk lives.
  void take_back(Extent extent) noexcept;

  /// Checkpoint `number` = published_number() + 1 is published, in both of its superblock places.
  /// What was given up under number - 1 becomes free. Returns how many granules.
  std::uint64_t publish(std::uint64_t number) noexcept;
  /// The same in pieces, between which other calls may come, but none that gives up under
  /// number + 2: this, then `release_some` until it returns false.
  void begin_publish(std::uint64_t number) noexcept;
  bool release_some(std::size_t extents) noexcept;

  /// Given up under `number` and not yet free: what the superblock's pending-free list holds.
  [[nodiscard]] std::span<const Extent> pending(std::uint64_t number) const noexcept;

  /// Memory of that list.
  [[nodiscard]] std::uint64_t pending_bytes(std::uint64_t number) const noexcept {
    return pending_[number % pending_count].capacity() * sizeof(Extent);
  }

  /// Sets granules aside, so that no_space comes before a commit point and not after it.
  Result<void> reserve(std::uint64_t granules) noexcept;
  void unreserve(std::uint64_t granules) noexcept;
  /// So many chunks, as far as they are empty, are for Claim::metadata alone from here on.
  void keep_for_metadata(std::uint32_t chunks) noexcept { metadata_chunks_ = chunks; }

  /// Adds chunks at the end.
  Result<void> grow(std::uint32_t chunks) noexcept;

  /// Up to `most` chunks worth emptying, emptiest first, leaving out open ones, those with nothing
  /// live (they empty themselves) and those more than `live_percent_max` live. The caller drains
  /// them all, then copies what lives in it to new places with Claim::background and gives the old
  /// ones up.
  [[nodiscard]] Result<std::vector<std::uint32_t>> pick_victims(
      std::uint32_t most, std::uint32_t live_percent_max) const noexcept;
  struct Victim {
    std::uint32_t live = 0;
    std::uint32_t chunk = 0;
    friend auto operator<=>(const Victim&, const Victim&) = default;
  };
  /// The same of the chunks in [from, from + out.size()), in order; how many.
  std::size_t list_victims(std::uint32_t from, std::uint32_t live_percent_max,
                           std::span<Victim> out) const noexcept;
  /// Takes the holes of a chunk out of use: it comes back whole when all in it is given up and
  /// published. Needs as many free granules elsewhere as are reserved. A no-op where it is sealed.
  /// False: the chunk is open, empty or needed.
  bool try_drain(std::uint32_t chunk) noexcept;
  void drain(std::uint32_t chunk) noexcept { FIRN_ASSERT(try_drain(chunk)); }
  /// Write-once: seals the open chunk of `group`; a no-op where none is open.
  void seal(Group group) noexcept;
  [[nodiscard]] bool sealed(std::uint32_t chunk) const noexcept;
  /// Of a chunk that is not empty.
  [[nodiscard]] Group group_of(std::uint32_t chunk) const noexcept { return chunks_[chunk].group; }

  [[nodiscard]] std::uint64_t granules_for(std::uint64_t bytes) const noexcept {
    return bytes / options_.granule_bytes + (bytes % options_.granule_bytes != 0 ? 1 : 0);
  }
  [[nodiscard]] std::uint64_t offset_of(Extent extent) const noexcept {
    return std::uint64_t{extent.chunk} * options_.chunk_bytes +
           std::uint64_t{extent.granule} * options_.granule_bytes;
  }
  [[nodiscard]] std::uint64_t published_number() const noexcept { return published_; }
  [[nodiscard]] std::uint32_t chunk_count() const noexcept { return chunk_count_; }
  [[nodiscard]] std::uint32_t used_chunks() const noexcept { return used_chunks_; }
  [[nodiscard]] std::uint64_t live_granules() const noexcept { return live_granules_; }
  [[nodiscard]] std::uint64_t pending_granules() const noexcept { return pending_granules_; }
  [[nodiscard]] std::uint64_t free_granules() const noexcept { return free_granules_; }
  /// Granules that Claim::ordinary may still take.
  [[nodiscard]] std::uint64_t available() const noexcept;
  /// Of the maps; grows with the chunks that were ever used.
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return std::uint64_t{used_chunks_} * (sizeof(Chunk) + 2 * words_ * sizeof(std::uint64_t));
  }
  [[nodiscard]] bool is_live(Extent extent) const noexcept;
  [[nodiscard]] SpaceStatistics statistics() const noexcept;
  /// The same in pieces: adds what is in chunks [from, to); `finish_statistics` comes last.
  void add_statistics(std::uint32_t from, std::uint32_t to, SpaceStatistics& total) const noexcept;
  void finish_statistics(SpaceStatistics& total) const noexcept;
  /// Asserts every invariant: counters against bits, lists against chunks, pending against lists.
  void check_well_formed() const noexcept;

 private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  static constexpr std::uint16_t unlisted = 0;
  // Partly filled chunks are listed by group and by how free they are, in buckets from 1 on.
  static constexpr unsigned bucket_count = 32;
  // Chunks looked at in a bucket before a less free one is tried; the last attempt looks at all.
  static constexpr unsigned candidates_max = 16;
  // Debug builds check everything at each publication up to this size: it takes a look at every
  // bit.
  static constexpr std::size_t debug_check_chunks_max = 64;
  // Numbers under which extents can be pending: the published one and the two after it.
  static constexpr unsigned pending_count = 3;

  enum class State : std::uint8_t { empty, open, partial, sealed };
  // All zeroes: empty, as it is before its first use.
  struct Chunk {
    std::uint32_t taken;  // granules that are not free
    std::uint32_t live, pending;
    std::uint32_t
        longest;  // longest hole; right, like what follows, while the chunk is in a bucket
    std::uint32_t previous, next;
    State state;
    Group group;  // of one that is not empty
    std::uint16_t bucket;
  };
  static_assert(sizeof(Chunk) == 28);
  struct Cursor {
    std::uint32_t chunk = none, granule = 0;
  };

  explicit Space(const SpaceOptions& options) noexcept;
  [[nodiscard]] std::uint32_t free_in(const Chunk& chunk) const noexcept {
    return granules_ - chunk.taken;
  }
  [[nodiscard]] unsigned bucket_of(std::uint32_t free) const noexcept {
    return 1 + static_cast<unsigned>(std::uint64_t{free - 1} * bucket_count / granules_);
  }
  [[nodiscard]] std::span<std::uint64_t> used(std::uint32_t chunk) noexcept;
  [[nodiscard]] std::span<const std::uint64_t> used(std::uint32_t chunk) const noexcept;
  [[nodiscard]] std::span<std::uint64_t> live(std::uint32_t chunk) noexcept;
  [[nodiscard]] std::span<const std::uint64_t> live(std::uint32_t chunk) const noexcept;
  [[nodiscard]] bool in_bounds(Extent extent) const noexcept;
  [[nodiscard]] bool write_once() const noexcept { return options_.reuse == Reuse::write_once; }
  template <class Visit>
  bool for_each_part(Extent extent, Visit visit) const noexcept;

  void transition(std::uint32_t id, State to) noexcept;
  void enlist(std::uint32_t id) noexcept;
  void delist(std::uint32_t id) noexcept;
  void refresh(std::uint32_t id) noexcept;
  Result<void> mark(Extent extent, Group group) noexcept;
  void take(Extent extent) noexcept;
  void open_chunk(std::uint32_t id, Group group) noexcept;
  void close_chunk(unsigned slot) noexcept;
  void seal_rest(std::uint32_t id, std::uint32_t granule) noexcept;
  void give_up(Extent extent, GrowingList<Extent>& list) noexcept;
  void retire(Extent extent) noexcept;
  std::uint64_t release(std::span<const Extent> list) noexcept;

  [[nodiscard]] std::uint32_t kept_chunks(Claim claim) const noexcept;
  [[nodiscard]] std::uint64_t kept_granules(Claim claim) const noexcept;
  Result<Extent> allocate_large(Group group, std::uint32_t count, Claim claim) noexcept;
  [[nodiscard]] bool tight(Claim claim) const noexcept;
  [[nodiscard]] Extent best_fit(Group group, std::uint32_t count) const noexcept;
  [[nodiscard]] std::uint32_t next_fit(const Cursor& cursor, std::uint32_t count) const noexcept;
  [[nodiscard]] std::uint32_t choose(Group group, std::uint32_t count, Claim claim) const noexcept;
  [[nodiscard]] std::uint32_t best_partial(Group group, std::uint32_t count,
                                           std::uint32_t least_free,
                                           unsigned candidates) const noexcept;
  [[nodiscard]] std::uint32_t first_empty_run(std::uint32_t chunks) const noexcept;
  [[nodiscard]] Error no_space(std::uint64_t granules) const noexcept;

  // Constant after create().
  SpaceOptions options_;
  std::uint32_t granules_;  // per chunk
  std::uint32_t words_;     // per chunk

  std::uint32_t chunk_count_ = 0;
  ZeroedArray<Chunk> chunks_;
  ZeroedArray<std::uint64_t> used_;    // 1: not free
  ZeroedArray<std::uint64_t> live_;    // 1: live; a subset of used
  ZeroedArray<std::uint64_t> filled_;  // 1 per chunk that is not empty
  std::array<std::array<std::uint32_t, bucket_count + 1>, group_count> heads_{};
  // One open chunk per group, and in write-once mode one more per group for the cleaner: what
  // outlived its chunk lives longer than what is new.
  std::array<Cursor, 2 * std::size_t{group_count}> cursors_{};
  std::array<GrowingList<Extent>, pending_count> pending_;  // index: number % 3
  std::uint64_t published_;
  std::uint64_t free_granules_ = 0, live_granules_ = 0, pending_granules_ = 0;
  std::uint64_t reserved_ = 0;
  std::uint32_t empty_chunks_ = 0;
  std::uint32_t metadata_chunks_ = 0;
  std::uint32_t used_chunks_ = 0;
  bool started_ = false;
  bool releasing_ = false;  // what was given up under the number before the published one
};

// Calls visit(chunk, begin, end) for the part in each chunk until it returns false.
template <class Visit>
bool Space::for_each_part(Extent extent, Visit visit) const noexcept {
  std::uint32_t chunk = extent.chunk;
  std::uint32_t begin = extent.granule;
  for (std::uint32_t left = extent.count; left > 0;) {
    const std::uint32_t part = std::min(left, granules_ - begin);
    if (!visit(chunk, begin, begin + part)) return false;
    left -= part;
    ++chunk;
    begin = 0;
  }
  return true;
}

}  // namespace firn::store
