#include "workload.hpp"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <optional>
#include <thread>

#include <fmt/format.h>

namespace comparison {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t missing_bit = std::uint64_t{1} << 62;  // no record's number has it

constexpr Workload workloads[] = {
    {.name = "get-uniform"},
    {.name = "get-zipf", .choice = Choice::zipfian},
    {.name = "get-missing", .missing = true},
    {.name = "scan-100", .scan_share = 100, .scan_pairs_max = 100},
    {.name = "overwrite-uniform", .update_share = 100},
    {.name = "overwrite-zipf", .choice = Choice::zipfian, .update_share = 100},
    {.name = "ycsb-a", .choice = Choice::zipfian, .update_share = 50},
    {.name = "ycsb-b", .choice = Choice::zipfian, .update_share = 5},
    {.name = "ycsb-c", .choice = Choice::zipfian},
    {.name = "ycsb-d", .choice = Choice::latest, .insert_share = 5},
    {.name = "ycsb-e",
     .choice = Choice::zipfian,
     .insert_share = 5,
     .scan_share = 95,
     .scan_pairs_max = 100,
     .scan_length_drawn = true},
    {.name = "ycsb-f", .choice = Choice::zipfian, .modify_share = 50},
    {.name = "get-in-flight-64", .in_flight = 64},
    {.name = "tx-async",
     .update_share = 100,
     .transactions = true,
     .durability = Durability::async},
    {.name = "commit-sync",
     .update_share = 100,
     .transactions = true,
     .durability = Durability::sync},
};

std::uint64_t nanoseconds_since(Clock::time_point begun) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begun).count());
}

// What all threads of a run share: constant but for the flag.
struct Shared {
  const Settings& settings;
  const Workload& workload;
  const RunPlan& plan;
  Numbers& numbers;
  ScrambledZipfian zipfian;
  std::optional<Zipfian> latest;
  std::atomic<bool> stopped{false};
};

// One thread's part.
class Worker final : public LookupSource {
 public:
  Worker(Shared& shared, Session& session, unsigned thread)
      : shared_(shared),
        workload_(shared.workload),
        session_(session),
        thread_(thread),
        random_(shared.plan.seed * 1'000'003 + thread),
        values_(shared.settings.shape.value_size, shared.plan.seed + thread) {}

  void run() {
    if (workload_.in_flight > 0) return session_.get_in_flight(workload_.in_flight, *this);
    const unsigned timed_each = shared_.plan.timed_each;
    while (!shared_.stopped.load(std::memory_order_relaxed)) {
      if (outcome_.operations++ % timed_each != 0) {
        one();
        continue;
      }
      const auto begun = Clock::now();
      one();
      outcome_.times.add(nanoseconds_since(begun));
    }
  }
  [[nodiscard]] const Outcome& outcome() const noexcept { return outcome_; }

  bool next(Lookup& lookup) override {
    if (shared_.stopped.load(std::memory_order_relaxed)) return false;
    lookup.number = choose();
    lookup.timed = outcome_.operations++ % shared_.plan.timed_each == 0;
    return true;
  }
  void done(const Lookup& lookup, bool right, std::uint64_t nanoseconds) override {
    if (!right) wrong(lookup.number);
    if (lookup.timed) outcome_.times.add(nanoseconds);
  }
  [[nodiscard]] const PairShape& shape() const override { return shared_.settings.shape; }

 private:
  void one() {
    std::uint64_t lot = random_.below(100);
    const auto falls_on = [&lot](unsigned share) {
      if (lot < share) return true;
      lot -= share;
      return false;
    };
    if (falls_on(workload_.update_share)) return update(choose());
    if (falls_on(workload_.insert_share)) return insert();
    if (falls_on(workload_.scan_share)) return scan();
    const std::uint64_t number = choose();
    read(number);
    if (falls_on(workload_.modify_share)) update(number);
  }

  std::uint64_t choose() {
    switch (workload_.choice) {
      case Choice::uniform:
        return random_.below(shared_.numbers.loaded());
      case Choice::zipfian:
        return shared_.zipfian.draw(random_);
      case Choice::latest:
        break;
    }
    const std::uint64_t end = shared_.numbers.end();
    return end - 1 - std::min(shared_.latest->draw(random_), end - 1);
  }

  void read(std::uint64_t number) {
    if (workload_.missing) number |= missing_bit;
    ValueCheck check{number, shape()};
    const bool found = session_.get(Key(number, shape().order).view(), check);
    if (found == workload_.missing || check.right == workload_.missing) wrong(number);
  }
  void update(std::uint64_t number) {
    const Key key(number, shape().order);
    const std::string_view value = values_.make(number, random_.next());
    if (workload_.transactions) {
      session_.transact(key.view(), value);
    } else {
      session_.put(key.view(), value);
    }
    outcome_.written_user_bytes += key_size + value.size();
  }
  void insert() {
    const std::uint64_t number = shared_.numbers.claim(thread_);
    update(number);
    shared_.numbers.inserted(thread_);
  }
  void scan() {
    const std::uint64_t count = workload_.scan_length_drawn
                                    ? 1 + random_.below(workload_.scan_pairs_max)
                                    : workload_.scan_pairs_max;
    const std::uint64_t number = choose();
    PairCheck check{shape()};
    const std::uint64_t seen = session_.scan(Key(number, shape().order).view(), count, check);
    if (seen == 0 || !check.right) wrong(number);
  }
  [[noreturn]] void wrong(std::uint64_t number) {
    stop("wrong answer", fmt::format("{}, record {}", workload_.name, number));
  }

  Shared& shared_;
  const Workload& workload_;
  Session& session_;
  const unsigned thread_;
  Random random_;
  ValueMaker values_;
  Outcome outcome_;
};

}  // namespace

std::span<const Workload> all_workloads() noexcept { return workloads; }

const Workload* find_workload(std::string_view name) noexcept {
  const auto* const found = std::find_if(std::begin(workloads), std::end(workloads),
                                         [&](const Workload& one) { return one.name == name; });
  return found == std::end(workloads) ? nullptr : found;
}

Numbers::Numbers(std::uint64_t count, unsigned threads_max)
    : loaded_(count), next_(count), pending_(threads_max) {}

// The lower bound is shown before the number is taken: who sees the number taken sees the bound.
std::uint64_t Numbers::claim(unsigned thread) noexcept {
  pending_[thread].from.store(next_.load());
  return next_.fetch_add(1);
}

void Numbers::inserted(unsigned thread) noexcept { pending_[thread].from.store(nothing); }

std::uint64_t Numbers::end() const noexcept {
  std::uint64_t end = next_.load();
  for (const Pending& pending : pending_) end = std::min(end, pending.from.load());
  return end;
}

Outcome run_workload(Engine& engine, const Settings& settings, const Workload& workload,
                     Numbers& numbers, const RunPlan& plan, RunNotices& notices) {
  Shared shared{settings, workload, plan, numbers, ScrambledZipfian(numbers.loaded()), {}};
  if (workload.choice == Choice::latest) shared.latest.emplace(numbers.end());
  std::vector<Outcome> outcomes(plan.threads);
  std::barrier together(static_cast<std::ptrdiff_t>(plan.threads) + 1);
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < plan.threads; ++thread) {
    threads.emplace_back([&, thread] {
      const auto session = engine.session();
      Worker worker(shared, *session, thread);
      together.arrive_and_wait();  // ready
      together.arrive_and_wait();  // go
      worker.run();
      together.arrive_and_wait();
      outcomes[thread] = worker.outcome();
    });
  }
  together.arrive_and_wait();
  notices.begun();
  together.arrive_and_wait();
  std::this_thread::sleep_for(std::chrono::duration<double>(plan.seconds));
  shared.stopped.store(true);
  together.arrive_and_wait();
  notices.ended();
  for (std::thread& thread : threads) thread.join();
  Outcome all;
  for (const Outcome& outcome : outcomes) all.add(outcome);
  return all;
}

Outcome run_load(Session& session, const Settings& settings, std::uint64_t seed,
                 double seconds_max) {
  constexpr std::uint64_t pairs_between_looks = 64;
  Outcome outcome;
  Random random(seed);
  ValueMaker values(settings.shape.value_size, seed);
  const auto end = Clock::now() + std::chrono::duration<double>(seconds_max);
  for (std::uint64_t number = 0; number < settings.pair_count; ++number) {
    if (number % pairs_between_looks == 0 && Clock::now() >= end) break;
    const Key key(number, settings.shape.order);
    session.load(key.view(), values.make(number, random.next()));
    ++outcome.operations;
    outcome.written_user_bytes += key_size + settings.shape.value_size;
  }
  session.finish_load();
  return outcome;
}

void read_all(Session& session, const Settings& settings) {
  PairCheck check{settings.shape};
  const std::uint64_t seen = session.scan({}, ~std::uint64_t{0}, check);
  expect(seen >= settings.pair_count && check.right, "a scan met the wrong pairs",
         fmt::format("{} of {}", seen, settings.pair_count));
}

}  // namespace comparison
