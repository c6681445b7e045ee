#include "base/nearest.hpp"

#include <array>
#include <string>

#include "support/catch.hpp"

namespace {

using firn::base::edit_distance;
using firn::base::nearest;
using firn::base::nearest_meant;

constexpr std::array<const char*, 3> names = {"doctor", "check", "checks"};

}  // namespace

TEST_CASE("nearest: counts letters inserted and removed and replaced and swapped", "[base]") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("doctor", "doctor") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("doctor", "doctr") == 1);
  CHECK(edit_distance("doctor", "doctorr") == 1);
  CHECK(edit_distance("doctor", "doktor") == 1);
  CHECK(edit_distance("doctor", "docotr") == 1);
  CHECK(edit_distance("abcd", "badc") == 2);
  CHECK(edit_distance(std::string(1000, 'a'), std::string(2000, 'b')) == 64);
}

TEST_CASE("nearest: is the first of the names that are fewest edits away", "[base]") {
  CHECK(nearest("docotr", names) == std::string_view("doctor"));
  CHECK(nearest("chec", names) == std::string_view("check"));
  CHECK(nearest("checks", names) == std::string_view("checks"));
  CHECK(nearest("", names) == std::string_view("check"));
}

TEST_CASE("nearest: what was meant is near enough or nothing", "[base]") {
  CHECK(nearest_meant("docotr", names) == "doctor");
  CHECK(nearest_meant("doc", names) == "doctor");
  CHECK(nearest_meant("frobnicate", names).empty());
  CHECK(nearest_meant("x", names).empty());
  CHECK(nearest_meant("", names).empty());
  CHECK(nearest_meant(std::string(100'000, 'x'), names).empty());
}
