// Each request of tree histories failing in turn, in each way that a device can fail. Allowed are
// the right answer, a clean error that has changed nothing, and a failed store; what is published
// stays, and trees are whole.
//   firn_tree_failures [--seed N] [--points N] [--seconds N]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "crash/harness.hpp"
#include "crash/tree_opened.hpp"
#include "support/fault_injector.hpp"

namespace {

using namespace firn;
using namespace firn::test;

// Opens what a history has left, on a device that fails no more, and goes on with it.
std::string judge(runtime::ExecutorCore& core, segment::Backend& backend,
                  const std::vector<TreeContent>& contents, const Bounds& bounds) {
  Tables tables;
  std::uint64_t pages = 0;
  std::uint64_t content = 0;
  {
    auto opened = Store::open(core, backend, tree_history_options);
    if (!opened.has_value()) {
      const Error& error = opened.error();
      if (!bounds.published.has_value() && is_no_domain(error)) return {};
      if (!bounds.honest && (error.code == ErrorCode::corrupt || !bounds.strict)) return {};
      return "does not open: " + error.message();
    }
    content = content_of((*opened)->payload());
    if (content > bounds.begun || content >= contents.size()) return "a checkpoint not begun";
    if (bounds.strict && bounds.published.has_value() && content < *bounds.published) {
      return "an older checkpoint than one that was published";
    }
    (*opened)->check_well_formed();
    TreeReader reader(**opened, core);
    reader.read();
    if (!reader.wrong.empty()) return reader.wrong;
    if (reader.unread.has_value() && (bounds.honest || reader.unread->code != ErrorCode::corrupt ||
                                      reader.unread->place.page == Place::none)) {
      return "does not read: " + reader.unread->message();
    }
    const bool partly = reader.unread.has_value();
    if (auto differs = differs_from(reader.tables, contents[content], partly); !differs.empty()) {
      return differs;
    }
    if (partly) return {};
    tables = std::move(reader.tables);
    pages = reader.pages.size();
  }
  {
    OpenedTrees opened(backend, core);
    if (!opened.outcome().has_value()) return "does not open again";
    std::string wrong = opened.compare(tables, contents[content], pages);
    if (!wrong.empty() || tables.empty()) return wrong;
    base::Random random(content);
    wrong = opened.work_on(tables, random);
    if (!wrong.empty()) return wrong;
    if (!opened.checkpoint(content).has_value()) return "publishes nothing";
  }
  return reads_as(backend, core, tables);
}

// One history on a device with these faults.
struct Requests {
  std::uint64_t seed = 1;
  std::string wrong;

  std::uint64_t operator()(std::span<const segment::FaultRule> rules, const FailurePoint* point) {
    if (!wrong.empty()) return 0;
    Bounds bounds;
    bounds.honest = point == nullptr || is_honest(point->kind);
    bounds.strict =
        bounds.honest || (!point->lasting && point->kind != segment::FaultKind::misdirected_write);
    segment::SimulatedDevice device(tree_history_bytes);
    std::vector<TreeContent> contents;
    std::uint64_t faults = 0;
    {
      Executors executors(seed, 2);
      segment::SimulatedOptions options = device_options(seed);
      options.faults.assign(rules.begin(), rules.end());
      segment::SimulatedBackend backend(device, options);
      TreeHistory history(backend, executors,
                          {.seed = seed,
                           .operations = 50,
                           .per_checkpoint = 12,
                           .frame_bytes = 320 * 1024,
                           .tolerant = point != nullptr,
                           .honest = bounds.honest});
      wrong = history.run();
      faults = backend.faults().size();
      bounds.begun = history.begun();
      bounds.published = history.published();
      contents = history.contents();
      if (!wrong.empty()) {
        std::printf("history %llu, %s: %s\n", static_cast<unsigned long long>(seed),
                    point == nullptr ? "without a failure" : point->describe().c_str(),
                    wrong.c_str());
        std::fflush(stdout);
        std::_Exit(1);  // operations may be under way
      }
    }
    device.drop_pending();
    SimulatedExecutor executor(seed);
    segment::SimulatedBackend backend(device, device_options(seed));
    const bool ended =
        executor.run([&]() noexcept { wrong = judge(executor.core(), backend, contents, bounds); });
    if (!ended) wrong = "reopening got stuck";
    if (!wrong.empty()) wrong = "after healing: " + wrong;
    return faults;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t first_seed = number_after(argc, argv, "--seed", 1);
  const std::uint64_t wanted = number_after(argc, argv, "--points", 3'000);
  const std::chrono::seconds seconds(number_after(argc, argv, "--seconds", 3600));
  std::printf("seed %llu\n", static_cast<unsigned long long>(first_seed));
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t points = 0;
  std::uint64_t histories = 0;
  // Requests without an end are left to firn_failures: here each takes until nobody can go on.
  std::vector<segment::FaultKind> kinds;
  for (unsigned number = 0; number < segment::fault_kind_count; ++number) {
    const auto kind = static_cast<segment::FaultKind>(number);
    if (kind != segment::FaultKind::no_completion) kinds.push_back(kind);
  }
  for (std::uint64_t seed = first_seed; points < wanted; ++seed, ++histories) {
    if (std::chrono::steady_clock::now() - start > seconds) break;
    Requests requests;
    requests.seed = seed;
    std::string at;
    const FailureCounts counts = for_each_failure_point(
        {.kinds = kinds, .step = 3},
        [&](std::span<const segment::FaultRule> rules, const FailurePoint* point) {
          const bool was_good = requests.wrong.empty();
          const std::uint64_t faults = requests(rules, point);
          if (was_good && !requests.wrong.empty()) {
            at = point == nullptr ? "without a failure" : point->describe();
          }
          return requests.wrong.empty() ? faults : 0;
        });
    points += counts.points;
    if (!requests.wrong.empty()) {
      std::printf("history %llu, %s: %s\n", static_cast<unsigned long long>(seed), at.c_str(),
                  requests.wrong.c_str());
      return 1;
    }
  }
  std::printf(
      "%llu failures of requests in %llu tree histories: answers, errors or a failed store, and "
      "what was published is there\n",
      static_cast<unsigned long long>(points), static_cast<unsigned long long>(histories));
  return points >= wanted ? 0 : 2;
}
