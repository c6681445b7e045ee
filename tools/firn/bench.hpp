// The benchmarks of `firn bench`. To add one: write bench_NAME.cpp, which defines `NAME_bench`, and
// add its line to FIRN_BENCHES.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <firn/result.hpp>

namespace firn::cli {

struct BenchOptions {
  std::uint64_t pages = 16384;

  // Of those over a table. The file is made if it is not there, and kept; empty: a temporary one.
  std::string file;
  std::uint64_t pairs = 0;  ///< 0: ten times the memory budget
  std::uint32_t value_size = 100;
  std::string memory = "64MiB";
  std::uint32_t leaf_size = 4096;
  std::uint32_t in_flight = 64;
  std::uint32_t threads = 1;
  std::uint32_t batch = 32;
  double seconds = 5;
  std::uint64_t seed = 1;
  std::string order = "sequential";
};

/// One result. `line` is an object, `text` the same for people.
using Emit = std::function<void(const nlohmann::ordered_json& line, std::string_view text)>;

struct Bench {
  std::string_view name;
  std::string_view summary;
  Result<void> (*run)(const BenchOptions& options, const Emit& emit);
};

#define FIRN_BENCHES(BENCH) \
  BENCH(fill)               \
  BENCH(get)                \
  BENCH(scan)               \
  BENCH(in_flight)          \
  BENCH(batch)              \
  BENCH(evict)

#define FIRN_DECLARE_BENCH(name) extern const Bench name##_bench;
FIRN_BENCHES(FIRN_DECLARE_BENCH)
#undef FIRN_DECLARE_BENCH

}  // namespace firn::cli
