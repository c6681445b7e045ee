// What the benchmarks over a table share: the pairs they write and read, the database file with
// them, and operations in flight on an executor.
//
// A Flight belongs to one thread; a DataFile's handles may be used by several.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <firn/firn.hpp>

#include "bench.hpp"

namespace firn::cli {

using Clock = std::chrono::steady_clock;

/// Numbers below a count in an order that looks random: each once.
class Permutation {
 public:
  Permutation(std::uint64_t count, std::uint64_t seed) noexcept;
  [[nodiscard]] std::uint64_t operator()(std::uint64_t index) const noexcept;

 private:
  std::uint64_t count_;
  std::uint64_t seed_;
  unsigned half_bits_ = 1;
};

using PairKey = std::array<std::byte, 8>;
/// Big endian, so that keys are in the order of their numbers.
[[nodiscard]] PairKey key_of(std::uint64_t number) noexcept;
/// Whether this is the record that belongs to the number.
[[nodiscard]] bool is_record_of(std::uint64_t number, Bytes record) noexcept;

/// The process's own resident bytes; files' pages are not among them.
[[nodiscard]] std::uint64_t resident_bytes() noexcept;
/// Seconds of all processors that the process has used.
[[nodiscard]] double processor_seconds() noexcept;

/// Times of single operations: counts by their leading bits, so within 6 % of what they were.
class Times {
 public:
  void add(const Times& other) noexcept;
  void add(Clock::duration time) noexcept;
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Microseconds that so large a part of all took at most.
  [[nodiscard]] double quantile(double part) const noexcept;

 private:
  static constexpr unsigned fine_bits = 3;
  std::array<std::uint64_t, 64 << fine_bits> counts_{};
  std::uint64_t count_ = 0;
};

using PairTable = Table<BytesType>;

/// A native domain with one table of the pairs that the options ask for.
class DataFile {
 public:
  explicit DataFile(const BenchOptions& options) noexcept;
  ~DataFile();
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;

  /// A file without the table, opened. `already_exists` where something else is.
  Result<void> create();
  /// Opens it with nothing in memory; fills it before, unless it is there with these pairs.
  Result<void> open_filled();
  /// Writes all pairs.
  Result<void> fill(bool in_order);
  Result<void> close();

  [[nodiscard]] Domain& domain() noexcept { return domain_; }
  [[nodiscard]] PairTable& table() noexcept { return table_; }
  [[nodiscard]] std::uint64_t pair_count() const noexcept { return pair_count_; }
  [[nodiscard]] std::uint64_t user_bytes() const noexcept {
    return pair_count_ * (sizeof(PairKey) + options_.value_size);
  }
  /// Looks how much is resident, now and then.
  void look() noexcept;

  /// From now on: what the figures below are about.
  void begin() noexcept;
  void end() noexcept;
  [[nodiscard]] double seconds() const noexcept { return seconds_; }
  /// To devices; the close included, if end() came after it.
  [[nodiscard]] std::uint64_t written_bytes() const noexcept;
  /// One line of results about so many operations: what all these benchmarks tell, then `more`.
  void emit(const Emit& emit, std::string_view bench, std::string_view noun,
            std::uint64_t operations, const Times& times, const nlohmann::ordered_json& more) const;

 private:
  Result<void> open();
  Result<void> open_table();

  const BenchOptions& options_;
  const std::uint64_t pair_count_;
  std::string path_;
  bool temporary_ = false;
  bool made_ = false;
  Domain domain_;
  PairTable table_;
  std::uint64_t resident_before_ = 0;  // without the domain
  std::uint64_t resident_peak_ = 0;
  Clock::time_point looked_ = {};
  Clock::time_point begun_ = {};
  double seconds_ = 0;
  double processor_seconds_ = 0;
  DomainStatistics before_;
  DomainStatistics after_;
};

/// Keeps so many operations of one kind under way, each begun again as it ends. Its memory is
/// resident from the start.
template <class TheOperation>
class Flight {
 public:
  struct Slot {
    Flight* flight = nullptr;
    std::optional<TheOperation> operation;
    std::uint64_t number = 0;
    PairKey key = {};
    std::string value;
    Clock::time_point begun = {};
  };

  /// `timed`: how long each operation takes is noted.
  Flight(std::uint32_t depth, bool timed)
      : timed_(timed), memory_(depth * sizeof(Slot) + alignof(Slot), std::byte{1}) {
    void* at = memory_.data();
    std::size_t room = memory_.size();
    std::align(alignof(Slot), depth * sizeof(Slot), at, room);
    slots_ = static_cast<Slot*>(at);
    free_.reserve(depth);
    for (std::uint32_t index = 0; index < depth; ++index) {
      Slot* slot = ::new (static_cast<void*>(slots_ + index)) Slot;
      slot->flight = this;
      free_.push_back(slot);
    }
    batch_.reserve(depth);  // as free_ has it
  }
  ~Flight() {
    for (Slot* slot : free_) slot->~Slot();
  }
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  /// `make(slot)` sets the slot's operation, or says that there is no more to do; `look()` is
  /// called now and then. Returns once all have ended; the first failure ends it.
  template <class Make, class Look>
  Result<void> run(Executor& executor, Make&& make, Look&& look) {
    const std::size_t depth = free_.size();
    bool more = true;
    while (more || free_.size() < depth) {
      // An operation may end as it is posted: some rounds of those, then what is under way.
      for (std::uint32_t round = 0; round < rounds_per_tick && more && !free_.empty(); ++round) {
        std::swap(batch_, free_);
        while (!batch_.empty() && more) {
          Slot* const slot = batch_.back();
          more = outcome_.has_value() && make(*slot);
          if (!more) break;
          batch_.pop_back();
          if (timed_) slot->begun = Clock::now();
          const auto posted = slot->operation->post(
              executor, [slot](auto& result) noexcept { slot->flight->ended(*slot, result); });
          FIRN_ASSERT(posted.has_value());
        }
        free_.insert(free_.end(), batch_.begin(), batch_.end());
        batch_.clear();
      }
      look();
      const bool idle = executor.tick(std::chrono::nanoseconds::zero()) == 0;
      if (idle && (free_.empty() || (!more && free_.size() < depth))) executor.wait_for_work();
    }
    return outcome_;
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Those that said false.
  [[nodiscard]] std::uint64_t vain_count() const noexcept { return vain_count_; }
  [[nodiscard]] const Times& times() const noexcept { return times_; }

 private:
  static constexpr std::uint32_t rounds_per_tick = 64;

  using Value = typename TheOperation::value_type;
  void ended(Slot& slot, const Result<Value>& result) noexcept {
    if (timed_) times_.add(Clock::now() - slot.begun);
    ++count_;
    if constexpr (std::is_same_v<Value, bool>) vain_count_ += result.value_or(true) ? 0 : 1;
    if (!result.has_value() && outcome_.has_value()) outcome_ = fail(result.error());
    free_.push_back(&slot);  // has room for all
  }

  const bool timed_;
  std::vector<std::byte> memory_;
  Slot* slots_ = nullptr;
  std::vector<Slot*> free_;
  std::vector<Slot*> batch_;
  std::uint64_t count_ = 0;
  std::uint64_t vain_count_ = 0;
  Times times_;
  Result<void> outcome_;
};

}  // namespace firn::cli
