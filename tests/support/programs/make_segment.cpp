// make_segment FILE [--pages N] [--checkpoints N] [--seed S] [--hold]: writes a segment's file that
// tests of tools can look at, with N pages at the end, made, rewritten and freed at random over
// several checkpoints. Prints a line per page: id, offset and bytes of its image. With --hold it
// keeps the file open until its standard input ends.
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "segment/file.hpp"
#include "store/page_io.hpp"

namespace {

using namespace firn;
using format::PageId;

struct Settings {
  const char* path = nullptr;
  std::size_t pages = 200;
  std::uint64_t checkpoints = 4;
  std::uint64_t seed = 1;
  bool hold = false;
};

[[noreturn]] void stop(const Error& error) {
  std::fprintf(stderr, "make_segment: %s\n", error.message().c_str());
  std::exit(1);
}

Settings parse(int count, char** arguments) {
  Settings settings;
  for (int index = 1; index < count; ++index) {
    const std::string_view name = arguments[index];
    if (name == "--hold") {
      settings.hold = true;
    } else if (name.substr(0, 2) != "--") {
      settings.path = arguments[index];
    } else if (++index < count) {
      const std::uint64_t value = std::strtoull(arguments[index], nullptr, 10);
      if (name == "--pages") settings.pages = value;
      if (name == "--checkpoints") settings.checkpoints = value;
      if (name == "--seed") settings.seed = value;
    }
  }
  if (settings.path != nullptr) return settings;
  std::fprintf(stderr,
               "usage: make_segment FILE [--pages N] [--checkpoints N] [--seed S] [--hold]\n");
  std::exit(2);
}

// Between two checkpoints: some pages go, some change, and new ones make up the number.
Result<void> change(store::Store& store, runtime::ExecutorCore& core, base::Random& random,
                    std::vector<PageId>& pages, std::size_t page_count) {
  const std::uint64_t number = store.number();
  for (std::size_t index = 0; index < pages.size();) {
    const std::uint64_t dice = random.below(8);
    if (dice == 0) {
      FIRN_TRY(store.free_page(pages[index], number));
      pages[index] = pages.back();
      pages.pop_back();
      continue;
    }
    if (dice < 3) FIRN_TRY(test::write_page(store, core, pages[index], random.next(), number));
    ++index;
  }
  while (pages.size() < page_count) {
    // Mostly small ones; of the larger half each class is as likely.
    const auto size_class = static_cast<unsigned>(random.below(random.below(2) == 0 ? 1 : 6));
    FIRN_TRY_ASSIGN(const PageId page, store.allocate_page(size_class));
    FIRN_TRY(test::write_page(store, core, page, random.next(), number));
    pages.push_back(page);
  }
  return {};
}

Result<void> write_all(store::Store& store, runtime::ExecutorCore& core, const Settings& settings) {
  base::Random random(settings.seed);
  std::vector<PageId> pages;
  for (std::uint64_t done = 0; done < settings.checkpoints; ++done) {
    FIRN_TRY(change(store, core, random, pages, settings.pages));
    FIRN_TRY(store.publish(core, store.begin_checkpoint(), {}));
  }
  for (const PageId page : pages) {
    const store::Extent extent = store.entry(page).location.extent();
    const store::StoreOptions defaults;
    constexpr unsigned granule_bytes = 512;
    const std::uint64_t offset = std::uint64_t{extent.chunk} * defaults.chunk_bytes +
                                 std::uint64_t{extent.granule} * granule_bytes;
    std::printf("%llu %llu %u\n", static_cast<unsigned long long>(page.bits()),
                static_cast<unsigned long long>(offset), extent.count * granule_bytes);
  }
  std::fflush(stdout);
  return {};
}

}  // namespace

int main(int count, char** arguments) {
  const Settings settings = parse(count, arguments);
  auto core = runtime::ExecutorCore::create();
  if (!core.has_value()) stop(core.error());
  const std::unique_ptr<runtime::ExecutorCore> executor(*core);
  segment::FileOptions options;
  options.size_bytes = (16 + settings.pages / 8) << 20;
  options.direct = false;  // granules of 512 bytes on every device
  auto file = segment::FileBackend::create(settings.path, options);
  if (!file.has_value()) stop(file.error());

  struct Job {
    const Settings& settings;
    runtime::ExecutorCore& core;
    segment::FileBackend& file;
    bool done;
  } job{settings, *executor, **file, false};
  auto fiber = executor->fibers().prepare(*executor, sizeof(Job*), alignof(Job*));
  if (!fiber.has_value()) stop(fiber.error());
  ::new ((*fiber)->memory) Job*(&job);
  runtime::FiberPool::start(**fiber, [](void* memory) noexcept {
    Job& its = **static_cast<Job**>(memory);
    auto store = store::Store::create(its.core, its.file, {}, its.settings.seed + 1);
    if (!store.has_value()) stop(store.error());
    if (auto done = write_all(**store, its.core, its.settings); !done.has_value()) {
      stop(done.error());
    }
    its.done = true;
  });
  while (!job.done) {
    if (executor->tick(std::chrono::nanoseconds::zero()) == 0 && !job.done) {
      executor->wait_for_work();
    }
  }
  if (settings.hold) {
    while (std::getchar() != EOF) {
    }
  }
  return 0;
}
