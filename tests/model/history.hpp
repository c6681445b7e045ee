// Runs the steps of a history on a domain and on a plain model of it, and compares every result.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/universe.hpp"
#include "support/domains.hpp"
#include "support/executor_modes.hpp"

namespace firn::tests {

/// What the tables of a history share.
struct HistoryState {
  const Universe& universe;
  const DomainFactory& factory;
  ModeRunner& runner;
  Domain domain = {};
  std::optional<Transaction> transaction = {};
  std::uint64_t trace = 0;             // a hash of every result so far
  std::string failure = {};            // the first difference; empty: none
  std::uint64_t note_table = 0;        // the sack's number while it is there, else 0
  std::uint64_t referenced_table = 0;  // the sack that the typed table declares

  void record(std::uint64_t word) noexcept { trace = base::Random::mix(trace * 31 + word); }
  void differs(std::string what) {
    if (failure.empty()) failure = std::move(what);
  }
  /// Compares an outcome's code (0: success) and says whether both succeeded.
  template <class T>
  bool same_outcome(const char* call, const Result<T>& result, std::uint16_t expected) {
    const auto code =
        result.has_value() ? std::uint16_t{0} : static_cast<std::uint16_t>(result.error().code);
    record(code);
    if (code != expected) {
      differs(std::string(call) + ": " + text_of(code) + " instead of " + text_of(expected));
    }
    return code == 0 && expected == 0;
  }
  static std::string text_of(std::uint16_t code) {
    return code == 0 ? "success" : std::string(name_of(static_cast<ErrorCode>(code)));
  }
};

inline constexpr std::uint16_t success = 0;
constexpr std::uint16_t number_of(ErrorCode code) noexcept {
  return static_cast<std::uint16_t>(code);
}

/// One table of a history with its model.
class ModelTable {
 public:
  virtual ~ModelTable() = default;
  virtual void apply(HistoryState& state, const Step& step) = 0;
  /// All pairs, both ways.
  virtual void scan(HistoryState& state) = 0;
  /// What the catalogue says of it; the number is 0 while there is no such table.
  [[nodiscard]] virtual std::uint64_t id() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t pair_count() const noexcept = 0;
  /// Before the domain is closed: its handles and cursors go.
  virtual void let_go(bool survives) = 0;
  [[nodiscard]] virtual std::string snippet(const Universe& universe, const Step& step) const = 0;
};

/// Tables 0, 1 and 3 are plain bytes, 2 has a comparator, 4 is typed, 5 is a sack.
std::unique_ptr<ModelTable> make_model_table(const Universe& universe, std::size_t slot);

struct Outcome {
  std::uint64_t trace = 0;
  std::size_t failed_at = 0;  // the step
  std::string failure;        // empty: everything was equal
};
Outcome run_history(const Universe& universe, std::span<const Step> steps,
                    const DomainFactory& factory, ModeRunner& runner);

/// The fewest steps found that still fail: parts are left out, ever smaller ones, until nothing
/// more can be, or `attempts_max` histories have been run.
std::vector<Step> shrink(const Universe& universe, std::vector<Step> steps,
                         const DomainFactory& factory, ModeRunner& runner,
                         std::size_t attempts_max);
/// The steps as C++.
std::string snippet(const Universe& universe, std::span<const Step> steps);

}  // namespace firn::tests
