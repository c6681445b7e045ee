#include "buffer/fault_handler.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "buffer/optimistic_read.hpp"

namespace firn::buffer {
namespace {

struct Range {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};  // 0: not in use
};

// Read by the handler without the mutex; written under it.
std::array<Range, fault_range_count_max> ranges;
std::atomic<std::uint64_t> recovered_count{0};
std::mutex registration_mutex;
bool installed = false;
// Set before the handlers are installed and constant from then on.
struct sigaction former_segv;
struct sigaction former_bus;

bool in_registered_range(std::uintptr_t address) noexcept {
  for (const Range& range : ranges) {
    const std::uintptr_t end = range.end.load(std::memory_order_acquire);
    if (address < end && address >= range.begin.load(std::memory_order_relaxed)) return true;
  }
  return false;
}

}  // namespace

#if defined(__x86_64__)

// One line per listed load: where it is and where to go on if it faults, each relative to its own
// place.
struct FixupEntry {
  std::int32_t load;
  std::int32_t landing;
};
extern "C" {
extern const FixupEntry firn_fixup_begin[] __asm__("__start_firn_fixup")
    __attribute__((visibility("hidden")));
extern const FixupEntry firn_fixup_end[] __asm__("__stop_firn_fixup")
    __attribute__((visibility("hidden")));
}

namespace {

std::uintptr_t resolved(const std::int32_t& offset) noexcept {
  return reinterpret_cast<std::uintptr_t>(&offset) +
         static_cast<std::uintptr_t>(static_cast<std::intptr_t>(offset));
}

bool recover(void* context) noexcept {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto pointer = static_cast<std::uintptr_t>(registers[REG_RIP]);
  for (const FixupEntry* entry = firn_fixup_begin; entry != firn_fixup_end; ++entry) {
    if (resolved(entry->load) != pointer) continue;
    registers[REG_RIP] = static_cast<greg_t>(resolved(entry->landing));
    return true;
  }
  return false;
}

// The pads lie out of line: a load that does not fault costs itself and one test of a register.
// These functions may be inlined within this file only; a table entry in a header would point into
// sections that the linker drops.
#define FIRN_LISTED_LOAD(name, type, instruction, register_width)                  \
  [[gnu::always_inline]] inline bool name(void* destination, const void* source) { \
    std::uint64_t value;                                                           \
    std::uint32_t faulted = 0;                                                     \
    __asm__ volatile("1: " instruction " (%[source]), %" register_width            \
                     "[value]\n"                                                   \
                     "2:\n"                                                        \
                     ".pushsection .text.unlikely,\"ax\",@progbits\n"              \
                     "3: movl $1, %[faulted]\n"                                    \
                     "jmp 2b\n"                                                    \
                     ".popsection\n"                                               \
                     ".pushsection firn_fixup,\"a\",@progbits\n"                   \
                     ".balign 4\n"                                                 \
                     ".long 1b - .\n"                                              \
                     ".long 3b - .\n"                                              \
                     ".popsection\n"                                               \
                     : [value] "=&r"(value), [faulted] "+r"(faulted)               \
                     : [source] "r"(source)                                        \
                     : "memory");                                                  \
    if (faulted != 0) [[unlikely]]                                                 \
      return false;                                                                \
    const type result = static_cast<type>(value);                                  \
    std::memcpy(destination, &result, sizeof(result));                             \
    return true;                                                                   \
  }

FIRN_LISTED_LOAD(load_8, std::uint64_t, "movq", "")
FIRN_LISTED_LOAD(load_4, std::uint32_t, "movl", "k")
FIRN_LISTED_LOAD(load_2, std::uint16_t, "movzwl", "k")
FIRN_LISTED_LOAD(load_1, std::uint8_t, "movzbl", "k")
#undef FIRN_LISTED_LOAD

}  // namespace

bool fault_recovery_supported() noexcept { return true; }

bool detail::copy_with_fixup(void* destination, const void* source, std::size_t size) noexcept {
  auto* to = static_cast<std::byte*>(destination);
  auto* from = static_cast<const std::byte*>(source);
  for (; size >= 8; to += 8, from += 8, size -= 8) {
    if (!load_8(to, from)) return false;
  }
  if (size >= 4) {
    if (!load_4(to, from)) return false;
    to += 4, from += 4, size -= 4;
  }
  if (size >= 2) {
    if (!load_2(to, from)) return false;
    to += 2, from += 2, size -= 2;
  }
  return size == 0 || load_1(to, from);
}

#else

namespace {
bool recover(void*) noexcept { return false; }
}  // namespace

bool fault_recovery_supported() noexcept { return false; }

bool detail::copy_with_fixup(void* destination, const void* source, std::size_t size) noexcept {
  std::memcpy(destination, source, size);
  return true;
}

#endif

namespace {

void call_former(int number, siginfo_t* info, void* context) noexcept {
  const struct sigaction& former = number == SIGBUS ? former_bus : former_segv;
  if ((former.sa_flags & SA_SIGINFO) != 0) {
    former.sa_sigaction(number, info, context);
    return;
  }
  const bool from_kernel = info->si_code > 0;
  if (former.sa_handler == SIG_IGN && !from_kernel) return;
  if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN) {
    former.sa_handler(number);
    return;
  }
  // A fault comes again by itself when the instruction is repeated. A signal that a process sent
  // does not: it is raised again, and arrives when this handler returns.
  sigaction(number, &former, nullptr);
  if (!from_kernel) raise(number);
}

void handle_fault(int number, siginfo_t* info, void* context) noexcept {
  const int saved_errno = errno;
  if (info->si_code > 0 && in_registered_range(reinterpret_cast<std::uintptr_t>(info->si_addr)) &&
      recover(context)) {
    recovered_count.fetch_add(1, std::memory_order_relaxed);
  } else {
    call_former(number, info, context);
  }
  errno = saved_errno;
}

Result<void> install_locked() noexcept {
  if (installed) return {};
  // The former handlers are known before ours can run.
  if (sigaction(SIGSEGV, nullptr, &former_segv) != 0 ||
      sigaction(SIGBUS, nullptr, &former_bus) != 0) {
    return fail_system(ErrorCode::unsupported, errno, "sigaction");
  }
  struct sigaction action;
  std::memset(&action, 0, sizeof(action));
  action.sa_sigaction = handle_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGSEGV, &action, nullptr) != 0) {
    return fail_system(ErrorCode::unsupported, errno, "sigaction");
  }
  if (sigaction(SIGBUS, &action, nullptr) != 0) {
    const int error = errno;
    sigaction(SIGSEGV, &former_segv, nullptr);
    return fail_system(ErrorCode::unsupported, error, "sigaction");
  }
  installed = true;
  return {};
}

}  // namespace

Result<void> install_fault_handler() noexcept {
  const std::lock_guard guard(registration_mutex);
  return install_locked();
}

Result<void> register_faulting_memory(const void* address, std::size_t size) noexcept {
  if (!fault_recovery_supported()) {
    return fail(ErrorCode::unsupported, "recovery from faults in pool memory on this processor");
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  if (begin == 0 || size == 0 || begin + size < begin) {
    return fail(ErrorCode::invalid_argument, "an empty range of faulting memory");
  }
  const std::lock_guard guard(registration_mutex);
  FIRN_TRY(install_locked());
  for (Range& range : ranges) {
    if (range.end.load(std::memory_order_relaxed) != 0) continue;
    range.begin.store(begin, std::memory_order_relaxed);
    range.end.store(begin + size, std::memory_order_release);
    detail::memory_may_fault.store(true, std::memory_order_release);
    return {};
  }
  return fail(ErrorCode::too_large, "more than {} ranges of faulting memory", ranges.size());
}

void unregister_faulting_memory(const void* address) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  const std::lock_guard guard(registration_mutex);
  for (Range& range : ranges) {
    if (range.end.load(std::memory_order_relaxed) == 0) continue;
    if (range.begin.load(std::memory_order_relaxed) != begin) continue;
    range.end.store(0, std::memory_order_release);
    return;
  }
  constexpr bool range_was_registered = false;
  FIRN_ASSERT(range_was_registered);
}

std::uint64_t recovered_fault_count() noexcept {
  return recovered_count.load(std::memory_order_relaxed);
}

SignalStack::SignalStack() noexcept {
  stack_t current;
  if (sigaltstack(nullptr, &current) != 0) return;
  if ((current.ss_flags & SS_DISABLE) == 0) {
    active_ = true;
    return;
  }
  // Sanitizers run their own code, and print their reports, on this stack.
  constexpr std::size_t size_least_bytes = 64 * 1024;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const long minimum = sysconf(_SC_MINSIGSTKSZ);
  std::size_t stack = std::max<std::size_t>(
      size_least_bytes, minimum > 0 ? static_cast<std::size_t>(minimum) * 4 : 0);
  stack = (stack + page - 1) / page * page;
  void* memory = mmap(nullptr, stack + page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return;
  stack_t mine;
  std::memset(&mine, 0, sizeof(mine));
  mine.ss_sp = static_cast<std::byte*>(memory) + page;
  mine.ss_size = stack;
  if (mprotect(memory, page, PROT_NONE) != 0 || sigaltstack(&mine, nullptr) != 0) {
    munmap(memory, stack + page);
    return;
  }
  memory_ = memory;
  size_bytes_ = stack + page;
  active_ = true;
}

SignalStack::~SignalStack() {
  if (memory_ == nullptr) return;
  stack_t none;
  std::memset(&none, 0, sizeof(none));
  none.ss_flags = SS_DISABLE;
  sigaltstack(&none, nullptr);
  munmap(memory_, size_bytes_);
}

}  // namespace firn::buffer
