#include "../../benchmarks/evict.hpp"

#include <fmt/core.h>

#include "support/catch.hpp"

namespace {
using namespace firn;
using namespace firn::buffer;
}  // namespace

TEST_CASE("evict: the measurement counts what it evicts", "[pool-memory]") {
  const auto memory = Memory::reserve(MemoryOptions{});
  REQUIRE(memory.has_value());
  const benchmark::EvictFigures figures =
      benchmark::measure_evict(**memory, {.resident_bytes = 1_MiB, .rounds = 2});
  REQUIRE(figures.pages == 512);
  REQUIRE(figures.system_calls >= 8);
}
