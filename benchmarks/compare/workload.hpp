// The workloads: which operations in which proportion on which records, run by some threads for
// some time against any engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine.hpp"
#include "histogram.hpp"
#include "numbers.hpp"

namespace comparison {

enum class Choice : std::uint8_t { uniform, zipfian, latest };

/// Shares are in percent of the operations; what is left of a hundred are reads.
struct Workload {
  std::string_view name;
  Choice choice = Choice::uniform;
  unsigned update_share = 0;
  unsigned insert_share = 0;
  unsigned scan_share = 0;
  unsigned modify_share = 0;         ///< read, then update
  std::uint64_t scan_pairs_max = 0;  ///< of each scan
  bool scan_length_drawn = false;    ///< from 1 to the maximum; else always the maximum
  bool missing = false;              ///< reads keys that are not there
  bool transactions = false;         ///< updates are transactions
  unsigned in_flight = 0;            ///< lookups under way on each thread, if not 0
  Durability durability = Durability::none;

  [[nodiscard]] bool writes() const noexcept {
    return update_share + insert_share + modify_share > 0;
  }
};

/// All but the loads.
[[nodiscard]] std::span<const Workload> all_workloads() noexcept;
[[nodiscard]] const Workload* find_workload(std::string_view name) noexcept;

/// The numbers that are there: those of the load, and what threads have inserted since.
class Numbers {
 public:
  Numbers(std::uint64_t count, unsigned threads_max);
  /// A number to insert by this thread, which says when it has done so.
  [[nodiscard]] std::uint64_t claim(unsigned thread) noexcept;
  void inserted(unsigned thread) noexcept;
  /// All below it are there.
  [[nodiscard]] std::uint64_t end() const noexcept;
  [[nodiscard]] std::uint64_t loaded() const noexcept { return loaded_; }

 private:
  static constexpr std::uint64_t nothing = ~std::uint64_t{0};
  struct alignas(64) Pending {
    std::atomic<std::uint64_t> from{nothing};  // not below what the thread is inserting
  };
  const std::uint64_t loaded_;
  alignas(64) std::atomic<std::uint64_t> next_;
  std::vector<Pending> pending_;
};

struct Outcome {
  std::uint64_t operations = 0;
  std::uint64_t written_user_bytes = 0;
  Histogram times;

  void add(const Outcome& other) noexcept {
    operations += other.operations;
    written_user_bytes += other.written_user_bytes;
    times.add(other.times);
  }
};

/// Called on the thread that began the run: once all threads are ready, and once all have ended,
/// when their sessions are still open.
struct RunNotices {
  virtual ~RunNotices() = default;
  virtual void begun() {}
  virtual void ended() {}
};

struct RunPlan {
  unsigned threads = 1;
  double seconds = 1;
  std::uint64_t seed = 1;
  unsigned timed_each = 1;  ///< one of so many operations is timed
};

/// Runs the workload; wrong answers end the program.
[[nodiscard]] Outcome run_workload(Engine& engine, const Settings& settings,
                                   const Workload& workload, Numbers& numbers, const RunPlan& plan,
                                   RunNotices& notices);

/// Puts the numbers below the count, until it has taken so long; how many it has put.
[[nodiscard]] Outcome run_load(Session& session, const Settings& settings, std::uint64_t seed,
                               double seconds_max);

/// Reads every pair once.
void read_all(Session& session, const Settings& settings);

}  // namespace comparison
