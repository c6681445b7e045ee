#include <cstdint>
#include <string>
#include <type_traits>

#include <firn/result.hpp>

#include "support/catch.hpp"

namespace {

firn::Result<int> half(int number) {
  if (number % 2 != 0) return firn::fail(firn::ErrorCode::invalid_argument, "{} is odd", 3);
  return number / 2;
}

firn::Result<std::string> text(int number) {
  FIRN_TRY_ASSIGN(const int halved, half(number));
  FIRN_TRY(half(number));
  return std::to_string(halved);
}

struct Explicit {
  explicit Explicit(int its_number) noexcept : number(its_number) {}
  int number;
};
static_assert(!std::is_convertible_v<int, firn::Result<Explicit>>);
static_assert(std::is_constructible_v<firn::Result<Explicit>, int>);
static_assert(std::is_convertible_v<Explicit, firn::Result<Explicit>>);
static_assert(std::is_convertible_v<const char*, firn::Result<std::string>>);

}  // namespace

TEST_CASE("result: carries a value or an error through the macros", "[base]") {
  REQUIRE(*text(8) == "4");
  const firn::Result<std::string> failed = text(3);
  REQUIRE(failed.error().code == firn::ErrorCode::invalid_argument);
  REQUIRE(failed.error().message() ==
          "invalid_argument: 3 is odd; next: mend the argument and call again");
}

TEST_CASE("result: copies and moves its value", "[base]") {
  firn::Result<std::string> one = std::string(100, 'a');
  firn::Result<std::string> two = one;
  REQUIRE(*one == *two);
  two = firn::fail(firn::ErrorCode::not_found);
  REQUIRE(!two.has_value());
  two = std::move(one);
  REQUIRE(two->size() == 100);
  REQUIRE(std::is_trivially_copyable_v<firn::Result<long>>);
}

TEST_CASE("error: each code has a name and a next step", "[base]") {
  for (int number = 1; number <= 20; ++number) {
    const auto code = static_cast<firn::ErrorCode>(number);
    REQUIRE(firn::name_of(code) != "unknown");
    REQUIRE(!firn::next_step_for(code).empty());
  }
}

TEST_CASE("result: an error tells every table's number in full", "[base]") {
  firn::Error error = firn::fail(firn::ErrorCode::corrupt).error;
  error.place.table = (std::uint64_t{1} << 40) + 5;
  REQUIRE(error.message().find("table 1099511627781") != std::string::npos);
}
