// The hard budget of a native domain, as the kernel sees it: a table of ten times the budget is
// loaded, read at random and scanned; the process's resident memory, beyond what it had before the
// domain was opened, stays within the budget and 5 %.
//   native_memory [MEBIBYTES [LOOKUPS]]
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <firn/firn.hpp>

namespace {

using namespace firn;

constexpr std::size_t value_size = 1000;
constexpr std::size_t in_flight = 64;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "native-memory: %s\n", what.c_str());
  std::_Exit(1);
}
template <class T>
T must(Result<T> result, const char* what) {
  if (!result.has_value()) die(std::string(what) + ": " + result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// Resident bytes that are the process's own: pages of files are shared with the page cache.
std::uint64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long long size = 0;
  unsigned long long resident = 0;
  unsigned long long shared = 0;
  if (file == nullptr || std::fscanf(file, "%llu %llu %llu", &size, &resident, &shared) != 3) {
    die("no /proc/self/statm");
  }
  std::fclose(file);
  return (resident - shared) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Looks all the time how much is resident.
class Watch {
 public:
  Watch() : before_(resident_bytes()), thread_([this] { run(); }) {}
  ~Watch() {
    stop_.store(true);
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  /// The most since the last call.
  std::uint64_t take_peak() { return peak_.exchange(0); }

 private:
  void run() {
    while (!stop_.load()) {
      const std::uint64_t now = resident_bytes();
      const std::uint64_t beyond = now > before_ ? now - before_ : 0;
      if (beyond > peak_.load()) peak_.store(beyond);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  const std::uint64_t before_;
  std::atomic<std::uint64_t> peak_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Operations under way, and what their keys and values are made of; all of it resident from the
// start.
template <class TheOperation>
class Flight {
 public:
  struct Slot {
    std::optional<TheOperation> operation;
    std::uint64_t number;
    std::array<std::byte, 8> key;
    std::array<char, value_size> value;
    [[nodiscard]] Bytes record() const { return Bytes(std::string_view(value.data(), value_size)); }
  };
  Flight() : slots_(in_flight) {
    for (Slot& slot : slots_) {
      std::memset(static_cast<void*>(&slot), 1, sizeof slot);
      ::new (&slot.operation) std::optional<TheOperation>();
    }
  }
  /// `make(slot, number)` sets the operation.
  template <class Make>
  void run(Executor& executor, std::uint64_t count, Make&& make) {
    std::uint64_t next = 0;
    bool busy = true;
    while (busy) {
      busy = false;
      for (Slot& slot : slots_) {
        while (!slot.operation.has_value() || slot.operation->done()) {
          if (slot.operation.has_value()) {
            must(std::move(slot.operation->result()), "an operation");
            slot.operation.reset();
          }
          if (next == count) break;
          slot.number = next++;
          make(slot, slot.number);
          must(slot.operation->post(executor), "post");
        }
        busy = busy || slot.operation.has_value();
      }
      if (busy && executor.tick(std::chrono::nanoseconds(0)) == 0) executor.wait_for_work();
    }
  }

 private:
  std::vector<Slot> slots_;
};

void set_key(std::array<std::byte, 8>& key, std::uint64_t number) {
  const std::uint64_t swapped = __builtin_bswap64(number);
  std::memcpy(key.data(), &swapped, sizeof swapped);
}

struct Check {
  std::uint64_t number;
  void operator()(Bytes record) const noexcept {
    std::uint64_t stored = 0;
    if (record.size() != value_size) die("a record of another size");
    std::memcpy(&stored, record.data(), sizeof stored);
    if (stored != number) die("another key's record");
  }
};

void run(std::uint64_t budget, std::uint64_t lookups) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("firn-native-memory-" + std::to_string(::getpid()));
  const std::uint64_t pair_count = 10 * budget / value_size;
  Executor executor = must(Executor::create(), "executor");
  Flight<WriteOperation<BytesType>> writes;
  Flight<ReadOperation<BytesType, Check>> reads;
  Watch watch;
  Domain domain = must(Domain::open(path, {.memory_budget = budget}).wait(), "open");
  std::filesystem::remove(path);
  auto table = must(domain.create_table<BytesType>("pairs").wait(), "create");
  const auto judge = [&](const char* what) {
    const std::uint64_t peak = watch.take_peak();
    const double share = 100 * static_cast<double>(peak) / static_cast<double>(budget);
    std::printf("native-memory: budget %llu MiB: %s, resident at most %.1f %%\n",
                static_cast<unsigned long long>(budget >> 20), what, share);
    std::fflush(stdout);
    if (share > 105) die("more memory is resident than the budget and 5 %");
  };
  writes.run(executor, pair_count, [&](auto& slot, std::uint64_t number) {
    set_key(slot.key, number);
    std::memcpy(slot.value.data(), &number, sizeof number);
    slot.operation.emplace(table.core(), nullptr, firn::detail::WriteKind::put, Bytes(slot.key),
                           slot.record());
  });
  judge("load");
  std::mt19937_64 random(1);
  reads.run(executor, lookups, [&](auto& slot, std::uint64_t) {
    const std::uint64_t number = random() % pair_count;
    set_key(slot.key, number);
    slot.operation.emplace(table.core(), nullptr, Bytes(slot.key), Check{number});
  });
  judge("random reads");
  std::uint64_t count = 0;
  {
    auto cursor = table.cursor();
    while (must(cursor.next().wait(), "next")) Check{count++}(Bytes(cursor.record()));
  }
  if (count != pair_count) die("the scan has not seen all pairs");
  judge("scan");
  table = {};
  const DomainStatistics statistics = domain.statistics();
  if (statistics.stored_bytes + statistics.memory_used < 10 * budget) die("too little data");
  if (statistics.page_evictions == 0) die("nothing was evicted");
  must(domain.close().wait(), "close");
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t mebibytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 32;
  const std::uint64_t lookups = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 50'000;
  run(mebibytes << 20, lookups);
  return 0;
}
