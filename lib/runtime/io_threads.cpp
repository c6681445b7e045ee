#include "runtime/io_threads.hpp"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/allocation.hpp"
#include "base/fork.hpp"
#include "base/sanitizer.hpp"

namespace firn::runtime {
namespace {

struct Shared {
  std::mutex mutex;
  std::weak_ptr<IoThreads> threads;
};

// A forked child has none of its parent's threads: it joins none, and waits for none.
struct EndThreads {
  std::uint32_t process = base::process_generation();
  void operator()(IoThreads* threads) const noexcept {
    if (process == base::process_generation()) {
      delete threads;
    } else {
      base::leak_on_purpose(threads);
    }
  }
};

// The result of one system call: what it returned, or a negative errno.
long call_once(const IoCalls& calls, IoRequest& request) noexcept {
  const iovec* vectors = request.vectors + request.vector_index;
  const auto count = static_cast<int>(
      std::min<std::uint32_t>(request.vector_count - request.vector_index, IOV_MAX));
  const auto offset = static_cast<off_t>(request.offset + request.transferred);
  long result = 0;
  switch (request.kind) {
    case IoKind::read:
      result = calls.preadv(request.fd, vectors, count, offset);
      break;
    case IoKind::write:
      result = calls.pwritev(request.fd, vectors, count, offset);
      break;
    case IoKind::sync:
      result = calls.fdatasync(request.fd);
      break;
    case IoKind::allocate:
      result = calls.fallocate(request.fd, request.mode, static_cast<off_t>(request.offset),
                               static_cast<off_t>(request.length));
      break;
    case IoKind::call:
      return -request.call(request);
  }
  return result < 0 ? -errno : result;
}

}  // namespace

const IoCalls& kernel_io_calls() noexcept {
  static constexpr IoCalls calls{&::preadv, &::pwritev, &::fdatasync, &::fallocate};
  return calls;
}

Result<std::shared_ptr<IoThreads>> IoThreads::shared() noexcept {
  Shared* shared = nullptr;
  FIRN_TRY(base::guard_allocation([&] { shared = &base::of_this_process<Shared>(); }));
  std::shared_ptr<IoThreads> threads;
  const std::lock_guard lock(shared->mutex);
  threads = shared->threads.lock();
  if (threads != nullptr) return threads;
  FIRN_TRY(base::guard_allocation([&] { threads.reset(new IoThreads, EndThreads{}); }));
  {
    const std::lock_guard own_lock(threads->mutex_);
    FIRN_TRY(threads->start_one());  // one that works, so that posting cannot fail
  }
  shared->threads = threads;
  return threads;
}

IoThreads::~IoThreads() {
  {
    const std::lock_guard lock(mutex_);
    FIRN_ASSERT(first_ == nullptr);
    ending_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

// The program's signals are handled by its own threads; not so what this one does wrong itself.
Result<void> IoThreads::start_one() noexcept {
  sigset_t all;
  sigset_t former;
  sigfillset(&all);
  for (const int own : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) sigdelset(&all, own);
  pthread_sigmask(SIG_SETMASK, &all, &former);
  const Result<void> started = base::guard_allocation(
      [this] { threads_[thread_count_] = std::thread([this]() noexcept { run(); }); });
  pthread_sigmask(SIG_SETMASK, &former, nullptr);
  FIRN_TRY(started);
  ++thread_count_;
  return {};
}

void IoThreads::post(Runnable* first, Runnable* last, std::size_t count) noexcept {
  const std::lock_guard lock(mutex_);
  last->next = nullptr;
  (first_ == nullptr ? first_ : last_->next) = first;
  last_ = last;
  queued_count_ += count;
  const std::size_t wanted = std::min(queued_count_, sleeping_count_);
  for (std::size_t index = 0; index < wanted; ++index) work_.notify_one();
  // Failing is no harm: fewer threads do the work.
  while (queued_count_ > sleeping_count_ && thread_count_ < thread_count_max &&
         thread_count_ < queued_count_ + 1) {
    if (!start_one().has_value()) break;
  }
}

void IoThreads::run() noexcept {
  std::unique_lock lock(mutex_);
  while (true) {
    if (first_ == nullptr) {
      if (ending_) return;
      ++sleeping_count_;
      work_.wait(lock);
      --sleeping_count_;
      continue;
    }
    auto& request = static_cast<IoRequest&>(*first_);
    first_ = request.next;
    --queued_count_;
    lock.unlock();
    perform(request);
    lock.lock();
  }
}

void IoThreads::perform(IoRequest& request) noexcept {
  const IoCalls& calls = request.queue->calls_;
  while (true) {
    const long result = call_once(calls, request);
    if (result == -EINTR || result == -EAGAIN) {
      if (request.kind != IoKind::call && request.retry_count++ < IoQueue::retry_count_max)
        continue;
      request.error = static_cast<int>(-result);
    } else if (result < 0) {
      request.error = static_cast<int>(-result);
    } else if (request.kind == IoKind::read || request.kind == IoKind::write) {
      if (result == 0) {
        request.error = request.kind == IoKind::read ? ENODATA : EIO;
      } else if (!advance(request, static_cast<std::size_t>(result))) {
        continue;
      }
    }
    break;
  }
  request.home->send(request);  // the request, its queue and the executor may be gone now
}

}  // namespace firn::runtime
