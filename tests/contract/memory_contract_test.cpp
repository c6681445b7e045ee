// What every back end of the buffer manager's memory must do, whatever system calls it makes.
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/sanitizer.hpp"
#include "buffer/memory.hpp"
#include "support/catch.hpp"
#include "support/dies.hpp"

namespace {

using namespace firn;
using namespace firn::buffer;

constexpr int guard_install = 102;

// Kernels of another day: one that knows no guard pages, one whose process_madvise stops after a
// page and a half, one that refuses it from the second call on, one that is always interrupted
// first.
long short_process_madvise(int pidfd, const iovec* ranges, std::size_t, int advice) {
  const iovec first{ranges[0].iov_base,
                    std::min<std::size_t>(ranges[0].iov_len, 2 * smallest_page_bytes)};
  return kernel_memory_calls().process_madvise(pidfd, &first, 1, advice);
}
thread_local int process_madvise_calls_left = 0;
long failing_process_madvise(int pidfd, const iovec* ranges, std::size_t count, int advice) {
  if (process_madvise_calls_left-- > 0) return short_process_madvise(pidfd, ranges, count, advice);
  errno = EPERM;
  return -1;
}
thread_local bool interrupted = false;
long interrupted_process_madvise(int pidfd, const iovec* ranges, std::size_t count, int advice) {
  interrupted = !interrupted;
  if (!interrupted) return kernel_memory_calls().process_madvise(pidfd, ranges, count, advice);
  errno = EINTR;
  return -1;
}
int madvise_without_guards(void* address, std::size_t bytes, int advice) {
  if (advice != guard_install) return kernel_memory_calls().madvise(address, bytes, advice);
  errno = EINVAL;
  return -1;
}
int refusing_mprotect(void*, std::size_t, int) {
  errno = ENOMEM;
  return -1;
}
MemoryCalls with(decltype(MemoryCalls::process_madvise) call) {
  MemoryCalls calls = kernel_memory_calls();
  calls.process_madvise = call;
  return calls;
}

const MemoryCalls short_calls = with(short_process_madvise);
const MemoryCalls interrupted_calls = with(interrupted_process_madvise);
const MemoryCalls failing_calls = with(failing_process_madvise);
const MemoryCalls no_guards{kernel_memory_calls().process_madvise, madvise_without_guards,
                            kernel_memory_calls().mprotect};

struct Variant {
  const char* name;
  MemoryKind kind;
  const MemoryCalls* calls;
};
const Variant variants[] = {
    {"process_madvise", MemoryKind::process_madvise, &kernel_memory_calls()},
    {"process_madvise, short", MemoryKind::process_madvise, &short_calls},
    {"process_madvise, interrupted", MemoryKind::process_madvise, &interrupted_calls},
    {"madvise", MemoryKind::madvise, &kernel_memory_calls()},
    {"guard", MemoryKind::guard, &kernel_memory_calls()},
    {"guard by mprotect", MemoryKind::guard, &no_guards},
};

// The memory of one variant, or null where this kernel does not take its calls.
std::unique_ptr<Memory> memory_of(const Variant& variant) {
  MemoryOptions options;
  options.kind = variant.kind;
  options.calls = variant.calls;
  Result<std::unique_ptr<Memory>> memory = Memory::reserve(options);
  if (!memory.has_value()) {
    WARN(variant.name << ": " << memory.error().message());
    REQUIRE(memory.error().code == ErrorCode::unsupported);
    REQUIRE(variant.kind == MemoryKind::process_madvise);
    return nullptr;
  }
  REQUIRE((*memory)->kind() == variant.kind);
  return *std::move(memory);
}

// `count` distinct pages of a class, spread at random, some of them neighbours.
std::vector<PageSlot> some_pages(const Memory& memory, unsigned size_class, std::size_t count,
                                 std::mt19937_64& random) {
  std::vector<PageSlot> pages;
  const std::uint64_t slots = memory.slot_count(size_class);
  REQUIRE(slots >= count);
  for (std::uint64_t slot = random() % slots; pages.size() < count; slot = (slot + 1) % slots) {
    if (random() % 4 == 0 && slots > 4 * count) slot = random() % slots;
    const PageSlot page(size_class, slot);
    if (std::find(pages.begin(), pages.end(), page) == pages.end()) pages.push_back(page);
  }
  std::shuffle(pages.begin(), pages.end(), random);
  return pages;
}

void write_pages(const Memory& memory, std::span<const PageSlot> pages, int salt) {
  for (const PageSlot page : pages) {
    std::memset(memory.resolve(page),
                static_cast<int>(page.bits() + static_cast<unsigned>(salt)) | 1,
                page_bytes(page.size_class()));
  }
}

bool all_zero(const Memory& memory, PageSlot page) {
  const std::byte* const bytes = memory.resolve(page);
  return std::all_of(bytes, bytes + page_bytes(page.size_class()),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

std::size_t resident_pages(const Memory& memory, PageSlot page) {
  const std::size_t bytes = page_bytes(page.size_class());
  std::vector<unsigned char> there(bytes / smallest_page_bytes);
  REQUIRE(::mincore(memory.resolve(page), bytes, there.data()) == 0);
  return static_cast<std::size_t>(std::count_if(
      there.begin(), there.end(), [](unsigned char bits) { return (bits & 1) != 0; }));
}

// A process's resident bytes, exactly: statm lags behind.
std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string word; file >> word;) {
    if (word != "Rss:") continue;
    std::uint64_t kib = 0;
    file >> kib;
    return kib << 10;
  }
  return 0;
}

// Whether a read faults, asked of the kernel: a system call that reads there fails with EFAULT
// where our own read would get SIGSEGV.
bool faults(const Memory& memory, PageSlot page) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const ssize_t written = ::write(ends[1], memory.resolve(page), 1);
  const bool refused = written < 0 && errno == EFAULT;
  ::close(ends[0]);
  ::close(ends[1]);
  return refused;
}

}  // namespace

TEST_CASE("memory: released pages read as the back end declares - and their frames are gone",
          "[pool-memory]") {
  const Variant& variant =
      *GENERATE(&variants[0], &variants[1], &variants[2], &variants[3], &variants[4], &variants[5]);
  CAPTURE(variant.name);
  const std::unique_ptr<Memory> memory = memory_of(variant);
  if (memory == nullptr) return;
  std::mt19937_64 random(7);
  std::uint64_t pages_in_all = 0;
  for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
    for (const std::uint32_t count : {1U, 64U, 512U}) {
      // A batch of the largest classes would hold half a gigabyte at once.
      if (count * page_bytes(size_class) > 64_MiB || memory->slot_count(size_class) < count)
        continue;
      CAPTURE(size_class, count);
      std::vector<PageSlot> pages = some_pages(*memory, size_class, count, random);
      if (memory->stale_read() == StaleRead::fault) REQUIRE(faults(*memory, pages.front()));
      const BatchResult populated = memory->populate(pages);
      REQUIRE(populated.done == count);
      REQUIRE(std::is_sorted(pages.begin(), pages.end()));
      write_pages(*memory, pages, 3);
      for (const PageSlot page : pages) {
        REQUIRE(resident_pages(*memory, page) == page_bytes(size_class) / smallest_page_bytes);
      }
      std::shuffle(pages.begin(), pages.end(), random);
      const BatchResult released = memory->release(pages);
      REQUIRE(released.done == count);
      REQUIRE(released.system_error == 0);
      pages_in_all += count;
      for (const PageSlot page : pages) REQUIRE(resident_pages(*memory, page) == 0);
      for (const PageSlot page : pages) {
        if (memory->stale_read() == StaleRead::fault) {
          REQUIRE(faults(*memory, page));
        } else {
          REQUIRE(all_zero(*memory, page));
        }
      }
      static_cast<void>(memory->release(pages));
      pages_in_all += count;
    }
  }
  REQUIRE(memory->statistics().released_pages == pages_in_all);
  REQUIRE((memory->statistics().short_calls > 0) == (variant.calls == &short_calls));
}

TEST_CASE("memory: a release leaves the neighbours alone", "[pool-memory]") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    const std::unique_ptr<Memory> memory = memory_of(variant);
    if (memory == nullptr) continue;
    for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
      const std::uint64_t last = memory->slot_count(size_class) - 1;
      std::vector<PageSlot> pages;
      for (const std::uint64_t slot :
           {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, last}) {
        if (pages.empty() || pages.back() != PageSlot(size_class, slot))
          pages.emplace_back(size_class, slot);
      }
      REQUIRE(memory->populate(pages).done == pages.size());
      write_pages(*memory, pages, 0);
      REQUIRE(memory->release({pages.data() + 1, 1}).done == 1);
      for (const PageSlot page : pages) {
        const std::size_t expected =
            page == pages[1] ? 0 : page_bytes(size_class) / smallest_page_bytes;
        REQUIRE(resident_pages(*memory, page) == expected);
      }
      REQUIRE(memory->release(pages).done == pages.size());
    }
  }
}

TEST_CASE("memory: released memory leaves the resident set of the process", "[pool-memory]") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    const std::unique_ptr<Memory> memory = memory_of(variant);
    if (memory == nullptr) continue;
    constexpr std::uint64_t bytes = 64_MiB;
    const std::uint64_t before = resident_bytes();
    std::vector<std::vector<PageSlot>> batches(bytes / (512 * 2 * smallest_page_bytes));
    for (std::size_t batch = 0; batch < batches.size(); ++batch) {
      for (unsigned slot = 0; slot < 512; ++slot)
        batches[batch].emplace_back(1U, batch * 512 + slot);
      REQUIRE(memory->populate(batches[batch]).done == 512);
      write_pages(*memory, batches[batch], 1);
    }
    const std::uint64_t filled = resident_bytes();
    REQUIRE(filled >= before + bytes);
    for (std::vector<PageSlot>& batch : batches) REQUIRE(memory->release(batch).done == 512);
    const std::uint64_t after = resident_bytes();
    // ThreadSanitizer keeps shadow memory of whatever was touched.
    if (!FIRN_TSAN) REQUIRE(after <= before + 4_MiB);
    REQUIRE(memory->statistics().released_bytes == bytes);
    // Neighbours are one range: each batch is one call, unless the kernel is a short one.
    if (variant.calls == &kernel_memory_calls()) {
      REQUIRE(memory->statistics().release_calls == batches.size());
    }
  }
}

TEST_CASE("memory: a batch mixes classes", "[pool-memory]") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    const std::unique_ptr<Memory> memory = memory_of(variant);
    if (memory == nullptr) continue;
    std::vector<PageSlot> pages;
    for (unsigned turn = 0; turn < 4; ++turn) {
      for (unsigned size_class = size_class_count; size_class-- > 0;)
        pages.emplace_back(size_class, turn * 2);
    }
    REQUIRE(memory->populate(pages).done == pages.size());
    write_pages(*memory, pages, 9);
    REQUIRE(memory->release(pages).done == pages.size());
    for (const PageSlot page : pages) REQUIRE(resident_pages(*memory, page) == 0);
    REQUIRE(memory->release({}).done == 0);
  }
}

TEST_CASE("memory: a forked child does not inherit it - and leaves the parent's alone",
          "[pool-memory]") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    std::unique_ptr<Memory> memory = memory_of(variant);
    if (memory == nullptr) continue;
    PageSlot page(0, 5);
    REQUIRE(memory->populate({&page, 1}).done == 1);
    write_pages(*memory, {&page, 1}, 0);
    const int absent = firn::test::status_of_child([&] {
      unsigned char there = 0;
      const bool unmapped =
          ::mincore(memory->resolve(page), smallest_page_bytes, &there) != 0 && errno == ENOMEM;
      memory.reset();  // must not touch what the child mapped there since
      ::_exit(unmapped ? 0 : 1);
    });
    REQUIRE(WIFEXITED(absent));
    REQUIRE(WEXITSTATUS(absent) == 0);
    const int touched = firn::test::status_of_child(
        [&] { *reinterpret_cast<volatile unsigned char*>(memory->resolve(page)) = 1; });
    REQUIRE(WIFSIGNALED(touched));
    REQUIRE(WTERMSIG(touched) == SIGSEGV);
    REQUIRE(resident_pages(*memory, page) == 1);
  }
}

TEST_CASE("memory: a kernel that stops taking process_madvise costs speed - not pages",
          "[pool-memory]") {
  process_madvise_calls_left = 4;  // the probe takes one
  const std::unique_ptr<Memory> memory =
      memory_of({"failing", MemoryKind::process_madvise, &failing_calls});
  if (memory == nullptr) return;
  std::mt19937_64 random(1);
  std::vector<PageSlot> pages = some_pages(*memory, 1, 64, random);
  write_pages(*memory, pages, 0);
  REQUIRE(memory->release(pages).done == 64);
  for (const PageSlot page : pages) REQUIRE(resident_pages(*memory, page) == 0);
}

TEST_CASE("memory: the default is what the kernel takes", "[pool-memory]") {
  MemoryOptions options;
  const auto best = Memory::reserve(options);
  REQUIRE(best.has_value());
  process_madvise_calls_left = 0;
  options.calls = &failing_calls;
  const auto other = Memory::reserve(options);
  REQUIRE(other.has_value());
  REQUIRE((*other)->kind() == MemoryKind::madvise);
  options.kind = MemoryKind::process_madvise;
  REQUIRE(Memory::reserve(options).error().code == ErrorCode::unsupported);
}

TEST_CASE("memory: refused address space is a clear error", "[pool-memory]") {
  MemoryOptions options;
  options.kind = MemoryKind::madvise;
  options.region_bytes[3] = std::uint64_t{1} << 50;
  const Error beyond = Memory::reserve(options).error();
  REQUIRE(beyond.code == ErrorCode::no_memory);
  REQUIRE(beyond.system_error == ENOMEM);
  options.region_bytes[3] = ~std::uint64_t{0};
  REQUIRE(Memory::reserve(options).error().code == ErrorCode::invalid_argument);

  // As under vm.overcommit_memory = 2: address space is granted, access to it is not.
  options.region_bytes[3] = 0;
  MemoryCalls strict = kernel_memory_calls();
  strict.mprotect = refusing_mprotect;
  options.calls = &strict;
  const Error refused = Memory::reserve(options).error();
  REQUIRE(refused.code == ErrorCode::no_memory);
  REQUIRE_THAT(refused.message(), Catch::Contains("vm.overcommit_memory = 2"));
  REQUIRE_THAT(refused.message(), Catch::Contains("pinned"));
}

TEST_CASE("memory: regions are as long as asked for - and derived from the data otherwise",
          "[pool-memory]") {
  MemoryOptions options;
  options.data_bytes = 64_MiB;
  options.region_bytes[8] = 3_MiB;
  const auto memory = Memory::reserve(options);
  REQUIRE(memory.has_value());
  REQUIRE((*memory)->slot_count(0) == 256_MiB / 4_KiB);
  REQUIRE((*memory)->slot_count(8) == 4);
  const PageSlot first(0, 0);
  const PageSlot last(8, 3);
  REQUIRE((*memory)->contains((*memory)->resolve(first)));
  REQUIRE((*memory)->contains((*memory)->resolve(last) + page_bytes(8) - 1));
  REQUIRE(!(*memory)->contains(&options));
  REQUIRE(reinterpret_cast<std::uintptr_t>((*memory)->resolve(PageSlot(8, 1))) % page_bytes(8) ==
          0);
}

TEST_CASE("memory: threads release disjoint pages at once", "[pool-memory]") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    const std::unique_ptr<Memory> memory = memory_of(variant);
    if (memory == nullptr) continue;
    std::vector<std::thread> threads;
    for (unsigned worker = 0; worker < 4; ++worker) {
      threads.emplace_back([&, worker] {
        for (unsigned round = 0; round < 50; ++round) {
          std::vector<PageSlot> pages;
          for (unsigned page = 0; page < 64; ++page) pages.emplace_back(0U, page * 4 + worker);
          FIRN_ASSERT(memory->populate(pages).done == 64);
          write_pages(*memory, pages, static_cast<int>(round));
          FIRN_ASSERT(memory->release(pages).done == 64);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(memory->statistics().released_pages == 4 * 50 * 64);
  }
}
