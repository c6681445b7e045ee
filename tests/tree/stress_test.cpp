// Trees under threads with executors of their own, over a segment in memory and few frames: each
// key is written by one thread, which knows what it holds; everybody reads and scans all of them.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <firn/executor.hpp>
#include <firn/fiber.hpp>

#include "runtime/executor_access.hpp"
#include "segment/memory.hpp"
#include "support/catch.hpp"
#include "support/on_fiber.hpp"
#include "tree/tree_world.hpp"

namespace {

using namespace firn;
using namespace firn::test;

constexpr unsigned thread_count = 4;
constexpr std::uint64_t key_count = 2000;

std::string key_of(std::uint64_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "key/%08llu", static_cast<unsigned long long>(number * 7919));
  return text;
}

struct Stress {
  buffer::Pool* pool = nullptr;
  tree::Tree* tree = nullptr;
  std::atomic<bool> cleaner_started{false};
  std::atomic<bool> stop{false};
  std::atomic<const char*> failure{nullptr};
  std::atomic<std::uint64_t> lookups{0}, writes{0}, moves{0};

  void check(bool holds, const char* what) {
    if (!holds) failure.store(what);
  }
};

// One operation under way at a time for each of these.
struct Flight {
  std::unique_ptr<TreeOperation> operation;
  std::uint64_t number = 0;
  bool own = false;
};

class Worker {
 public:
  Worker(Stress& stress, unsigned index) : stress_(stress), index_(index), random_(index + 1) {
    own_.resize(key_count);
  }

  void run() {
    auto created = runtime::ExecutorCore::create();
    stress_.check(created.has_value(), "no executor");
    if (!created.has_value()) return;
    runtime::ExecutorCore& core = **created;
    Executor executor = ExecutorAccess::adopt(&core);
    if (index_ == 0) {
      stress_.check(stress_.pool->start_background(core).has_value(), "no cleaner");
      stress_.cleaner_started.store(true);
    }
    while (!stress_.cleaner_started.load()) std::this_thread::yield();
    if (index_ == 1) {
      checkpoint_ended_ = false;
      const auto spawned = fiber::spawn(executor, [&]() noexcept {
        while (!stress_.stop.load()) {
          stress_.check(stress_.pool->checkpoint(core, {}).has_value(), "a checkpoint failed");
          for (int turn = 0; turn < 50; ++turn) fiber::yield();
        }
        checkpoint_ended_ = true;
      });
      stress_.check(spawned.has_value(), "no fiber");
    }
    bool busy = true;
    while (busy || !checkpoint_ended_) {
      busy = false;
      for (Flight& flight : flights_) {
        land(flight);
        if (flight.operation == nullptr && !stress_.stop.load()) take_off(flight, executor);
        busy = busy || flight.operation != nullptr;
      }
      executor.tick(std::chrono::nanoseconds(0));
    }
    if (index_ != 0) return;
    // The others need the cleaner until they have ended.
    while (ended_count.load() + 1 < thread_count) executor.tick(std::chrono::milliseconds(1));
    stress_.pool->stop_background();
  }
  static inline std::atomic<unsigned> ended_count{0};

 private:
  void take_off(Flight& flight, Executor& executor) {
    const std::uint64_t number = random_.below(key_count);
    flight.own = number % thread_count == index_;
    if (flight.own && own_[number].busy) return;
    flight.number = number;
    flight.operation = std::make_unique<TreeOperation>(*stress_.pool, *stress_.tree);
    TreeOperation& its = *flight.operation;
    its.key = key_of(number);
    if (flight.own) {
      own_[number].busy = true;
      if (random_.below(4) > 0) {
        its.deed = TreeDeed::write;
        // The tree swells and shrinks: leaves split and merge.
        const bool shrinks = (++step_ / 4000) % 2 == 1;
        its.kind = random_.below(10) < (shrinks ? 7u : 3u) ? Write::erase : Write::put;
        its.value = its.key + "=" + std::string(random_.below(300), '.');
        if (random_.below(200) == 0) its.value += std::string(9000, '#');
      }
    } else if (random_.below(3) == 0) {
      TreeCursor& cursor = flight_cursor(flight);
      const std::string standing(cursor.shown.key.view().text());
      const bool walks = !standing.empty() && random_.below(16) > 0;
      // Half of the cursors go forward mostly, the others backward.
      const bool turns = random_.below(walks ? 32 : 2) == 0;
      const bool backward = turns != ((&flight - flights_.data()) % 2 == 1);
      its.move_with(cursor, backward ? Target::before : Target::after);
      if (walks) {
        its.key = standing;
      } else {
        its.key_view.reset();
      }
    }
    stress_.check(its.post(executor).has_value(), "an operation cannot be posted");
  }

  void land(Flight& flight) {
    if (flight.operation == nullptr || !flight.operation->done()) return;
    TreeOperation& its = *flight.operation;
    if (!its.result().has_value()) {
      std::fprintf(stderr, "%s\n", its.result().error().message().c_str());
      stress_.check(false, "an operation failed");
    } else {
      judge(flight, its, *its.result());
    }
    if (flight.own) own_[flight.number].busy = false;
    flight.operation.reset();
  }

  void judge(Flight& flight, TreeOperation& its, bool yes) {
    Own& own = own_[flight.number];
    switch (its.deed) {
      case TreeDeed::lookup:
        ++stress_.lookups;
        if (yes)
          stress_.check(its.found->compare(0, its.key.size(), its.key) == 0, "a wrong value");
        if (flight.own) {
          stress_.check(yes == own.there, "an own key is there, or not, against what was written");
          if (yes && own.there) stress_.check(*its.found == own.value, "not what was written");
        }
        return;
      case TreeDeed::write:
        ++stress_.writes;
        if (its.kind == Write::erase) {
          stress_.check(yes == own.there, "an erase found what is not there");
          own.there = false;
        } else {
          stress_.check(yes && its.pairs == (own.there ? 0 : 1), "a put counted wrongly");
          own.there = true;
          own.value = its.value;
        }
        return;
      case TreeDeed::move: {
        ++stress_.moves;
        stress_.check(its.stayed, "a move that waited has changed what was shown");
        if (!yes) return;
        const std::string key(its.shown->key.view().text());
        stress_.check(its.target == Target::after ? its.key < key : key < its.key,
                      "a cursor moved the wrong way");
        stress_.check(its.shown->value.text().substr(0, key.size()) == key, "a wrong value");
        return;
      }
    }
  }
  TreeCursor& flight_cursor(const Flight& flight) {
    return cursors_[static_cast<std::size_t>(&flight - flights_.data())];
  }

  struct Own {
    bool busy = false;
    bool there = false;
    std::string value;
  };
  Stress& stress_;
  const unsigned index_;
  base::Random random_;
  std::vector<Own> own_;
  std::array<Flight, 8> flights_;
  std::array<TreeCursor, 8> cursors_;
  std::uint64_t step_ = 0;
  bool checkpoint_ended_ = true;
};

std::chrono::milliseconds duration() {
  const char* seconds = std::getenv("FIRN_STRESS_SECONDS");
  return seconds == nullptr ? std::chrono::milliseconds(3000)
                            : std::chrono::seconds(std::atoi(seconds));
}

}  // namespace

TEST_CASE("tree: threads that write - read and scan over few frames agree", "[tree]") {
  for (const unsigned leaf_class : {0u, 1u}) {
    auto device = segment::MemoryBackend::create({.size_bytes = 64ULL << 20});
    REQUIRE(device.has_value());
    SimulatedExecutor builder;
    std::unique_ptr<store::Store> store;
    REQUIRE(builder.run([&] {
      auto made = store::Store::create(builder.core(), **device, {}, 77);
      if (made.has_value()) store = std::move(*made);
    }));
    REQUIRE(store != nullptr);
    buffer::PoolOptions options;
    options.memory_budget = 4ULL << 20;
    options.write_buffer_bytes = 256 * 1024;
    options.copy_buffer_bytes = 128 * 1024;
    options.memory.data_bytes = 64ULL << 20;
    auto pool = buffer::Pool::create(*store, options);
    REQUIRE(pool.has_value());
    tree::Tree::register_kinds(**pool);
    tree::Shape shape;
    shape.table = 5;
    shape.leaf_class = static_cast<std::uint8_t>(leaf_class);
    REQUIRE(builder.run([&] { REQUIRE(tree::Tree::create(**pool, shape).has_value()); }));
    const buffer::PoolStatistics now = (*pool)->statistics();
    REQUIRE((*pool)->set_budget(now.used_bytes - now.frame_bytes + 400 * 1024).has_value());
    tree::Tree tree(**pool, shape);
    Stress stress;
    stress.pool = pool->get();
    stress.tree = &tree;
    Worker::ended_count = 0;
    std::vector<std::thread> threads;
    for (unsigned index = 0; index < thread_count; ++index) {
      threads.emplace_back([&stress, index] {
        Worker(stress, index).run();
        ++Worker::ended_count;
      });
    }
    const auto end = std::chrono::steady_clock::now() + duration() / 2;
    while (std::chrono::steady_clock::now() < end && stress.failure.load() == nullptr) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    stress.stop.store(true);
    for (std::thread& thread : threads) thread.join();
    if (stress.failure.load() != nullptr) FAIL(stress.failure.load());
    CHECK(stress.lookups > 100);
    CHECK(stress.writes > 100);
    CHECK(stress.moves > 100);
    tree::Census census;
    Result<void> checked;
    REQUIRE(builder.run([&] { checked = tree.census(census); }));
    if (!checked.has_value()) FAIL(checked.error().message());
    WARN("tree stress: " << stress.lookups << " lookups, " << stress.writes << " writes, "
                         << stress.moves << " moves, " << (*pool)->statistics().evictions
                         << " evictions");
  }
}
