#include "base/yield.hpp"

#ifdef FIRN_PLANTED_BUGS
namespace firn::base {

constinit std::atomic<YieldHook> yield_hook{nullptr};

}  // namespace firn::base
#endif
