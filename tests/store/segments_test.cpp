// Stores of several segments: which come and go, what lies in them, and files that are not what
// they should be.
#include <set>

#include "format/segment_head.hpp"
#include "store/segment_world.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using store::SegmentState;
using World = SegmentWorld;
constexpr std::uint32_t chunk_bytes = world_chunk_bytes;
constexpr std::uint64_t device_bytes = world_device_bytes;

}  // namespace

TEST_CASE("store: pages in several segments are there after opening", "[store]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t first = world.add(0, "first");
    const std::uint8_t second = world.add(1, "second");
    REQUIRE(first == 1);
    REQUIRE(second == 2);
    for (std::uint64_t round = 1; round <= 40; ++round) {
      const auto segment = static_cast<std::uint8_t>(round % 3);
      const PageId page = world.write_new(round, segment, static_cast<unsigned>(round % 4));
      REQUIRE(world.segment_of(page) == segment);
      if (round % 10 == 0) world.publish();
    }
    world.check();
    const auto segments = store.segments();
    REQUIRE(segments->size() == 3);
    REQUIRE((*segments)[2].record.name == "second");
    REQUIRE((*segments)[2].record.path == "2");
    REQUIRE((*segments)[2].images == 13);
    for (int opening = 0; opening < 2; ++opening) {
      REQUIRE(world.reopen().has_value());
      world.check();
      REQUIRE(world.status(2).images == 13);
    }
  });
}

TEST_CASE("store: a segment that no checkpoint has published is not part of the store", "[store]") {
  World world;
  world.run([&] {
    world.create();
    world.add(0, "lost");
    REQUIRE(world.reopen().has_value());
    REQUIRE(world.store().segments()->size() == 1);
    // What is left of it hinders nobody.
    world.add(0, "kept");
    world.write_new(1, 1);
    world.publish();
    REQUIRE(world.reopen().has_value());
    REQUIRE(world.status(1).record.name == "kept");
    world.check();
  });
}

TEST_CASE("store: a segment's number and name are its own", "[store]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    world.add(0, "one");
    const auto add = [&](std::uint8_t id, std::string_view name, std::string_view path = {},
                         std::uint32_t chunk = chunk_bytes) {
      return store.add_segment(
          world.core(), FurtherSegments::make_memory(1_MiB, id),
          {.name = name, .path = path, .kind = store::SegmentKind::memory, .chunk_bytes = chunk});
    };
    REQUIRE(code_of(add(1, "two")) == code_of(ErrorCode::already_exists));
    REQUIRE(code_of(add(2, "one")) == code_of(ErrorCode::already_exists));
    REQUIRE(code_of(add(0, "two")) == code_of(ErrorCode::invalid_argument));
    REQUIRE(code_of(add(2, "")) == code_of(ErrorCode::invalid_argument));
    REQUIRE(code_of(add(2, std::string(256, 'x'))) == code_of(ErrorCode::invalid_argument));
    REQUIRE(code_of(add(2, "two", std::string(4096, 'x'))) == code_of(ErrorCode::invalid_argument));
    REQUIRE(code_of(add(2, "two", std::string_view("a\0b", 3))) ==
            code_of(ErrorCode::invalid_argument));
    REQUIRE(code_of(add(2, "two", "", 0)) == code_of(ErrorCode::no_space));
    REQUIRE(code_of(add(2, "two", "", 3 << 16)) == code_of(ErrorCode::invalid_argument));
    REQUIRE(code_of(add(2, "two", "", 1U << 20)) == code_of(ErrorCode::no_space));
    REQUIRE(store.segments()->size() == 2);
    REQUIRE(code_of(add(255, std::string(255, 'x'))) == 0);
    REQUIRE(*store.free_segment_number() == 2);
    world.publish();
    REQUIRE(world.reopen().has_value());
    REQUIRE(world.status(255).record.name == std::string(255, 'x'));
  });
}

TEST_CASE("store: as many segments as there are numbers", "[store]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    for (unsigned id = 1; id < store::segment_count_max; ++id) {
      const auto added =
          world.further.add_memory_to(store, 4 * chunk_bytes, std::to_string(id), chunk_bytes);
      REQUIRE(added.has_value());
      REQUIRE(*added == id);
    }
    REQUIRE(store.free_segment_number().error().code == ErrorCode::too_large);
    world.publish();
    REQUIRE(world.reopen().has_value());
    REQUIRE(world.store().segments()->size() == store::segment_count_max);
  });
}

TEST_CASE("segment destroy: Only when no table owns a page in it: else busy with the count",
          "[segment-destroy]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t id = world.add(0, "gone soon");
    std::vector<PageId> pages;
    for (std::uint64_t round = 1; round <= 5; ++round) pages.push_back(world.write_new(round, id));
    world.publish();
    const auto refused = store.remove_segment(id);
    REQUIRE(refused.error().code == ErrorCode::busy);
    REQUIRE(refused.error().value == 5);
    REQUIRE(refused.error().place.segment == id);
    REQUIRE(code_of(store.remove_segment(0)) == code_of(ErrorCode::invalid_argument));
    REQUIRE(code_of(store.remove_segment(9)) == code_of(ErrorCode::not_found));
    for (const PageId page : pages) {
      REQUIRE(store.free_page(page, store.number()).has_value());
      world.expected.erase(page);
    }
    // The published checkpoints still name what was there.
    REQUIRE(code_of(store.remove_segment(id)) == code_of(ErrorCode::busy));
    world.publish();
    REQUIRE(code_of(store.remove_segment(id)) == code_of(ErrorCode::busy));
    world.publish();
    REQUIRE(store.remove_segment(id).has_value());
    REQUIRE(code_of(store.remove_segment(id)) == code_of(ErrorCode::not_found));
    REQUIRE(world.status(id).state == SegmentState::leaving);
    // Its number is nobody else's before both superblocks have forgotten it.
    REQUIRE(*store.free_segment_number() == 2);
    world.publish();
    REQUIRE(*store.free_segment_number() == 2);
    REQUIRE(world.further.gone().empty());
    world.publish();
    REQUIRE(world.further.gone() == std::vector<std::uint8_t>{id});
    REQUIRE(*store.free_segment_number() == id);
    world.further.device(0).device = nullptr;  // its file is deleted
    REQUIRE(world.reopen().has_value());
    world.check();
  });
}

TEST_CASE("segment destroy: evacuate moves pages away first", "[segment-destroy]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t from = world.add(0, "from");
    const std::uint8_t to = world.add(1, "to");
    for (std::uint64_t round = 1; round <= 60; ++round) {
      world.write_new(round, from, static_cast<unsigned>(round % 4));
    }
    world.publish();
    const auto moved = store.drain_segment(world.core(), from);
    REQUIRE(moved.has_value());
    REQUIRE(moved->moved_images == 60);
    REQUIRE(moved->left_images == 0);
    world.check();
    // A page that asks for it goes elsewhere now.
    REQUIRE(world.segment_of(world.write_new(1, from)) != from);
    REQUIRE(world.status(from).state == SegmentState::draining);
    REQUIRE(world.status(from).images == 0);
    REQUIRE(world.status(to).images + world.status(0).images == 61);
    world.publish(2);
    REQUIRE(store.remove_segment(from).has_value());
    world.publish(2);
    REQUIRE(world.further.gone().size() == 1);
    world.check();
    REQUIRE(world.reopen().has_value());
    world.check();
  });
}

TEST_CASE("segment destroy: a reader that began before the removal ends first",
          "[segment-destroy]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t id = world.add(0, "read");
    const PageId page = world.write_new(7, id);
    world.publish();
    segment::SimulatedBackend& backend = *world.further.device(0).backend;
    backend.inject({.kind = segment::FaultKind::no_completion});
    store::PageRead read;
    auto block = *store::AlignedBlock::make(4096);
    read.page = page;
    read.data = block.data();
    read.context = runtime::current_fiber();
    read.done = &firn::test::detail::wake<store::PageRead>;
    store.read(world.core(), read);
    REQUIRE(store.drain_segment(world.core(), id)->moved_images == 1);
    world.publish(2);
    REQUIRE(store.remove_segment(id).has_value());
    world.publish(3);
    REQUIRE(world.further.gone().empty());
    backend.release_hung();
    runtime::FiberContext::suspend();
    REQUIRE(read.outcome.has_value());
    world.publish();
    REQUIRE(world.further.gone().size() == 1);
    world.check();
  });
}

TEST_CASE("segment memory: its pages do not exist after reopening", "[segment-memory]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const auto id = world.further.add_memory_to(store, 1_MiB, "scratch", chunk_bytes);
    REQUIRE(id.has_value());
    std::set<PageId> kept;
    for (std::uint64_t round = 1; round <= 30; ++round) {
      const PageId page = world.write_new(round, round % 2 == 0 ? *id : 0);
      if (round % 3 == 0)
        world.write(page, round + 100, round % 2 == 0 ? 0 : *id);  // the other way
      if (world.segment_of(page) == 0) kept.insert(page);
      if (round % 10 == 0) world.publish();
    }
    world.check();
    // Its places are free at once: no checkpoint names them.
    const std::uint64_t free_bytes = world.status(*id).free_bytes;
    for (int round = 0; round < 1000; ++round) {
      for (const auto& [page, generation] : world.expected) {
        if (!kept.contains(page)) world.write(page, generation + 1, *id);
      }
    }
    REQUIRE(world.status(*id).free_bytes < free_bytes + 64_KiB);
    world.publish();
    REQUIRE(world.reopen().has_value());
    std::erase_if(world.expected, [&](const auto& one) { return !kept.contains(one.first); });
    world.check();
    REQUIRE(world.status(*id).record.name == "scratch");
    REQUIRE(world.status(*id).images == 0);
    world.write_new(1, *id);
    world.check();
  });
}

TEST_CASE("store: a segment that is full passes images on to others as persistent", "[grow]") {
  World world;
  world.run([&] {
    Store& store = world.create();
    const std::uint8_t first = world.add(0, "first");
    const auto memory = world.further.add_memory_to(store, 1_MiB, "memory", chunk_bytes);
    REQUIRE(memory.has_value());
    std::set<std::uint8_t> seen;
    Result<void> outcome;
    while (true) {
      const PageId page = *store.allocate_page(2);
      outcome = write_page(store, world.core(), page, 1, store.number(), first);
      if (!outcome.has_value()) break;
      world.expected[page] = 1;
      seen.insert(world.segment_of(page));
      if (world.expected.size() % 16 == 0) world.publish();
    }
    REQUIRE(outcome.error().code == ErrorCode::no_space);
    REQUIRE(outcome.error().place.segment == first);
    REQUIRE(seen == std::set<std::uint8_t>{0, first});
    world.check();
    // Growth of either one helps.
    segment::Request request;
    request.kind = segment::RequestKind::grow;
    request.size = device_bytes + 10 * chunk_bytes;
    REQUIRE(segment::await(*world.further.device(0).backend, world.core(), request).has_value());
    REQUIRE(store.take_growth(first).has_value());
    REQUIRE(world.segment_of(world.write_new(2, first, 2)) == first);
    world.publish();
    REQUIRE(world.reopen().has_value());
    REQUIRE(world.status(first).record.size_bytes == request.size);
    world.check();
  });
}

TEST_CASE("store: a file that is not the segment is refused by its number", "[store]") {
  World world;
  World other;
  const auto head_of = [](segment::SimulatedDevice& device) {
    std::vector<std::byte> head(format::segment_head_area_bytes);
    device.content().read(0, head);
    return head;
  };
  std::vector<std::byte> foreign;
  other.run([&] {
    other.create(99);
    other.add(0, "foreign");
    foreign = head_of(other.device(0));
  });
  world.run([&] {
    world.create();
    world.add(0, "earlier");
    const std::vector<std::byte> earlier = head_of(world.device(0));
    REQUIRE(world.reopen().has_value());
    world.add(0, "a");
    world.add(1, "b");
    world.write_new(1, 1);
    world.publish();
    const std::vector<std::byte> good = head_of(world.device(0));
    world.close();
    const auto refuses = [&](ErrorCode code) {
      const auto opened = world.reopen();
      REQUIRE(!opened.has_value());
      INFO(opened.error().message());
      REQUIRE(opened.error().code == code);
      REQUIRE(opened.error().place.segment == 1);
    };
    const auto with = [&](const std::vector<std::byte>& head) {
      world.device(0).overwrite(0, head);
      refuses(ErrorCode::corrupt);
      world.device(0).overwrite(0, good);
      REQUIRE(world.reopen().has_value());
      world.check();
      world.close();
    };
    with(std::vector<std::byte>(format::segment_head_area_bytes));
    with(std::vector<std::byte>(format::segment_head_area_bytes, std::byte{0x5a}));
    with(foreign);
    with(earlier);
    with(head_of(world.device(1)));
    // Not there at all.
    segment::SimulatedDevice* const device = std::exchange(world.further.device(0).device, nullptr);
    refuses(ErrorCode::not_found);
    world.further.device(0).device = device;
    // Shorter than it was.
    segment::SectorImage image = world.device(0).content();
    image.resize(device_bytes - chunk_bytes);
    segment::SimulatedDevice shorter(image);
    world.further.device(0).device = &shorter;
    refuses(ErrorCode::corrupt);
    world.further.device(0).device = device;
    // One damaged copy is written anew.
    for (unsigned copy = 0; copy < 2; ++copy) {
      world.device(0).flip_bit(format::segment_head_offset(copy) + 300, 1);
      REQUIRE(world.reopen().has_value());
      world.check();
      world.close();
    }
    REQUIRE(head_of(world.device(0)) == good);
  });
}
