// no-alloc: operations allocate nothing once the program is warm, and where one must allocate and
// cannot it says no_memory. This program replaces the allocator's entry points with ones that
// count, refuse where they are told to, and else call glibc's own.
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <firn/firn.hpp>
#include <memory>
#include <new>

#include "support/stopping_order.hpp"

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

std::atomic<std::uint64_t> allocation_count{0};
std::atomic<std::uint64_t> allocations_until_refusal{0};  // 0: none is refused

// Whether this one is refused.
bool count_one() noexcept {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  std::uint64_t left = allocations_until_refusal.load(std::memory_order_relaxed);
  while (left > 0 && !allocations_until_refusal.compare_exchange_weak(left, left - 1)) continue;
  return left == 1;
}

}  // namespace

// `operator new` of libstdc++ ends in malloc or aligned_alloc, so these are all there are.
extern "C" {
void* malloc(std::size_t size) { return count_one() ? nullptr : __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) {
  return count_one() ? nullptr : __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  return count_one() ? nullptr : __libc_realloc(memory, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  return count_one() ? nullptr : __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return count_one() ? nullptr : __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = count_one() ? nullptr : __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
}

namespace {

using namespace std::chrono_literals;

struct Inode {
  std::uint64_t number = 0;
  std::uint32_t mode = 0;
  std::uint64_t size_bytes = 0;
};
struct InodeType : firn::TableType<std::uint64_t, Inode> {
  static constexpr std::string_view name = "no-alloc.inode";
  using RecordCodec = firn::Fields<&Inode::number, &Inode::mode, &Inode::size_bytes>;
  using Comparator = firn::test::StoppingOrder;
};

int failure_count = 0;

void expect(bool holds, const char* what) noexcept {
  if (holds) return;
  std::printf("FAILED: %s\n", what);
  ++failure_count;
}

// The allocations of the second of two equal runs.
template <class Deed>
std::uint64_t allocations_once_warm(Deed&& deed) noexcept {
  deed();
  const std::uint64_t before = allocation_count.load();
  deed();
  return allocation_count.load() - before;
}

template <class Deed>
void expect_none(const char* what, Deed&& deed) noexcept {
  const std::uint64_t count = allocations_once_warm(deed);
  std::printf("%-44s %4llu allocations\n", what, static_cast<unsigned long long>(count));
  expect(count == 0, what);
}

constexpr std::uint64_t pair_count = 1000;
constexpr std::size_t in_flight_count = 10'000;
using Lookup = firn::LookupOperation<InodeType>;
// Operations are neither copied nor moved: they are built where they stay.
alignas(Lookup) std::byte lookup_memory[in_flight_count * sizeof(Lookup)];

Lookup* lookup_at(std::size_t index) noexcept {
  return std::launder(reinterpret_cast<Lookup*>(lookup_memory + index * sizeof(Lookup)));
}

// Posts 10,000 lookups while a reader and a waiting writer keep the table's latch; then all run.
void hold_many_in_flight(firn::Table<InodeType>& table, firn::Executor& executor) noexcept {
  auto update = table.put(1, {1, 2, 3});
  std::size_t parked_count = 0;
  auto fill = [&]() noexcept {
    expect(update.post(executor).has_value() && !update.done(), "the writer waits");
    for (std::size_t index = 0; index < in_flight_count; ++index) {
      auto* lookup =
          ::new (static_cast<void*>(lookup_at(index))) Lookup(table.lookup(index % pair_count));
      if (!lookup->post(executor).has_value()) std::abort();
      if (!lookup->done()) ++parked_count;
    }
  };
  const firn::test::StopNextSearch stop(fill);
  auto holder = table.lookup(1);
  expect(holder.post(executor).has_value() && holder.done(), "the holder ends");
  expect(parked_count == in_flight_count, "10,000 operations are parked at once");
  while (executor.tick(1ms) > 0) continue;
  std::size_t right_count = 0;
  for (std::size_t index = 0; index < in_flight_count; ++index) {
    Lookup& lookup = *lookup_at(index);
    const bool right = lookup.done() && lookup.result().has_value() && *lookup.result() &&
                       (*lookup.result())->number == index % pair_count;
    if (right) ++right_count;
    lookup.~Lookup();
  }
  expect(right_count == in_flight_count, "10,000 operations end with the right record");
}

void scan(firn::Table<InodeType>& table) noexcept {
  auto cursor = table.cursor({.lower = 100, .upper = 900});
  std::size_t count = 0;
  while (cursor.next().wait().value_or(false)) ++count;
  expect(count == 800, "800 pairs lie within the bounds");
  for (int index = 0; index < 10; ++index) {
    expect(cursor.prev().wait().value_or(false), "and back again");
  }
  expect(cursor.seek(500).wait().value_or(false) && cursor.key() == 500, "and to a key");
}

void run(firn::Table<InodeType>& table, firn::Executor& executor) noexcept {
  expect_none("lookup", [&] {
    for (std::uint64_t key = 0; key < pair_count; ++key) {
      const auto found = table.lookup(key).wait();
      expect(found.has_value() && *found && (*found)->number == key, "lookup finds");
    }
  });
  expect_none("read without a copy", [&] {
    const auto seen = table.read(7, [](firn::Bytes) noexcept {}).wait();
    expect(seen.has_value() && *seen, "read finds");
  });
  expect_none("put over a record of the same size", [&] {
    for (std::uint64_t key = 0; key < pair_count; ++key) {
      expect(table.put(key, {key, 1, 2}).wait().has_value(), "put succeeds");
    }
  });
  expect_none("update", [&] { expect(table.update(7, {7, 1, 2}).wait().has_value(), "update"); });
  expect_none("refused insert", [&] {
    expect(table.insert(7, {}).wait().error().code == firn::ErrorCode::already_exists, "insert");
  });
  expect_none("bounded cursor: made, moved, destroyed", [&] { scan(table); });
  expect_none("callbacks", [&] {
    int calls = 0;
    auto lookup = table.lookup(3);
    const auto posted = lookup.post(executor, [&calls](auto&) noexcept { ++calls; });
    expect(posted.has_value() && calls == 1, "the callback is called");
  });
  expect_none("100 fibers", [&] {
    int found_count = 0;
    for (std::uint64_t key = 0; key < 100; ++key) {
      auto look = [&table, &found_count, key]() noexcept {
        firn::fiber::yield();
        const auto found = firn::fiber::await(table.lookup(key));
        if (found.has_value() && *found) ++found_count;
      };
      expect(firn::fiber::spawn(executor, look).has_value(), "a fiber is spawned");
    }
    while (executor.tick(1ms) > 0) continue;
    expect(found_count == 100, "every fiber finds its pair");
  });
  expect_none("10,000 operations in flight on one thread",
              [&] { hold_many_in_flight(table, executor); });
  // Does this program see an allocation at all?
  const std::uint64_t planted = allocations_once_warm([&] {
    const auto allocate = [](firn::Bytes) noexcept {
      void* volatile memory = std::malloc(10);  // or a compiler leaves both calls out
      std::free(memory);
    };
    static_cast<void>(table.read(7, allocate).wait());
  });
  const std::uint64_t planted_new = allocations_once_warm([&] {
    const auto allocate = [](firn::Bytes bytes) noexcept {
      void* volatile memory = ::operator new(bytes.size());
      ::operator delete(memory);
    };
    static_cast<void>(table.read(7, allocate).wait());
  });
  std::printf("planted: malloc %llu, operator new %llu\n", static_cast<unsigned long long>(planted),
              static_cast<unsigned long long>(planted_new));
  expect(planted == 1 && planted_new == 1, "a planted allocation is found");
}

struct LinkType;
struct Link {
  firn::Ref<InodeType> inode;
  firn::Ref<LinkType> next;
};
struct LinkType : firn::TableType<std::uint64_t, Link> {
  static constexpr std::string_view name = "no-alloc.a link whose name is long";
  using RecordCodec = firn::Fields<&Link::inode, &Link::next>;
};

template <class Type>
firn::Result<firn::Table<Type>> create(firn::Domain& domain, std::string_view name) noexcept {
  return domain.create_table<Type>(name, {.persistence = firn::Persistence::volatile_}).wait();
}

// Calls that are made seldom and allocate, each with something too long to lie within a string.
firn::Result<void> set_up() noexcept {
  constexpr std::string_view long_name = "a name that takes memory of its own";
  FIRN_TRY_ASSIGN(auto executor, firn::Executor::create());
  FIRN_TRY_ASSIGN(auto domain,
                  firn::Domain::open(long_name, {.type = firn::DomainType::light}).wait());
  FIRN_TRY_ASSIGN(auto inodes, create<InodeType>(domain, "inodes"));
  FIRN_TRY_ASSIGN(auto links, create<LinkType>(domain, long_name));
  FIRN_TRY(domain.open_table<LinkType>(long_name).wait());
  FIRN_TRY_ASSIGN(auto tables, domain.tables().wait());
  expect(tables.size() == 2, "both tables are listed");
  FIRN_TRY(inodes.insert(1, {1, 2, 3}).wait());
  FIRN_TRY_ASSIGN(auto inode, inodes.ref(1));
  FIRN_TRY(links.insert(1, {inode, {}}).wait());
  FIRN_TRY(domain.follow(inode).wait());
  auto cursor = links.cursor({.lower = 0, .upper = {}});
  FIRN_TRY(cursor.next().wait());
  FIRN_TRY_ASSIGN(auto transaction, domain.begin().wait());
  FIRN_TRY(transaction.commit().wait());
  bool ran = false;
  FIRN_TRY(firn::fiber::spawn(executor, [&ran]() noexcept { ran = true; }));
  while (executor.tick(1ms) > 0) continue;
  expect(ran, "the fiber ran");
  return domain.create_segment(long_name, firn::MemorySegment{.size = 1}).wait();
}

// Refuses the first allocation, then the second, and so on, until nothing more is asked for.
void expect_no_memory() noexcept {
  constexpr std::uint64_t allocation_count_max = 10'000;
  for (std::uint64_t nth = 1; nth <= allocation_count_max; ++nth) {
    allocations_until_refusal = nth;
    const auto ended = set_up();
    const bool refused = allocations_until_refusal.exchange(0) == 0;
    expect(!ended.has_value(), "segments are unsupported in a light domain");
    const firn::ErrorCode code = ended.error().code;
    if (!refused) {
      expect(code == firn::ErrorCode::unsupported, "with memory all goes well");
      std::printf("%-44s %4llu allocations\n", "refused one by one: no_memory",
                  static_cast<unsigned long long>(nth - 1));
      return;
    }
    expect(code == firn::ErrorCode::no_memory || code == firn::ErrorCode::unsupported,
           "an allocation that is refused is no_memory or is done without");
  }
  expect(false, "the allocations come to an end");
}

firn::Result<void> start() {
  FIRN_TRY_ASSIGN(auto executor, firn::Executor::create());
  FIRN_TRY_ASSIGN(auto domain, firn::Domain::open("", {.type = firn::DomainType::light}).wait());
  FIRN_TRY_ASSIGN(
      auto table,
      domain.create_table<InodeType>("inodes", {.persistence = firn::Persistence::volatile_})
          .wait());
  for (std::uint64_t key = 0; key < pair_count; ++key) {
    FIRN_TRY(table.insert(key, {key, 0, 0}).wait());
  }
  run(table, executor);
  std::printf("bytes: operation base %zu, lookup %zu, put %zu, cursor move %zu, fiber stack %zu\n",
              sizeof(firn::OperationBase), sizeof(Lookup), sizeof(firn::WriteOperation<InodeType>),
              sizeof(firn::MoveOperation<InodeType>), std::size_t{64} * 1024);
  return domain.close().wait();
}

}  // namespace

int main() {
  if (auto done = start(); !done.has_value()) {
    std::printf("FAILED: %s\n", done.error().message().c_str());
    return 1;
  }
  expect_no_memory();
  return failure_count == 0 ? 0 : 1;
}
