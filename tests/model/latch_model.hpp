// The protocol of a page's state word as a small concurrent program for explore.hpp: optimistic and
// shared readers, writers, upgraders, appenders, write-back, eviction, faults, freeing, reuse,
// parking.
//
// Memory is an arena: a frame given up by one page is taken by another, so that a late reader sees
// bytes of another page. A page's content is two halves (torn contents differ), each naming page
// and generation. The device writes and reads half by half. Each step touches one shared word; what
// the lock of the waiter list protects is touched in the step that releases the lock.
//
// The words and their transitions are those of lib/buffer/page_word.hpp; the order of the steps is
// what page_state.hpp and the pool do.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "buffer/page_word.hpp"

namespace firn::model {

using buffer::PageWord;
using buffer::Want;

/// Mistakes to plant; the model must find each one.
enum class Bug : std::uint8_t {
  none,
  evict_keeps_version,
  release_keeps_version,
  validation_skipped,
  validation_ignores_class,
  evict_ignores_dirty,
  evict_ignores_io,
  evict_ignores_keep,
  keep_checked_before_latch,
  memory_goes_without_io,
  release_overwrites_waiter,
  waiter_bit_set_after_check,
  waiter_bit_cleared_after_unlock,
  last_share_wakes_nobody,
  failed_fault_wakes_nobody,
  publish_before_bytes,
  two_faulters_read,
  clean_after_write,
  write_back_without_latch,
  failed_write_stays_clean,
  exclusive_ignores_append,
  exclusive_ignores_shares,
  upgrade_ignores_shares,
  append_publishes_first,
  count_end,
};
const char* bug_name(Bug bug);

enum class Op : std::uint8_t {
  none,
  read,
  share,
  write,
  seal,
  upgrade,
  append,
  evict,
  free,
  create,
  write_back
};

constexpr unsigned page_max = 2;
constexpr unsigned frame_max = 2;
constexpr unsigned thread_max = 4;
constexpr unsigned op_max = 3;
constexpr unsigned slot_max = 3;
constexpr unsigned actor_max = thread_max + page_max;

struct Task {
  Op op = Op::none;
  std::uint8_t page = 0;
};

struct Scenario {
  const char* name;
  unsigned page_count;
  unsigned frame_count;
  unsigned resident_count;  // pages 0 to n-1 begin in the frames of the same numbers
  unsigned failure_count;   // device requests that may fail
  std::vector<std::vector<Task>> threads;
};

enum class At : std::uint8_t {
  start,
  finish,
  give_keep,
  end,
  read_frame,
  read_a,
  read_b,
  read_count,
  read_slot,
  read_validate,
  share_latch,
  share_check_a,
  share_check_b,
  share_release,
  write_latch,
  write_dirty,
  write_a,
  write_b,
  seal_slot,
  seal_count,
  write_release,
  write_release_late,
  upgrade_latch,
  upgrade,
  upgrade_release,
  append_latch,
  append_count,
  append_slot,
  append_publish,
  append_release,
  evict_start,
  evict_look,
  evict_latch,
  evict_keep,
  evict_abandon,
  evict_retire,
  evict_frame,
  evict_memory,
  evict_finish,
  evict_end,
  create_frame,
  create_latch,
  clean_latch,
  clean_begin,
  clean_a,
  clean_b,
  clean_release,
  clean_submit,
  clean_unlatched,
  fault_keep,
  fault_check,
  fault_frame,
  fault_begin,
  fault_begin_late,
  fault_submit,
  park_lock,
  park_mark,
  park_mark_late,
  park_enqueue,
  parked,
  wake_lock,
  wake_take,
  wake_schedule,
  wake_clear_late,
  device_idle,
  device_a,
  device_b,
  device_finish,
  device_clean_late,
};

enum class Job : std::uint8_t { none, read, write };
enum class Keep : std::uint8_t { none, tentative, held };

struct Actor {
  std::uint32_t seen;  // word an optimistic step relies on
  At at;
  At back;  // where a wake-up or an eviction returns to
  At after_evict;
  Want want;
  Keep keep;
  std::uint8_t op_index, frame, a, b, count, slot, target;
  std::uint8_t woken;  // actors taken off the list
  std::uint8_t page, spare0, spare1;
};

struct State {
  std::array<Actor, actor_max> actors;
  std::array<std::uint32_t, page_max> words;  // version 16, then the low half of a PageWord
  std::array<std::array<std::uint8_t, 2>, frame_max> frames;
  std::array<std::array<std::uint8_t, 2>, page_max> device;
  std::array<std::array<std::uint8_t, slot_max>, page_max> chain_slots;
  std::array<std::uint8_t, page_max> chain_counts;
  std::array<std::uint8_t, page_max> keeps;
  std::array<std::uint8_t, page_max> frame_of;
  std::array<std::uint8_t, page_max>
      committed;  // what the page holds, as its users see it; 0 = freed
  std::array<std::uint8_t, page_max> generations;
  std::array<std::uint8_t, page_max> waiters;  // a set of actors
  std::array<Job, page_max> jobs;
  std::array<std::array<std::uint8_t, 2>, page_max> images;
  std::uint8_t frames_free;  // a set
  std::uint8_t list_locked;
  std::uint8_t failures_left;
  std::uint8_t spare0;
};

class LatchModel {
 public:
  LatchModel(const Scenario& scenario, Bug bug) : scenario_(scenario), bug_(bug) {}

  [[nodiscard]] State initial() const;
  [[nodiscard]] unsigned actor_count() const { return thread_count() + scenario_.page_count; }
  void step(const State& before, unsigned actor, std::vector<State>& next);
  [[nodiscard]] bool ended(const State& state) const;
  [[nodiscard]] const char* violation() const { return violation_; }
  [[nodiscard]] std::string describe(const State& state, unsigned actor) const;

 private:
  struct Context;  // one step of one actor
  friend struct Context;
  [[nodiscard]] unsigned thread_count() const {
    return static_cast<unsigned>(scenario_.threads.size());
  }

  const Scenario& scenario_;
  Bug bug_;
  const char* violation_ = nullptr;
};

}  // namespace firn::model
