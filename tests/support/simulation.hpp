// Everything in one thread, by seed: several executors with a clock that moves only when told and
// with chance in the order of what is ready. The simulation picks which executor ticks next, also
// in the midst of an operation at the library's yield points, so that others find latches held and
// park. An executor is ticked only if it could know of its work: something is ready, a timer is
// due, or its descriptor is readable. If nobody can go on and time cannot help, a wake-up was lost.
#pragma once

#include <poll.h>

#include <cstdint>
#include <cstdio>
#include <set>
#include <vector>

#include <firn/firn.hpp>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/yield.hpp"
#include "runtime/executor_access.hpp"
#include "support/executor_modes.hpp"

namespace firn::tests {

class Simulation {
 public:
  Simulation(std::uint64_t seed, std::size_t executor_count) : seed_(seed), random_(seed) {
    // `order` holds still: the executors keep pointers into it.
    places_.reserve(executor_count);
    for (std::size_t index = 0; index < executor_count; ++index) {
      places_.push_back(
          {.order = base::Random(seed * 31 + index), .executor = {}, .core = nullptr});
      Place& place = places_.back();
      auto core = runtime::ExecutorCore::create({.clock = &clock_, .order = &place.order});
      must(core.has_value(), "no executor");
      place.core = *core;
      place.executor.emplace(ExecutorAccess::adopt(*core));
      place.executor->tick(no_budget);  // from now on its descriptor tells of what is sent
    }
    active_ = this;
#ifdef FIRN_PLANTED_BUGS
    base::yield_hook.store(&yield_here);
#endif
  }
  ~Simulation() {
#ifdef FIRN_PLANTED_BUGS
    base::yield_hook.store(nullptr);
#endif
    active_ = nullptr;
  }
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  [[nodiscard]] std::size_t executor_count() const noexcept { return places_.size(); }
  [[nodiscard]] Executor& executor(std::size_t index) noexcept { return *places_[index].executor; }
  [[nodiscard]] runtime::ExecutorCore& core(std::size_t index) noexcept {
    return *places_[index].core;
  }
  [[nodiscard]] base::Random& random() noexcept { return random_; }
  [[nodiscard]] base::TimePoint now() const noexcept { return clock_.now(); }
  [[nodiscard]] std::uint64_t trace() const noexcept { return trace_; }
  [[nodiscard]] std::uint64_t nested_count() const noexcept { return nested_count_; }
  void record(std::uint64_t word) noexcept { trace_ = base::Random::mix(trace_ * 31 + word); }

  /// Called between steps and at yield points: tests cancel and look here.
  void (*disturb)(void* context) noexcept = nullptr;
  void* disturb_context = nullptr;

  /// Whoever sleeps until `due` says so, and again when it was woken.
  void expects_timer(base::TimePoint due) { dues_.insert(due); }
  void timer_fired(base::TimePoint due) {
    fine(now() == due, "a timer fired at another time");
    dues_.erase(dues_.find(due));
  }

  /// Until `finished()`; stops the program where it cannot come to that.
  template <class Finished>
  void run(Finished&& finished) noexcept {
    while (!finished()) {
      if (disturb != nullptr) disturb(disturb_context);
      if (!tick_one()) advance_clock();
      fine(++step_count_ < step_count_max, "it does not come to an end");
    }
  }
  void fine(bool holds, const char* what) const noexcept {
    if (holds) return;
    std::fprintf(stderr, "simulation: seed %llu: %s\n", static_cast<unsigned long long>(seed_),
                 what);
    std::fflush(stderr);
    std::_Exit(3);  // parked operations cannot be destroyed
  }

 private:
  struct Place {
    base::Random order;
    std::optional<Executor> executor;
    runtime::ExecutorCore* core;
    bool ticking = false;
  };
  static constexpr std::chrono::nanoseconds no_budget{0};
  static constexpr std::uint64_t step_count_max = 10'000'000;
  // Each level stands on the stack of the fiber that reached a yield point.
  static constexpr int nesting_max = 2;

  [[nodiscard]] bool may_tick(const Place& place) const noexcept {
    if (place.ticking) return false;
    const auto deadline = place.core->deadline();
    if (deadline.has_value() && *deadline <= clock_.now()) return true;
    pollfd descriptor{.fd = place.core->fd(), .events = POLLIN, .revents = 0};
    return ::poll(&descriptor, 1, 0) == 1;
  }

  // One tick of an executor of the seed's choice. False: none has anything to do.
  bool tick_one() noexcept {
    const std::size_t first = random_.below(places_.size());
    for (std::size_t offset = 0; offset < places_.size(); ++offset) {
      Place& place = places_[(first + offset) % places_.size()];
      if (!may_tick(place)) continue;
      record((first + offset) % places_.size());
      place.ticking = true;
      place.executor->tick(no_budget);
      place.ticking = false;
      return true;
    }
    return false;
  }

  void advance_clock() noexcept {
    std::optional<base::TimePoint> next;
    for (const Place& place : places_) {
      const auto deadline = place.core->deadline();
      if (deadline.has_value() && (!next.has_value() || *deadline < *next)) next = deadline;
    }
    fine(next.has_value(), "nobody can go on: a wake-up was lost");
    fine(!dues_.empty() && *next == *dues_.begin(), "the next timer is not the earliest");
    clock_.advance_to(*next);
    record(static_cast<std::uint64_t>(next->time_since_epoch().count()));
  }

  static void yield_here(const char*) noexcept {
    Simulation* self = active_;
    if (self == nullptr || self->nesting_ >= nesting_max) return;
    ++self->nesting_;
    if (self->disturb != nullptr) self->disturb(self->disturb_context);
    while (self->random_.one_in(2) && self->tick_one()) ++self->nested_count_;
    --self->nesting_;
  }

  static inline Simulation* active_ = nullptr;

  const std::uint64_t seed_;
  base::Random random_;
  base::ManualClock clock_;
  std::vector<Place> places_;
  std::multiset<base::TimePoint> dues_;
  std::uint64_t trace_ = 0;
  std::uint64_t step_count_ = 0;
  std::uint64_t nested_count_ = 0;
  int nesting_ = 0;
};

}  // namespace firn::tests
