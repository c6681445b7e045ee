// The pool under threads with executors of their own, over a segment in memory: 4 threads on 64
// frames, pages that are read - changed - freed and made again, checkpoints and the cleaner all the
// while. Meant for the sanitizers.
//
//   test_pool-stress [SECONDS] [SEED]      3 seconds, or 60 with FIRN_LONG in the environment
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "buffer/pool_operation.hpp"
#include "runtime/executor_access.hpp"
#include "segment/memory.hpp"
#include "store/page_io.hpp"

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
  std::atomic<bool> started{false};  // the background work, before anybody else uses the pool
  std::atomic<unsigned> others{thread_count - 1};  // threads at work but the first
  std::atomic<const char*> failure{nullptr};
  std::atomic<std::uint64_t> reads{0}, changes{0}, frees{0}, creations{0}, restarts{0};

  void check(bool holds, const char* what) {
    if (!holds) failure.store(what);
  }
};

class StressOperation final : public PoolOperation {
 public:
  StressOperation(Stress& stress, unsigned deed, std::size_t place)
      : PoolOperation(*stress.pool), stress_(stress), place_(stress.places[place]), deed_(deed) {}

 private:
  Progress act() noexcept override {
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
      if (const auto progress = settle_change()) {
        stress_.check(*progress == Progress::waiting, "a page cannot be settled");
        return *progress;
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
      const auto changed = freeing ? one.first(0) : one;
      const auto freed = freeing ? one : one.first(0);
      if (!pool_.begin_change(changed, freed, number)) {
        refused(changed, freed);
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
    if (page().valid() || settling()) return change(true);
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
  Stress& stress_;
  StressPlace& place_;
  const unsigned deed_;
};

// One thread: an executor with a handful of operations under way.
void work(Stress& stress, unsigned seed, std::atomic<bool>& checkpoints_ended, unsigned index) {
  const bool first = index == 0;
  auto created = runtime::ExecutorCore::create();
  stress.check(created.has_value(), "no executor");
  if (!created.has_value()) return;
  runtime::ExecutorCore& core = **created;
  Executor executor = ExecutorAccess::adopt(&core);
  std::mt19937 random(seed);
  if (first) {
    stress.check(stress.pool->start_background(core).has_value(), "no cleaner");
    stress.started.store(true);
  }
  while (!stress.started.load() && stress.failure.load() == nullptr) std::this_thread::yield();
  if (index == 1) {
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
  // The first one cleans, so it stays to the end.
  while (busy || !checkpoints_ended.load() || (first && stress.others.load() > 0)) {
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
  if (first) {
    stress.pool->stop_background();
  } else {
    stress.others.fetch_sub(1);
  }
}

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "pool-stress: %s\n", what.c_str());
  std::_Exit(1);
}
template <class T>
T must(Result<T> result) {
  if (!result.has_value()) die(result.error().message());
  return *std::move(result);
}

void run(int seconds, unsigned seed) {
  runtime::ExecutorCore& core = *must(runtime::ExecutorCore::create());
  Executor executor = ExecutorAccess::adopt(&core);
  const auto backend = must(segment::MemoryBackend::create({.size_bytes = 256ULL << 20}));
  std::unique_ptr<store::Store> store;
  const bool ran = run_on_fiber(
      executor, [&]() noexcept { store = must(store::Store::create(core, *backend, {}, 77)); });
  if (!ran) die("no fiber");
  buffer::PoolOptions options;
  options.memory_budget = 2ULL << 20;
  options.write_buffer_bytes = 128 * 1024;
  options.copy_buffer_bytes = 64 * 1024;
  options.reads_max = 32;
  options.memory.data_bytes = 256ULL << 20;
  const auto pool = must(buffer::Pool::create(*store, options));
  Stress stress;
  stress.pool = pool.get();
  // The first page brings the maps' first block, the first descriptors and page tables.
  constexpr std::uint64_t maps_bytes = 192 * 1024;
  const std::uint64_t budget = pool->statistics().used_bytes + maps_bytes + frame_bytes;
  if (const auto set = pool->set_budget(budget); !set.has_value()) die(set.error().message());
  std::atomic<bool> checkpoints_ended{false};
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < thread_count; ++index) {
    threads.emplace_back([&, index] { work(stress, seed + index, checkpoints_ended, index); });
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < end && stress.failure.load() == nullptr) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  stress.stop.store(true);
  for (std::thread& thread : threads) thread.join();
  const buffer::PoolStatistics figures = pool->statistics();
  const auto ull = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "pool-stress: seed %u, %d s, %s reads: %llu, %llu changes, %llu made, %llu freed, %llu "
      "restarts; %llu faults, %llu evictions, %llu writes, %llu owed, %llu checkpoints, %llu page "
      "waits, %llu memory waits\n",
      seed, seconds, buffer::shared_reads ? "shared" : "optimistic", ull(stress.reads),
      ull(stress.changes), ull(stress.creations), ull(stress.frees), ull(stress.restarts),
      ull(figures.faults), ull(figures.evictions), ull(figures.write_backs),
      ull(figures.owed_copies), ull(figures.checkpoints), ull(figures.page_waits),
      ull(figures.memory_waits));
  std::fflush(stdout);
  if (stress.failure.load() != nullptr) die(stress.failure.load());
  if (figures.faults == 0 || figures.evictions == 0 || figures.checkpoints == 0) {
    die("no faults, no evictions or no checkpoints");
  }
  pool->check_well_formed();
  store->check_well_formed();
}

}  // namespace

int main(int argument_count, char** arguments) {
  const int usual = std::getenv("FIRN_LONG") != nullptr ? 60 : 3;
  const int seconds = argument_count > 1 ? std::atoi(arguments[1]) : usual;
  const auto seed = argument_count > 2
                        ? static_cast<unsigned>(std::strtoul(arguments[2], nullptr, 10))
                        : std::random_device{}();
  run(seconds, seed);
  return 0;
}
