// A user's program, the same for every way of linking Firn.
#include <cstdio>
#include <string>

#include <firn/error.hpp>
#include <firn/result.hpp>

int main() {
  const firn::Result<int> refused = firn::fail(firn::ErrorCode::busy);
  const std::string name(firn::name_of(refused.error().code));
  std::printf("%s\n", name.c_str());
  return name == "busy" ? 0 : 1;
}
