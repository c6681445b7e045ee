#include "runtime/fiber.hpp"

#include <new>
#include <utility>

#include <firn/fiber.hpp>
#include <firn/task.hpp>

#include "runtime/operation_access.hpp"

namespace firn::runtime {
namespace {

// Set while a fiber runs; read on the same thread only, through a function, since a compiler may
// not keep a thread_local's address across a switch of stacks.
thread_local Fiber* running_fiber = nullptr;

[[gnu::noinline]] Fiber*& running_slot() noexcept {
  asm volatile("" ::: "memory");
  return running_fiber;
}

}  // namespace

Fiber* current_fiber() noexcept { return running_slot(); }

OffFiber::OffFiber() noexcept : former_(std::exchange(running_slot(), nullptr)) {}
OffFiber::~OffFiber() { running_slot() = former_; }

FiberPool::~FiberPool() {
  while (idle_ != nullptr) {
    Fiber* next = idle_->next_idle;
    delete idle_;
    idle_ = next;
  }
}

Result<Fiber*> FiberPool::prepare(ExecutorCore& home, std::size_t size_bytes,
                                  std::size_t alignment) noexcept {
  Fiber* fiber = idle_;
  if (fiber != nullptr) {
    idle_ = fiber->next_idle;
  } else {
    fiber = new (std::nothrow) Fiber;
    if (fiber == nullptr) return fail(ErrorCode::no_memory, "no memory for a fiber");
  }
  if (auto prepared = fiber->context.prepare(stacks_); !prepared.has_value()) {
    recycle(*fiber);
    return fail(prepared.error());
  }
  fiber->home = &home;
  fiber->memory = fiber->context.reserve(size_bytes, alignment);
  return fiber;
}

void FiberPool::start(Fiber& fiber, void (*entry)(void*) noexcept) noexcept {
  fiber.entry = entry;
  fiber.run = &run;
  fiber.context.start(
      [](void* argument) noexcept {
        auto& self = *static_cast<Fiber*>(argument);
        self.entry(self.memory);
      },
      &fiber);
  fiber.home->expect();
  fiber.home->enqueue(fiber);
}

void FiberPool::run(Runnable& runnable) noexcept {
  auto& fiber = static_cast<Fiber&>(runnable);
  Fiber* const former = running_slot();
  running_slot() = &fiber;
  fiber.context.resume();
  running_slot() = former;
  // A fiber that is not finished may be on its way elsewhere, but only this thread would run it.
  if (fiber.context.finished()) {
    fiber.home->came_back();
    fiber.home->fibers().recycle(fiber);
  }
}

void FiberPool::recycle(Fiber& fiber) noexcept {
  fiber.next_idle = idle_;
  idle_ = &fiber;
}

}  // namespace firn::runtime

namespace firn::detail {

Result<FiberStart> prepare_fiber(Executor& executor, std::size_t size_bytes,
                                 std::size_t alignment) noexcept {
  if (size_bytes > runtime::FiberContext::reserved_size_bytes_max) {
    return fail(ErrorCode::too_large, "a fiber's callable has at most 4096 bytes, this one {}",
                size_bytes);
  }
  runtime::ExecutorCore* const core = core_of(executor);
  if (core == nullptr) return fail(executor_of_parent);
  runtime::ExecutorCore& home = *core;
  FIRN_TRY_ASSIGN(runtime::Fiber * fiber, home.fibers().prepare(home, size_bytes, alignment));
  return FiberStart{.memory = fiber->memory, .fiber = fiber};
}

void start_fiber(FiberStart start, void (*entry)(void*) noexcept) noexcept {
  runtime::FiberPool::start(*static_cast<runtime::Fiber*>(start.fiber), entry);
}

void suspend_fiber() noexcept {
  // In another executor's scope the fiber would leave that scope behind on its thread.
  FIRN_ASSERT(runtime::current_fiber()->home == runtime::ExecutorCore::current());
  runtime::FiberContext::suspend();
}
void* current_fiber() noexcept { return runtime::current_fiber(); }
void wake_fiber(void* fiber) noexcept {
  runtime::ExecutorCore::wake(*static_cast<runtime::Fiber*>(fiber));
}

void run_in(Executor& executor, std::coroutine_handle<> handle) noexcept {
  runtime::ExecutorCore* const core = core_of(executor);
  FIRN_ASSERT(core != nullptr);  // a forked child starts no task on its parent's executor
  const runtime::ExecutorCore::Scope scope(*core);
  handle.resume();
}

}  // namespace firn::detail
