// Executors run operations. A program gives each of its threads that uses Firn one executor and
// ticks it from its own loop; Firn starts no threads for them.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>

#include <firn/export.hpp>
#include <firn/operation.hpp>
#include <firn/result.hpp>

namespace firn {

struct ExecutorAccess;

inline namespace literals {
constexpr std::chrono::nanoseconds operator""_ms(unsigned long long count) noexcept {
  return std::chrono::milliseconds(count);
}
constexpr std::chrono::nanoseconds operator""_us(unsigned long long count) noexcept {
  return std::chrono::microseconds(count);
}
}  // namespace literals

/// Runs what was posted to it, on the thread that calls `tick`. One thread at a time may use an
/// executor; other threads reach it only through what Firn itself sends (wake-ups, completions). A
/// forked child may destroy the executors of its parent and uses them for nothing else.
class FIRN_API Executor {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  /// `io_error` when the kernel grants no event descriptor, `no_memory` when memory is short.
  [[nodiscard]] static Result<Executor> create() noexcept;

  /// Destroying an executor that still has operations is a programmer's error.
  ~Executor();
  Executor(Executor&& other) noexcept;
  Executor& operator=(Executor&& other) noexcept;

  /// Runs completions, woken operations and fibers until none is left or `budget` has passed, and
  /// returns how many ran. Never blocks. A budget of zero runs one round of what is ready now.
  std::size_t tick(std::chrono::nanoseconds budget) noexcept;

  /// A descriptor that becomes readable when a later tick would find work that this thread did not
  /// queue itself; for poll, epoll or io_uring loops. It stays the executor's.
  [[nodiscard]] int fd() const noexcept;

  /// When the next timer falls due; empty when there is none. `TimePoint::min()` when the last tick
  /// left work undone: tick again at once.
  [[nodiscard]] std::optional<TimePoint> deadline() const noexcept;

  /// Blocks the thread until `fd()` is readable or the deadline has passed. For programs without a
  /// loop of their own; its name says that it waits.
  void wait_for_work() noexcept;

 private:
  friend struct ExecutorAccess;
  friend runtime::ExecutorCore* detail::core_of(Executor& executor) noexcept;
  struct Deleter {
    void operator()(runtime::ExecutorCore* core) const noexcept;
  };
  explicit Executor(runtime::ExecutorCore* core) noexcept : core_(core) {}
  std::unique_ptr<runtime::ExecutorCore, Deleter> core_;
};

}  // namespace firn
