#include <cstdio>
#include <cstdlib>

#include "model/explore.hpp"
#include "model/latch_model_steps.hpp"
#include "support/catch.hpp"

namespace {

using firn::model::Bug;
using firn::model::Explorer;
using firn::model::LatchModel;
using firn::model::Op;
using firn::model::Outcome;
using firn::model::Scenario;
using firn::model::State;

// Each is explored completely: every interleaving of these operations, no bound on preemptions.
const std::vector<Scenario> scenarios = {
    {"latches",
     1,
     1,
     1,
     0,
     {{{Op::write, 0}}, {{Op::write, 0}}, {{Op::read, 0}}, {{Op::share, 0}}}},
    {"upgrades", 1, 1, 1, 0, {{{Op::upgrade, 0}}, {{Op::upgrade, 0}}, {{Op::write, 0}}}},
    {"shares", 1, 1, 1, 0, {{{Op::share, 0}}, {{Op::share, 0}}, {{Op::write, 0}}}},
    {"appends",
     1,
     1,
     1,
     0,
     {{{Op::append, 0}}, {{Op::append, 0}}, {{Op::seal, 0}}, {{Op::read, 0}}}},
    {"append, write", 1, 1, 1, 0, {{{Op::append, 0}}, {{Op::write, 0}}, {{Op::upgrade, 0}}}},
    {"write-back",
     1,
     1,
     1,
     1,
     {{{Op::write, 0}, {Op::write, 0}}, {{Op::write_back, 0}, {Op::evict, 0}}, {{Op::read, 0}}}},
    {"two cleaners",
     1,
     1,
     1,
     0,
     {{{Op::write, 0}}, {{Op::write_back, 0}, {Op::evict, 0}}, {{Op::write_back, 0}}}},
    {"faults", 1, 1, 0, 1, {{{Op::read, 0}}, {{Op::read, 0}}, {{Op::evict, 0}}}},
    {"fault, write", 1, 2, 0, 1, {{{Op::read, 0}}, {{Op::write, 0}}, {{Op::evict, 0}}}},
    {"evict, reload",
     1,
     2,
     1,
     0,
     {{{Op::read, 0}}, {{Op::evict, 0}, {Op::evict, 0}}, {{Op::write, 0}}}},
    {"frame of another", 2, 1, 1, 0, {{{Op::read, 0}}, {{Op::read, 1}, {Op::read, 0}}}},
    {"frames", 2, 1, 1, 0, {{{Op::read, 0}}, {{Op::read, 1}}, {{Op::read, 0}}}},
    {"free, reuse",
     1,
     2,
     1,
     0,
     {{{Op::free, 0}, {Op::create, 0}}, {{Op::read, 0}}, {{Op::write, 0}}}},
    {"free, write-back",
     1,
     2,
     1,
     0,
     {{{Op::write, 0}, {Op::write_back, 0}}, {{Op::free, 0}}, {{Op::create, 0}}}},
};

#if defined(FIRN_DEBUG) || !defined(__OPTIMIZE__)
constexpr std::size_t state_limit = 60'000;
constexpr bool whole = false;
#else
constexpr std::size_t state_limit = 4'000'000;
constexpr bool whole = true;
#endif

Outcome explore(const Scenario& scenario, Bug bug) {
  LatchModel model(scenario, bug);
  return Explorer<LatchModel>(model, state_limit).run(bug == Bug::none);
}

}  // namespace

TEST_CASE("latch model: every interleaving keeps the properties", "[model-latch]") {
  std::uint64_t states = 0;
  std::uint64_t steps = 0;
  for (const Scenario& scenario : scenarios) {
    const Outcome outcome = explore(scenario, Bug::none);
    std::printf("model-latch: %-18s %9llu states %9llu steps%s%s\n", scenario.name,
                static_cast<unsigned long long>(outcome.state_count),
                static_cast<unsigned long long>(outcome.step_count),
                outcome.complete ? "" : " (bounded)",
                (outcome.violation.empty() ? "" : " " + outcome.violation).c_str());
    for (const std::string& line : outcome.trace) std::printf("  %s\n", line.c_str());
    INFO(scenario.name);
    CHECK(outcome.violation == "");
    if (whole) CHECK(outcome.complete);
    states += outcome.state_count;
    steps += outcome.step_count;
  }
  std::printf("model-latch: %llu states, %llu steps, bounds: %zu scenarios of up to 4 threads\n",
              static_cast<unsigned long long>(states), static_cast<unsigned long long>(steps),
              scenarios.size());
}

TEST_CASE("latch model: every planted bug is found", "[model-latch]") {
  for (unsigned number = 1; number < static_cast<unsigned>(Bug::count_end); ++number) {
    const Bug bug = static_cast<Bug>(number);
    std::string found;
    for (const Scenario& scenario : scenarios) {
      const Outcome outcome = explore(scenario, bug);
      if (outcome.violation.empty()) continue;
      found = outcome.violation;
      std::printf("model-latch: planted %-32s found in '%s': %s\n", firn::model::bug_name(bug),
                  scenario.name, found.c_str());
      break;
    }
    INFO(firn::model::bug_name(bug));
    if (whole) CHECK(found != "");
  }
}
