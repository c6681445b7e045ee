// The harness that cuts the power, tried on a store of 200 lines: it survives, and each rule broken
// on purpose is noticed.
#include "support/crash_enumerator.hpp"

#include <chrono>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "segment/reference_store.hpp"
#include "support/catch.hpp"
#include "support/fault_injector.hpp"
#include "support/simulated_io.hpp"

namespace {

using namespace firn;
using namespace firn::segment;
using namespace firn::test;

std::vector<std::byte> filled(std::size_t bytes, int value) {
  return std::vector<std::byte>(bytes, static_cast<std::byte>(value));
}

// The state of the reference store after each commit.
using Oracle = std::vector<ReferenceStore::Versions>;

struct History {
  Journal journal;
  Oracle oracle;
};

void create(SimulatedDevice& device) {
  SimulatedIo io;
  SimulatedBackend backend(device, {});
  ReferenceStore store(backend, io, Mistake::none);
  REQUIRE(store.create().has_value());
}

// `commit_count` commits of one to four pages each.
void run_history(History& history, Mistake mistake, std::uint64_t seed,
                 std::uint64_t commit_count) {
  SimulatedDevice device(ReferenceStore::device_bytes);
  create(device);
  history.oracle.push_back({});
  SimulatedIo io(seed);
  SimulatedOptions options;
  options.seed = seed;
  options.latency_max = std::chrono::microseconds(50);
  device.record(&history.journal, options.capabilities);
  SimulatedBackend backend(device, options);
  ReferenceStore store(backend, io, mistake);
  store.notify = [](void* context, std::uint64_t commit) {
    static_cast<Journal*>(context)->mark(topic_notified, commit);
  };
  store.notify_context = &history.journal;
  REQUIRE(store.open().has_value());
  base::Random random(seed);
  for (std::uint64_t commit = 1; commit <= commit_count; ++commit) {
    std::set<std::size_t> chosen;
    const std::size_t count = 1 + random.below(4);
    while (chosen.size() < count) chosen.insert(random.below(ReferenceStore::page_count));
    const std::vector<std::size_t> pages(chosen.begin(), chosen.end());
    history.oracle.push_back(history.oracle.back());
    for (const std::size_t page : pages) history.oracle.back()[page] = commit;
    history.journal.mark(topic_begun, commit);
    REQUIRE(store.commit(commit, pages).has_value());
    history.journal.mark(topic_notified, commit);
    io.forget();
  }
}

// notified <= recovered <= begun, and exactly the state of that commit. Empty: all is well.
std::string recover(SimulatedDevice& device, const History& history, const CrashState& state,
                    Mistake mistake) {
  SimulatedIo io;
  SimulatedBackend backend(device, {});
  ReferenceStore store(backend, io, mistake);
  const Result<void> opened = store.open();
  if (!opened.has_value()) return opened.error().message();
  const std::uint64_t found = store.commit_number();
  if (found < state.last_mark(topic_notified).value_or(0)) return "a notified commit is lost";
  if (found > state.last_mark(topic_begun).value_or(0)) return "a commit from nowhere";
  if (store.versions() != history.oracle[found]) return "not the state of any commit";
  return {};
}

struct Findings {
  std::vector<CrashCounts> counts;
  std::string first;
  std::vector<std::uint64_t> path;
};

Findings crash_all(const History& history, Mistake mistake, const CrashOptions& options,
                   unsigned depth) {
  Findings findings;
  findings.counts = for_each_crash(
      history.journal, options, depth, [&](CrashImage& image, const CrashPath& path) {
        const std::string wrong = recover(image.device(), history, *path.front(), mistake);
        if (wrong.empty()) return true;
        findings.first = wrong + "\n" + describe(path);
        for (const CrashState* state : path) findings.path.push_back(state->index);
        return false;
      });
  return findings;
}

}  // namespace

TEST_CASE("simulated: the states of a few writes are all met and only these", "[simulated]") {
  SimulatedIo io;
  SimulatedDevice device(65536);
  Journal journal;
  device.record(&journal);
  SimulatedBackend backend(device, {});
  CrashOptions options;
  options.random_state_count = 400;

  SECTION("three writes of a sector") {
    for (int at = 0; at < 3; ++at) {
      io.start_write(backend, static_cast<std::uint64_t>(at) * 512, filled(512, at + 1));
    }
    io.wait_all();
    REQUIRE(for_each_crash_image(journal, options, [](auto&, auto&) {}).states == 8);
  }
  SECTION("a sync in between") {
    REQUIRE(io.write(backend, 0, filled(512, 1)).has_value());
    REQUIRE(io.sync(backend).has_value());
    REQUIRE(io.write(backend, 512, filled(512, 2)).has_value());
    // Nothing, the first, both; never the second alone.
    std::set<std::uint64_t> hashes;
    const auto counts = for_each_crash_image(journal, options, [&](CrashImage& image, auto&) {
      std::vector<std::byte> read(1024);
      image.device().content().read(0, read);
      REQUIRE((read[512] == std::byte{0} || read[0] == std::byte{1}));
      hashes.insert(image.device().durable().hash());
    });
    REQUIRE(counts.states == 3);
    REQUIRE(counts.cuts == journal.events.size() + 1);
    REQUIRE(hashes.size() == 3);
  }
  SECTION("a sync that was submitted before the write was done covers nothing") {
    io.start_write(backend, 0, filled(512, 1));
    io.start_sync(backend);
    io.wait_all();
    io.sync(backend).value();
    journal.mark(1, 1);
    const auto counts = for_each_crash_image(journal, options, [&](auto&, const CrashState& state) {
      REQUIRE((state.cut < journal.events.size() || state.pending.empty()));
    });
    REQUIRE(counts.states == 3);  // without, with; and with after the mark
  }
  SECTION("overlapping writes in any order, torn in any way") {
    std::vector<std::byte> left = filled(1024, 1);
    std::vector<std::byte> right = filled(1024, 2);
    io.start_write(backend, 0, left);
    io.start_write(backend, 512, right);
    io.wait_all();
    // {old, 1} x {old, 1, 2} x {old, 2}
    REQUIRE(for_each_crash_image(journal, options, [](auto&, auto&) {}).states == 12);
  }
  SECTION("a write of four sectors tears in every way") {
    io.start_write(backend, 0, filled(2048, 1));
    io.wait_all();
    options.random_tear_count = 200;
    REQUIRE(for_each_crash_image(journal, options, [](auto&, auto&) {}).states == 16);
  }
  SECTION("growth may be lost with what lies beyond") {
    REQUIRE(io.grow(backend, 131072).has_value());
    REQUIRE(io.write(backend, 65536, filled(512, 1)).has_value());
    const auto counts = for_each_crash_image(journal, options, [&](CrashImage& image, auto&) {
      const SectorImage& content = image.device().content();
      REQUIRE((content.size() == 131072 || content.used_bytes() == 0));
    });
    REQUIRE(counts.states == 3);
  }
  SECTION("a mark tells equal media apart") {
    REQUIRE(io.write(backend, 0, filled(512, 1)).has_value());
    journal.mark(7, 5);
    std::vector<std::uint64_t> values;
    const auto counts = for_each_crash_image(journal, options, [&](auto&, const CrashState& state) {
      values.push_back(state.last_mark(7).value_or(0));
    });
    REQUIRE(counts.states == 4);
    REQUIRE(std::count(values.begin(), values.end(), 5u) == 2);
  }
}

TEST_CASE("simulated: two devices are cut at the same moment", "[simulated]") {
  SimulatedIo io;
  SimulatedDevice first(65536);
  SimulatedDevice second(65536);
  Journal journal;
  first.record(&journal);
  second.record(&journal);
  SimulatedBackend one(first, {});
  SimulatedBackend two(second, {});
  REQUIRE(io.write(one, 0, filled(512, 1)).has_value());
  REQUIRE(io.sync(two).has_value());  // covers nothing of the other device
  REQUIRE(io.write(two, 0, filled(512, 1)).has_value());
  const auto counts = for_each_crash_image(
      journal, {}, [](CrashImage& image, auto&) { REQUIRE(image.device_count() == 2); });
  REQUIRE(counts.states == 4);
}

TEST_CASE("simulated: a correct store survives every crash and every crash of its recovery",
          "[simulated]") {
  CrashOptions options;
  std::vector<CrashCounts> sum(2);
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    History history;
    run_history(history, Mistake::none, seed, 30);
    options.seed = seed;
    options.nested_one_in = 4;
    const Findings findings = crash_all(history, Mistake::none, options, 2);
    INFO(findings.first);
    REQUIRE(findings.first.empty());
    for (std::size_t level = 0; level < 2; ++level) sum[level].add(findings.counts[level]);
  }
  REQUIRE(sum[0].visited > 5000);
  REQUIRE(sum[1].visited > 5000);
  std::printf(
      "simulated: seeds 1 to 10: %llu cuts, %llu states recovered, %llu more inside recovery\n",
      static_cast<unsigned long long>(sum[0].cuts), static_cast<unsigned long long>(sum[0].visited),
      static_cast<unsigned long long>(sum[1].visited));
}

TEST_CASE("simulated: each broken rule of the reference store is found", "[simulated]") {
  struct Planted {
    Mistake mistake;
    const char* name;
    unsigned depth;
  };
  const Planted planted[] = {
      {Mistake::no_sync_before_superblock, "no sync before the superblock", 1},
      {Mistake::sync_before_writes_complete, "sync submitted before the writes completed", 1},
      {Mistake::reuse_before_publication, "location reused too early", 1},
      {Mistake::torn_superblock_ignored, "torn superblock taken as whole", 1},
      {Mistake::one_superblock_place, "superblock overwritten in place", 1},
      {Mistake::notified_before_sync, "notified before the sync", 1},
      {Mistake::recovery_overwrites_newest, "recovery overwrites the newest superblock", 2},
  };
  for (const Planted& bug : planted) {
    History history;
    run_history(history, bug.mistake, 1, 12);
    CrashOptions options;
    const Findings findings = crash_all(history, bug.mistake, options, bug.depth);
    INFO(bug.name);
    REQUIRE(!findings.first.empty());
    REQUIRE(findings.path.size() == bug.depth);
    std::printf("simulated: found after %llu states: %s\n",
                static_cast<unsigned long long>(findings.counts[0].visited), bug.name);
    // The indices alone lead back to the same crash.
    options.only = findings.path;
    const Findings again = crash_all(history, bug.mistake, options, bug.depth);
    REQUIRE(again.first == findings.first);
    if (bug.depth > 1) {
      REQUIRE(crash_all(history, bug.mistake, {}, 1).first.empty());
    }
  }
}

TEST_CASE("simulated: seed and index make the same crash image again", "[simulated]") {
  History history;
  run_history(history, Mistake::none, 9, 6);
  CrashOptions options;
  options.seed = 5;
  std::vector<std::uint64_t> hashes;
  for_each_crash_image(history.journal, options, [&](CrashImage& image, const CrashState& state) {
    REQUIRE(state.index == hashes.size());
    hashes.push_back(image.device().durable().hash());
  });
  for (std::uint64_t index = 0; index < hashes.size(); index += 97) {
    options.only = {index};
    const auto counts =
        for_each_crash_image(history.journal, options, [&](CrashImage& image, auto&) {
          REQUIRE(image.device().durable().hash() == hashes[index]);
        });
    REQUIRE(counts.visited == 1);
  }
  options.only.clear();
  options.one_in = 10;
  const auto counts = for_each_crash_image(history.journal, options, [](auto&, auto&) {});
  REQUIRE(counts.states == hashes.size());
  REQUIRE(counts.visited > hashes.size() / 20);
  REQUIRE(counts.visited < hashes.size() / 5);
}

TEST_CASE("simulated: many crash states a second", "[simulated]") {
  for (const std::uint64_t bytes : {std::uint64_t{64} << 10, std::uint64_t{1} << 20}) {
    SimulatedIo io;
    SimulatedDevice device(bytes);
    base::Random random(4);
    std::vector<std::byte> page(4096);
    const auto write = [&](Backend& backend) {
      for (std::byte& byte : page) byte = static_cast<std::byte>(random.next());
      io.start_write(backend, random.below(bytes / 4096) * 4096, page);
    };
    Journal journal;
    SimulatedBackend backend(device, {});
    for (std::uint64_t at = 0; at < bytes / 4096; ++at) write(backend);
    io.wait_all();
    REQUIRE(io.sync(backend).has_value());
    device.record(&journal);
    for (int round = 0; round < 24; ++round) {
      for (std::uint64_t count = 1 + random.below(8); count > 0; --count) write(backend);
      io.wait_all();
      REQUIRE(io.sync(backend).has_value());
      io.forget();
    }
    const auto start = std::chrono::steady_clock::now();
    std::uint64_t sum = 0;
    const auto counts = for_each_crash_image(
        journal, {}, [&](CrashImage& image, auto&) { sum += image.device().durable().hash(); });
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("simulated: images of %llu KiB: %llu states, %.0f states/s, %.0f candidates/s\n",
                static_cast<unsigned long long>(bytes >> 10),
                static_cast<unsigned long long>(counts.states),
                static_cast<double>(counts.states) / seconds,
                static_cast<double>(counts.candidates) / seconds);
    REQUIRE(counts.states > 5000);
    REQUIRE(sum != 0);
  }
}

TEST_CASE("simulated: the reference store with each request failing in each way", "[simulated]") {
  std::uint64_t errors = 0;
  std::uint64_t corrupt = 0;
  const auto workload = [&](std::span<const FaultRule> faults, const FailurePoint* point) {
    INFO((point == nullptr ? "no failure" : point->describe()));
    SimulatedDevice device(ReferenceStore::device_bytes);
    create(device);
    Oracle oracle{{}};
    std::uint64_t notified = 0;
    std::uint64_t begun = 0;
    std::uint64_t injected = 0;
    bool failed = false;
    {
      SimulatedIo io(2);
      SimulatedOptions options;
      options.faults.assign(faults.begin(), faults.end());
      SimulatedBackend backend(device, options);
      ReferenceStore store(backend, io, Mistake::none);
      Result<void> outcome = store.open();
      base::Random random(2);
      while (outcome.has_value() && begun < 6) {
        const std::size_t pages[] = {random.below(4), 4 + random.below(4)};
        ++begun;
        oracle.push_back(oracle.back());
        for (const std::size_t page : pages) oracle.back()[page] = begun;
        outcome = store.commit(begun, pages);
        if (outcome.has_value()) notified = begun;
      }
      failed = !outcome.has_value();
      errors += failed ? 1 : 0;
      REQUIRE((!failed || point != nullptr));
      injected = backend.faults().size();
      backend.power_off();
      io.wait_all();
    }
    device.drop_pending();
    SimulatedIo io;
    SimulatedBackend backend(device, {});
    ReferenceStore store(backend, io, Mistake::none);
    const Result<void> opened = store.open();
    if (point == nullptr || is_honest(point->kind)) {
      REQUIRE(opened.has_value());
      REQUIRE(store.commit_number() >= notified);
    } else if (!opened.has_value()) {
      REQUIRE(opened.error().code == ErrorCode::corrupt);
      ++corrupt;
      return injected;
    }
    REQUIRE(store.commit_number() <= begun);
    REQUIRE(store.versions() == oracle[store.commit_number()]);
    return injected;
  };
  const FailureCounts counts = for_each_failure_point({}, workload);
  REQUIRE(counts.points > 300);
  REQUIRE(errors > 100);
  REQUIRE(corrupt > 10);
  std::printf("simulated: %llu failure points: %llu clean errors, %llu reported as corrupt\n",
              static_cast<unsigned long long>(counts.points),
              static_cast<unsigned long long>(errors), static_cast<unsigned long long>(corrupt));
}
