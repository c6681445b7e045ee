#include "base/planted.hpp"

#include "support/catch.hpp"

#ifdef FIRN_PLANTED_BUGS
TEST_CASE("planted: only the bug that was planted is active", "[base]") {
  firn::base::plant("base.example");
  REQUIRE(FIRN_PLANTED("base.example"));
  REQUIRE(!FIRN_PLANTED("base.other"));
  firn::base::plant(nullptr);
  REQUIRE(!FIRN_PLANTED("base.example"));
}
#else
TEST_CASE("planted: nothing is planted without FIRN_PLANTED_BUGS", "[base]") {
  REQUIRE(!FIRN_PLANTED("base.example"));
}
#endif
