// Images that move to other places while they are read and written.
#include "store/segment_world.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using World = SegmentWorld;
constexpr std::uint32_t chunk_bytes = world_chunk_bytes;

}  // namespace

TEST_CASE("store: an image that is read stays readable while it moves", "[store]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t first = world.add(0, "first");
    const PageId page = world.write_new(3, first);
    for (int index = 0; index < 20; ++index) world.write_new(4, first);  // past its chunk
    world.publish();
    // The read ends when its place has been used again.
    segment::SimulatedBackend& backend = *world.further.device(0).backend;
    backend.inject({.kind = segment::FaultKind::no_completion});
    store::PageRead read;
    auto block = *store::AlignedBlock::make(4096);
    read.page = page;
    read.data = block.data();
    read.context = runtime::current_fiber();
    read.done = &firn::test::detail::wake<store::PageRead>;
    store.read(world.core(), read);
    const store::Location place = store.entry(page).location;
    REQUIRE(store.clean_segment(world.core(), first, 99, 100)->moved_images > 1);
    REQUIRE(!(store.entry(page).location == place));
    world.publish(2);
    for (int index = 0; index < 100; ++index) {
      const PageId fresh = world.write_new(9, first);
      if (store.entry(fresh).location.extent().chunk == place.extent().chunk) break;
    }
    backend.release_hung();
    runtime::FiberContext::suspend();
    REQUIRE(read.outcome.has_value());
    std::uint64_t generation = 0;
    REQUIRE(check_page(block.data(), page, generation));
    REQUIRE(generation == 3);
    world.check();
  });
}

TEST_CASE("store: a move does not hide what is written meanwhile or later", "[store]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t first = world.add(0, "first");
    const PageId during = world.write_new(1, first);
    const PageId late = world.write_new(1, first);
    const PageId freed = world.write_new(1, first);
    world.publish();
    // The move reads the image of `during`, which is written before the copy is.
    segment::SimulatedBackend& backend = *world.further.device(0).backend;
    backend.inject({.kind = segment::FaultKind::no_completion});
    struct Job {
      World* world;
      std::uint8_t segment;
      runtime::Fiber* waiter;
      std::uint64_t moved;
    } job{&world, first, runtime::current_fiber(), 0};
    auto fiber = world.core().fibers().prepare(world.core(), sizeof(Job*), alignof(Job*));
    ::new ((*fiber)->memory) Job*(&job);
    runtime::FiberPool::start(**fiber, [](void* memory) noexcept {
      Job& its = **static_cast<Job**>(memory);
      const auto moved = its.world->store().drain_segment(its.world->core(), its.segment);
      its.moved = moved.has_value() ? moved->moved_images : 99;
      runtime::ExecutorCore::wake(*its.waiter);
    });
    while (backend.faults().empty()) let_others_run(world.core());
    world.write(during, 2, 0);
    REQUIRE(store.free_page(freed, store.number()).has_value());
    world.expected.erase(freed);
    // A checkpoint begins; the image that `late` owes to it comes after the move.
    const std::uint64_t number = store.begin_checkpoint();
    backend.release_hung();
    runtime::FiberContext::suspend();
    REQUIRE(job.moved == 1);
    REQUIRE(write_page(store, world.core(), late, 2, number).has_value());
    world.expected[late] = 2;
    REQUIRE(store.publish(world.core(), number, {}).has_value());
    world.check();
    world.publish(3);
    for (int index = 0; index < 50; ++index) world.write_new(5, 0);
    world.publish();
    world.check();
    REQUIRE(world.reopen().has_value());
    world.check();
  });
}

TEST_CASE("store: what was written under the next number waits for the checkpoint to move",
          "[store]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t first = world.add(0, "first");
    const PageId page = world.write_new(1, first);
    world.publish();
    const std::uint64_t number = store.begin_checkpoint();
    world.write(page, 2, first);  // of the next checkpoint
    REQUIRE(store.drain_segment(world.core(), first).error().code == ErrorCode::busy);
    REQUIRE(store.clean_segment(world.core(), 0, 9, 100).error().code == ErrorCode::busy);
    REQUIRE(store.publish(world.core(), number, {}).has_value());
    REQUIRE(store.drain_segment(world.core(), first)->moved_images == 1);
    world.check();
    world.expected[page] = 1;
    REQUIRE(world.reopen().has_value());  // nothing but checkpoint `number` was published
    world.check();
  });
}

TEST_CASE("store: images move between granules of different sizes", "[store]") {
  segment::SegmentCapabilities large;
  large.block_bytes = 4096;
  large.atomic_bytes = 4096;
  World world(large);
  world.run([&] {
    Store& store = world.create();
    const auto added = world.further.add_to(store, 0, "large blocks", 256 * 1024);
    REQUIRE(added.has_value());
    const std::uint8_t id = *added;
    for (std::uint64_t round = 1; round <= 30; ++round) {
      world.write_new(round, round % 2 == 0 ? id : 0, static_cast<unsigned>(round % 3));
    }
    world.publish();
    world.check();
    REQUIRE(store.clean_segment(world.core(), 0, 99, 100).has_value());
    world.check();
    REQUIRE(store.drain_segment(world.core(), id)->moved_images == 15);
    world.check();
    world.publish();
    REQUIRE(world.reopen().has_value());
    world.check();
  });
}

TEST_CASE("segment destroy: a damaged image is not moved and keeps its segment",
          "[segment-destroy]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t id = world.add(0, "damaged");
    const PageId good = world.write_new(1, id);
    const PageId bad = world.write_new(1, id);
    world.publish();
    const store::Extent extent = store.entry(bad).location.extent();
    world.device(0).flip_bit(
        std::uint64_t{extent.chunk} * chunk_bytes + std::uint64_t{extent.granule} * 512 + 100, 2);
    const auto moved = store.drain_segment(world.core(), id);
    REQUIRE(moved.error().code == ErrorCode::corrupt);
    REQUIRE(moved.error().place.page == bad.bits());
    REQUIRE(moved.error().place.segment == id);
    REQUIRE(world.segment_of(good) == 0);
    REQUIRE(world.segment_of(bad) == id);
    REQUIRE(code_of(store.remove_segment(id)) == code_of(ErrorCode::busy));
    REQUIRE(store.free_page(bad, store.number()).has_value());
    world.publish(2);
    REQUIRE(store.remove_segment(id).has_value());
    world.publish(2);
    REQUIRE(world.further.gone().size() == 1);
  });
}

TEST_CASE("store: chunks that are written once are cleaned and used again", "[allocator]") {
  segment::SegmentCapabilities append_only;
  append_only.append_only = true;
  World world(append_only);
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t id = world.add(0, "append-only");
    std::vector<PageId> pages;
    // Half of the segment is live, and all of it is written many times.
    for (int index = 0; index < 60; ++index) pages.push_back(world.write_new(1, id, 1));
    base::Random random(5);
    std::uint64_t cleanings = 0;
    for (std::uint64_t round = 2; round < 1000; ++round) {
      const PageId page = pages[random.below(pages.size())];
      auto outcome = write_page(store, world.core(), page, round, store.number(), id);
      REQUIRE(outcome.has_value());
      world.expected[page] = round;
      if (world.segment_of(page) != id || round % 8 == 0) {
        // Passed on: there is room in dead granules only.
        const auto cleaned = store.clean_segment(world.core(), id, 4, 90);
        if (!cleaned.has_value()) REQUIRE(cleaned.error().code == ErrorCode::no_space);
        ++cleanings;
        world.publish(2);
      }
    }
    world.check();
    REQUIRE(cleanings > 10);
    REQUIRE(store.statistics().moved_images > 50);
    REQUIRE(world.status(id).images > 30);
    world.publish();
    REQUIRE(world.reopen().has_value());
    world.check();
  });
}
