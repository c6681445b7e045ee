// Every crash of random tree histories: each medium that a power cut can leave must open to exactly
// a published checkpoint, with whole trees and no page that nobody has, the same one when it is
// opened again, and go on working.
//   firn_tree_crash [--seed N] [--states N] [--seconds N] [--depth 1|2]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "crash/harness.hpp"
#include "crash/tree_opened.hpp"
#include "support/crash_enumerator.hpp"

namespace {

using namespace firn;
using namespace firn::test;

struct Settings {
  std::uint64_t seed = 1;
  std::uint64_t states = 100'000;
  unsigned seconds = 3600;
  unsigned depth = 1;
};

// How many of the states are opened once more with a pool, and how many of these go on working.
constexpr std::uint64_t opened_one_in = 3;
constexpr std::uint64_t goes_on_one_in = 4;

struct Judge {
  const std::vector<TreeContent>& contents;
  std::string violation;

  struct Found {
    std::uint64_t content = 0;
    Tables tables;
    std::uint64_t pages = 0;
  };

  bool reject(const CrashPath& path, const std::string& what) {
    violation = what + "\n  " + describe(path);
    return false;
  }

  // Opens and reads everything page by page: what was found, or why it is wrong.
  std::string read(segment::SimulatedDevice& device, std::uint64_t seed, Found& found) {
    SimulatedExecutor executor(seed);
    segment::SimulatedBackend backend(device, device_options(seed));
    std::string wrong;
    const bool ended = executor.run([&]() noexcept {
      auto opened = Store::open(executor.core(), backend, tree_history_options);
      if (!opened.has_value()) {
        wrong = "does not open: " + opened.error().message();
        return;
      }
      Store& store = **opened;
      found.content = content_of(store.payload());
      if (found.content >= contents.size()) {
        wrong = "a payload of no checkpoint";
        return;
      }
      store.check_well_formed();
      TreeReader reader(store, executor.core());
      reader.read();
      found.pages = reader.pages.size();
      found.tables = std::move(reader.tables);
      if (reader.unread.has_value()) wrong = "does not read: " + reader.unread->message();
      if (wrong.empty()) wrong = reader.wrong;
      if (wrong.empty()) wrong = differs_from(found.tables, contents[found.content]);
    });
    return ended ? wrong : "opening got stuck";
  }

  // The second opening: through a pool and the trees.
  std::string open(segment::SimulatedDevice& device, std::uint64_t seed, const Found& found) {
    SimulatedExecutor executor(seed);
    segment::SimulatedBackend backend(device, device_options(seed));
    std::string wrong;
    const bool ended = executor.run([&]() noexcept {
      Tables tables = found.tables;
      {
        OpenedTrees opened(backend, executor.core());
        if (!opened.outcome().has_value()) {
          wrong = "does not open: " + opened.outcome().error().message();
          return;
        }
        if (content_of(opened.store().payload()) != found.content) {
          wrong = "two openings find two checkpoints";
          return;
        }
        wrong = opened.compare(tables, contents[found.content], found.pages);
        if (!wrong.empty() || tables.empty() || seed % goes_on_one_in != 0) return;
        base::Random random(seed);
        for (int round = 0; round < 2 && wrong.empty(); ++round) {
          wrong = opened.work_on(tables, random);
          const auto published = opened.checkpoint(found.content);
          if (!published.has_value()) wrong = "publishes nothing: " + published.error().message();
        }
        opened.pool().check_well_formed();
      }
      if (wrong.empty()) wrong = reads_as(backend, executor.core(), tables);
      if (!wrong.empty()) wrong = "going on: " + wrong;
    });
    return ended ? wrong : "opening got stuck";
  }

  bool judge(CrashImage& image, const CrashPath& path) {
    const CrashState& crash = *path.front();
    Found found;
    if (const std::string wrong = read(image.device(), crash.index, found); !wrong.empty()) {
      const bool created = crash.last_mark(topic_published).has_value();
      // Before the first checkpoint is published there may be no domain yet, but nothing else.
      if (!created && (wrong.find("holds no Firn domain") != std::string::npos ||
                       wrong.find("no superblock is whole") != std::string::npos)) {
        return true;
      }
      return reject(path, wrong);
    }
    const auto published = crash.last_mark(topic_published);
    if (published && found.content < *published) {
      return reject(path, "an older checkpoint than one that was published");
    }
    if (const auto begun = crash.last_mark(topic_begun); begun && found.content > *begun) {
      return reject(path, "a checkpoint that had not begun");
    }
    const std::uint64_t seed = path.back()->index;
    if (seed % opened_one_in != 0) return true;
    segment::SimulatedDevice again(image.device().content());
    if (const std::string wrong = open(again, seed / opened_one_in, found); !wrong.empty()) {
      return reject(path, "the second time: " + wrong);
    }
    return true;
  }
};

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  settings.seed = number_after(argc, argv, "--seed", settings.seed);
  settings.states = number_after(argc, argv, "--states", settings.states);
  settings.seconds = static_cast<unsigned>(number_after(argc, argv, "--seconds", settings.seconds));
  settings.depth = static_cast<unsigned>(number_after(argc, argv, "--depth", settings.depth));
  std::printf("seed %llu\n", static_cast<unsigned long long>(settings.seed));
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t visited = 0;
  std::uint64_t inner = 0;
  std::uint64_t histories = 0;
  for (std::uint64_t seed = settings.seed; visited + inner < settings.states; ++seed, ++histories) {
    const auto spent = std::chrono::steady_clock::now() - start;
    if (spent > std::chrono::seconds(settings.seconds)) break;
    segment::SimulatedDevice device(tree_history_bytes);
    segment::Journal journal;
    device.record(&journal);
    std::vector<TreeContent> contents;
    {
      Executors executors(seed, 2 + seed % 2);
      segment::SimulatedBackend backend(device, device_options(seed));
      const std::uint64_t frame_bytes[] = {288 * 1024, 512 * 1024, 1024 * 1024};
      TreeHistory history(
          backend, executors,
          {.seed = seed, .frame_bytes = frame_bytes[seed % 3], .tall = seed % 4 == 0});
      if (const std::string wrong = history.run(); !wrong.empty()) {
        std::printf("history %llu: %s\n", static_cast<unsigned long long>(seed), wrong.c_str());
        std::fflush(stdout);
        std::_Exit(1);  // operations may be under way
      }
      contents = history.contents();
    }
    device.record(nullptr);
    Judge judge{contents, {}};
    CrashOptions options;
    options.seed = seed;
    // Few states of each cut, but many histories.
    options.one_in = 12;
    options.nested_one_in = 40;
    const auto counts = for_each_crash(
        journal, options, settings.depth,
        [&](CrashImage& image, const CrashPath& path) { return judge.judge(image, path); });
    visited += counts.front().visited;
    for (std::size_t level = 1; level < counts.size(); ++level) inner += counts[level].visited;
    if (!judge.violation.empty()) {
      std::printf("history %llu: %s\n", static_cast<unsigned long long>(seed),
                  judge.violation.c_str());
      return 1;
    }
  }
  std::printf(
      "%llu crash states of %llu histories, %llu of them inside recoveries: all open to a "
      "published checkpoint with whole trees, twice, and go on\n",
      static_cast<unsigned long long>(visited + inner), static_cast<unsigned long long>(histories),
      static_cast<unsigned long long>(inner));
  return visited + inner >= settings.states ? 0 : 2;
}
