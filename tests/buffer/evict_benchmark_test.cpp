// Prints what eviction costs here: firn_tests "[.benchmark]".
#include "../../benchmarks/evict.hpp"

#include <fmt/core.h>

#include "support/catch.hpp"

namespace {
using namespace firn;
using namespace firn::buffer;
}  // namespace

TEST_CASE("evict: batched against single calls", "[.benchmark]") {
  for (const MemoryKind kind : {MemoryKind::process_madvise, MemoryKind::madvise}) {
    for (const unsigned size_class : {0U, 1U, 2U, 4U}) {
      for (const std::uint32_t batch : {1U, 64U, 512U}) {
        MemoryOptions options;
        options.kind = kind;
        const auto memory = Memory::reserve(options);
        if (!memory.has_value()) continue;
        const benchmark::EvictFigures figures =
            benchmark::measure_evict(**memory, {.size_class = size_class, .batch = batch});
        REQUIRE(figures.pages > 0);
        fmt::print(
            "{:<16} {:>3} KiB batch {:>3}: {:>9.0f} pages/s released ({:.3f} us), {:>8.0f} "
            "pages/s turned over, {:.3f} calls a page\n",
            name_of(kind), page_bytes(size_class) / 1024, batch, figures.released_per_second(),
            1e6 / figures.released_per_second(), figures.turned_over_per_second(),
            static_cast<double>(figures.system_calls) / static_cast<double>(figures.pages));
      }
    }
  }
}

TEST_CASE("evict: the measurement counts what it evicts", "[pool-memory]") {
  const auto memory = Memory::reserve(MemoryOptions{});
  REQUIRE(memory.has_value());
  const benchmark::EvictFigures figures =
      benchmark::measure_evict(**memory, {.resident_bytes = 1_MiB, .rounds = 2});
  REQUIRE(figures.pages == 512);
  REQUIRE(figures.system_calls >= 8);
}
