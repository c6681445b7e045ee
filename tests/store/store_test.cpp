#include "store/store.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <map>

#include "segment/fiber_io.hpp"
#include "segment/simulated.hpp"
#include "store/page_io.hpp"
#include "support/catch.hpp"
#include "support/on_fiber.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using store::Store;

constexpr std::uint64_t domain_id = 0x1234;

Result<void> checkpoint(Store& store, runtime::ExecutorCore& core, std::uint8_t mark = 0) {
  const std::uint64_t number = store.begin_checkpoint();
  store::Payload payload{};
  payload[0] = static_cast<std::byte>(mark);
  return store.publish(core, number, payload);
}

// While there is one, the process gets no further address space, and lists do not grow.
class NoMoreMemory {
 public:
  NoMoreMemory() {
    ::getrlimit(RLIMIT_AS, &former_);
    unsigned long long pages = 0;
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    const bool read = file != nullptr && std::fscanf(file, "%llu", &pages) == 1;
    if (file != nullptr) std::fclose(file);
    REQUIRE(read);
    const rlimit limit{pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)), former_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_AS, &limit) == 0);
  }
  ~NoMoreMemory() { ::setrlimit(RLIMIT_AS, &former_); }
  NoMoreMemory(const NoMoreMemory&) = delete;
  NoMoreMemory& operator=(const NoMoreMemory&) = delete;

 private:
  rlimit former_{};
};

}  // namespace

TEST_CASE("store: what a published checkpoint holds is there after opening", "[store]") {
  segment::SimulatedDevice device(64_MiB);
  std::map<PageId, std::uint64_t> expected;
  {
    SimulatedExecutor executor(1);
    segment::SimulatedBackend backend(device, {});
    REQUIRE(executor.run([&]() noexcept {
      auto made = Store::create(executor.core(), backend, {}, domain_id);
      REQUIRE(made.has_value());
      Store& store = **made;
      base::Random random(7);
      for (std::uint64_t round = 1; round <= 20; ++round) {
        for (int change = 0; change < 40; ++change) {
          if (expected.size() < 10 || random.one_in(3)) {
            const auto page = store.allocate_page(static_cast<unsigned>(random.below(4)));
            REQUIRE(page.has_value());
            REQUIRE(write_page(store, executor.core(), *page, round, store.number()).has_value());
            expected[*page] = round;
            continue;
          }
          auto chosen = expected.begin();
          std::advance(chosen, static_cast<long>(random.below(expected.size())));
          if (random.one_in(4)) {
            REQUIRE(store.free_page(chosen->first, store.number()).has_value());
            expected.erase(chosen);
          } else {
            REQUIRE(
                write_page(store, executor.core(), chosen->first, round * 100 + 7, store.number())
                    .has_value());
            chosen->second = round * 100 + 7;
          }
        }
        REQUIRE(checkpoint(store, executor.core(), static_cast<std::uint8_t>(round)).has_value());
        store.check_well_formed();
      }
    }));
  }
  device.drop_pending();
  SimulatedExecutor executor(2);
  segment::SimulatedBackend backend(device, {});
  REQUIRE(executor.run([&]() noexcept {
    auto opened = Store::open(executor.core(), backend, {});
    if (!opened.has_value()) FAIL(opened.error().message());
    Store& store = **opened;
    store.check_well_formed();
    REQUIRE(store.payload()[0] == std::byte{20});
    REQUIRE(store.statistics().pages == expected.size());
    for (const auto& [page, generation] : expected) {
      const auto read = read_page(store, executor.core(), page);
      REQUIRE(read.has_value());
      REQUIRE(*read == generation);
    }
    std::vector<PageId> listed(expected.size() + 1);
    REQUIRE(store.list_pages(PageId(), listed) == expected.size());
  }));
}

TEST_CASE("store: an empty segment holds no domain and a foreign one is corrupt", "[store]") {
  segment::SimulatedDevice device(64_MiB);
  SimulatedExecutor executor(1);
  segment::SimulatedBackend backend(device, {});
  REQUIRE(executor.run([&]() noexcept {
    auto opened = Store::open(executor.core(), backend, {});
    REQUIRE(opened.error().code == ErrorCode::not_found);
  }));
  const std::vector<std::byte> noise(64 * 1024, std::byte{0x5a});
  segment::SimulatedDevice other(64_MiB);
  other.overwrite(0, noise);
  SimulatedExecutor second(2);
  segment::SimulatedBackend noisy(other, {});
  REQUIRE(second.run([&]() noexcept {
    auto opened = Store::open(second.core(), noisy, {});
    REQUIRE(opened.error().code == ErrorCode::corrupt);
  }));
}

TEST_CASE("store: the mapping is folded and the log does not grow without bound", "[store]") {
  segment::SimulatedDevice device(64_MiB);
  SimulatedExecutor executor(1);
  segment::SimulatedBackend backend(device, {});
  REQUIRE(executor.run([&]() noexcept {
    auto made = Store::create(executor.core(), backend, {}, domain_id);
    REQUIRE(made.has_value());
    Store& store = **made;
    std::vector<PageId> pages;
    for (int index = 0; index < 200; ++index) pages.push_back(*store.allocate_page(0));
    for (std::uint64_t round = 1; round <= 100; ++round) {
      for (const PageId page : pages) {
        REQUIRE(write_page(store, executor.core(), page, round, store.number()).has_value());
      }
      REQUIRE(checkpoint(store, executor.core()).has_value());
    }
    store.check_well_formed();
    REQUIRE(store.statistics().folds > 3);
    // Live images, two generations given up, and the mapping: far from a hundred generations.
    REQUIRE(store.space_statistics().used_chunks <= 16);
  }));
}

TEST_CASE("store: a checkpoint without room can be published later", "[store]") {
  // So many granules are left: none, enough for a part of the checkpoint, or for all of it.
  const std::uint32_t left = GENERATE(range(0U, 8U));
  segment::SimulatedDevice device(256_KiB);
  SimulatedExecutor executor(1);
  segment::SimulatedBackend backend(device, {});
  constexpr store::StoreOptions options{.chunk_bytes = 32 * 1024};
  REQUIRE(executor.run([&]() noexcept {
    runtime::ExecutorCore& core = executor.core();
    auto made = Store::create(core, backend, options, domain_id);
    REQUIRE(made.has_value());
    Store& store = **made;
    std::map<PageId, std::uint64_t> expected;
    // Also of what is kept for checkpoints.
    auto block = *store::AlignedBlock::make(4096);
    for (std::uint64_t free = 0; (free = store.space_statistics().free) > left;) {
      const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(free - left, 8) * 512);
      const PageId page = *store.allocate_page(0);
      format::PageHeader header;
      header.kind = format::PageKind::raw;
      header.length = length;
      std::memcpy(block.data(), &header, sizeof header);
      store::PageWrite write;
      write.page = page;
      write.data = block.data();
      write.number = store.number();
      write.claim = store::Claim::metadata;
      write.context = runtime::current_fiber();
      write.done = &firn::test::detail::wake<store::PageWrite>;
      store.write(core, write);
      runtime::FiberContext::suspend();
      REQUIRE(write.outcome.has_value());
    }
    std::vector<PageId> pages(1000);
    pages.resize(store.list_pages(PageId(), pages));
    const std::uint64_t number = store.begin_checkpoint();
    for (int attempt = 0; attempt < 10; ++attempt) {
      const auto before = store.space_statistics();
      const auto published = store.publish(core, number, {});
      if (published.has_value()) {
        REQUIRE(left >= 4);  // three of changes, one of the manifest
        REQUIRE(attempt == 0);
        break;
      }
      REQUIRE(published.error().code == ErrorCode::no_space);
      REQUIRE(!store.failed());
      REQUIRE(store.space_statistics().free == before.free);
      REQUIRE(store.space_statistics().pending == before.pending);
      store.check_well_formed();
    }
    segment::Request request;
    request.kind = segment::RequestKind::grow;
    request.size = 512_KiB;
    REQUIRE(segment::await(backend, core, request).has_value());
    REQUIRE(store.take_growth().has_value());
    if (store.published_number() < number) {
      REQUIRE(store.publish(core, number, {}).has_value());
    }
    store.check_well_formed();
    REQUIRE(store.statistics().checkpoints == 2);
    made->reset();
    auto opened = Store::open(core, backend, options);
    REQUIRE(opened.has_value());
    REQUIRE((*opened)->statistics().pages == pages.size());
  }));
}

TEST_CASE("store: a place that was not used after all is free at once", "[store]") {
  auto space = store::Space::create({.chunk_bytes = 32 * 1024, .chunk_count = 8});
  REQUIRE(space.has_value());
  space->start();
  base::Random random(3);
  std::vector<store::Extent> kept;
  for (std::uint64_t round = 1; round <= 300; ++round) {
    const auto before = space->statistics();
    std::vector<store::Extent> taken;
    const auto group = static_cast<store::Group>(random.below(3));
    for (std::uint64_t count = random.below(6); count > 0; --count) {
      const auto extent =
          space->allocate(group, 1 + random.below(40'000), store::Claim::background);
      if (extent.has_value()) taken.push_back(*extent);
    }
    for (const store::Extent extent : taken) {
      space->check_well_formed();
      space->take_back(extent);
    }
    space->check_well_formed();
    REQUIRE(space->statistics().free == before.free);
    REQUIRE(space->statistics().live == before.live);
    if (const auto extent = space->allocate(group, 1 + random.below(9000)); extent.has_value()) {
      kept.push_back(*extent);
    }
    if (kept.size() > 20) {
      REQUIRE(space->free(kept.front(), round).has_value());
      kept.erase(kept.begin());
    }
    space->publish(round);
  }
}

TEST_CASE("store: pages are given up together or not at all", "[store]") {
  segment::SimulatedDevice device(64_MiB);
  SimulatedExecutor executor(1);
  segment::SimulatedBackend backend(device, {});
  REQUIRE(executor.run([&]() noexcept {
    auto made = Store::create(executor.core(), backend, {}, domain_id);
    REQUIRE(made.has_value());
    Store& store = **made;
    std::array<PageId, 3> pages;
    for (std::size_t index = 0; index < pages.size(); ++index) {
      pages[index] = *store.allocate_page(index == 2 ? 3 : 1);
      REQUIRE(write_page(store, executor.core(), pages[index], 5, store.number()).has_value());
    }
    // One list has room by then; that of the other class is yet to be made.
    REQUIRE(store.free_page(pages[0], store.number()).has_value());
    const std::span<const PageId> both = std::span(pages).subspan(1);
    Result<void> freed;
    {
      const NoMoreMemory none;
      freed = store.free_pages(both, store.number());
    }
    REQUIRE(!freed.has_value());
    CHECK(freed.error().code == ErrorCode::no_memory);
    for (const PageId page : both) CHECK(!store.entry(page).location.none());
    store.check_well_formed();
    REQUIRE(store.free_pages(both, store.number()).has_value());
    for (const PageId page : both) CHECK(store.entry(page).location.none());
    CHECK(store.statistics().pages == 0);
    store.check_well_formed();
  }));
}

TEST_CASE("store: the id of a page without an image is used again at once", "[store]") {
  segment::SimulatedDevice device(64_MiB);
  SimulatedExecutor executor(1);
  segment::SimulatedBackend backend(device, {});
  REQUIRE(executor.run([&]() noexcept {
    auto made = Store::create(executor.core(), backend, {}, domain_id);
    REQUIRE(made.has_value());
    Store& store = **made;
    const PageId written = *store.allocate_page(0);
    REQUIRE(write_page(store, executor.core(), written, 5, store.number()).has_value());
    const PageId unwritten = *store.allocate_page(0);
    const std::array<PageId, 2> both{written, unwritten};
    REQUIRE(store.free_pages(both, store.number()).has_value());
    CHECK(*store.allocate_page(0) == unwritten);
    CHECK(*store.allocate_page(0) != written);
    for (int round = 0; round < 2; ++round) {
      REQUIRE(checkpoint(store, executor.core()).has_value());
    }
    CHECK(*store.allocate_page(0) == written);
  }));
}

TEST_CASE("store: an image is checked against all that it should be", "[store]") {
  constexpr std::size_t size = 1024;
  const PageId page(0, 7);
  auto block = *store::AlignedBlock::make(size);
  format::PageHeader header;
  const auto check = [&](auto change, bool expected_sum = true) {
    header = {};
    header.page_id = page.bits();
    header.domain = domain_id;
    header.length = 600;
    std::memset(block.data(), 0x33, size);
    change();
    std::memcpy(block.data(), &header, sizeof header);
    format::seal_image(block.data(), size, header.domain);
    std::memcpy(&header, block.data(), sizeof header);
    return format::check_image({block.data(), size}, page, domain_id,
                               header.checksum + (expected_sum ? 0 : 1));
  };
  using format::ImageFault;
  REQUIRE(check([] {}) == ImageFault::none);
  REQUIRE(check([] {}, false) == ImageFault::stale);
  REQUIRE(check([&] { header.page_id = 8; }) == ImageFault::other_page);
  REQUIRE(check([&] { header.domain = 8; }) == ImageFault::foreign_domain);
  REQUIRE(check([&] { header.length = 63; }) == ImageFault::length);
  REQUIRE(check([&] { header.length = size + 1; }) == ImageFault::length);
  REQUIRE(check([&] { header.length = size; }) == ImageFault::none);
  for (std::size_t at = 0; at < size; ++at) {
    REQUIRE(check([] {}) == ImageFault::none);
    block.data()[at] ^= std::byte{4};
    REQUIRE(format::check_image({block.data(), size}, page, domain_id, header.checksum) ==
            ImageFault::checksum);
  }
  std::memset(block.data(), 0, size);
  REQUIRE(format::check_image({block.data(), size}, page, domain_id, 0) == ImageFault::zeroes);
  REQUIRE(format::check_image({block.data(), 63}, page, domain_id, 0) == ImageFault::length);
}
