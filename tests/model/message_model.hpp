// The protocol of buffered interior nodes as a small concurrent program for explore.hpp: puts that
// append to the deepest node they may, seals, flushes, a split, eviction, readers.
//
// A root over one node over two leaves of two keys each; the node may be split in two. A message is
// a sequence number. What the page's state word and the pool do is modelled in latch_model.hpp;
// here a word is {version, exclusive, append} and one step touches what one load, store or exchange
// touches, or what an exclusive latch covers. docs/concurrency.md, "Messages", names the rules.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace firn::model::messages {

/// Mistakes to plant; the model must find each one.
enum class Bug : std::uint8_t {
  none,
  place_below_older,       // a put goes down past an older message of its key
  append_ignores_version,  // appends to a node that changed since the put was routed
  append_publishes_first,  // count before bytes
  no_stripe,               // puts of one key are not ordered at all
  seal_ignores_append,     // takes the node while somebody appends
  seal_loses_newest,       // the run lacks the chain's last message
  flush_without_seal,      // installs above messages that are newer
  watermark_off_by_one,    // hides a run that comes later
  watermark_ignored,       // by readers
  runs_dropped_early,      // before every child has them
  leaf_version_ignored,    // installs an image built of an older leaf
  split_keeps_chain,       // messages of the right half stay in the left node
  split_resets_watermark,  // the right half sees what its leaf already has
  parent_not_validated,    // a reader trusts a child that it may not have been led to
  evict_drops_chain,       // without sealing it
  count_end,
};
const char* bug_name(Bug bug);

enum class Op : std::uint8_t { none, put, read, seal, flush, split, evict };

constexpr unsigned key_count = 4;
constexpr unsigned root = 0;          // its children are left and right, by side
constexpr unsigned left = 1;          // its children are the leaves, by side
constexpr unsigned right = 2;         // once left was split
constexpr unsigned leaf_of_side = 3;  // 3 and 4
constexpr unsigned page_max = 5;
constexpr unsigned actor_max = 4;
constexpr unsigned op_max = 2;
constexpr unsigned chain_max = 2;
constexpr unsigned run_max = 3;

struct Task {
  Op op = Op::none;
  std::uint8_t what = 0;  // a key for puts and reads, else a page
};

struct Scenario {
  const char* name;
  bool leaf_direct;          // puts may go straight into leaves that are there
  std::vector<Task> before;  // done one after another first
  std::vector<std::vector<Task>> actors;
};

struct Message {
  std::uint8_t key;
  std::uint8_t seq;  // 0: not written yet
};

struct Run {
  std::uint8_t number;
  std::array<std::uint8_t, key_count> seq;  // 0: none of that key
};

struct Page {
  std::uint8_t version;
  std::uint8_t exclusive;
  std::uint8_t append;
  std::uint8_t claimed;
  std::uint8_t resident;
  std::uint8_t chain_count;
  std::uint8_t run_count;
  std::uint8_t run_number;  // the newest given out
  std::array<Message, chain_max> chain;
  std::array<Run, run_max> runs;
  std::array<std::uint8_t, 2> child;           // by side
  std::array<std::uint8_t, 2> watermark;       // by side: older runs and itself are hidden
  std::array<std::uint8_t, key_count> values;  // of a leaf
};

struct Actor {
  std::uint8_t at;  // the next step
  std::uint8_t op_index;
  std::uint8_t page;  // where it is
  std::uint8_t parent;
  std::uint8_t version;  // of page, as taken
  std::uint8_t parent_version;
  std::uint8_t seq;    // a put's own, or what a reader found
  std::uint8_t floor;  // a reader must not find an older one
  std::uint8_t side;
  std::uint8_t number;                       // the newest run of a flush's inputs
  std::array<std::uint8_t, key_count> copy;  // a leaf as a flush has read it
  std::uint8_t child;
  std::uint8_t sides_left;  // of a flush
  std::uint8_t stays_up;    // a put found no room below the root
};

struct State {
  std::array<Page, page_max> pages;
  std::array<std::uint8_t, key_count> stripe_locked;
  std::array<std::uint8_t, key_count> stripe_seq;
  std::array<std::uint8_t, key_count> published;
  std::array<Actor, actor_max> actors;
  std::uint8_t prepared;  // how many of Scenario::before are done
};
static_assert(sizeof(State) % 4 == 0);

class MessageModel {
 public:
  MessageModel(const Scenario& scenario, Bug bug) : scenario_(scenario), bug_(bug) {}

  [[nodiscard]] State initial() const;
  [[nodiscard]] unsigned actor_count() const {
    return static_cast<unsigned>(scenario_.actors.size());
  }
  void step(const State& before, unsigned actor, std::vector<State>& next);
  [[nodiscard]] bool ended(const State& state) const;
  [[nodiscard]] const char* violation() const { return violation_; }
  [[nodiscard]] std::string describe(const State& state, unsigned actor) const;

 private:
  struct Step;
  [[nodiscard]] Task task_of(const State& state, unsigned actor) const;
  void check(const State& state);

  const Scenario& scenario_;
  Bug bug_;
  const char* violation_ = nullptr;
};

}  // namespace firn::model::messages
