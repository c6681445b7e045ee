// Yield points: FIRN_YIELD("place") marks a point inside a critical section at which a test lets
// something else run, in the same thread, so that others find the latch held and park. Only test
// builds (FIRN_PLANTED_BUGS) contain them; in the library the macro is nothing.
//
// A point is never inside a bucket's mutex or between two halves of a change: whatever the hook
// runs sees a consistent state under the latches that are held here.
#pragma once

#ifdef FIRN_PLANTED_BUGS
#include <atomic>

namespace firn::base {

using YieldHook = void (*)(const char* place) noexcept;

/// What yield points call, or null. Set while no operation runs.
extern std::atomic<YieldHook> yield_hook;

inline void yield_at(const char* place) noexcept {
  if (YieldHook hook = yield_hook.load(std::memory_order_relaxed)) hook(place);
}

}  // namespace firn::base

#define FIRN_YIELD(place) ::firn::base::yield_at(place)
#else
#define FIRN_YIELD(place) static_cast<void>(0)
#endif
