#include "runtime/io_queue.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <new>

#include "base/log.hpp"
#include "runtime/io_ring.hpp"
#include "runtime/io_threads.hpp"

namespace firn::runtime {
namespace {

constexpr std::size_t completions_per_take = 64;

// Of this thread, and of no other before or after it, as ids and addresses would be.
std::uint64_t thread_number() noexcept {
  static std::atomic<std::uint64_t> last{0};
  thread_local const std::uint64_t number = last.fetch_add(1, std::memory_order_relaxed) + 1;
  return number;
}

bool transfers(const IoRequest& request) noexcept {
  return request.kind == IoKind::read || request.kind == IoKind::write;
}

// The vectors are the caller's: as they were.
void restore_vectors(IoRequest& request) noexcept {
  if (request.vector_skipped == 0) return;
  iovec& vector = request.vectors[request.vector_index];
  vector.iov_base = static_cast<std::byte*>(vector.iov_base) - request.vector_skipped;
  vector.iov_len += request.vector_skipped;
  request.vector_skipped = 0;
}

}  // namespace

bool advance(IoRequest& request, std::size_t bytes) noexcept {
  request.transferred += bytes;
  while (request.vector_index < request.vector_count) {
    iovec& vector = request.vectors[request.vector_index];
    if (bytes < vector.iov_len) {
      if (bytes == 0) return false;
      vector.iov_base = static_cast<std::byte*>(vector.iov_base) + bytes;
      vector.iov_len -= bytes;
      request.vector_skipped += bytes;
      return false;
    }
    bytes -= vector.iov_len;
    restore_vectors(request);
    ++request.vector_index;
  }
  FIRN_ASSERT(bytes == 0);
  return true;
}

IoQueue::IoQueue(ExecutorCore& executor, const IoCalls* calls) noexcept
    : executor_(executor), calls_(calls != nullptr ? *calls : kernel_io_calls()) {
  kick_.home = &executor;
  kick_.queue = this;
  kick_.run = [](Runnable& runnable) noexcept {
    static_cast<Kick&>(runnable).queue->kicked_ = false;
  };
}

Result<std::unique_ptr<IoQueue>> IoQueue::create(ExecutorCore& executor, IoMethod method,
                                                 const IoCalls* calls) noexcept {
  std::unique_ptr<IoQueue> queue(new (std::nothrow) IoQueue(executor, calls));
  if (queue == nullptr) return fail(ErrorCode::no_memory, "no memory for an I/O queue");
  if (method != IoMethod::threads) {
    const Result<void> opened = queue->open_ring();
    if (!opened.has_value() && method == IoMethod::uring) return fail(opened.error());
  }
  if (queue->ring_ == nullptr) FIRN_TRY(queue->open_threads());
  FIRN_TRY(executor.attach(*queue));
  queue->attached_ = true;
  return queue;
}

IoQueue::~IoQueue() {
  // Requests end before their executor; in a forked child they are the parent's.
  FIRN_ASSERT(under_way_count_ == 0 || !executor_.of_this_process());
  if (attached_) executor_.detach(*this);
}

Result<void> IoQueue::open_ring() noexcept {
  static base::LogPlace place(1);
  Result<std::unique_ptr<IoRing>> ring = IoRing::create(executor_.fd());
  thread_ = thread_number();
  if (!ring.has_value()) {
    place.log(base::LogLevel::warning, "io_uring is refused here, helper threads do the I/O",
              ring.error().system_error);
    return fail(ring.error());
  }
  ring_ = *std::move(ring);
  return {};
}

Result<void> IoQueue::open_threads() noexcept {
  if (threads_ != nullptr) return {};
  FIRN_TRY_ASSIGN(threads_, IoThreads::shared());
  return {};
}

// The ring takes orders from the thread that made it and from no other.
void IoQueue::stay_on_thread() noexcept {
  if (ring_ == nullptr || thread_ == thread_number()) return;
  FIRN_ASSERT(in_flight_count_ == 0);  // an executor with I/O under way stays on its thread
  ring_.reset();
  armed_ = false;
  if (!open_ring().has_value()) {
    const Result<void> opened = open_threads();
    FIRN_ASSERT(opened.has_value());
  }
}

void IoQueue::wait_in_line(IoRequest& request) noexcept {
  request.next = nullptr;
  (first_waiting_ == nullptr ? first_waiting_ : last_waiting_->next) = &request;
  last_waiting_ = &request;
}

void IoQueue::submit(IoRequest& request) noexcept {
  FIRN_DEBUG_ASSERT(request.done != nullptr);
  request.home = &executor_;
  request.run = &finish;
  request.queue = this;
  request.error = 0;
  request.transferred = 0;
  request.vector_skipped = 0;
  request.vector_index = 0;
  request.retry_count = 0;
  ++under_way_count_;
  wait_in_line(request);
  if (!executor_.ticking()) {
    keep_awake();
  } else if (++collected_count_ >= eager_count) {
    hand_over();
  }
}

// In a tick its end hands the requests over; outside, and when the kernel is short of something,
// another tick has to come.
void IoQueue::keep_awake() noexcept {
  if (kicked_) return;
  kicked_ = true;
  executor_.enqueue(kick_);
}

void IoQueue::pump() noexcept {
  // The request that watches the descriptor may end at any time.
  if (under_way_count_ == 0 && (ring_ == nullptr || !ring_->has_completions())) return;
  hand_over();
  if (ring_ != nullptr) harvest();
  // What came back to be tried again waits for the next round, and so does what was not taken.
  if (first_waiting_ != nullptr && in_flight_count_ < in_flight_count_max) keep_awake();
}

void IoQueue::hand_over() noexcept {
  collected_count_ = 0;
  stay_on_thread();
  Runnable* for_threads = nullptr;
  Runnable* last_for_threads = nullptr;
  std::uint32_t count_for_threads = 0;
  bool taken = true;
  while (first_waiting_ != nullptr && in_flight_count_ < in_flight_count_max) {
    auto& request = static_cast<IoRequest&>(*first_waiting_);
    Runnable* const next = request.next;
    if (ring_ == nullptr || request.kind == IoKind::call) {
      if (threads_ == nullptr) {
        if (const auto opened = open_threads(); !opened.has_value()) {
          first_waiting_ = next;
          ++in_flight_count_;
          request.error = EAGAIN;
          executor_.enqueue(request);
          continue;
        }
      }
      (for_threads == nullptr ? for_threads : last_for_threads->next) = &request;
      last_for_threads = &request;
      ++count_for_threads;
    } else if (!ring_->push(request)) {
      taken = ring_->enter();
      if (!taken) break;
      continue;
    }
    ++in_flight_count_;
    first_waiting_ = next;
  }
  if (count_for_threads > 0) threads_->post(for_threads, last_for_threads, count_for_threads);
  if (ring_ == nullptr) return;
  if (taken) taken = ring_->enter();
  if (!taken) keep_awake();
}

void IoQueue::harvest() noexcept {
  std::array<IoRing::Completion, completions_per_take> completions;
  std::size_t count = 0;
  do {
    count = ring_->take(completions);
    for (std::size_t index = 0; index < count; ++index) {
      completed(*completions[index].request, completions[index].result);
    }
  } while (count == completions.size());
  if (ring_->take_wake()) signalled_ = true;
}

void IoQueue::completed(IoRequest& request, int result) noexcept {
  if ((result == -EINTR || result == -EAGAIN) && request.retry_count++ < retry_count_max) {
    --in_flight_count_;
    wait_in_line(request);
    return;
  }
  if (result < 0) {
    request.error = -result;
  } else if (transfers(request)) {
    if (result == 0) {
      request.error = request.kind == IoKind::read ? ENODATA : EIO;
    } else if (!advance(request, static_cast<std::size_t>(result))) {
      --in_flight_count_;
      wait_in_line(request);
      return;
    }
  }
  executor_.enqueue(request);
}

void IoQueue::finish(Runnable& runnable) noexcept {
  auto& request = static_cast<IoRequest&>(runnable);
  restore_vectors(request);
  --request.queue->in_flight_count_;
  --request.queue->under_way_count_;
  request.done(request);
}

void IoQueue::poll() noexcept {
  // Armed here means that a tick inside this one has ended: what came since wrote the descriptor.
  if (armed_ && ring_->has_completions()) signalled_ = true;
  pump();
}

void IoQueue::arm() noexcept {
  pump();
  if (ring_ == nullptr || under_way_count_ == 0) return;
  ring_->arm();
  armed_ = true;
  if (!ring_->has_completions()) return;
  signalled_ = true;
  static_cast<void>(ring_->enter());
  harvest();
  if (first_waiting_ != nullptr && in_flight_count_ < in_flight_count_max) keep_awake();
}

bool IoQueue::disarm() noexcept {
  const bool signalled = signalled_ || (armed_ && ring_->has_completions());
  signalled_ = false;
  if (armed_) ring_->disarm();
  armed_ = false;
  return signalled;
}

bool IoQueue::sleep(std::optional<std::chrono::nanoseconds> timeout) noexcept {
  if (!armed_ || thread_ != thread_number()) return false;
  if (ring_->has_completions()) return true;
  // From here on the ring wakes us itself. What it writes until this takes effect is noticed by the
  // request that watches the descriptor, and taken back after that.
  ring_->disarm();
  armed_ = false;
  if (ring_->wait(executor_.fd(), timeout)) return true;
  ring_->arm();
  armed_ = true;
  return ring_->has_completions();
}

}  // namespace firn::runtime
