// Every interleaving of a small model of the latch over the parking lot, and of the executor's
// mailbox: each access to something shared is one step. The models follow lib/runtime/latch.hpp,
// parking_lot.hpp and executor_core.cpp line by line; variants of them with a planted bug must be
// found.
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

#include "support/catch.hpp"

namespace firn::test {
namespace {

// Goes through all states that the steps of `State::thread_count` threads lead to. `step(thread)`
// says whether the thread could go on; `wrong_now` is asked in each state, `wrong_at_end` where
// nobody can go on. A state has no padding whose bytes differ: it is compared as bytes.
template <class State>
struct Explorer {
  std::unordered_set<std::string> seen;
  std::string wrong;  // empty: nothing

  static std::string bytes_of(const State& state) {
    return {reinterpret_cast<const char*>(&state), sizeof state};
  }
  void run(const State& start) {
    std::vector<State> left{start};
    seen.insert(bytes_of(start));
    while (!left.empty() && wrong.empty()) {
      const State state = left.back();
      left.pop_back();
      bool moved = false;
      for (int thread = 0; thread < State::thread_count; ++thread) {
        State next = state;
        if (!next.step(thread)) continue;
        moved = true;
        if (wrong.empty()) wrong = next.wrong_now();
        if (seen.insert(bytes_of(next)).second) left.push_back(next);
      }
      if (!moved && wrong.empty()) wrong = state.wrong_at_end();
    }
  }
};

// --- the latch and the lot -----------------------------------------------------------------------

enum class Flaw : std::uint8_t {
  none,
  bit_after_check,    // looks at the word first and sets the waiter bit afterwards
  no_second_look,     // parks because the first look failed
  cleared_outside,    // the waker clears the bit after it has left the bucket's mutex
  wakes_one,          // wakes the first waiter and clears the bit
  keeps_own_bit,      // sets the bit, need not park, and leaves it set
  cancel_keeps_list,  // a cancelled waiter is run and stays in the list
};

struct LatchModel {
  static constexpr int thread_count = 4;
  enum Line : std::uint8_t {
    try_it,
    lock,
    look,
    set_bit,
    clear_own,
    append,
    unlock_parked,
    unlock_retry,
    parked,
    held,
    release,
    wake_lock,
    wake_take,
    wake_clear,
    wake_unlock,
    wake_clear_late,
    wake_send,
    over
  };
  struct Thread {
    std::uint8_t line = try_it;
    std::uint8_t rounds = 1;
    bool shared = false;
    bool cancelled = false;  // it was taken out of the lot and runs no more
    std::uint8_t woken = 0;  // whom it will send home, a bit each
  };

  std::array<Thread, thread_count> threads;
  std::array<std::int8_t, thread_count> list{-1, -1, -1, -1};
  bool exclusive = false;
  bool waiters = false;
  std::uint8_t readers = 0;
  std::int8_t mutex = -1;
  std::int8_t cancels = -1;  // the waiter that may be cancelled at any moment, once
  Flaw flaw = Flaw::none;

  [[nodiscard]] bool blocked(const Thread& self) const {
    return self.shared ? exclusive || waiters : exclusive || readers > 0;
  }
  bool take_mutex(int thread, Thread& self, Line then) {
    if (mutex != -1) return false;
    mutex = static_cast<std::int8_t>(thread);
    self.line = then;
    return true;
  }
  void remove(std::size_t index) {
    for (std::size_t at = index; at + 1 < list.size(); ++at) list[at] = list[at + 1];
    list.back() = -1;
  }
  // Owner of the cancelled one: withdraw() under the bucket's mutex is one step, since it holds it
  // throughout and touches nothing else.
  bool cancel(int thread) {
    Thread& self = threads[static_cast<std::size_t>(thread)];
    if (cancels != thread || self.line != parked || mutex != -1) return false;
    for (std::size_t index = 0; index < list.size(); ++index) {
      if (list[index] != thread) continue;
      if (flaw != Flaw::cancel_keeps_list) remove(index);
      self.line = over;
      self.cancelled = true;
      cancels = -1;
      return true;
    }
    return false;
  }

  bool step(int thread) {
    Thread& self = threads[static_cast<std::size_t>(thread)];
    switch (self.line) {
      case try_it:
        if (exclusive || (self.shared ? waiters : readers > 0)) {
          self.line = lock;
        } else {
          self.shared ? void(++readers) : void(exclusive = true);
          self.line = held;
        }
        return true;
      case lock:
        return take_mutex(thread, self, flaw == Flaw::bit_after_check ? look : set_bit);
      case look:  // only with the flaw
        self.line = blocked(self) ? append : unlock_retry;
        return true;
      case set_bit: {
        const bool had_waiters = waiters;
        const bool is_blocked = blocked(self);
        waiters = true;
        if (is_blocked || flaw == Flaw::no_second_look) {
          self.line = append;
        } else {
          self.line = had_waiters || flaw == Flaw::keeps_own_bit ? unlock_retry : clear_own;
        }
        return true;
      }
      case clear_own:
        waiters = false;
        self.line = unlock_retry;
        return true;
      case append:
        if (flaw == Flaw::bit_after_check) waiters = true;
        for (auto& place : list) {
          if (place != -1) continue;
          place = static_cast<std::int8_t>(thread);
          break;
        }
        self.line = unlock_parked;
        return true;
      case unlock_parked:
        mutex = -1;
        self.line = parked;
        return true;
      case unlock_retry:
        mutex = -1;
        self.line = try_it;
        return true;
      case parked:
        return cancel(thread);
      case held:
        self.line = release;
        return true;
      case release: {
        const bool last = !self.shared || readers == 1;
        self.shared ? void(--readers) : void(exclusive = false);
        self.line = waiters && last ? wake_lock : over;
        break;
      }
      case wake_lock:
        return take_mutex(thread, self, wake_take);
      case wake_take: {
        const int most = flaw == Flaw::wakes_one ? 1 : thread_count;
        for (int count = 0; count < most && list[0] != -1; ++count) {
          self.woken = static_cast<std::uint8_t>(self.woken | 1u << list[0]);
          remove(0);
        }
        self.line = flaw == Flaw::cleared_outside ? wake_unlock : wake_clear;
        return true;
      }
      case wake_clear:
        waiters = false;
        self.line = wake_unlock;
        return true;
      case wake_unlock:
        mutex = -1;
        self.line = flaw == Flaw::cleared_outside ? wake_clear_late : wake_send;
        return true;
      case wake_clear_late:
        waiters = false;
        self.line = wake_send;
        return true;
      case wake_send:
        for (int other = 0; other < thread_count; ++other) {
          if ((self.woken >> other & 1) == 0) continue;
          Thread& woken = threads[static_cast<std::size_t>(other)];
          if (woken.line != parked) return woken_twice = true;
          woken.line = try_it;
        }
        self.woken = 0;
        self.line = over;
        break;
      default:
        return false;
    }
    if (self.line == over && --self.rounds > 0) self.line = try_it;
    return true;
  }

  bool woken_twice = false;

  [[nodiscard]] const char* wrong_now() const {
    int writers = 0;
    int inside = 0;
    for (const Thread& thread : threads) {
      if (thread.line != held) continue;
      ++inside;
      if (!thread.shared) ++writers;
    }
    if (writers > 0 && inside > 1) return "two inside";
    return woken_twice ? "woken twice" : "";
  }
  [[nodiscard]] const char* wrong_at_end() const {
    for (const Thread& thread : threads) {
      if (thread.line != over) return "lost wake-up";
    }
    return exclusive || waiters || readers > 0 ? "latch not free at the end" : "";
  }
};

// Two writers, a reader and one more of `fourth`; `cancels` may be cancelled while it waits.
Explorer<LatchModel> explore_latch(Flaw flaw, bool fourth_is_shared, int cancels) {
  LatchModel start;
  start.threads[2].shared = true;
  start.threads[3].shared = fourth_is_shared;
  start.threads[0].rounds = 2;
  start.cancels = static_cast<std::int8_t>(cancels);
  start.flaw = flaw;
  Explorer<LatchModel> explorer;
  explorer.run(start);
  return explorer;
}

std::string find_in_latch(Flaw flaw) {
  for (const bool fourth_is_shared : {false, true}) {
    for (const int cancels : {-1, 1, 2}) {
      const auto explored = explore_latch(flaw, fourth_is_shared, cancels);
      if (!explored.wrong.empty()) return explored.wrong;
    }
  }
  return "nothing";
}

// --- the mailbox ---------------------------------------------------------------------------------

enum class MailFlaw : std::uint8_t {
  none,
  arms_unseen,     // the owner sets the mark without looking whether mail has come
  starts_unarmed,  // a program that waits before its first tick
  never_drains,    // the event descriptor is not read back
  drains_by_mark,  // it is read when the mark was taken, be it before the write
  leaves_early,    // the destructor does not wait for the sender's last act
};

// Thread 0 owns the executor: it waits on the descriptor, ticks, and destroys it when all mail has
// run. Three others send once each, and the last, the chance, lets the owner tick without waiting.
struct MailModel {
  static constexpr int sender_count = 3;
  static constexpr int chance = sender_count + 1;
  static constexpr int thread_count = chance + 1;
  enum Line : std::uint8_t {
    wait,
    drain,
    read,
    take,
    run_all,
    arm,
    destroy,
    gone,
    push,
    write,
    count,
    over
  };

  std::array<std::uint8_t, thread_count> lines{wait, push, push, push, over};
  bool mark = true;        // the mailbox holds the mark
  std::uint8_t mail = 0;   // how many it holds, if not
  bool armed = true;       // owner's
  std::uint8_t ready = 0;  // owner's
  std::uint8_t run = 0;
  std::uint8_t taken = 0;
  std::uint8_t drained = 0;
  std::uint8_t written = 0;
  std::uint8_t fd = 0;  // the descriptor's count
  std::uint8_t idle_wakes = 0;
  std::uint8_t ticks_by_chance = 2;
  bool destroyed = false;
  bool used_after = false;
  MailFlaw flaw = MailFlaw::none;

  bool step_sender(int thread) {
    std::uint8_t& line = lines[static_cast<std::size_t>(thread)];
    switch (line) {
      case push: {
        used_after = used_after || destroyed;
        const bool was_marked = mark;
        mark = false;
        ++mail;
        line = was_marked ? write : over;
        return true;
      }
      case write:
        used_after = used_after || destroyed;
        ++fd;
        line = count;
        return true;
      case count:
        used_after = used_after || destroyed;
        ++written;
        line = over;
        return true;
      default:
        return false;
    }
  }

  bool step(int thread) {
    std::uint8_t& line = lines[0];
    if (thread == chance) {
      if (line != wait || ticks_by_chance == 0) return false;
      --ticks_by_chance;
      line = drain;
      return true;
    }
    if (thread > 0) return step_sender(thread);
    switch (line) {
      case wait:
        if (fd == 0) return false;  // sleeps
        if (mail == 0 && !writing()) ++idle_wakes;
        line = drain;
        return true;
      case drain:
        if (flaw == MailFlaw::never_drains) {
          line = take;
        } else if (flaw == MailFlaw::drains_by_mark) {
          line = armed && !mark ? read : take;
        } else {
          line = written != drained ? read : take;
          drained = written;
        }
        return true;
      case read:
        fd = 0;
        line = take;
        return true;
      case take:
        if (armed && !mark) ++taken;
        armed = false;
        mark = false;
        ready = static_cast<std::uint8_t>(ready + mail);
        mail = 0;
        line = run_all;
        return true;
      case run_all:
        if (ready > 0) idle_wakes = 0;
        run = static_cast<std::uint8_t>(run + ready);
        ready = 0;
        line = arm;
        return true;
      case arm:
        if (mail > 0 && flaw != MailFlaw::arms_unseen) {
          line = take;
          return true;
        }
        mark = mail == 0;
        armed = true;
        line = run == sender_count ? destroy : wait;
        return true;
      case destroy:
        if (flaw != MailFlaw::leaves_early && written != taken) return false;
        destroyed = true;
        line = gone;
        return true;
      default:
        return false;
    }
  }

  [[nodiscard]] bool writing() const {
    for (const std::uint8_t line : lines) {
      if (line == write || line == count) return true;
    }
    return false;
  }
  [[nodiscard]] const char* wrong_now() const {
    if (idle_wakes == 2) return "never silent";
    return used_after ? "used after free" : "";
  }
  [[nodiscard]] const char* wrong_at_end() const { return lines[0] == gone ? "" : "lost wake-up"; }
};

Explorer<MailModel> explore_mail(MailFlaw flaw) {
  MailModel start;
  start.flaw = flaw;
  if (flaw == MailFlaw::starts_unarmed) {
    start.mark = start.armed = false;
    start.ticks_by_chance = 0;
  }
  Explorer<MailModel> explorer;
  explorer.run(start);
  return explorer;
}

}  // namespace

TEST_CASE("park model: no interleaving of the latch loses a wake-up or lets two in", "[park]") {
  for (const bool fourth_is_shared : {false, true}) {
    for (const int cancels : {-1, 1, 2}) {
      const auto explored = explore_latch(Flaw::none, fourth_is_shared, cancels);
      CHECK(explored.wrong.empty());
      CHECK(explored.seen.size() > 1000);
    }
  }
}

TEST_CASE("park model: every planted variant of the latch is found", "[park]") {
  CHECK(find_in_latch(Flaw::bit_after_check) == "lost wake-up");
  CHECK(find_in_latch(Flaw::no_second_look) == "lost wake-up");
  CHECK(find_in_latch(Flaw::cleared_outside) == "lost wake-up");
  CHECK(find_in_latch(Flaw::wakes_one) == "lost wake-up");
  CHECK(find_in_latch(Flaw::keeps_own_bit) != "nothing");
  CHECK(find_in_latch(Flaw::cancel_keeps_list) == "woken twice");
}

TEST_CASE("park model: no interleaving of the mailbox leaves mail to a sleeper", "[park]") {
  const auto explored = explore_mail(MailFlaw::none);
  CHECK(explored.wrong.empty());
  CHECK(explored.seen.size() > 100);
}

TEST_CASE("park model: planted variants of the mailbox are found", "[park]") {
  CHECK(explore_mail(MailFlaw::arms_unseen).wrong == "lost wake-up");
  CHECK(explore_mail(MailFlaw::starts_unarmed).wrong == "lost wake-up");
  CHECK(explore_mail(MailFlaw::never_drains).wrong == "never silent");
  CHECK(explore_mail(MailFlaw::drains_by_mark).wrong == "never silent");
  CHECK(explore_mail(MailFlaw::leaves_early).wrong == "used after free");
}

}  // namespace firn::test
