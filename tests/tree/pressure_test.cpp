// Trees in pools that hold hardly more than one operation needs: whatever waits for whom, all of it
// comes to an end, and what background work needs it gets.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "support/catch.hpp"
#include "tree/tree_world.hpp"

namespace {

using namespace firn;
using namespace firn::test;

std::string numbered_key(std::uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "key/%010llu", static_cast<unsigned long long>(number));
  return text;
}

// Operations that wait can neither end nor be destroyed.
[[noreturn]] void nobody_goes_on(const TreeWorld& tree, std::uint64_t seed) {
  const buffer::PoolStatistics now = tree.world.pool->statistics();
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::fprintf(stderr,
               "tree pressure: seed %llu: nobody can go on; %llu of %llu bytes, %llu in frames, "
               "%llu faults, %llu waits\n",
               number(seed), number(now.used_bytes), number(now.budget_bytes),
               number(now.frame_bytes), number(now.faults),
               number(now.page_waits + now.memory_waits));
  std::_Exit(3);
}

// A row of a tree of its own, as background work changes it, and a checkpoint, again and again.
class Background {
 public:
  explicit Background(TreeWorld& world) : world_(world) {
    shape_.table = 1;
    world_.world.executors.on_fiber([&](runtime::ExecutorCore&) {
      REQUIRE(tree::Tree::create(*world_.world.pool, shape_).has_value());
    });
    tree_.emplace(*world_.world.pool, shape_);
  }
  void start() {
    const auto spawned = fiber::spawn(world_.world.executors.executor(0), [this]() noexcept {
      while (!stop_) work();
      ended_ = true;
    });
    REQUIRE(spawned.has_value());
  }
  void stop() { stop_ = true; }
  bool may_be_refused = false;
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] std::uint64_t rounds() const { return rounds_; }
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  void work() noexcept {
    const std::string key = numbered_key(rounds_ % 300);
    const std::string value(100, 'b');
    Error error;
    const auto written = tree::on_fiber(
        *world_.world.pool,
        [&](tree::Caller& caller) noexcept {
          int pairs = 0;
          return tree_->write(caller, error, Write::put, bytes_of(key), bytes_of(value), pairs);
        },
        true);
    if (written == firn::detail::Progress::failed) {
      if (!may_be_refused || error.code != ErrorCode::no_memory) FAIL(error.message());
      ++refused_;
    }
    const auto done = world_.world.pool->checkpoint(world_.world.executors.core(0), {});
    FIRN_ASSERT(done.has_value());
    ++rounds_;
    fiber::yield();
  }

  TreeWorld& world_;
  tree::Shape shape_;
  std::optional<tree::Tree> tree_;
  bool stop_ = false;
  bool ended_ = false;
  std::uint64_t rounds_ = 0;
  std::uint64_t refused_ = 0;
};

struct Load {
  std::uint64_t frame_bytes = 0;  // at any time; 0: what the maps leave
  std::size_t in_flight = 200;
  std::uint64_t operations = 3000;
  std::size_t value_size = 100;
  bool in_order = true;
};

// Puts, and then lookups of what was put. Returns how many were refused for lack of memory.
std::uint64_t run(TreeWorld& tree, const Load& load, Background& background, std::uint64_t seed) {
  struct Flight {
    std::unique_ptr<TreeOperation> operation;
    std::uint64_t number = 0;
  };
  std::vector<Flight> flights(load.in_flight);
  std::uint64_t next = 0;
  std::uint64_t refused = 0;
  base::Random random(seed);
  const auto land = [&](Flight& flight) {
    const auto& result = flight.operation->result();
    if (!result.has_value()) {
      REQUIRE(result.error().code == ErrorCode::no_memory);
      if (++refused == 1) WARN(result.error().message());
    }
    flight.operation.reset();
  };
  background.start();
  const bool ended = tree.world.executors.run([&] {
    bool busy = false;
    for (std::size_t index = 0; index < flights.size(); ++index) {
      Flight& flight = flights[index];
      if (flight.operation != nullptr && flight.operation->done()) land(flight);
      if (flight.operation == nullptr && next < load.operations) {
        // The maps grow with the data; what is left for frames stays as it is.
        if (load.frame_bytes > 0 && next % 64 == 0) tree.world.shrink_to(load.frame_bytes);
        flight.number = load.in_order ? next : random.below(load.operations);
        ++next;
        flight.operation = tree.operation();
        flight.operation->deed = random.one_in(4) ? TreeDeed::lookup : TreeDeed::write;
        flight.operation->key = numbered_key(flight.number);
        flight.operation->value = std::string(load.value_size, 'v');
        REQUIRE(flight.operation->post(tree.world.executors.executor(index % 3)).has_value());
      }
      busy = busy || flight.operation != nullptr;
    }
    return !busy;
  });
  if (!ended) nobody_goes_on(tree, seed);
  background.stop();
  if (!tree.world.executors.run([&] { return background.ended(); })) nobody_goes_on(tree, seed);
  return refused;
}

}  // namespace

TEST_CASE("tree: more operations than memory holds pages for come to an end", "[tree]") {
  std::uint64_t seed = 0;
  for (const std::uint64_t frame_kib : {128u, 200u, 400u}) {
    for (const bool in_order : {true, false}) {
      for (const unsigned leaf_class : {0u, 1u, 2u}) {
        // Values in the leaves, and such as have pages of their own in most trees.
        const std::size_t value_size = ++seed % 2 == 0 ? 100 : 3000;
        TreeWorld tree({.seed = seed, .leaf_class = leaf_class});
        Background background(tree);
        const Load load{
            .frame_bytes = frame_kib * 1024, .value_size = value_size, .in_order = in_order};
        const std::uint64_t refused = run(tree, load, background, seed);
        INFO("seed " << seed);
        CHECK(refused == 0);
        CHECK(background.rounds() > 0);
        const tree::Census census = tree.census();
        if (!in_order || value_size > 1000) continue;
        // No page is made in vain, but where somebody else's latch comes between.
        const auto next = tree.world.store->allocate_page(leaf_class);
        REQUIRE(next.has_value());
        CHECK(next->slot() < census.leaf_pages + 32);
      }
    }
  }
}

TEST_CASE("tree: an operation that does not fit into what is left is told no_memory", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    INFO("seed " << seed);
    TreeWorld tree({.seed = seed, .leaf_class = static_cast<unsigned>(seed % 3)});
    Background background(tree);
    background.may_be_refused = true;
    tree.world.shrink_to(100 * 1024);
    const std::uint64_t refused =
        run(tree, {.operations = 4000, .value_size = 3000, .in_order = seed % 2 == 0}, background,
            seed);
    CHECK(refused > 0);
    CHECK(background.refused() < background.rounds());
    REQUIRE(tree.world.pool->set_budget(4ULL << 20).has_value());
    CHECK(tree.write(Write::put, numbered_key(1), "there is room again"));
    static_cast<void>(tree.census());
  }
}

TEST_CASE("tree: background work goes on while operations hold all tickets and wait", "[tree]") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    TreeWorld tree({.seed = seed});
    Background background(tree);
    for (std::uint64_t number = 0; number < 3000; ++number) {
      REQUIRE(tree.write(Write::put, numbered_key(number), std::string(100, 'v')));
    }
    tree.world.shrink_to(200 * 1024);
    REQUIRE(tree.world.checkpoint().has_value());
    while (tree.world.pool->statistics().frame_bytes > 0) {
      static_cast<void>(tree.world.pool->evict(1 << 20, 1000));
    }
    std::vector<std::unique_ptr<TreeOperation>> lookups;
    base::Random random(seed);
    for (std::size_t index = 0; index < 400; ++index) {
      lookups.push_back(tree.operation());
      lookups.back()->key = numbered_key(random.below(3000));
      REQUIRE(lookups.back()->post(tree.world.executors.executor(1 + index % 2)).has_value());
    }
    const std::uint64_t waits = tree.world.pool->statistics().memory_waits;
    REQUIRE(tree.world.executors.run(
        [&] { return tree.world.pool->statistics().memory_waits > waits + 100; }));
    // The others are not ticked any more; what they have they keep.
    tree.world.executors.tick_only(0);
    background.start();
    if (!tree.world.executors.run([&] { return background.rounds() >= 3; }))
      nobody_goes_on(tree, seed);
    background.stop();
    if (!tree.world.executors.run([&] { return background.ended(); })) nobody_goes_on(tree, seed);
    tree.world.executors.tick_only(std::nullopt);
    const bool ended = tree.world.executors.run([&] {
      return std::all_of(lookups.begin(), lookups.end(),
                         [](const auto& lookup) { return lookup->done(); });
    });
    if (!ended) nobody_goes_on(tree, seed);
    for (const auto& lookup : lookups) CHECK(lookup->found.has_value());
  }
}
