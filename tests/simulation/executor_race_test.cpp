// What may happen between a sender's look at an executor and its write to the descriptor.
#include <poll.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/yield.hpp"
#include "runtime/executor_core.hpp"
#include "support/catch.hpp"

#ifdef FIRN_PLANTED_BUGS
namespace firn::tests {
namespace {

struct Message : detail::Runnable {
  explicit Message(runtime::ExecutorCore* to) noexcept {
    home = to;
    run = [](detail::Runnable& self) noexcept { static_cast<Message&>(self).has_run = true; };
  }
  std::atomic<bool> has_run{false};
};

runtime::ExecutorCore* receiver = nullptr;
std::atomic<bool> inside_send{false};
std::atomic<bool> deleted{false};
std::atomic<bool> deleted_inside{false};

}  // namespace

TEST_CASE("executor: a write that comes after its message was run does not stay readable",
          "[simulation]") {
  receiver = *runtime::ExecutorCore::create();
  receiver->tick({});
  Message first(receiver);
  base::yield_hook.store([](const char*) noexcept { receiver->tick({}); });
  receiver->send(first);
  base::yield_hook.store(nullptr);
  CHECK(first.has_run);
  receiver->tick({});  // may find the late write, and takes it away
  pollfd descriptor{.fd = receiver->fd(), .events = POLLIN, .revents = 0};
  CHECK(::poll(&descriptor, 1, 0) == 0);
  Message second(receiver);
  receiver->send(second);
  CHECK(::poll(&descriptor, 1, 0) == 1);
  receiver->tick({});
  CHECK(second.has_run);
  CHECK(::poll(&descriptor, 1, 0) == 0);
  delete receiver;
}

TEST_CASE("executor: it is not destroyed while somebody is still sending to it", "[simulation]") {
  receiver = *runtime::ExecutorCore::create();
  receiver->tick({});
  inside_send = deleted = deleted_inside = false;
  Message message(receiver);
  std::thread owner([&] {
    while (!inside_send) std::this_thread::yield();
    while (!message.has_run) receiver->tick({});
    delete receiver;
    deleted = true;
  });
  base::yield_hook.store([](const char*) noexcept {
    inside_send = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    deleted_inside = deleted.load();
  });
  receiver->send(message);
  base::yield_hook.store(nullptr);
  owner.join();
  CHECK(deleted);
  CHECK(!deleted_inside);
}

}  // namespace firn::tests
#endif
