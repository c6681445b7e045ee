// The background work that keeps memory free: a fiber that runs ahead of the clock, writes dirty
// images back and evicts. It sleeps while there is enough.
#pragma once

#include <cstdint>

#include "buffer/pool.hpp"

namespace firn::buffer {

/// One executor's; `kick` in Pool wakes it from any thread.
class Pool::Cleaner {
 public:
  Cleaner(Pool& pool, runtime::ExecutorCore& executor) noexcept;
  ~Cleaner() { executor_.unschedule(timer_); }
  Cleaner(const Cleaner&) = delete;
  Cleaner& operator=(const Cleaner&) = delete;

  Result<void> start() noexcept;
  void end() noexcept { stop_.store(true); }
  [[nodiscard]] bool ended() const noexcept { return ended_.load(); }
  [[nodiscard]] runtime::ExecutorCore& executor() noexcept { return executor_; }

 private:
  struct Alarm : runtime::Timer {
    Pool* pool = nullptr;
  };

  void run() noexcept;
  [[nodiscard]] bool clean_ahead(bool far) noexcept;
  void sleep(bool with_alarm) noexcept;

  Pool& pool_;
  runtime::ExecutorCore& executor_;
  runtime::Fiber* fiber_ = nullptr;
  Alarm timer_;
  std::uint64_t clean_hand_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<bool> ended_{true};
};

}  // namespace firn::buffer
