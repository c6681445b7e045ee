// Explores every reachable state of a small concurrent program, memory being sequentially
// consistent.
//
// A model is a value State without padding, and a class with
//   State initial() const;
//   unsigned actor_count() const;
//   void step(const State&, unsigned actor, std::vector<State>& next);  // none: the actor is
//   blocked bool ended(const State&) const;      // nobody has anything left to do const char*
//   violation() const;       // why the step just made is wrong; nullptr while all is well
//   std::string describe(const State&, unsigned actor) const;
// Checked besides the model's own properties: a state in which nobody can step has ended (no
// deadlock, no lost wake-up), and an ended state can be reached from each state (nobody spins for
// ever).
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace firn::model {

struct Outcome {
  std::uint64_t state_count = 0;
  std::uint64_t step_count = 0;
  bool complete = false;           // every reachable state was seen
  std::string violation;           // empty if none was found
  std::vector<std::string> trace;  // the steps that lead to the violation
};

template <class Model>
class Explorer {
  using State = decltype(std::declval<const Model&>().initial());
  static_assert(std::has_unique_object_representations_v<State>);

 public:
  Explorer(Model& model, std::size_t state_limit)
      : model_(model), state_limit_(state_limit), slots_(1024, 0) {}

  /// Stops at the first violation. `check_progress` also looks for states that cannot reach an end.
  Outcome run(bool check_progress) {
    add(model_.initial(), 0, 0);
    std::vector<State> next;
    for (std::uint32_t at = 0; at < states_.size(); ++at) {
      if (states_.size() > state_limit_) return finish("", at);
      bool blocked = true;
      for (unsigned actor = 0; actor < model_.actor_count(); ++actor) {
        next.clear();
        model_.step(State(states_[at]), actor, next);
        blocked = blocked && next.empty();
        for (const State& state : next) {
          const std::uint32_t to = add(state, at, actor);
          if (check_progress) edges_.emplace_back(to, at);
          ++outcome_.step_count;
          if (model_.violation() != nullptr) return finish(model_.violation(), to);
        }
        if (model_.violation() != nullptr) return finish(model_.violation(), at);
      }
      if (blocked) {
        if (!model_.ended(states_[at])) return finish("somebody waits for ever", at);
        ends_.push_back(at);
      }
    }
    outcome_.complete = true;
    if (check_progress) {
      const std::uint32_t stuck = find_endless();
      if (stuck != none) return finish("no end can be reached", stuck);
    }
    return finish("", 0);
  }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  static_assert(sizeof(State) % sizeof(std::uint32_t) == 0);

  static std::uint64_t hash(const State& state) {
    std::array<std::uint32_t, sizeof(State) / sizeof(std::uint32_t)> words;
    std::memcpy(words.data(), &state, sizeof(State));
    std::uint64_t mixed = 0x9e3779b97f4a7c15;
    for (const std::uint32_t word : words) {
      mixed = (mixed ^ word) * 0xff51afd7ed558ccd;
      mixed ^= mixed >> 32;
    }
    return mixed;
  }

  // Slots hold the upper half of the hash and the index plus 1; 0 is an empty slot.
  void grow() {
    std::vector<std::uint64_t> former(slots_.size() * 2, 0);
    former.swap(slots_);
    for (const std::uint64_t slot : former) {
      if (slot == 0) continue;
      std::size_t at = hash(states_[(slot & none) - 1]) & (slots_.size() - 1);
      while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = slot;
    }
  }

  std::uint32_t add(const State& state, std::uint32_t from, unsigned actor) {
    if (states_.size() * 2 >= slots_.size()) grow();
    const std::uint64_t mixed = hash(state);
    const std::uint64_t upper = mixed & ~std::uint64_t{none};
    std::size_t at = mixed & (slots_.size() - 1);
    for (; slots_[at] != 0; at = (at + 1) & (slots_.size() - 1)) {
      const auto index = static_cast<std::uint32_t>((slots_[at] & none) - 1);
      if ((slots_[at] & ~std::uint64_t{none}) == upper &&
          std::memcmp(&states_[index], &state, sizeof(State)) == 0) {
        return index;
      }
    }
    states_.push_back(state);
    parents_.emplace_back(from, actor);
    slots_[at] = upper | states_.size();
    return static_cast<std::uint32_t>(states_.size() - 1);
  }

  // Backwards from the ended states: what is not met cannot end.
  std::uint32_t find_endless() const {
    std::vector<std::uint32_t> first(states_.size() + 1, 0);
    for (const auto& [to, from] : edges_) ++first[to + 1];
    for (std::size_t index = 1; index < first.size(); ++index) first[index] += first[index - 1];
    std::vector<std::uint32_t> before(edges_.size());
    std::vector<std::uint32_t> fill(first.begin(), first.end() - 1);
    for (const auto& [to, from] : edges_) before[fill[to]++] = from;
    std::vector<bool> can_end(states_.size(), false);
    std::vector<std::uint32_t> work = ends_;
    for (const std::uint32_t end : ends_) can_end[end] = true;
    while (!work.empty()) {
      const std::uint32_t at = work.back();
      work.pop_back();
      for (std::uint32_t index = first[at]; index < first[at + 1]; ++index) {
        if (can_end[before[index]]) continue;
        can_end[before[index]] = true;
        work.push_back(before[index]);
      }
    }
    for (std::uint32_t index = 0; index < states_.size(); ++index) {
      if (!can_end[index]) return index;
    }
    return none;
  }

  Outcome finish(std::string violation, std::uint32_t at) {
    outcome_.state_count = states_.size();
    if (!violation.empty()) {
      while (at != 0) {
        outcome_.trace.push_back(model_.describe(states_[parents_[at].first], parents_[at].second));
        at = parents_[at].first;
      }
      outcome_.trace = {outcome_.trace.rbegin(), outcome_.trace.rend()};
    }
    outcome_.violation = std::move(violation);
    return std::move(outcome_);
  }

  Model& model_;
  std::size_t state_limit_;
  std::vector<State> states_;
  std::vector<std::pair<std::uint32_t, unsigned>> parents_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges_;  // to, from
  std::vector<std::uint32_t> ends_;
  std::vector<std::uint64_t> slots_;
  Outcome outcome_;
};

}  // namespace firn::model
