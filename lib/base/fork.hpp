// Tells a forked child from its parent without asking the kernel each time.
#pragma once

#include <atomic>
#include <cstdint>

namespace firn::base {

extern std::atomic<std::uint32_t> process_generation_count;

/// Differs between a process and its forked children, once `watch_forks` was called. Any thread.
[[nodiscard]] inline std::uint32_t process_generation() noexcept {
  return process_generation_count.load(std::memory_order_relaxed);
}

/// From now on forked children get a generation of their own. Any thread, any number of times.
void watch_forks() noexcept;

/// The one T of this process. A forked child begins with a fresh one: its parent's is not its own,
/// and nobody would release a mutex in it. Never destroyed, since it may be used to the very end.
/// Any thread. The first call throws when there is no memory.
template <class T>
[[nodiscard]] T& of_this_process() {
  struct Owned {
    const std::uint32_t generation = process_generation();
    Owned* former = nullptr;  // of the parent; kept so that it is no leak
    T value{};
  };
  static constinit std::atomic<Owned*> shared{nullptr};
  Owned* current = shared.load(std::memory_order_acquire);
  if (current != nullptr && current->generation == process_generation()) return current->value;
  auto* fresh = new Owned;
  fresh->former = current;
  if (shared.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) {
    return fresh->value;
  }
  delete fresh;  // another thread was first
  return current->value;
}

}  // namespace firn::base
