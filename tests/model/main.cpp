// Random histories against a model of tables:
//   firn_model [--seed N] [--operations N] [--executor MODE] [--domain TYPE] [--budget KIB]
//   [--seconds N] [--twice]
// MODE: blocking, polled, callback, coroutine, fiber. --twice runs each history a second time and
// compares the hashes of their traces. A failure is made small and printed as C++.
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "model/history.hpp"

namespace firn::tests {
namespace {

constexpr std::size_t steps_per_history = 100'000;
constexpr std::size_t shrink_attempts_max = 4000;

struct Arguments {
  std::uint64_t seed = 1;
  std::uint64_t operations = 1'000'000;
  std::uint64_t seconds = 0;  // 0: no limit
  Mode mode = Mode::blocking;
  DomainFactory factory = *domain_named("light");
  bool twice = false;
};

int usage(const char* problem) {
  std::fprintf(stderr,
               "firn_model: %s\nusage: firn_model [--seed N] [--operations N] [--executor MODE] "
               "[--domain TYPE] [--budget KIB] [--seconds N] [--twice]\n",
               problem);
  return 2;
}

bool parse(std::string_view text, std::uint64_t& number) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  return problem == std::errc() && end == text.data() + text.size();
}

// 0, or the exit status.
int parse_all(int count, char** texts, Arguments& arguments) {
  for (int at = 1; at < count; ++at) {
    const std::string_view name = texts[at];
    if (name == "--twice") {
      arguments.twice = true;
      continue;
    }
    if (at + 1 == count) return usage("an option without a value");
    const std::string_view value = texts[++at];
    bool fine = true;
    if (name == "--seed") {
      fine = parse(value, arguments.seed);
    } else if (name == "--operations") {
      fine = parse(value, arguments.operations);
    } else if (name == "--seconds") {
      fine = parse(value, arguments.seconds);
    } else if (name == "--executor") {
      const auto mode = mode_named(value);
      fine = mode.has_value();
      if (fine) arguments.mode = *mode;
    } else if (name == "--domain") {
      const DomainFactory* factory = domain_named(value);
      fine = factory != nullptr;
      if (fine) {
        arguments.factory.type = factory->type;
        arguments.factory.path = factory->path;
        arguments.factory.remove = factory->remove;
      }
    } else if (name == "--budget") {
      std::uint64_t kib = 0;
      fine = parse(value, kib);
      arguments.factory.memory_budget = kib << 10;
    } else {
      return usage("an unknown option");
    }
    if (!fine) return usage("a value that does not fit its option");
  }
  return 0;
}

int report(const Universe& universe, std::vector<Step> steps, const Arguments& arguments,
           ModeRunner& runner, const Outcome& outcome) {
  std::printf("step %zu: %s\n", outcome.failed_at, outcome.failure.c_str());
  std::fflush(stdout);
  steps.resize(std::min(steps.size(), outcome.failed_at + 1));
  steps = shrink(universe, std::move(steps), arguments.factory, runner, shrink_attempts_max);
  const Outcome small = run_history(universe, steps, arguments.factory, runner);
  std::printf("%zu steps still fail, each table being there at the start: %s\n%s", steps.size(),
              small.failure.c_str(), snippet(universe, steps).c_str());
  return 1;
}

int run(const Arguments& arguments) {
  const std::string_view mode = name_of(arguments.mode);
  std::printf("firn_model --seed %" PRIu64 " --operations %" PRIu64
              " --executor %.*s --domain %.*s\n",
              arguments.seed, arguments.operations, static_cast<int>(mode.size()), mode.data(),
              static_cast<int>(arguments.factory.name().size()), arguments.factory.name().data());
  std::fflush(stdout);
  ModeRunner runner(arguments.mode);
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::uint64_t done = 0;
  std::uint64_t trace = 0;
  std::vector<Step> steps;
  for (std::uint64_t history = 0; done < arguments.operations; ++history) {
    if (arguments.seconds > 0 && seconds() > static_cast<double>(arguments.seconds)) break;
    const std::uint64_t seed = base::Random::mix(arguments.seed + history);
    const Universe universe(seed);
    StepSource source(seed);
    steps.clear();
    const std::uint64_t count =
        std::min<std::uint64_t>(arguments.operations - done, steps_per_history);
    for (std::uint64_t at = 0; at < count; ++at) steps.push_back(source.draw());
    const Outcome outcome = run_history(universe, steps, arguments.factory, runner);
    if (!outcome.failure.empty()) {
      // One history alone repeats it.
      std::printf("failed: seed %" PRIu64 " (keys: %s)\n", arguments.seed + history,
                  shape_names[static_cast<std::size_t>(universe.shape())]);
      return report(universe, std::move(steps), arguments, runner, outcome);
    }
    if (arguments.twice &&
        run_history(universe, steps, arguments.factory, runner).trace != outcome.trace) {
      std::printf("failed: seed %" PRIu64 " gave two traces\n", arguments.seed + history);
      return 1;
    }
    trace = base::Random::mix(trace ^ outcome.trace);
    done += count;
  }
  std::printf("%" PRIu64 " operations, trace %016" PRIx64 ", %.1f s\n", done, trace, seconds());
  return 0;
}

}  // namespace
}  // namespace firn::tests

int main(int count, char** texts) {
  firn::tests::Arguments arguments;
  if (const int status = firn::tests::parse_all(count, texts, arguments); status != 0) {
    return status;
  }
  return firn::tests::run(arguments);
}
