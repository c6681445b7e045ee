// A pool with pages in a simulated world, for tests of one sentence each. One thread.
#pragma once

#include <memory>
#include <vector>

#include "buffer/pool_operations.hpp"
#include "buffer/pool_world.hpp"

namespace firn::test {

/// A world with pages that were written and are evicted.
struct Pages {
  explicit Pages(std::size_t count, const WorldOptions& options = {}) : world(options) {
    model.entries.resize(count);
    for (std::size_t index = 0; index < count; ++index) run(PageDeed::create, index);
    REQUIRE(world.checkpoint().has_value());
    evict_all();
  }
  void run(PageDeed deed, std::size_t index) {
    PageOperation operation(*world.pool, model, deed, index, index, 0);
    REQUIRE(operation.post(world.executors.executor(0)).has_value());
    REQUIRE(world.executors.run([&] { return operation.done(); }));
  }
  void evict_all() {
    for (int round = 0; round < 4; ++round) {
      static_cast<void>(world.pool->evict(1ULL << 40, 1 << 20));
    }
    REQUIRE(world.pool->statistics().frame_bytes == 0);
  }
  /// Runs `count` reads of one page at once; returns how many ended with an error of that code.
  std::size_t read_by_many(std::size_t index, std::size_t count, ErrorCode code) {
    std::vector<std::unique_ptr<PageOperation>> readers;
    for (std::size_t reader = 0; reader < count; ++reader) {
      readers.push_back(
          std::make_unique<PageOperation>(*world.pool, model, PageDeed::read, index, index, 0));
      const auto posted =
          readers.back()->post(world.executors.executor(reader % world.executors.count()));
      REQUIRE(posted.has_value());
    }
    std::size_t errors = 0;
    for (const auto& reader : readers) {
      REQUIRE(world.executors.run([&] { return reader->done(); }));
      if (!reader->result().has_value()) {
        CHECK(reader->result().error().code == code);
        CHECK(reader->result().error().place.page == model.entries[index].page.bits());
        ++errors;
      }
    }
    return errors;
  }

  PoolWorld world;
  PageModel model;
};

}  // namespace firn::test
