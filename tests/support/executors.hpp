// Several executors in one thread, by seed: the world of pools and trees.
#pragma once

#include <poll.h>

#include <cstdint>
#include <optional>
#include <vector>

#include <firn/assertion.hpp>
#include <firn/executor.hpp>
#include <firn/fiber.hpp>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "runtime/executor_access.hpp"

namespace firn::test {

/// Executors with a clock that moves only when told; an executor is ticked only if it could know of
/// its work, so a wake-up that was lost leaves nobody who can go on.
class Executors {
 public:
  Executors(std::uint64_t seed, std::size_t count) : random_(seed) {
    places_.reserve(count);
    for (std::size_t index = 0; index < count; ++index) {
      Place& place = places_.emplace_back(Place{base::Random(seed * 31 + index), {}, nullptr});
      auto core = runtime::ExecutorCore::create({.clock = &clock_, .order = &place.order});
      FIRN_ASSERT(core.has_value());
      place.core = *core;
      place.executor.emplace(ExecutorAccess::adopt(*core));
      place.executor->tick(std::chrono::nanoseconds(0));
    }
  }

  [[nodiscard]] Executor& executor(std::size_t index) { return *places_[index].executor; }
  [[nodiscard]] runtime::ExecutorCore& core(std::size_t index) { return *places_[index].core; }
  [[nodiscard]] std::size_t count() const { return places_.size(); }
  [[nodiscard]] base::Random& random() { return random_; }

  /// From now on the others are not ticked; nothing: all are again.
  void tick_only(std::optional<std::size_t> index) { only_ = index; }

  /// One tick somewhere; false: nobody has anything to do now.
  bool tick_one() {
    const std::size_t first = random_.below(places_.size());
    for (std::size_t offset = 0; offset < places_.size(); ++offset) {
      const std::size_t index = (first + offset) % places_.size();
      Place& place = places_[index];
      if (place.ticking || !ready(place) || only_.value_or(index) != index) continue;
      place.ticking = true;
      place.executor->tick(std::chrono::nanoseconds(0));
      place.ticking = false;
      return true;
    }
    return false;
  }
  /// Until `finished()`; false: nobody can go on, or it takes too long.
  template <class Finished>
  [[nodiscard]] bool run(Finished&& finished) {
    for (std::uint64_t step = 0; !finished(); ++step) {
      if (step > 5'000'000) return false;
      if (!tick_one() && !advance_clock()) return false;
      // Time passes also while somebody is busy.
      if (random_.one_in(32)) clock_.advance(std::chrono::microseconds(10));
    }
    return true;
  }
  /// `work` on a fiber of the first executor, to its end.
  template <class Work>
  void on_fiber(Work&& work) {
    bool done = false;
    auto spawned = fiber::spawn(executor(0), [&]() noexcept {
      work(core(0));
      done = true;
    });
    FIRN_ASSERT(spawned.has_value());
    FIRN_ASSERT(run([&] { return done; }));
  }

 private:
  struct Place {
    base::Random order;
    std::optional<Executor> executor;
    runtime::ExecutorCore* core;
    bool ticking = false;
  };

  bool ready(const Place& place) const {
    const auto deadline = place.core->deadline();
    if (deadline.has_value() && *deadline <= clock_.now()) return true;
    pollfd descriptor{.fd = place.core->fd(), .events = POLLIN, .revents = 0};
    return ::poll(&descriptor, 1, 0) == 1;
  }
  // False: there is nothing to wait for.
  bool advance_clock() {
    std::optional<base::TimePoint> next;
    for (std::size_t index = 0; index < places_.size(); ++index) {
      if (only_.value_or(index) != index) continue;
      const auto deadline = places_[index].core->deadline();
      if (deadline.has_value() && (!next.has_value() || *deadline < *next)) next = deadline;
    }
    if (!next.has_value()) return false;
    clock_.advance_to(*next);
    return true;
  }

  base::ManualClock clock_;
  base::Random random_;
  std::vector<Place> places_;
  std::optional<std::size_t> only_;
};

}  // namespace firn::test
