#include <cstdio>

#include "model/explore.hpp"
#include "model/message_model_steps.hpp"
#include "support/catch.hpp"

namespace firn::model::messages {
namespace {

// Explored completely: every interleaving, no bound on preemptions.
const std::vector<Scenario> scenarios = {
    {"puts of one key", false, {}, {{{Op::put, 0}}, {{Op::put, 0}}, {{Op::read, 0}}}},
    {"put, seal, read",
     false,
     {{Op::put, 0}},
     {{{Op::put, 0}}, {{Op::seal, left}}, {{Op::read, 0}}}},
    {"seal, puts",
     false,
     {},
     {{{Op::put, 0}}, {{Op::put, 1}}, {{Op::seal, left}, {Op::seal, left}}}},
    {"evicted node",
     false,
     {{Op::put, 0}},
     {{{Op::put, 0}}, {{Op::evict, left}}, {{Op::read, 0}}, {{Op::seal, root}}}},
    {"flush of the root",
     false,
     {{Op::put, 0}, {Op::evict, left}, {Op::put, 0}, {Op::put, 3}, {Op::seal, root}, {Op::read, 1}},
     {{{Op::flush, root}}, {{Op::put, 0}}, {{Op::read, 0}}}},
    {"flush of the root over a chain",
     false,
     {{Op::put, 0}, {Op::put, 1}, {Op::put, 0}, {Op::seal, root}},
     {{{Op::flush, root}, {Op::flush, root}}, {{Op::seal, root}}, {{Op::put, 0}, {Op::read, 0}}}},
    {"flush to leaves",
     false,
     {{Op::put, 0}, {Op::put, 2}, {Op::seal, left}},
     {{{Op::flush, left}}, {{Op::put, 0}}, {{Op::read, 2}}, {{Op::evict, 3}}}},
    {"flush, leaves written directly",
     true,
     {{Op::evict, 3}, {Op::put, 0}, {Op::seal, left}},
     {{{Op::flush, left}}, {{Op::put, 1}}, {{Op::read, 1}}}},
    {"two flushes",
     false,
     {{Op::put, 0}, {Op::put, 2}, {Op::seal, left}, {Op::put, 0}},
     {{{Op::flush, left}, {Op::flush, left}}, {{Op::seal, left}}, {{Op::read, 0}}}},
    {"split",
     false,
     {{Op::put, 2}},
     {{{Op::split, left}}, {{Op::put, 2}}, {{Op::put, 3}}, {{Op::read, 2}}}},
    {"split after a flush that ended early",
     false,
     {{Op::put, 0}, {Op::put, 2}, {Op::seal, left}, {Op::put, 2}},
     {{{Op::flush, left}, {Op::split, left}}, {{Op::put, 2}}, {{Op::read, 2}}}},
    {"flushes of two levels",
     false,
     {{Op::put, 0}, {Op::seal, left}, {Op::evict, left}, {Op::put, 0}, {Op::seal, root}},
     {{{Op::flush, root}}, {{Op::flush, left}}, {{Op::put, 0}}}},
    {"all at once",
     true,
     {{Op::put, 2}, {Op::seal, left}},
     {{{Op::put, 2}}, {{Op::flush, left}}, {{Op::split, left}}, {{Op::read, 2}}}},
};

#if defined(FIRN_DEBUG) || !defined(__OPTIMIZE__)
constexpr std::size_t state_limit = 60'000;
constexpr bool whole = false;
#else
constexpr std::size_t state_limit = 4'000'000;
constexpr bool whole = true;
#endif

Outcome explore(const Scenario& scenario, Bug bug) {
  MessageModel model(scenario, bug);
  return Explorer<MessageModel>(model, state_limit).run(bug == Bug::none);
}

}  // namespace

TEST_CASE("message model: every interleaving keeps the properties", "[model-messages]") {
  for (const Scenario& scenario : scenarios) {
    const auto outcome = explore(scenario, Bug::none);
    std::printf("model-messages: %-38s %9llu states%s %s\n", scenario.name,
                static_cast<unsigned long long>(outcome.state_count),
                outcome.complete ? "" : " (bounded)", outcome.violation.c_str());
    for (const std::string& line : outcome.trace) std::printf("  %s\n", line.c_str());
    INFO(scenario.name);
    CHECK(outcome.violation == "");
    if (whole) CHECK(outcome.complete);
  }
}

TEST_CASE("message model: every planted bug is found", "[model-messages]") {
  for (unsigned number = 1; number < static_cast<unsigned>(Bug::count_end); ++number) {
    const auto bug = static_cast<Bug>(number);
    std::string found;
    for (const Scenario& scenario : scenarios) {
      const auto outcome = explore(scenario, bug);
      if (outcome.violation.empty()) continue;
      found = outcome.violation;
      std::printf("model-messages: planted %-24s found in '%s': %s\n", bug_name(bug), scenario.name,
                  found.c_str());
      break;
    }
    INFO(bug_name(bug));
    if (whole) CHECK(found != "");
  }
}

}  // namespace firn::model::messages
