#include "domain/native/keeper.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "domain/native/native.hpp"

namespace firn::domain {
namespace {

// Between two looks while changes are made; while none are, ever longer ones.
constexpr auto look_time_min = std::chrono::milliseconds(10);
constexpr auto look_time_max = std::chrono::milliseconds(160);

// The store remembers about 100 bytes of each image since the last checkpoint: an eighth of a small
// budget at most.
constexpr std::uint64_t written_per_budget = 4;

}  // namespace

void Keeper::prepare(Call& call, void (*function)(runtime::Runnable&) noexcept) noexcept {
  call.keeper = this;
  call.home = &domain_.background();
  call.run = function;
}

void Keeper::prepare() noexcept {
  prepare(alarm_, [](runtime::Runnable& runnable) noexcept {
    Keeper& self = *static_cast<Call&>(runnable).keeper;
    self.alarm_under_way_ = false;
    self.wake();
  });
  prepare(end_call_, [](runtime::Runnable& runnable) noexcept {
    Keeper& self = *static_cast<Call&>(runnable).keeper;
    self.ending_ = true;
    self.wake();
  });
  prepare(change_call_, [](runtime::Runnable& runnable) noexcept {
    Keeper& self = *static_cast<Call&>(runnable).keeper;
    self.change_call_under_way_.store(false);
    if (!self.noticed_) self.first_change_ = self.domain_.background().now();
    self.noticed_ = true;
    self.wake();
  });
}

Result<void> Keeper::start() noexcept {
  return spawn(
      domain_.background(), [](void* context) noexcept { static_cast<Keeper*>(context)->run(); },
      this);
}

void Keeper::notice() noexcept {
  changed_.store(true);
  if (!change_call_under_way_.exchange(true)) domain_.background().send(change_call_);
}

void Keeper::end() noexcept { domain_.background().send(end_call_); }

// A change under the new number is made after this, so whoever makes it sees that.
void Keeper::begin_checkpoint() noexcept {
  noticed_ = false;
  changed_.store(false);
  bytes_at_checkpoint_ = domain_.store().statistics().page_write_bytes;
}

void Keeper::run() noexcept {
  fiber_ = runtime::current_fiber();
  while (!ending_) {
    if (noticed_) {
      watch();
    } else {
      sleep();
    }
  }
  domain_.dismantle();
}

void Keeper::settle() noexcept {
  while (alarm_under_way_ || change_call_under_way_.load()) {
    if (alarm_.heap_index != runtime::Timer::not_scheduled) {
      domain_.background().unschedule(alarm_);
      alarm_under_way_ = false;
    }
    let_others_run(domain_.background());
  }
}

// While there are changes that no checkpoint holds.
void Keeper::watch() noexcept {
  std::chrono::nanoseconds look_time = look_time_min;
  std::uint64_t written = domain_.store().statistics().page_write_bytes;
  while (noticed_ && !ending_) {
    rest_for_at_most(look_time);
    if (ending_) return;
    if (domain_.lacks_room()) domain_.grower().make_room();
    const std::uint64_t now_written = domain_.store().statistics().page_write_bytes;
    look_time = now_written == written
                    ? std::min<std::chrono::nanoseconds>(2 * look_time, look_time_max)
                    : look_time_min;
    written = now_written;
    if (!checkpoint_is_due()) continue;
    if (const auto done = domain_.checkpoint_on_fiber(); !done.has_value()) {
      static base::LogPlace place;
      place.log(base::LogLevel::warning, "a checkpoint by time or bytes failed",
                done.error().system_error);
    }
  }
}

bool Keeper::checkpoint_is_due() const noexcept {
  const base::TimePoint now = domain_.background().now();
  if (domain_.store().failed()) return false;
  const DomainOptions& options = domain_.options();
  const std::uint64_t bytes = domain_.store().statistics().page_write_bytes - bytes_at_checkpoint_;
  const std::uint64_t bytes_max =
      std::min(options.checkpoint_bytes, written_per_budget * options.memory_budget);
  return bytes >= bytes_max || now - first_change_ >= options.checkpoint_interval;
}

void Keeper::sleep() noexcept {
  sleeping_ = true;
  runtime::FiberContext::suspend();
}

void Keeper::rest_for_at_most(std::chrono::nanoseconds time) noexcept {
  runtime::ExecutorCore& executor = domain_.background();
  if (!alarm_under_way_) {
    alarm_under_way_ = executor.schedule(alarm_, executor.now() + time).has_value();
    if (!alarm_under_way_) return let_others_run(executor);
  }
  sleep();
}

void Keeper::wake() noexcept {
  if (!std::exchange(sleeping_, false)) return;
  domain_.background().enqueue(*fiber_);
}

}  // namespace firn::domain
