#include "model/history.hpp"

#include <algorithm>

#include "model/model_sack.hpp"
#include "model/model_table.hpp"

namespace firn::tests {
namespace {

// After this many steps all pairs of all tables are compared, both ways.
constexpr std::size_t steps_between_scans = 10'000;

class History {
 public:
  History(const Universe& universe, const DomainFactory& factory, ModeRunner& runner)
      : path_(factory.path("model")),
        state_{.universe = universe, .factory = factory, .runner = runner} {
    for (std::size_t slot = 0; slot < slot_count; ++slot) {
      tables_.push_back(make_model_table(universe, slot));
    }
    factory.remove(path_);
    open_domain();
  }
  ~History() { state_.factory.remove(path_); }

  Outcome run(std::span<const Step> steps) {
    for (std::size_t at = 0; at < steps.size(); ++at) {
      apply(steps[at]);
      if (at % steps_between_scans == steps_between_scans - 1 || at + 1 == steps.size()) {
        for (const auto& table : tables_) table->scan(state_);
      }
      if (!state_.failure.empty()) {
        close();
        return {.trace = state_.trace, .failed_at = at, .failure = state_.failure};
      }
    }
    reopen();
    close();
    return {.trace = state_.trace, .failed_at = steps.size(), .failure = state_.failure};
  }

 private:
  void open_domain() {
    auto opened = state_.runner.run([&] { return Domain::open(path_, state_.factory.options()); });
    must(opened.has_value(), "the domain does not open");
    state_.domain = std::move(*opened);
    if (state_.factory.capabilities() == Capability::none) return;
    // The sack first: the typed table refers to it.
    for (std::size_t slot = slot_count; slot > 0; --slot) {
      // One that is there already is opened: that brings its comparator.
      Step step;
      step.act = tables_[slot - 1]->id() == 0 ? Act::create_table : Act::open_table;
      tables_[slot - 1]->apply(state_, step);
    }
  }
  void close() {
    for (const auto& table : tables_) table->let_go(false);
    state_.transaction.reset();
    state_.domain = Domain();
  }
  void reopen() {
    const bool survives = includes(state_.factory.capabilities(), Capability::persistent);
    if (state_.transaction.has_value()) {
      auto refused = state_.runner.run([&] { return state_.domain.close(); });
      if (state_.same_outcome("close", refused, number_of(ErrorCode::busy))) return;
      commit();
    }
    for (const auto& table : tables_) table->let_go(survives);
    if (!survives) state_.note_table = state_.referenced_table = 0;
    auto closed = state_.runner.run([&] { return state_.domain.close(); });
    state_.same_outcome("close", closed, success);
    state_.domain = Domain();
    for (const auto& table : tables_) {
      if (!survives) table->let_go(false);
    }
    forget_numbers(survives);
    open_domain();
  }
  // Volatile domains begin their numbers anew.
  void forget_numbers(bool survives) {
    if (survives) return;
    for (std::size_t slot = 0; slot < slot_count; ++slot) {
      tables_[slot] = make_model_table(state_.universe, slot);
    }
  }
  void commit() {
    auto committed = state_.runner.run([&] { return state_.transaction->commit(); });
    state_.same_outcome("commit", committed, success);
    state_.transaction.reset();
  }

  void apply(const Step& step) {
    state_.record(static_cast<std::uint64_t>(step.act));
    switch (step.act) {
      case Act::list:
        return list();
      case Act::reopen_domain:
        return reopen();
      case Act::begin: {
        // Where transactions count for something, their own histories are needed.
        if (includes(state_.factory.capabilities(), Capability::atomic)) return;
        if (state_.transaction.has_value()) return;
        auto begun = state_.runner.run([&] { return state_.domain.begin(); });
        if (state_.same_outcome("begin", begun, success)) state_.transaction = std::move(*begun);
        return;
      }
      case Act::commit:
        if (state_.transaction.has_value()) commit();
        return;
      default:
        return tables_[step.slot]->apply(state_, step);
    }
  }
  void list() {
    auto listed = state_.runner.run([&] { return state_.domain.tables(); });
    if (!state_.same_outcome("tables", listed, success)) return;
    std::size_t count = 0;
    for (const auto& table : tables_) {
      if (table->id() == 0) continue;
      ++count;
      const auto row = std::find_if(listed->begin(), listed->end(),
                                    [&](const TableInfo& info) { return info.id == table->id(); });
      if (row == listed->end()) return state_.differs("tables: one is missing");
      if (row->pair_count != table->pair_count()) state_.differs("tables: wrong count of pairs");
    }
    if (count != listed->size()) state_.differs("tables: too many");
  }

  const std::string path_;
  HistoryState state_;
  std::vector<std::unique_ptr<ModelTable>> tables_;
};

}  // namespace

std::unique_ptr<ModelTable> make_model_table(const Universe& universe, std::size_t slot) {
  switch (slot) {
    case 2:
      return std::make_unique<KeyedModel<ByLength>>(universe, slot);
    case 4:
      return std::make_unique<KeyedModel<Person>>(universe, slot);
    case 5:
      return std::make_unique<SackModel>();
    default:
      return std::make_unique<KeyedModel<BytesType>>(universe, slot);
  }
}

Outcome run_history(const Universe& universe, std::span<const Step> steps,
                    const DomainFactory& factory, ModeRunner& runner) {
  return History(universe, factory, runner).run(steps);
}

std::vector<Step> shrink(const Universe& universe, std::vector<Step> steps,
                         const DomainFactory& factory, ModeRunner& runner,
                         std::size_t attempts_max) {
  std::size_t attempts = 0;
  std::vector<Step> candidate;
  for (std::size_t part = (steps.size() + 1) / 2; part > 0;) {
    bool removed = false;
    for (std::size_t at = 0; at < steps.size() && attempts < attempts_max;) {
      candidate.assign(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(at));
      const std::size_t end = std::min(at + part, steps.size());
      candidate.insert(candidate.end(), steps.begin() + static_cast<std::ptrdiff_t>(end),
                       steps.end());
      ++attempts;
      const Outcome outcome = run_history(universe, candidate, factory, runner);
      if (outcome.failure.empty()) {
        at += part;
        continue;
      }
      // Nothing after the failing step is needed.
      candidate.resize(std::min(candidate.size(), outcome.failed_at + 1));
      steps = candidate;
      removed = true;
    }
    if (attempts >= attempts_max) break;
    if (part > 1) {
      part = (part + 1) / 2;
    } else if (!removed) {
      break;
    }
  }
  return steps;
}

std::string literal(const std::string& bytes) {
  if (bytes.size() > 100) {
    const auto byte = static_cast<unsigned char>(bytes.back());
    return "long_key(" + std::to_string(bytes.size()) + ", " + std::to_string(byte) + ")";
  }
  std::string text = "\"";
  for (const char each : bytes) {
    const auto byte = static_cast<unsigned char>(each);
    // Octal escapes end after three digits, hexadecimal ones do not.
    text += {'\\', static_cast<char>('0' + (byte >> 6)), static_cast<char>('0' + (byte >> 3 & 7)),
             static_cast<char>('0' + (byte & 7))};
  }
  return "std::string_view(" + text + "\", " + std::to_string(bytes.size()) + ")";
}

std::string step_snippet(const Universe& universe, const Step& step, const std::string& table,
                         bool typed, std::uint32_t group) {
  const auto key_at = [&](std::size_t index) {
    const std::string text = literal(universe.key(index));
    return typed ? "{" + std::to_string(group) + ", std::string(" + text + ")}" : text;
  };
  const std::string key = key_at(step.key);
  const std::string value = "std::string(" + std::to_string(step.value_size) + ", 'v')";
  const std::string record = typed ? "{1, " + value + ", {}}" : value;
  const std::string cursor = table + "_cursor" + std::to_string(step.cursor);
  switch (step.act) {
    case Act::put:
      return table + ".put(" + key + ", " + record + ").wait();";
    case Act::insert:
      return table + ".insert(" + key + ", " + record + ").wait();";
    case Act::update:
      return table + ".update(" + key + ", " + record + ").wait();";
    case Act::erase:
      return table + ".erase(" + key + ").wait();";
    case Act::erase_present:
      return table + ".erase(" + key + ", Expect::present).wait();";
    case Act::lookup:
    case Act::read:
      return table + ".lookup(" + key + ").wait();";
    case Act::follow:
      return "domain.follow(*" + table + ".ref(" + key + ")).wait();";
    case Act::next:
      return cursor + ".next().wait();";
    case Act::previous:
      return cursor + ".prev().wait();";
    case Act::seek:
      return cursor + ".seek(" + key + ").wait();";
    case Act::open_cursor:
      return "auto " + cursor + " = " + table + ".cursor({" +
             ((step.flag & 1) != 0 ? ".lower = " + key : "") + (step.flag % 4 == 3 ? ", " : "") +
             ((step.flag & 2) != 0 ? ".upper = " + key_at(step.other) : "") + "});";
    case Act::scan:
      return "// all pairs of " + table + ", both ways";
    case Act::create_table:
      return "auto " + table + " = *domain.create_table<...>(\"" + table + "\", options).wait();";
    case Act::open_table:
      return table + " = *domain.open_table<...>(\"" + table + "\").wait();";
    case Act::destroy_table:
      return "domain.destroy_table(" + table + ", Force::" + (step.flag % 2 == 1 ? "yes" : "no") +
             ").wait();";
    default:
      return "";
  }
}

std::string snippet(const Universe& universe, std::span<const Step> steps) {
  std::string text;
  for (const Step& step : steps) {
    std::string line;
    switch (step.act) {
      case Act::list:
        line = "domain.tables().wait();";
        break;
      case Act::begin:
        line = "auto transaction = *domain.begin().wait();";
        break;
      case Act::commit:
        line = "transaction.commit().wait();";
        break;
      case Act::reopen_domain:
        line = "domain.close().wait();  // and open again, with all tables";
        break;
      default:
        line = make_model_table(universe, step.slot)->snippet(universe, step);
    }
    if (!line.empty()) text += "  " + line + "\n";
  }
  return text;
}

}  // namespace firn::tests
