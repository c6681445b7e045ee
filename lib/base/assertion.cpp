#include <firn/assertion.hpp>

#include <cstdio>
#include <cstdlib>

namespace firn::detail {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "firn: assertion failed: %s (%s:%d)\n", expression, file, line);
  std::fflush(stderr);
  std::abort();
}

}  // namespace firn::detail
