// Memory for tests: an evicted page faults, so that every access outside the rules shows itself.
//
// Guard pages (Linux 6.13) where the kernel has them, else PROT_NONE, which splits the kernel's
// areas and so ends with ENOMEM near 32,700 separate pages. Everything is guarded at first.
#include <sys/mman.h>

#include <cerrno>
#include <new>

#include "buffer/memory.hpp"
#include "buffer/memory_ranges.hpp"

namespace firn::buffer {
namespace {

// Linux 6.13; not yet in the C library's headers.
constexpr int guard_install = 102;
constexpr int guard_remove = 103;

class GuardMemory final : public Memory {
 public:
  explicit GuardMemory(const MemoryCalls& calls) noexcept : Memory(MemoryKind::guard, calls) {}

  Result<void> open(const MemoryOptions& options) noexcept {
    FIRN_TRY(map(options, PROT_NONE));
    // Tried on the last region: guards first, then access, so that no moment is unguarded.
    guards_ = calls_.madvise(bases_.back(), region_bytes_.back(), guard_install) == 0;
    if (!guards_) return {};
    for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
      std::byte* const base = bases_[size_class];
      const std::uint64_t bytes = region_bytes_[size_class];
      if (calls_.madvise(base, bytes, guard_install) != 0 ||
          calls_.mprotect(base, bytes, PROT_READ | PROT_WRITE) != 0) {
        return fail_system(ErrorCode::no_memory, errno, "guard pages over a region");
      }
    }
    return {};
  }

  BatchResult populate(std::span<PageSlot> batch) noexcept override {
    prepare(batch);
    return account(populated_, batch,
                   for_each_range(batch, populated_, [&](void* address, std::size_t bytes) {
                     return guards_ ? calls_.madvise(address, bytes, guard_remove)
                                    : calls_.mprotect(address, bytes, PROT_READ | PROT_WRITE);
                   }));
  }

  BatchResult release(std::span<PageSlot> batch) noexcept override {
    prepare(batch);
    return account(released_, batch,
                   for_each_range(batch, released_, [&](void* address, std::size_t bytes) {
                     // Installing a guard zaps the page with it.
                     if (guards_) return calls_.madvise(address, bytes, guard_install);
                     if (calls_.mprotect(address, bytes, PROT_NONE) != 0) return -1;
                     return calls_.madvise(address, bytes, MADV_DONTNEED);
                   }));
  }

 private:
  bool guards_ = false;
};

}  // namespace

Result<std::unique_ptr<Memory>> reserve_guard(const MemoryOptions& options) noexcept {
  std::unique_ptr<GuardMemory> memory(new (std::nothrow) GuardMemory(*options.calls));
  if (memory == nullptr) return fail(ErrorCode::no_memory);
  FIRN_TRY(memory->open(options));
  return std::unique_ptr<Memory>(std::move(memory));
}

}  // namespace firn::buffer
