// The steps of message_model.hpp, in the order in which an operation takes them.
#pragma once

#include <algorithm>
#include <cstring>

#include "model/message_model.hpp"

namespace firn::model::messages {

enum class At : std::uint8_t {
  start,
  root_word,
  chain,
  runs,
  child_word,
  parent,
  leaf_latch,
  leaf_write,
  append_latch,
  append_bytes,
  append_publish,
  append_end,
  stripe_end,
  value,
  claim_child,
  latch_chain,
  seal,
  copy_leaf,
  latch,
  latch_child,
  install,
  next_side,
  latch_end,
  end,
  unclaim,
};

constexpr unsigned side_of(unsigned key) { return key / 2; }
constexpr bool is_leaf(unsigned page) { return page >= leaf_of_side; }

inline State MessageModel::initial() const {
  State state;
  std::memset(static_cast<void*>(&state), 0, sizeof state);
  state.pages[root].child = {left, left};
  for (const unsigned node : {left, right}) {
    state.pages[node].child = {leaf_of_side, leaf_of_side + 1};
  }
  for (Page& page : state.pages) page.resident = 1;
  return state;
}

inline Task MessageModel::task_of(const State& state, unsigned actor) const {
  if (state.prepared < scenario_.before.size()) {
    return actor == 0 ? scenario_.before[state.prepared] : Task{};
  }
  const auto& tasks = scenario_.actors[actor];
  const unsigned index = state.actors[actor].op_index;
  return index < tasks.size() ? tasks[index] : Task{};
}

inline bool MessageModel::ended(const State& state) const {
  for (unsigned actor = 0; actor < actor_count(); ++actor) {
    if (task_of(state, actor).op != Op::none) return false;
  }
  return state.prepared == scenario_.before.size();
}

// The newest number of a run, among those up to `newest`, that holds a message of the key.
inline std::uint8_t newest_in_runs(const Page& page, unsigned key, unsigned watermark,
                                   unsigned newest = 255) {
  std::uint8_t found = 0;
  for (unsigned index = 0; index < page.run_count; ++index) {  // by rising number
    const Run& run = page.runs[index];
    if (run.number > watermark && run.number <= newest && run.seq[key] != 0) found = run.seq[key];
  }
  return found;
}
inline std::uint8_t newest_in_chain(const Page& page, unsigned key) {
  std::uint8_t found = 0;
  for (unsigned index = 0; index < page.chain_count; ++index) {
    if (page.chain[index].key == key && page.chain[index].seq != 0) found = page.chain[index].seq;
  }
  return found;
}

// Every message of a key on its path, from the top, is older than the one before; the first is the
// one last published.
inline void MessageModel::check(const State& state) {
  for (unsigned key = 0; key < key_count; ++key) {
    const unsigned side = side_of(key);
    const unsigned node = state.pages[root].child[side];
    const Page& leaf = state.pages[leaf_of_side + side];
    if (state.pages[root].exclusive || state.pages[node].exclusive || leaf.exclusive) continue;
    unsigned newer = 255;
    unsigned newest = 0;
    const auto pass = [&](unsigned seq) {
      if (seq == 0) return;
      if (seq >= newer) violation_ = "a newer message below an older one, or one twice";
      newer = seq;
      newest = std::max(newest, seq);
    };
    for (const unsigned at : {root, node}) {
      const Page& page = state.pages[at];
      for (unsigned index = page.chain_count; index-- > 0;) {
        if (page.chain[index].key == key) pass(page.chain[index].seq);
      }
      for (unsigned index = page.run_count; index-- > 0;) {
        if (page.runs[index].number > page.watermark[side]) pass(page.runs[index].seq[key]);
      }
    }
    pass(leaf.values[key]);
    if (newest != state.published[key]) violation_ = "a published message is gone";
  }
}

struct MessageModel::Step {
  MessageModel& model;
  State state;
  std::vector<State>& next;
  Task task;
  Actor& me;

  Step(MessageModel& of, const State& before, unsigned actor, std::vector<State>& out)
      : model(of),
        state(before),
        next(out),
        task(of.task_of(before, actor)),
        me(state.actors[actor]) {}

  [[nodiscard]] bool bug(Bug planted) const { return model.bug_ == planted; }
  [[nodiscard]] Page& page() { return state.pages[me.page]; }
  [[nodiscard]] Page& parent() { return state.pages[me.parent]; }
  [[nodiscard]] Page& child() { return state.pages[me.child]; }

  void go(At at) {
    me.at = static_cast<std::uint8_t>(at);
    next.push_back(state);
    model.check(state);
  }
  void finish() {
    const std::uint8_t op_index = me.op_index;
    me = Actor{};
    if (state.prepared < model.scenario_.before.size()) {
      ++state.prepared;
    } else {
      me.op_index = static_cast<std::uint8_t>(op_index + 1);
    }
    go(At::start);
  }
  static bool latched(const Page& page) { return page.exclusive != 0 || page.append != 0; }
  static void release(Page& page) {
    page.exclusive = 0;
    ++page.version;
  }
  // The word of a page that has to be there; false while it is latched.
  bool take_word(unsigned at) {
    Page& taken = state.pages[at];
    if (taken.exclusive != 0) return false;
    taken.resident = 1;  // a read fetches it; the version has moved at the eviction
    me.page = static_cast<std::uint8_t>(at);
    me.version = taken.version;
    return true;
  }
  static bool unchanged(const Page& page, std::uint8_t version) {
    return page.exclusive == 0 && page.version == version && page.resident != 0;
  }
  static void seal(Page& page, unsigned count) {
    Run run{};
    run.number = ++page.run_number;
    for (unsigned index = 0; index < count; ++index) {
      run.seq[page.chain[index].key] = page.chain[index].seq;
    }
    page.runs[page.run_count++] = run;
    page.chain = {};
    page.chain_count = 0;
  }

  void run() {
    switch (task.op) {
      case Op::none:
        return;
      case Op::put:
        return put();
      case Op::read:
        return read();
      case Op::seal:
        return seal_node();
      case Op::flush:
        return flush();
      case Op::split:
        return split();
      case Op::evict:
        return evict();
    }
  }

  // --- descents ---
  [[nodiscard]] std::uint8_t found_in_runs() {
    const unsigned watermark = bug(Bug::watermark_ignored) && task.op == Op::read
                                   ? 0
                                   : page().watermark[side_of(task.what)];
    return newest_in_runs(page(), task.what, watermark);
  }
  // The child's word is taken before the parent is validated; nothing is used before that.
  bool take_child_word() {
    const std::uint8_t parent_page = me.page;
    const std::uint8_t parent_version = me.version;
    if (!take_word(me.child)) return false;
    me.parent = parent_page;
    me.parent_version = parent_version;
    return true;
  }

  void put() {
    const unsigned key = task.what;
    switch (static_cast<At>(me.at)) {
      case At::start:
        if (state.stripe_locked[key] != 0) return;
        if (!bug(Bug::no_stripe)) state.stripe_locked[key] = 1;
        me.seq = ++state.stripe_seq[key];
        return go(At::root_word);
      case At::root_word:
        if (take_word(root)) go(At::chain);
        return;
      case At::chain:
        if (newest_in_chain(page(), key) != 0 && !bug(Bug::place_below_older)) {
          return go(At::append_latch);
        }
        return go(At::runs);
      case At::runs:
        if (found_in_runs() != 0 && !bug(Bug::place_below_older)) return go(At::append_latch);
        if (me.stays_up != 0) return go(At::append_latch);
        me.child = page().child[side_of(key)];
        return go(At::child_word);
      case At::child_word:
        if (child().exclusive != 0) return;
        if (child().resident == 0) return go(At::append_latch);
        if (is_leaf(me.child)) {
          return go(model.scenario_.leaf_direct ? At::leaf_latch : At::append_latch);
        }
        static_cast<void>(take_child_word());
        return go(At::parent);
      case At::parent:
        return go(unchanged(parent(), me.parent_version) ? At::chain : At::root_word);
      case At::leaf_latch:
        if (child().exclusive != 0) return;
        if (child().resident == 0) return go(At::append_latch);
        child().exclusive = 1;
        return go(At::leaf_write);
      case At::leaf_write:
        child().exclusive = 0;
        if (!unchanged(page(), me.version)) return go(At::root_word);
        child().values[key] = me.seq;
        ++child().version;
        publish();
        return go(At::stripe_end);
      case At::append_latch:
        if (!bug(Bug::append_ignores_version) && page().version != me.version) {
          return go(At::root_word);
        }
        if (latched(page())) return;
        if (page().resident == 0) return go(At::root_word);
        if (page().chain_count == chain_max) {  // one level higher; a root always has room
          if (me.page == root) return;
          me.stays_up = 1;
          return go(At::root_word);
        }
        page().append = 1;
        me.number = page().chain_count;
        return go(At::append_bytes);
      case At::append_bytes:
        if (bug(Bug::append_publishes_first)) {
          page().chain_count = static_cast<std::uint8_t>(me.number + 1);
          publish();
        } else {
          page().chain[me.number] = {task.what, me.seq};
        }
        return go(At::append_publish);
      case At::append_publish:
        if (bug(Bug::append_publishes_first)) {
          page().chain[me.number] = {task.what, me.seq};
        } else {
          page().chain_count = static_cast<std::uint8_t>(me.number + 1);
          publish();
        }
        return go(At::append_end);
      case At::append_end:
        page().append = 0;
        return go(At::stripe_end);
      case At::stripe_end:
        state.stripe_locked[key] = 0;
        return finish();
      default:
        return;
    }
  }
  void publish() {
    std::uint8_t& published = state.published[task.what];
    published = std::max(published, me.seq);
  }

  void read() {
    const unsigned key = task.what;
    switch (static_cast<At>(me.at)) {
      case At::start:
        me.floor = state.published[key];
        return go(At::root_word);
      case At::root_word:
        if (take_word(root)) go(At::chain);
        return;
      case At::chain:
        me.seq = newest_in_chain(page(), key);
        return go(me.seq != 0 ? At::end : At::runs);
      case At::runs:
        me.seq = found_in_runs();
        if (me.seq != 0) return go(At::end);
        me.child = page().child[side_of(key)];
        return go(At::child_word);
      case At::child_word:
        if (!take_child_word()) return;
        if (bug(Bug::parent_not_validated)) return go(is_leaf(me.page) ? At::value : At::chain);
        return go(At::parent);
      case At::parent:
        if (!unchanged(parent(), me.parent_version)) return go(At::root_word);
        return go(is_leaf(me.page) ? At::value : At::chain);
      case At::value:
        me.seq = page().values[key];
        return go(At::end);
      case At::end:
        if (!unchanged(page(), me.version)) return go(At::root_word);
        if (me.seq < me.floor)
          model.violation_ = "a read returns an older message than an earlier one";
        if (me.seq > state.published[key])
          model.violation_ = "a read returns what nobody published";
        return finish();
      default:
        return;
    }
  }

  // --- under a claim: one holder at a time, and who holds one never waits for another ---
  bool claim(unsigned at) {
    if (state.pages[at].claimed != 0) return false;
    state.pages[at].claimed = 1;
    return true;
  }
  bool latch(Page& page) {
    if (page.exclusive != 0) return false;
    if (page.append != 0 && !bug(Bug::seal_ignores_append)) return false;
    page.exclusive = 1;
    return true;
  }

  void seal_node() {
    me.page = task.what;
    switch (static_cast<At>(me.at)) {
      case At::start:
        if (!claim(me.page)) return finish();
        return go(At::latch);
      case At::latch:
        if (latch(page())) go(At::seal);
        return;
      case At::seal:
        if (page().chain_count != 0) {
          seal(page(), page().chain_count - (bug(Bug::seal_loses_newest) ? 1U : 0U));
        }
        release(page());
        return go(At::unclaim);
      case At::unclaim:
        page().claimed = 0;
        return finish();
      default:
        return;
    }
  }

  void flush() {
    me.page = task.what;
    switch (static_cast<At>(me.at)) {
      case At::start:
        if (page().run_count == 0 || page().resident == 0 || !claim(me.page)) return finish();
        me.number = page().runs[page().run_count - 1U].number;
        for (const int first : {0, 1}) {  // either side may come first
          me.side = static_cast<std::uint8_t>(first);
          me.sides_left = 1;
          go(me.page == root ? At::claim_child : At::copy_leaf);
        }
        return;
      case At::claim_child:
        me.child = page().child[me.side];
        if (!claim(me.child)) return go(At::next_side);
        return go(child().chain_count != 0 && !bug(Bug::flush_without_seal) ? At::latch_chain
                                                                            : At::latch);
      case At::latch_chain:
        child().resident = 1;
        if (latch(child())) go(At::seal);
        return;
      case At::seal:
        if (child().chain_count != 0) seal(child(), child().chain_count);
        release(child());
        return go(At::latch);
      case At::copy_leaf:
        me.child = static_cast<std::uint8_t>(leaf_of_side + me.side);
        if (child().exclusive != 0) return;
        child().resident = 1;
        me.version = child().version;
        me.copy = child().values;
        return go(At::latch);
      case At::latch:
        if (latch(page())) go(At::latch_child);
        return;
      case At::latch_child:
        if (latch(child())) go(At::install);
        return;
      case At::install:
        child().resident = 1;
        return install();
      case At::next_side:
        if (me.sides_left != 0 && page().watermark[1 - me.side] < me.number) {
          Step other(*this);
          other.me.sides_left = 0;
          other.me.side = static_cast<std::uint8_t>(1 - me.side);
          other.go(other.me.page == root ? At::claim_child : At::copy_leaf);
        }
        go(At::latch_end);  // a flush may end early
        return;
      case At::latch_end:
        if (latch(page())) go(At::end);
        return;
      case At::end: {
        unsigned done = std::min(page().watermark[0], page().watermark[1]);
        if (me.page == left && state.pages[root].child[1] == right) done = page().watermark[0];
        if (me.page == right) done = page().watermark[1];
        if (bug(Bug::runs_dropped_early)) done = me.number;
        drop_runs(page(), done);
        release(page());
        return go(At::unclaim);
      }
      case At::unclaim:
        page().claimed = 0;
        return finish();
      default:
        return;
    }
  }
  Step(const Step& other)
      : model(other.model),
        state(other.state),
        next(other.next),
        task(other.task),
        me(state.actors[static_cast<std::size_t>(&other.me - other.state.actors.data())]) {}

  static void drop_runs(Page& page, unsigned watermark) {
    std::array<Run, run_max> kept{};
    unsigned count = 0;
    for (unsigned index = 0; index < page.run_count; ++index) {
      if (page.runs[index].number > watermark) kept[count++] = page.runs[index];
    }
    page.runs = kept;
    page.run_count = static_cast<std::uint8_t>(count);
  }

  void install() {
    Page& from = page();
    Page& to = child();
    const unsigned watermark_step = bug(Bug::watermark_off_by_one) ? 1 : 0;
    Run run{};
    for (unsigned key = 0; key < key_count; ++key) {
      if (me.page == root ? from.child[side_of(key)] != me.child : side_of(key) != me.side)
        continue;
      run.seq[key] = newest_in_runs(from, key, from.watermark[side_of(key)], me.number);
    }
    if (is_leaf(me.child)) {
      if (to.version == me.version || bug(Bug::leaf_version_ignored)) to.values = me.copy;
      for (unsigned key = 0; key < key_count; ++key) {
        if (run.seq[key] != 0) to.values[key] = run.seq[key];
      }
    } else {
      run.number = ++to.run_number;
      to.runs[to.run_count++] = run;
      to.claimed = 0;
    }
    for (unsigned side = 0; side < 2; ++side) {
      if (me.page == root ? from.child[side] == me.child : side == me.side) {
        from.watermark[side] = static_cast<std::uint8_t>(me.number + watermark_step);
      }
    }
    release(to);
    release(from);
    go(At::next_side);
  }

  void split() {
    me.page = left;
    switch (static_cast<At>(me.at)) {
      case At::start:
        if (page().resident == 0 || !claim(left)) return finish();
        return go(At::latch);
      case At::latch:  // top-down
        if (latch(state.pages[root])) go(At::latch_child);
        return;
      case At::latch_child:
        if (latch(page())) go(At::install);
        return;
      case At::install: {
        Page& half = state.pages[right];
        const Page whole = page();
        half = whole;
        half.claimed = 0;
        if (!bug(Bug::split_keeps_chain)) keep_side(half, whole, 1);
        keep_side(page(), whole, 0);
        if (bug(Bug::split_keeps_chain)) {
          page().chain = whole.chain;
          page().chain_count = whole.chain_count;
          half.chain = {};
          half.chain_count = 0;
        }
        if (bug(Bug::split_resets_watermark)) half.watermark = {};
        state.pages[root].child[1] = right;
        release(half);
        release(page());
        release(state.pages[root]);
        return go(At::unclaim);
      }
      case At::unclaim:
        page().claimed = 0;
        return finish();
      default:
        return;
    }
  }
  static void keep_side(Page& half, const Page& whole, unsigned side) {
    half.chain = {};
    half.chain_count = 0;
    for (unsigned index = 0; index < whole.chain_count; ++index) {
      if (side_of(whole.chain[index].key) == side)
        half.chain[half.chain_count++] = whole.chain[index];
    }
    for (unsigned index = 0; index < whole.run_count; ++index) {
      for (unsigned key = 0; key < key_count; ++key) {
        if (side_of(key) != side) half.runs[index].seq[key] = 0;
      }
    }
  }

  void evict() {
    me.page = task.what;
    switch (static_cast<At>(me.at)) {
      case At::start:
        if (!is_leaf(me.page) && !claim(me.page)) return finish();
        return go(At::latch);
      case At::latch:
        if (latch(page())) go(At::end);
        return;
      case At::end:
        if (page().chain_count != 0) {
          seal(page(), page().chain_count);
          if (bug(Bug::evict_drops_chain)) --page().run_count;
        }
        page().resident = 0;
        release(page());
        return go(At::unclaim);
      case At::unclaim:
        page().claimed = 0;
        return finish();
      default:
        return;
    }
  }
};

inline void MessageModel::step(const State& before, unsigned actor, std::vector<State>& next) {
  Step(*this, before, actor, next).run();
}

inline std::string MessageModel::describe(const State& state, unsigned actor) const {
  static constexpr const char* names[] = {"none", "put", "read", "seal", "flush", "split", "evict"};
  const Task task = task_of(state, actor);
  const Actor& me = state.actors[actor];
  return "actor " + std::to_string(actor) + ": " + names[static_cast<unsigned>(task.op)] + ' ' +
         std::to_string(task.what) + ", step " + std::to_string(me.at) + ", page " +
         std::to_string(me.page);
}

inline const char* bug_name(Bug bug) {
  static constexpr const char* names[] = {
      "none",
      "place-below-older",
      "append-ignores-version",
      "append-publishes-first",
      "no-stripe",
      "seal-ignores-append",
      "seal-loses-newest",
      "flush-without-seal",
      "watermark-off-by-one",
      "watermark-ignored",
      "runs-dropped-early",
      "leaf-version-ignored",
      "split-keeps-chain",
      "split-resets-watermark",
      "parent-not-validated",
      "evict-drops-chain",
  };
  static_assert(std::size(names) == static_cast<unsigned>(Bug::count_end));
  return names[static_cast<unsigned>(bug)];
}

}  // namespace firn::model::messages
