// The hard budget, as the kernel sees it: two threads read and write pages at random over ten times
// the budget; the process's resident memory, beyond what it had before the pool, stays within the
// budget and 5 %, while at least 90 % of the budget is in use.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <firn/fiber.hpp>

#include "buffer/pool.hpp"
#include "runtime/executor_access.hpp"
#include "segment/file.hpp"

namespace {

using namespace firn;
using buffer::Access;
using buffer::PageSlot;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "pool-memory: %s\n", what.c_str());
  std::_Exit(1);
}
void must(const Result<void>& result, const char* what) {
  if (!result.has_value()) die(std::string(what) + ": " + result.error().message());
}

// Resident bytes that are the process's own: pages of files are shared with the page cache.
std::uint64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long long size = 0;
  unsigned long long resident = 0;
  unsigned long long shared = 0;
  if (file == nullptr || std::fscanf(file, "%llu %llu %llu", &size, &resident, &shared) != 3) {
    die("no /proc/self/statm");
  }
  std::fclose(file);
  return (resident - shared) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

struct World {
  buffer::Pool* pool = nullptr;
  std::vector<PageSlot> pages;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> done{0};
};

// Reads or changes one page.
class Visit final : public Operation<int> {
 public:
  Visit(World& world, PageSlot page, bool changes)
      : waiter_(*world.pool, *this), world_(world), page_(page), changes_(changes) {}

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
    buffer::Pool& pool = *world_.pool;
    while (true) {
      if (unsettled_) {
        const Access access = pool.settle_or_park(waiter_, {&page_, 1}, {}, error_);
        if (access == Access::parked) return Progress::waiting;
        if (access == Access::failed) return Progress::failed;
        unsettled_ = false;
      }
      const Access access = changes_ ? pool.exclusive_or_park(waiter_, page_, error_)
                                     : pool.shared_or_park(waiter_, page_, error_);
      if (access == Access::parked) return Progress::waiting;
      if (access == Access::failed) return Progress::failed;
      if (access == Access::again) continue;
      std::uint64_t bits = 0;
      std::byte* tail = pool.resolve(page_) + buffer::page_bytes(page_.size_class()) - sizeof bits;
      std::memcpy(&bits, tail, sizeof bits);
      if (bits != page_.bits()) die("a page holds another's bytes");
      if (!changes_) {
        pool.release_shared(page_);
        return Progress::yes;
      }
      std::uint64_t number = 0;
      if (!pool.begin_change({&page_, 1}, {}, number)) {
        pool.release_exclusive(page_);
        unsettled_ = true;
        continue;
      }
      pool.release_exclusive(page_);
      return Progress::yes;
    }
  }

  buffer::Waiter waiter_;
  World& world_;
  PageSlot page_;
  const bool changes_;
  bool unsettled_ = false;
};

void create_pages(World& world, runtime::ExecutorCore& core, Executor& executor,
                  std::uint64_t bytes) {
  bool done = false;
  const auto spawned = fiber::spawn(executor, [&]() noexcept {
    buffer::Waiter waiter(*world.pool, *runtime::current_fiber());
    for (std::uint64_t made = 0; made < bytes;) {
      const unsigned size_class = world.pages.size() % 4 == 3 ? 2 : 0;
      format::PageHeader header;
      header.kind = format::PageKind::raw;
      header.length = static_cast<std::uint32_t>(buffer::page_bytes(size_class));
      PageSlot page;
      Error error;
      const Access access = world.pool->create_or_park(waiter, size_class, header, page, error);
      if (access == Access::parked) {
        runtime::FiberContext::suspend();
        continue;
      }
      if (access == Access::failed) die(error.message());
      std::uint64_t number = 0;
      if (!world.pool->begin_change({&page, 1}, {}, number)) die("a new page owes nothing");
      const std::uint64_t bits = page.bits();
      std::memcpy(world.pool->resolve(page) + header.length - sizeof bits, &bits, sizeof bits);
      world.pool->release_exclusive(page);
      world.pages.push_back(page);
      made += header.length;
    }
    static_cast<void>(core);
    done = true;
  });
  must(spawned, "fiber");
  while (!done) {
    if (executor.tick(std::chrono::nanoseconds(0)) == 0 && !done) executor.wait_for_work();
  }
}

void work(World& world, unsigned seed, std::atomic<int>& running) {
  auto created = runtime::ExecutorCore::create();
  if (!created.has_value()) die(created.error().message());
  Executor executor = ExecutorAccess::adopt(*created);
  std::mt19937_64 random(seed);
  std::vector<std::optional<Visit>> flying(32);
  bool busy = true;
  while (busy) {
    busy = false;
    for (auto& visit : flying) {
      if (visit.has_value() && visit->done()) {
        if (!visit->result().has_value()) die(visit->result().error().message());
        world.done.fetch_add(1, std::memory_order_relaxed);
        visit.reset();
      }
      if (!visit.has_value() && !world.stop.load()) {
        visit.emplace(world, world.pages[random() % world.pages.size()], random() % 2 == 0);
        must(visit->post(executor), "post");
      }
      busy = busy || visit.has_value();
    }
    executor.tick(std::chrono::nanoseconds(0));
  }
  --running;
}

void run(std::uint64_t budget, double seconds) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("firn-pool-memory-" + std::to_string(::getpid()));
  auto created = runtime::ExecutorCore::create();
  if (!created.has_value()) die(created.error().message());
  runtime::ExecutorCore& core = **created;
  Executor executor = ExecutorAccess::adopt(&core);
  auto file = segment::FileBackend::create(path.c_str(), {.size_bytes = budget * 32});
  if (!file.has_value()) die(file.error().message());
  std::filesystem::remove(path);
  std::unique_ptr<store::Store> store;
  bool made = false;
  must(fiber::spawn(executor,
                    [&]() noexcept {
                      auto result = store::Store::create(core, **file, {}, 99);
                      if (!result.has_value()) die(result.error().message());
                      store = std::move(*result);
                      made = true;
                    }),
       "fiber");
  while (!made) executor.tick(std::chrono::milliseconds(1));

  World world;
  world.pages.resize(budget * 10 / buffer::smallest_page_bytes);  // resident before the pool is
  world.pages.clear();
  const std::uint64_t before = resident_bytes();
  buffer::PoolOptions options;
  options.memory_budget = budget;
  options.memory.data_bytes = budget * 16;
  auto pool = buffer::Pool::create(*store, options);
  if (!pool.has_value()) die(pool.error().message());
  world.pool = pool->get();
  must(world.pool->start_background(core), "background");
  create_pages(world, core, executor, budget * 10);

  std::atomic<int> running{2};
  std::thread first([&] { work(world, 1, running); });
  std::thread second([&] { work(world, 2, running); });
  std::uint64_t peak = 0;
  double used_sum = 0;
  std::uint64_t samples = 0;
  // One checkpoint after another: without them the store's list of changes would grow for ever.
  bool checkpoint_ended = true;
  const auto start_checkpoint = [&] {
    checkpoint_ended = false;
    must(fiber::spawn(executor,
                      [&]() noexcept {
                        must(world.pool->checkpoint(core, {}), "checkpoint");
                        checkpoint_ended = true;
                      }),
         "fiber");
  };
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    executor.tick(std::chrono::milliseconds(2));
    peak = std::max(peak, resident_bytes() - before);
    if (checkpoint_ended) start_checkpoint();
    used_sum += static_cast<double>(world.pool->statistics().used_bytes);
    ++samples;
  }
  world.stop.store(true);
  while (running.load() > 0 || !checkpoint_ended) executor.tick(std::chrono::milliseconds(1));
  first.join();
  second.join();
  const buffer::PoolStatistics figures = world.pool->statistics();
  world.pool->stop_background();
  world.pool->check_well_formed();
  const auto share = [&](double bytes) { return 100 * bytes / static_cast<double>(budget); };
  const double used = share(used_sum / static_cast<double>(samples));
  const double resident = share(static_cast<double>(peak));
  std::printf(
      "pool-memory: budget %llu MiB: peak resident %.1f %%, in use %.1f %% (frames %.1f %%); %llu "
      "visits, %llu faults, %llu evictions, %llu writes\n",
      static_cast<unsigned long long>(budget >> 20), resident, used,
      share(static_cast<double>(figures.frame_bytes)),
      static_cast<unsigned long long>(world.done.load()),
      static_cast<unsigned long long>(figures.faults),
      static_cast<unsigned long long>(figures.evictions),
      static_cast<unsigned long long>(figures.write_backs));
  std::fflush(stdout);
  if (resident > 105) die("more memory is resident than the budget and 5 %");
  if (used < 90) die("less than 90 % of the budget is in use");
  if (figures.evictions == 0) die("nothing was evicted");
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t mebibytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 64;
  const double seconds = argc > 2 ? std::strtod(argv[2], nullptr) : 3;
  run(mebibytes << 20, seconds);
  return 0;
}
