// The steps of latch_model.hpp, in the order in which an operation takes them.
#pragma once

#include <bit>
#include <cstring>
#include <iterator>

#include "model/latch_model.hpp"

namespace firn::model {

constexpr std::uint8_t garbage = 0xee;

inline PageWord unpack(std::uint32_t packed) { return PageWord(packed); }

inline State LatchModel::initial() const {
  State state;
  std::memset(static_cast<void*>(&state), 0, sizeof(state));
  for (unsigned page = 0; page < scenario_.page_count; ++page) {
    const auto content = static_cast<std::uint8_t>((page + 1) << 5);
    state.device[page] = {content, content};
    state.committed[page] = content;
    const bool resident = page < scenario_.resident_count;
    const std::uint64_t word_class = resident ? PageWord::class_readable : PageWord::class_evicted;
    state.words[page] = static_cast<std::uint32_t>(word_class * PageWord::class_one);
    if (resident) state.frame_of[page] = static_cast<std::uint8_t>(page);
    Actor& device = state.actors[thread_count() + page];
    device.at = At::device_idle;
    device.page = static_cast<std::uint8_t>(page);
  }
  for (unsigned frame = 0; frame < scenario_.frame_count; ++frame) {
    const bool used = frame < scenario_.resident_count;
    const std::uint8_t content = used ? state.committed[frame] : garbage;
    state.frames[frame] = {content, content};
    if (!used) state.frames_free = static_cast<std::uint8_t>(state.frames_free | 1U << frame);
  }
  for (unsigned thread = 0; thread < thread_count(); ++thread) {
    state.actors[thread].at = At::start;
    state.actors[thread].page = scenario_.threads[thread][0].page;
  }
  state.failures_left = static_cast<std::uint8_t>(scenario_.failure_count);
  return state;
}

inline bool LatchModel::ended(const State& state) const {
  for (unsigned actor = 0; actor < actor_count(); ++actor) {
    const At at = state.actors[actor].at;
    if (at != At::end && at != At::device_idle) return false;
  }
  return true;
}

struct LatchModel::Context {
  LatchModel& model;
  State state;
  unsigned number;
  std::vector<State>& next;
  Actor& me = state.actors[number];

  Context(LatchModel& of, const State& before, unsigned actor, std::vector<State>& out)
      : model(of), state(before), number(actor), next(out) {}

  [[nodiscard]] bool bug(Bug planted) const { return model.bug_ == planted; }
  void check(bool holds, const char* otherwise) {
    if (!holds && model.violation_ == nullptr) model.violation_ = otherwise;
  }
  [[nodiscard]] PageWord word(unsigned page) const { return unpack(state.words[page]); }
  void set(unsigned page, PageWord to) {
    const PageWord from = word(page);
    check(to.version() >= from.version(), "a version went backwards");
    // A planted bug must be found by what it does, not by its unusual transition.
    if (bug(Bug::none)) check(legal_transition(from, to), "a transition that the table lacks");
    state.words[page] = static_cast<std::uint32_t>(to.raw());
  }
  void go(At at) {
    me.at = at;
    next.push_back(state);
  }
  [[nodiscard]] bool unchanged(unsigned page) const {
    return unpack(me.seen).version() == word(page).version();
  }
  [[nodiscard]] std::array<std::uint8_t, 2>& bytes() { return state.frames[me.frame]; }
  [[nodiscard]] Op op() const { return model.scenario_.threads[number][me.op_index].op; }
  // After a transition that lets others go on: wake them if the word said that there are any.
  void release(unsigned page, PageWord to, At back, bool unblocks = true) {
    const bool wake = word(page).waiting() && unblocks;
    set(page, to);
    me.target = static_cast<std::uint8_t>(page);
    me.back = back;
    go(wake ? At::wake_lock : back);
  }
  [[nodiscard]] PageWord release_exclusive(PageWord from) const {
    PageWord to = from.released();
    if (bug(Bug::release_keeps_version)) to = PageWord(to.raw() - PageWord::version_one);
    return to;
  }
  void check_memory_unchanged(unsigned page, const char* otherwise) {
    check(state.device[page][0] == state.committed[page] &&
              state.device[page][1] == state.committed[page],
          otherwise);
  }

  void run();
  void start();
  void read();
  void share();
  void write();
  void append();
  void evict();
  void clean();
  void fault();
  void park();
  void wake();
  void device();
  void forget() {  // what a finished part leaves behind would only multiply states
    me.seen = 0;
    me.frame = me.a = me.b = me.count = me.slot = 0;
  }
};

inline void LatchModel::step(const State& before, unsigned actor, std::vector<State>& next) {
  Context(*this, before, actor, next).run();
}

inline void LatchModel::Context::run() {
  if (me.at == At::end || me.at == At::parked) return;
  if (me.at <= At::give_keep) return start();
  if (me.at <= At::read_validate) return read();
  if (me.at <= At::share_release) return share();
  if (me.at <= At::upgrade_release) return write();
  if (me.at <= At::append_release) return append();
  if (me.at <= At::create_latch) return evict();
  if (me.at <= At::clean_unlatched) return clean();
  if (me.at <= At::fault_submit) return fault();
  if (me.at <= At::parked) return park();
  if (me.at <= At::wake_clear_late) return wake();
  device();
}

inline void LatchModel::Context::start() {
  const unsigned page = me.page;
  if (me.at == At::finish || me.at == At::give_keep) {
    const At then = me.at;
    if (me.keep != Keep::none) --state.keeps[page];
    me.keep = Keep::none;
    forget();
    if (then == At::give_keep) return go(At::park_lock);
    const auto& tasks = model.scenario_.threads[number];
    if (++me.op_index == tasks.size()) return go(At::end);
    me.page = tasks[me.op_index].page;
    return go(At::start);
  }
  const PageWord now = word(page);
  me.seen = static_cast<std::uint32_t>(now.raw());
  if (op() == Op::create) return go(now.free() ? At::create_frame : At::finish);
  if (now.free()) return go(At::finish);
  if (op() == Op::evict) {
    me.target = me.page;
    me.after_evict = At::finish;
    return go(At::evict_start);
  }
  if (op() == Op::write_back) {
    const bool wanted = now.available(Want::share) && now.dirty() && !now.io();
    if (wanted && bug(Bug::write_back_without_latch)) return go(At::clean_unlatched);
    return go(wanted ? At::clean_latch : At::finish);
  }
  if (now.evicted()) return go(op() == Op::free ? At::finish : At::fault_keep);
  At then = At::finish;
  switch (op()) {
    case Op::read:
      me.want = Want::read;
      then = At::read_frame;
      break;
    case Op::share:
      me.want = Want::share;
      then = At::share_latch;
      break;
    case Op::upgrade:
      me.want = Want::share;
      then = At::upgrade_latch;
      break;
    case Op::append:
      me.want = Want::append;
      then = At::append_latch;
      break;
    case Op::free:
      me.want = Want::retire;
      then = At::evict_latch;
      break;
    default:
      me.want = Want::exclusive;
      then = At::write_latch;
      break;
  }
  if (op() == Op::free) {
    me.target = me.page;
    me.after_evict = At::finish;
  }
  const bool blocked = now.blocks(me.want) &&
                       !(op() == Op::write && bug(Bug::exclusive_ignores_append) && now.append()) &&
                       !(op() == Op::write && bug(Bug::exclusive_ignores_shares) && now.readable());
  if (!blocked) return go(then);
  // Who waits for a latch holds nothing, not even a keep count.
  go(me.keep == Keep::none ? At::park_lock : At::give_keep);
}

inline void LatchModel::Context::read() {
  const unsigned page = me.page;
  switch (me.at) {
    case At::read_frame:
      me.frame = state.frame_of[page];
      return go(At::read_a);
    case At::read_a:
      me.a = bytes()[0];
      return go(At::read_b);
    case At::read_b:
      me.b = bytes()[1];
      return go(At::read_count);
    case At::read_count:
      me.count = state.chain_counts[page];
      return go(At::read_slot);
    case At::read_slot:
      me.slot = me.count == 0 ? 1 : state.chain_slots[page][me.count - 1U];
      return go(At::read_validate);
    default:
      break;
  }
  const PageWord seen = unpack(me.seen);
  bool valid = seen.validates(word(page));
  if (bug(Bug::validation_ignores_class)) valid = seen.version() == word(page).version();
  if (bug(Bug::validation_skipped)) valid = true;
  if (valid) {
    check(me.a == me.b, "a validated read is torn");
    check(me.a >> 5 == page + 1U, "a validated read shows bytes of another page, or none");
    check(me.a == state.committed[page], "a validated read shows an older content");
    check(me.slot == 1, "a validated read shows a slot that is not written");
  }
  forget();
  go(valid ? At::finish : At::start);
}

inline void LatchModel::Context::share() {
  const unsigned page = me.page;
  const PageWord now = word(page);
  switch (me.at) {
    case At::share_latch:
      if (!now.available(Want::share)) return go(At::start);
      set(page, now.shared());
      me.frame = state.frame_of[page];
      return go(At::share_check_a);
    case At::share_check_a:
      me.a = bytes()[0];
      return go(At::share_check_b);
    case At::share_check_b:
      me.b = bytes()[1];
      check(me.a == state.committed[page] && me.b == me.a, "a shared latch did not protect a page");
      return go(At::share_release);
    default:
      break;
  }
  forget();
  release(page, now.share_released(), At::finish,
          share_release_unblocks(now) && !bug(Bug::last_share_wakes_nobody));
}

inline void LatchModel::Context::write() {
  const unsigned page = me.page;
  const PageWord now = word(page);
  switch (me.at) {
    case At::upgrade_latch:
      if (!now.available(Want::share)) return go(At::start);
      set(page, now.shared());
      return go(At::upgrade);
    case At::upgrade:
      if ((now.share_count() > 1 && !bug(Bug::upgrade_ignores_shares)) || now.append()) {
        me.want = Want::exclusive;
        return go(At::upgrade_release);
      }
      set(page, now.latched());
      return go(At::write_dirty);
    case At::upgrade_release:
      return release(page, now.share_released(), At::park_lock, share_release_unblocks(now));
    case At::write_latch: {
      bool can = now.available(Want::exclusive);
      if (bug(Bug::exclusive_ignores_append))
        can = can || (now.readable() && now.share_count() == 0);
      if (bug(Bug::exclusive_ignores_shares)) can = can || (now.readable() && !now.append());
      if (!can || !unchanged(page)) return go(At::start);
      set(page, now.latched());
      return go(op() == Op::seal ? At::seal_slot : At::write_dirty);
    }
    case At::write_dirty:
      set(page, now.dirtied());
      me.frame = state.frame_of[page];
      ++state.generations[page];
      me.a = static_cast<std::uint8_t>((page + 1) << 5 | state.generations[page]);
      return go(At::write_a);
    case At::write_a:
      bytes()[0] = me.a;
      return go(At::write_b);
    case At::write_b:
      bytes()[1] = me.a;
      return go(At::write_release);
    case At::seal_slot:
      state.chain_slots[page] = {};
      return go(At::seal_count);
    case At::seal_count:
      state.chain_counts[page] = 0;
      return go(At::write_release);
    default:
      break;
  }
  check(now.exclusive(), "an exclusive latch was taken away");
  if (bug(Bug::release_overwrites_waiter) && me.at == At::write_release) {
    me.seen = state.words[page];
    return go(At::write_release_late);
  }
  if (me.a != 0) state.committed[page] = me.a;
  const PageWord stale = unpack(me.seen);
  const bool late = me.at == At::write_release_late;  // planted: a store of what was loaded before
  forget();
  release(page, release_exclusive(late ? stale : now), At::finish, late ? stale.waiting() : true);
}

inline void LatchModel::Context::append() {
  const unsigned page = me.page;
  const PageWord now = word(page);
  const bool early = bug(Bug::append_publishes_first);
  switch (me.at) {
    case At::append_latch:
      if (!now.available(Want::append) || !unchanged(page)) return go(At::start);
      set(page, now.appending());
      return go(At::append_count);
    case At::append_count:
      me.count = state.chain_counts[page];
      return go(early ? At::append_publish : At::append_slot);
    case At::append_slot:
      check(state.chain_slots[page][me.count] == 0, "a slot is written twice");
      state.chain_slots[page][me.count] = 1;
      return go(early ? At::append_release : At::append_publish);
    case At::append_publish:
      check(state.chain_counts[page] == me.count, "two writers change a chain");
      state.chain_counts[page] = static_cast<std::uint8_t>(me.count + 1);
      return go(early ? At::append_slot : At::append_release);
    default:
      break;
  }
  check(now.readable() && now.append(), "an append bit was taken away");
  forget();
  release(page, now.append_released(), At::finish);
}

// Eviction (me.target, once, whatever the outcome), freeing, and the new life of a freed page.
inline void LatchModel::Context::evict() {
  const unsigned page = me.target;
  const PageWord now = word(page);
  const bool to_free = me.op_index < op_max && number < model.thread_count() && op() == Op::free;
  const auto can = [&](PageWord of) {
    if (to_free) return of.available(Want::retire);
    if (bug(Bug::evict_ignores_dirty)) of = of.cleaned();
    if (bug(Bug::evict_ignores_io)) of = of.memory_gone();
    return of.evictable();
  };
  switch (me.at) {
    case At::evict_start:
      me.seen = static_cast<std::uint32_t>(now.raw());
      if (!can(now)) return go(me.after_evict);
      return go(At::evict_look);
    case At::evict_look:
      // Only the look under X decides. Without this one, evictors that try again and again would
      // change the version under a waiter that has its page, for ever.
      if (state.keeps[page] > 0 && !bug(Bug::evict_ignores_keep)) return go(me.after_evict);
      return go(At::evict_latch);
    case At::evict_latch:
      if (!can(now) || !unchanged(page)) return go(to_free ? At::start : me.after_evict);
      set(page, now.latched());
      return go(At::evict_keep);
    case At::evict_keep: {
      const bool looks = !bug(Bug::evict_ignores_keep) && !bug(Bug::keep_checked_before_latch);
      return go(looks && state.keeps[page] > 0 ? At::evict_abandon : At::evict_retire);
    }
    case At::evict_abandon:
      return release(page, release_exclusive(now), me.after_evict);
    case At::evict_retire: {
      for (unsigned actor = 0; actor < model.thread_count(); ++actor) {
        const Actor& other = state.actors[actor];
        check(other.keep != Keep::held || other.page != page, "memory goes despite a keep count");
      }
      check(state.jobs[page] == Job::none, "memory goes during a transfer");
      PageWord to = to_free ? now.freeing() : now.evicting();
      if (!to_free) check_memory_unchanged(page, "a dirty page is dropped");
      if (to_free) state.committed[page] = 0;
      if (!to_free && bug(Bug::evict_keeps_version)) {
        to = PageWord(to.raw() - PageWord::version_one);
      }
      if (bug(Bug::memory_goes_without_io)) to = to.memory_gone();
      set(page, to);
      return go(At::evict_frame);
    }
    case At::evict_frame:
      me.frame = state.frame_of[page];
      return go(At::evict_memory);
    case At::evict_memory:
      check((state.frames_free >> me.frame & 1U) == 0, "a frame is given up twice");
      bytes() = {garbage, garbage};
      state.frames_free = static_cast<std::uint8_t>(state.frames_free | 1U << me.frame);
      return go(At::evict_finish);
    case At::evict_finish:
      forget();
      return release(page, now.memory_gone(), me.after_evict);
    case At::create_frame:
      if (state.frames_free == 0) return;
      me.frame = static_cast<std::uint8_t>(std::countr_zero(state.frames_free));
      state.frames_free = static_cast<std::uint8_t>(state.frames_free & ~(1U << me.frame));
      return go(At::create_latch);
    default:
      break;
  }
  // At::create_latch
  const PageWord mine = word(me.page);
  if (!mine.available(Want::create)) {
    state.frames_free = static_cast<std::uint8_t>(state.frames_free | 1U << me.frame);
    me.want = Want::create;
    forget();
    return go(mine.blocks(Want::create) ? At::park_lock : At::start);
  }
  set(me.page, mine.latched());
  state.frame_of[me.page] = me.frame;
  go(At::write_dirty);
}

inline void LatchModel::Context::clean() {
  const unsigned page = me.page;
  const PageWord now = word(page);
  const bool latched = !bug(Bug::write_back_without_latch);
  switch (me.at) {
    case At::clean_latch:
      if (!now.available(Want::share)) return go(At::finish);
      set(page, now.shared());
      me.frame = state.frame_of[page];
      return go(At::clean_begin);
    case At::clean_unlatched:  // planted
      if (!now.available(Want::exclusive) || !now.dirty() || now.io()) return go(At::finish);
      set(page, now.writing());
      me.frame = state.frame_of[page];
      return go(At::clean_a);
    case At::clean_begin:
      if (!now.dirty() || now.io()) {
        forget();
        return release(page, now.share_released(), At::finish, share_release_unblocks(now));
      }
      set(page, bug(Bug::clean_after_write) ? now.faulting() : now.writing());
      return go(At::clean_a);
    case At::clean_a:
      me.a = bytes()[0];
      return go(At::clean_b);
    case At::clean_b:
      me.b = bytes()[1];
      return go(latched ? At::clean_release : At::clean_submit);
    case At::clean_release:
      return release(page, now.share_released(), At::clean_submit, share_release_unblocks(now));
    default:
      break;
  }
  check(state.jobs[page] == Job::none, "two transfers of one page at once");
  check(me.a == me.b, "a torn image is written");
  state.jobs[page] = Job::write;
  state.images[page] = {me.a, me.b};
  forget();
  go(At::finish);
}

inline void LatchModel::Context::fault() {
  const unsigned page = me.page;
  const PageWord now = word(page);
  switch (me.at) {
    case At::fault_keep:
      if (me.keep == Keep::none) {
        ++state.keeps[page];
        me.keep = Keep::tentative;
      }
      return go(At::fault_check);
    case At::fault_check:
      // Under X an evictor may already have looked at the count: it does not hold yet.
      if (me.keep == Keep::tentative && (now.exclusive() || now.free())) {
        --state.keeps[page];
        me.keep = Keep::none;
        return go(At::start);
      }
      me.keep = Keep::held;
      me.want = Want::read;
      if (!now.evicted()) return go(At::start);
      return go(now.io() && !bug(Bug::two_faulters_read) ? At::park_lock : At::fault_frame);
    case At::fault_frame:
      if (state.frames_free == 0) {
        if (model.scenario_.page_count == 1) return go(At::start);
        me.target = static_cast<std::uint8_t>(1U - page);
        me.after_evict = At::start;
        return go(At::evict_start);
      }
      me.frame = static_cast<std::uint8_t>(std::countr_zero(state.frames_free));
      state.frames_free = static_cast<std::uint8_t>(state.frames_free & ~(1U << me.frame));
      return go(At::fault_begin);
    case At::fault_begin:
      if (!now.evicted() || (now.io() && !bug(Bug::two_faulters_read))) {
        state.frames_free = static_cast<std::uint8_t>(state.frames_free | 1U << me.frame);
        forget();
        return go(At::start);
      }
      set(page, now.faulting());
      return go(At::fault_submit);
    default:
      break;
  }
  check(state.jobs[page] == Job::none, "two transfers of one page at once");
  state.frame_of[page] = me.frame;
  state.jobs[page] = Job::read;
  forget();
  go(At::park_lock);
}

inline void LatchModel::Context::park() {
  const unsigned page = me.page;
  const PageWord now = word(page);
  const auto enqueue = [&] {
    state.waiters[page] = static_cast<std::uint8_t>(state.waiters[page] | 1U << number);
    state.list_locked = 0;
    forget();
    go(At::parked);
  };
  switch (me.at) {
    case At::park_lock:
      if (state.list_locked != 0) return;
      state.list_locked = 1;
      return go(At::park_mark);
    case At::park_mark:
      if (!now.blocks(me.want)) {
        state.list_locked = 0;
        forget();
        return go(At::start);
      }
      if (bug(Bug::waiter_bit_set_after_check)) return go(At::park_mark_late);
      set(page, now.waited_for());
      return go(At::park_enqueue);
    case At::park_mark_late:  // planted
      set(page, now.waited_for());
      return go(At::park_enqueue);
    default:
      return enqueue();
  }
}

inline void LatchModel::Context::wake() {
  const unsigned page = me.target;
  switch (me.at) {
    case At::wake_lock:
      if (state.list_locked != 0) return;
      state.list_locked = 1;
      return go(At::wake_take);
    case At::wake_take:
      me.woken = state.waiters[page];
      state.waiters[page] = 0;
      if (!bug(Bug::waiter_bit_cleared_after_unlock)) set(page, word(page).nobody_waits());
      return go(At::wake_schedule);
    case At::wake_schedule:
      for (unsigned actor = 0; actor < actor_max; ++actor) {
        if ((me.woken >> actor & 1U) == 0) continue;
        check(state.actors[actor].at == At::parked, "somebody is woken who does not wait");
        state.actors[actor].at = At::start;
      }
      me.woken = 0;
      state.list_locked = 0;
      return go(bug(Bug::waiter_bit_cleared_after_unlock) ? At::wake_clear_late : me.back);
    default:
      break;
  }
  set(page, word(page).nobody_waits());  // planted
  go(me.back);
}

inline void LatchModel::Context::device() {
  const unsigned page = me.page;
  const PageWord now = word(page);
  const bool reads = state.jobs[page] == Job::read;
  const auto done = [&](PageWord to, bool wakes) {
    state.jobs[page] = Job::none;
    state.images[page] = {};
    forget();
    release(page, to, At::device_idle, wakes);
  };
  switch (me.at) {
    case At::device_idle: {
      if (state.jobs[page] == Job::none) return;
      me.frame = state.frame_of[page];
      const Context fresh = *this;
      go(At::device_a);
      if (fresh.state.failures_left == 0) return;
      Context failing(model, fresh.state, number, next);
      --failing.state.failures_left;
      if (reads) {
        failing.state.frames_free =
            static_cast<std::uint8_t>(failing.state.frames_free | 1U << failing.me.frame);
        failing.state.jobs[page] = Job::none;
        failing.forget();
        return failing.release(page, now.faulted(false), At::device_idle,
                               !bug(Bug::failed_fault_wakes_nobody));
      }
      failing.state.jobs[page] = Job::none;
      failing.state.images[page] = {};
      failing.forget();
      return failing.release(page, now.written(bug(Bug::failed_write_stays_clean)),
                             At::device_idle);
    }
    case At::device_a:
      if (reads) {
        bytes()[0] = state.device[page][0];
        if (bug(Bug::publish_before_bytes)) {
          me.b = 1;
          return release(page, now.faulted(true), At::device_b);
        }
      } else {
        state.device[page][0] = state.images[page][0];
      }
      return go(At::device_b);
    case At::device_b:
      if (reads) {
        bytes()[1] = state.device[page][1];
      } else {
        state.device[page][1] = state.images[page][1];
      }
      if (me.b == 1) {  // planted: published already
        state.jobs[page] = Job::none;
        forget();
        return go(At::device_idle);
      }
      return go(At::device_finish);
    default:
      break;
  }
  if (!reads) {
    return done(bug(Bug::clean_after_write) ? now.written(true).cleaned() : now.written(true),
                true);
  }
  check(bytes()[0] == state.committed[page] && bytes()[1] == state.committed[page],
        "a fault brings back something else than what was evicted");
  done(now.faulted(true), true);
}

inline std::string LatchModel::describe(const State& state, unsigned actor) const {
  const Actor& who = state.actors[actor];
  std::string text = actor < thread_count() ? "thread " : "device ";
  text += std::to_string(actor) + " page " + std::to_string(who.page) + " op " +
          std::to_string(who.op_index) + " at " + std::to_string(static_cast<int>(who.at)) +
          " words";
  for (unsigned page = 0; page < scenario_.page_count; ++page) {
    text += " v" + std::to_string(state.words[page] >> 16) + "/" +
            std::to_string(state.words[page] >> 8 & 0xff) + "/" +
            std::to_string(state.words[page] & 0xff);
  }
  return text;
}

inline const char* bug_name(Bug bug) {
  static constexpr const char* names[] = {"none",
                                          "evict_keeps_version",
                                          "release_keeps_version",
                                          "validation_skipped",
                                          "validation_ignores_class",
                                          "evict_ignores_dirty",
                                          "evict_ignores_io",
                                          "evict_ignores_keep",
                                          "keep_checked_before_latch",
                                          "memory_goes_without_io",
                                          "release_overwrites_waiter",
                                          "waiter_bit_set_after_check",
                                          "waiter_bit_cleared_after_unlock",
                                          "last_share_wakes_nobody",
                                          "failed_fault_wakes_nobody",
                                          "publish_before_bytes",
                                          "two_faulters_read",
                                          "clean_after_write",
                                          "write_back_without_latch",
                                          "failed_write_stays_clean",
                                          "exclusive_ignores_append",
                                          "exclusive_ignores_shares",
                                          "upgrade_ignores_shares",
                                          "append_publishes_first"};
  static_assert(std::size(names) == static_cast<std::size_t>(Bug::count_end));
  return names[static_cast<std::size_t>(bug)];
}

}  // namespace firn::model
