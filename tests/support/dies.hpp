// Whether an action stops the process by an assertion; run in a child, so that the test goes on.
#pragma once

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace firn::test {

// The wait status of a child that runs `action` and then exits with 0. It is silent and dumps no
// core.
template <class Action>
int status_of_child(Action action) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    static_cast<void>(::setrlimit(RLIMIT_CORE, &no_core));
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS})
      static_cast<void>(std::signal(signal, SIG_DFL));
    if (std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(1);
    action();
    ::_exit(0);
  }
  int status = 0;
  static_cast<void>(::waitpid(child, &status, 0));
  return status;
}

template <class Action>
bool dies(Action action) {
  const int status = status_of_child(action);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace firn::test
