// A bare stackful coroutine: a stack and the place where it stopped. It knows no scheduler; the
// executor's fibers are built on it. One thread at a time.
//   1. resume() switches into the fiber and returns when it suspends or ends; a fiber may resume
//      another one, and suspend() always leads back to whoever resumed.
//   2. Between two resumes a fiber may change its thread, if the former resume() has returned there
//   and
//      the threads synchronise. Firn's executors never do it: compilers keep the addresses of errno
//      and of thread_local variables, and the thread's id, across a suspension.
//   3. Rounding mode and exception masks (x87 control word, MXCSR) belong to the fiber. It begins
//   with
//      those in force at start().
//   4. No exception leaves a fiber (its entry is noexcept), and none is suspended in a catch block:
//      the exceptions being handled are the thread's.
#pragma once

#include <cstddef>
#include <cstdint>

#include <firn/result.hpp>

#include "runtime/stack_pool.hpp"

namespace firn::runtime {

class FiberContext {
 public:
  using Entry = void (*)(void* argument) noexcept;

  /// What reserve() may take from the top of a stack: 1/16 of the default size.
  static constexpr std::size_t reserved_size_bytes_max = 4096;

  FiberContext() noexcept = default;
  /// A fiber that was started must have finished: nothing could run the destructors on its stack.
  ~FiberContext();
  FiberContext(const FiberContext&) = delete;
  FiberContext& operator=(const FiberContext&) = delete;

  /// Takes a stack from `pool`, which must outlive it. A finished context may be prepared again.
  [[nodiscard]] Result<void> prepare(StackPool& pool) noexcept;
  /// Memory at the top of the prepared stack, for the callable and its arguments: a spawn needs no
  /// heap. The stack, and this memory with it, is gone once the fiber has finished, so the entry
  /// function destroys what was built here before it returns. Several calls share the maximum.
  [[nodiscard]] void* reserve(std::size_t size_bytes, std::size_t alignment) noexcept;
  /// Arms the prepared context; the first resume() calls `entry(argument)`.
  void start(Entry entry, void* argument) noexcept;
  /// prepare() and start() in one.
  [[nodiscard]] Result<void> start(StackPool& pool, Entry entry, void* argument) noexcept;

  /// Runs the fiber until it suspends or ends. When it ends, its stack goes back to the pool before
  /// this returns.
  void resume() noexcept;
  /// Back to whoever resumed the current fiber. Must be called on a fiber.
  static void suspend() noexcept;

  [[nodiscard]] bool finished() const noexcept { return state_ == State::finished; }
  /// The fiber that this code runs on, or nullptr on a thread's own stack.
  [[nodiscard]] static FiberContext* current() noexcept;

 private:
  enum class State : std::uint8_t { empty, prepared, suspended, running, finished };
  struct Switch;

  // What ASan and TSan must be told at each switch; unused without them.
  struct SanitizerState {
    void* fake_stack = nullptr;
    void* resumer_fake_stack = nullptr;
    const void* resumer_bottom = nullptr;
    std::size_t resumer_size_bytes = 0;
    void* fiber = nullptr;
    void* resumer_fiber = nullptr;
  };

  void transition(State to) noexcept;
  void release_stack() noexcept;

  StackPool* pool_ = nullptr;
  Stack stack_;
  std::byte* top_ = nullptr;  // below what is reserved
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  void* context_ = nullptr;          // where the fiber stopped, while suspended
  void* resumer_context_ = nullptr;  // where its resumer waits, while running
  const void* resumer_exception_ = nullptr;
  SanitizerState sanitizer_;
  State state_ = State::empty;
};

}  // namespace firn::runtime
