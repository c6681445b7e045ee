// Switches stacks with Boost's fcontext. Debian's Boost tells no sanitizer about it, so each jump
// below stands between the calls that do.
#include "runtime/fiber_context.hpp"

#include <cxxabi.h>
#include <cstring>

#include <boost/context/detail/fcontext.hpp>

#include <firn/assertion.hpp>

#include "base/sanitizer.hpp"

#if FIRN_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if FIRN_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace firn::runtime {
namespace {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

thread_local FiberContext* current_fiber = nullptr;

// Neither inlined nor known to be a constant (hence the asm), so that no compiler keeps the address
// across a switch, after which the fiber may be on another thread.
[[gnu::noinline]] FiberContext*& current_slot() noexcept {
  asm volatile("" ::: "memory");
  return current_fiber;
}

// The innermost exception being handled on this thread: the first word of the C++ ABI's globals.
[[maybe_unused, gnu::noinline]] const void* handled_exception() noexcept {
  asm volatile("" ::: "memory");
  const void* exception = nullptr;
  std::memcpy(&exception, abi::__cxa_get_globals(), sizeof exception);
  return exception;
}

}  // namespace

struct FiberContext::Switch {
  // ASan keeps a fake stack per real one (use after return). It must be told before each jump where
  // the target lies; a null `save` frees the fake stack of a fiber that ends. TSan's switch comes
  // last before the jump and the functions are always inlined: a return in between would be counted
  // on the shadow stack of the other fiber.
  [[gnu::always_inline]] static inline void before_resume(
      [[maybe_unused]] FiberContext& fiber) noexcept {
#if FIRN_ASAN
    __sanitizer_start_switch_fiber(&fiber.sanitizer_.resumer_fake_stack, fiber.stack_.bottom,
                                   fiber.stack_.size_bytes);
#endif
#if FIRN_TSAN
    fiber.sanitizer_.resumer_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber.sanitizer_.fiber, 0);
#endif
  }

  [[gnu::always_inline]] static inline void after_resume(
      [[maybe_unused]] FiberContext& fiber) noexcept {
#if FIRN_ASAN
    __sanitizer_finish_switch_fiber(fiber.sanitizer_.resumer_fake_stack, nullptr, nullptr);
#endif
  }

  [[gnu::always_inline]] static inline void before_leaving(
      [[maybe_unused]] FiberContext& fiber, [[maybe_unused]] bool for_ever) noexcept {
#if FIRN_ASAN
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &fiber.sanitizer_.fake_stack,
                                   fiber.sanitizer_.resumer_bottom,
                                   fiber.sanitizer_.resumer_size_bytes);
#endif
#if FIRN_TSAN
    __tsan_switch_to_fiber(fiber.sanitizer_.resumer_fiber, 0);
#endif
  }

  // Each resumer has a stack of its own, whose bounds are learnt on arrival.
  [[gnu::always_inline]] static inline void after_arrival(
      [[maybe_unused]] FiberContext& fiber) noexcept {
#if FIRN_ASAN
    __sanitizer_finish_switch_fiber(fiber.sanitizer_.fake_stack, &fiber.sanitizer_.resumer_bottom,
                                    &fiber.sanitizer_.resumer_size_bytes);
#endif
  }

  // The first frame of every fiber. It never returns: the last jump leaves it for ever.
  static void enter(transfer_t transfer) noexcept {
    auto& fiber = *static_cast<FiberContext*>(transfer.data);
    after_arrival(fiber);
    fiber.resumer_context_ = transfer.fctx;
    fiber.entry_(fiber.argument_);
    fiber.transition(State::finished);
    before_leaving(fiber, true);
    jump_fcontext(fiber.resumer_context_, nullptr);
    __builtin_unreachable();
  }
};

FiberContext::~FiberContext() {
  if (state_ == State::prepared) release_stack();
  FIRN_ASSERT(state_ != State::suspended);
  FIRN_ASSERT(state_ != State::running);
}

Result<void> FiberContext::prepare(StackPool& pool) noexcept {
  FIRN_ASSERT(state_ == State::empty || state_ == State::finished);
  FIRN_TRY_ASSIGN(stack_, pool.acquire());
  pool_ = &pool;
  top_ = stack_.top();
  transition(State::prepared);
  return {};
}

void* FiberContext::reserve(std::size_t size_bytes, std::size_t alignment) noexcept {
  FIRN_ASSERT(state_ == State::prepared);
  FIRN_ASSERT(size_bytes <= reserved_size_bytes_max);
  FIRN_ASSERT(alignment != 0 && (alignment & (alignment - 1)) == 0);
  FIRN_ASSERT(alignment <= reserved_size_bytes_max);
  const auto used_bytes = static_cast<std::size_t>(stack_.top() - top_);
  // The top of a stack is aligned to pages, hence so is an offset from it.
  const std::size_t end_bytes = (used_bytes + size_bytes + alignment - 1) & ~(alignment - 1);
  FIRN_ASSERT(end_bytes <= reserved_size_bytes_max);
  top_ = stack_.top() - end_bytes;
  return top_;
}

void FiberContext::start(Entry entry, void* argument) noexcept {
  FIRN_ASSERT(entry != nullptr);
  transition(State::suspended);
  entry_ = entry;
  argument_ = argument;
  context_ = make_fcontext(top_, static_cast<std::size_t>(top_ - stack_.bottom), &Switch::enter);
  sanitizer_ = SanitizerState{};
#if FIRN_TSAN
  sanitizer_.fiber = __tsan_create_fiber(0);
#endif
}

Result<void> FiberContext::start(StackPool& pool, Entry entry, void* argument) noexcept {
  FIRN_TRY(prepare(pool));
  start(entry, argument);
  return {};
}

void FiberContext::resume() noexcept {
  transition(State::running);
  // This frame stays on its thread until the fiber comes back: a resumer that is a fiber itself is
  // running meanwhile, so nobody can move it.
  FiberContext*& slot = current_slot();
  FiberContext* const resumer = slot;
  slot = this;
#ifdef FIRN_DEBUG
  resumer_exception_ = handled_exception();
#endif
  Switch::before_resume(*this);
  const transfer_t transfer = jump_fcontext(context_, this);
  Switch::after_resume(*this);
  context_ = transfer.fctx;
  slot = resumer;
  if (state_ == State::finished) release_stack();
}

void FiberContext::suspend() noexcept {
  FiberContext* const fiber = current();
  FIRN_ASSERT(fiber != nullptr);
  FIRN_DEBUG_ASSERT(handled_exception() == fiber->resumer_exception_);
  fiber->transition(State::suspended);
  Switch::before_leaving(*fiber, false);
  const transfer_t transfer = jump_fcontext(fiber->resumer_context_, nullptr);
  Switch::after_arrival(*fiber);
  fiber->resumer_context_ = transfer.fctx;
}

[[gnu::noinline]] FiberContext* FiberContext::current() noexcept { return current_slot(); }

void FiberContext::transition(State to) noexcept {
  FIRN_ASSERT(to != State::empty);
  switch (to) {
    case State::empty:
      break;
    case State::prepared:
      FIRN_ASSERT(state_ == State::empty || state_ == State::finished);
      break;
    case State::suspended:
      FIRN_ASSERT(state_ == State::prepared || state_ == State::running);
      break;
    case State::running:
      FIRN_ASSERT(state_ == State::suspended);
      break;
    case State::finished:
      FIRN_ASSERT(state_ == State::running);
      break;
  }
  state_ = to;
}

void FiberContext::release_stack() noexcept {
#if FIRN_TSAN
  if (sanitizer_.fiber != nullptr) __tsan_destroy_fiber(sanitizer_.fiber);
  sanitizer_.fiber = nullptr;
#endif
  pool_->release(stack_);
}

}  // namespace firn::runtime
