#include <liburing.h>

#include <poll.h>
#include <atomic>

#include <cerrno>
#include <new>
#include <utility>

#include "runtime/io_queue.hpp"
#include "runtime/io_ring.hpp"

namespace firn::runtime {
namespace {

// From the best to what every kernel with io_uring takes. DEFER_TASKRUN (Linux 6.1) runs
// completions only when we ask for them, so that they never interrupt the owner; TASKRUN_FLAG tells
// when to ask.
constexpr unsigned setup_flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    0,
};

void prepare_transfer(io_uring_sqe& sqe, const IoRequest& request) noexcept {
  const iovec* vectors = request.vectors + request.vector_index;
  const std::uint32_t count = request.vector_count - request.vector_index;
  const std::uint64_t offset = request.offset + request.transferred;
  const bool is_read = request.kind == IoKind::read;
  // One buffer, the usual case, spares the kernel the copy of the vectors.
  if (count == 1 && vectors->iov_len <= 0x7fff'ffff) {
    const auto bytes = static_cast<unsigned>(vectors->iov_len);
    if (is_read) {
      io_uring_prep_read(&sqe, request.fd, vectors->iov_base, bytes, offset);
    } else {
      io_uring_prep_write(&sqe, request.fd, vectors->iov_base, bytes, offset);
    }
  } else if (is_read) {
    io_uring_prep_readv(&sqe, request.fd, vectors, count, offset);
  } else {
    io_uring_prep_writev(&sqe, request.fd, vectors, count, offset);
  }
}

}  // namespace

// Orders a ring behind those that others have given up: it may be mapped where one of them was,
// which ThreadSanitizer does not see, since liburing calls the kernel itself.
constinit std::atomic<std::uint64_t> former_rings{0};

struct IoRing::Ring {
  io_uring ring{};
  bool open = false;
  bool watching = false;   // a request without data waits for the executor's descriptor
  bool was_woken = false;  // and ended
  ~Ring() {
    former_rings.fetch_add(1, std::memory_order_acq_rel);
    if (open) io_uring_queue_exit(&ring);
  }
};

IoRing::IoRing(std::unique_ptr<Ring> ring) noexcept : ring_(std::move(ring)) {}
IoRing::~IoRing() = default;

Result<std::unique_ptr<IoRing>> IoRing::create(int event_fd) noexcept {
  std::unique_ptr<Ring> ring(new (std::nothrow) Ring);
  if (ring == nullptr) return fail(ErrorCode::no_memory, "no memory for an io_uring");
  int result = -EINVAL;
  for (const unsigned flags : setup_flags) {
    io_uring_params parameters{};
    parameters.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    parameters.cq_entries = 2 * IoQueue::in_flight_count_max;  // room for our own
    result = io_uring_queue_init_params(IoQueue::submission_count_max, &ring->ring, &parameters);
    if (result != -EINVAL) break;
  }
  former_rings.fetch_add(0, std::memory_order_acq_rel);
  if (result == 0) {
    ring->open = true;
    result = io_uring_register_eventfd(&ring->ring, event_fd);
  }
  if (result == 0) result = io_uring_cq_eventfd_toggle(&ring->ring, false);
  if (result < 0) return fail_system(ErrorCode::io_error, -result, "io_uring");
  std::unique_ptr<IoRing> made(new (std::nothrow) IoRing(std::move(ring)));
  if (made == nullptr) return fail(ErrorCode::no_memory, "no memory for an io_uring");
  return made;
}

bool IoRing::push(IoRequest& request) noexcept {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_->ring);
  if (sqe == nullptr) return false;
  switch (request.kind) {
    case IoKind::read:
    case IoKind::write:
      prepare_transfer(*sqe, request);
      break;
    case IoKind::sync:
      io_uring_prep_fsync(sqe, request.fd, IORING_FSYNC_DATASYNC);
      break;
    case IoKind::allocate:
      io_uring_prep_fallocate(sqe, request.fd, request.mode, static_cast<off_t>(request.offset),
                              static_cast<off_t>(request.length));
      break;
    case IoKind::call:
      FIRN_ASSERT(false);  // goes to a helper thread
  }
  io_uring_sqe_set_data(sqe, &request);
  return true;
}

bool IoRing::enter() noexcept {
  io_uring& ring = ring_->ring;
  const unsigned flags = IO_URING_READ_ONCE(*ring.sq.kflags);
  if (io_uring_sq_ready(&ring) == 0 && (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) == 0) {
    return true;
  }
  const int result = io_uring_submit_and_get_events(&ring);
  // These pass; what was not taken stays pushed. Anything else means that the ring is not ours.
  FIRN_ASSERT(result >= 0 || result == -EAGAIN || result == -EBUSY || result == -EINTR ||
              result == -ENOMEM);
  return io_uring_sq_ready(&ring) == 0;
}

std::size_t IoRing::take(std::span<Completion> completions) noexcept {
  std::size_t count = 0;
  while (count < completions.size()) {
    io_uring_cqe* cqe = nullptr;
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_for_each_cqe(&ring_->ring, head, cqe) {
      if (count == completions.size()) break;
      ++seen;
      auto* const request = static_cast<IoRequest*>(io_uring_cqe_get_data(cqe));
      if (request == nullptr) {
        ring_->watching = false;
        ring_->was_woken = true;
        continue;
      }
      completions[count++] = {.request = request, .result = cqe->res};
    }
    io_uring_cq_advance(&ring_->ring, seen);
    if (seen == 0) break;
  }
  return count;
}

void IoRing::arm() noexcept {
  static_cast<void>(io_uring_cq_eventfd_toggle(&ring_->ring, true));
  // The kernel tells of its work before it looks whether we are armed; we look after having armed.
  // (The library's fence is refused by ThreadSanitizer, which does not see the kernel anyway.)
  __sync_synchronize();
}

void IoRing::disarm() noexcept {
  static_cast<void>(io_uring_cq_eventfd_toggle(&ring_->ring, false));
}

bool IoRing::take_wake() noexcept { return std::exchange(ring_->was_woken, false); }

bool IoRing::wait(int event_fd, std::optional<std::chrono::nanoseconds> timeout) noexcept {
  io_uring& ring = ring_->ring;
  if ((ring.features & IORING_FEAT_EXT_ARG) == 0) return false;
  if (!ring_->watching) {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
    if (sqe == nullptr) return false;
    io_uring_prep_poll_add(sqe, event_fd, POLLIN);
    io_uring_sqe_set_data(sqe, nullptr);
    ring_->watching = true;
  }
  __kernel_timespec time{};
  if (timeout.has_value()) {
    time.tv_sec = timeout->count() / 1'000'000'000;
    time.tv_nsec = timeout->count() % 1'000'000'000;
  }
  io_uring_cqe* cqe = nullptr;
  // Waking for nothing, by a signal for instance, is no harm.
  static_cast<void>(io_uring_submit_and_wait_timeout(
      &ring, &cqe, 1, timeout.has_value() ? &time : nullptr, nullptr));
  return true;
}

bool IoRing::has_completions() const noexcept {
  const io_uring& ring = ring_->ring;
  return io_uring_cq_ready(&ring) > 0 ||
         (IO_URING_READ_ONCE(*ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

}  // namespace firn::runtime
