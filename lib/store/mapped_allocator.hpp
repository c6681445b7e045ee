// For what is as large as a part of the mapping and lives only as long as a publication: mappings
// of its own. Given back as a whole, they leave no holes in a heap, which no budget counts.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <vector>

namespace firn::store {

constexpr std::size_t mapped_bytes_min = 16384;  // less comes from the heap

/// Null: no memory. Aligned to the kernel's pages, and all zero bytes.
inline void* map_memory(std::size_t bytes) noexcept {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

template <class T>
struct MappedAllocator {
  using value_type = T;
  static constexpr std::size_t count_max = std::numeric_limits<std::size_t>::max();

  MappedAllocator() noexcept = default;
  template <class Other>
  explicit MappedAllocator(const MappedAllocator<Other>& /*other*/) noexcept {}

  [[nodiscard]] T* allocate(std::size_t count) {
    const std::size_t bytes = count * sizeof(T);
    if (bytes < mapped_bytes_min) return static_cast<T*>(::operator new(bytes));
    void* const memory = map_memory(bytes);
    // As much as nobody has: the standard library says that there is none.
    if (memory == nullptr) return std::allocator<T>().allocate(count_max);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    const std::size_t bytes = count * sizeof(T);
    if (bytes < mapped_bytes_min) {
      ::operator delete(memory);
    } else {
      ::munmap(memory, bytes);
    }
  }
  friend bool operator==(const MappedAllocator&, const MappedAllocator&) noexcept { return true; }
};

template <class T>
using MappedVector = std::vector<T, MappedAllocator<T>>;

}  // namespace firn::store
