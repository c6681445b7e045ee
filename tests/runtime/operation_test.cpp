#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/support.hpp"
#include "support/dies.hpp"

namespace firn::test {
namespace {

using namespace std::chrono_literals;
using runtime::Latch;

Result<Task<int>> awaiting(LatchOperation& operation, ErrorCode& code) {
  return [](LatchOperation& awaited, ErrorCode& out) -> Task<int> {
    auto result = co_await awaited;
    out = result.has_value() ? ErrorCode{} : result.error().code;
    co_return result.value_or(-1);
  }(operation, code);
}

}  // namespace

TEST_CASE("operation: finishes inside post when nothing must be waited for", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  LatchOperation operation(latch, 7);
  CHECK(operation.state() == OperationState::ready);
  REQUIRE(operation.post(executor).has_value());
  CHECK(operation.state() == OperationState::done);
  CHECK(*operation.result() == 7);
  CHECK(executor.tick(0ns) == 0);
}

TEST_CASE("operation: waits where it must and starts again when it is woken", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  REQUIRE(latch.try_exclusive());
  LatchOperation operation(latch, 7);
  REQUIRE(operation.post(executor).has_value());
  CHECK(operation.state() == OperationState::waiting);
  executor.tick(1ms);
  CHECK(operation.step_count == 1);
  latch.release_exclusive();
  CHECK(operation.state() == OperationState::waiting);
  CHECK(executor.tick(0ns) == 1);
  CHECK(operation.step_count == 2);
  CHECK(*operation.result() == 7);
}

TEST_CASE("operation: a task begins once and what was moved from never", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  ErrorCode code{};
  LatchOperation operation(latch, 7);
  auto task = *awaiting(operation, code);
  CHECK(dies([&] {
    const auto moved = std::move(task);
    static_cast<void>(task.done());  // NOLINT: that is the point
  }));
  CHECK(dies([&] {
    auto moved = std::move(task);
    task.start(executor);  // NOLINT: that is the point
  }));
  task.start(executor);
  REQUIRE(task.done());
  CHECK(dies([&] { task.start(executor); }));
  CHECK(dies([&] { static_cast<void>(task.operator co_await()); }));
  CHECK(task.result() == 7);
}

TEST_CASE("operation: posting twice is invalid_state in every way of posting", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  const bool parked = GENERATE(false, true);
  if (parked) REQUIRE(latch.try_exclusive());
  int calls = 0;
  LatchOperation operation(latch, 7);
  REQUIRE(operation.post(executor, [&calls](Result<int>&) noexcept { ++calls; }).has_value());

  CHECK(operation.post(executor).error().code == ErrorCode::invalid_state);
  CHECK(operation.post(executor, [](Result<int>&) noexcept { std::abort(); }).error().code ==
        ErrorCode::invalid_state);
  CHECK(operation.wait().error().code == ErrorCode::invalid_state);
  ErrorCode code{};
  auto task = *awaiting(operation, code);
  task.start(executor);
  CHECK(task.done());
  CHECK(code == ErrorCode::invalid_state);
  code = {};
  REQUIRE(fiber::spawn(executor, [&]() noexcept {
            code = fiber::await(operation).error().code;
          }).has_value());
  executor.tick(1ms);
  CHECK(code == ErrorCode::invalid_state);

  if (parked) latch.release_exclusive();
  executor.tick(1ms);
  CHECK(calls == 1);
  CHECK(*operation.result() == 7);
}

TEST_CASE("operation: a change of state that is not in the table asserts", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  LatchOperation fresh(latch, 1);
  LatchOperation done(latch, 1);
  REQUIRE(latch.try_exclusive());
  REQUIRE(done.post(executor).has_value());
  latch.release_exclusive();
  executor.tick(1ms);
  REQUIRE(done.done());
  CHECK(dies([&] { OperationAccess::prepare_wait(fresh); }));
  CHECK(dies([&] { OperationAccess::prepare_wait(done); }));
  CHECK(dies([&] {
    // Woken by somebody although it does not wait.
    Executor own = make_executor();
    LatchOperation ended(latch, 1);
    if (!latch.try_exclusive() || !ended.post(own).has_value()) return;
    latch.release_exclusive();
    own.tick(1ms);
    if (!ended.done()) return;
    runtime::ExecutorCore::wake(OperationAccess::runnable(ended));
    own.tick(0ns);
  }));
  CHECK(dies([&] { static_cast<void>(fresh.result()); }));
}

TEST_CASE("operation: destroying one that is posted and not done asserts", "[operation]") {
  Latch latch;
  CHECK_FALSE(dies([&] { LatchOperation never_posted(latch, 1); }));
  CHECK(dies([&] {
    Executor executor = make_executor();
    if (!latch.try_exclusive()) return;
    LatchOperation operation(latch, 1);
    static_cast<void>(operation.post(executor));
  }));
}

TEST_CASE("operation: its callback may destroy it", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  const bool parked = GENERATE(false, true);
  if (parked) REQUIRE(latch.try_exclusive());
  struct Owner {
    std::unique_ptr<LatchOperation> operation;
    int value = 0;
  } owner;
  owner.operation = std::make_unique<LatchOperation>(latch, 7);
  REQUIRE(owner.operation
              ->post(executor,
                     [&owner](Result<int>& result) noexcept {
                       owner.value = *result;
                       owner.operation.reset();
                     })
              .has_value());
  CHECK((owner.operation != nullptr) == parked);
  if (parked) latch.release_exclusive();
  executor.tick(1ms);
  CHECK(owner.operation == nullptr);
  CHECK(owner.value == 7);
}

namespace {
// Each callback posts the next operation.
struct Chain {
  Executor& executor;
  Latch latch;
  std::vector<std::unique_ptr<LatchOperation>> operations;
  std::size_t done_count = 0;
  const char* lowest = nullptr;
  const char* highest = nullptr;

  void post_next() noexcept {
    const char here = 0;
    if (lowest == nullptr || &here < lowest) lowest = &here;
    if (highest == nullptr || &here > highest) highest = &here;
    const auto posted = operations[done_count]->post(executor, [this](Result<int>&) noexcept {
      if (++done_count < operations.size()) post_next();
    });
    if (!posted.has_value()) std::abort();
  }
};
}  // namespace

TEST_CASE("operation: callbacks that post one another 1000 deep leave the stack small",
          "[operation]") {
  Executor executor = make_executor();
  Chain chain{.executor = executor, .latch = {}, .operations = {}};
  for (int index = 0; index < 1000; ++index) {
    chain.operations.push_back(std::make_unique<LatchOperation>(chain.latch, index));
  }
  chain.post_next();
  CHECK(chain.done_count < 100);  // the rest starts from the queue
  for (int round = 0; round < 1000 && chain.done_count < 1000; ++round) executor.tick(1ms);
  CHECK(chain.done_count == 1000);
  CHECK(chain.highest - chain.lowest < 32 * 1024);  // sanitizers make frames larger
}

TEST_CASE("operation: cancelled before it was posted it is done at once", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  LatchOperation operation(latch, 7);
  operation.cancel();
  CHECK(was_cancelled(operation));
  CHECK(operation.post(executor).error().code == ErrorCode::invalid_state);
  CHECK(operation.step_count == 0);
}

TEST_CASE("operation: cancelled while it runs it ends with its result if it need not wait",
          "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  LatchOperation operation(latch, 7);
  operation.cancels_itself = true;
  REQUIRE(operation.post(executor).has_value());
  CHECK(*operation.result() == 7);
}

TEST_CASE("operation: cancelled while it runs and then parked it ends when it is woken",
          "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  REQUIRE(latch.try_exclusive());
  LatchOperation operation(latch, 7);
  operation.cancels_itself = true;
  REQUIRE(operation.post(executor).has_value());
  REQUIRE(operation.state() == OperationState::waiting);
  latch.release_exclusive();
  executor.tick(1ms);
  CHECK(was_cancelled(operation));
  CHECK(operation.step_count == 1);
}

TEST_CASE("operation: cancelled in the parking lot it ends while the latch is still held",
          "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  REQUIRE(latch.try_exclusive());
  LatchOperation first(latch, 1);
  LatchOperation second(latch, 2);
  LatchOperation third(latch, 3);
  for (LatchOperation* operation : {&first, &second, &third}) {
    REQUIRE(operation->post(executor).has_value());
  }
  int calls_inside_cancel = 0;
  second.cancel();
  second.cancel();  // once more changes nothing
  CHECK(second.state() == OperationState::waiting);
  CHECK(calls_inside_cancel == 0);
  CHECK(executor.tick(1ms) == 1);
  CHECK(was_cancelled(second));
  latch.release_exclusive();
  executor.tick(1ms);
  CHECK(*first.result() == 1);
  CHECK(*third.result() == 3);
}

TEST_CASE("operation: cancelled when it was woken and has not run yet", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  REQUIRE(latch.try_exclusive());
  LatchOperation operation(latch, 7);
  REQUIRE(operation.post(executor).has_value());
  latch.release_exclusive();
  operation.cancel();
  executor.tick(1ms);
  CHECK(was_cancelled(operation));
  CHECK(latch.try_exclusive());
}

TEST_CASE("operation: cancelled while it stands in the queue to be started", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  LatchOperation operation(latch, 7);
  struct Nest {
    Executor& executor;
    Latch& latch;
    LatchOperation& last;
    int depth = 0;
    void go() noexcept {
      if (++depth > 40 || last.state() != OperationState::ready) return;
      LatchOperation step(latch, 1);
      const auto posted = step.post(executor, [this](Result<int>&) noexcept {
        if (detail::nested_too_deeply()) {
          static_cast<void>(last.post(executor, [](Result<int>&) noexcept {}));
        } else {
          go();
        }
      });
      if (!posted.has_value()) std::abort();
    }
  } nest{executor, latch, operation};
  nest.go();
  REQUIRE(operation.state() == OperationState::waiting);
  operation.cancel();
  executor.tick(1ms);
  CHECK(was_cancelled(operation));
  CHECK(operation.step_count == 0);
}

TEST_CASE("operation: cancelled after it is done it stays as it is", "[operation]") {
  Executor executor = make_executor();
  Latch latch;
  LatchOperation operation(latch, 7);
  REQUIRE(operation.post(executor).has_value());
  operation.cancel();
  CHECK(*operation.result() == 7);
}

TEST_CASE("operation: a cancelled update has changed nothing", "[operation]") {
  BytesTable bytes;
  Executor executor = make_executor();
  REQUIRE(bytes.table.put("key", "before").wait().has_value());
  auto update = bytes.table.put("key", "after");
  auto post_update = [&]() noexcept {
    // The table's latch is held while a reader searches.
    if (!update.post(executor).has_value() || update.done()) std::abort();
  };
  const StopNextSearch stop(post_update);
  REQUIRE(bytes.table.lookup("key").wait().has_value());
  update.cancel();
  executor.tick(1ms);
  CHECK(update.result().error().code == ErrorCode::cancelled);
  CHECK(**bytes.table.lookup("key").wait() == "before");
}

TEST_CASE("operation: a cancellation may race with the wake-up from another thread",
          "[operation]") {
  constexpr int round_count = 3000;
  Executor executor = make_executor();
  Latch latch;
  std::atomic<int> turn{0};  // odd: the other thread releases
  std::thread releaser([&] {
    for (int round = 0; round < round_count; ++round) {
      while (turn.load(std::memory_order_acquire) != 2 * round + 1) std::this_thread::yield();
      latch.release_exclusive();
      turn.store(2 * round + 2, std::memory_order_release);
    }
  });
  int cancelled_count = 0;
  bool well = true;
  for (int round = 0; round < round_count; ++round) {
    well = well && latch.try_exclusive();
    LatchOperation operation(latch, round);
    well = well && operation.post(executor).has_value() && !operation.done();
    turn.store(2 * round + 1, std::memory_order_release);
    for (int delay = round % 64; delay > 0; --delay) base::pause_briefly();
    operation.cancel();
    while (!operation.done()) executor.tick(0ns);
    if (was_cancelled(operation)) {
      ++cancelled_count;
    } else {
      well = well && *operation.result() == round;
    }
    while (turn.load(std::memory_order_acquire) != 2 * round + 2) std::this_thread::yield();
  }
  releaser.join();
  CHECK(well);
  CHECK(cancelled_count > 0);
}

TEST_CASE("operation: ten thousand wait on one thread and all end", "[operation]") {
  constexpr std::size_t count = 10'000;
  BytesTable bytes;
  Executor executor = make_executor();
  REQUIRE(bytes.table.put("key", "before").wait().has_value());
  using Lookup = LookupOperation<StoppingBytes>;
  std::allocator<Lookup> allocator;
  Lookup* lookups = allocator.allocate(count);
  for (std::size_t index = 0; index < count; ++index) {
    ::new (static_cast<void*>(lookups + index)) Lookup(bytes.table.lookup("key"));
  }
  auto update = bytes.table.put("key", "after");
  std::size_t parked_count = 0;
  // A waiting writer keeps new readers out; both are let in when this reader leaves.
  auto post_all = [&]() noexcept {
    if (!update.post(executor).has_value() || update.done()) std::abort();
    for (std::size_t index = 0; index < count; ++index) {
      if (!lookups[index].post(executor).has_value()) std::abort();
      if (!lookups[index].done()) ++parked_count;
    }
  };
  const StopNextSearch stop(post_all);
  REQUIRE(bytes.table.lookup("key").wait().has_value());
  CHECK(parked_count == count);
  while (executor.tick(1ms) > 0) continue;
  CHECK(update.result().has_value());
  std::size_t found_count = 0;
  for (std::size_t index = 0; index < count; ++index) {
    if (lookups[index].done() && **lookups[index].result() == "after") ++found_count;
    std::destroy_at(lookups + index);
  }
  allocator.deallocate(lookups, count);
  CHECK(found_count == count);
}

}  // namespace firn::test
