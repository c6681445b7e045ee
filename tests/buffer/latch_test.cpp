#include <array>

#include "buffer/descriptor.hpp"
#include "buffer/optimistic_read.hpp"
#include "support/catch.hpp"

namespace {

using firn::buffer::Descriptor;
using firn::buffer::PageState;
using firn::buffer::PageWord;
using firn::buffer::Want;

// A resident page, clean, unlatched.
void make_resident(PageState& state) {
  REQUIRE(state.try_create());
  REQUIRE_FALSE(state.release_exclusive());
}

void make_dirty(PageState& state) {
  REQUIRE(state.try_exclusive(state.load()));
  state.mark_dirty();
  REQUIRE_FALSE(state.release_exclusive());
}

}  // namespace

TEST_CASE("latch: a word of zeroes is a free page", "[latch]") {
  PageState state;
  REQUIRE(state.load().free());
  REQUIRE_FALSE(state.optimistic_begin().has_value());
  REQUIRE_FALSE(state.try_share(state.load()));
  REQUIRE_FALSE(state.try_exclusive(state.load()));
  REQUIRE_FALSE(state.begin_fault());
  make_resident(state);
  REQUIRE(state.load().version() == 1);
}

TEST_CASE("latch: only version and exclusion disturb an optimistic read", "[latch]") {
  PageState state;
  make_resident(state);
  make_dirty(state);
  const PageWord seen = *state.optimistic_begin();
  REQUIRE(state.try_share(seen));
  REQUIRE(state.validate(seen));
  REQUIRE(state.begin_write_back());
  REQUIRE(state.try_append(seen));
  REQUIRE(state.validate(seen));
  REQUIRE_FALSE(state.release_append());
  REQUIRE_FALSE(state.finish_write_back(true));
  REQUIRE_FALSE(state.release_share());
  REQUIRE(state.validate(seen));
  REQUIRE(state.load() == seen.cleaned());
  REQUIRE(state.try_exclusive(seen));
  REQUIRE_FALSE(state.validate(seen));
  REQUIRE_FALSE(state.release_exclusive());
  REQUIRE_FALSE(state.validate(seen));
  REQUIRE_FALSE(state.try_exclusive(seen));
  REQUIRE_FALSE(state.try_append(seen));
  REQUIRE_FALSE(state.try_share(seen));
}

TEST_CASE("latch: shares - append and exclusive exclude as they should", "[latch]") {
  PageState state;
  make_resident(state);
  const PageWord seen = state.load();
  for (unsigned count = 0; count < PageWord::share_count_max; ++count) {
    REQUIRE(state.try_share(state.load()));
  }
  REQUIRE_FALSE(state.try_share(state.load()));
  REQUIRE_FALSE(state.try_exclusive(state.load()));
  REQUIRE_FALSE(state.try_upgrade());
  while (state.load().share_count() > 1) REQUIRE_FALSE(state.release_share());
  REQUIRE(state.try_append(seen));
  REQUIRE_FALSE(state.try_append(seen));
  REQUIRE_FALSE(state.try_upgrade());
  REQUIRE_FALSE(state.release_append());
  REQUIRE(state.try_upgrade());
  REQUIRE_FALSE(state.try_append(state.load()));
  REQUIRE_FALSE(state.try_share(state.load()));
  REQUIRE_FALSE(state.release_exclusive());
  REQUIRE(state.load().version() == seen.version() + 1);
}

TEST_CASE("latch: a version outlives eviction - freeing and reuse", "[latch]") {
  Descriptor page;
  make_resident(page.state);
  const PageWord seen = page.state.load();
  REQUIRE(page.begin_evict().began);
  REQUIRE(page.state.load().version() == seen.version() + 1);
  REQUIRE_FALSE(page.state.begin_fault());  // its memory is not gone yet
  REQUIRE_FALSE(page.state.finish_evict());
  REQUIRE(page.state.begin_fault());
  REQUIRE_FALSE(page.state.begin_fault());
  REQUIRE_FALSE(page.state.finish_fault(false));
  REQUIRE(page.state.begin_fault());
  REQUIRE_FALSE(page.state.finish_fault(true));
  REQUIRE(page.state.load().readable());
  REQUIRE_FALSE(page.state.validate(seen));
  make_dirty(page.state);
  REQUIRE(page.begin_free().began);
  REQUIRE_FALSE(page.state.try_create());
  REQUIRE_FALSE(page.state.finish_free());
  make_resident(page.state);
  REQUIRE(page.state.load().version() == seen.version() + 4);
}

TEST_CASE("latch: no eviction of a page kept - dirty - latched or in transfer", "[latch]") {
  Descriptor page;
  REQUIRE_FALSE(page.try_keep());  // free
  make_resident(page.state);
  REQUIRE(page.try_keep());
  REQUIRE_FALSE(page.begin_evict().began);
  REQUIRE_FALSE(page.begin_free().began);
  REQUIRE(page.state.try_exclusive(page.state.load()));
  REQUIRE_FALSE(page.try_keep());  // the holder may be an evictor
  REQUIRE(page.try_keep_latched());
  REQUIRE_FALSE(page.state.release_exclusive());
  page.release_keep();
  page.release_keep();
  make_dirty(page.state);
  REQUIRE_FALSE(page.begin_evict().began);
  REQUIRE(page.state.try_share(page.state.load()));
  REQUIRE(page.state.begin_write_back());
  REQUIRE_FALSE(page.state.begin_write_back());
  REQUIRE_FALSE(page.begin_evict().began);
  REQUIRE_FALSE(page.state.release_share());
  REQUIRE_FALSE(page.begin_evict().began);
  REQUIRE_FALSE(page.begin_free().began);
  REQUIRE_FALSE(page.state.finish_write_back(false));
  REQUIRE(page.state.load().dirty());
  REQUIRE_FALSE(page.begin_evict().began);
  REQUIRE(page.state.try_exclusive(page.state.load()));
  page.state.clear_dirty();
  REQUIRE_FALSE(page.state.release_exclusive());
  REQUIRE(page.begin_evict().began);
  REQUIRE(page.try_keep());  // an evicted page stays once it is loaded
  REQUIRE_FALSE(page.state.finish_evict());
  REQUIRE(page.state.begin_fault());
  REQUIRE_FALSE(page.state.finish_fault(true));
  REQUIRE_FALSE(page.begin_evict().began);
  page.release_keep();
  REQUIRE(page.begin_evict().began);
}

TEST_CASE("latch: a page made dirty during its write-back stays dirty", "[latch]") {
  PageState state;
  make_resident(state);
  make_dirty(state);
  REQUIRE(state.try_share(state.load()));
  REQUIRE(state.begin_write_back());
  REQUIRE_FALSE(state.release_share());
  make_dirty(state);
  REQUIRE_FALSE(state.finish_write_back(true));
  REQUIRE(state.load().dirty());
}

TEST_CASE("latch: whoever lets others go on is told that they wait", "[latch]") {
  Descriptor page;
  PageState& state = page.state;
  make_resident(state);
  REQUIRE_FALSE(state.mark_waiting(Want::exclusive));  // there is nothing to wait for
  REQUIRE(state.try_exclusive(state.load()));
  REQUIRE(state.mark_waiting(Want::read));
  REQUIRE(state.release_exclusive());
  REQUIRE(state.load().waiting());  // until the list is taken
  state.clear_waiting();
  REQUIRE(state.try_share(state.load()));
  REQUIRE(state.try_share(state.load()));
  REQUIRE_FALSE(state.mark_waiting(Want::share));
  REQUIRE(state.mark_waiting(Want::exclusive));
  REQUIRE_FALSE(state.release_share());  // the other share still stands in the way
  REQUIRE(state.release_share());
  state.clear_waiting();
  REQUIRE(state.try_append(state.load()));
  REQUIRE(state.mark_waiting(Want::append));
  REQUIRE(state.release_append());
  state.clear_waiting();
  REQUIRE(page.begin_evict().began);
  REQUIRE(state.mark_waiting(Want::read));
  REQUIRE(state.finish_evict());
  state.clear_waiting();
  REQUIRE_FALSE(state.mark_waiting(Want::read));  // evicted, and nobody brings it: act oneself
  REQUIRE(state.begin_fault());
  REQUIRE(state.mark_waiting(Want::read));
  REQUIRE(state.finish_fault(true));
  state.clear_waiting();
  make_dirty(state);
  REQUIRE(state.try_share(state.load()));
  REQUIRE(state.begin_write_back());
  REQUIRE_FALSE(state.release_share());
  REQUIRE(state.mark_waiting(Want::retire));
  REQUIRE(state.finish_write_back(true));
}

TEST_CASE("latch: every change of one field is legal from some word - and no other", "[latch]") {
  using firn::buffer::legal_transition;
  const PageWord resident(PageWord::class_readable * PageWord::class_one);
  const PageWord evicted(PageWord::class_evicted * PageWord::class_one);
  REQUIRE(legal_transition(resident, resident.latched()));
  REQUIRE_FALSE(legal_transition(resident, resident.dirtied()));
  REQUIRE_FALSE(legal_transition(resident, resident.evicting()));
  REQUIRE_FALSE(legal_transition(resident.appending(), resident.appending().latched()));
  REQUIRE_FALSE(legal_transition(resident.shared().shared(), resident.latched()));
  REQUIRE_FALSE(legal_transition(resident.latched(), resident));  // the version must move
  REQUIRE_FALSE(legal_transition(resident.latched().dirtied(), resident.dirtied().evicting()));
  REQUIRE_FALSE(legal_transition(evicted, evicted.faulted(true)));
  REQUIRE(legal_transition(evicted.faulting(), evicted.faulting().faulted(true)));
}

TEST_CASE("latch: copies of every size and alignment are exact", "[latch]") {
  alignas(8) std::array<unsigned char, 128> page{};
  for (std::size_t offset = 0; offset < 16; ++offset) {
    for (std::size_t size = 0; size <= 64; ++size) {
      std::array<unsigned char, 64> image{};
      for (std::size_t index = 0; index < size; ++index) {
        image[index] = static_cast<unsigned char>(index + 1);
      }
      page.fill(0xee);
      firn::buffer::store_page(page.data() + offset, image.data(), size);
      std::array<unsigned char, 64> copy{};
      REQUIRE(firn::buffer::copy_optimistic(copy.data(), page.data() + offset, size));
      REQUIRE(copy == image);
      REQUIRE(page[offset + size] == 0xee);
      copy = {};
      REQUIRE(firn::buffer::detail::copy_with_fixup(copy.data(), page.data() + offset, size));
      REQUIRE(copy == image);
    }
  }
}
