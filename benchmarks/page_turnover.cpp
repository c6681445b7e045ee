// Page turnover: one thread reads pages at random out of a store many times larger than the memory
// budget, so that nearly every read is a fault, a read from the device and an eviction. Beside it,
// scripts/bench_turnover runs fio on the same file.
//
//   page_turnover FILE [--class C] [--depth N] [--seconds S] [--size BYTES] [--budget BYTES]
//
// One thread reads; the pool's own work has a thread of its own, as in every domain that is not
// asked to do without.
//
// Makes a store in FILE with --size bytes of raw pages of class C (4 KiB << C). Prints one line:
// block, depth, pages per second, the thread's own processor time per page.
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include <firn/fiber.hpp>

#include "buffer/optimistic_read.hpp"
#include "buffer/pool.hpp"
#include "runtime/executor_access.hpp"
#include "runtime/executor_thread.hpp"
#include "segment/file.hpp"

namespace {

using namespace firn;
using buffer::Access;
using buffer::PageSlot;
using Clock = std::chrono::steady_clock;

struct Settings {
  const char* path = nullptr;
  unsigned size_class = 0;
  std::size_t depth = 64;
  double seconds = 5;
  std::uint64_t size = std::uint64_t{1} << 30;
  std::uint64_t budget = std::uint64_t{64} << 20;
};

[[noreturn]] void stop(const char* what, const Error& error) {
  std::fprintf(stderr, "page_turnover: %s: %s\n", what, error.message().c_str());
  std::_Exit(1);
}

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Settings parse(int count, char** arguments) {
  Settings settings;
  for (int index = 1; index < count; ++index) {
    const std::string_view name = arguments[index];
    if (name.substr(0, 2) != "--") {
      settings.path = arguments[index];
    } else if (++index < count) {
      const double value = std::atof(arguments[index]);
      if (name == "--class") settings.size_class = static_cast<unsigned>(value);
      if (name == "--depth") settings.depth = static_cast<std::size_t>(value);
      if (name == "--seconds") settings.seconds = value;
      if (name == "--size") settings.size = static_cast<std::uint64_t>(value);
      if (name == "--budget") settings.budget = static_cast<std::uint64_t>(value);
    }
  }
  if (settings.path == nullptr || settings.depth == 0) {
    std::fprintf(stderr,
                 "usage: page_turnover FILE [--class C] [--depth N] [--seconds S] [--size BYTES] "
                 "[--budget BYTES]\n");
    std::exit(2);
  }
  return settings;
}

// Reads one page optimistically, as a lookup in a leaf does.
class ReadPage final : public Operation<int> {
 public:
  ReadPage(buffer::Pool& pool, PageSlot page) : waiter_(pool, *this), pool_(pool), page_(page) {}

 private:
  using Progress = firn::detail::Progress;
  Progress step() noexcept override {
    while (true) {
      buffer::Descriptor& descriptor = pool_.descriptor(page_);
      if (const auto seen = descriptor.state.optimistic_begin()) {
        std::uint64_t word = 0;
        if (!buffer::load_optimistic(word, pool_.resolve(page_) + sizeof(format::PageHeader))) {
          continue;
        }
        if (!descriptor.state.validate(*seen)) continue;
        waiter_.done();
        if (word != page_.bits()) stop("another page's bytes", Error{});
        return Progress::yes;
      }
      switch (pool_.fault_or_park(waiter_, page_, error_)) {
        case Access::parked:
          return Progress::waiting;
        case Access::failed:
          waiter_.done();
          return Progress::failed;
        case Access::ready:
        case Access::again:
          break;
      }
    }
  }
  void settle(Progress progress) noexcept override {
    if (progress == Progress::failed) return settle_with(fail(error_));
    settle_with(Result<int>(0));
  }

  buffer::Waiter waiter_;
  buffer::Pool& pool_;
  PageSlot page_;
};

// So many reads under way at a time: each that ends begins the next, as a server's would.
class Load {
 public:
  Load(buffer::Pool& pool, Executor& executor, const std::vector<PageSlot>& pages,
       std::size_t depth)
      : pool_(pool), executor_(executor), pages_(pages), readers_(depth) {}

  void run(Clock::time_point end) {
    for (Reader& reader : readers_) next(reader);
    while (under_way_ > 0) {
      ending_ = ending_ || Clock::now() >= end;
      if (executor_.tick(tick_budget) == 0 && under_way_ > 0) executor_.wait_for_work();
    }
  }

 private:
  static constexpr auto tick_budget = std::chrono::microseconds(200);
  using Reader = std::optional<ReadPage>;

  void next(Reader& reader) noexcept {
    reader.emplace(pool_, pages_[random_() % pages_.size()]);
    ++under_way_;
    const auto posted = reader->post(executor_, [this, &reader](Result<int>& result) noexcept {
      if (!result.has_value()) stop("read", result.error());
      --under_way_;
      if (ending_) {
        reader.reset();
      } else {
        next(reader);
      }
    });
    if (!posted.has_value()) stop("post", posted.error());
  }

  buffer::Pool& pool_;
  Executor& executor_;
  const std::vector<PageSlot>& pages_;
  std::vector<Reader> readers_;
  std::mt19937_64 random_{1};
  std::size_t under_way_ = 0;
  bool ending_ = false;
};

template <class Work>
void on_fiber(Executor& executor, Work&& work) {
  bool done = false;
  const auto spawned = fiber::spawn(executor, [&]() noexcept {
    work();
    done = true;
  });
  if (!spawned.has_value()) stop("fiber", spawned.error());
  while (!done) {
    if (executor.tick(std::chrono::nanoseconds(0)) == 0 && !done) executor.wait_for_work();
  }
}

// The pool's cleaner on a thread of its own.
class Background {
 public:
  Background() : thread_(runtime::ExecutorThread::start()) {
    if (!thread_.has_value()) stop("thread", thread_.error());
  }
  void start(buffer::Pool& pool) {
    pool_ = &pool;
    call([](Background& self) noexcept {
      const auto begun = self.pool_->start_background((*self.thread_)->executor());
      if (!begun.has_value()) stop("background", begun.error());
    });
  }
  void end(runtime::ExecutorCore& own) {
    pool_->end_background();
    while (!pool_->background_ended()) own.tick(std::chrono::nanoseconds(0));
    call([](Background& self) noexcept {
      self.pool_->stop_background();
      (*self.thread_)->end();
    });
  }

 private:
  void call(void (*work)(Background&) noexcept) {
    Call call;
    call.self = this;
    call.work = work;
    call.home = &(*thread_)->executor();
    call.run = [](firn::detail::Runnable& runnable) noexcept {
      auto& its = static_cast<Call&>(runnable);
      its.work(*its.self);
      its.done.store(true);
    };
    call.home->send(call);
    while (!call.done.load()) std::this_thread::yield();
  }
  struct Call : firn::detail::Runnable {
    Background* self = nullptr;
    void (*work)(Background&) noexcept = nullptr;
    std::atomic<bool> done{false};
  };

  Result<std::unique_ptr<runtime::ExecutorThread>> thread_;
  buffer::Pool* pool_ = nullptr;
};

void fill(buffer::Pool& pool, runtime::ExecutorCore& core, Executor& executor,
          const Settings& settings, std::vector<PageSlot>& pages) {
  on_fiber(executor, [&] {
    buffer::Waiter waiter(pool, *runtime::current_fiber());
    const std::size_t bytes = buffer::page_bytes(settings.size_class);
    for (std::uint64_t filled = 0; filled < settings.size;) {
      format::PageHeader header;
      header.kind = format::PageKind::raw;
      header.length = static_cast<std::uint32_t>(bytes);
      PageSlot page;
      Error error;
      const Access access = pool.create_or_park(waiter, settings.size_class, header, page, error);
      if (access == Access::parked) runtime::FiberContext::suspend();
      if (access == Access::failed) stop("create", error);
      if (access != Access::ready) continue;
      std::uint64_t number = 0;
      if (!pool.begin_change({&page, 1}, {}, number)) stop("change", Error{});
      for (std::size_t at = sizeof header; at < bytes; at += sizeof(std::uint64_t)) {
        const std::uint64_t word = page.bits() + (at - sizeof header);
        std::memcpy(pool.resolve(page) + at, &word, sizeof word);
      }
      pool.release_exclusive(page);
      pages.push_back(page);
      filled += bytes;
    }
    if (auto done = pool.checkpoint(core, {}); !done.has_value()) {
      stop("checkpoint", done.error());
    }
  });
}

}  // namespace

int main(int argument_count, char** arguments) {
  const Settings settings = parse(argument_count, arguments);
  auto created = runtime::ExecutorCore::create();
  if (!created.has_value()) stop("executor", created.error());
  runtime::ExecutorCore& core = **created;
  Executor executor = ExecutorAccess::adopt(&core);
  segment::FileOptions file_options;
  file_options.size_bytes = (settings.size + settings.size / 4 + (16 << 20)) >> 20 << 20;
  file_options.preallocate = true;
  file_options.force = true;
  auto file = segment::FileBackend::create(settings.path, file_options);
  if (!file.has_value()) stop(settings.path, file.error());
  std::unique_ptr<store::Store> store;
  on_fiber(executor, [&] {
    auto made = store::Store::create(core, **file, {}, 1);
    if (!made.has_value()) stop("store", made.error());
    store = std::move(*made);
  });
  buffer::PoolOptions options;
  options.memory_budget = settings.budget;
  options.memory.data_bytes = settings.size;
  auto pool = buffer::Pool::create(*store, options);
  if (!pool.has_value()) stop("pool", pool.error());
  Background background;
  background.start(**pool);
  std::vector<PageSlot> pages;
  fill(**pool, core, executor, settings, pages);

  const std::uint64_t faults_before = (*pool)->statistics().faults;
  const double processor_before = processor_seconds();
  const auto begin = Clock::now();
  Load load(**pool, executor, pages, settings.depth);
  load.run(begin + std::chrono::duration_cast<Clock::duration>(
                       std::chrono::duration<double>(settings.seconds)));
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const double processor = processor_seconds() - processor_before;
  const auto faults = static_cast<double>((*pool)->statistics().faults - faults_before);
  background.end(core);
  const buffer::PoolStatistics figures = (*pool)->statistics();
  std::printf(
      "turnover: block %zu, depth %zu: %.0f reads/s, %.2f us of processor each, %llu evicted, "
      "%llu waits for memory\n",
      buffer::page_bytes(settings.size_class), settings.depth, faults / seconds,
      processor * 1e6 / faults, static_cast<unsigned long long>(figures.evictions),
      static_cast<unsigned long long>(figures.memory_waits));
  return 0;
}
