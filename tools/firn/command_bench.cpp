// firn bench NAME: measures one thing on this machine. Results appear one by one, with --json as
// one object per line.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/nearest.hpp"
#include "bench.hpp"
#include "command.hpp"

namespace firn::cli {
namespace {

#define FIRN_ADDRESS_OF_BENCH(name) &name##_bench,
const Bench* const benches[] = {FIRN_BENCHES(FIRN_ADDRESS_OF_BENCH)};
#undef FIRN_ADDRESS_OF_BENCH

struct BenchArguments {
  std::string name;
  BenchOptions options;
};

ExitCode unknown(const std::string& name) {
  Problem problem{.error = fmt::format("unknown benchmark {}", in_quotes(name)),
                  .where = "firn bench",
                  .next = {}};
  std::vector<std::string_view> known;
  for (const Bench* bench : benches) known.push_back(bench->name);
  if (const std::string_view meant = base::nearest_meant(name, known); !meant.empty()) {
    problem.next.push_back({fmt::format("firn bench {}", meant), "is the nearest known one"});
  }
  problem.next.push_back({"firn bench --help", "lists the benchmarks"});
  return report(problem);
}

ExitCode measure(Output& output, const BenchArguments& arguments) {
  const auto found = std::ranges::find_if(
      benches, [&](const Bench* bench) { return bench->name == arguments.name; });
  if (found == std::end(benches)) return unknown(arguments.name);
  const Result<void> done = (*found)->run(
      arguments.options, [&](const nlohmann::ordered_json& line, std::string_view text) {
        if (output.wants_json()) {
          output.json_line(line);
        } else {
          output.text(fmt::format("{}\n", text));
        }
      });
  if (!done.has_value()) return report(done.error(), fmt::format("firn bench {}", arguments.name));
  return ExitCode::ok;
}

void add_table_options(CLI::App& app, BenchOptions& options) {
  app.add_option("--file", options.file,
                 "a native database's file: made and filled if it is not there, and kept "
                 "(default: a temporary one)");
  app.add_option("--pairs", options.pairs, "how many (default: ten times the memory budget)")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
  app.add_option("--value-size", options.value_size, "bytes of each value; keys have 8")
      ->check(CLI::Range(8, 1024))
      ->capture_default_str();
  app.add_option("--memory", options.memory, "the domain's memory budget")->capture_default_str();
  app.add_option("--leaf-size", options.leaf_size, "bytes of a leaf page")
      ->check(CLI::IsMember({4096, 8192, 16384, 32768, 65536}))
      ->capture_default_str();
  app.add_option("--in-flight", options.in_flight, "operations under way in each thread")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "of get: threads, each with an executor")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--batch", options.batch, "of batch: keys in each")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "of get, in-flight and batch: how long")
      ->check(CLI::Range(0.01, 86400.0))
      ->capture_default_str();
  app.add_option("--order", options.order, "of fill: sequential or random")
      ->check(CLI::IsMember({"sequential", "random"}))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of what is random")->capture_default_str();
}

Action prepare_bench(CLI::App& app) {
  auto arguments = std::make_shared<BenchArguments>();
  std::string names = "which one:";
  for (const Bench* bench : benches) names += fmt::format("\n{}: {}", bench->name, bench->summary);
  app.add_option("NAME", arguments->name, names)->required();
  constexpr std::uint64_t pages_min = 256;
  constexpr std::uint64_t pages_max = std::uint64_t{1} << 22;
  app.add_option("--pages", arguments->options.pages, "how many pages of 4 KiB are in memory")
      ->check(CLI::Range(pages_min, pages_max))
      ->capture_default_str();
  add_table_options(app, arguments->options);
  return [arguments](Output& output) { return measure(output, *arguments); };
}

}  // namespace

const Command bench_command = {"bench", "measure one thing on this machine", prepare_bench};

}  // namespace firn::cli
