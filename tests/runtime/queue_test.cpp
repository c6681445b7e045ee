#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "base/planted.hpp"
#include "runtime/queue.hpp"
#include "runtime/support.hpp"

namespace firn::test {
namespace {

using namespace std::chrono_literals;
using runtime::ExecutorCore;
using runtime::Queue;
using runtime::Runnable;
using Message = std::uint64_t;

std::unique_ptr<Queue<Message>> make_queue(std::size_t capacity) {
  auto queue = Queue<Message>::create(capacity);
  REQUIRE(queue.has_value());
  return *std::move(queue);
}

constexpr Message last_message = ~Message{0};

// Sends `count` messages numbered from 0, parking where the queue is full.
struct Sender : Runnable {
  Sender(ExecutorCore& core, Queue<Message>& to, Message first_message, std::uint64_t number)
      : queue(to), first(first_message), count(number) {
    home = &core;
    run = [](Runnable& self) noexcept { static_cast<Sender&>(self).go(); };
  }
  void go() noexcept {
    while (sent < count) {
      if (!queue.push_or_park(first + sent, *this, [this]() noexcept { ++park_count; })) return;
      ++sent;
    }
    done = true;
  }
  Queue<Message>& queue;
  Message first;
  std::uint64_t count;
  std::uint64_t sent = 0;
  std::uint64_t park_count = 0;
  bool done = false;
};

// Receives until the last message, or `count_max` of them.
struct Receiver : Runnable {
  Receiver(ExecutorCore& core, Queue<Message>& from, std::size_t limit = ~std::size_t{0})
      : queue(from), count_max(limit) {
    home = &core;
    run = [](Runnable& self) noexcept { static_cast<Receiver&>(self).go(); };
  }
  void go() noexcept {
    while (received.size() < count_max) {
      const auto message = queue.pop_or_park(*this, [this]() noexcept { ++park_count; });
      if (!message.has_value()) return;
      if (*message == last_message) break;
      received.push_back(*message);
    }
    done = true;
  }
  Queue<Message>& queue;
  std::size_t count_max;
  std::vector<Message> received;
  std::uint64_t park_count = 0;
  bool done = false;
};

std::unique_ptr<ExecutorCore> make_core() {
  auto core = ExecutorCore::create();
  REQUIRE(core.has_value());
  return std::unique_ptr<ExecutorCore>(*core);
}

// Random pushes and pops against a deque; whether the two agree.
bool agrees_with_deque(std::uint64_t seed) {
  base::Random random(seed);
  auto queue = make_queue(1 + random.below(40));
  std::deque<Message> model;
  for (Message number = 0; number < 20'000; ++number) {
    if (random.one_in(2)) {
      const bool fits = model.size() < queue->capacity();
      if (queue->try_push(number) != fits) return false;
      if (fits) model.push_back(number);
    } else {
      const auto message = queue->try_pop();
      if (message.has_value() == model.empty()) return false;
      if (message.has_value()) {
        if (*message != model.front()) return false;
        model.pop_front();
      }
    }
    if (queue->empty() != model.empty()) return false;
    if (queue->full() != (model.size() == queue->capacity())) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("queue: gives back what a deque of the same capacity would", "[queue]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    CHECK(agrees_with_deque(seed));
  }
}

TEST_CASE("queue: the model finds a queue that overwrites", "[queue]") {
  base::plant("queue-overwrites");
  const bool agreed = agrees_with_deque(1);
  base::plant(nullptr);
  CHECK_FALSE(agreed);
}

TEST_CASE("queue: where it is full the sender parks and nothing is overwritten", "[queue]") {
  auto core = make_core();
  auto queue = make_queue(4);
  Sender sender(*core, *queue, 100, 10);
  core->enqueue(sender);
  core->tick(1ms);
  CHECK(sender.sent == 4);
  CHECK(sender.park_count == 1);
  CHECK(queue->full());
  for (Message expected = 100; expected < 110; ++expected) {
    CHECK(queue->try_pop() == expected);
    core->tick(1ms);
  }
  CHECK(sender.done);
  CHECK_FALSE(queue->try_pop().has_value());
}

TEST_CASE("queue: where it is empty the receiver parks until a message comes", "[queue]") {
  auto core = make_core();
  auto queue = make_queue(4);
  Receiver receiver(*core, *queue, 3);
  core->enqueue(receiver);
  for (Message number = 0; number < 3; ++number) {
    core->tick(1ms);
    CHECK(receiver.received.size() == number);
    CHECK(queue->try_push(number));
  }
  core->tick(1ms);
  CHECK(receiver.done);
  CHECK(receiver.received == std::vector<Message>{0, 1, 2});
}

namespace {
// A message without its wake-up, as if its receiver had come too early for the one before it and
// had parked again, then one with: how many of two parked receivers are served?
int receivers_served() {
  auto core = make_core();
  auto queue = make_queue(4);
  Receiver first(*core, *queue, 1);
  Receiver second(*core, *queue, 1);
  core->enqueue(first);
  core->enqueue(second);
  core->tick(1ms);
  const char* planted = base::active_planted_bug.load();
  base::plant("queue-lost-wakeup");
  const bool pushed = queue->try_push(1);
  base::plant(planted);
  CHECK(pushed);
  CHECK(queue->try_push(2));
  core->tick(1ms);
  const int served = first.done + second.done;
  base::plant(nullptr);
  while (!first.done || !second.done) {  // nobody may stay in the parking lot
    static_cast<void>(queue->try_push(3));
    core->tick(1ms);
  }
  return served;
}
}  // namespace

TEST_CASE("queue: a receiver passes the wake-up on while more messages stand there", "[queue]") {
  CHECK(receivers_served() == 2);
  base::plant("queue-keeps-wakeup");
  CHECK(receivers_served() == 1);
  base::plant(nullptr);
}

TEST_CASE("queue: one that was woken and gives up leaves the message to another", "[queue]") {
  auto core = make_core();
  auto queue = make_queue(2);
  Receiver quitter(*core, *queue, 1);
  Receiver other(*core, *queue, 1);
  core->enqueue(quitter);
  core->enqueue(other);
  core->tick(1ms);
  quitter.run = [](Runnable& self) noexcept { static_cast<Receiver&>(self).queue.pass_on(); };
  CHECK(queue->try_push(1));
  core->tick(1ms);
  CHECK(other.received == std::vector<Message>{1});
}

TEST_CASE("queue: many senders and receivers lose nothing and keep the order per sender",
          "[queue]") {
  const int pair_count = GENERATE(1, 2, 4);
  constexpr std::uint64_t count_each = 4000;
  auto queue = make_queue(8);
  std::vector<std::vector<Message>> received(static_cast<std::size_t>(pair_count));
  std::atomic<std::uint64_t> sender_parks{0};
  std::atomic<std::uint64_t> receiver_parks{0};
  const auto tick_until_done = [](ExecutorCore& core, const bool& done) {
    while (!done) {
      if (core.tick(100us) == 0 && !done) core.wait_for_work();
    }
  };
  std::vector<std::thread> senders;
  std::vector<std::thread> receivers;
  for (int number = 0; number < pair_count; ++number) {
    senders.emplace_back([&, number] {
      std::unique_ptr<ExecutorCore> core(*ExecutorCore::create());
      Sender sender(*core, *queue, static_cast<Message>(number) << 32, count_each);
      core->enqueue(sender);
      tick_until_done(*core, sender.done);
      sender_parks += sender.park_count;
    });
    receivers.emplace_back([&, number] {
      std::unique_ptr<ExecutorCore> core(*ExecutorCore::create());
      Receiver receiver(*core, *queue);
      core->enqueue(receiver);
      tick_until_done(*core, receiver.done);
      receiver_parks += receiver.park_count;
      received[static_cast<std::size_t>(number)] = std::move(receiver.received);
    });
  }
  for (std::thread& thread : senders) thread.join();
  for (int number = 0; number < pair_count; ++number) {
    while (!queue->try_push(last_message)) std::this_thread::yield();
  }
  for (std::thread& thread : receivers) thread.join();

  std::vector<std::vector<bool>> seen(static_cast<std::size_t>(pair_count),
                                      std::vector<bool>(count_each, false));
  std::uint64_t total = 0;
  bool ordered = true;
  bool once = true;
  for (const auto& messages : received) {
    std::vector<std::uint64_t> next(static_cast<std::size_t>(pair_count), 0);
    for (const Message message : messages) {
      const auto sender = static_cast<std::size_t>(message >> 32);
      const std::uint64_t number = message & 0xffffffffu;
      ordered = ordered && number >= next[sender];
      next[sender] = number + 1;
      once = once && !seen[sender][number];
      seen[sender][number] = true;
      ++total;
    }
  }
  CHECK(ordered);
  CHECK(once);
  CHECK(total == count_each * static_cast<std::uint64_t>(pair_count));
  CHECK(sender_parks + receiver_parks > 0);
}

}  // namespace firn::test
