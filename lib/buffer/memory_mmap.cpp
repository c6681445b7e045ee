// Memory on a stock kernel: anonymous private memory, given back with MADV_DONTNEED.
//
// Released frames go back to the kernel, and the next access gets a zeroed one: by a page fault
// from code, inside the read itself for O_DIRECT. Neither needs `populate`, which therefore acts
// only on classes where one call is cheaper than the faults it saves.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "buffer/memory.hpp"
#include "buffer/memory_ranges.hpp"

namespace firn::buffer {
namespace {

#ifndef MADV_POPULATE_WRITE
constexpr int MADV_POPULATE_WRITE = 23;  // Linux 5.14; older ones refuse it, and the page faults
#endif

// Below 16 KiB a call costs as much as the faults it saves, above a quarter less
// (benchmarks/evict.hpp).
constexpr unsigned populate_class_min = 2;

// Whether process_madvise(MADV_DONTNEED) works on ourselves: tried on one page.
bool process_madvise_works(const MemoryCalls& calls, int pidfd) noexcept {
  void* const page = ::mmap(nullptr, smallest_page_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return false;
  auto* const first = static_cast<volatile unsigned char*>(page);
  *first = 1;
  const iovec range{page, smallest_page_bytes};
  long advised = 0;
  int tries = 0;
  do {
    advised = calls.process_madvise(pidfd, &range, 1, MADV_DONTNEED);
  } while (advised < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < try_again_max);
  const bool works = advised == static_cast<long>(smallest_page_bytes) && *first == 0;
  static_cast<void>(::munmap(page, smallest_page_bytes));
  return works;
}

class MmapMemory final : public Memory {
 public:
  MmapMemory(MemoryKind kind, const MemoryCalls& calls) noexcept : Memory(kind, calls) {}
  ~MmapMemory() override {
    if (pidfd_ >= 0) static_cast<void>(::close(pidfd_));
  }

  Result<void> open(const MemoryOptions& options) noexcept {
    if (kind_ == MemoryKind::process_madvise) {
      pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0U));
      if (pidfd_ < 0 || !process_madvise_works(calls_, pidfd_)) {
        return fail(ErrorCode::unsupported,
                    "process_madvise(MADV_DONTNEED) on the own process, which Linux 6.13 brings");
      }
    }
    return map(options, PROT_READ | PROT_WRITE);
  }

  BatchResult populate(std::span<PageSlot> batch) noexcept override {
    prepare(batch);
    const auto small = static_cast<std::uint32_t>(
        std::lower_bound(batch.begin(), batch.end(), PageSlot(populate_class_min, 0)) -
        batch.begin());
    // A refusal is no failure: the access itself then takes the fault.
    if (small < batch.size()) {
      static_cast<void>(advise(batch.subspan(small), MADV_POPULATE_WRITE, populated_));
    }
    return account(populated_, batch, {static_cast<std::uint32_t>(batch.size()), 0});
  }

  BatchResult release(std::span<PageSlot> batch) noexcept override {
    prepare(batch);
    return account(released_, batch, advise(batch, MADV_DONTNEED, released_));
  }

 private:
  BatchResult advise(std::span<const PageSlot> batch, int advice, Counters& counters) noexcept {
    const std::uint32_t done =
        kind_ == MemoryKind::process_madvise ? advise_vector(batch, advice, counters) : 0;
    if (done == batch.size()) return {done, 0};
    BatchResult rest = for_each_range(
        batch.subspan(done), counters,
        [&](void* address, std::size_t bytes) { return calls_.madvise(address, bytes, advice); });
    rest.done += done;
    return rest;
  }

  // One call for the batch, again for what it left over. Returns the pages done: fewer than all
  // only if the kernel refuses the call, and then the caller goes range by range.
  std::uint32_t advise_vector(std::span<const PageSlot> batch, int advice,
                              Counters& counters) noexcept {
    std::array<iovec, memory_batch_max> ranges;
    const std::size_t count = ranges_of(batch, ranges);
    std::uint64_t bytes = 0;
    std::size_t first = 0;
    for (int tries = 0; first < count && tries < try_again_max;) {
      counters.calls.fetch_add(1, std::memory_order_relaxed);
      const long result = calls_.process_madvise(pidfd_, &ranges[first], count - first, advice);
      if (result < 0 && errno != EAGAIN && errno != EINTR) break;
      if (result <= 0) {
        ++tries;
        continue;
      }
      bytes += static_cast<std::uint64_t>(result);
      auto left = static_cast<std::size_t>(result);
      while (first < count && left >= ranges[first].iov_len) left -= ranges[first++].iov_len;
      if (first == count) {
        FIRN_ASSERT(left == 0);
        break;
      }
      counters.shorts.fetch_add(1, std::memory_order_relaxed);
      ranges[first].iov_base = static_cast<std::byte*>(ranges[first].iov_base) + left;
      ranges[first].iov_len -= left;
    }
    return pages_in(batch, bytes);
  }

  int pidfd_ = -1;
};

}  // namespace

Result<std::unique_ptr<Memory>> reserve_mmap(MemoryKind kind,
                                             const MemoryOptions& options) noexcept {
  std::unique_ptr<MmapMemory> memory(new (std::nothrow) MmapMemory(kind, *options.calls));
  if (memory == nullptr) return fail(ErrorCode::no_memory);
  FIRN_TRY(memory->open(options));
  return std::unique_ptr<Memory>(std::move(memory));
}

}  // namespace firn::buffer
