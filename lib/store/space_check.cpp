// What a space looks like from outside, and whether it is what it should be.
#include <algorithm>
#include <utility>

#include "store/granule_map.hpp"
#include "store/space.hpp"

namespace firn::store {

SpaceStatistics Space::statistics() const noexcept {
  SpaceStatistics total;
  add_statistics(0, used_chunks_, total);
  finish_statistics(total);
  return total;
}

void Space::add_statistics(std::uint32_t from, std::uint32_t to,
                           SpaceStatistics& total) const noexcept {
  for (std::uint32_t id = from; id < std::min(to, used_chunks_); ++id) {
    const Chunk& chunk = chunks_[id];
    if (chunk.state == State::empty) continue;
    SpaceStatistics::OfGroup& group = total.groups[static_cast<unsigned>(chunk.group)];
    const std::uint32_t dead = chunk.taken - chunk.live - chunk.pending;
    group.chunks += 1;
    group.live += chunk.live;
    group.pending += chunk.pending;
    group.dead += dead;
    group.free += free_in(chunk);
    total.dead += dead;
    std::uint32_t longest_here = 0;
    granule_map::for_each_hole(used(id), 0, granules_, [&](std::uint32_t begin, std::uint32_t end) {
      longest_here = std::max(longest_here, end - begin);
      ++total.holes;
      return true;
    });
    total.longest_hole = std::max(total.longest_hole, longest_here);
    total.fragmentation += longest_here;  // their sum until `finish_statistics`
  }
}

void Space::finish_statistics(SpaceStatistics& total) const noexcept {
  std::uint64_t free = 0;
  for (const SpaceStatistics::OfGroup& group : total.groups) free += group.free;
  const double longest = std::exchange(total.fragmentation, 0);
  if (free > 0) total.fragmentation = 1 - longest / static_cast<double>(free);
  if (empty_chunks_ > 0) total.longest_hole = granules_;
  total.live = live_granules_;
  total.pending = pending_granules_;
  total.free = free_granules_;
  total.reserved = reserved_;
  total.chunks = chunk_count();
  total.empty_chunks = empty_chunks_;
  total.used_chunks = used_chunks_;
}

void Space::check_well_formed() const noexcept {
  // Pending bits are those of the lists, each granule once.
  std::vector<std::uint64_t> pending_bits(std::size_t{used_chunks_} * words_, 0);
  std::uint64_t listed_pending = 0;
  for (const GrowingList<Extent>& list : pending_) {
    for (const Extent extent : list.view()) {
      FIRN_ASSERT(in_bounds(extent));
      for_each_part(extent, [&](std::uint32_t id, std::uint32_t begin, std::uint32_t end) {
        const std::span<std::uint64_t> bits(pending_bits.data() + std::size_t{id} * words_, words_);
        FIRN_ASSERT(granule_map::all_set(used(id), begin, end));
        FIRN_ASSERT(granule_map::none_set(live(id), begin, end));
        FIRN_ASSERT(granule_map::none_set(bits, begin, end));
        granule_map::set(bits, begin, end);
        return true;
      });
      listed_pending += extent.count;
    }
  }
  FIRN_ASSERT(listed_pending == pending_granules_);

  std::uint64_t free = 0;
  std::uint64_t live_total = 0;
  std::uint32_t empty = 0;
  std::uint32_t listed = 0;
  std::uint32_t open = 0;
  for (std::uint32_t id = 0; id < used_chunks_; ++id) {
    const Chunk& chunk = chunks_[id];
    const std::span<const std::uint64_t> pending_here(
        pending_bits.data() + std::size_t{id} * words_, words_);
    for (std::uint32_t word = 0; word < words_; ++word) {
      FIRN_ASSERT((live(id)[word] & ~used(id)[word]) == 0);
      if (!write_once() && chunk.state != State::sealed) {
        FIRN_ASSERT(used(id)[word] == (live(id)[word] | pending_here[word]));
      }
    }
    FIRN_ASSERT(chunk.taken == granule_map::count(used(id)));
    FIRN_ASSERT(chunk.live == granule_map::count(live(id)));
    FIRN_ASSERT(chunk.pending == granule_map::count(pending_here));
    FIRN_ASSERT((chunk.state != State::empty) == granule_map::all_set(filled_, id, id + 1));
    FIRN_ASSERT(chunk.state != State::sealed || chunk.taken == granules_);
    const bool should_be_listed =
        started_ && chunk.state == State::partial && !write_once() && chunk.taken < granules_;
    FIRN_ASSERT(should_be_listed == (chunk.bucket != unlisted));
    FIRN_ASSERT(chunk.state != State::empty || chunk.taken == 0);
    if (chunk.bucket != unlisted) {
      FIRN_ASSERT(chunk.longest == granule_map::longest_hole(used(id), granules_));
    }
    free += free_in(chunk);
    live_total += chunk.live;
    empty += chunk.state == State::empty ? 1 : 0;
    open += chunk.state == State::open ? 1 : 0;
    listed += chunk.bucket != unlisted ? 1 : 0;
  }
  // Those beyond were never used.
  FIRN_ASSERT(granule_map::find(filled_, used_chunks_, chunk_count_, true) == chunk_count_);
  free += std::uint64_t{chunk_count_ - used_chunks_} * granules_;
  empty += chunk_count_ - used_chunks_;
  FIRN_ASSERT(free == free_granules_);
  FIRN_ASSERT(live_total == live_granules_);
  FIRN_ASSERT(empty == empty_chunks_);
  FIRN_ASSERT(write_once() || reserved_ <= free_granules_);

  for (const Cursor& cursor : cursors_) {
    if (cursor.chunk == none) continue;
    FIRN_ASSERT(chunks_[cursor.chunk].state == State::open);
    FIRN_ASSERT(cursor.granule <= granules_);
    --open;
  }
  FIRN_ASSERT(open == 0);

  for (unsigned group = 0; group < group_count; ++group) {
    for (unsigned bucket = 0; bucket <= bucket_count; ++bucket) {
      std::uint32_t previous = none;
      for (std::uint32_t id = heads_[group][bucket]; id != none; id = chunks_[id].next) {
        FIRN_ASSERT(listed > 0);
        FIRN_ASSERT(chunks_[id].bucket == bucket);
        FIRN_ASSERT(chunks_[id].previous == previous);
        FIRN_ASSERT(static_cast<unsigned>(chunks_[id].group) == group);
        previous = id;
        --listed;
      }
    }
  }
  FIRN_ASSERT(listed == 0);
}

}  // namespace firn::store
