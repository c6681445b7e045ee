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

struct Arguments {
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

ExitCode measure(Output& output, const Arguments& arguments) {
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

Action prepare(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  std::string names = "which one:";
  for (const Bench* bench : benches) names += fmt::format("\n{}: {}", bench->name, bench->summary);
  app.add_option("NAME", arguments->name, names)->required();
  constexpr std::uint64_t pages_min = 256;
  constexpr std::uint64_t pages_max = std::uint64_t{1} << 22;
  app.add_option("--pages", arguments->options.pages, "how many pages of 4 KiB are in memory")
      ->check(CLI::Range(pages_min, pages_max))
      ->capture_default_str();
  return [arguments](Output& output) { return measure(output, *arguments); };
}

}  // namespace

const Command bench_command = {"bench", "measure one thing on this machine", prepare};

}  // namespace firn::cli
