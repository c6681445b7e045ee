// What the operations on pages of the tests have in common, and how a test runs work on a fiber of
// a real executor. One thread each.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include <firn/executor.hpp>
#include <firn/fiber.hpp>
#include <firn/operation.hpp>

#include "buffer/optimistic_read.hpp"
#include "buffer/pool.hpp"

namespace firn::test {

using buffer::Access;
using buffer::PageSlot;
using buffer::Pool;

/// An operation that visits pages of a pool: `act` is its step, and what it holds is given back
/// when it is done.
class PoolOperation : public Operation<int> {
 protected:
  using Progress = firn::detail::Progress;
  static constexpr std::size_t page_count_max = 8;

  explicit PoolOperation(Pool& pool) noexcept : waiter_(pool, *this), pool_(pool) {}

  virtual Progress act() noexcept = 0;

  /// A change of these pages was refused: releases their latches. settle_change() comes next.
  void refused(std::span<const PageSlot> changed, std::span<const PageSlot> freed) noexcept {
    FIRN_ASSERT(changed.size() + freed.size() <= page_count_max);
    const auto end = std::copy(changed.begin(), changed.end(), unsettled_.begin());
    std::copy(freed.begin(), freed.end(), end);
    changed_count_ = changed.size();
    freed_count_ = freed.size();
    for (const PageSlot page : unsettled()) pool_.release_exclusive(page);
  }
  /// After a change was refused: until it may be allowed, and without a latch, whose release would
  /// wake the others who wait for the same. Nothing: go on.
  std::optional<Progress> settle_change() noexcept {
    if (unsettled().empty()) return std::nullopt;
    const Access access = pool_.settle_or_park(waiter_, unsettled().first(changed_count_),
                                               unsettled().subspan(changed_count_), error_);
    if (access == Access::parked) return Progress::waiting;
    changed_count_ = freed_count_ = 0;
    if (access == Access::failed) return Progress::failed;
    return std::nullopt;
  }
  [[nodiscard]] bool settling() const noexcept { return !unsettled().empty(); }

  buffer::Waiter waiter_;
  Pool& pool_;

 private:
  Progress step() noexcept override {
    const Progress progress = act();
    if (progress != Progress::waiting) waiter_.done();
    return progress;
  }
  void settle(Progress progress) noexcept override {
    if (progress == Progress::failed) return settle_with(fail(error_));
    settle_with(Result<int>(0));
  }
  [[nodiscard]] std::span<const PageSlot> unsettled() const noexcept {
    return {unsettled_.data(), changed_count_ + freed_count_};
  }

  std::array<PageSlot, page_count_max> unsettled_;
  std::size_t changed_count_ = 0;
  std::size_t freed_count_ = 0;
};

/// `work()` on a fiber of `executor`, to its end; false if there is no fiber.
template <class Work>
[[nodiscard]] bool run_on_fiber(Executor& executor, Work&& work) {
  bool done = false;
  const auto spawned = fiber::spawn(executor, [&]() noexcept {
    work();
    done = true;
  });
  if (!spawned.has_value()) return false;
  while (!done) {
    if (executor.tick(std::chrono::nanoseconds(0)) == 0 && !done) executor.wait_for_work();
  }
  return true;
}

}  // namespace firn::test
