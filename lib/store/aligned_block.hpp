// Zeroed memory that direct I/O takes: aligned to 4096 bytes.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <firn/result.hpp>

#include "store/mapped_allocator.hpp"

namespace firn::store {

/// One thread at a time; move-only.
class AlignedBlock {
 public:
  static constexpr std::size_t alignment = 4096;

  static Result<AlignedBlock> make(std::size_t bytes) noexcept {
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    const bool mapped = rounded >= mapped_bytes_min;
    auto* memory = static_cast<std::byte*>(mapped ? map_memory(rounded)
                                                  : std::aligned_alloc(alignment, rounded));
    if (memory == nullptr)
      return fail(ErrorCode::no_memory, "no memory for {} bytes of I/O", bytes);
    if (!mapped) std::memset(memory, 0, rounded);
    return AlignedBlock(memory, mapped ? rounded : 0);
  }
  [[nodiscard]] std::byte* data() const noexcept { return memory_.get(); }

 private:
  struct Free {
    std::size_t mapped_bytes = 0;
    void operator()(std::byte* memory) const noexcept {
      if (mapped_bytes > 0) {
        ::munmap(memory, mapped_bytes);
      } else {
        std::free(memory);
      }
    }
  };
  AlignedBlock(std::byte* memory, std::size_t mapped_bytes) noexcept
      : memory_(memory, Free{mapped_bytes}) {}
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace firn::store
