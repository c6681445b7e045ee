// The memory of the buffer manager: where pages lie, and how frames are given to them and taken
// back.
//
// Each size class owns one region of virtual memory, reserved once and never moved: page `slot` of
// a class lies at base + slot * size, resident or not, so an address is an addition and a late
// optimistic reader reads something mapped (rule "arena"). What reading an evicted page gives is
// the back end's `stale_read`. Only frames cost memory; the hard budget is kept by who calls
// `release`.
//
//   back end         release                                    an evicted page reads   needs
//   process_madvise  one process_madvise(DONTNEED) per batch    zeroes                  Linux 6.13
//   madvise          one madvise(DONTNEED) per range            zeroes                  any Linux
//   guard            zap and guard pages, for tests             SIGSEGV                 any Linux
//   exmap            one ioctl per batch          (later)       SIGSEGV                 its module
//   pinned           none: resolves by frame      (later)       stale bytes             memlock
//
//   1. There is one virtual call per batch and none per page: `resolve` is inline.
//   2. `populate` comes before the first access to an evicted page and promises no content: frames
//      may come back zeroed or stale. `release` ends access; nobody may be reading except
//      optimistically, and no I/O may be in flight on the page.
//   3. Both take a batch of distinct pages of any classes, sort it, and report how many of its
//      first entries are done. A system call that does less than asked is asked again for the rest.
//   4. A forked child inherits no region (MADV_DONTFORK): touching a page there is a fault.
//   5. The addresses must never be registered with io_uring or RDMA: a release would leave the
//      device writing into frames that nobody sees any more. Use ordinary reads, or the pinned one.
//
// Shared: populate and release may be called by many threads at once, on disjoint pages.
#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include <firn/bytes.hpp>
#include <firn/result.hpp>

#include "buffer/page_slot.hpp"

namespace firn::buffer {

enum class MemoryKind : std::uint8_t { process_madvise, madvise, guard };
[[nodiscard]] std::string_view name_of(MemoryKind kind) noexcept;

/// What an access to an evicted page gives.
enum class StaleRead : std::uint8_t { zeroes, fault };

/// The system calls that may be missing or fall short; tests put others in their place. Each
/// returns as the call of that name does: -1 and errno.
struct MemoryCalls {
  long (*process_madvise)(int pidfd, const iovec* ranges, std::size_t count, int advice);
  int (*madvise)(void* address, std::size_t bytes, int advice);
  int (*mprotect)(void* address, std::size_t bytes, int protection);
};
[[nodiscard]] const MemoryCalls& kernel_memory_calls() noexcept;

struct MemoryOptions {
  /// None: the fastest back end that this kernel takes.
  std::optional<MemoryKind> kind;
  /// Virtual bytes per size class, rounded up to 2 MiB; 0 derives it from `data_bytes`.
  std::array<std::uint64_t, size_class_count> region_bytes{};
  /// What the segments may hold. Each class gets four times that, since images on the device are
  /// trimmed and all pages may be of one class; 0 stands for 256 GiB.
  std::uint64_t data_bytes = 0;
  const MemoryCalls* calls = &kernel_memory_calls();
};

/// The sum of derived regions never exceeds this: 64 TiB, but 16 GiB under sanitizers and valgrind,
/// half of a limit on address space (ulimit -v), and 1 GiB for the guard back end (it fills page
/// tables).
[[nodiscard]] std::uint64_t reservable_bytes(MemoryKind kind) noexcept;

/// The first `done` pages of the (sorted) batch are done; if that is not all, `system_error` says
/// why.
struct [[nodiscard]] BatchResult {
  std::uint32_t done = 0;
  int system_error = 0;
};

/// Counts since reserve(); each is exact, together they are no snapshot.
struct MemoryStatistics {
  std::uint64_t populate_batches = 0;
  std::uint64_t populate_calls = 0;  ///< system calls
  std::uint64_t populated_pages = 0;
  std::uint64_t release_batches = 0;
  std::uint64_t release_calls = 0;  ///< system calls
  std::uint64_t released_pages = 0;
  std::uint64_t released_bytes = 0;
  std::uint64_t short_calls = 0;  ///< calls that did less than asked
};

/// Pages in one batch: what exmap takes at once, and 8 KiB of ranges on the caller's stack.
inline constexpr std::size_t memory_batch_max = 512;

class Memory {
 public:
  /// Reserves the regions; nothing is resident yet. `unsupported`: the kernel lacks what `kind`
  /// needs. `no_memory`: it refuses that much address space, as strict overcommit does.
  static Result<std::unique_ptr<Memory>> reserve(const MemoryOptions& options) noexcept;
  virtual ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] std::byte* resolve(PageSlot page) const noexcept {
    FIRN_DEBUG_ASSERT(page.slot() < slot_count(page.size_class()));
    return bases_[page.size_class()] + page.slot() * page_bytes(page.size_class());
  }

  /// For who computes addresses itself: resolve(page) is this, modulo 2^64, plus the bits of the id
  /// shifted by the binary logarithm of the page's size.
  [[nodiscard]] std::uintptr_t folded_base(unsigned size_class) const noexcept {
    const std::uint64_t first = PageSlot(size_class, 0).bits() * page_bytes(size_class);
    return reinterpret_cast<std::uintptr_t>(bases_[size_class]) - first;
  }

  /// Makes the pages accessible and their frames present where that is cheaper than a fault each.
  virtual BatchResult populate(std::span<PageSlot> batch) noexcept = 0;
  /// Gives the frames back to the kernel; afterwards the pages read as `stale_read()` says.
  virtual BatchResult release(std::span<PageSlot> batch) noexcept = 0;

  [[nodiscard]] MemoryKind kind() const noexcept { return kind_; }
  [[nodiscard]] StaleRead stale_read() const noexcept {
    return kind_ == MemoryKind::guard ? StaleRead::fault : StaleRead::zeroes;
  }
  [[nodiscard]] std::uint64_t slot_count(unsigned size_class) const noexcept {
    return region_bytes_[size_class] / page_bytes(size_class);
  }
  /// Whether `address` lies in a region (or between two): what a fault handler asks first.
  [[nodiscard]] bool contains(const void* address) const noexcept {
    const auto* byte = static_cast<const std::byte*>(address);
    return byte >= mapping_ && byte < mapping_ + mapping_bytes_;
  }
  [[nodiscard]] MemoryStatistics statistics() const noexcept;

 protected:
  Memory(MemoryKind kind, const MemoryCalls& calls) noexcept : kind_(kind), calls_(calls) {}

  struct Counters {
    std::atomic<std::uint64_t> batches{0}, calls{0}, pages{0}, bytes{0}, shorts{0};
  };

  // Reserves and maps the regions with `protection`; on failure nothing stays mapped.
  Result<void> map(const MemoryOptions& options, int protection) noexcept;
  // Sorts the batch and checks that it is one.
  void prepare(std::span<PageSlot> batch) const noexcept;
  static BatchResult account(Counters& counters, std::span<const PageSlot> batch,
                             BatchResult result) noexcept;
  // The ranges of a sorted batch, neighbours merged; returns how many.
  std::size_t ranges_of(std::span<const PageSlot> batch, std::span<iovec> ranges) const noexcept;
  // Calls `call(address, bytes)` per range, again while it says EAGAIN, until one fails.
  template <class Call>
  BatchResult for_each_range(std::span<const PageSlot> batch, Counters& counters,
                             Call call) const noexcept;

  // Constant after reserve().
  MemoryKind kind_;
  const MemoryCalls& calls_;
  std::array<std::byte*, size_class_count> bases_{};
  std::array<std::uint64_t, size_class_count> region_bytes_{};
  std::byte* mapping_ = nullptr;
  std::uint64_t mapping_bytes_ = 0;
  int owner_ = 0;  // the process that reserved: a forked child must not unmap what it never had

  // Atomic, relaxed, once per batch.
  Counters populated_;
  Counters released_;
};

/// Back ends; `Memory::reserve` chooses. Each fails with `unsupported` where its probe does.
Result<std::unique_ptr<Memory>> reserve_mmap(MemoryKind kind,
                                             const MemoryOptions& options) noexcept;
Result<std::unique_ptr<Memory>> reserve_guard(const MemoryOptions& options) noexcept;

}  // namespace firn::buffer
