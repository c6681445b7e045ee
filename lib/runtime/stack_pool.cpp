#include "runtime/stack_pool.hpp"

#include <cerrno>
#include <memory>
#include <new>

#include <sys/mman.h>
#include <unistd.h>

#include <firn/assertion.hpp>

#if FIRN_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define FIRN_VALGRIND 1
#else
#define FIRN_VALGRIND 0
#endif

namespace firn::runtime {
namespace {

std::size_t whole_pages(std::size_t size_bytes) noexcept {
  const auto page_size_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return (size_bytes + page_size_bytes - 1) / page_size_bytes * page_size_bytes;
}

// While a stack is idle ASan reports every access to it: a pointer to a local variable of a fiber
// that has ended is caught. Must be undone before reuse and before unmapping, as frames that never
// return, such as a fiber's first, also leave red zones behind.
void forbid_access([[maybe_unused]] const Stack& stack) noexcept {
#if FIRN_ASAN
  ASAN_POISON_MEMORY_REGION(stack.bottom, stack.size_bytes);
#endif
}

void allow_access([[maybe_unused]] const Stack& stack) noexcept {
#if FIRN_ASAN
  ASAN_UNPOISON_MEMORY_REGION(stack.bottom, stack.size_bytes);
#endif
}

}  // namespace

// Lies in the topmost bytes of an idle stack: they are resident, the ones below may not be.
struct StackPool::IdleStack {
  Stack stack;
  IdleStack* next;
};

StackPool::StackPool(const Options& options) noexcept
    : stack_size_bytes_(whole_pages(options.stack_size_bytes)),
      stack_count_max_(options.stack_count_max),
      idle_count_max_(options.idle_count_max) {
  FIRN_ASSERT(options.stack_size_bytes > 0);
}

StackPool::~StackPool() {
  FIRN_ASSERT(in_use_count_ == 0);
  while (idle_ != nullptr) unmap(take_idle());
}

Result<Stack> StackPool::acquire() noexcept {
  if (in_use_count_ == stack_count_max_)
    return fail(ErrorCode::no_memory, "all {} fiber stacks are in use", stack_count_max_);
  if (idle_ != nullptr) {
    ++in_use_count_;
    return take_idle();
  }
  FIRN_TRY_ASSIGN(const Stack stack, map());
  ++in_use_count_;
  return stack;
}

void StackPool::release(const Stack& stack) noexcept {
  FIRN_ASSERT(in_use_count_ > 0);
  FIRN_ASSERT(stack.size_bytes == stack_size_bytes_);
  --in_use_count_;
  if (idle_count_ == idle_count_max_) {
    unmap(stack);
    return;
  }
  forbid_access(stack);
  std::byte* const place = stack.top() - sizeof(IdleStack);
#if FIRN_ASAN
  ASAN_UNPOISON_MEMORY_REGION(place, sizeof(IdleStack));
#endif
  idle_ = ::new (static_cast<void*>(place)) IdleStack{stack, idle_};
  ++idle_count_;
}

Stack StackPool::take_idle() noexcept {
  const Stack stack = idle_->stack;
  idle_ = idle_->next;
  --idle_count_;
  allow_access(stack);
  return stack;
}

Result<Stack> StackPool::map() noexcept {
  const std::size_t mapping_size_bytes = guard_size_bytes + stack_size_bytes_;
  void* const mapping = ::mmap(nullptr, mapping_size_bytes, PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED) return fail_system(ErrorCode::no_memory, errno, "mmap of a stack");
  Stack stack;
  stack.bottom = static_cast<std::byte*>(mapping) + guard_size_bytes;
  stack.size_bytes = stack_size_bytes_;
  if (::mprotect(stack.bottom, stack.size_bytes, PROT_READ | PROT_WRITE) != 0) {
    const int system_error = errno;
    ::munmap(mapping, mapping_size_bytes);
    return fail_system(ErrorCode::no_memory, system_error, "mprotect of a stack");
  }
#if FIRN_VALGRIND
  stack.valgrind_id = VALGRIND_STACK_REGISTER(stack.bottom, stack.top());
#endif
  ++mapped_count_;
  return stack;
}

void StackPool::unmap(const Stack& stack) noexcept {
  allow_access(stack);
#if FIRN_VALGRIND
  VALGRIND_STACK_DEREGISTER(stack.valgrind_id);
#endif
  const int status = ::munmap(stack.bottom - guard_size_bytes, guard_size_bytes + stack.size_bytes);
  FIRN_ASSERT(status == 0);
}

}  // namespace firn::runtime
