// Guarded stacks for fibers. One thread at a time: an executor owns its pool, and a fiber that ends
// gives its stack back on the thread that resumed it last.
//   1. Below each stack lies a guard without access: an overflow is a SIGSEGV, never a neighbour's
//   data.
//   2. Idle stacks are linked through their own topmost bytes, so the pool needs no heap.
//   3. in use + idle <= stack_count_max, and idle <= idle_count_max.
#pragma once

#include <cstddef>
#include <cstdint>

#include <firn/result.hpp>

#include "base/sanitizer.hpp"

namespace firn::runtime {

/// Memory of one stack, without its guard. It grows from `bottom + size_bytes` downwards.
struct Stack {
  std::byte* bottom = nullptr;
  std::size_t size_bytes = 0;
  unsigned valgrind_id = 0;

  [[nodiscard]] std::byte* top() const noexcept { return bottom + size_bytes; }
};

class StackPool {
 public:
  /// Sanitizers put red zones around every local variable: frames grow by a factor of two to four.
  static constexpr std::size_t default_stack_size_bytes =
      (FIRN_ASAN || FIRN_TSAN) ? 256 * 1024 : 64 * 1024;
  /// A guard costs address space only, whatever its size. One page would let a frame of more than a
  /// page step over it into the next stack.
  static constexpr std::size_t guard_size_bytes = 64 * 1024;

  struct Options {
    std::size_t stack_size_bytes = default_stack_size_bytes;  ///< rounded up to whole pages
    /// Each stack takes two of the 65,530 mappings that Linux grants a process by default.
    std::uint32_t stack_count_max = 4096;
    /// Stacks kept mapped for reuse: 256 of 64 KiB are at most 16 MiB.
    std::uint32_t idle_count_max = 256;
  };

  StackPool() noexcept : StackPool(Options{}) {}
  explicit StackPool(const Options& options) noexcept;
  /// All stacks must be back.
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  /// Fails with `no_memory` at the limit, and where the kernel refuses the mapping. The content of
  /// a recycled stack is arbitrary.
  [[nodiscard]] Result<Stack> acquire() noexcept;
  void release(const Stack& stack) noexcept;

  [[nodiscard]] std::uint32_t in_use_count() const noexcept { return in_use_count_; }
  [[nodiscard]] std::uint32_t idle_count() const noexcept { return idle_count_; }
  /// Mappings made since construction: stays constant while stacks are only recycled.
  [[nodiscard]] std::uint64_t mapped_count() const noexcept { return mapped_count_; }

 private:
  struct IdleStack;

  [[nodiscard]] Result<Stack> map() noexcept;
  void unmap(const Stack& stack) noexcept;
  [[nodiscard]] Stack take_idle() noexcept;

  const std::size_t stack_size_bytes_;
  const std::uint32_t stack_count_max_;
  const std::uint32_t idle_count_max_;

  IdleStack* idle_ = nullptr;
  std::uint32_t idle_count_ = 0;
  std::uint32_t in_use_count_ = 0;
  std::uint64_t mapped_count_ = 0;
};

}  // namespace firn::runtime
