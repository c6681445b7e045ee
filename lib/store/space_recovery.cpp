// Making a space, growing it, and rebuilding it from the extents that the mapping names.
#include <bit>
#include <limits>
#include <new>
#include <stdexcept>

#include <firn/bytes.hpp>

#include "store/granule_map.hpp"
#include "store/space.hpp"

#include "base/allocation.hpp"
#include "base/planted.hpp"

namespace firn::store {

Space::Space(const SpaceOptions& options) noexcept
    : options_(options),
      granules_(options.chunk_bytes / options.granule_bytes),
      words_(granules_ / granule_map::word_bits),
      published_(options.published_number) {
  for (auto& heads : heads_) heads.fill(none);
}

Result<Space> Space::create(const SpaceOptions& options) noexcept {
  if (!std::has_single_bit(options.granule_bytes) || options.granule_bytes < 512) {
    return fail(ErrorCode::invalid_argument, "a granule of {} bytes: 512 or a larger power of two",
                options.granule_bytes);
  }
  if (!std::has_single_bit(options.chunk_bytes) || options.chunk_bytes > 64_MiB ||
      options.chunk_bytes / options.granule_bytes < granule_map::word_bits) {
    return fail(ErrorCode::invalid_argument,
                "a chunk of {} bytes: a power of two, 64 granules to 64 MiB", options.chunk_bytes);
  }
  if (options.refill_percent > 100) {
    return fail(ErrorCode::invalid_argument, "{} percent of a chunk", options.refill_percent);
  }
  Space space(options);
  FIRN_TRY(space.grow(options.chunk_count));
  return space;
}

Result<void> Space::grow(std::uint32_t chunks) noexcept {
  const std::uint64_t total = chunk_count_ + std::uint64_t{chunks};
  if (total >= none) return fail(ErrorCode::too_large, "a segment of {} chunks", total);
  constexpr std::uint64_t bits = granule_map::word_bits;
  // Longer arrays than there are chunks do no harm if one of them cannot grow.
  FIRN_TRY(chunks_.grow(total));
  FIRN_TRY(used_.grow(total * words_));
  FIRN_TRY(live_.grow(total * words_));
  FIRN_TRY(filled_.grow((total + bits - 1) / bits));
  chunk_count_ = static_cast<std::uint32_t>(total);
  empty_chunks_ += chunks;
  free_granules_ += std::uint64_t{chunks} * granules_;
  return {};
}

Result<void> Space::mark(Extent extent, Group group) noexcept {
  FIRN_ASSERT(!started_);
  const auto corrupt = [&](const char* detail) {
    Error error = fail(ErrorCode::corrupt, detail, extent.chunk).error;
    error.place.segment = options_.segment;
    return fail(error);
  };
  if (!in_bounds(extent)) {
    if (FIRN_PLANTED("mapping-place-unchecked")) return {};
    return corrupt("an extent at chunk {} is out of bounds");
  }
  const bool alone =
      for_each_part(extent, [&](std::uint32_t id, std::uint32_t begin, std::uint32_t end) {
        return granule_map::none_set(used(id), begin, end);
      });
  if (!alone && FIRN_PLANTED("mapping-place-unchecked")) return {};
  if (!alone) return corrupt("two extents overlap in chunk {}");
  for_each_part(extent, [&](std::uint32_t id, std::uint32_t, std::uint32_t) {
    if (chunks_[id].state == State::empty) {
      transition(id, State::partial);
      chunks_[id].group = group;
    }
    return true;
  });
  take(extent);
  return {};
}

Result<void> Space::mark_live(Extent extent, Group group) noexcept { return mark(extent, group); }

Result<void> Space::mark_pending(Extent extent, Group group) noexcept {
  GrowingList<Extent>& list = pending_[published_ % pending_count];
  FIRN_TRY(list.make_room());
  FIRN_TRY(mark(extent, group));
  give_up(extent, list);
  return {};
}

void Space::start() noexcept {
  FIRN_ASSERT(!started_);
  for (std::uint32_t id = 0; id < used_chunks_; ++id) {
    Chunk& chunk = chunks_[id];
    if (chunk.state == State::empty) continue;
    if (write_once()) {
      seal_rest(id, 0);
    } else {
      enlist(id);
    }
  }
  started_ = true;
#ifdef FIRN_DEBUG
  check_well_formed();
#endif
}

}  // namespace firn::store
