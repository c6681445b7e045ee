// Clients of the simulation. What a client does and what it checks is written once; it runs on a
// fiber, in a coroutine, or by callbacks.
//
// Each client has keys of its own, of which it knows everything, and all contend for one key per
// table that they insert and erase like a lock: only one can have it at a time.
#pragma once

#include <algorithm>
#include <coroutine>
#include <optional>
#include <string>
#include <vector>

#include "support/simulation.hpp"

namespace firn::tests {

inline constexpr std::size_t own_key_count = 6;

struct SharedTable {
  Table<BytesType> table;
  int lock_holders = 0;
};

/// How often operations were cancelled, by the state in which that came to them.
struct CancelCounts {
  std::uint64_t running = 0;
  std::uint64_t waiting = 0;
  std::uint64_t done = 0;
  std::uint64_t ended = 0;  // operations that ended with `cancelled`
};

class Client {
 public:
  enum class Next : std::uint8_t { write, lookup, move, sleep, finished };

  Client(Simulation& simulation, std::vector<SharedTable>& tables, std::size_t number,
         std::size_t executor, int action_count)
      : simulation_(simulation),
        tables_(tables),
        random_(simulation.random().next()),
        number_(number),
        executor_(executor),
        actions_left_(action_count),
        values_(tables.size() * own_key_count) {}
  virtual ~Client() = default;
  virtual void start() = 0;
  [[nodiscard]] bool finished() const noexcept { return finished_; }
  [[nodiscard]] std::size_t executor_index() const noexcept { return executor_; }

  /// Cancels what is under way, if anything is. Legal at every moment, so also at yield points.
  void cancel(CancelCounts& counts) noexcept {
    if (current_ == nullptr) return;
    switch (current_->state()) {
      case OperationState::ready:
        return;
      case OperationState::running:
        ++counts.running;
        break;
      case OperationState::waiting:
        ++counts.waiting;
        break;
      case OperationState::done:
        ++counts.done;
        break;
    }
    cancelled_ = true;
    current_->cancel();
  }
  std::uint64_t cancelled_count = 0;

  /// After everything: the pairs of its own keys are what they should be.
  void check_pairs() {
    for (std::size_t index = 0; index < values_.size(); ++index) {
      table_ = index / own_key_count;
      key_ = own_key(index % own_key_count);
      auto found = tables_[table_].table.lookup(Bytes(std::string_view(key_))).wait();
      simulation_.fine(found.has_value() && *found == values_[index], "a pair is not what it was");
    }
  }

 protected:
  using Write = WriteOperation<BytesType>;
  using Lookup = LookupOperation<BytesType>;
  using MoveCursor = MoveOperation<BytesType>;

  Next next() {
    cancelled_ = false;
    if (holds_lock_) return unlock();
    if (cursor_.has_value()) return Next::move;
    if (actions_left_-- == 0) return Next::finished;
    table_ = random_.below(tables_.size());
    slot_ = random_.below(own_key_count);
    key_ = own_key(slot_);
    switch (random_.below(12)) {
      case 0:
      case 1:
      case 2:
        kind_ = detail::WriteKind::put;
        value_.assign(random_.below(200), static_cast<char>('a' + random_.below(26)));
        return Next::write;
      case 3:
        kind_ = detail::WriteKind::erase;
        return Next::write;
      case 4:
        return Next::lookup;
      case 5:
        locking_ = true;
        kind_ = detail::WriteKind::insert;
        key_ = "lock";
        value_ = "held";
        return Next::write;
      case 6:
        cursor_.emplace(core(), nullptr, Range<Bytes>{});
        met_.clear();
        return Next::move;
      default:
        return Next::sleep;
    }
  }

  void wrote(const Result<void>& result) {
    note(result);
    if (ended_by_cancel(result)) {
      locking_ = false;
      return;
    }
    SharedTable& shared = tables_[table_];
    if (unlocking_) {
      simulation_.fine(result.has_value(), "the lock's pair went away");
      unlocking_ = holds_lock_ = false;
    } else if (locking_) {
      locking_ = false;
      if (!result.has_value()) {
        return simulation_.fine(result.error().code == ErrorCode::already_exists, "a wrong error");
      }
      holds_lock_ = true;
      simulation_.fine(++shared.lock_holders == 1, "two hold the lock");
    } else {
      simulation_.fine(result.has_value(), "a write failed");
      auto& value = values_[table_ * own_key_count + slot_];
      if (kind_ == detail::WriteKind::put) {
        value = value_;
      } else {
        value.reset();
      }
    }
  }
  void looked_up(const Result<std::optional<std::string>>& result) {
    note(result);
    if (ended_by_cancel(result)) return;
    simulation_.fine(result.has_value(), "a lookup failed");
    simulation_.fine(*result == values_[table_ * own_key_count + slot_], "another record");
  }
  // Own pairs are met, each once; all keys come in order.
  void moved(const Result<bool>& result) {
    note(result);
    if (ended_by_cancel(result)) {
      cursor_.reset();
      return;
    }
    simulation_.fine(result.has_value(), "a move failed");
    if (*result) {
      std::string key(cursor_->key().text());
      simulation_.fine(met_.empty() || met_.back() < key, "keys out of order");
      met_.push_back(std::move(key));
      return;
    }
    for (std::size_t slot = 0; slot < own_key_count; ++slot) {
      const bool there = values_[table_ * own_key_count + slot].has_value();
      const bool met = std::find(met_.begin(), met_.end(), own_key(slot)) != met_.end();
      simulation_.fine(there == met, "a cursor missed a pair or invented one");
    }
    cursor_.reset();
  }
  [[nodiscard]] base::TimePoint wake_time() {
    // Few different times, so that many wake at once and meet.
    return simulation_.now() + std::chrono::microseconds(1 + random_.below(3));
  }
  void finish() { finished_ = true; }

  [[nodiscard]] detail::TableCore* core() noexcept { return tables_[table_].table.core(); }
  [[nodiscard]] Bytes key() const noexcept { return std::string_view(key_); }
  [[nodiscard]] Bytes value() const noexcept { return std::string_view(value_); }

  Simulation& simulation_;
  std::vector<SharedTable>& tables_;
  base::Random random_;
  const std::size_t number_;
  const std::size_t executor_;
  OperationBase* current_ = nullptr;
  detail::WriteKind kind_{};
  std::optional<Cursor<BytesType>> cursor_;
  bool cancelled_ = false;  // asked for, for what is under way

 private:
  Next unlock() {
    if (!unlocking_) {
      unlocking_ = true;
      --tables_[table_].lock_holders;
    }
    kind_ = detail::WriteKind::erase_present;
    return Next::write;
  }
  [[nodiscard]] std::string own_key(std::size_t slot) const {
    return "own/" + std::to_string(slot) + "/" + std::to_string(number_);
  }
  template <class T>
  void note(const Result<T>& result) {
    current_ = nullptr;
    simulation_.record(number_ * 64 +
                       (result.has_value() ? 0 : static_cast<unsigned>(result.error().code)));
  }
  template <class T>
  bool ended_by_cancel(const Result<T>& result) {
    if (result.has_value() || result.error().code != ErrorCode::cancelled) return false;
    simulation_.fine(cancelled_, "cancelled without having been");
    ++cancelled_count;
    return true;
  }

  int actions_left_;
  std::vector<std::optional<std::string>> values_;
  std::vector<std::string> met_;
  std::string key_;
  std::string value_;
  std::size_t table_ = 0;
  std::size_t slot_ = 0;
  bool locking_ = false;
  bool unlocking_ = false;
  bool holds_lock_ = false;
  bool finished_ = false;
};

/// A timer that calls back.
struct Sleeper : runtime::Timer {
  void (*woken)(void*) noexcept = nullptr;
  void* context = nullptr;

  void sleep(Simulation& simulation, std::size_t executor, base::TimePoint until) {
    simulation_ = &simulation;
    home = &simulation.core(executor);
    run = [](detail::Runnable& self) noexcept {
      auto& sleeper = static_cast<Sleeper&>(self);
      sleeper.simulation_->timer_fired(sleeper.due);
      sleeper.woken(sleeper.context);
    };
    simulation.expects_timer(until);
    must(home->schedule(*this, until).has_value(), "no timer");
  }

 private:
  Simulation* simulation_ = nullptr;
};

class FiberClient final : public Client {
 public:
  using Client::Client;
  void start() override {
    auto spawned = fiber::spawn(simulation_.executor(executor_), [this]() noexcept { body(); });
    must(spawned.has_value(), "no fiber");
  }

 private:
  template <class O>
  auto await(O&& operation) {
    if (random_.one_in(32)) {
      // Cancelled before it was posted: done at once, and awaited by nobody.
      cancelled_ = true;
      operation.cancel();
      simulation_.fine(operation.done(), "a fresh operation that was cancelled is not done");
      return std::move(operation.result());
    }
    current_ = &operation;
    return fiber::await(operation);
  }
  void body() noexcept {
    while (true) {
      switch (next()) {
        case Next::write:
          wrote(await(Write(core(), nullptr, kind_, key(), value())));
          break;
        case Next::lookup:
          looked_up(await(Lookup(core(), nullptr, key())));
          break;
        case Next::move:
          moved(await(MoveCursor(*cursor_, detail::Move::next)));
          break;
        case Next::sleep:
          sleeper_.woken = [](void* fiber) noexcept { detail::wake_fiber(fiber); };
          sleeper_.context = detail::current_fiber();
          sleeper_.sleep(simulation_, executor_, wake_time());
          detail::suspend_fiber();
          break;
        case Next::finished:
          return finish();
      }
    }
  }
  Sleeper sleeper_;
};

class CoroutineClient final : public Client {
 public:
  using Client::Client;
  void start() override {
    task_.emplace(body());
    task_->start(simulation_.executor(executor_));
  }

 private:
  struct SleepAwaiter {
    CoroutineClient& client;
    bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      client.sleeper_.context = handle.address();
      client.sleeper_.woken = [](void* address) noexcept {
        std::coroutine_handle<>::from_address(address).resume();
      };
      client.sleeper_.sleep(client.simulation_, client.executor_, client.wake_time());
    }
    void await_resume() noexcept {}
  };
  Task<void> body() {
    while (true) {
      const Next what = next();
      if (what == Next::write) {
        Write operation(core(), nullptr, kind_, key(), value());
        current_ = &operation;
        wrote(co_await operation);
      } else if (what == Next::lookup) {
        Lookup operation(core(), nullptr, key());
        current_ = &operation;
        looked_up(co_await operation);
      } else if (what == Next::move) {
        MoveCursor operation(*cursor_, detail::Move::next);
        current_ = &operation;
        moved(co_await operation);
      } else if (what == Next::sleep) {
        co_await SleepAwaiter{*this};
      } else {
        break;
      }
    }
    finish();
  }
  std::optional<Task<void>> task_;
  Sleeper sleeper_;
};

class CallbackClient final : public Client {
 public:
  using Client::Client;
  void start() override { go(); }

 private:
  template <class T, class O>
  void post(O& operation, void (CallbackClient::*done)(const Result<T>&)) {
    current_ = &operation;
    const auto posted =
        operation.post(simulation_.executor(executor_), [this, done](Result<T>& result) noexcept {
          const Result<T> kept = std::move(result);
          (this->*done)(kept);
          go();  // destroys the operation
        });
    must(posted.has_value(), "a fresh operation cannot be posted");
  }
  void go() noexcept {
    switch (next()) {
      case Next::write:
        write_.emplace(core(), nullptr, kind_, key(), value());
        return post<void>(*write_, &CallbackClient::wrote_it);
      case Next::lookup:
        lookup_.emplace(core(), nullptr, key());
        return post<std::optional<std::string>>(*lookup_, &CallbackClient::looked_it_up);
      case Next::move:
        move_.emplace(*cursor_, detail::Move::next);
        return post<bool>(*move_, &CallbackClient::moved_it);
      case Next::sleep:
        sleeper_.woken = [](void* self) noexcept { static_cast<CallbackClient*>(self)->go(); };
        sleeper_.context = this;
        return sleeper_.sleep(simulation_, executor_, wake_time());
      case Next::finished:
        return finish();
    }
  }
  void wrote_it(const Result<void>& result) { wrote(result); }
  void looked_it_up(const Result<std::optional<std::string>>& result) { looked_up(result); }
  void moved_it(const Result<bool>& result) { moved(result); }

  std::optional<Write> write_;
  std::optional<Lookup> lookup_;
  std::optional<MoveCursor> move_;
  Sleeper sleeper_;
};

}  // namespace firn::tests
