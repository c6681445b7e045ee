// Zeroed memory that direct I/O takes: aligned to 4096 bytes.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <firn/result.hpp>

namespace firn::store {

/// One thread at a time; move-only.
class AlignedBlock {
 public:
  static constexpr std::size_t alignment = 4096;

  static Result<AlignedBlock> make(std::size_t bytes) noexcept {
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
    if (memory == nullptr)
      return fail(ErrorCode::no_memory, "no memory for {} bytes of I/O", bytes);
    std::memset(memory, 0, rounded);
    return AlignedBlock(memory);
  }
  [[nodiscard]] std::byte* data() const noexcept { return memory_.get(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  explicit AlignedBlock(std::byte* memory) noexcept : memory_(memory) {}
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace firn::store
