// A pool over a simulated device with several executors in one thread, by seed: the world in which
// the pool is compared with a model.
#pragma once

#include <poll.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <firn/executor.hpp>
#include <firn/fiber.hpp>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "buffer/pool.hpp"
#include "runtime/executor_access.hpp"
#include "segment/simulated.hpp"
#include "store/store.hpp"
#include "support/catch.hpp"

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
      REQUIRE(core.has_value());
      place.core = *core;
      place.executor.emplace(ExecutorAccess::adopt(*core));
      place.executor->tick(std::chrono::nanoseconds(0));
    }
  }

  [[nodiscard]] Executor& executor(std::size_t index) { return *places_[index].executor; }
  [[nodiscard]] runtime::ExecutorCore& core(std::size_t index) { return *places_[index].core; }
  [[nodiscard]] std::size_t count() const { return places_.size(); }
  [[nodiscard]] base::Random& random() { return random_; }

  /// One tick somewhere; false: nobody has anything to do now.
  bool tick_one() {
    const std::size_t first = random_.below(places_.size());
    for (std::size_t offset = 0; offset < places_.size(); ++offset) {
      Place& place = places_[(first + offset) % places_.size()];
      if (place.ticking || !ready(place)) continue;
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
    REQUIRE(spawned.has_value());
    REQUIRE(run([&] { return done; }));
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
    for (const Place& place : places_) {
      const auto deadline = place.core->deadline();
      if (deadline.has_value() && (!next.has_value() || *deadline < *next)) next = deadline;
    }
    if (!next.has_value()) return false;
    clock_.advance_to(*next);
    return true;
  }

  base::ManualClock clock_;
  base::Random random_;
  std::vector<Place> places_;
};

struct WorldOptions {
  std::uint64_t seed = 1;
  std::size_t executors = 3;
  std::uint64_t device_bytes = 64ULL << 20;
  std::chrono::nanoseconds latency_max = std::chrono::microseconds(100);
  buffer::PoolOptions pool = {.memory_budget = 4ULL << 20,
                              .memory_budget_max = 16ULL << 20,
                              .write_buffer_bytes = 64 * 1024,
                              .copy_buffer_bytes = 32 * 1024,
                              .reads_max = 16,
                              .memory = {.kind = std::nullopt, .data_bytes = 64ULL << 20}};
};

/// Executors, device, store and pool, opened and closed in the right order.
class PoolWorld {
 public:
  explicit PoolWorld(const WorldOptions& options)
      : executors(options.seed, options.executors), device(options.device_bytes) {
    segment::SimulatedOptions simulated;
    simulated.seed = options.seed;
    simulated.latency_max = options.latency_max;
    backend = std::make_unique<segment::SimulatedBackend>(device, simulated);
    executors.on_fiber([&](runtime::ExecutorCore& core) {
      auto made = store::Store::create(core, *backend, {}, options.seed);
      if (made.has_value()) store = std::move(*made);
    });
    REQUIRE(store != nullptr);
    auto made = buffer::Pool::create(*store, options.pool);
    if (!made.has_value()) FAIL(made.error().message());
    pool = std::move(*made);
  }
  ~PoolWorld() {
    if (pool == nullptr) return;
    pool->end_background();
    if (!executors.run([&] { return pool->background_ended(); })) std::abort();
    pool->stop_background();
  }
  PoolWorld(const PoolWorld&) = delete;
  PoolWorld& operator=(const PoolWorld&) = delete;

  /// Leaves so much for frames.
  void shrink_to(std::uint64_t frame_bytes) {
    Result<void> set;
    // The first call may find that the store's maps have grown.
    for (int attempt = 0; attempt < 2; ++attempt) {
      const buffer::PoolStatistics now = pool->statistics();
      set = pool->set_budget(now.used_bytes - now.frame_bytes + frame_bytes);
      if (set.has_value()) return;
    }
    FAIL(set.error().message());
  }
  Result<void> checkpoint() {
    Result<void> done;
    executors.on_fiber([&](runtime::ExecutorCore& core) { done = pool->checkpoint(core, {}); });
    return done;
  }
  void start_background(std::size_t index = 0) {
    REQUIRE(pool->start_background(executors.core(index)).has_value());
  }

  Executors executors;
  segment::SimulatedDevice device;
  std::unique_ptr<segment::SimulatedBackend> backend;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<buffer::Pool> pool;
};

}  // namespace firn::test
