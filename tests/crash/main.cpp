// Every crash of random page histories: each medium that a power cut can leave must open to exactly
// a published checkpoint, the same one when it is opened again, and go on working.
// Every other history has several segments, which come and go while images move between them.
//   firn_crash [--seed N] [--states N] [--seconds N] [--depth 1|2]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "crash/harness.hpp"
#include "crash/page_history.hpp"
#include "support/crash_enumerator.hpp"

namespace {

using namespace firn;
using namespace firn::test;

struct Settings {
  std::uint64_t seed = 1;
  std::uint64_t states = 110'000;
  unsigned seconds = 3600;
  unsigned depth = 1;
};

struct Judge {
  const std::vector<Content>& contents;
  std::string violation;

  bool reject(const CrashPath& path, const std::string& what) {
    violation = what + "\n  " + describe(path);
    return false;
  }

  // One opening: says which content it found, or why it is wrong.
  std::string open(const std::vector<segment::SimulatedDevice*>& devices, std::uint64_t seed,
                   std::uint64_t& content, bool go_on) {
    SimulatedExecutor executor(seed);
    segment::SimulatedBackend backend(*devices.front(), device_options(seed));
    FurtherSegments further(executor.core());
    add_further_devices(further, {devices.begin() + 1, devices.end()}, seed);
    std::string wrong;
    const bool ended = executor.run([&]() noexcept {
      store::StoreOptions options = history_options;
      options.source = &further;
      auto opened = Store::open(executor.core(), backend, options);
      if (!opened.has_value()) {
        wrong = "does not open: " + opened.error().message();
        return;
      }
      Store& store = **opened;
      content = content_of(store.payload());
      if (content >= contents.size()) {
        wrong = "a payload of no checkpoint";
        return;
      }
      store.check_well_formed();
      wrong = differs_from(store, executor.core(), contents[content]);
      if (wrong.empty() && go_on) wrong = work_on(store, executor.core(), contents[content], seed);
    });
    return ended ? wrong : "opening got stuck";
  }

  // Writes, frees and publishes; what another opening finds then is looked at by `open_again`.
  std::string work_on(Store& store, runtime::ExecutorCore& core, Content content,
                      std::uint64_t seed) {
    base::Random random(seed);
    std::vector<std::uint8_t> places;
    const auto segments = store.segments();
    FIRN_ASSERT(segments.has_value());
    for (const store::SegmentStatus& status : *segments) {
      if (!status.record.is_volatile) places.push_back(status.record.id);
    }
    for (std::uint64_t round = 0; round < 2; ++round) {
      for (auto& [page, generation] : content) {
        generation = 1'000'000 + round * 1000 + random.below(1000);
        const std::uint8_t place = places[random.below(places.size())];
        if (auto written = write_page(store, core, page, generation, store.number(), place);
            !written.has_value()) {
          return "takes no write: " + written.error().message();
        }
      }
      const std::uint64_t number = store.begin_checkpoint();
      if (auto published = store.publish(core, number, payload_of(0)); !published.has_value()) {
        return "publishes nothing: " + published.error().message();
      }
      store.check_well_formed();
    }
    return differs_from(store, core, content);
  }

  bool judge(CrashImage& image, const CrashPath& path) {
    const CrashState& crash = *path.front();
    std::vector<segment::SimulatedDevice*> devices;
    std::vector<std::unique_ptr<segment::SimulatedDevice>> untouched;
    for (std::size_t index = 0; index < image.device_count(); ++index) {
      devices.push_back(&image.device(index));
      untouched.push_back(
          std::make_unique<segment::SimulatedDevice>(image.device(index).content()));
    }
    std::uint64_t first = 0;
    if (const std::string wrong = open(devices, crash.index, first, false); !wrong.empty()) {
      const bool created = crash.last_mark(topic_published).has_value();
      // Before the first checkpoint is published there may be no domain yet, but nothing else.
      if (!created && (wrong.find("holds no Firn domain") != std::string::npos ||
                       wrong.find("no superblock is whole") != std::string::npos)) {
        return true;
      }
      return reject(path, wrong);
    }
    if (const auto published = crash.last_mark(topic_published); published && first < *published) {
      return reject(path, "an older checkpoint than one that was published");
    }
    if (const auto begun = crash.last_mark(topic_begun); begun && first > *begun) {
      return reject(path, "a checkpoint that had not begun");
    }
    std::vector<segment::SimulatedDevice*> again;
    for (const auto& device : untouched) again.push_back(device.get());
    std::uint64_t second = 0;
    if (const std::string wrong = open(again, crash.index + 1, second, true); !wrong.empty()) {
      return reject(path, "the second time: " + wrong);
    }
    if (first != second) return reject(path, "two openings find two checkpoints");
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
    segment::SimulatedDevice device(history_bytes);
    segment::Journal journal;
    device.record(&journal);
    const bool several = seed % 2 == 0;
    std::vector<std::unique_ptr<segment::SimulatedDevice>> others;
    std::vector<segment::SimulatedDevice*> further_devices;
    for (std::size_t index = 0; several && index < further_device_count; ++index) {
      others.push_back(std::make_unique<segment::SimulatedDevice>(further_bytes));
      others.back()->record(&journal);
      further_devices.push_back(others.back().get());
    }
    std::vector<Content> contents;
    {
      SimulatedExecutor executor(seed);
      segment::SimulatedBackend backend(device, device_options(seed));
      FurtherSegments further(executor.core());
      further.destroys = true;
      add_further_devices(further, further_devices, seed);
      PageHistory::Options history_of;
      history_of.seed = seed;
      if (several) {
        history_of.further = &further;
        history_of.checkpoints = 10;
      }
      PageHistory history(backend, executor, history_of);
      Result<void> ran;
      const bool ended = executor.run([&]() noexcept { ran = history.run(); });
      if (!ended || !ran.has_value()) {
        std::printf("history %llu: %s\n", static_cast<unsigned long long>(seed),
                    ended ? ran.error().message().c_str() : "got stuck");
        return 1;
      }
      contents = history.contents();
    }
    device.record(nullptr);
    for (const auto& other : others) other->record(nullptr);
    Judge judge{contents, {}};
    CrashOptions options;
    options.seed = seed;
    // Few states of each cut, but many histories.
    options.one_in = 3;
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
      "published checkpoint, twice, and go on\n",
      static_cast<unsigned long long>(visited + inner), static_cast<unsigned long long>(histories),
      static_cast<unsigned long long>(inner));
  return visited + inner >= settings.states ? 0 : 2;
}
