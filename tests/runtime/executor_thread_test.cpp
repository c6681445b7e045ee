// Executors with a thread of their own.
#include "runtime/executor_thread.hpp"

#include <atomic>

#include "support/catch.hpp"

using firn::runtime::ExecutorThread;
using firn::runtime::Runnable;

TEST_CASE("executor thread: runs what is sent to it until its work says that it ends",
          "[executors]") {
  struct Work : Runnable {
    ExecutorThread* thread = nullptr;
    std::thread::id ran_on;
    std::atomic<int> count{0};
  } work;
  auto made = ExecutorThread::start();
  REQUIRE(made.has_value());
  std::unique_ptr<ExecutorThread> thread = *std::move(made);
  work.thread = thread.get();
  work.home = &thread->executor();
  work.run = [](Runnable& runnable) noexcept {
    Work& self = static_cast<Work&>(runnable);
    self.ran_on = std::this_thread::get_id();
    if (self.count.fetch_add(1) == 9) {
      self.thread->end();
    } else {
      self.home->enqueue(self);
    }
  };
  thread->executor().send(work);
  thread->join();
  CHECK(work.count == 10);
  CHECK(work.ran_on != std::this_thread::get_id());
  CHECK(work.ran_on != std::thread::id());
}
