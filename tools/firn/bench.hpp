// The benchmarks of `firn bench`. To add one: write bench_NAME.cpp, which defines `NAME_bench`, and
// add its line to FIRN_BENCHES.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include <nlohmann/json.hpp>

#include <firn/result.hpp>

namespace firn::cli {

struct BenchOptions {
  std::uint64_t pages = 16384;
};

/// One result. `line` is an object, `text` the same for people.
using Emit = std::function<void(const nlohmann::ordered_json& line, std::string_view text)>;

struct Bench {
  std::string_view name;
  std::string_view summary;
  Result<void> (*run)(const BenchOptions& options, const Emit& emit);
};

#define FIRN_BENCHES(BENCH) BENCH(evict)

#define FIRN_DECLARE_BENCH(name) extern const Bench name##_bench;
FIRN_BENCHES(FIRN_DECLARE_BENCH)
#undef FIRN_DECLARE_BENCH

}  // namespace firn::cli
