// What a tree needs of the pool: prefetching, visits that write nothing, new pages, and errors
// where memory is refused.
#include <sys/mman.h>

#include <cerrno>

#include "buffer/pool_pages.hpp"

namespace {

using namespace firn;
using namespace firn::test;

std::vector<PageSlot> slots_of(const Pages& pages) {
  std::vector<PageSlot> slots;
  for (const PageModel::Entry& entry : pages.model.entries) slots.push_back(entry.page);
  return slots;
}

std::size_t count_under_way(const Pages& pages, std::span<const PageSlot> slots) {
  std::size_t count = 0;
  for (const PageSlot page : slots) {
    if (pages.world.pool->descriptor(page).state.load().io()) ++count;
  }
  return count;
}

bool all_readable(const Pages& pages, std::span<const PageSlot> slots) {
  for (const PageSlot page : slots) {
    if (!pages.world.pool->descriptor(page).state.load().readable()) return false;
  }
  return true;
}

// The kernel's calls, but for releases while it is true.
bool refuse_release = false;
int refusing_madvise(void* address, std::size_t bytes, int advice) {
  if (refuse_release && advice == MADV_DONTNEED) {
    errno = EINVAL;
    return -1;
  }
  return buffer::kernel_memory_calls().madvise(address, bytes, advice);
}
int madvise_without_dontfork(void* address, std::size_t bytes, int advice) {
  if (advice == MADV_DONTFORK) {
    errno = ENOMEM;
    return -1;
  }
  return buffer::kernel_memory_calls().madvise(address, bytes, advice);
}
buffer::MemoryCalls calls_with(int (*madvise)(void*, std::size_t, int)) {
  buffer::MemoryCalls calls = buffer::kernel_memory_calls();
  calls.madvise = madvise;
  return calls;
}

}  // namespace

TEST_CASE("pool: prefetch begins to load pages without waiting - and marks them as scanned",
          "[pool]") {
  Pages pages(8);
  const std::vector<PageSlot> slots = slots_of(pages);
  buffer::Pool& pool = *pages.world.pool;
  pool.prefetch(pages.world.executors.core(0), slots);
  CHECK(count_under_way(pages, slots) == slots.size());
  REQUIRE(pages.world.executors.run([&] { return all_readable(pages, slots); }));
  CHECK(pool.statistics().faults == slots.size());
  for (const PageSlot page : slots) CHECK(pool.descriptor(page).heat.load() == 0);
  // Once more, and reads: they are there.
  pool.prefetch(pages.world.executors.core(0), slots);
  for (std::size_t index = 0; index < slots.size(); ++index) pages.run(PageDeed::read, index);
  CHECK(pool.statistics().faults == slots.size());
  for (const PageSlot page : slots) CHECK(pool.descriptor(page).heat.load() == 1);
  CHECK(pages.model.wrong == nullptr);
  pool.check_well_formed();
}

TEST_CASE("pool: prefetch passes over ids of no page", "[pool]") {
  Pages pages(2);
  const std::array<PageSlot, 4> slots = {PageSlot(), PageSlot::from_bits(~std::uint64_t{0}),
                                         PageSlot(0, 77), PageSlot(3, 5)};
  pages.world.pool->prefetch(pages.world.executors.core(0), slots);
  CHECK(pages.world.pool->statistics().faults == 0);
  pages.world.pool->check_well_formed();
}

TEST_CASE("pool: prefetch takes neither memory nor reads that are not there", "[pool]") {
  Pages pages(60);
  const std::vector<PageSlot> slots = slots_of(pages);
  buffer::Pool& pool = *pages.world.pool;
  const std::size_t reads_max = WorldOptions{}.pool.reads_max;
  pool.prefetch(pages.world.executors.core(0), slots);
  CHECK(count_under_way(pages, slots) == reads_max);
  REQUIRE(pages.world.executors.run([&] { return count_under_way(pages, slots) == 0; }));
  pages.evict_all();
  // All that there is room for is dirty, and nobody cleans.
  pages.world.shrink_to(8 * 4096);
  for (std::size_t index = 0; index < 8; ++index) pages.run(PageDeed::change, index);
  const std::uint64_t faults = pool.statistics().faults;
  pool.prefetch(pages.world.executors.core(0), std::span(slots).subspan(8));
  CHECK(pool.statistics().faults == faults);
  CHECK(pool.statistics().used_bytes <= pool.statistics().budget_bytes);
  for (std::size_t index = 0; index < 8; ++index) pages.run(PageDeed::read, index);
  CHECK(pages.model.wrong == nullptr);
}

TEST_CASE("pool: a visit of a hot page writes nothing that others read", "[pool]") {
  Pages pages(1);
  pages.run(PageDeed::read, 0);
  buffer::Pool& pool = *pages.world.pool;
  const PageSlot page = pages.model.entries[0].page;
  buffer::Descriptor& descriptor = pool.descriptor(page);
  const auto address = reinterpret_cast<std::uintptr_t>(&descriptor);
  void* const records = reinterpret_cast<void*>(address / 4096 * 4096);
  REQUIRE(descriptor.heat.load() > 0);
  // A store would be a segmentation fault.
  REQUIRE(::mprotect(records, 4096, PROT_READ) == 0);
  REQUIRE(::mprotect(pool.resolve(page), 4096, PROT_READ) == 0);
  const auto seen = descriptor.state.optimistic_begin();
  std::uint64_t word = 0;
  const bool there = seen.has_value() && buffer::load_optimistic(word, pool.resolve(page));
  const bool valid = there && descriptor.state.validate(*seen);
  pool.touch(descriptor);
  REQUIRE(::mprotect(records, 4096, PROT_READ | PROT_WRITE) == 0);
  REQUIRE(::mprotect(pool.resolve(page), 4096, PROT_READ | PROT_WRITE) == 0);
  CHECK(valid);
}

TEST_CASE("pool: addresses of pages and records follow from the id", "[pool]") {
  Pages pages(1);
  const buffer::Pool& pool = *pages.world.pool;
  for (unsigned size_class = 0; size_class < buffer::size_class_count; ++size_class) {
    const PageSlot first(size_class, 1);
    REQUIRE(pool.known(first));
    CHECK(pool.resolve(first) == pool.memory().resolve(first));
    const PageSlot last(size_class, pool.memory().slot_count(size_class) - 1);
    if (!pool.known(last)) continue;
    CHECK(pool.resolve(last) == pool.memory().resolve(last));
    CHECK(&pool.descriptor(last) - &pool.descriptor(first) ==
          static_cast<std::ptrdiff_t>(last.slot() - first.slot()));
  }
}

TEST_CASE("pool: records and the kernel's page tables count - each once", "[pool]") {
  const WorldOptions options;
  Pages pages(600, options);
  // Slots 0 to 600: 256 descriptors to a page, 128 frames, and one page table to 512 pages.
  constexpr std::uint64_t parts = 3 + 5 + 2;
  CHECK(pages.world.pool->statistics().table_bytes == parts * 4096);
  for (std::size_t index = 0; index < 600; ++index) pages.run(PageDeed::read, index);
  CHECK(pages.world.pool->statistics().table_bytes == parts * 4096);
  pages.evict_all();
  pages.world.pool->check_well_formed();
}

TEST_CASE("pool: who has made pages may wait for others - few enough at a time", "[pool][park]") {
  Pages pages(64);
  pages.world.start_background();
  pages.world.shrink_to(8 * 4096);
  constexpr std::size_t count = 12;
  std::vector<std::unique_ptr<PageOperation>> splits;
  for (std::size_t index = 0; index < count; ++index) {
    splits.push_back(std::make_unique<PageOperation>(*pages.world.pool, pages.model,
                                                     PageDeed::split, 5 * index, 5 * index + 1, 0));
    const std::size_t place = index % pages.world.executors.count();
    REQUIRE(splits.back()->post(pages.world.executors.executor(place)).has_value());
  }
  const bool ended = pages.world.executors.run([&] {
    return std::all_of(splits.begin(), splits.end(), [](const auto& one) { return one->done(); });
  });
  if (!ended) {
    std::fprintf(stderr, "pool: nobody can go on\n");
    std::_Exit(3);  // parked operations cannot be destroyed
  }
  CHECK(pages.model.splits == count);
  CHECK(pages.model.wrong == nullptr);
}

TEST_CASE("pool: new pages that were made for nothing leave nothing behind", "[pool]") {
  Pages pages(4);
  buffer::Pool& pool = *pages.world.pool;
  const buffer::PoolStatistics before = pool.statistics();
  pages.world.executors.on_fiber([&](runtime::ExecutorCore&) {
    buffer::Waiter waiter(pool, *runtime::current_fiber());
    std::array<buffer::NewPage, 3> wanted;
    for (buffer::NewPage& page : wanted) page.header.kind = format::PageKind::raw;
    wanted[2].size_class = 1;
    Error error;
    REQUIRE(pool.create_or_park(waiter, wanted, error) == Access::ready);
    std::array<PageSlot, 3> made;
    for (std::size_t index = 0; index < made.size(); ++index) made[index] = wanted[index].page;
    std::uint64_t number = 0;
    REQUIRE(pool.begin_change({}, made, number));
    for (const PageSlot page : made) REQUIRE(pool.free_page(page, number).has_value());
  });
  CHECK(pool.statistics().frame_bytes == before.frame_bytes);
  pool.check_well_formed();
}

TEST_CASE("pool: new pages beyond the budget are an error", "[pool]") {
  Pages pages(4);
  pages.world.shrink_to(8 * 4096);
  pages.world.executors.on_fiber([&](runtime::ExecutorCore&) {
    buffer::Waiter waiter(*pages.world.pool, *runtime::current_fiber());
    std::array<buffer::NewPage, 5> wanted;
    Error error;
    REQUIRE(pages.world.pool->create_or_park(waiter, wanted, error) == Access::failed);
    CHECK(error.code == ErrorCode::no_memory);
  });
  pages.world.pool->check_well_formed();
}

TEST_CASE("pool: what the kernel does not take back stays readable - and who waits hears of it",
          "[pool]") {
  const buffer::MemoryCalls calls = calls_with(refusing_madvise);
  WorldOptions options;
  options.pool.memory.kind = buffer::MemoryKind::madvise;
  options.pool.memory.calls = &calls;
  Pages pages(64, options);
  pages.world.start_background();
  pages.world.shrink_to(16 * 4096);
  for (std::size_t index = 0; index < 8; ++index) pages.run(PageDeed::read, index);
  refuse_release = true;
  CHECK(pages.world.pool->evict(1 << 20, 1000) == 0);
  pages.model.may_fail = true;
  for (std::size_t index = 0; index < 64; ++index) pages.run(PageDeed::read, index);
  CHECK(pages.model.errors > 0);
  refuse_release = false;
  const std::uint64_t errors = pages.model.errors;
  for (std::size_t index = 0; index < 64; ++index) pages.run(PageDeed::read, index);
  CHECK(pages.model.errors == errors);
  CHECK(pages.model.wrong == nullptr);
}

TEST_CASE("pool: regions that a forked child would inherit are an error", "[pool]") {
  const buffer::MemoryCalls calls = calls_with(madvise_without_dontfork);
  const auto refused =
      buffer::Memory::reserve({.kind = buffer::MemoryKind::madvise, .calls = &calls});
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::no_memory);
  CHECK(refused.error().system_error == ENOMEM);
}

TEST_CASE("park: who waits for more than the limit has become gets it when alone", "[park][pool]") {
  Pages pages(1);
  buffer::Quota quota(true);
  quota.set_limit(10);
  REQUIRE(quota.take(8, false));
  std::uint64_t granted = 0;
  bool ended = false;
  const auto spawned = fiber::spawn(pages.world.executors.executor(0), [&]() noexcept {
    buffer::Waiter waiter(*pages.world.pool, *runtime::current_fiber());
    quota.park(waiter, 7, granted);
    runtime::FiberContext::suspend();
    ended = true;
  });
  REQUIRE(spawned.has_value());
  quota.set_limit(6);
  quota.give(7);
  while (pages.world.executors.tick_one()) {
  }
  CHECK(!ended);
  quota.give(1);
  REQUIRE(pages.world.executors.run([&] { return ended; }));
  CHECK(granted == 7);
  CHECK(quota.used() == 7);
}
