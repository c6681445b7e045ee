// Random reads of a file segment at a fixed depth from one thread through an executor. Beside it,
// scripts/bench_io runs fio on the same file.
//
//   io_depth FILE [--block BYTES] [--depth N] [--seconds S] [--size BYTES] [--threads]
//
// Creates FILE with --size and fills it unless it exists. Prints one line: block, depth, IOPS, the
// thread's own processor time per read.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "runtime/io_queue.hpp"
#include "segment/file.hpp"

namespace {

using namespace firn;
using Clock = std::chrono::steady_clock;

struct Settings {
  const char* path = nullptr;
  std::size_t block = 4096;
  std::size_t depth = 64;
  double seconds = 5;
  std::uint64_t size = std::uint64_t{1} << 30;
  bool threads = false;
};

struct Run;
struct Read : segment::Request {
  Run* run = nullptr;
};
struct Run {
  segment::Backend* backend = nullptr;
  runtime::ExecutorCore* executor = nullptr;
  std::size_t block = 0;
  std::uint64_t block_count = 0;
  std::mt19937_64 random{1};
  std::uint64_t done_count = 0;
  std::size_t under_way = 0;
  bool ending = false;

  void next(Read& read) noexcept {
    read.offset = random() % block_count * block;
    ++under_way;
    backend->submit(*executor, read);
  }
};

[[noreturn]] void stop(const char* what, const Error& error) {
  std::fprintf(stderr, "io_depth: %s: %s\n", what, error.message().c_str());
  std::exit(1);
}

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void turn(Run& run) {
  run.executor->tick(std::chrono::milliseconds(1));
  if (run.under_way > 0) run.executor->wait_for_work();
}

void fill(Run& run, std::byte* bytes) {
  constexpr std::size_t piece = std::size_t{1} << 20;
  std::memset(bytes, 0x5a, piece);
  Read write;
  write.run = &run;
  write.kind = segment::RequestKind::write;
  write.set_buffer(bytes, piece);
  write.done = [](segment::Request& request) noexcept {
    auto& own = static_cast<Read&>(request);
    if (!own.outcome.has_value()) stop("write", own.outcome.error());
    --own.run->under_way;
  };
  for (std::uint64_t offset = 0; offset + piece <= run.backend->size(); offset += piece) {
    write.offset = offset;
    ++run.under_way;
    run.backend->submit(*run.executor, write);
    while (run.under_way > 0) turn(run);
  }
}

Settings parse(int count, char** arguments) {
  Settings settings;
  for (int index = 1; index < count; ++index) {
    const std::string_view name = arguments[index];
    if (name == "--threads") {
      settings.threads = true;
    } else if (name.substr(0, 2) != "--") {
      settings.path = arguments[index];
    } else if (++index < count) {
      const double value = std::atof(arguments[index]);
      if (name == "--block") settings.block = static_cast<std::size_t>(value);
      if (name == "--depth") settings.depth = static_cast<std::size_t>(value);
      if (name == "--seconds") settings.seconds = value;
      if (name == "--size") settings.size = static_cast<std::uint64_t>(value);
    }
  }
  if (settings.path == nullptr || settings.block == 0 || settings.depth == 0) {
    std::fprintf(stderr,
                 "usage: io_depth FILE [--block BYTES] [--depth N] [--seconds S] "
                 "[--size BYTES] [--threads]\n");
    std::exit(2);
  }
  return settings;
}

}  // namespace

int main(int argument_count, char** arguments) {
  const Settings settings = parse(argument_count, arguments);
  auto core = runtime::ExecutorCore::create(
      {.io_method = settings.threads ? runtime::IoMethod::threads : runtime::IoMethod::automatic});
  if (!core.has_value()) stop("executor", core.error());
  const std::unique_ptr<runtime::ExecutorCore> executor(*core);
  const std::unique_ptr<std::byte, decltype(&std::free)> bytes(
      static_cast<std::byte*>(std::aligned_alloc(
          4096, std::max(settings.depth * settings.block, std::size_t{1} << 20))),
      &std::free);

  Run run;
  run.executor = executor.get();
  run.block = settings.block;
  segment::FileOptions options;
  options.size_bytes = settings.size;
  options.preallocate = true;
  auto file = segment::FileBackend::open(settings.path, options);
  const bool fresh = !file.has_value() && file.error().code == ErrorCode::not_found;
  if (fresh) file = segment::FileBackend::create(settings.path, options);
  if (!file.has_value()) stop(settings.path, file.error());
  run.backend = file->get();
  run.block_count = run.backend->size() / settings.block;
  if (fresh) fill(run, bytes.get());

  std::vector<Read> reads(settings.depth);
  const auto begin = Clock::now();
  const double processor_before = processor_seconds();
  for (std::size_t index = 0; index < reads.size(); ++index) {
    Read& read = reads[index];
    read.run = &run;
    read.set_buffer(bytes.get() + index * settings.block, settings.block);
    read.done = [](segment::Request& request) noexcept {
      auto& own = static_cast<Read&>(request);
      if (!own.outcome.has_value()) stop("read", own.outcome.error());
      --own.run->under_way;
      ++own.run->done_count;
      if (!own.run->ending) own.run->next(own);
    };
    run.next(read);
  }
  double seconds = 0;
  while (run.under_way > 0) {
    turn(run);
    seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    run.ending = seconds >= settings.seconds;
  }
  const double processor = processor_seconds() - processor_before;
  const auto done = static_cast<double>(run.done_count);
  std::printf("%zu bytes, depth %zu, %s: %.0f reads/s, %.2f us of processor each\n", settings.block,
              settings.depth,
              executor->io().value()->method() == runtime::IoMethod::uring ? "io_uring" : "threads",
              done / seconds, processor / done * 1e6);
}
