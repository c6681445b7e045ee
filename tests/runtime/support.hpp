// Operations and domains for the tests of the runtime.
#pragma once

#include <poll.h>

#include <firn/firn.hpp>

#include "runtime/latch.hpp"
#include "runtime/operation_access.hpp"
#include "support/catch.hpp"
#include "support/stopping_order.hpp"

namespace firn::test {

// Takes a latch and gives it back, so it waits while somebody else holds it. Its result is `value`.
class LatchOperation final : public Operation<int> {
 public:
  LatchOperation(runtime::Latch& latch, int value) noexcept : latch_(latch), value_(value) {}

  int step_count = 0;
  bool cancels_itself = false;

 private:
  detail::Progress step() noexcept override {
    ++step_count;
    if (cancels_itself) cancel();
    if (!latch_.exclusive_or_park(*this)) return detail::Progress::waiting;
    latch_.release_exclusive();
    return detail::Progress::yes;
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(error_));
    settle_with(Result<int>(value_));
  }

  runtime::Latch& latch_;
  int value_;
};

inline Executor make_executor() {
  auto executor = Executor::create();
  REQUIRE(executor.has_value());
  return *std::move(executor);
}

inline bool readable(int fd) noexcept {
  pollfd descriptor{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&descriptor, 1, 0) == 1;
}

inline bool was_cancelled(Operation<int>& operation) noexcept {
  return operation.done() && !operation.result().has_value() &&
         operation.result().error().code == ErrorCode::cancelled;
}

// A light domain with one table of plain bytes, whose searches a test may stop.
struct StoppingBytes : TableType<Bytes, Bytes> {
  static constexpr std::string_view name = "test.stopping-bytes";
  using Comparator = StoppingOrder;
};
struct BytesTable {
  BytesTable() {
    auto opened = Domain::open("", {.type = DomainType::light}).wait();
    REQUIRE(opened.has_value());
    domain = *std::move(opened);
    auto made =
        domain.create_table<StoppingBytes>("table", {.persistence = Persistence::volatile_}).wait();
    REQUIRE(made.has_value());
    table = *std::move(made);
  }
  Domain domain;
  Table<StoppingBytes> table;
};

}  // namespace firn::test
