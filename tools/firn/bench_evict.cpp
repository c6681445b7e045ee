// How fast frames are given back to the kernel: one call per page against batches, with each way
// that this kernel offers, and in the buffer pool's own loop.
#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include <fmt/format.h>

#include "bench.hpp"
#include "benchmarks/evict.hpp"
#include "buffer/pool.hpp"
#include "runtime/executor_core.hpp"
#include "runtime/fiber.hpp"
#include "segment/memory.hpp"

namespace firn::cli {
namespace {

using buffer::MemoryKind;

constexpr std::uint32_t rounds = 4;

Result<void> measure_calls(const BenchOptions& options, const Emit& emit) {
  for (const MemoryKind kind : {MemoryKind::process_madvise, MemoryKind::madvise}) {
    auto memory = buffer::Memory::reserve({.kind = kind});
    if (!memory.has_value()) {
      if (memory.error().code != ErrorCode::unsupported) return fail(memory.error());
      const std::string why = memory.error().message();
      emit({{"bench", "evict"}, {"by", name_of(kind)}, {"skipped", why}},
           fmt::format("{:16} skipped: {}", name_of(kind), why));
      continue;
    }
    double single = 0;
    for (const std::uint32_t batch : {1U, 64U, 512U}) {
      const benchmark::EvictFigures figures = benchmark::measure_evict(
          **memory, {.batch = batch,
                     .resident_bytes = options.pages * buffer::smallest_page_bytes,
                     .rounds = rounds});
      const double rate = figures.released_per_second();
      if (batch == 1) single = rate;
      emit({{"bench", "evict"},
            {"by", name_of(kind)},
            {"batch", batch},
            {"page_bytes", buffer::smallest_page_bytes},
            {"pages", figures.pages},
            {"system_calls", figures.system_calls},
            {"pages_per_second", rate},
            {"by_single_calls", rate / single}},
           fmt::format("{:16} {:4} pages per batch  {:6.2f} million pages/s  {:5.2f} times single",
                       name_of(kind), batch, rate / 1e6, rate / single));
    }
  }
  return {};
}

/// A pool over a segment in memory whose pages are all clean.
class PoolLoop {
 public:
  explicit PoolLoop(const BenchOptions& options) : options_(options) {}

  Result<void> open();
  void measure(bool in_order, const Emit& emit);

 private:
  template <class Work>
  Result<void> on_fiber(Work work);
  Result<void> fill();
  void load();
  void evict_all();

  const BenchOptions options_;
  // In the order of their lives.
  std::unique_ptr<runtime::ExecutorCore> executor_;
  std::unique_ptr<segment::MemoryBackend> segment_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<buffer::Pool> pool_;
  std::vector<buffer::PageSlot> pages_;
};

template <class Work>
Result<void> PoolLoop::on_fiber(Work work) {
  struct Job {
    Work& work;
    Result<void> outcome;
    bool done;
  } job{work, {}, false};
  FIRN_TRY_ASSIGN(runtime::Fiber* const fiber,
                  executor_->fibers().prepare(*executor_, sizeof(Job*), alignof(Job*)));
  ::new (fiber->memory) Job*(&job);
  runtime::FiberPool::start(*fiber, [](void* memory) noexcept {
    Job& its = **std::launder(static_cast<Job**>(memory));
    its.outcome = its.work();
    its.done = true;
  });
  while (!job.done) executor_->tick(std::chrono::nanoseconds::zero());
  return job.outcome;
}

Result<void> PoolLoop::open() {
  constexpr std::uint64_t spare_bytes = 64_MiB;
  const std::uint64_t bytes = options_.pages * buffer::smallest_page_bytes;
  FIRN_TRY_ASSIGN(auto* const core, runtime::ExecutorCore::create());
  executor_.reset(core);
  FIRN_TRY_ASSIGN(segment_, segment::MemoryBackend::create(
                                {.size_bytes = (bytes + bytes / 4 + spare_bytes) >> 20 << 20}));
  FIRN_TRY(on_fiber([&]() noexcept -> Result<void> {
    FIRN_TRY_ASSIGN(store_, store::Store::create(*executor_, *segment_, {}, 1));
    return {};
  }));
  buffer::PoolOptions pool_options;
  pool_options.memory_budget = 2 * bytes + spare_bytes;
  pool_options.memory.data_bytes = bytes;
  FIRN_TRY_ASSIGN(pool_, buffer::Pool::create(*store_, pool_options));
  FIRN_TRY(pool_->start_background(*executor_));
  const Result<void> filled = on_fiber([&]() noexcept { return fill(); });
  pool_->stop_background();
  return filled;
}

Result<void> PoolLoop::fill() {
  buffer::Waiter waiter(*pool_, *runtime::current_fiber());
  while (pages_.size() < options_.pages) {
    format::PageHeader header;
    header.kind = format::PageKind::raw;
    header.length = buffer::smallest_page_bytes;
    buffer::PageSlot page;
    Error error;
    switch (pool_->create_or_park(waiter, 0, header, page, error)) {
      case buffer::Access::failed:
        return fail(error);
      case buffer::Access::parked:
        runtime::FiberContext::suspend();
        continue;
      case buffer::Access::again:
        continue;
      case buffer::Access::ready:
        break;
    }
    std::uint64_t number = 0;
    // No checkpoint is under way, so nothing is owed.
    FIRN_ASSERT(pool_->begin_change({&page, 1}, {}, number));
    pool_->release_exclusive(page);
    pages_.push_back(page);
  }
  return pool_->checkpoint(*executor_, {});
}

// Brings back what was evicted.
void PoolLoop::load() {
  constexpr std::size_t reads_at_once = 128;
  for (std::size_t first = 0; first < pages_.size(); first += reads_at_once) {
    const std::size_t count = std::min(reads_at_once, pages_.size() - first);
    pool_->prefetch(*executor_, {pages_.data() + first, count});
    while (executor_->tick(std::chrono::nanoseconds::zero()) > 0) {
    }
  }
}

void PoolLoop::evict_all() {
  // Each visit costs a page one of its few chances; the loop ends where all are gone.
  for (unsigned turn = 0; turn < 8 && pool_->statistics().frame_bytes > 0; ++turn) {
    static_cast<void>(
        pool_->evict(pool_->statistics().frame_bytes, static_cast<std::uint32_t>(options_.pages)));
  }
}

// Pages whose frames were filled in the order of their addresses, as by a scan, or in any.
void PoolLoop::measure(bool in_order, const Emit& emit) {
  std::mt19937_64 random(1);
  double seconds = 0;
  std::uint64_t evicted = 0;
  evict_all();
  const std::uint64_t calls_before = pool_->memory().statistics().release_calls;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    // The order in which frames are filled is that of the clock.
    if (in_order) {
      std::sort(pages_.begin(), pages_.end());
    } else {
      std::shuffle(pages_.begin(), pages_.end(), random);
    }
    load();
    const std::uint64_t before = pool_->statistics().evictions;
    const double begin = benchmark::processor_seconds();
    evict_all();
    seconds += benchmark::processor_seconds() - begin;
    evicted += pool_->statistics().evictions - before;
  }
  const double rate = static_cast<double>(evicted) / seconds;
  const buffer::MemoryStatistics memory = pool_->memory().statistics();
  emit({{"bench", "evict"},
        {"by", "pool"},
        {"order", in_order ? "addresses" : "random"},
        {"memory", name_of(pool_->memory().kind())},
        {"page_bytes", buffer::smallest_page_bytes},
        {"pages", evicted},
        {"system_calls", memory.release_calls - calls_before},
        {"pages_per_second", rate}},
       fmt::format("{:16} {:22}  {:6.2f} million pages/s", "the pool's loop",
                   in_order ? "in order" : "in random order", rate / 1e6));
}

Result<void> run_evict(const BenchOptions& options, const Emit& emit) {
  FIRN_TRY(measure_calls(options, emit));
  PoolLoop loop(options);
  FIRN_TRY(loop.open());
  for (const bool in_order : {false, true}) loop.measure(in_order, emit);
  return {};
}

}  // namespace

const Bench evict_bench = {"evict", "evicting pages: single calls, batches, the pool's loop",
                           run_evict};

}  // namespace firn::cli
