// Reserves the regions of the size classes; everything the back ends have in common.
#include "buffer/memory.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define FIRN_LITTLE_ADDRESS_SPACE 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FIRN_LITTLE_ADDRESS_SPACE 1
#endif

namespace firn::buffer {
namespace {

// Regions begin and end at huge-page boundaries, so that no page table is shared between classes.
constexpr std::uint64_t region_alignment = 2_MiB;
// An untouched gap behind each region keeps the kernel from joining two into one area.
constexpr std::uint64_t gap_bytes = 2_MiB;
constexpr std::uint64_t default_data_bytes = 256_GiB;

// The checked program cannot tell us from inside; the preloaded tool can.
bool under_valgrind() noexcept {
  const char* preloaded = std::getenv("LD_PRELOAD");
  return preloaded != nullptr && std::strstr(preloaded, "vgpreload") != nullptr;
}

constexpr std::uint64_t round_up(std::uint64_t bytes) noexcept {
  return (bytes + region_alignment - 1) / region_alignment * region_alignment;
}

// Kernels without huge pages refuse the first advice, which is as good.
Result<void> advise_region(const MemoryCalls& calls, std::byte* base,
                           std::uint64_t bytes) noexcept {
  static_cast<void>(calls.madvise(base, bytes, MADV_NOHUGEPAGE));
  if (calls.madvise(base, bytes, MADV_DONTFORK) == 0) return {};
  return fail_system(ErrorCode::no_memory, errno, "madvise(MADV_DONTFORK) on a region");
}

}  // namespace

const MemoryCalls& kernel_memory_calls() noexcept {
  static constexpr MemoryCalls calls{
      .process_madvise =
          [](int pidfd, const iovec* ranges, std::size_t count, int advice) {
            return ::syscall(SYS_process_madvise, pidfd, ranges, count, advice, 0U);
          },
      .madvise = [](void* address, std::size_t bytes,
                    int advice) { return ::madvise(address, bytes, advice); },
      .mprotect = [](void* address, std::size_t bytes,
                     int protection) { return ::mprotect(address, bytes, protection); },
  };
  return calls;
}

std::string_view name_of(MemoryKind kind) noexcept {
  switch (kind) {
    case MemoryKind::process_madvise:
      return "process_madvise";
    case MemoryKind::madvise:
      return "madvise";
    case MemoryKind::guard:
      return "guard";
  }
  return "unknown";
}

std::uint64_t reservable_bytes(MemoryKind kind) noexcept {
  std::uint64_t bytes = kind == MemoryKind::guard ? 1_GiB : 64_TiB;
#ifdef FIRN_LITTLE_ADDRESS_SPACE
  bytes = std::min<std::uint64_t>(bytes, 16_GiB);
#endif
  if (under_valgrind()) bytes = std::min<std::uint64_t>(bytes, 16_GiB);
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    bytes = std::min<std::uint64_t>(bytes, limit.rlim_cur / 2);
  }
  return bytes;
}

Result<std::unique_ptr<Memory>> Memory::reserve(const MemoryOptions& options) noexcept {
  if (options.kind == MemoryKind::guard) return reserve_guard(options);
  if (options.kind.has_value()) return reserve_mmap(*options.kind, options);
  auto batched = reserve_mmap(MemoryKind::process_madvise, options);
  if (batched.has_value() || batched.error().code != ErrorCode::unsupported) return batched;
  return reserve_mmap(MemoryKind::madvise, options);
}

Result<void> Memory::map(const MemoryOptions& options, int protection) noexcept {
  const std::uint64_t data = options.data_bytes == 0 ? default_data_bytes : options.data_bytes;
  const std::uint64_t share = reservable_bytes(kind_) / size_class_count;
  const std::uint64_t derived = data > share / 4 ? share : std::max(data * 4, region_alignment);
  constexpr std::uint64_t region_max =
      std::numeric_limits<std::int64_t>::max() / (2 * size_class_count);
  mapping_bytes_ = region_alignment;
  for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
    const std::uint64_t wanted = options.region_bytes[size_class];
    if (wanted > region_max) {
      return fail(ErrorCode::invalid_argument, "a region of {} bytes is beyond any address space",
                  wanted);
    }
    region_bytes_[size_class] =
        wanted == 0 ? derived / region_alignment * region_alignment : round_up(wanted);
    region_bytes_[size_class] = std::max(region_bytes_[size_class], region_alignment);
    mapping_bytes_ += region_bytes_[size_class] + gap_bytes;
  }
  // Address space first, without access and without charge; access follows region by region.
  void* mapping = ::mmap(nullptr, mapping_bytes_, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    Error error =
        fail_system(ErrorCode::no_memory, errno,
                    "the kernel refuses {} bytes of address space: make the regions smaller, "
                    "or raise ulimit -v")
            .error;
    error.value = mapping_bytes_;
    mapping_bytes_ = 0;
    return fail(error);
  }
  mapping_ = static_cast<std::byte*>(mapping);
  owner_ = ::getpid();
  // Where the process locks its future memory, all of the regions would become resident.
  static_cast<void>(::munlock(mapping_, mapping_bytes_));
  const auto start = reinterpret_cast<std::uintptr_t>(mapping_);
  std::byte* next = mapping_ + (round_up(start) - start);
  for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
    bases_[size_class] = next;
    const std::uint64_t bytes = region_bytes_[size_class];
    if (protection != PROT_NONE && calls_.mprotect(next, bytes, protection) != 0) {
      Error error =
          fail_system(ErrorCode::no_memory, errno,
                      "the kernel refuses a region of {} bytes: under strict overcommit "
                      "(vm.overcommit_memory = 2) use the pinned back end or small regions")
              .error;
      error.value = bytes;
      return fail(error);  // the destructor unmaps
    }
    FIRN_TRY(advise_region(calls_, next, bytes));
    next += bytes + gap_bytes;
  }
  return {};
}

Memory::~Memory() {
  if (mapping_ == nullptr || owner_ != ::getpid()) return;
  // If even this needs memory that is not there, the address space stays.
  static_cast<void>(::munmap(mapping_, mapping_bytes_));
}

void Memory::prepare(std::span<PageSlot> batch) const noexcept {
  FIRN_ASSERT(batch.size() <= memory_batch_max);
  FIRN_DEBUG_ASSERT(owner_ == ::getpid());
  if (!std::is_sorted(batch.begin(), batch.end())) std::sort(batch.begin(), batch.end());
  FIRN_DEBUG_ASSERT(std::adjacent_find(batch.begin(), batch.end()) == batch.end());
}

BatchResult Memory::account(Counters& counters, std::span<const PageSlot> batch,
                            BatchResult result) noexcept {
  std::uint64_t bytes = 0;
  for (const PageSlot page : batch.first(result.done)) bytes += page_bytes(page.size_class());
  counters.batches.fetch_add(1, std::memory_order_relaxed);
  counters.pages.fetch_add(result.done, std::memory_order_relaxed);
  counters.bytes.fetch_add(bytes, std::memory_order_relaxed);
  FIRN_ASSERT((result.done == batch.size()) == (result.system_error == 0));
  return result;
}

std::size_t Memory::ranges_of(std::span<const PageSlot> batch,
                              std::span<iovec> ranges) const noexcept {
  std::size_t count = 0;
  std::byte* end = nullptr;
  for (const PageSlot page : batch) {
    std::byte* const begin = resolve(page);
    const std::size_t bytes = page_bytes(page.size_class());
    if (begin == end) {
      ranges[count - 1].iov_len += bytes;
    } else {
      ranges[count++] = {begin, bytes};
    }
    end = begin + bytes;
  }
  return count;
}

MemoryStatistics Memory::statistics() const noexcept {
  const auto read = [](const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  return {.populate_batches = read(populated_.batches),
          .populate_calls = read(populated_.calls),
          .populated_pages = read(populated_.pages),
          .release_batches = read(released_.batches),
          .release_calls = read(released_.calls),
          .released_pages = read(released_.pages),
          .released_bytes = read(released_.bytes),
          .short_calls = read(released_.shorts) + read(populated_.shorts)};
}

}  // namespace firn::buffer
