// Asynchronous file I/O of one executor: an io_uring where the kernel grants one, else a few helper
// threads of the process. Owner thread: the one that ticks the executor.
//
//   1. `submit` never blocks, fails or calls anybody back; `done` comes from the executor's tick.
//   2. Requests are collected and handed to the kernel once per round of a tick, and as soon as
//   there
//      are a few, so that the device works while the round goes on. What exceeds
//      `in_flight_count_max` waits in a list through the requests themselves: nothing is lost.
//   3. A request ends once, after all bytes were transferred or with an errno. Short transfers go
//      on where they stopped, EINTR and EAGAIN are tried again, -ECANCELED is an error as any.
//   4. While requests are under way the executor stays on its thread: the ring belongs to the
//      thread that made it. An executor without requests may move; its ring is made anew.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include <firn/result.hpp>

#include "runtime/executor_core.hpp"

namespace firn::runtime {

class IoQueue;
class IoRing;
class IoThreads;

enum class IoKind : std::uint8_t {
  read,      ///< `offset`, `vectors`; the end of the file is an error (ENODATA)
  write,     ///< `offset`, `vectors`
  sync,      ///< fdatasync
  allocate,  ///< fallocate with `mode`, `offset`, `length`
  call,      ///< `call` on a helper thread, for what has no asynchronous form
};

/// One I/O, owned by its caller, neither copied nor moved while it is under way.
struct IoRequest : Runnable {
  IoKind kind = IoKind::read;
  int fd = -1;
  int mode = 0;
  std::uint32_t vector_count = 0;
  iovec* vectors = nullptr;  ///< changed while the request is under way, restored at its end
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  int (*call)(IoRequest&) noexcept = nullptr;   ///< returns 0 or an errno
  void (*done)(IoRequest&) noexcept = nullptr;  ///< the last touch; may free the request
  void* context = nullptr;                      ///< the caller's own

  int error = 0;  ///< outcome: 0 or an errno

  // The queue's own.
  IoQueue* queue = nullptr;
  std::uint64_t transferred = 0;
  std::size_t vector_skipped = 0;  // bytes taken off the front of vectors[vector_index]
  std::uint32_t vector_index = 0;
  std::uint32_t retry_count = 0;
};

/// The system calls of the helper threads, so that tests can shorten and fail them.
struct IoCalls {
  ssize_t (*preadv)(int, const iovec*, int, off_t);
  ssize_t (*pwritev)(int, const iovec*, int, off_t);
  int (*fdatasync)(int);
  int (*fallocate)(int, int, off_t, off_t);
};
const IoCalls& kernel_io_calls() noexcept;

class IoQueue final : public CompletionSource {
 public:
  /// In the kernel at a time; also the size of the completion ring, which cannot overflow
  /// therefore. Four times the depth at which NVMe devices stop to gain.
  static constexpr std::uint32_t in_flight_count_max = 1024;
  /// Handed over by one system call.
  static constexpr std::uint32_t submission_count_max = 256;
  /// Collected in a tick before they are handed over. The kernel keeps what comes in one call back
  /// from the device until it has prepared all of it, microseconds each; a call costs about 0.3.
  static constexpr std::uint32_t eager_count = 8;
  /// EINTR and EAGAIN of one request; then they are its error.
  static constexpr std::uint32_t retry_count_max = 1000;

  /// Called by ExecutorCore::io().
  static Result<std::unique_ptr<IoQueue>> create(ExecutorCore& executor, IoMethod method,
                                                 const IoCalls* calls) noexcept;
  /// No request may be under way.
  ~IoQueue() override;

  void submit(IoRequest& request) noexcept;

  [[nodiscard]] IoMethod method() const noexcept {
    return ring_ != nullptr ? IoMethod::uring : IoMethod::threads;
  }
  [[nodiscard]] std::size_t under_way_count() const noexcept { return under_way_count_; }

  void poll() noexcept override;
  [[nodiscard]] bool busy() const noexcept override { return under_way_count_ > 0; }
  void arm() noexcept override;
  [[nodiscard]] bool disarm() noexcept override;
  /// Sleeps in the ring, which costs less than on the descriptor, until there is something to do.
  /// At the end of a tick only. False: sleep on the descriptor.
  [[nodiscard]] bool sleep(std::optional<std::chrono::nanoseconds> timeout) noexcept;

 private:
  friend class IoThreads;
  explicit IoQueue(ExecutorCore& executor, const IoCalls* calls) noexcept;

  [[nodiscard]] Result<void> open_ring() noexcept;
  [[nodiscard]] Result<void> open_threads() noexcept;
  void stay_on_thread() noexcept;
  void pump() noexcept;
  void hand_over() noexcept;
  void harvest() noexcept;
  void completed(IoRequest& request, int result) noexcept;
  void wait_in_line(IoRequest& request) noexcept;
  void keep_awake() noexcept;
  static void finish(Runnable& runnable) noexcept;

  ExecutorCore& executor_;
  const IoCalls& calls_;
  std::unique_ptr<IoRing> ring_;        // null: helper threads
  std::shared_ptr<IoThreads> threads_;  // null until needed
  std::uint64_t thread_ = 0;            // whose ring it is
  struct Kick : Runnable {
    IoQueue* queue = nullptr;
  };
  Kick kick_;            // keeps the executor from sleeping while requests wait
  bool kicked_ = false;  // it is in the executor's queue
  bool attached_ = false;
  bool armed_ = false;      // the ring writes the event descriptor
  bool signalled_ = false;  // the ring may have written the event descriptor

  Runnable* first_waiting_ = nullptr;
  Runnable* last_waiting_ = nullptr;
  std::uint32_t collected_count_ = 0;  // since the last hand-over
  std::size_t under_way_count_ = 0;
  std::uint32_t in_flight_count_ = 0;  // in the ring or with the helper threads
};

/// Takes `bytes` off the front of the request's vectors. True: nothing is left.
[[nodiscard]] bool advance(IoRequest& request, std::size_t bytes) noexcept;

}  // namespace firn::runtime
