// A tree in a simulated world, with operations that many can have under way on it, and a model.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "buffer/pool_world.hpp"
#include "tree/tree_operation.hpp"

namespace firn::test {

struct TreeWorldOptions {
  std::uint64_t seed = 1;
  std::size_t executors = 3;
  std::uint64_t memory_budget = 4ULL << 20;
  unsigned leaf_class = 0;
  std::uint32_t inline_max = 0;
  tree::CompareFunction compare = nullptr;
  std::uint64_t frame_bytes = 0;  // 0: what the budget leaves
};

inline WorldOptions world_options(const TreeWorldOptions& options) {
  WorldOptions world;
  world.seed = options.seed;
  world.executors = options.executors;
  world.pool.memory_budget = options.memory_budget;
  world.pool.write_buffer_bytes = 256 * 1024;
  world.pool.copy_buffer_bytes = 128 * 1024;
  return world;
}

class TreeWorld {
 public:
  explicit TreeWorld(const TreeWorldOptions& options = {}) : world(world_options(options)) {
    tree::Tree::register_kinds(*world.pool);
    world.start_background();
    shape.table = 42;
    shape.leaf_class = static_cast<std::uint8_t>(options.leaf_class);
    shape.inline_max = options.inline_max;
    shape.compare = options.compare;
    world.executors.on_fiber([&](runtime::ExecutorCore&) {
      REQUIRE(tree::Tree::create(*world.pool, shape).has_value());
    });
    tree.emplace(*world.pool, shape);
    if (options.frame_bytes > 0) world.shrink_to(options.frame_bytes);
  }

  std::unique_ptr<TreeOperation> operation() {
    return std::make_unique<TreeOperation>(*world.pool, *tree);
  }
  bool run(TreeOperation& operation, std::size_t executor = 0) {
    REQUIRE(operation.post(world.executors.executor(executor)).has_value());
    REQUIRE(world.executors.run([&] { return operation.done(); }));
    if (!operation.result().has_value()) FAIL(operation.result().error().message());
    return *operation.result();
  }
  bool write(Write kind, const std::string& key, const std::string& value = {}) {
    auto made = operation();
    made->deed = TreeDeed::write;
    made->kind = kind;
    made->key = key;
    made->value = value;
    return run(*made);
  }
  std::optional<std::string> lookup(const std::string& key) {
    auto made = operation();
    made->key = key;
    static_cast<void>(run(*made));
    return made->found;
  }
  /// Whether there is a pair; it is shown.
  bool move(TreeCursor& cursor, Target target, std::optional<Bytes> key = {}) {
    auto made = operation();
    made->move_with(cursor, target);
    if (key.has_value()) made->key_view = key;
    const bool moved = run(*made);
    REQUIRE(made->stayed);
    return moved;
  }
  void evict_all() {
    REQUIRE(world.checkpoint().has_value());
    static_cast<void>(world.pool->evict(~std::uint64_t{0} >> 1, 1 << 12));
  }
  tree::Census census() {
    tree::Census counted;
    Result<void> checked;
    world.executors.on_fiber([&](runtime::ExecutorCore&) { checked = tree->census(counted); });
    if (!checked.has_value()) FAIL(checked.error().message());
    return counted;
  }

  PoolWorld world;
  tree::Shape shape;
  std::optional<tree::Tree> tree;
};

}  // namespace firn::test
