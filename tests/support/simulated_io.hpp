// Blocking I/O for tests on a simulated device: an executor with a clock of its own, ticked and
// moved on here until the requests are done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include <firn/assertion.hpp>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "runtime/executor_core.hpp"
#include "segment/backend.hpp"

namespace firn::test {

/// Memory as a direct backend wants it.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t bytes)
      : size_(bytes),
        data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{4096}))) {
    std::memset(data_, 0, bytes);
  }
  ~AlignedBuffer() { ::operator delete (data_, std::align_val_t{4096}); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<std::byte> span() const noexcept { return {data_, size_}; }

 private:
  std::size_t size_;
  std::byte* data_;
};

/// One request with its memory.
struct TestRequest {
  segment::Request request;
  std::unique_ptr<AlignedBuffer> buffer;
  bool done = false;

  [[nodiscard]] const Result<void>& outcome() const noexcept { return request.outcome; }
};

class SimulatedIo {
 public:
  explicit SimulatedIo(std::uint64_t seed = 1) : order_(seed), executor_(make(seam())) {}

  [[nodiscard]] runtime::ExecutorCore& executor() noexcept { return *executor_; }
  [[nodiscard]] base::ManualClock& clock() noexcept { return clock_; }

  // Start a request; it lives until the next `forget`.
  TestRequest& start(segment::Backend& backend, segment::RequestKind kind, std::uint64_t offset,
                     std::size_t length, std::span<const std::byte> bytes = {}) {
    TestRequest& test = requests_.emplace_back();
    test.request.kind = kind;
    test.request.offset = offset;
    if (kind == segment::RequestKind::read || kind == segment::RequestKind::write) {
      test.buffer = std::make_unique<AlignedBuffer>(length);
      if (!bytes.empty()) std::memcpy(test.buffer->data(), bytes.data(), bytes.size());
      test.request.set_buffer(test.buffer->data(), length);
    } else {
      test.request.size = length;
    }
    test.request.context = &test;
    test.request.done = [](segment::Request& request) noexcept {
      static_cast<TestRequest*>(request.context)->done = true;
    };
    const runtime::ExecutorCore::Scope scope(*executor_);
    backend.submit(*executor_, test.request);
    return test;
  }
  TestRequest& start_write(segment::Backend& backend, std::uint64_t offset,
                           std::span<const std::byte> bytes) {
    return start(backend, segment::RequestKind::write, offset, bytes.size(), bytes);
  }
  TestRequest& start_sync(segment::Backend& backend) {
    return start(backend, segment::RequestKind::sync, 0, 0);
  }

  /// Runs until nothing is under way any more. False: `test` hangs.
  bool wait(const TestRequest& test) {
    while (!test.done && go_on()) continue;
    return test.done;
  }
  void wait_all() {
    while (go_on()) continue;
  }
  /// One tick, after the clock was moved on to what is due next. False: nothing to do.
  bool go_on() {
    const auto due = executor_->deadline();
    if (!due.has_value()) return false;
    clock_.advance_to(*due);
    executor_->tick({});
    return true;
  }

  /// A request that hangs is `timed_out`.
  Result<void> run(segment::Backend& backend, segment::RequestKind kind, std::uint64_t offset,
                   std::size_t length, std::span<const std::byte> bytes = {}) {
    return outcome_of(start(backend, kind, offset, length, bytes));
  }
  Result<void> write(segment::Backend& backend, std::uint64_t offset,
                     std::span<const std::byte> bytes) {
    return run(backend, segment::RequestKind::write, offset, bytes.size(), bytes);
  }
  Result<void> read(segment::Backend& backend, std::uint64_t offset, std::span<std::byte> into) {
    TestRequest& test = start(backend, segment::RequestKind::read, offset, into.size());
    const Result<void> outcome = outcome_of(test);
    if (outcome.has_value()) std::memcpy(into.data(), test.buffer->data(), into.size());
    return outcome;
  }
  Result<void> sync(segment::Backend& backend) {
    return run(backend, segment::RequestKind::sync, 0, 0);
  }
  Result<void> grow(segment::Backend& backend, std::uint64_t size) {
    return run(backend, segment::RequestKind::grow, 0, size);
  }
  Result<void> outcome_of(TestRequest& test) {
    if (!wait(test)) return fail(ErrorCode::timed_out, "the device does not answer");
    return test.request.outcome;
  }
  /// Frees the requests; none may be under way.
  void forget() { requests_.clear(); }

 private:
  runtime::ExecutorSeam seam() { return {.clock = &clock_, .order = &order_}; }
  static std::unique_ptr<runtime::ExecutorCore> make(runtime::ExecutorSeam seam) {
    Result<runtime::ExecutorCore*> core = runtime::ExecutorCore::create(seam);
    FIRN_ASSERT(core.has_value());
    return std::unique_ptr<runtime::ExecutorCore>(*core);
  }

  base::ManualClock clock_;
  base::Random order_;
  std::deque<TestRequest> requests_;  // before the executor, which ends first
  std::unique_ptr<runtime::ExecutorCore> executor_;
};

}  // namespace firn::test
