// One io_uring, as IoQueue uses it. One thread at a time: the one that made it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <firn/result.hpp>

namespace firn::runtime {

struct IoRequest;

class IoRing {
 public:
  struct Completion {
    IoRequest* request = nullptr;
    int result = 0;  // as the system call's: bytes, or a negative errno
  };

  /// `event_fd` becomes readable on completions while the ring is armed. Fails with the errno of
  /// io_uring_setup.
  static Result<std::unique_ptr<IoRing>> create(int event_fd) noexcept;
  ~IoRing();
  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;

  /// False: the submission queue is full, `enter` first.
  [[nodiscard]] bool push(IoRequest& request) noexcept;
  /// Hands over what was pushed and lets the kernel finish its deferred work. Without either no
  /// system call is made. False: the kernel did not take everything just now.
  bool enter() noexcept;
  /// Takes finished requests; fewer than `completions` holds only if there are no more.
  std::size_t take(std::span<Completion> completions) noexcept;

  /// Sleeps until there is a completion, `event_fd` is readable or the time is over. False: not
  /// with this kernel.
  bool wait(int event_fd, std::optional<std::chrono::nanoseconds> timeout) noexcept;
  /// Whether a completion that was taken since the last call told that `event_fd` was readable.
  bool take_wake() noexcept;

  void arm() noexcept;
  void disarm() noexcept;
  /// Whether completions are there, or would be after `enter`.
  [[nodiscard]] bool has_completions() const noexcept;

 private:
  struct Ring;
  explicit IoRing(std::unique_ptr<Ring> ring) noexcept;

  std::unique_ptr<Ring> ring_;
};

}  // namespace firn::runtime
