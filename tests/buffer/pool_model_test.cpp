// The pool against a model, everything in one thread by seed: random operations of several
// executors over few frames, checkpoints all the while, and after a power cut the published one.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>

#include "buffer/fault_handler.hpp"
#include "buffer/pool_operations.hpp"
#include "buffer/pool_world.hpp"
#include "support/dies.hpp"

namespace {

using namespace firn;
using namespace firn::test;

struct RunOptions {
  std::uint64_t seed = 1;
  std::uint64_t operations = 3000;
  std::size_t entries = 80;
  std::uint64_t frames = 16;  // of 4 KiB
  unsigned class_count = 1;
  bool read_faults = false;
  bool resizes = false;
  bool guard = false;  // an evicted page faults
};

Executors* yielding = nullptr;
int yield_depth = 0;

// Lets another executor run in the midst of an operation.
void run_another(const char*) noexcept {
  if (yielding == nullptr || yield_depth >= 2) return;
  ++yield_depth;
  while (yielding->random().one_in(3) && yielding->tick_one()) {
  }
  --yield_depth;
}

class Run {
 public:
  explicit Run(const RunOptions& options) : options_(options), world_(world_options(options)) {}

  void operator()() {
    model_.entries.resize(options_.entries);
    world_.start_background(0);
    populate();
    world_.shrink_to(options_.frames * 4096);
    if (options_.read_faults) {
      model_.may_fail = true;
      segment::FaultRule rule;
      rule.kind = segment::FaultKind::bit_flip_on_read;
      rule.count = segment::FaultRule::forever;
      rule.one_in = 8;
      world_.backend->inject(rule);
    }
#ifdef FIRN_PLANTED_BUGS
    yielding = &world_.executors;
    base::yield_hook.store(&run_another);
#endif
    start_checkpoints();
    drive(options_.operations);
    stop_checkpoints_ = true;
    REQUIRE(world_.executors.run([&] { return checkpoints_ended_; }));
#ifdef FIRN_PLANTED_BUGS
    base::yield_hook.store(nullptr);
    yielding = nullptr;
#endif
    INFO("seed " << options_.seed);
    if (model_.wrong != nullptr) FAIL(model_.wrong);
    const buffer::PoolStatistics figures = world_.pool->statistics();
    CHECK(figures.used_bytes <= figures.budget_bytes);
    end_background();
    world_.pool->check_well_formed();
    world_.store->check_well_formed();
    check_published();
  }

  static void print(const buffer::PoolStatistics& figures) {
    std::printf(
        "pool: %llu of %llu bytes, %llu in frames, %llu faults (%llu failed), %llu evictions, %llu "
        "writes (%llu failed), %llu owed, %llu page waits, "
        "%llu memory waits, %llu checkpoints\n",
        ull(figures.used_bytes), ull(figures.budget_bytes), ull(figures.frame_bytes),
        ull(figures.faults), ull(figures.failed_faults), ull(figures.evictions),
        ull(figures.write_backs), ull(figures.failed_write_backs), ull(figures.owed_copies),
        ull(figures.page_waits), ull(figures.memory_waits), ull(figures.checkpoints));
  }
  static unsigned long long ull(std::uint64_t value) { return value; }
  [[nodiscard]] buffer::PoolStatistics figures() const { return world_.pool->statistics(); }
  [[nodiscard]] const PageModel& model() const { return model_; }

 private:
  static WorldOptions world_options(const RunOptions& options) {
    WorldOptions world;
    world.seed = options.seed;
    if (options.guard) world.pool.memory.kind = buffer::MemoryKind::guard;
    return world;
  }

  void populate() {
    for (std::size_t index = 0; index < options_.entries; ++index) {
      const unsigned size_class = static_cast<unsigned>(index % options_.class_count);
      PageOperation create(*world_.pool, model_, PageDeed::create, index, index, size_class);
      REQUIRE(create.post(world_.executors.executor(0)).has_value());
      REQUIRE(world_.executors.run([&] { return create.done(); }));
    }
  }

  void drive(std::uint64_t operations) {
    base::Random& random = world_.executors.random();
    std::array<std::unique_ptr<PageOperation>, 12> flying;
    for (std::uint64_t begun = 0; begun < operations || any(flying);) {
      for (auto& operation : flying) {
        if (operation != nullptr && operation->done()) operation.reset();
        if (operation != nullptr || begun >= operations) continue;
        ++begun;
        if (options_.resizes && begun % 100 == 0) {
          world_.shrink_to((8 + random.below(options_.frames)) * 4096);
        }
        const std::size_t first = random.below(options_.entries);
        const std::size_t second = random.below(options_.entries);
        operation = std::make_unique<PageOperation>(
            *world_.pool, model_, deed(random), first, second,
            static_cast<unsigned>(random.below(options_.class_count)));
        const auto posted =
            operation->post(world_.executors.executor(random.below(world_.executors.count())));
        REQUIRE(posted.has_value());
      }
      if (model_.wrong != nullptr) FAIL(model_.wrong << ", seed " << options_.seed);
      if (++tick_count_ > operations * 1000) {
        print(world_.pool->statistics());
        std::fflush(stdout);
        std::fprintf(stderr, "pool model: seed %llu: it does not come to an end\n",
                     ull(options_.seed));
        std::_Exit(3);
      }
      bool one_tick = false;
      if (!world_.executors.run([&] { return std::exchange(one_tick, true); })) {
        std::fprintf(stderr, "pool model: seed %llu: nobody can go on\n", ull(options_.seed));
        std::_Exit(3);  // parked operations cannot be destroyed
      }
      if (model_.wrong != nullptr) {
        std::fprintf(stderr, "pool model: seed %llu: %s\n", ull(options_.seed), model_.wrong);
        std::_Exit(3);
      }
    }
  }
  static bool any(const std::array<std::unique_ptr<PageOperation>, 12>& flying) {
    for (const auto& operation : flying) {
      if (operation != nullptr) return true;
    }
    return false;
  }
  // Five pages at once, and two new ones beside two others, need more than the fewest frames.
  [[nodiscard]] PageDeed deed(base::Random& random) const {
    constexpr std::uint64_t frames_for_many = 16;
    const bool many =
        options_.frames >= frames_for_many && options_.class_count == 1 && !options_.resizes;
    switch (random.below(many ? 19 : 16)) {
      case 0:
      case 16:
        return PageDeed::free;
      case 17:
        return PageDeed::split;
      case 18:
        return PageDeed::change_five;
      case 1:
      case 2:
        return PageDeed::create;
      case 3:
      case 4:
      case 5:
        return PageDeed::change_two;
      case 6:
      case 7:
      case 8:
      case 9:
        return PageDeed::change;
      default:
        return PageDeed::read;
    }
  }

  // One after another, with a copy of the model as it is when the number is fixed.
  void start_checkpoints() {
    const auto spawned = fiber::spawn(world_.executors.executor(1), [this]() noexcept {
      while (!stop_checkpoints_) {
        auto snapshot = model_.entries;
        const auto done = world_.pool->checkpoint(world_.executors.core(1), {});
        model_.check(done.has_value(), "a checkpoint failed");
        if (!done.has_value()) break;
        published_ = std::move(snapshot);
        for (int turn = 0; turn < 20; ++turn) fiber::yield();
      }
      checkpoints_ended_ = true;
    });
    REQUIRE(spawned.has_value());
  }

  void end_background() {
    world_.pool->end_background();
    REQUIRE(world_.executors.run([&] { return world_.pool->background_ended(); }));
    world_.pool->stop_background();
  }

  // The power goes; what is left is the published checkpoint, exactly.
  void check_published() {
    Run::print(world_.pool->statistics());
    world_.pool.reset();
    world_.store.reset();
    world_.backend->heal();
    world_.backend.reset();
    world_.device.drop_pending();
    segment::SimulatedBackend backend(world_.device, {});
    world_.executors.on_fiber([&](runtime::ExecutorCore& core) {
      auto opened = store::Store::open(core, backend, {});
      model_.check(opened.has_value(), "the store does not open");
      if (!opened.has_value()) return;
      std::size_t count = 0;
      for (const PageModel::Entry& entry : published_) {
        if (!entry.exists) continue;
        ++count;
        auto generation = read_page(**opened, core, entry.page);
        model_.check(generation.has_value(), "a page of the checkpoint cannot be read");
        if (!generation.has_value()) continue;
        model_.check(*generation == entry.generation,
                     "a page of the checkpoint has another generation");
      }
      model_.check((*opened)->statistics().pages == count, "the checkpoint has other pages");
    });
    if (model_.wrong != nullptr) FAIL(model_.wrong << ", seed " << options_.seed);
  }

  const RunOptions options_;
  PoolWorld world_;
  PageModel model_;
  std::vector<PageModel::Entry> published_;
  std::uint64_t tick_count_ = 0;
  bool stop_checkpoints_ = false;
  bool checkpoints_ended_ = false;
};

std::uint64_t first_seed() {
  const char* wanted = std::getenv("FIRN_SEED");
  return wanted == nullptr ? 1 : std::strtoull(wanted, nullptr, 10);
}

}  // namespace

TEST_CASE("pool: random operations over few frames agree with a model - checkpoints too",
          "[pool]") {
  // A planted bug may need a history that few seeds have.
  const std::uint64_t seed_count = std::getenv("FIRN_PLANT") == nullptr ? 40 : 400;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + seed_count; ++seed) {
    RunOptions options;
    options.seed = seed;
    options.frames = 8 + seed * 5 % 57;
    options.entries = options.frames * 4;
    Run run(options);
    run();
  }
}

TEST_CASE("pool: where an evicted page faults - nobody but an optimistic reader comes to it",
          "[pool]") {
  if (!buffer::fault_recovery_supported()) return;
  // In a child, since Catch puts handlers of its own around each test case.
  const int status = status_of_child([] {
    try {
      for (std::uint64_t seed = first_seed(); seed < first_seed() + 3; ++seed) {
        RunOptions options;
        options.seed = seed;
        options.frames = 12;
        options.guard = true;
        Run run(options);
        run();
        if (run.model().reads == 0) ::_exit(2);
      }
    } catch (...) {
      ::_exit(1);
    }
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("page-classes: pages of several sizes share one budget and agree with a model",
          "[page-classes]") {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 6; ++seed) {
    RunOptions options;
    options.seed = seed;
    options.class_count = 4;
    options.frames = 40 + seed % 12 * 7;
    options.entries = 60;
    Run run(options);
    run();
  }
}

TEST_CASE("pool: reads that fail leave the page evicted and the others usable", "[pool]") {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 6; ++seed) {
    RunOptions options;
    options.seed = seed;
    options.read_faults = true;
    Run run(options);
    run();
    CHECK(run.model().errors > 0);
  }
}

TEST_CASE("pool-resize: the budget moves up and down while operations run", "[pool-resize]") {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 6; ++seed) {
    RunOptions options;
    options.seed = seed;
    options.frames = 56;
    options.entries = 120;
    options.resizes = true;
    Run run(options);
    run();
  }
}
