// Planted bugs: FIRN_PLANTED("id") marks a place that misbehaves while the bug of that id is
// active, which shows that a harness would notice it. Only test builds (FIRN_PLANTED_BUGS) contain
// them; in the library the macro is `false`. At most one bug is active in a process.
#pragma once

#ifdef FIRN_PLANTED_BUGS
#include <atomic>

namespace firn::base {

/// The id of the active bug, or null. Set from the environment variable FIRN_PLANT at start.
extern std::atomic<const char*> active_planted_bug;

/// Activates the bug `id`, a string that outlives the use, or none (null). Any thread may call it.
void plant(const char* id) noexcept;
[[nodiscard]] bool is_planted(const char* active, const char* id) noexcept;

[[nodiscard]] inline bool planted(const char* id) noexcept {
  const char* active = active_planted_bug.load(std::memory_order_relaxed);
  return active != nullptr && is_planted(active, id);
}

}  // namespace firn::base

#define FIRN_PLANTED(id) ::firn::base::planted(id)
#else
#define FIRN_PLANTED(id) false
#endif
