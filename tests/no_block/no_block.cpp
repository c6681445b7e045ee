// no-block: no operation makes a blocking system call on the thread of its executor, however much
// others contend for the table. Threads run every kind of operation under a filter that traps such
// calls; a planted one and the blocking `wait()` show that it sees them. No data file is mapped.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <firn/firn.hpp>

#include "base/spin.hpp"
#include "no_block/filter.hpp"
#include "support/stopping_order.hpp"

// The allocator is the process's own, not Firn's: glibc's takes a mutex when one thread frees what
// another allocated, and would sleep on it. Here it is entered by one thread at a time, so that
// what the filter traps is Firn.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void __libc_free(void* memory);
}

namespace {
constinit firn::base::SpinLock allocator_mutex;
}  // namespace

extern "C" {
void* malloc(std::size_t size) {
  const firn::base::SpinGuard guard(allocator_mutex);
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  const firn::base::SpinGuard guard(allocator_mutex);
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  const firn::base::SpinGuard guard(allocator_mutex);
  return __libc_realloc(memory, size);
}
void free(void* memory) {
  const firn::base::SpinGuard guard(allocator_mutex);
  __libc_free(memory);
}
}

namespace {

using namespace std::chrono_literals;
using firn::test::take_trapped;
using firn::test::trap_blocking_calls;

struct Note {
  std::uint64_t number = 0;
};
struct NoteType : firn::SackType<Note> {
  static constexpr std::string_view name = "no-block.note";
  using RecordCodec = firn::Fields<&Note::number>;
};
struct Pair {
  std::uint64_t number = 0;
  firn::Ref<NoteType> note;
};
struct PairType : firn::TableType<std::uint64_t, Pair> {
  static constexpr std::string_view name = "no-block.pair";
  using RecordCodec = firn::Fields<&Pair::number, &Pair::note>;
  using Comparator = firn::test::StoppingOrder;
};

constexpr int thread_count = 4;
constexpr int round_count = 300;

std::atomic<int> failure_count{0};
std::atomic<std::uint64_t> operation_count{0};
std::atomic<std::uint64_t> parked_count{0};

void expect(bool holds, const char* what) noexcept {
  if (holds) return;
  std::printf("FAILED: %s\n", what);
  ++failure_count;
}

// Runs an operation to its end without ever blocking, as a program with a loop of its own would.
template <class O>
auto run(firn::Executor& executor, O&& operation) noexcept {
  expect(operation.post(executor).has_value(), "posted");
  ++operation_count;
  if (!operation.done()) ++parked_count;
  while (!operation.done()) {
    if (executor.tick(100us) == 0) std::this_thread::yield();
  }
  return std::move(operation.result());
}

struct World {
  firn::Domain domain;
  firn::Table<PairType> pairs;
  firn::Table<NoteType> notes;
};

// All kinds of operations on tables that all threads share.
void work(World& world, firn::Executor& executor, int number) noexcept {
  firn::Table<PairType> pairs = world.pairs;
  firn::Table<NoteType> notes = world.notes;
  const std::string name = "own " + std::to_string(number);
  for (int round = 0; round < round_count; ++round) {
    const auto key = static_cast<std::uint64_t>(round % 50);
    const auto note = run(executor, notes.insert(Note{key}));
    expect(note.has_value(), "insert into the sack");
    const Pair pair{.number = key, .note = notes.ref(*note)};
    expect(run(executor, pairs.put(key, pair)).has_value(), "put");
    static_cast<void>(run(executor, pairs.insert(key + 1, pair)));
    static_cast<void>(run(executor, pairs.update(key + 2, pair)));
    static_cast<void>(run(executor, pairs.erase(key + 3)));
    const auto found = run(executor, pairs.lookup(key));
    expect(found.has_value(), "lookup");
    // A reader that posts an update meanwhile: it finds the latch taken and waits.
    auto late = pairs.put(key, pair);
    auto look = [&executor, &late]() noexcept {
      expect(late.post(executor).has_value() && !late.done(), "a late update waits");
      ++operation_count;
      ++parked_count;
      std::this_thread::yield();  // the others find it taken, too
    };
    const firn::test::StopNextSearch stop(look);
    expect(run(executor, pairs.read(key, [](firn::Bytes) noexcept {})).has_value(), "read");
    while (late.state() == firn::OperationState::waiting) {
      if (executor.tick(100us) == 0) std::this_thread::yield();
    }
    expect(run(executor, world.domain.follow(pair.note)).has_value(), "follow");
    {
      auto cursor = pairs.cursor({.lower = 10, .upper = 30});
      expect(run(executor, cursor.next()).has_value(), "next");
      expect(run(executor, cursor.seek(20)).has_value(), "seek");
      expect(run(executor, cursor.prev()).has_value(), "prev");
    }
    auto transaction = run(executor, world.domain.begin());
    expect(transaction.has_value(), "begin");
    expect(run(executor, pairs.put(*transaction, key, pair)).has_value(), "put in a transaction");
    expect(run(executor, transaction->commit()).has_value(), "commit");
    if (round % 20 != 0) continue;
    auto own = run(executor, world.domain.create_table<firn::BytesType>(
                                 name, {.persistence = firn::Persistence::volatile_}));
    expect(own.has_value(), "create a table");
    expect(run(executor, world.domain.open_table<firn::BytesType>(name)).has_value(), "open");
    expect(run(executor, world.domain.tables()).has_value(), "list the tables");
    expect(run(executor, world.domain.destroy_table(*std::move(own))).has_value(), "destroy");
  }
  bool fiber_ended = false;
  auto look = [&]() noexcept {
    for (std::uint64_t key = 0; key < 50; ++key) {
      expect(firn::fiber::await(pairs.lookup(key)).has_value(), "lookup on a fiber");
    }
    fiber_ended = true;
  };
  expect(firn::fiber::spawn(executor, look).has_value(), "spawn");
  while (!fiber_ended) executor.tick(100us);
  executor.tick(0ns);
}

// The calls trapped while `deed` ran on a thread of its own under the filter.
template <class Deed>
firn::test::Trapped trapped_during(const std::vector<int>& fds, Deed&& deed) {
  std::thread([&] {
    if (!trap_blocking_calls(fds)) return;
    static_cast<void>(take_trapped());
    deed();
  }).join();
  return take_trapped();
}

// Light domains have no files at all; no domain type may map a file to share it with the device.
void expect_no_data_file_mapped() {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  int mapping_count = 0;
  while (std::getline(maps, line)) {
    ++mapping_count;
    const std::size_t rights_at = line.find(' ') + 1;
    const bool shared = line[rights_at + 3] == 's';
    const bool of_file = line.find(" /") != std::string::npos;
    if (shared && of_file) std::printf("mapped: %s\n", line.c_str());
    expect(!(shared && of_file), "no file is mapped shared");
  }
  expect(mapping_count > 0, "the mappings can be read");
}

firn::Result<void> test() {
  FIRN_TRY_ASSIGN(auto domain, firn::Domain::open("", {.type = firn::DomainType::light}).wait());
  FIRN_TRY_ASSIGN(
      auto notes,
      domain.create_table<NoteType>("notes", {.persistence = firn::Persistence::volatile_}).wait());
  FIRN_TRY_ASSIGN(
      auto pairs,
      domain.create_table<PairType>("pairs", {.persistence = firn::Persistence::volatile_}).wait());
  World world{.domain = std::move(domain), .pairs = std::move(pairs), .notes = std::move(notes)};
  std::vector<firn::Executor> executors;
  std::vector<int> fds;
  for (int number = 0; number < thread_count; ++number) {
    FIRN_TRY_ASSIGN(auto executor, firn::Executor::create());
    fds.push_back(executor.fd());
    executors.push_back(std::move(executor));
  }

  std::atomic<int> ready_count{0};
  std::atomic<int> done_count{0};
  std::atomic<bool> leave{false};
  std::vector<std::thread> threads;
  for (int number = 0; number < thread_count; ++number) {
    threads.emplace_back([&, number] {
      // A thread's first call has its end noted, under a lock of the loader's.
      static_cast<void>(world.pairs.lookup(0).wait());
      expect(trap_blocking_calls(fds), "the filter is in place");
      ++ready_count;
      while (ready_count < thread_count) std::this_thread::yield();
      work(world, executors[static_cast<std::size_t>(number)], number);
      ++done_count;
      while (!leave) std::this_thread::yield();  // what ends a thread is not what is looked at
    });
  }
  while (done_count < thread_count) std::this_thread::sleep_for(1ms);
  const auto trapped = take_trapped();
  expect_no_data_file_mapped();
  leave = true;
  for (std::thread& thread : threads) thread.join();
  std::printf("%llu operations on %d threads, %llu of them waited; trapped: %d (call %ld)\n",
              static_cast<unsigned long long>(operation_count), thread_count,
              static_cast<unsigned long long>(parked_count), trapped.count, trapped.last_number);
  expect(trapped.count == 0, "nothing blocks on an operation's thread");
  expect(parked_count > round_count, "many operations waited");

  const auto planted = trapped_during(fds, [&] {
    const auto sleep = [](firn::Bytes) noexcept { std::this_thread::sleep_for(1us); };
    static_cast<void>(world.pairs.put(1, Pair{}).post(executors[0]));
    static_cast<void>(world.pairs.read(1, sleep).post(executors[0]));
  });
  std::printf("planted: a sleep in a visitor is trapped (call %ld)\n", planted.last_number);
  expect(planted.count > 0, "a planted sleep is found");
  executors.clear();
  return world.domain.close().wait();
}

}  // namespace

int main() {
  bool possible = false;
  std::thread([&possible] { possible = trap_blocking_calls({}); }).join();
  if (!possible) {
    std::printf("no-block: no seccomp filter here\n");
    return 77;
  }
  if (auto done = test(); !done.has_value()) {
    std::printf("FAILED: %s\n", done.error().message().c_str());
    return 1;
  }
  return failure_count == 0 ? 0 : 1;
}
