// Full devices: a checkpoint that frees room can always be published, and the store opens.
#include <map>

#include "segment/fiber_io.hpp"
#include "segment/simulated.hpp"
#include "store/page_io.hpp"
#include "support/catch.hpp"
#include "support/on_fiber.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using store::Claim;
using store::Store;

constexpr std::uint64_t domain_id = 0x1234;

struct Geometry {
  std::uint64_t device_bytes;
  store::StoreOptions options;
};

class Full {
 public:
  Full(runtime::ExecutorCore& core, segment::Backend& backend, const Geometry& geometry,
       std::uint64_t seed)
      : core_(core), backend_(backend), options_(geometry.options), random_(seed) {
    auto made = Store::create(core_, backend_, options_, domain_id);
    REQUIRE(made.has_value());
    store_ = *std::move(made);
  }

  [[nodiscard]] Store& store() { return *store_; }
  [[nodiscard]] std::size_t page_count() const { return expected_.size(); }

  Result<void> write(PageId page, Claim claim) {
    auto block = *store::AlignedBlock::make(format::page_bytes(page.size_class()));
    fill_page(block.data(), page, ++generation_);
    store::PageWrite write;
    write.page = page;
    write.data = block.data();
    write.number = store_->number();
    write.claim = claim;
    write.context = runtime::current_fiber();
    write.done = &firn::test::detail::wake<store::PageWrite>;
    store_->write(core_, write);
    runtime::FiberContext::suspend();
    if (write.outcome.has_value()) expected_[page] = generation_;
    return write.outcome;
  }
  /// Writes until nobody but a publication finds room; what only a checkpoint may take as well.
  void fill(bool replaces) {
    for (const Claim claim : {Claim::ordinary, Claim::background}) {
      for (unsigned refused = 0; refused < 4;) {
        PageId page;
        if (replaces && !expected_.empty()) {
          page = any();
        } else {
          page = *store_->allocate_page(static_cast<unsigned>(random_.below(3)));
        }
        const auto outcome = write(page, claim);
        if (outcome.has_value()) continue;
        REQUIRE(outcome.error().code == ErrorCode::no_space);
        ++refused;
      }
    }
  }
  void free_some(std::uint64_t one_in) {
    std::vector<PageId> chosen;
    for (const auto& [page, generation] : expected_) {
      if (random_.one_in(one_in)) chosen.push_back(page);
    }
    for (const PageId page : chosen) {
      REQUIRE(store_->free_page(page, store_->number()).has_value());
      expected_.erase(page);
    }
  }
  void publish() {
    const auto published = store_->publish(core_, store_->begin_checkpoint(), {});
    if (!published.has_value()) FAIL(published.error().message());
  }
  void reopen() {
    store_.reset();
    auto opened = Store::open(core_, backend_, options_);
    if (!opened.has_value()) FAIL(opened.error().message());
    store_ = *std::move(opened);
  }
  void check() {
    store_->check_well_formed();
    REQUIRE(store_->statistics().pages == expected_.size());
    for (const auto& [page, generation] : expected_) {
      const auto read = read_page(*store_, core_, page);
      REQUIRE(read.has_value());
      REQUIRE(*read == generation);
    }
  }

 private:
  PageId any() {
    auto chosen = expected_.begin();
    std::advance(chosen, static_cast<long>(random_.below(expected_.size())));
    return chosen->first;
  }

  runtime::ExecutorCore& core_;
  segment::Backend& backend_;
  const store::StoreOptions options_;
  base::Random random_;
  std::unique_ptr<Store> store_;
  std::map<PageId, std::uint64_t> expected_;
  std::uint64_t generation_ = 0;
};

}  // namespace

TEST_CASE("store: a full device publishes what frees room and opens", "[store]") {
  const Geometry geometry =
      GENERATE(Geometry{2_MiB, {.chunk_bytes = 32 * 1024, .log_bytes_min = 1024}},
               Geometry{2_MiB, {.chunk_bytes = 64 * 1024}}, Geometry{16_MiB, {}});
  segment::SimulatedDevice device(geometry.device_bytes);
  SimulatedExecutor executor(1);
  segment::SimulatedBackend backend(device, {});
  REQUIRE(executor.run([&]() noexcept {
    Full full(executor.core(), backend, geometry, 3);
    std::size_t least = ~std::size_t{0};
    for (std::uint64_t round = 0; round < 12; ++round) {
      full.fill(false);
      least = std::min(least, full.page_count());
      // Without anything freed, again and again, and opened in between.
      for (int time = 0; time < 40; ++time) full.publish();
      for (int time = 0; time < 20; ++time) full.reopen();
      full.check();
      // Replacing pages gives up as much as it takes, and more is pending than free.
      full.fill(true);
      full.publish();
      full.fill(true);
      full.publish();
      full.check();
      full.free_some(1 + round % 4);
      full.publish();
      full.fill(true);
      full.publish();
      full.publish();
      full.reopen();
      full.check();
    }
    // What is freed comes back: the last round held as much as the first.
    REQUIRE(least > geometry.device_bytes / 32'000);
  }));
}

TEST_CASE("store: a write that finds no room waits until some is made or cannot be", "[store]") {
  struct Maker final : store::RoomMaker {
    std::uint64_t asked = 0;
    void make_room() noexcept override { ++asked; }
  } maker;
  segment::SimulatedDevice device(8_MiB);
  SimulatedExecutor executor(1);
  segment::SimulatedBackend backend(device, {});
  std::unique_ptr<Store> store;
  REQUIRE(executor.run([&]() noexcept {
    store::StoreOptions options;
    options.room_maker = &maker;
    auto made = Store::create(executor.core(), backend, options, domain_id);
    REQUIRE(made.has_value());
    store = *std::move(made);
  }));
  const auto grow = [&]() noexcept {
    segment::Request request;
    request.kind = segment::RequestKind::grow;
    request.size = 16_MiB;
    REQUIRE(segment::await(backend, executor.core(), request).has_value());
    REQUIRE(store->take_growth().has_value());
  };
  std::uint64_t written = 0;
  std::uint64_t written_before = 0;
  Result<void> last;
  const auto fill = [&]() noexcept {
    while (last.has_value()) {
      const PageId page = *store->allocate_page(4);
      last = write_page(*store, executor.core(), page, 1, store->number());
      if (last.has_value()) ++written;
    }
  };
  const bool ended = executor.run(fill, [&] {
    REQUIRE(store->writes_wait());
    const bool first = maker.asked == 1;
    if (first) {
      written_before = written;
      REQUIRE(executor.run(grow));
    }
    store->room_made(first);
    return true;
  });
  REQUIRE(ended);
  CHECK(last.error().code == ErrorCode::no_space);
  CHECK(maker.asked == 2);
  CHECK(!store->writes_wait());
  CHECK(written_before > 20);
  CHECK(written > written_before + 60);
  store->check_well_formed();
}
