// A mutex for critical sections of a few instructions: spins, then gives the processor away. Never
// held across I/O, allocation or user code.
#pragma once

#include <atomic>
#include <thread>

namespace firn::base {

inline void pause_briefly() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class SpinLock {
 public:
  void lock() noexcept {
    int spins = 0;
    while (locked_.exchange(true, std::memory_order_acquire)) {
      while (locked_.load(std::memory_order_relaxed)) {
        // On a machine with fewer cores than threads the holder may be off its core.
        if (++spins < spins_before_yield) {
          pause_briefly();
        } else {
          std::this_thread::yield();
        }
      }
    }
  }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  static constexpr int spins_before_yield = 100;
  std::atomic<bool> locked_{false};
};

class SpinGuard {
 public:
  [[nodiscard]] explicit SpinGuard(SpinLock& lock) noexcept : lock_(lock) { lock_.lock(); }
  ~SpinGuard() { lock_.unlock(); }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace firn::base
