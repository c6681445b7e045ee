// The five ways to run an operation, behind one call: a client written once runs under each.
//
//   ModeRunner runner(Mode::fiber);
//   auto found = runner.run([&] { return table.lookup(key); });
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include <firn/firn.hpp>

namespace firn::tests {

enum class Mode : std::uint8_t { blocking, polled, callback, coroutine, fiber };
inline constexpr std::array every_mode = {Mode::blocking, Mode::polled, Mode::callback,
                                          Mode::coroutine, Mode::fiber};

inline std::string_view name_of(Mode mode) noexcept {
  constexpr std::array<std::string_view, 5> names = {"blocking", "polled", "callback", "coroutine",
                                                     "fiber"};
  return names[static_cast<std::size_t>(mode)];
}
inline std::optional<Mode> mode_named(std::string_view name) noexcept {
  for (const Mode mode : every_mode) {
    if (name_of(mode) == name) return mode;
  }
  return std::nullopt;
}

/// Stops the program: what follows from a broken harness would only mislead.
inline void must(bool holds, const char* what) noexcept {
  if (holds) return;
  std::fprintf(stderr, "harness: %s\n", what);
  std::fflush(stderr);
  std::_Exit(3);
}

/// The value of the operation that `make()` makes.
template <class Make>
using OperationValue = typename std::remove_cvref_t<std::invoke_result_t<Make&>>::value_type;

/// One thread at a time. Each `run` makes an operation with `make()` and runs it to its end.
class ModeRunner {
 public:
  explicit ModeRunner(Mode mode) : mode_(mode), executor_(std::move(*Executor::create())) {
    if (mode_ != Mode::fiber) return;
    auto spawned = fiber::spawn(executor_, [this]() noexcept { serve(); });
    must(spawned.has_value(), "no fiber");
    serving_ = true;
  }
  ~ModeRunner() {
    stop_ = true;
    while (serving_) executor_.tick(std::chrono::nanoseconds::zero());
  }
  ModeRunner(const ModeRunner&) = delete;
  ModeRunner& operator=(const ModeRunner&) = delete;

  [[nodiscard]] Mode mode() const noexcept { return mode_; }

  template <class Make>
  auto run(Make&& make) noexcept -> Result<OperationValue<Make>> {
    switch (mode_) {
      case Mode::blocking:
        return make().wait();
      case Mode::polled:
        return poll(make);
      case Mode::callback:
        return call_back(make);
      case Mode::coroutine:
        return resume(make);
      case Mode::fiber:
        return on_fiber(make);
    }
    std::abort();
  }

 private:
  void turn() noexcept {
    if (executor_.tick(std::chrono::nanoseconds::zero()) == 0) executor_.wait_for_work();
  }

  template <class Make>
  auto poll(Make& make) noexcept -> Result<OperationValue<Make>> {
    auto operation = make();
    FIRN_TRY(operation.post(executor_));
    while (!operation.done()) turn();
    return std::move(operation.result());
  }

  template <class Make>
  auto call_back(Make& make) noexcept -> Result<OperationValue<Make>> {
    struct Answer {
      std::optional<Result<OperationValue<Make>>> result;
      int count = 0;
    } answer;
    auto operation = make();
    FIRN_TRY(
        operation.post(executor_, [to = &answer](Result<OperationValue<Make>>& result) noexcept {
          ++to->count;
          to->result.emplace(std::move(result));
        }));
    while (!operation.done()) turn();
    must(answer.count == 1, "a callback was not called exactly once");
    return std::move(*answer.result);
  }

  template <class Make>
  static Task<Result<OperationValue<Make>>> task(Make& make) noexcept {
    co_return co_await make();
  }
  template <class Make>
  auto resume(Make& make) noexcept -> Result<OperationValue<Make>> {
    auto running = task(make);
    running.start(executor_);
    while (!running.done()) turn();
    return running.result();
  }

  // One long-lived fiber runs what it is given, so that the client's own frames stay on the
  // thread's stack.
  void serve() noexcept {
    while (!stop_) {
      if (job_ != nullptr) {
        job_(job_context_);
        job_ = nullptr;
      }
      fiber::yield();
    }
    serving_ = false;
  }
  template <class Make>
  auto on_fiber(Make& make) noexcept -> Result<OperationValue<Make>> {
    struct Job {
      Make& make;
      std::optional<Result<OperationValue<Make>>> result;
    } job{make, std::nullopt};
    job_context_ = &job;
    job_ = [](void* context) noexcept {
      auto& self = *static_cast<Job*>(context);
      self.result.emplace(fiber::await(self.make()));
    };
    while (job_ != nullptr) executor_.tick(std::chrono::nanoseconds::zero());
    return std::move(*job.result);
  }

  const Mode mode_;
  Executor executor_;
  bool stop_ = false;
  bool serving_ = false;
  void (*job_)(void*) noexcept = nullptr;
  void* job_context_ = nullptr;
};

}  // namespace firn::tests
