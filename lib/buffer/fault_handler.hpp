// Recovery of optimistic reads from memory that faults when its page is evicted. Optional: without
// a registered range no handler is ever installed.
//
// The handler acts only if the kernel raised the signal (si_code > 0), its address lies in a
// registered range, and the instruction is one of the listed loads of copy_with_fixup(): it then
// moves the instruction pointer to that load's landing pad, which reports the fault. No destructor
// is skipped, no signal mask changes. Any other signal goes to the handler that was there before,
// or, if that was the default, the default is put back and the signal comes again.
#pragma once

#include <cstddef>
#include <cstdint>

#include <firn/result.hpp>

namespace firn::buffer {

/// Ranges that can be registered at a time.
inline constexpr std::size_t fault_range_count_max = 64;

/// Whether this build can recover; where not, register_faulting_memory() refuses.
[[nodiscard]] bool fault_recovery_supported() noexcept;

/// Installs the handlers of SIGSEGV and SIGBUS, once per process; later calls do nothing. A handler
/// that the program installs afterwards replaces them and has to call them as its former handler.
[[nodiscard]] Result<void> install_fault_handler() noexcept;

/// Declares [address, address + size) to be memory that may fault; installs the handler if need be.
[[nodiscard]] Result<void> register_faulting_memory(const void* address, std::size_t size) noexcept;
/// The range as it was registered. No optimistic read of it is under way.
void unregister_faulting_memory(const void* address) noexcept;

/// Recovered faults since the start.
[[nodiscard]] std::uint64_t recovered_fault_count() noexcept;

/// A guarded signal stack for the calling thread while the object lives, unless it has one already.
/// Without one the handler runs on the stack at hand, which may be a small fiber's. One thread's
/// own.
class SignalStack {
 public:
  SignalStack() noexcept;
  ~SignalStack();
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

  /// Whether the thread has a signal stack now, this one or its own.
  [[nodiscard]] bool active() const noexcept { return active_; }

 private:
  void* memory_ = nullptr;
  std::size_t size_bytes_ = 0;
  bool active_ = false;
};

}  // namespace firn::buffer
