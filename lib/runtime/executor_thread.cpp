#include "runtime/executor_thread.hpp"

#include <csignal>
#include <utility>

#include "base/allocation.hpp"

namespace firn::runtime {

Result<std::unique_ptr<ExecutorThread>> ExecutorThread::start() noexcept {
  std::unique_ptr<ExecutorThread> made;
  FIRN_TRY(base::guard_allocation([&] {
    made.reset(new ExecutorThread);
    made->state_ = std::make_shared<State>();
  }));
  FIRN_TRY_ASSIGN(made->state_->core, ExecutorCore::create());
  // The program's signals are handled by its own threads; not so what this one does wrong itself.
  sigset_t all;
  sigset_t former;
  sigfillset(&all);
  for (const int own : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) sigdelset(&all, own);
  pthread_sigmask(SIG_SETMASK, &all, &former);
  const auto started = base::guard_allocation(
      [&] { made->thread_ = std::thread([state = made->state_]() noexcept { run(*state); }); });
  pthread_sigmask(SIG_SETMASK, &former, nullptr);
  if (!started.has_value()) {
    return fail(ErrorCode::no_memory, "the system starts no more threads");
  }
  return made;
}

void ExecutorThread::join() noexcept {
  if (!thread_.joinable()) return;
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void ExecutorThread::run(State& state) noexcept {
  while (!state.ending) {
    if (state.core->tick(std::chrono::nanoseconds::zero()) == 0 && !state.ending) {
      state.core->wait_for_work();
    }
  }
  // A ring belongs to the thread that made it.
  delete std::exchange(state.core, nullptr);
}

}  // namespace firn::runtime
