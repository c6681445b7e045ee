// What the operation machinery costs: one lookup in a small table in memory, as the bare call into
// the table and as an operation in each of the five ways.
//   operation_overhead --benchmark_repetitions=21 --benchmark_enable_random_interleaving=true
//   operation_overhead --run WAY COUNT: just that, for scripts/instructions
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <benchmark/benchmark.h>

#include <firn/firn.hpp>

#include "domain/core.hpp"

namespace {

using namespace std::chrono_literals;
using firn::Bytes;

void must(bool holds) noexcept {
  if (!holds) std::abort();
}
template <class T>
T must(firn::Result<T> result) noexcept {
  if (!result.has_value()) std::abort();
  return *std::move(result);
}

// An operation only to be parked, which never happens here.
class Nobody final : public firn::Operation<bool> {
  firn::detail::Progress step() noexcept override { return firn::detail::Progress::yes; }
  void settle(firn::detail::Progress) noexcept override { settle_with(firn::Result<bool>(true)); }
};

struct World {
  static constexpr std::size_t pair_count = 64;

  World()
      : executor(must(firn::Executor::create())),
        domain(must(firn::Domain::open("", {.type = firn::DomainType::light}).wait())),
        table(must(domain
                       .create_table<firn::BytesType>("table",
                                                      {.persistence = firn::Persistence::volatile_})
                       .wait())) {
    for (std::size_t index = 0; index < pair_count; ++index) {
      auto& key = keys[index];
      std::snprintf(key.data(), key.size(), "key %03zu", index);
      must(table.put(key_at(index), Bytes("0123456789abcdef")).wait().has_value());
    }
  }
  [[nodiscard]] Bytes key_at(std::size_t index) const noexcept {
    return Bytes(std::string_view(keys[index % pair_count].data()));
  }

  firn::Executor executor;
  firn::Domain domain;
  firn::Table<firn::BytesType> table;
  std::array<std::array<char, 8>, pair_count> keys{};
  std::size_t byte_count = 0;
};

// Each runs lookups while `go_on()` says so.
template <class GoOn>
void run_bare(World& world, GoOn&& go_on) {
  Nobody nobody;
  firn::Error error;
  const firn::detail::RecordSink sink{[](void* context, Bytes record) noexcept {
                                        *static_cast<std::size_t*>(context) += record.size();
                                      },
                                      &world.byte_count};
  firn::detail::TableCore& core = *world.table.core();
  for (std::size_t index = 0; go_on(); ++index) {
    must(core.lookup(nobody, error, nullptr, world.key_at(index), sink) ==
         firn::detail::Progress::yes);
  }
}

auto read(World& world, std::size_t index) noexcept {
  return world.table.read(world.key_at(index),
                          [&world](Bytes record) noexcept { world.byte_count += record.size(); });
}

template <class GoOn>
void run_post(World& world, GoOn&& go_on) {
  for (std::size_t index = 0; go_on(); ++index) {
    auto operation = read(world, index);
    must(operation.post(world.executor).has_value());
    must(*operation.result());
  }
}
template <class GoOn>
void run_wait(World& world, GoOn&& go_on) {
  for (std::size_t index = 0; go_on(); ++index) must(*read(world, index).wait());
}
template <class GoOn>
void run_callback(World& world, GoOn&& go_on) {
  for (std::size_t index = 0; go_on(); ++index) {
    auto operation = read(world, index);
    const auto check = [](firn::Result<bool>& found) noexcept { must(*found); };
    must(operation.post(world.executor, check).has_value());
  }
}
template <class GoOn>
firn::Task<void> coroutine(World& world, GoOn& go_on) {
  for (std::size_t index = 0; go_on(); ++index) must(*co_await read(world, index));
}
template <class GoOn>
void run_coroutine(World& world, GoOn&& go_on) {
  auto task = coroutine(world, go_on);
  task.start(world.executor);
  must(task.done());
}
template <class GoOn>
void run_fiber(World& world, GoOn&& go_on) {
  const auto work = [&world, &go_on]() noexcept {
    for (std::size_t index = 0; go_on(); ++index) must(*firn::fiber::await(read(world, index)));
  };
  must(firn::fiber::spawn(world.executor, work).has_value());
  world.executor.tick(0ns);
}

template <class GoOn>
bool run(World& world, std::string_view way, GoOn&& go_on) {
  if (way == "bare") return run_bare(world, go_on), true;
  if (way == "post") return run_post(world, go_on), true;
  if (way == "wait") return run_wait(world, go_on), true;
  if (way == "callback") return run_callback(world, go_on), true;
  if (way == "coroutine") return run_coroutine(world, go_on), true;
  if (way == "fiber") return run_fiber(world, go_on), true;
  return false;
}

void measure(benchmark::State& state, const char* way) {
  World world;
  must(run(world, way, [&state] { return state.KeepRunning(); }));
  benchmark::DoNotOptimize(world.byte_count);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "--run") == 0) {
    World world;
    long left = std::atol(argv[3]);
    return run(world, argv[2], [&left] { return left-- > 0; }) ? 0 : 2;
  }
  for (const char* way : {"bare", "post", "wait", "callback", "coroutine", "fiber"}) {
    benchmark::RegisterBenchmark(way, measure, way);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
