#include "segment/file.hpp"

#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

#include "segment/file_open.hpp"

namespace firn::segment {
namespace {

Request& request_of(runtime::Runnable& runnable) noexcept {
  return *static_cast<Request::Link&>(runnable).request;
}

Failure fail_sync(int error, std::uint32_t id) noexcept {
  return fail_system(ErrorCode::failed, error,
                     "a sync failed, and the kernel forgets what was lost", place_in(id));
}

}  // namespace

Result<std::unique_ptr<FileBackend>> FileBackend::create(const char* path,
                                                         const FileOptions& options) noexcept {
  FIRN_TRY_ASSIGN(const OpenFile file, create_file(path, options));
  return own(file, options);
}

Result<std::unique_ptr<FileBackend>> FileBackend::open(const char* path,
                                                       const FileOptions& options) noexcept {
  FIRN_TRY_ASSIGN(const OpenFile file, open_file(path, options));
  return own(file, options);
}

Result<std::unique_ptr<FileBackend>> FileBackend::own(const OpenFile& file,
                                                      const FileOptions& options) noexcept {
  std::unique_ptr<FileBackend> backend(new (std::nothrow) FileBackend(file, options));
  if (backend == nullptr) {
    ::close(file.fd);
    return fail(ErrorCode::no_memory, "no memory for a segment");
  }
  return backend;
}

FileBackend::FileBackend(const OpenFile& file, const FileOptions& options) noexcept
    : file_(file),
      id_(options.id),
      preallocate_(options.preallocate),
      calls_(options.calls != nullptr ? *options.calls : kernel_file_calls()),
      size_bytes_(file.size_bytes) {}

FileBackend::~FileBackend() {
  FIRN_ASSERT(under_way_count_.load(std::memory_order_acquire) == 0);
  ::close(file_.fd);
}

SegmentCapabilities FileBackend::capabilities() const noexcept {
  SegmentCapabilities capabilities;
  capabilities.block_bytes = file_.block_bytes;
  // What a disk writes whole is its sector; what lies between it and us promises no more.
  capabilities.atomic_bytes = file_.is_device ? file_.block_bytes : 512;
  capabilities.direct = file_.direct;
  return capabilities;
}

void FileBackend::submit(runtime::ExecutorCore& executor, Request& request) noexcept {
  under_way_count_.fetch_add(1, std::memory_order_relaxed);
  request.backend_context = this;
  runtime::IoRequest& io = request.link;
  request.link.request = &request;
  io.done = &ended;
  io.home = &executor;
  io.run = &run_finished;
  request.outcome = check_request(request, capabilities(), size(), id_);
  if (request.outcome.has_value() && request.kind == RequestKind::sync) {
    submit_sync(request);
    return;
  }
  const bool nothing_to_do =
      request.kind == RequestKind::discard && (preallocate_ || request.size == 0);
  if (request.outcome.has_value() && !nothing_to_do) {
    const Result<runtime::IoQueue*> queue = executor.io();
    if (queue.has_value()) {
      start(**queue, request);
      return;
    }
    request.outcome = fail(queue.error());
  }
  executor.enqueue(io);
}

void FileBackend::start(runtime::IoQueue& queue, Request& request) noexcept {
  using runtime::IoKind;
  runtime::IoRequest& io = request.link;
  io.fd = file_.fd;
  io.offset = request.offset;
  io.vectors = request.vectors.data();
  io.vector_count = request.vector_count;
  switch (request.kind) {
    case RequestKind::read:
      io.kind = IoKind::read;
      break;
    case RequestKind::write:
      io.kind = IoKind::write;
      break;
    case RequestKind::sync:
      io.kind = IoKind::sync;
      break;
    case RequestKind::discard:
      io.kind = IoKind::allocate;
      io.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      io.length = request.size;
      break;
    case RequestKind::grow:
      io.kind = IoKind::call;
      io.call = [](runtime::IoRequest& own) noexcept {
        Request& grown = request_of(own);
        return of(grown).grow(grown.size);
      };
      break;
  }
  queue.submit(io);
}

void FileBackend::ended(runtime::IoRequest& io) noexcept {
  Request& request = request_of(io);
  FileBackend& self = of(request);
  if (request.kind == RequestKind::sync) {
    self.sync_ended(request, io.error);
  } else {
    request.outcome = self.outcome_of(request, io.error);
  }
  self.give_back(request);
}

void FileBackend::run_finished(runtime::Runnable& runnable) noexcept {
  Request& request = request_of(runnable);
  of(request).give_back(request);
}

void FileBackend::give_back(Request& request) noexcept {
  under_way_count_.fetch_sub(1, std::memory_order_release);
  request.done(request);
}

Result<void> FileBackend::outcome_of(const Request& request, int error) const noexcept {
  if (error == 0) return {};
  switch (request.kind) {
    case RequestKind::read:
      return fail_io(error, "read", id_);
    case RequestKind::write:
      return fail_io(error, "write", id_);
    case RequestKind::grow:
      return fail_io(error, "grow", id_);
    case RequestKind::discard:
      if (error == EOPNOTSUPP || error == EINVAL || error == ENOSYS) return {};  // it is a hint
      return fail_io(error, "discard", id_);
    case RequestKind::sync:
      break;
  }
  return fail_sync(error, id_);
}

// --- sync ---------------------------------------------------------------------------------------

void FileBackend::submit_sync(Request& request) noexcept {
  {
    const std::lock_guard lock(sync_mutex_);
    if (sync_running_) {
      request.link.next = sync_waiting_;
      sync_waiting_ = &request.link;
      return;
    }
    sync_running_ = true;
  }
  lead_sync(request);
}

// On the leader's thread, while `sync_running_`.
void FileBackend::lead_sync(Request& request) noexcept {
  bool failed = false;
  {
    const std::lock_guard lock(sync_mutex_);
    failed = sync_failed_;
    // They were submitted before this sync starts, so it covers what they cover.
    sync_followers_ = std::exchange(sync_waiting_, nullptr);
  }
  int error = 0;
  if (!failed) {
    const Result<runtime::IoQueue*> queue = request.link.home->io();
    if (queue.has_value()) {
      start(**queue, request);
      return;
    }
    error = EAGAIN;
  }
  sync_ended(request, error);
  request.link.run = &run_finished;
  request.link.home->enqueue(request.link);
}

// Sets the outcome of the leader and ends its followers. The leader is not given back yet: until
// then it keeps this object alive.
void FileBackend::sync_ended(Request& leader, int error) noexcept {
  runtime::Runnable* followers = nullptr;
  runtime::Runnable* next_leader = nullptr;
  bool failed = false;
  {
    const std::lock_guard lock(sync_mutex_);
    sync_failed_ = sync_failed_ || error != 0;
    failed = sync_failed_;
    followers = std::exchange(sync_followers_, nullptr);
    next_leader = sync_waiting_;
    if (next_leader != nullptr) {
      sync_waiting_ = next_leader->next;
    } else {
      sync_running_ = false;
    }
  }
  const Result<void> outcome = failed ? Result<void>(fail_sync(error, id_)) : Result<void>();
  leader.outcome = outcome;
  while (followers != nullptr) {
    runtime::Runnable& follower = *std::exchange(followers, followers->next);
    request_of(follower).outcome = outcome;
    follower.run = &run_finished;
    runtime::ExecutorCore::wake(follower);
  }
  if (next_leader != nullptr) {
    next_leader->run = &run_leader;
    runtime::ExecutorCore::wake(*next_leader);
  }
}

void FileBackend::run_leader(runtime::Runnable& runnable) noexcept {
  Request& request = request_of(runnable);
  of(request).lead_sync(request);
}

// --- growth -------------------------------------------------------------------------------------

// On a helper thread. 0 or an errno.
int FileBackend::grow(std::uint64_t size_bytes) noexcept {
  const std::lock_guard lock(grow_mutex_);
  const std::uint64_t former = size();
  if (size_bytes <= former) return 0;
  int error = 0;
  if (file_.is_device) {
    if (device_bytes(file_.fd) < size_bytes) error = ENOSPC;
  } else if (preallocate_) {
    error = preallocate_file(calls_, file_.fd, former, size_bytes);
  } else if (::ftruncate(file_.fd, static_cast<off_t>(size_bytes)) != 0) {
    error = errno;
  }
  if (error == 0) size_bytes_.store(size_bytes, std::memory_order_release);
  return error;
}

}  // namespace firn::segment
