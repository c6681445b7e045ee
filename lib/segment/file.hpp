// A segment in a local file or on a block device: direct I/O, past the page cache, where the file
// system takes it.
#pragma once

#include <fcntl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include <firn/result.hpp>

#include "segment/backend.hpp"

namespace firn::segment {

/// Opening, so that tests can be file systems that refuse something.
struct FileCalls {
  /// openat2 that follows no symbolic link; a descriptor, or -1 and errno.
  int (*open_at)(int directory, const char* path, int flags, mode_t mode);
  int (*fallocate)(int fd, int mode, off_t offset, off_t length);
};
const FileCalls& kernel_file_calls() noexcept;

struct FileOptions {
  std::uint32_t id = 0;
  /// Of a new segment; a multiple of the block size. A block device: 0 for all of it.
  std::uint64_t size_bytes = 0;
  /// All space is taken now, or creating fails with `no_space`; growing and discarding keep to it.
  bool preallocate = false;
  bool force = false;  ///< create: over what is there
  bool direct = true;  ///< false: through the page cache
  /// open: nothing can be written. Several may read a file at once, but none while another has it
  /// open for writing, nor the other way round.
  bool read_only = false;
  /// Paths are relative to it and then free of symbolic links; else to the working directory.
  int directory = AT_FDCWD;
  const FileCalls* calls = nullptr;  ///< null: the kernel's
};

/// What opening found out about a file.
struct OpenFile {
  int fd = -1;
  bool direct = false;
  bool is_device = false;
  std::uint32_t block_bytes = 512;
  std::uint64_t size_bytes = 0;
};

/// Shared between threads.
class FileBackend final : public Backend {
 public:
  /// A new segment, empty: zeroes. `already_exists` where something is, unless forced;
  /// `invalid_argument` where that is no regular file or block device, not the user's, or known by
  /// several names; `busy` with the owner's name while another has it open.
  static Result<std::unique_ptr<FileBackend>> create(const char* path,
                                                     const FileOptions& options) noexcept;
  /// An existing one, `not_found` if there is none.
  static Result<std::unique_ptr<FileBackend>> open(const char* path,
                                                   const FileOptions& options) noexcept;
  /// No request may be under way.
  ~FileBackend() override;

  [[nodiscard]] SegmentCapabilities capabilities() const noexcept override;
  [[nodiscard]] std::uint64_t size() const noexcept override {
    return size_bytes_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint32_t id() const noexcept override { return id_; }
  void submit(runtime::ExecutorCore& executor, Request& request) noexcept override;

 private:
  FileBackend(const OpenFile& file, const FileOptions& options) noexcept;
  static Result<std::unique_ptr<FileBackend>> own(const OpenFile& file,
                                                  const FileOptions& options) noexcept;

  void start(runtime::IoQueue& queue, Request& request) noexcept;
  void submit_sync(Request& request) noexcept;
  void lead_sync(Request& request) noexcept;
  void sync_ended(Request& leader, int error) noexcept;
  void give_back(Request& request) noexcept;
  [[nodiscard]] Result<void> outcome_of(const Request& request, int error) const noexcept;
  [[nodiscard]] int grow(std::uint64_t size_bytes) noexcept;
  static void ended(runtime::IoRequest& io) noexcept;
  static void run_finished(runtime::Runnable& runnable) noexcept;
  static void run_leader(runtime::Runnable& runnable) noexcept;
  static FileBackend& of(Request& request) noexcept {
    return *static_cast<FileBackend*>(request.backend_context);
  }

  // Constant after construction.
  const OpenFile file_;
  const std::uint32_t id_;
  const bool preallocate_;
  const FileCalls& calls_;

  std::atomic<std::uint64_t> size_bytes_;
  std::atomic<std::uint64_t> under_way_count_{0};

  /// One sync at a time: of two that overlap, the kernel tells only one of an error. Those that
  /// come meanwhile share the next one. Guarded by sync_mutex_:
  std::mutex sync_mutex_;
  bool sync_failed_ = false;
  bool sync_running_ = false;
  runtime::Runnable* sync_waiting_ = nullptr;    // links of requests, each at its home
  runtime::Runnable* sync_followers_ = nullptr;  // covered by the running one

  std::mutex grow_mutex_;  // held by a helper thread across a growth: two must not cross
};

}  // namespace firn::segment
