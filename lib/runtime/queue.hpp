// A bounded queue between executors, any number of senders and receivers. Where it is full the
// sender parks, where it is empty the receiver does; nobody sleeps and nothing is overwritten. The
// ring is Dmitry Vyukov's bounded MPMC queue: a cell's turn says whose move it is.
//
// Each message wakes one receiver, each room one sender. A receiver may be woken for a message that
// stands behind one that is still being written, and parks again; so whoever receives passes the
// wake-up on if more messages stand there, and whoever sends does it for room.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>

#include <firn/result.hpp>

#include "base/planted.hpp"
#include "runtime/parking_lot.hpp"

namespace firn::runtime {

/// Shared between threads. `T` is trivially copyable: a message is a pointer or a few words.
template <class T>
class Queue {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  /// `capacity` is rounded up to a power of two, at least 2. `no_memory` if it cannot be had.
  static Result<std::unique_ptr<Queue>> create(std::size_t capacity) noexcept {
    std::size_t rounded = 2;
    while (rounded < capacity) rounded *= 2;
    std::unique_ptr<Cell[]> cells(new (std::nothrow) Cell[rounded]);
    if (cells == nullptr)
      return fail(ErrorCode::no_memory, "no memory for a queue of {}", capacity);
    auto* queue = new (std::nothrow) Queue(std::move(cells), rounded);
    if (queue == nullptr) return fail(ErrorCode::no_memory, "no memory for a queue");
    return std::unique_ptr<Queue>(queue);
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }

  [[nodiscard]] bool try_push(const T& message) noexcept {
    if (!try_push_quietly(message)) return false;
    wake_one(receivers_waiting_);
    pass_on_room();
    return true;
  }

  [[nodiscard]] std::optional<T> try_pop() noexcept {
    std::optional<T> message = try_pop_quietly();
    if (!message.has_value()) return message;
    wake_one(senders_waiting_);
    if (!FIRN_PLANTED("queue-keeps-wakeup")) pass_on_message();
    return message;
  }

  /// What a sender or receiver that was woken, and gives up instead of calling again, calls: its
  /// wake-up goes to another.
  void pass_on() noexcept {
    pass_on_room();
    pass_on_message();
  }

  /// Sends, or parks `sender` until there may be room: then call again. `committed()` runs just
  /// before the sender belongs to the parking lot. False: parked.
  template <class Committed>
  [[nodiscard]] bool push_or_park(const T& message, Runnable& sender,
                                  Committed&& committed) noexcept {
    while (!try_push(message)) {
      if (park(senders_waiting_, sender, committed, [this]() noexcept { return full(); })) {
        return false;
      }
    }
    return true;
  }

  /// Receives, or parks `receiver` until there may be a message. Empty: parked.
  template <class Committed>
  [[nodiscard]] std::optional<T> pop_or_park(Runnable& receiver, Committed&& committed) noexcept {
    while (true) {
      if (std::optional<T> message = try_pop()) return message;
      if (park(receivers_waiting_, receiver, committed, [this]() noexcept { return empty(); })) {
        return std::nullopt;
      }
    }
  }

  [[nodiscard]] bool full() const noexcept {
    const std::size_t at = push_at_.load(std::memory_order_seq_cst);
    return cells_[at & mask_].turn.load(std::memory_order_seq_cst) < at;
  }
  [[nodiscard]] bool empty() const noexcept {
    const std::size_t at = pop_at_.load(std::memory_order_seq_cst);
    return cells_[at & mask_].turn.load(std::memory_order_seq_cst) < at + 1;
  }

 private:
  struct Cell {
    std::atomic<std::size_t> turn{0};
    T message{};
  };

  Queue(std::unique_ptr<Cell[]> cells, std::size_t capacity) noexcept
      : cells_(std::move(cells)), mask_(capacity - 1) {
    for (std::size_t index = 0; index < capacity; ++index) {
      cells_[index].turn.store(index, std::memory_order_relaxed);
    }
  }

  bool try_push_quietly(const T& message) noexcept {
    std::size_t at = push_at_.load(std::memory_order_relaxed);
    while (true) {
      Cell& cell = cells_[at & mask_];
      const std::size_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == at) {
        if (push_at_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          cell.message = message;
          cell.turn.store(at + 1, std::memory_order_seq_cst);
          return true;
        }
      } else if (turn < at) {
        if (!FIRN_PLANTED("queue-overwrites")) return false;
        cell.message = message;
        return true;
      } else {
        at = push_at_.load(std::memory_order_relaxed);
      }
    }
  }

  std::optional<T> try_pop_quietly() noexcept {
    std::size_t at = pop_at_.load(std::memory_order_relaxed);
    while (true) {
      Cell& cell = cells_[at & mask_];
      const std::size_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == at + 1) {
        if (pop_at_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          const T message = cell.message;
          cell.turn.store(at + mask_ + 1, std::memory_order_seq_cst);
          return message;
        }
      } else if (turn < at + 1) {
        return std::nullopt;
      } else {
        at = pop_at_.load(std::memory_order_relaxed);
      }
    }
  }

  // The waiter raises `waiting` and then looks once more; the other side moves a cell's turn and
  // then looks at `waiting`: one of the two sees the other. All four are sequentially consistent.
  template <class Committed, class Blocked>
  bool park(std::atomic<bool>& waiting, Runnable& runnable, Committed& committed,
            Blocked&& blocked) noexcept {
    return ParkingLot::shared().park(
        &waiting, runnable,
        [&]() noexcept {
          waiting.store(true, std::memory_order_seq_cst);
          return blocked();
        },
        committed);
  }

  void pass_on_room() noexcept {
    if (senders_waiting_.load(std::memory_order_seq_cst) && !full()) wake_one(senders_waiting_);
  }
  void pass_on_message() noexcept {
    if (receivers_waiting_.load(std::memory_order_seq_cst) && !empty()) {
      wake_one(receivers_waiting_);
    }
  }
  void wake_one(std::atomic<bool>& waiting) noexcept {
    if (!waiting.load(std::memory_order_seq_cst)) return;
    if (FIRN_PLANTED("queue-lost-wakeup")) return;
    ParkingLot::shared().unpark(&waiting, 1, [&waiting](bool remain) noexcept {
      waiting.store(remain, std::memory_order_seq_cst);
    });
  }

  // Constant after construction.
  const std::unique_ptr<Cell[]> cells_;
  const std::size_t mask_;
  // Shared.
  alignas(64) std::atomic<std::size_t> push_at_{0};
  alignas(64) std::atomic<std::size_t> pop_at_{0};
  alignas(64) std::atomic<bool> senders_waiting_{false};
  std::atomic<bool> receivers_waiting_{false};
};

}  // namespace firn::runtime
