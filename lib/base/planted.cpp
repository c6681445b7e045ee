#include "base/planted.hpp"

#ifdef FIRN_PLANTED_BUGS
#include <cstdlib>
#include <cstring>

namespace firn::base {

std::atomic<const char*> active_planted_bug = std::getenv("FIRN_PLANT");

void plant(const char* id) noexcept { active_planted_bug.store(id, std::memory_order_relaxed); }

bool is_planted(const char* active, const char* id) noexcept {
  return std::strcmp(active, id) == 0;
}

}  // namespace firn::base
#endif
