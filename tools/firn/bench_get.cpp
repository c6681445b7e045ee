// Random lookups in a database that was just opened, many in flight in each thread: `get` as the
// options say, `in-flight` with ever more of them.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "load.hpp"

namespace firn::cli {
namespace {

// What a lookup shows has to be the record of its key.
struct Check {
  const std::uint64_t* number;
  std::uint64_t* wrong_count;
  void operator()(Bytes record) const noexcept {
    if (!is_record_of(*number, record)) ++*wrong_count;
  }
};

// One thread's lookups.
class Getter {
 public:
  Getter(const BenchOptions& options, std::uint32_t in_flight, std::uint32_t thread,
         Executor executor)
      : executor_(std::move(executor)),
        flight_(in_flight, in_flight == 1),
        random_(options.seed * 1'000'003 + thread) {}

  template <class Look>
  Result<void> run(DataFile& file, Look&& look) {
    const auto one = [&](auto& slot) noexcept {
      if (stopped_.load(std::memory_order_relaxed)) return false;
      slot.number = random_() % file.pair_count();
      slot.key = key_of(slot.number);
      slot.operation.emplace(file.table().core(), nullptr, Bytes(slot.key),
                             Check{&slot.number, &wrong_count_});
      return true;
    };
    FIRN_TRY(flight_.run(executor_, one, look));
    const std::uint64_t bad = flight_.vain_count() + wrong_count_;
    if (bad == 0) return {};
    return fail(ErrorCode::corrupt, "{} lookups did not find their record", bad);
  }
  void stop() noexcept { stopped_.store(true); }
  [[nodiscard]] std::uint64_t count() const noexcept { return flight_.count(); }
  [[nodiscard]] const Times& times() const noexcept { return flight_.times(); }

 private:
  Executor executor_;
  Flight<ReadOperation<BytesType, Check>> flight_;
  std::mt19937_64 random_;
  std::uint64_t wrong_count_ = 0;
  std::atomic<bool> stopped_{false};
};

Result<void> measure(const BenchOptions& options, DataFile& file, std::string_view name,
                     std::uint32_t in_flight, const Emit& emit) {
  std::vector<std::unique_ptr<Getter>> getters;
  for (std::uint32_t thread = 0; thread < options.threads; ++thread) {
    FIRN_TRY_ASSIGN(auto executor, Executor::create());
    getters.push_back(std::make_unique<Getter>(options, in_flight, thread, std::move(executor)));
  }
  FIRN_TRY(file.open_filled());
  file.begin();
  const auto end = Clock::now() + std::chrono::duration<double>(options.seconds);
  std::vector<Result<void>> outcomes(options.threads);
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 1; thread < options.threads; ++thread) {
    threads.emplace_back(
        [&, thread] { outcomes[thread] = getters[thread]->run(file, []() noexcept {}); });
  }
  outcomes[0] = getters[0]->run(file, [&]() noexcept {
    file.look();
    if (Clock::now() >= end) getters[0]->stop();
  });
  for (const auto& getter : getters) getter->stop();
  for (std::thread& thread : threads) thread.join();
  file.end();
  for (const Result<void>& outcome : outcomes) FIRN_TRY(outcome);
  std::uint64_t count = 0;
  Times times;
  for (const auto& getter : getters) {
    count += getter->count();
    times.add(getter->times());
  }
  file.emit(emit, name, "lookups", count, times,
            {{"threads", options.threads}, {"in_flight", in_flight}});
  return file.close();
}

Result<void> run_get(const BenchOptions& options, const Emit& emit) {
  DataFile file(options);
  return measure(options, file, "get", options.in_flight, emit);
}

Result<void> run_in_flight(const BenchOptions& options, const Emit& emit) {
  DataFile file(options);
  for (const std::uint32_t in_flight : {1U, 4U, 16U, 64U, 256U, 1000U, 4000U, 10000U}) {
    FIRN_TRY(measure(options, file, "in-flight", in_flight, emit));
  }
  return {};
}

}  // namespace

const Bench get_bench = {"get", "random lookups, none of the table in memory at first", run_get};
const Bench in_flight_bench = {"in-flight", "get with ever more lookups in flight", run_in_flight};

}  // namespace firn::cli
