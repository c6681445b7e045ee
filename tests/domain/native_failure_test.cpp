// Native domains over a simulated device: power cuts at any moment between operations, refused
// requests, failed syncs. One executor does everything.
#include <array>

#include "runtime/executor_access.hpp"
#include "segment/simulated.hpp"
#include "support/native.hpp"

using namespace firn::test;
using firn::Domain;
using firn::DomainOptions;
using firn::Executor;
using firn::segment::FaultKind;

namespace {

struct OpenOver {
  firn::domain::NativeSeam seam;
  DomainOptions options;
  firn::detail::Reference<firn::detail::DomainCore> core = {};
  firn::detail::Progress operator()(firn::OperationBase& operation, firn::Error& error) noexcept {
    return firn::domain::open_native_with(operation, error, "simulated", options, seam, core);
  }
};
struct TakeDomain {
  firn::Result<Domain> operator()(OpenOver& step) noexcept { return Domain(std::move(step.core)); }
};

// A device, and the domain on it from one opening to the next.
class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed), device_(48 << 20) { open(); }
  ~World() { shut(); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  template <class Operation>
  auto run(Operation&& operation) {
    REQUIRE(operation.post(executor_));
    while (!operation.done()) {
      if (executor_.tick(std::chrono::nanoseconds(0)) == 0) executor_.wait_for_work();
    }
    return std::move(operation.result());
  }
  void open() {
    firn::segment::SimulatedOptions simulated;
    simulated.seed = random_.next();
    backend_ = std::make_unique<firn::segment::SimulatedBackend>(device_, simulated);
    DomainOptions options = NativeFile::small();
    options.background_thread = false;
    firn::DomainOperation<Domain, OpenOver, TakeDomain> opening(
        OpenOver{{.segment = backend_.get(), .domain_id = 77}, options}, TakeDomain{});
    auto opened = run(opening);
    if (!opened.has_value()) FAIL(opened.error().message());
    domain_ = *std::move(opened);
    open_ = true;
  }
  void shut() {
    if (!open_) return;
    domain_ = Domain();
    backend_.reset();
    open_ = false;
  }
  void crash() {
    backend_->power_off();
    shut();
    device_.cut_power(random_);
    open();
  }

  [[nodiscard]] Domain& domain() { return domain_; }
  [[nodiscard]] firn::segment::SimulatedBackend& backend() { return *backend_; }
  [[nodiscard]] firn::base::Random& random() { return random_; }

 private:
  firn::base::Random random_;
  Executor executor_ = Executor::create().value();
  firn::segment::SimulatedDevice device_;
  std::unique_ptr<firn::segment::SimulatedBackend> backend_;
  Domain domain_;
  bool open_ = false;
};

using Pairs = std::map<std::uint64_t, std::string>;

Pairs pairs_of(World& world, firn::Table<WordType>& table) {
  Pairs pairs;
  auto cursor = table.cursor();
  while (true) {
    const auto moved = world.run(cursor.next());
    REQUIRE(error_of(moved) == "");
    if (!*moved) return pairs;
    pairs.emplace(cursor.key(), cursor.record());
  }
}

}  // namespace

TEST_CASE("catalogue: every power cut leaves the tables and pairs of the last checkpoint",
          "[catalogue]") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    INFO("seed " << seed);
    World world(seed);
    std::map<std::string, Pairs> now;
    std::map<std::string, Pairs> durable;
    std::map<std::string, firn::Table<WordType>> tables;
    const std::array<std::string, 3> names = {"a", "b", "c"};
    for (int step = 0; step < 600; ++step) {
      const std::string& name = names[world.random().below(names.size())];
      const bool there = now.contains(name);
      const std::uint64_t act = world.random().below(200);
      if (!there) {
        auto made = world.run(world.domain().create_table<WordType>(name));
        REQUIRE(error_of(made) == "");
        tables[name] = *std::move(made);
        now[name] = {};
      } else if (act == 0) {
        auto destroyed = world.run(world.domain().destroy_table(std::move(tables[name])));
        REQUIRE(error_of(destroyed) == "");
        tables.erase(name);
        now.erase(name);
      } else if (act < 4) {
        REQUIRE(error_of(world.run(world.domain().checkpoint())) == "");
        durable = now;
      } else if (act < 6) {
        tables.clear();
        world.crash();
        now = durable;
        CHECK(world.run(world.domain().tables())->size() == durable.size());
        for (const auto& [each, pairs] : durable) {
          auto opened = world.run(world.domain().open_table<WordType>(each));
          REQUIRE(error_of(opened) == "");
          tables[each] = *std::move(opened);
          CHECK(pairs_of(world, tables[each]) == pairs);
        }
      } else {
        const std::uint64_t key = world.random().below(400);
        if (act < 60) {
          REQUIRE(error_of(world.run(tables[name].erase(key))) == "");
          now[name].erase(key);
        } else {
          const std::string record(world.random().below(act < 80 ? 20'000 : 500), 'r');
          REQUIRE(error_of(world.run(tables[name].put(key, record))) == "");
          now[name][key] = record;
        }
      }
    }
    tables.clear();
  }
}

TEST_CASE("native: every power cut during the first opening leaves what can be opened",
          "[domain]") {
  bool opened = false;
  for (std::uint64_t ticks = 0; !opened; ++ticks) {
    INFO("after " << ticks << " ticks");
    firn::base::Random random(ticks);
    Executor executor = Executor::create().value();
    firn::segment::SimulatedDevice device(48 << 20);
    const auto try_open = [&](std::uint64_t ticks_max) {
      firn::segment::SimulatedOptions simulated;
      simulated.seed = random.next();
      firn::segment::SimulatedBackend backend(device, simulated);
      DomainOptions options = NativeFile::small();
      options.background_thread = false;
      firn::DomainOperation<Domain, OpenOver, TakeDomain> opening(
          OpenOver{{.segment = &backend, .domain_id = 77}, options}, TakeDomain{});
      REQUIRE(opening.post(executor));
      for (std::uint64_t tick = 0; !opening.done(); ++tick) {
        if (tick == ticks_max) backend.power_off();
        if (executor.tick(std::chrono::nanoseconds(0)) == 0) executor.wait_for_work();
      }
      const auto result = std::move(opening.result());
      return std::string(error_of(result));
    };
    opened = try_open(ticks).empty();
    device.cut_power(random);
    CHECK(try_open(~std::uint64_t{0}) == "");
  }
}

TEST_CASE("native: a checkpoint after one that failed holds what was changed since", "[domain]") {
  World world(5);
  auto words = world.run(world.domain().create_table<WordType>("words")).value();
  REQUIRE(error_of(world.run(words.put(1, "one"))) == "");
  REQUIRE(error_of(world.run(world.domain().checkpoint())) == "");
  REQUIRE(error_of(world.run(words.put(2, "two"))) == "");
  world.backend().inject({.kind = FaultKind::io_error, .count = firn::segment::FaultRule::forever});
  CHECK(error_of(world.run(world.domain().checkpoint())) == "io_error");
  CHECK(!world.backend().faults().empty());
  CHECK(world.run(words.lookup(2)).value() == "two");
  REQUIRE(error_of(world.run(words.put(3, "three"))) == "");
  world.backend().heal();
  REQUIRE(error_of(world.run(world.domain().checkpoint())) == "");
  words = {};
  world.crash();
  words = world.run(world.domain().open_table<WordType>("words")).value();
  CHECK(pairs_of(world, words) == Pairs{{1, "one"}, {2, "two"}, {3, "three"}});
  words = {};
}

TEST_CASE("native: after a failed sync every update says that the domain must be reopened",
          "[domain]") {
  World world(6);
  auto words = world.run(world.domain().create_table<WordType>("words")).value();
  auto notes = world.run(world.domain().create_table<NoteType>("notes")).value();
  REQUIRE(error_of(world.run(words.put(1, "one"))) == "");
  REQUIRE(error_of(world.run(world.domain().checkpoint())) == "");
  REQUIRE(error_of(world.run(words.put(2, "two"))) == "");
  world.backend().inject({.kind = FaultKind::failed_sync});
  CHECK(error_of(world.run(world.domain().checkpoint())) != "");
  CHECK(error_of(world.run(words.put(3, "three"))) == "failed");
  CHECK(error_of(world.run(words.erase(1))) == "failed");
  CHECK(error_of(world.run(notes.insert("note"))) == "failed");
  CHECK(error_of(world.run(world.domain().checkpoint())) == "failed");
  CHECK(error_of(world.run(world.domain().create_table<WordType>("more"))) == "failed");
  const auto refused = world.run(words.put(3, "three"));
  CHECK(refused.error().message().find("reopen") != std::string::npos);
  CHECK(world.run(words.lookup(1)).value() == "one");
  words = {};
  notes = {};
  CHECK(error_of(world.run(world.domain().close())) == "failed");
  world.shut();
  world.open();
  words = world.run(world.domain().open_table<WordType>("words")).value();
  CHECK(world.run(words.lookup(1)).value() == "one");
  words = {};
}

TEST_CASE("native: a full device refuses updates or checkpoints and the domain stays usable",
          "[domain]") {
  World world(7);
  auto words = world.run(world.domain().create_table<WordType>("words")).value();
  REQUIRE(error_of(world.run(words.put(1, "one"))) == "");
  REQUIRE(error_of(world.run(world.domain().checkpoint())) == "");
  world.backend().inject({.kind = FaultKind::no_space, .count = firn::segment::FaultRule::forever});
  for (std::uint64_t key = 100; key < 300; ++key) {
    const auto put = world.run(words.put(key, std::string(20'000, 'r')));
    if (put.has_value()) continue;
    CHECK(error_of(put) == "no_space");
    break;
  }
  CHECK(error_of(world.run(world.domain().checkpoint())) == "no_space");
  // A page that has to be read may find memory full of others that cannot be written.
  const auto looked_up = world.run(words.lookup(1));
  CHECK((looked_up.has_value() ? **looked_up == "one" : error_of(looked_up) == "no_space"));
  world.backend().heal();
  // The cleaner finds out a moment later that there is room again.
  bool put = false;
  for (int attempt = 0; attempt < 1000 && !put; ++attempt) {
    put = world.run(words.put(2, "two")).has_value();
  }
  REQUIRE(put);
  REQUIRE(error_of(world.run(world.domain().checkpoint())) == "");
  words = {};
  world.crash();
  words = world.run(world.domain().open_table<WordType>("words")).value();
  CHECK(world.run(words.lookup(2)).value() == "two");
  words = {};
}
