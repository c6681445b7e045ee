#include <firn/buffer.hpp>

#include <limits>
#include <string>
#include <type_traits>

#include "codec/support.hpp"
#include "support/catch.hpp"

using firn::Buffer;
using firn::Bytes;
using firn::ErrorCode;

static_assert(!std::is_copy_constructible_v<Buffer> && !std::is_copy_assignable_v<Buffer>);
static_assert(std::is_nothrow_move_constructible_v<Buffer>);

TEST_CASE("buffer: what is appended is there - in order", "[codec]") {
  Buffer buffer;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece(static_cast<std::size_t>(i % 17), static_cast<char>('a' + i % 26));
    REQUIRE(buffer.append(Bytes(piece)));
    expected += piece;
  }
  REQUIRE(buffer.view() == Bytes(expected));
  buffer.truncate(5);
  REQUIRE(buffer.view() == Bytes(expected).first(5));
}

TEST_CASE("bytes: an array of text ends at its first zero or where the array ends", "[codec]") {
  struct {
    char full[4] = {'f', 'u', 'l', 'l'};
    char after[4] = {'n', 'o', '!', 0};
  } text;
  REQUIRE(Bytes(text.full).text() == "full");
  char part[16] = "part";
  REQUIRE(Bytes(part).text() == "part");
  REQUIRE(Bytes("").empty());
  REQUIRE(Bytes(std::string_view("a\0b", 3)).size() == 3);
}

TEST_CASE("buffer: clearing keeps the memory - so a warm buffer does not allocate", "[codec]") {
  Buffer buffer;
  REQUIRE(buffer.append(Bytes(std::string(500, 'x'))));
  const std::byte* memory = buffer.data();
  const std::size_t capacity = buffer.capacity();
  for (int i = 0; i < 100; ++i) {
    buffer.clear();
    REQUIRE(buffer.empty());
    REQUIRE(buffer.append(Bytes(std::string(500, 'y'))));
  }
  REQUIRE(buffer.data() == memory);
  REQUIRE(buffer.capacity() == capacity);
}

TEST_CASE("buffer: moving leaves an empty one that can be used", "[codec]") {
  Buffer first;
  REQUIRE(first.append("one"));
  Buffer second(std::move(first));
  REQUIRE(second.view() == Bytes("one"));
  Buffer third;
  REQUIRE(third.append("three"));
  third = std::move(second);
  REQUIRE(third.view() == Bytes("one"));
  REQUIRE(second.empty());
  REQUIRE(second.append("again"));
  REQUIRE(second.view() == Bytes("again"));
}

TEST_CASE("buffer: growth that fails is no_memory and changes nothing", "[codec]") {
  Buffer buffer;
  REQUIRE(buffer.append("kept"));
  const volatile std::size_t too_much = std::numeric_limits<std::size_t>::max();
  for (const std::size_t count : {std::size_t{too_much}, std::size_t{too_much} / 2}) {
    const auto extended = buffer.extend(count);
    REQUIRE_FALSE(extended);
    REQUIRE(extended.error().code == ErrorCode::no_memory);
    REQUIRE_FALSE(buffer.reserve(count));
  }
  // The system refuses this one; sanitizers would stop the process instead.
  if (!codec_test::under_sanitizer) REQUIRE_FALSE(buffer.reserve(std::size_t{too_much} / 8));
  REQUIRE(buffer.view() == Bytes("kept"));
}
