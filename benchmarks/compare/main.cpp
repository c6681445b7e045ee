// One run of one engine: opens or loads its files, runs one workload with each number of threads,
// and prints a line of JSON for each. `compare` runs these programs and reads the lines.
//
//   compare_ENGINE --workload NAME --directory DIR --pairs N [--value BYTES] [--budget BYTES]
//       [--threads N,N..] [--seconds S] [--seed N] [--out-of-memory]
//   compare_ENGINE --version | --workloads
//
// Loads (`load-random`, `load-sequential`) want an empty directory, the others one that
// load-random has filled. Out of memory, loads end after the seconds. Exits with 1 after a failure,
// 3 for what the engine cannot do; the last line of stderr says why.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "counters.hpp"
#include "workload.hpp"

namespace comparison {

void stop(std::string_view what, std::string_view why) {
  std::fflush(stdout);
  fmt::print(stderr, "{}{}{}\n", what, why.empty() ? "" : ": ", why);
  std::fflush(stderr);
  std::_Exit(1);
}

void stop_unsupported(std::string_view what) {
  std::fflush(stdout);
  fmt::print(stderr, "unsupported: {}\n", what);
  std::fflush(stderr);
  std::_Exit(3);
}

namespace {

struct Options {
  std::string workload;
  std::string directory;
  std::uint64_t pairs = 0;
  std::uint32_t value_size = 100;
  std::uint64_t budget_bytes = 0;
  std::vector<unsigned> threads = {1};
  double seconds = 1;
  std::uint64_t seed = 1;
  bool out_of_memory = false;
};

template <class Number>
Number number_from(std::string_view name, std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  expect(error == std::errc() && end == text.data() + text.size() && number > Number{},
         "not a number above 0", fmt::format("{} '{}'", name, text));
  return number;
}

Options parse(int count, char** arguments) {
  Options options;
  for (int index = 1; index < count; ++index) {
    const std::string_view name = arguments[index];
    if (name == "--out-of-memory") {
      options.out_of_memory = true;
      continue;
    }
    expect(index + 1 < count, "an option without its value, or an unknown one", name);
    const std::string_view text = arguments[++index];
    if (name == "--workload") {
      options.workload = text;
    } else if (name == "--directory") {
      options.directory = text;
    } else if (name == "--pairs") {
      options.pairs = number_from<std::uint64_t>(name, text);
    } else if (name == "--value") {
      options.value_size = number_from<std::uint32_t>(name, text);
    } else if (name == "--budget") {
      options.budget_bytes = number_from<std::uint64_t>(name, text);
    } else if (name == "--seconds") {
      options.seconds = number_from<double>(name, text);
    } else if (name == "--seed") {
      options.seed = number_from<std::uint64_t>(name, text);
    } else if (name == "--threads") {
      options.threads.clear();
      for (std::size_t at = 0; at <= text.size();) {
        const std::size_t end = std::min(text.find(',', at), text.size());
        options.threads.push_back(number_from<unsigned>(name, text.substr(at, end - at)));
        at = end + 1;
      }
    } else {
      stop("no such option", name);
    }
  }
  expect(!options.workload.empty() && !options.directory.empty() && options.pairs > 0,
         "--workload, --directory and --pairs are needed");
  expect(options.value_size >= mark_size, "values have at least 8 bytes");
  return options;
}

// The counters around a run.
struct Measured final : RunNotices {
  explicit Measured(const Meter& the_meter) : meter(the_meter) {}
  void begun() override { before = meter.read(); }
  void ended() override { after = meter.read(); }

  const Meter& meter;
  Counters before;
  Counters after;
};

class Run {
 public:
  explicit Run(const Options& options) : options_(options), meter_(options.directory) {
    settings_.directory = options.directory;
    settings_.in_memory = !options.out_of_memory;
    settings_.shape.value_size = options.value_size;
    settings_.pair_count = options.pairs;
    settings_.budget_bytes = options.budget_bytes != 0
                                 ? options.budget_bytes
                                 : 4 * options.pairs * (key_size + options.value_size);
    for (const unsigned threads : options.threads) {
      settings_.threads_max = std::max(settings_.threads_max, threads);
    }
  }

  void load(KeyOrder order) {
    settings_.shape.order = order;
    resident_before_ = resident_bytes();
    Measured measured(meter_);
    measured.begun();
    auto engine = open_engine(settings_);
    auto session = engine->session();
    const Outcome outcome = run_load(*session, settings_, options_.seed,
                                     options_.out_of_memory ? options_.seconds : 1e9);
    engine->flush();
    measured.ended();
    session.reset();
    settle(*engine);
    engine.reset();
    print(outcome, measured, meter_.read(), 1, outcome.operations);
  }

  void work(const Workload& workload) {
    settings_.durability = workload.durability;
    resident_before_ = resident_bytes();
    const auto engine = open_engine(settings_);
    Numbers numbers(options_.pairs, settings_.threads_max);
    warm(*engine, workload, numbers);
    for (const unsigned threads : options_.threads) {
      Measured measured(meter_);
      const Outcome outcome = run_workload(
          *engine, settings_, workload, numbers,
          {threads, options_.seconds, options_.seed * 100 + threads, settings_.in_memory ? 8U : 1U},
          measured);
      if (workload.writes()) settle(*engine);
      print(outcome, measured, meter_.read(), threads, numbers.end());
    }
  }

 private:
  static constexpr double quiet_seconds_max = 20;

  // What is owed for the writes so far.
  void settle(Engine& engine) {
    engine.flush();
    if (engine.works_behind()) wait_for_quiet(quiet_seconds_max);
    sync_files(options_.directory);
  }

  // Brings everything into memory, or what the workload wants there most.
  void warm(Engine& engine, const Workload& workload, Numbers& numbers) {
    if (settings_.in_memory) read_all(*engine.session(), settings_);
    RunNotices nobody;
    const double seconds = options_.seconds * (settings_.in_memory ? 0.2 : 1);
    static_cast<void>(run_workload(engine, settings_, workload, numbers,
                                   {settings_.threads_max, seconds, options_.seed, 1}, nobody));
    if (workload.writes()) settle(engine);
  }

  void print(const Outcome& outcome, const Measured& measured, const Counters& settled,
             unsigned threads, std::uint64_t live_pairs) const {
    const Counters timed = measured.after.since(measured.before);
    const Counters all = settled.since(measured.before);
    const std::uint64_t live_bytes = live_pairs * (key_size + options_.value_size);
    fmt::print(
        R"({{"workload":"{}","threads":{},"operations":{},"seconds":{:.6f},)"
        R"("seconds_owed":{:.6f},"processor_seconds":{:.6f},"processor_seconds_owed":{:.6f},)"
        R"("p50_us":{:.3f},"p99_us":{:.3f},"p999_us":{:.3f},"device":{},)"
        R"("device_read_bytes":{},"device_write_bytes":{},)"
        R"("process_read_bytes":{},"process_write_bytes":{},"user_bytes":{},"live_bytes":{},)"
        R"("file_bytes":{},"budget_bytes":{},"resident_peak_bytes":{},)"
        R"("resident_before_bytes":{}}})"
        "\n",
        options_.workload, threads, outcome.operations, timed.seconds, all.seconds - timed.seconds,
        timed.processor_seconds, all.processor_seconds - timed.processor_seconds,
        outcome.times.quantile(0.5), outcome.times.quantile(0.99), outcome.times.quantile(0.999),
        meter_.has_device(), all.device_read_bytes, all.device_write_bytes, all.process_read_bytes,
        all.process_write_bytes, outcome.written_user_bytes, live_bytes,
        file_bytes(options_.directory), settings_.budget_bytes, peak_resident_bytes(),
        resident_before_);
    std::fflush(stdout);
  }

  const Options& options_;
  Meter meter_;
  Settings settings_;
  std::uint64_t resident_before_ = 0;
};

int run(int count, char** arguments) {
  if (count == 2 && std::string_view(arguments[1]) == "--version") {
    fmt::print("{}\n", engine_version());
    return 0;
  }
  if (count == 2 && std::string_view(arguments[1]) == "--workloads") {
    fmt::print("load-random\nload-sequential\n");
    for (const Workload& workload : all_workloads()) fmt::print("{}\n", workload.name);
    return 0;
  }
  const Options options = parse(count, arguments);
  Run run(options);
  if (options.workload == "load-random" || options.workload == "load-sequential") {
    run.load(options.workload == "load-random" ? KeyOrder::random : KeyOrder::sequential);
    return 0;
  }
  const Workload* const workload = find_workload(options.workload);
  expect(workload != nullptr, "no such workload", options.workload);
  run.work(*workload);
  return 0;
}

}  // namespace
}  // namespace comparison

int main(int count, char** arguments) { return comparison::run(count, arguments); }
