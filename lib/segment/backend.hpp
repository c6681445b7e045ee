// Segments: arrays of bytes on a device, and the one interface through which everything above
// reaches them. Files, block devices, memory, the simulator and, later, memory nodes implement it;
// one contract suite (tests/contract) holds for all.
//
//   1. `submit` never blocks and never fails at once: the outcome is in the request when `done` is
//      called, on the thread of the executor it was submitted to, from that executor's tick.
//   2. A request and its memory belong to the backend from `submit` until `done` begins.
//   3. A short transfer is not success: the backend goes on until all is transferred or it fails.
//   4. Requests are unordered. A sync covers the writes that were done before it was submitted, and
//      no others; who needs an order waits for completions.
//   5. A failed sync is final: the backend says so to every later sync too (`failed`), since the
//      kernel forgets which writes were lost.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include <firn/result.hpp>

#include "runtime/io_queue.hpp"

namespace firn::segment {

/// Offsets of system calls are signed, and sums of an offset and a length stay far from overflow.
inline constexpr std::uint64_t segment_size_bytes_max = std::uint64_t{1} << 60;

/// Whose I/O goes first when a device is busy; a backend may ignore it.
enum class IoClass : std::uint8_t { log, read, flush_read, write_back, checkpoint, cleaning };

enum class RequestKind : std::uint8_t {
  read,     ///< `offset`, vectors; bytes beyond what was ever written read as zeroes
  write,    ///< `offset`, vectors
  sync,     ///< device barrier
  discard,  ///< `offset`, `size`: the content is not needed any more; a hint
  grow,     ///< `size`: the segment's new size in bytes; preallocates if the segment does
};

/// One I/O, owned by its caller, neither copied nor moved while it is under way.
struct Request {
  static constexpr std::size_t vector_count_max = 8;

  RequestKind kind = RequestKind::read;
  IoClass io_class = IoClass::read;
  std::uint8_t vector_count = 0;
  std::uint64_t offset = 0;  ///< bytes; a multiple of the block size, like every vector
  std::uint64_t size = 0;    ///< of discard and grow
  std::array<iovec, vector_count_max> vectors{};
  /// The last touch by the backend; may free the request.
  void (*done)(Request&) noexcept = nullptr;
  void* context = nullptr;  ///< the caller's own

  /// Outcome: success, or `io_error` with errno and segment, `no_space`, `failed`.
  Result<void> outcome;

  // The backend's own while it has the request.
  struct Link : runtime::IoRequest {  // a mere runnable where no file is behind it
    Request* request = nullptr;
  };
  Link link;
  std::uint64_t transferred = 0;
  void* backend_context = nullptr;

  [[nodiscard]] std::uint64_t length() const noexcept {
    std::uint64_t sum = 0;
    for (std::size_t index = 0; index < vector_count; ++index) sum += vectors[index].iov_len;
    return sum;
  }
  void set_buffer(void* data, std::size_t bytes) noexcept {
    vectors[0] = {.iov_base = data, .iov_len = bytes};
    vector_count = 1;
  }
};

struct SegmentCapabilities {
  std::uint32_t block_bytes = 512;   ///< unit and alignment of offsets, lengths and memory
  std::uint32_t atomic_bytes = 512;  ///< an aligned write of this size is never torn
  bool append_only = false;          ///< chunks are written once, front to back
  bool remote = false;
  bool is_volatile = false;            ///< empty after every opening
  bool durable_on_completion = false;  ///< a finished write needs no sync
  bool direct = true;                  ///< bypasses the page cache
};

/// Shared between threads; each request is of one thread.
class Backend {
 public:
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  [[nodiscard]] virtual SegmentCapabilities capabilities() const noexcept = 0;
  /// Bytes; grows only.
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  /// The number that errors of this segment name.
  [[nodiscard]] virtual std::uint32_t id() const noexcept = 0;

  /// Starts `request`. Called on `executor`'s thread; `done` comes from its tick, never from inside
  /// this call. The backend may collect requests and hand them to the device at the tick's end.
  virtual void submit(runtime::ExecutorCore& executor, Request& request) noexcept = 0;

 protected:
  Backend() = default;
};

/// Whether `request` may go to `backend` at all: kind and vectors, block alignment, bounds.
/// `invalid_argument` otherwise. For backends.
[[nodiscard]] Result<void> check_request(const Request& request,
                                         const SegmentCapabilities& capabilities,
                                         std::uint64_t size_bytes, std::uint32_t id) noexcept;

/// Ends `request` with `outcome` from the next round of the executor's tick. For backends.
void finish_later(runtime::ExecutorCore& executor, Request& request,
                  const Result<void>& outcome) noexcept;

/// The error of a system call on segment `id`: `no_space` where the device or a quota is full, else
/// `io_error`.
[[nodiscard]] Failure fail_io(int system_error, const char* detail, std::uint32_t id) noexcept;

/// A place in segment `id`.
[[nodiscard]] inline Place place_in(std::uint32_t id) noexcept {
  Place place;
  place.segment = id;
  return place;
}

}  // namespace firn::segment
