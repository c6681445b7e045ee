// A pool over a simulated device with several executors in one thread, by seed: the world in which
// the pool is compared with a model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "buffer/pool.hpp"
#include "segment/simulated.hpp"
#include "store/store.hpp"
#include "support/catch.hpp"
#include "support/executors.hpp"

namespace firn::test {

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
