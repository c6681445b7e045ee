// What the pool promises, one sentence each.
#include <cstring>

#include "buffer/pool_pages.hpp"

namespace {

using namespace firn;
using namespace firn::test;

Result<void> refuse_odd(buffer::PageSlot page, Bytes content) noexcept {
  format::PageHeader header;
  std::memcpy(&header, content.data(), sizeof header);
  if (header.table % 2 == 0) return {};
  Failure failure = fail(ErrorCode::corrupt, "an odd leaf");
  failure.error.place.page = page.bits();
  return failure;
}

// A leaf whose table is `table`, on the device and evicted.
buffer::PageSlot leaf_of(Pages& pages, std::uint64_t table) {
  buffer::PageSlot page;
  pages.world.executors.on_fiber([&](runtime::ExecutorCore&) {
    buffer::Waiter waiter(*pages.world.pool, *runtime::current_fiber());
    format::PageHeader header;
    header.kind = format::PageKind::leaf;
    header.table = table;
    Error error;
    const Access made = pages.world.pool->create_or_park(waiter, 0, header, page, error);
    REQUIRE(made == Access::ready);
    std::uint64_t number = 0;
    REQUIRE(pages.world.pool->begin_change({&page, 1}, {}, number));
    pages.world.pool->release_exclusive(page);
  });
  REQUIRE(pages.world.checkpoint().has_value());
  pages.evict_all();
  return page;
}

// The outcome of taking the page's shared latch on a fiber.
Result<void> share(Pages& pages, buffer::PageSlot page) {
  Result<void> outcome;
  pages.world.executors.on_fiber([&](runtime::ExecutorCore&) {
    buffer::Waiter waiter(*pages.world.pool, *runtime::current_fiber());
    Error error;
    while (true) {
      switch (pages.world.pool->shared_or_park(waiter, page, error)) {
        case Access::ready:
          pages.world.pool->release_shared(page);
          return;
        case Access::failed:
          outcome = fail(error);
          return;
        case Access::parked:
          runtime::FiberContext::suspend();
          break;
        case Access::again:
          break;
      }
    }
  });
  return outcome;
}

}  // namespace

TEST_CASE("pool: one read serves everybody who waits for a page", "[pool]") {
  Pages pages(8);
  const std::uint64_t before = pages.world.store->statistics().page_reads;
  CHECK(pages.read_by_many(3, 100, ErrorCode::corrupt) == 0);
  CHECK(pages.model.wrong == nullptr);
  CHECK(pages.world.store->statistics().page_reads == before + 1);
  CHECK(pages.world.pool->statistics().faults == 1);
  pages.world.pool->check_well_formed();
}

TEST_CASE("pool: a damaged page fails for everybody who waits - and its neighbours are readable",
          "[pool]") {
  Pages pages(8);
  pages.model.may_fail = true;
  const store::Location location = pages.world.store->entry(pages.model.entries[3].page).location;
  // One granule further on lies the next image, so the flip is near the start.
  std::uint64_t offset = std::uint64_t{location.extent().chunk} * store::StoreOptions{}.chunk_bytes;
  offset += std::uint64_t{location.extent().granule} * 512;
  pages.world.device.flip_bit(offset + 20, 3);
  CHECK(pages.read_by_many(3, 50, ErrorCode::corrupt) == 50);
  CHECK(pages.world.pool->statistics().failed_faults == 1);
  for (std::size_t index = 0; index < 8; ++index) {
    if (index != 3) CHECK(pages.read_by_many(index, 5, ErrorCode::corrupt) == 0);
  }
  pages.world.device.flip_bit(offset + 20, 3);
  CHECK(pages.read_by_many(3, 5, ErrorCode::corrupt) == 0);
  CHECK(pages.model.wrong == nullptr);
  pages.world.pool->check_well_formed();
}

TEST_CASE("pool: a device that fails a read fails it for everybody who waits", "[pool]") {
  Pages pages(4);
  pages.model.may_fail = true;
  segment::FaultRule rule;
  rule.kind = segment::FaultKind::io_error;
  pages.world.backend->inject(rule);
  CHECK(pages.read_by_many(1, 100, ErrorCode::io_error) == 100);
  CHECK(pages.read_by_many(1, 100, ErrorCode::io_error) == 0);
  pages.world.pool->check_well_formed();
}

TEST_CASE("pool: a page is published only after the owner of its kind has checked it", "[pool]") {
  Pages pages(2);
  pages.world.pool->register_kind(format::PageKind::leaf, {.validate = &refuse_odd});
  const buffer::PageSlot even = leaf_of(pages, 2);
  const buffer::PageSlot odd = leaf_of(pages, 3);
  CHECK(share(pages, even).has_value());
  const Result<void> refused = share(pages, odd);
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::corrupt);
  CHECK(refused.error().place.page == odd.bits());
  CHECK(pages.world.pool->descriptor(odd).state.load().evicted());
}

TEST_CASE("pool: a page id from a damaged page is an error - not an access", "[pool]") {
  Pages pages(2);
  for (const std::uint64_t bits :
       {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{9} << 44 | 1,
        (std::uint64_t{1} << 44) - 1, std::uint64_t{77}, std::uint64_t{3} << 44 | 5}) {
    const Result<void> refused = share(pages, buffer::PageSlot::from_bits(bits));
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == ErrorCode::corrupt);
  }
  pages.world.pool->check_well_formed();
}

TEST_CASE("pool: a write-back that fails leaves the page dirty and in memory", "[pool]") {
  Pages pages(64);
  pages.world.start_background();
  pages.world.shrink_to(16 * 4096);
  segment::FaultRule rule;
  rule.kind = segment::FaultKind::no_space;
  rule.count = 12;
  pages.world.backend->inject(rule);
  for (std::size_t index = 0; index < 64; ++index) pages.run(PageDeed::change, index);
  CHECK(pages.world.pool->statistics().failed_write_backs > 0);
  for (std::size_t index = 0; index < 64; ++index) pages.run(PageDeed::read, index);
  CHECK(pages.model.wrong == nullptr);
  CHECK(pages.model.reads == 64);
}

TEST_CASE("pool: operations that wait for memory hear that the device is gone", "[pool]") {
  Pages pages(64);
  pages.world.start_background();
  pages.world.shrink_to(8 * 4096);
  pages.model.may_fail = true;
  segment::FaultRule rule;
  rule.kind = segment::FaultKind::no_space;
  rule.count = segment::FaultRule::forever;
  pages.world.backend->inject(rule);
  for (std::size_t index = 0; index < 64; ++index) pages.run(PageDeed::change, index);
  CHECK(pages.model.errors > 0);
  pages.world.backend->heal();
  for (std::size_t index = 0; index < 64; ++index) pages.run(PageDeed::change, index);
  CHECK(pages.model.wrong == nullptr);
}

TEST_CASE("pool: inner nodes outlast leaves", "[pool]") {
  Pages pages(40);
  pages.world.pool->register_kind(format::PageKind::inner, {});
  pages.world.start_background();
  std::vector<buffer::PageSlot> inner;
  for (int count = 0; count < 4; ++count) {
    pages.world.executors.on_fiber([&](runtime::ExecutorCore&) {
      buffer::Waiter waiter(*pages.world.pool, *runtime::current_fiber());
      format::PageHeader header;
      header.kind = format::PageKind::inner;
      header.level = 1;
      Error error;
      REQUIRE(pages.world.pool->create_or_park(waiter, 0, header, inner.emplace_back(), error) ==
              Access::ready);
      std::uint64_t number = 0;
      REQUIRE(pages.world.pool->begin_change({&inner.back(), 1}, {}, number));
      pages.world.pool->release_exclusive(inner.back());
    });
  }
  REQUIRE(pages.world.checkpoint().has_value());
  pages.world.shrink_to(16 * 4096);
  for (std::size_t index = 0; index < 40; ++index) pages.run(PageDeed::read, index);
  CHECK(pages.world.pool->statistics().evictions > 20);
  for (const buffer::PageSlot page : inner) {
    CHECK(pages.world.pool->descriptor(page).state.load().readable());
  }
}

TEST_CASE("pool: the budget counts buffers and records before the first page", "[pool]") {
  Pages pages(1);
  const buffer::PoolStatistics figures = pages.world.pool->statistics();
  const buffer::PoolOptions options = WorldOptions{}.pool;
  CHECK(figures.fixed_bytes >= options.write_buffer_bytes + options.copy_buffer_bytes +
                                   options.reads_max * sizeof(buffer::FaultRecord));
  CHECK(figures.used_bytes >= figures.fixed_bytes + figures.frame_bytes);
}

TEST_CASE("pool-resize: a budget that cannot hold one operation is refused", "[pool-resize]") {
  Pages pages(4);
  const std::uint64_t before = pages.world.pool->statistics().budget_bytes;
  const auto small = pages.world.pool->set_budget(64 * 1024);
  REQUIRE(!small.has_value());
  CHECK(small.error().code == ErrorCode::no_memory);
  const auto large = pages.world.pool->set_budget(1ULL << 40);
  REQUIRE(!large.has_value());
  CHECK(large.error().code == ErrorCode::invalid_argument);
  CHECK(pages.world.pool->statistics().budget_bytes == before);
}

TEST_CASE("pool-resize: lowering the budget evicts down to it - dirty pages too", "[pool-resize]") {
  Pages pages(200);
  pages.world.start_background();
  for (std::size_t index = 0; index < 200; ++index) pages.run(PageDeed::change, index);
  CHECK(pages.world.pool->statistics().frame_bytes == 200 * 4096);
  pages.world.shrink_to(20 * 4096);
  REQUIRE(pages.world.executors.run([&] {
    const buffer::PoolStatistics figures = pages.world.pool->statistics();
    return figures.used_bytes <= figures.budget_bytes;
  }));
  for (std::size_t index = 0; index < 200; ++index) pages.run(PageDeed::read, index);
  CHECK(pages.model.reads == 200);
  CHECK(pages.model.wrong == nullptr);
}

TEST_CASE("park: an operation that is cancelled while it waits for a page gives back what it holds",
          "[park][pool]") {
  Pages pages(4);
  PageOperation reader(*pages.world.pool, pages.model, PageDeed::read, 2, 2, 0);
  PageOperation other(*pages.world.pool, pages.model, PageDeed::read, 2, 2, 0);
  REQUIRE(reader.post(pages.world.executors.executor(0)).has_value());
  REQUIRE(other.post(pages.world.executors.executor(1)).has_value());
  REQUIRE(!reader.done());
  reader.cancel();
  REQUIRE(pages.world.executors.run([&] { return reader.done() && other.done(); }));
  CHECK(!reader.result().has_value());
  CHECK(other.result().has_value());
}

TEST_CASE("park: memory is granted in the order of arrival", "[park][pool]") {
  Pages pages(1);
  buffer::Quota quota;
  quota.set_limit(10);
  REQUIRE(quota.take(10, false));
  std::vector<std::uint64_t> order;
  std::size_t ended = 0;
  // Amounts that would fit do not overtake one that does not.
  const std::array<std::uint64_t, 4> amounts = {6, 2, 7, 1};
  for (const std::uint64_t amount : amounts) {
    const auto spawned = fiber::spawn(pages.world.executors.executor(0), [&, amount]() noexcept {
      buffer::Waiter waiter(*pages.world.pool, *runtime::current_fiber());
      std::uint64_t granted = 0;
      quota.park(waiter, amount, granted);
      runtime::FiberContext::suspend();
      if (granted == amount) order.push_back(amount);
      ++ended;
    });
    REQUIRE(spawned.has_value());
    while (pages.world.executors.tick_one()) {
    }
  }
  for (const std::uint64_t given : {std::uint64_t{3}, std::uint64_t{3}}) {
    quota.give(given);
    while (pages.world.executors.tick_one()) {
    }
  }
  CHECK(order == std::vector<std::uint64_t>{6});
  CHECK(!quota.take(1, false));
  quota.give(4);
  while (pages.world.executors.tick_one()) {
  }
  CHECK(order == std::vector<std::uint64_t>{6, 2});
  quota.give(8);
  REQUIRE(pages.world.executors.run([&] { return ended == amounts.size(); }));
  CHECK(order == std::vector<std::uint64_t>{6, 2, 7, 1});
  CHECK(quota.used() == 8);
}
