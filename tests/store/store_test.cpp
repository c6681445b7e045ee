#include "store/store.hpp"

#include <map>

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
