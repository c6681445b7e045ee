// The pool under threads with executors of their own, over a segment in memory: 64 frames, pages
// that are read - changed - freed and made again, checkpoints and the cleaner all the while.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <thread>

#include <firn/fiber.hpp>

#include "buffer/pool_operations.hpp"
#include "runtime/executor_access.hpp"
#include "segment/memory.hpp"
#include "support/catch.hpp"

namespace {

using namespace firn;
using namespace firn::test;

constexpr unsigned thread_count = 4;
constexpr std::size_t place_count = 320;
constexpr std::uint64_t frame_bytes = 64 * 4096;

// Where a page is, if there is one, and what it holds at least.
struct StressPlace {
  std::atomic<std::uint64_t> page{0};    // PageSlot::bits; changes under the page's latch
  std::atomic<std::uint64_t> latest{0};  // generation; likewise
};

struct Stress {
  Pool* pool = nullptr;
  std::array<StressPlace, place_count> places;
  std::atomic<std::uint64_t> generation{0};
  std::atomic<bool> stop{false};
  std::atomic<const char*> failure{nullptr};
  std::atomic<std::uint64_t> reads{0}, changes{0}, frees{0}, creations{0}, restarts{0};

  void check(bool holds, const char* what) {
    if (!holds) failure.store(what);
  }
};

class StressOperation final : public Operation<int> {
 public:
  StressOperation(Stress& stress, unsigned deed, std::size_t place)
      : waiter_(*stress.pool, *this),
        stress_(stress),
        pool_(*stress.pool),
        place_(stress.places[place]),
        deed_(deed) {}

 private:
  using Progress = firn::detail::Progress;

  Progress step() noexcept override {
    const Progress progress = act();
    if (progress != Progress::waiting) waiter_.done();
    return progress;
  }
  void settle(Progress progress) noexcept override {
    if (progress == Progress::failed) return settle_with(fail(error_));
    settle_with(Result<int>(0));
  }
  Progress act() noexcept {
    switch (deed_) {
      case 0:
        return replace();
      case 1:
      case 2:
      case 3:
      case 4:
        return change(false);
      default:
        return read();
    }
  }
  [[nodiscard]] PageSlot page() const noexcept { return PageSlot::from_bits(place_.page.load()); }

  // Of an access to `page` that failed: it was freed meanwhile, or something is wrong.
  void check_failure(PageSlot page, const Error& error) noexcept {
    if (page == this->page()) {
      std::fprintf(stderr, "%s\n", error.message().c_str());
      stress_.check(false, "an access failed");
    }
  }

  Progress read() noexcept {
    while (true) {
      const PageSlot page = this->page();
      if (!page.valid()) return Progress::no;
      const std::uint64_t at_least = place_.latest.load();
      auto& state = pool_.descriptor(page).state;
      Error error;
      const auto seen = state.optimistic_begin();
      if (!seen.has_value()) {
        const Access access = pool_.fault_or_park(waiter_, page, error);
        if (access == Access::parked) return Progress::waiting;
        if (access == Access::failed) {
          check_failure(page, error);
          return Progress::no;
        }
        continue;
      }
      if (buffer::shared_reads && !state.try_share(*seen)) continue;
      pool_.touch(pool_.descriptor(page));
      std::byte* copy = buffer_of_thread();
      const bool there =
          buffer::copy_optimistic(copy, pool_.resolve(page), buffer::smallest_page_bytes);
      const bool valid = there && state.validate(*seen);
      if (buffer::shared_reads) pool_.release_shared(page);
      if (!valid || page != this->page()) {
        stress_.restarts.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      std::uint64_t generation = 0;
      stress_.check(check_page(copy, page, generation), "a read gave mixed bytes");
      stress_.check(generation >= at_least, "a content went back");
      stress_.reads.fetch_add(1, std::memory_order_relaxed);
      return Progress::yes;
    }
  }
  static std::byte* buffer_of_thread() noexcept {
    alignas(4096) thread_local std::byte buffer[buffer::smallest_page_bytes];
    return buffer;
  }

  // Changes the page, or frees it.
  Progress change(bool freeing) noexcept {
    while (true) {
      Error error;
      if (unsettled_.valid()) {
        const std::span<const PageSlot> pages(&unsettled_, 1);
        const Access access = pool_.settle_or_park(waiter_, freeing ? pages.first(0) : pages,
                                                   freeing ? pages : pages.first(0), error);
        if (access == Access::parked) return Progress::waiting;
        stress_.check(access == Access::again, "a page cannot be settled");
        unsettled_ = PageSlot();
      }
      const PageSlot page = this->page();
      if (!page.valid()) return Progress::no;
      const Access access = pool_.exclusive_or_park(waiter_, page, error);
      if (access == Access::parked) return Progress::waiting;
      if (access == Access::failed) {
        check_failure(page, error);
        return Progress::no;
      }
      if (access == Access::again) continue;
      if (page != this->page()) {
        pool_.release_exclusive(page);
        continue;
      }
      std::uint64_t generation = 0;
      stress_.check(check_page(pool_.resolve(page), page, generation), "a page has mixed bytes");
      stress_.check(generation == place_.latest.load(), "a change was lost");
      waiter_.done();
      std::uint64_t number = 0;
      const std::span<const PageSlot> one(&page, 1);
      if (!pool_.begin_change(freeing ? one.first(0) : one, freeing ? one : one.first(0), number)) {
        pool_.release_exclusive(page);
        unsettled_ = page;
        continue;
      }
      if (freeing) {
        place_.page.store(0);
        stress_.check(pool_.free_page(page, number).has_value(), "a page cannot be freed");
        stress_.frees.fetch_add(1, std::memory_order_relaxed);
        return Progress::yes;
      }
      write(page);
      pool_.release_exclusive(page);
      stress_.changes.fetch_add(1, std::memory_order_relaxed);
      return Progress::yes;
    }
  }
  void write(PageSlot page) noexcept {
    const std::uint64_t generation = stress_.generation.fetch_add(1) + 1;
    std::byte* content = buffer_of_thread();
    fill_page(content, page, generation);
    buffer::store_page(pool_.resolve(page), content, buffer::smallest_page_bytes);
    place_.latest.store(generation);
  }

  // Frees the page of the place, or makes one.
  Progress replace() noexcept {
    if (page().valid() || unsettled_.valid()) return change(true);
    format::PageHeader header;
    header.kind = format::PageKind::raw;
    PageSlot made;
    Error error;
    const Access access = pool_.create_or_park(waiter_, 0, header, made, error);
    if (access == Access::parked) return Progress::waiting;
    stress_.check(access == Access::ready, "a creation failed");
    if (access != Access::ready) return Progress::no;
    const std::span<const PageSlot> one(&made, 1);
    std::uint64_t number = 0;
    std::uint64_t none = 0;
    stress_.check(pool_.begin_change(one, {}, number), "a new page owes nothing");
    if (place_.page.compare_exchange_strong(none, made.bits())) {
      write(made);
      stress_.creations.fetch_add(1, std::memory_order_relaxed);
    } else {
      // Somebody else was faster. It is of no use; a change of it is not undone but freed.
      stress_.check(pool_.free_page(made, number).has_value(), "a new page cannot be freed");
      return Progress::yes;
    }
    pool_.release_exclusive(made);
    return Progress::yes;
  }
  buffer::Waiter waiter_;
  Stress& stress_;
  Pool& pool_;
  StressPlace& place_;
  const unsigned deed_;
  PageSlot unsettled_;
};

// One thread: an executor with a handful of operations under way.
void work(Stress& stress, unsigned seed, std::atomic<bool>& checkpoints_ended, bool first) {
  auto created = runtime::ExecutorCore::create();
  stress.check(created.has_value(), "no executor");
  if (!created.has_value()) return;
  runtime::ExecutorCore& core = **created;
  Executor executor = ExecutorAccess::adopt(&core);
  std::mt19937 random(seed);
  if (first) {
    stress.check(stress.pool->start_background(core).has_value(), "no cleaner");
  } else if (seed % thread_count == 1) {
    const auto spawned = fiber::spawn(executor, [&]() noexcept {
      while (!stress.stop.load()) {
        stress.check(stress.pool->checkpoint(core, {}).has_value(), "a checkpoint failed");
        for (int turn = 0; turn < 50; ++turn) fiber::yield();
      }
      checkpoints_ended.store(true);
    });
    stress.check(spawned.has_value(), "no fiber");
  }
  std::array<std::optional<StressOperation>, 8> flying;
  bool busy = true;
  while (busy || !checkpoints_ended.load()) {
    busy = false;
    for (auto& operation : flying) {
      if (operation.has_value() && operation->done()) operation.reset();
      if (!operation.has_value() && !stress.stop.load()) {
        operation.emplace(stress, random() % 12, random() % place_count);
        stress.check(operation->post(executor).has_value(), "an operation cannot be posted");
      }
      busy = busy || operation.has_value();
    }
    executor.tick(std::chrono::nanoseconds(0));
  }
  if (first) stress.pool->stop_background();
}

}  // namespace

TEST_CASE("pool: threads that read - change - free and make pages over few frames agree",
          "[pool][park]") {
  const char* wanted = std::getenv("FIRN_STRESS_SECONDS");
  const int seconds = wanted == nullptr ? 2 : std::atoi(wanted);
  const unsigned seed = std::random_device{}() / thread_count * thread_count;
  auto created = runtime::ExecutorCore::create();
  REQUIRE(created.has_value());
  runtime::ExecutorCore& core = **created;
  Executor executor = ExecutorAccess::adopt(&core);
  auto backend = segment::MemoryBackend::create({.size_bytes = 256ULL << 20});
  REQUIRE(backend.has_value());
  std::unique_ptr<store::Store> store;
  bool made = false;
  REQUIRE(fiber::spawn(executor, [&]() noexcept {
            auto result = store::Store::create(core, **backend, {}, 77);
            if (result.has_value()) store = std::move(*result);
            made = true;
          }).has_value());
  while (!made) executor.tick(std::chrono::milliseconds(1));
  REQUIRE(store != nullptr);
  buffer::PoolOptions options;
  options.memory_budget = 2ULL << 20;
  options.write_buffer_bytes = 128 * 1024;
  options.copy_buffer_bytes = 64 * 1024;
  options.reads_max = 32;
  options.memory.data_bytes = 256ULL << 20;
  auto pool = buffer::Pool::create(*store, options);
  if (!pool.has_value()) FAIL(pool.error().message());
  Stress stress;
  stress.pool = pool->get();
  // The first page brings the maps' first block and the first descriptors.
  const buffer::PoolStatistics before = (*pool)->statistics();
  constexpr std::uint64_t maps_bytes = 192 * 1024;
  REQUIRE((*pool)->set_budget(before.used_bytes + maps_bytes + frame_bytes).has_value());
  std::atomic<bool> checkpoints_ended{false};
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < thread_count; ++index) {
    threads.emplace_back([&, index] { work(stress, seed + index, checkpoints_ended, index == 0); });
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < end && stress.failure.load() == nullptr) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  stress.stop.store(true);
  for (std::thread& thread : threads) thread.join();
  const buffer::PoolStatistics figures = (*pool)->statistics();
  const auto ull = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "pool stress: seed %u, %s reads: %llu, %llu changes, %llu made, %llu freed, %llu restarts; "
      "%llu faults, %llu evictions, %llu writes, %llu owed, %llu checkpoints, %llu page waits, "
      "%llu memory waits\n",
      seed, buffer::shared_reads ? "shared" : "optimistic", ull(stress.reads), ull(stress.changes),
      ull(stress.creations), ull(stress.frees), ull(stress.restarts), ull(figures.faults),
      ull(figures.evictions), ull(figures.write_backs), ull(figures.owed_copies),
      ull(figures.checkpoints), ull(figures.page_waits), ull(figures.memory_waits));
  INFO("seed " << seed);
  if (stress.failure.load() != nullptr) FAIL(stress.failure.load());
  CHECK(figures.faults > 0);
  CHECK(figures.evictions > 0);
  CHECK(figures.checkpoints > 0);
  (*pool)->check_well_formed();
  store->check_well_formed();
}
