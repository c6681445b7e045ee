// Each test runs in a child of its own: the handler is installed once per process, on top of what
// the child put there before.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "buffer/fault_handler.hpp"
#include "buffer/optimistic_read.hpp"
#include "support/catch.hpp"

namespace {

using namespace firn::buffer;

constexpr std::size_t page_size = 4096;
constexpr int former_exit = 42;

#ifdef FIRN_DEBUG
constexpr std::uint64_t faults_per_thread = 50'000;
#else
constexpr std::uint64_t faults_per_thread = 500'000;
#endif

template <class Body>
int status_of_fault_child(Body body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    // Core files and reports of deaths on purpose are noise.
    if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(3);
    alarm(120);
    _exit(body());
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return status;
}

bool exited(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
// Killed, or ended by the report of a sanitizer, and not by what the body returns or the alarm.
bool died(int status) {
  if (WIFSIGNALED(status)) return WTERMSIG(status) != SIGALRM;
  const int code = WEXITSTATUS(status);
  return code != 0 && code != former_exit && code > 9;
}

// `count` pages; the odd ones fault, the even ones hold their number in each byte.
std::byte* make_region(std::size_t count) {
  void* memory =
      mmap(nullptr, count * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(3);
  auto* region = static_cast<std::byte*>(memory);
  for (std::size_t page = 0; page < count; ++page) {
    std::memset(region + page * page_size, static_cast<int>(page), page_size);
    if (page % 2 == 1 && mprotect(region + page * page_size, page_size, PROT_NONE) != 0) _exit(3);
  }
  return region;
}

void exit_from_former(int, siginfo_t*, void*) { _exit(former_exit); }
void exit_from_plain_former(int) { _exit(former_exit); }

// An address that the compiler knows nothing about, or it would warn of what is done on purpose.
const volatile char* hidden(std::uintptr_t address) {
  __asm__ volatile("" : "+r"(address));
  return reinterpret_cast<const volatile char*>(address);
}
void touch(std::uintptr_t address) { static_cast<void>(*hidden(address)); }

int overflow_stack(int depth) {
  volatile char room[4096];
  room[0] = static_cast<char>(depth);
  return depth == -1 ? 0 : overflow_stack(depth + 1) + room[0];
}

}  // namespace

TEST_CASE("fault: a million faults on two threads are recovered - and nothing is misread",
          "[fault]") {
  if (!fault_recovery_supported()) return;
  const int status = status_of_fault_child([] {
    constexpr std::size_t pages = 64;
    std::byte* region = make_region(pages);
    if (!register_faulting_memory(region, pages * page_size).has_value()) return 1;
    std::atomic<int> wrong{0};
    const auto work = [&](unsigned seed) {
      const SignalStack stack;
      if (!stack.active()) wrong = 4;
      std::uint64_t state = seed;
      for (std::uint64_t faults = 0; faults < faults_per_thread;) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const std::size_t page = (state >> 33) % pages;
        const std::size_t size = 1 + (state >> 40) % 40;
        const std::size_t offset = (state >> 48) % (page_size - size);
        unsigned char copy[40];
        const bool there = copy_optimistic(copy, region + page * page_size + offset, size);
        if (there != (page % 2 == 0)) wrong = 5;
        faults += there ? 0 : 1;
        for (std::size_t index = 0; there && index < size; ++index) {
          if (copy[index] != page) wrong = 6;
        }
      }
    };
    std::thread one(work, 1);
    std::thread two(work, 2);
    one.join();
    two.join();
    if (recovered_fault_count() != 2 * faults_per_thread) return 7;
    return wrong.load();
  });
  INFO("status " << status);
  REQUIRE(exited(status, 0));
}

TEST_CASE("fault: a copy of any size that touches a missing page says so", "[fault]") {
  if (!fault_recovery_supported()) return;
  const int status = status_of_fault_child([] {
    std::byte* region = make_region(4);
    if (!register_faulting_memory(region, 4 * page_size).has_value()) return 1;
    std::byte copy[64];
    for (std::size_t size = 1; size <= 64; ++size) {
      for (std::size_t before = 0; before <= 64; ++before) {
        const bool there = copy_optimistic(copy, region + page_size - before, size);
        if (there != (size <= before)) return 2;
      }
    }
    // As a guard page of newer kernels (MADV_GUARD_INSTALL), where there is one.
    std::uint32_t value = 0;
    if (madvise(region + 2 * page_size, page_size, 102) == 0) {
      if (load_optimistic(value, region + 2 * page_size)) return 3;
    } else if (!load_optimistic(value, region + 2 * page_size) || value != 0x02020202) {
      return 4;
    }
    return 0;
  });
  INFO("status " << status);
  REQUIRE(exited(status, 0));
}

TEST_CASE("fault: a file cut short under its mapping is reported as missing", "[fault]") {
  if (!fault_recovery_supported()) return;
  const int status = status_of_fault_child([] {
    const int file = memfd_create("firn", 0);
    if (file < 0 || ftruncate(file, 2 * page_size) != 0) return 1;
    void* memory = mmap(nullptr, 2 * page_size, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED || ftruncate(file, page_size) != 0) return 1;
    if (!register_faulting_memory(memory, 2 * page_size).has_value()) return 1;
    auto* bytes = static_cast<const std::byte*>(memory);
    std::uint64_t value = 1;
    if (!load_optimistic(value, bytes) || value != 0) return 2;
    return load_optimistic(value, bytes + page_size) ? 3 : 0;
  });
  INFO("status " << status);
  REQUIRE(exited(status, 0));
}

TEST_CASE("fault: a stray signal kills the process as before", "[fault]") {
  if (!fault_recovery_supported()) return;
  const auto prepare = [] {
    std::byte* region = make_region(2);
    if (!register_faulting_memory(region, 2 * page_size).has_value()) _exit(1);
    return region;
  };
  CHECK(died(status_of_fault_child([&] {
    prepare();
    touch(8);
    return 0;
  })));
  // Memory of the pool, but not one of the listed loads.
  CHECK(died(status_of_fault_child([&] {
    touch(reinterpret_cast<std::uintptr_t>(prepare() + page_size));
    return 0;
  })));
  // A listed load, but not memory of the pool.
  CHECK(died(status_of_fault_child([&] {
    prepare();
    char byte;
    return copy_optimistic(&byte, const_cast<const char*>(hidden(8)), 1) ? 0 : 1;
  })));
  CHECK(died(status_of_fault_child([&] {
    std::byte* region = prepare();
    unregister_faulting_memory(region);
    char byte;
    return copy_optimistic(&byte, region + page_size, 1) ? 0 : 1;
  })));
  // Sent by a process: it does not come again by itself.
  CHECK(died(status_of_fault_child([&] {
    prepare();
    raise(SIGSEGV);
    return 0;
  })));
  CHECK(died(status_of_fault_child([&] {
    prepare();
    const SignalStack stack;
    return overflow_stack(0) == 1 ? 1 : 0;
  })));
}

TEST_CASE("fault: a stray signal reaches the handler that was there before", "[fault]") {
  if (!fault_recovery_supported()) return;
  for (const bool with_information : {true, false}) {
    const int status = status_of_fault_child([with_information] {
      struct sigaction former;
      std::memset(&former, 0, sizeof(former));
      if (with_information) {
        former.sa_sigaction = exit_from_former;
        former.sa_flags = SA_SIGINFO;
      } else {
        former.sa_handler = exit_from_plain_former;
      }
      if (sigaction(SIGSEGV, &former, nullptr) != 0) return 1;
      std::byte* region = make_region(2);
      if (!register_faulting_memory(region, 2 * page_size).has_value()) return 1;
      char byte;
      if (copy_optimistic(&byte, region + page_size, 1)) return 2;
      touch(8);
      return 3;
    });
    INFO("status " << status);
    CHECK(exited(status, former_exit));
  }
}

TEST_CASE("fault: ranges are limited in number and checked", "[fault]") {
  if (!fault_recovery_supported()) return;
  const int status = status_of_fault_child([] {
    std::byte* region = make_region(2);
    if (register_faulting_memory(region, 0).has_value()) return 1;
    if (register_faulting_memory(nullptr, 1).has_value()) return 1;
    for (std::size_t range = 0; range < fault_range_count_max; ++range) {
      if (!register_faulting_memory(region + range, 1).has_value()) return 2;
    }
    const auto refused = register_faulting_memory(region + page_size, page_size);
    if (refused.has_value() || refused.error().code != firn::ErrorCode::too_large) return 3;
    unregister_faulting_memory(region);
    if (!register_faulting_memory(region + page_size, page_size).has_value()) return 4;
    char byte;
    return copy_optimistic(&byte, region + page_size, 1) ? 5 : 0;
  });
  INFO("status " << status);
  REQUIRE(exited(status, 0));
}
