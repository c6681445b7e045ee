#include "store/mapping.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <new>

namespace firn::store {
namespace {
constexpr std::size_t list_bytes = Mapping::block_count_max * sizeof(void*);
}

Mapping::~Mapping() {
  for (auto* list : blocks_) {
    if (list == nullptr) continue;
    // Blocks are taken in order of slots but for corrupt files, so the whole list is looked through
    // only as far as it was touched.
    for (std::size_t index = 0; index < touched_max_.load(std::memory_order_relaxed); ++index) {
      delete list[index].load(std::memory_order_relaxed);
    }
    ::munmap(static_cast<void*>(list), list_bytes);
  }
}

Result<void> Mapping::start() noexcept {
  for (auto*& list : blocks_) {
    // Zeroes are null pointers; untouched parts of the list cost no memory.
    void* memory = ::mmap(nullptr, list_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      return fail_system(ErrorCode::no_memory, errno, "no address space for the page mapping");
    }
    list = static_cast<std::atomic<Block*>*>(memory);
  }
  return {};
}

Result<void> Mapping::ensure(format::PageId page) noexcept {
  if (page.slot() > slot_max) {
    return fail(ErrorCode::no_memory, "a size class holds at most {} pages", slot_max);
  }
  const std::size_t index = page.slot() / block_entries;
  std::atomic<Block*>& place = blocks_[page.size_class()][index];
  if (place.load(std::memory_order_acquire) != nullptr) return {};
  auto* fresh = new (std::nothrow) Block{};
  if (fresh == nullptr) return fail(ErrorCode::no_memory, "no memory for the page mapping");
  Block* expected = nullptr;
  if (!place.compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) {
    delete fresh;  // another thread was first
    return {};
  }
  memory_bytes_.fetch_add(sizeof(Block), std::memory_order_relaxed);
  std::size_t touched = touched_max_.load(std::memory_order_relaxed);
  while (touched <= index &&
         !touched_max_.compare_exchange_weak(touched, index + 1, std::memory_order_relaxed)) {
  }
  return {};
}

}  // namespace firn::store
