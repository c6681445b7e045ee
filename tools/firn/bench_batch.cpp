// Lookups one by one against as many in batches, with the whole table in memory: by turns, so that
// both meet the same machine.
#include <algorithm>
#include <random>

#include <fmt/format.h>

#include "load.hpp"

namespace firn::cli {
namespace {

constexpr int paired_rounds = 5;

// Random pairs of the file, looked for until the time is over.
class Looker {
 public:
  Looker(const BenchOptions& options, DataFile& file)
      : file_(file),
        random_(options.seed),
        seconds_(options.seconds / (2 * paired_rounds)),
        numbers_(options.batch),
        encoded_(options.batch),
        keys_(options.batch),
        records_(options.batch) {}

  /// Lookups per second.
  Result<double> measure(bool in_batches) {
    const auto begun = Clock::now();
    const auto end = begun + std::chrono::duration<double>(seconds_);
    std::uint64_t count = 0;
    Clock::time_point now;
    do {
      for (std::size_t index = 0; index < keys_.size(); ++index) {
        numbers_[index] = random_() % file_.pair_count();
        encoded_[index] = key_of(numbers_[index]);
        keys_[index] = Bytes(encoded_[index]);
      }
      if (in_batches) {
        FIRN_TRY(file_.table().lookup_batch(keys_, records_).wait());
      } else {
        for (std::size_t index = 0; index < keys_.size(); ++index) {
          FIRN_TRY_ASSIGN(records_[index], file_.table().lookup(keys_[index]).wait());
        }
      }
      for (std::size_t index = 0; index < keys_.size(); ++index) {
        if (!records_[index] || !is_record_of(numbers_[index], Bytes(*records_[index]))) {
          return fail(ErrorCode::corrupt, "pair {} has another record", numbers_[index]);
        }
      }
      count += keys_.size();
      now = Clock::now();
    } while (now < end);
    return static_cast<double>(count) / std::chrono::duration<double>(now - begun).count();
  }

 private:
  DataFile& file_;
  std::mt19937_64 random_;
  const double seconds_;
  std::vector<std::uint64_t> numbers_;
  std::vector<PairKey> encoded_;
  std::vector<Bytes> keys_;
  std::vector<std::optional<std::string>> records_;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Result<void> run_batch(const BenchOptions& options, const Emit& emit) {
  DataFile file(options);
  FIRN_TRY(file.open_filled());
  {
    auto cursor = file.table().cursor();
    while (true) {
      FIRN_TRY_ASSIGN(const bool at_pair, cursor.next().wait());
      if (!at_pair) break;
    }
  }
  Looker looker(options, file);
  std::vector<double> single;
  std::vector<double> batched;
  std::vector<double> ratios;
  for (int round = 0; round < paired_rounds; ++round) {
    FIRN_TRY_ASSIGN(const double alone, looker.measure(false));
    FIRN_TRY_ASSIGN(const double together, looker.measure(true));
    single.push_back(alone);
    batched.push_back(together);
    ratios.push_back(together / alone);
  }
  const nlohmann::ordered_json line = {{"bench", "batch"},
                                       {"pairs", file.pair_count()},
                                       {"batch", options.batch},
                                       {"single_per_second", median(single)},
                                       {"batched_per_second", median(batched)},
                                       {"ratio", median(ratios)}};
  emit(line,
       fmt::format("batch: {:.0f} lookups/s one by one, {:.0f} in batches of {}: {:.2f} times",
                   median(single), median(batched), options.batch, median(ratios)));
  return file.close();
}

}  // namespace

const Bench batch_bench = {"batch", "lookups one by one against batches, all in memory", run_batch};

}  // namespace firn::cli
