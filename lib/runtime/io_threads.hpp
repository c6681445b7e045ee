// Helper threads that do blocking file I/O for executors: all of it where io_uring is refused, and
// what has no asynchronous form everywhere. One set per process, shared by all queues, which keep
// it alive; started when needed, ended with the last queue. Shared between threads. A forked child
// leaves its parent's set alone and starts its own.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>

#include <firn/result.hpp>

#include "runtime/io_queue.hpp"

namespace firn::runtime {

class IoThreads {
 public:
  /// A device without io_uring is still kept busy: 16 reads at a time reach about half of what an
  /// NVMe device gives.
  static constexpr std::size_t thread_count_max = 16;

  static Result<std::shared_ptr<IoThreads>> shared() noexcept;
  ~IoThreads();
  IoThreads() = default;
  IoThreads(const IoThreads&) = delete;
  IoThreads& operator=(const IoThreads&) = delete;

  /// A list of requests through `next`. Each comes back through `send` to its home.
  void post(Runnable* first, Runnable* last, std::size_t count) noexcept;

 private:
  [[nodiscard]] Result<void> start_one() noexcept;
  void run() noexcept;
  static void perform(IoRequest& request) noexcept;

  std::mutex mutex_;
  std::condition_variable work_;
  // Guarded by mutex_.
  Runnable* first_ = nullptr;
  Runnable* last_ = nullptr;
  std::size_t queued_count_ = 0;
  std::size_t sleeping_count_ = 0;
  std::size_t thread_count_ = 0;
  bool ending_ = false;
  std::array<std::thread, thread_count_max> threads_;
};

}  // namespace firn::runtime
