// Allocation: choosing a chunk and a hole in it, giving extents up, publication.
#include "store/space.hpp"

#include "base/allocation.hpp"
#include "base/planted.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "store/granule_map.hpp"

namespace firn::store {

std::span<std::uint64_t> Space::used(std::uint32_t chunk) noexcept {
  return {used_.data() + std::size_t{chunk} * words_, words_};
}
std::span<const std::uint64_t> Space::used(std::uint32_t chunk) const noexcept {
  return {used_.data() + std::size_t{chunk} * words_, words_};
}
std::span<std::uint64_t> Space::live(std::uint32_t chunk) noexcept {
  return {live_.data() + std::size_t{chunk} * words_, words_};
}
std::span<const std::uint64_t> Space::live(std::uint32_t chunk) const noexcept {
  return {live_.data() + std::size_t{chunk} * words_, words_};
}

bool Space::in_bounds(Extent extent) const noexcept {
  if (extent.count == 0 || extent.chunk >= chunk_count_ || extent.granule >= granules_) {
    return false;
  }
  const std::uint64_t end = std::uint64_t{extent.granule} + extent.count;
  if (end <= granules_) return true;
  return extent.granule == 0 && extent.chunk + (end + granules_ - 1) / granules_ <= chunk_count_;
}

bool Space::is_live(Extent extent) const noexcept {
  return in_bounds(extent) &&
         for_each_part(extent, [&](std::uint32_t id, std::uint32_t begin, std::uint32_t end) {
           return granule_map::all_set(live(id), begin, end);
         });
}

void Space::transition(std::uint32_t id, State to) noexcept {
  Chunk& chunk = chunks_[id];
  switch (chunk.state) {
    case State::empty:
      FIRN_ASSERT(to == State::open || to == State::partial);
      break;
    case State::open:
      FIRN_ASSERT(to != State::open);
      break;
    case State::partial:
      FIRN_ASSERT(to != State::partial);
      break;
    case State::sealed:
      FIRN_ASSERT(to == State::empty);
      break;
  }
  if (chunk.state == State::empty) {
    granule_map::set(filled_, id, id + 1);
    --empty_chunks_;
  }
  if (to == State::empty) {
    FIRN_ASSERT(chunk.taken == 0);
    granule_map::clear(filled_, id, id + 1);
    ++empty_chunks_;
  }
  chunk.state = to;
}

void Space::enlist(std::uint32_t id) noexcept {
  Chunk& chunk = chunks_[id];
  FIRN_ASSERT(chunk.bucket == unlisted);
  if (chunk.taken == granules_) return;
  chunk.longest = granule_map::longest_hole(used(id), granules_);
  chunk.bucket = static_cast<std::uint16_t>(bucket_of(free_in(chunk)));
  std::uint32_t& head = heads_[static_cast<unsigned>(chunk.group)][chunk.bucket];
  chunk.previous = none;
  chunk.next = head;
  if (head != none) chunks_[head].previous = id;
  head = id;
}

void Space::delist(std::uint32_t id) noexcept {
  Chunk& chunk = chunks_[id];
  if (chunk.bucket == unlisted) return;
  std::uint32_t& head = heads_[static_cast<unsigned>(chunk.group)][chunk.bucket];
  if (chunk.previous == none) {
    head = chunk.next;
  } else {
    chunks_[chunk.previous].next = chunk.next;
  }
  if (chunk.next != none) chunks_[chunk.next].previous = chunk.previous;
  chunk.bucket = unlisted;
}

// Puts a chunk that is neither open nor listed where its bits say it belongs.
void Space::refresh(std::uint32_t id) noexcept {
  Chunk& chunk = chunks_[id];
  if (chunk.state == State::sealed) {
    if (chunk.live != 0 || chunk.pending != 0) return;
    granule_map::clear(used(id), 0, granules_);
    free_granules_ += chunk.taken;
    chunk.taken = 0;
  }
  if (chunk.taken == 0) {
    transition(id, State::empty);
  } else {
    enlist(id);
  }
}

// Empty chunks that this claim may not take.
std::uint32_t Space::kept_chunks(Claim claim) const noexcept {
  switch (claim) {
    case Claim::ordinary:
    case Claim::reserved:
      return options_.background_chunks + metadata_chunks_;
    case Claim::background:
      return FIRN_PLANTED("metadata-room-taken") ? 0 : metadata_chunks_;
    case Claim::metadata:
      break;
  }
  return 0;
}

std::uint64_t Space::kept_granules(Claim claim) const noexcept {
  return std::uint64_t{std::min(empty_chunks_, kept_chunks(claim))} * granules_;
}

std::uint64_t Space::available() const noexcept {
  const std::uint64_t kept = kept_granules(Claim::ordinary) + reserved_;
  return free_granules_ > kept ? free_granules_ - kept : 0;
}

Error Space::no_space(std::uint64_t granules) const noexcept {
  Error error = fail(ErrorCode::no_space, "no room for {} granules", granules).error;
  error.place.segment = options_.segment;
  return error;
}

Result<void> Space::reserve(std::uint64_t granules) noexcept {
  FIRN_ASSERT(started_);
  if (granules > available()) return fail(no_space(granules));
  reserved_ += granules;
  return {};
}

void Space::unreserve(std::uint64_t granules) noexcept {
  FIRN_ASSERT(granules <= reserved_);
  reserved_ -= granules;
}

Result<Extent> Space::allocate(Group group, std::uint64_t bytes, Claim claim) noexcept {
  FIRN_ASSERT(started_);
  const std::uint64_t wanted = granules_for(bytes);
  if (bytes == 0) return fail(ErrorCode::invalid_argument, "an extent of no bytes");
  if (claim == Claim::reserved) FIRN_ASSERT(wanted <= reserved_);
  const std::uint64_t kept = kept_granules(claim) + reserved_;
  const std::uint64_t allowed = claim == Claim::reserved
                                    ? std::min(free_granules_, reserved_)
                                    : free_granules_ - std::min(free_granules_, kept);
  // What is written is to be published, too.
  if (claim == Claim::ordinary && empty_chunks_ < metadata_chunks_) return fail(no_space(wanted));
  if (wanted > allowed || wanted > ~std::uint32_t{0}) return fail(no_space(wanted));
  const auto count = static_cast<std::uint32_t>(wanted);
  if (count > granules_) return allocate_large(group, count, claim);

  const unsigned slot =
      static_cast<unsigned>(group) + (write_once() && claim == Claim::background ? group_count : 0);
  Cursor& cursor = cursors_[slot];
  std::uint32_t granule = next_fit(cursor, count);
  if (granule == none && tight(claim)) {
    // No empty chunk is left to take: long holes are worth more than long writes.
    const Extent fitted = best_fit(group, count);
    if (fitted.count > 0) {
      take(fitted);
      delist(fitted.chunk);
      enlist(fitted.chunk);
      if (claim == Claim::reserved) reserved_ -= wanted;
      return fitted;
    }
  }
  if (granule == none) {
    // Closed first, so that what was freed behind its cursor can be chosen, too. A write-once chunk
    // stays open until another is found: sealing it could not be taken back.
    if (!write_once()) close_chunk(slot);
    std::uint32_t chosen = choose(group, count, claim);
    if (chosen == none && !write_once()) {
      for (unsigned other = 0; other < cursors_.size(); ++other) close_chunk(other);
      chosen = choose(group, count, claim);
    }
    if (chosen == none) return fail(no_space(wanted));
    if (write_once()) close_chunk(slot);
    open_chunk(chosen, group);
    cursor = {chosen, 0};
    granule = next_fit(cursor, count);
    FIRN_ASSERT(granule != none);
  }
  const Extent extent{cursor.chunk, granule, count};
  take(extent);
  cursor.granule = granule + count;
  if (claim == Claim::reserved) reserved_ -= wanted;
  return extent;
}

bool Space::tight(Claim claim) const noexcept {
  return !write_once() && (claim == Claim::ordinary || claim == Claim::reserved) &&
         empty_chunks_ <= kept_chunks(claim);
}

// The shortest hole that suffices in the fullest chunk of the group that has one; count 0 if none
// has, or if a chunk is so empty that filling it in order is the better use.
Extent Space::best_fit(Group group, std::uint32_t count) const noexcept {
  const auto& heads = heads_[static_cast<unsigned>(group)];
  for (unsigned bucket = bucket_of(count); bucket <= bucket_count; ++bucket) {
    unsigned seen = 0;
    for (std::uint32_t id = heads[bucket]; id != none && seen < candidates_max;
         id = chunks_[id].next, ++seen) {
      if (chunks_[id].longest < count) continue;
      Extent best{id, 0, 0};
      std::uint32_t length = none;
      granule_map::for_each_hole(used(id), 0, granules_,
                                 [&](std::uint32_t begin, std::uint32_t end) {
                                   if (end - begin >= count && end - begin < length) {
                                     best = {id, begin, count};
                                     length = end - begin;
                                   }
                                   return length != count;
                                 });
      return best;
    }
  }
  return {};
}

// The first hole at or behind the cursor that is long enough.
std::uint32_t Space::next_fit(const Cursor& cursor, std::uint32_t count) const noexcept {
  if (cursor.chunk == none) return none;
  std::uint32_t found = none;
  granule_map::for_each_hole(used(cursor.chunk), cursor.granule, granules_,
                             [&](std::uint32_t begin, std::uint32_t end) {
                               if (end - begin >= count) found = begin;
                               return found == none;
                             });
  return found;
}

std::uint32_t Space::choose(Group group, std::uint32_t count, Claim claim) const noexcept {
  if (!write_once()) {
    const auto roomy =
        static_cast<std::uint32_t>((std::uint64_t{granules_} * options_.refill_percent + 99) / 100);
    const std::uint32_t found = best_partial(group, count, std::max(roomy, 1U), candidates_max);
    if (found != none) return found;
  }
  if (empty_chunks_ > kept_chunks(claim)) return first_empty_run(1);
  if (!write_once()) {
    for (unsigned turn = 0; turn < group_count; ++turn) {
      // Its own group first; mixing lifetimes is better than failing.
      const auto owner = static_cast<Group>((static_cast<unsigned>(group) + turn) % group_count);
      const bool intrudes = owner == Group::metadata && claim != Claim::metadata;
      if (intrudes && metadata_chunks_ > 0) continue;
      const std::uint32_t found = best_partial(owner, count, 1, none);
      if (found != none) return found;
    }
  }
  // Past its commit point a caller with a reservation is served before the background.
  return claim == Claim::reserved && empty_chunks_ > metadata_chunks_ ? first_empty_run(1) : none;
}

std::uint32_t Space::best_partial(Group group, std::uint32_t count, std::uint32_t least_free,
                                  unsigned candidates) const noexcept {
  const auto& heads = heads_[static_cast<unsigned>(group)];
  const unsigned last = bucket_of(std::max(least_free, count));
  for (unsigned bucket = bucket_count + 1; bucket-- > last;) {
    std::uint32_t best = none;
    unsigned seen = 0;
    for (std::uint32_t id = heads[bucket]; id != none && seen < candidates; id = chunks_[id].next) {
      const Chunk& chunk = chunks_[id];
      ++seen;
      if (chunk.longest < count || free_in(chunk) < least_free) continue;
      if (best == none || chunk.taken < chunks_[best].taken) best = id;
    }
    if (best != none) return best;
  }
  return none;
}

// The lowest run of so many empty chunks.
std::uint32_t Space::first_empty_run(std::uint32_t chunks) const noexcept {
  const std::uint32_t end = chunk_count_;
  std::uint32_t begin = granule_map::find(filled_, 0, end, false);
  while (begin < end) {
    const std::uint32_t stop = granule_map::find(filled_, begin, end, true);
    if (stop - begin >= chunks) return begin;
    begin = granule_map::find(filled_, stop, end, false);
  }
  return none;
}

Result<Extent> Space::allocate_large(Group group, std::uint32_t count, Claim claim) noexcept {
  const std::uint32_t chunks = count / granules_ + (count % granules_ != 0 ? 1 : 0);
  const std::uint32_t kept = claim == Claim::reserved ? metadata_chunks_ : kept_chunks(claim);
  const std::uint32_t first =
      empty_chunks_ >= std::uint64_t{chunks} + kept ? first_empty_run(chunks) : none;
  if (first == none) return fail(no_space(count));
  const Extent extent{first, 0, count};
  for (std::uint32_t id = first; id < first + chunks; ++id) {
    transition(id, State::partial);
    chunks_[id].group = group;
  }
  take(extent);
  if (write_once()) {
    for (std::uint32_t id = first; id < first + chunks; ++id) seal_rest(id, chunks_[id].taken);
  } else {
    enlist(first + chunks - 1);
  }
  if (claim == Claim::reserved) reserved_ -= count;
  return extent;
}

void Space::take(Extent extent) noexcept {
  for_each_part(extent, [&](std::uint32_t id, std::uint32_t begin, std::uint32_t end) {
    FIRN_ASSERT(granule_map::none_set(used(id), begin, end));
    granule_map::set(used(id), begin, end);
    granule_map::set(live(id), begin, end);
    chunks_[id].taken += end - begin;
    chunks_[id].live += end - begin;
    used_chunks_ = std::max(used_chunks_, id + 1);
    return true;
  });
  free_granules_ -= extent.count;
  live_granules_ += extent.count;
}

void Space::open_chunk(std::uint32_t id, Group group) noexcept {
  delist(id);
  if (chunks_[id].state == State::empty) chunks_[id].group = group;
  transition(id, State::open);
}

void Space::close_chunk(unsigned slot) noexcept {
  const Cursor cursor = std::exchange(cursors_[slot], Cursor{});
  if (cursor.chunk == none) return;
  if (write_once()) {
    seal_rest(cursor.chunk, cursor.granule);
    refresh(cursor.chunk);
  } else {
    if (chunks_[cursor.chunk].taken > 0) transition(cursor.chunk, State::partial);
    refresh(cursor.chunk);
  }
}

// What lies behind `granule` will not be written any more.
void Space::seal_rest(std::uint32_t id, std::uint32_t granule) noexcept {
  Chunk& chunk = chunks_[id];
  granule_map::set(used(id), granule, granules_);
  free_granules_ -= free_in(chunk);
  chunk.taken = granules_;
  transition(id, State::sealed);
}

void Space::seal(Group group) noexcept {
  FIRN_ASSERT(write_once());
  close_chunk(static_cast<unsigned>(group));
  close_chunk(static_cast<unsigned>(group) + group_count);
}

Result<void> Space::free(Extent extent, std::uint64_t number) noexcept {
  FIRN_ASSERT(started_);
  FIRN_ASSERT(number > published_);
  FIRN_ASSERT(number - published_ < pending_count);
  FIRN_ASSERT(is_live(extent));
  FIRN_ASSERT(!releasing_ || number != published_ + 2);
  GrowingList<Extent>& list = pending_[number % pending_count];
  FIRN_TRY(list.make_room());
  give_up(extent, list);
  return {};
}

void Space::give_up(Extent extent, GrowingList<Extent>& list) noexcept {
  list.push_back(extent);
  retire(extent);
}

// Live no more, and not yet free.
void Space::retire(Extent extent) noexcept {
  for_each_part(extent, [&](std::uint32_t id, std::uint32_t begin, std::uint32_t end) {
    granule_map::clear(live(id), begin, end);
    chunks_[id].live -= end - begin;
    chunks_[id].pending += end - begin;
    return true;
  });
  live_granules_ -= extent.count;
  pending_granules_ += extent.count;
}

std::uint64_t Space::publish(std::uint64_t number) noexcept {
  const std::uint64_t pending_before = pending_granules_;
  begin_publish(number);
  release_some(~std::size_t{0});
#ifdef FIRN_DEBUG
  if (used_chunks_ <= debug_check_chunks_max) check_well_formed();
#endif
  return pending_before - pending_granules_;
}

void Space::begin_publish(std::uint64_t number) noexcept {
  FIRN_ASSERT(started_);
  FIRN_ASSERT(number == published_ + 1 && !releasing_);
  const auto release_at_once = [this](std::uint64_t given_up_under) {
    GrowingList<Extent>& list = pending_[given_up_under % pending_count];
    release(list.view());
    list.clear();
  };
  if (FIRN_PLANTED("location-reused-early")) release_at_once(number);
  if (FIRN_PLANTED("location-reused-at-once")) release_at_once(number + 1);
  published_ = number;
  releasing_ = true;
}

bool Space::release_some(std::size_t extents) noexcept {
  if (!releasing_) return false;
  GrowingList<Extent>& list = pending_[(published_ + 2) % pending_count];
  const std::size_t kept = list.size() - std::min(list.size(), extents);
  release(list.view().subspan(kept));
  list.shrink(kept);
  releasing_ = !list.empty();
  return releasing_;
}

void Space::take_back(Extent extent) noexcept {
  FIRN_ASSERT(started_);
  FIRN_ASSERT(is_live(extent));
  retire(extent);
  release({&extent, 1});
}

// Makes free what is pending in `list`.
std::uint64_t Space::release(std::span<const Extent> list) noexcept {
  std::uint64_t released = 0;
  std::uint64_t freed = 0;  // without what lies in chunks that come back only whole
  for (const Extent extent : list) {
    for_each_part(extent, [&](std::uint32_t id, std::uint32_t begin, std::uint32_t end) {
      FIRN_ASSERT(granule_map::all_set(used(id), begin, end));
      FIRN_ASSERT(granule_map::none_set(live(id), begin, end));
      Chunk& chunk = chunks_[id];
      chunk.pending -= end - begin;
      if (!write_once() && chunk.state != State::sealed) {
        granule_map::clear(used(id), begin, end);
        chunk.taken -= end - begin;
        freed += end - begin;
        delist(id);
      }
      return true;
    });
    released += extent.count;
  }
  pending_granules_ -= released;
  free_granules_ += freed;
  // Only now are the bits of every chunk as they will be; each chunk is looked at once.
  for (const Extent extent : list) {
    for_each_part(extent, [&](std::uint32_t id, std::uint32_t, std::uint32_t) {
      const Chunk& chunk = chunks_[id];
      const bool waits = chunk.state == State::sealed ||
                         (chunk.state == State::partial && chunk.bucket == unlisted);
      if (waits) refresh(id);
      return true;
    });
  }
  return released;
}

std::span<const Extent> Space::pending(std::uint64_t number) const noexcept {
  if (number < published_ || number - published_ >= pending_count) return {};
  return pending_[number % pending_count].view();
}

bool Space::try_drain(std::uint32_t chunk) noexcept {
  FIRN_ASSERT(started_);
  const State state = chunks_[chunk].state;
  if (state == State::sealed) return true;
  if (state != State::partial || reserved_ + free_in(chunks_[chunk]) > free_granules_) return false;
  delist(chunk);
  seal_rest(chunk, 0);
  return true;
}

bool Space::sealed(std::uint32_t chunk) const noexcept {
  return chunks_[chunk].state == State::sealed;
}

std::size_t Space::list_victims(std::uint32_t from, std::uint32_t live_percent_max,
                                std::span<Victim> out) const noexcept {
  const auto end = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(used_chunks_, std::uint64_t{from} + out.size()));
  std::size_t count = 0;
  for (std::uint32_t id = from; id < end; ++id) {
    const Chunk& chunk = chunks_[id];
    const bool closed = chunk.state == State::sealed || chunk.state == State::partial;
    if (!closed || chunk.live == 0) continue;
    if (std::uint64_t{chunk.live} * 100 > std::uint64_t{granules_} * live_percent_max) continue;
    out[count++] = {.live = chunk.live, .chunk = id};
  }
  return count;
}

Result<std::vector<std::uint32_t>> Space::pick_victims(
    std::uint32_t most, std::uint32_t live_percent_max) const noexcept {
  std::vector<std::uint32_t> victims;
  FIRN_TRY(base::guard_allocation([&] {
    std::vector<Victim> found(used_chunks_);
    found.resize(list_victims(0, live_percent_max, found));
    std::sort(found.begin(), found.end());
    if (found.size() > most) found.resize(most);
    for (const Victim& victim : found) victims.push_back(victim.chunk);
  }));
  return victims;
}

}  // namespace firn::store
