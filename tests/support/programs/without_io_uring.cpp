// without_io_uring [--enosys] COMMAND [ARGUMENT...]: runs COMMAND where the kernel refuses io_uring
// with EPERM, as container runtimes do (or with ENOSYS, as others do). The filter holds for all
// children and cannot be taken off; no privilege is needed.
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

#if defined(__x86_64__)
constexpr unsigned architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned architecture = AUDIT_ARCH_AARCH64;
#else
#error "add the AUDIT_ARCH of this processor"
#endif

sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset));
}

sock_filter answer(unsigned value) { return BPF_STMT(BPF_RET | BPF_K, value); }

// Goes on if the loaded word equals `value`, else skips `skip_count` instructions.
sock_filter unless_equal(unsigned value, unsigned char skip_count) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip_count);
}

bool refuse_io_uring(unsigned error) {
  std::array filter{
      load(offsetof(seccomp_data, arch)), unless_equal(architecture, 7),
      load(offsetof(seccomp_data, nr)),   unless_equal(SYS_io_uring_setup, 1),
      answer(SECCOMP_RET_ERRNO | error),  unless_equal(SYS_io_uring_enter, 1),
      answer(SECCOMP_RET_ERRNO | error),  unless_equal(SYS_io_uring_register, 1),
      answer(SECCOMP_RET_ERRNO | error),  answer(SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

int main(int argument_count, char** arguments) {
  int first = 1;
  unsigned error = EPERM;
  if (argument_count > 1 && std::strcmp(arguments[1], "--enosys") == 0) {
    error = ENOSYS;
    ++first;
  }
  if (first >= argument_count) {
    std::fprintf(stderr, "usage: without_io_uring [--enosys] COMMAND [ARGUMENT...]\n");
    return 2;
  }
  if (!refuse_io_uring(error)) {
    // 77 is what ctest counts as skipped.
    std::fprintf(stderr, "without_io_uring: no seccomp filter here: %s\n", std::strerror(errno));
    return 77;
  }
  execvp(arguments[first], arguments + first);
  std::fprintf(stderr, "without_io_uring: %s: %s\n", arguments[first], std::strerror(errno));
  return 127;
}
