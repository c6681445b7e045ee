// What tests of segments share: aligned memory, an event loop that sleeps, requests that count.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include "runtime/io_queue.hpp"
#include "segment/backend.hpp"
#include "support/catch.hpp"

namespace firn::test {

using runtime::ExecutorCore;
using segment::Request;
using segment::RequestKind;

/// Memory that any backend takes: blocks are at most 4096 bytes.
class Buffer {
 public:
  explicit Buffer(std::size_t size) : size_(size) {
    bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096)));
    fill(0xee);
  }
  [[nodiscard]] std::byte* data(std::size_t offset = 0) const { return bytes_.get() + offset; }
  [[nodiscard]] std::size_t size() const { return size_; }
  void fill(int byte) const { std::memset(bytes_.get(), byte, size_); }
  /// Whether all bytes are `byte`.
  [[nodiscard]] bool holds(int byte) const {
    return std::all_of(data(), data() + size_,
                       [byte](std::byte each) { return each == static_cast<std::byte>(byte); });
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::size_t size_;
  std::unique_ptr<std::byte, Free> bytes_;
};

inline std::unique_ptr<ExecutorCore> make_executor(runtime::ExecutorSeam seam = {}) {
  Result<ExecutorCore*> core = ExecutorCore::create(seam);
  FIRN_ASSERT(core.has_value());  // not REQUIRE: also called by threads
  return std::unique_ptr<ExecutorCore>(*core);
}

/// An event loop that sleeps whenever it may, on the executor's descriptor and in the executor by
/// turns. False if `done` does not come: nobody woke it.
inline bool run_until(ExecutorCore& executor, const std::function<bool()>& done) {
  constexpr int patience_ms = 20'000;
  for (int turn = 0; !done(); ++turn) {
    executor.tick(std::chrono::nanoseconds::zero());
    if (done()) return true;
    if (executor.deadline().has_value()) continue;
    if (turn % 2 == 1) {
      executor.wait_for_work();
      continue;
    }
    pollfd descriptor{executor.fd(), POLLIN, 0};
    if (::poll(&descriptor, 1, patience_ms) == 0) return false;
  }
  return true;
}

/// A request whose `done` counts.
struct Counted : Request {
  int done_count = 0;

  explicit Counted(RequestKind its_kind, std::uint64_t its_offset = 0) {
    kind = its_kind;
    offset = its_offset;
    done = [](Request& request) noexcept { ++static_cast<Counted&>(request).done_count; };
  }
  Counted(RequestKind its_kind, std::uint64_t its_offset, const Buffer& buffer)
      : Counted(its_kind, its_offset) {
    set_buffer(buffer.data(), buffer.size());
  }
};

/// Submits and waits. The outcome, or `timed_out`.
inline Result<void> perform(segment::Backend& backend, ExecutorCore& executor, Counted& request) {
  request.done_count = 0;
  backend.submit(executor, request);
  const bool called_inside = request.done_count != 0;
  if (called_inside) return fail(ErrorCode::invalid_state, "done was called inside submit");
  if (!run_until(executor, [&] { return request.done_count > 0; })) {
    return fail(ErrorCode::timed_out);
  }
  return request.outcome;
}

inline Result<void> write_bytes(segment::Backend& backend, ExecutorCore& executor,
                                std::uint64_t offset, const Buffer& buffer) {
  Counted request(RequestKind::write, offset, buffer);
  return perform(backend, executor, request);
}
inline Result<void> read_bytes(segment::Backend& backend, ExecutorCore& executor,
                               std::uint64_t offset, const Buffer& buffer) {
  Counted request(RequestKind::read, offset, buffer);
  return perform(backend, executor, request);
}
inline Result<void> sync(segment::Backend& backend, ExecutorCore& executor) {
  Counted request(RequestKind::sync);
  return perform(backend, executor, request);
}
inline Result<void> grow(segment::Backend& backend, ExecutorCore& executor, std::uint64_t size) {
  Counted request(RequestKind::grow);
  request.size = size;
  return perform(backend, executor, request);
}

/// 0, or the number of the error's code.
inline int code_of(const Result<void>& result) {
  return result.has_value() ? 0 : static_cast<int>(result.error().code);
}
template <class T>
int code_of(const Result<T>& result) {
  return result.has_value() ? 0 : static_cast<int>(result.error().code);
}
inline int code_of(ErrorCode code) { return static_cast<int>(code); }

/// Whether this kernel grants io_uring.
inline bool uring_granted() {
  const auto executor = make_executor({.io_method = runtime::IoMethod::uring});
  return executor->io().has_value();
}

}  // namespace firn::test
