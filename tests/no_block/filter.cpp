#include "no_block/filter.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <vector>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <unistd.h>

namespace firn::test {
namespace {

#if defined(__x86_64__)
constexpr unsigned architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned architecture = AUDIT_ARCH_AARCH64;
#else
#error "add the AUDIT_ARCH of this processor"
#endif

// Blocking whatever their arguments. sched_yield is not among them: it gives the processor to
// whoever is ready and waits for nothing, which is how a bounded spin lets a latch's holder run.
constexpr long blocking[] = {
#ifdef SYS_poll
    SYS_poll,    SYS_select,          SYS_epoll_wait,      SYS_pause,
#endif
    SYS_ppoll,   SYS_pselect6,        SYS_epoll_pwait,     SYS_nanosleep,    SYS_clock_nanosleep,
    SYS_pread64, SYS_pwrite64,        SYS_readv,           SYS_writev,       SYS_preadv,
    SYS_pwritev, SYS_preadv2,         SYS_pwritev2,        SYS_fsync,        SYS_fdatasync,
    SYS_sync,    SYS_syncfs,          SYS_sync_file_range, SYS_msync,        SYS_recvfrom,
    SYS_recvmsg, SYS_recvmmsg,        SYS_sendto,          SYS_sendmsg,      SYS_sendmmsg,
    SYS_accept,  SYS_accept4,         SYS_connect,         SYS_flock,        SYS_wait4,
    SYS_waitid,  SYS_rt_sigtimedwait, SYS_rt_sigsuspend,   SYS_io_getevents, SYS_sendfile,
    SYS_splice,  SYS_copy_file_range, SYS_fallocate,       SYS_ftruncate,
};
constexpr unsigned futex_waits[] = {FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_LOCK_PI,
                                    FUTEX_WAIT_REQUEUE_PI};

std::atomic<int> trapped_count{0};
std::atomic<long> trapped_number{-1};

void note(int, siginfo_t* info, void* context) {
  trapped_count.fetch_add(1, std::memory_order_relaxed);
  trapped_number.store(info->si_syscall, std::memory_order_relaxed);
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  registers.gregs[REG_RAX] = -EAGAIN;
#else
  registers.regs[0] = static_cast<unsigned long long>(-EAGAIN);
#endif
}

class Program {
 public:
  void load(std::size_t offset) {
    code_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset)));
  }
  void keep_bits(unsigned mask) { code_.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask)); }
  void answer(unsigned value) { code_.push_back(BPF_STMT(BPF_RET | BPF_K, value)); }
  // Goes on if the loaded word equals `value`, else skips `skip_count` instructions.
  void unless_equal(unsigned value, std::size_t skip_count) {
    code_.push_back(
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, static_cast<unsigned char>(skip_count)));
  }
  void answer_unless_equal(unsigned value, unsigned with) {
    code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0));
    answer(with);
  }
  void answer_if_equal(unsigned value, unsigned with) {
    unless_equal(value, 1);
    answer(with);
  }
  [[nodiscard]] bool install() {
    const sock_fprog program{.len = static_cast<unsigned short>(code_.size()),
                             .filter = code_.data()};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
  }

 private:
  std::vector<sock_filter> code_;
};

// The low half of an argument, on little-endian machines.
std::size_t argument(std::size_t index) { return offsetof(seccomp_data, args) + 8 * index; }

}  // namespace

bool trap_blocking_calls(std::span<const int> allowed_fds) {
  struct sigaction action {};
  action.sa_sigaction = note;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  if (::sigaction(SIGSYS, &action, nullptr) != 0) return false;

  Program program;
  program.load(offsetof(seccomp_data, arch));
  program.answer_unless_equal(architecture, SECCOMP_RET_ALLOW);
  program.load(offsetof(seccomp_data, nr));
  for (const long number : blocking) {
    program.answer_if_equal(static_cast<unsigned>(number), SECCOMP_RET_TRAP);
  }
  for (const long number : {SYS_read, SYS_write}) {
    program.unless_equal(static_cast<unsigned>(number), 2 + 2 * allowed_fds.size());
    program.load(argument(0));
    for (const int fd : allowed_fds) {
      program.answer_if_equal(static_cast<unsigned>(fd), SECCOMP_RET_ALLOW);
    }
    program.answer(SECCOMP_RET_TRAP);
  }
  program.unless_equal(SYS_futex, 2 + 2 * std::size(futex_waits));
  program.load(argument(1));
  program.keep_bits(static_cast<unsigned>(FUTEX_CMD_MASK));
  for (const unsigned operation : futex_waits) {
    program.answer_if_equal(operation, SECCOMP_RET_TRAP);
  }
  program.answer(SECCOMP_RET_ALLOW);
  return program.install();
}

Trapped take_trapped() noexcept {
  Trapped taken;
  taken.count = trapped_count.exchange(0);
  taken.last_number = trapped_number.exchange(-1);
  return taken;
}

}  // namespace firn::test
