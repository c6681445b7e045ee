#include <firn/codec.hpp>

#include <algorithm>
#include <limits>
#include <tuple>

#include "codec/support.hpp"
#include "support/catch.hpp"

using namespace std::literals;
using firn::Bytes;
using firn::ErrorCode;
using namespace codec_test;

namespace {

#ifdef FIRN_DEBUG
constexpr int pairs_per_type = 4'000;
#else
constexpr int pairs_per_type = 20'000;
#endif

enum class Signed : std::int16_t {};
enum class Unsigned : std::uint32_t {};

struct Composite {
  std::string name;
  std::int32_t number = 0;
  std::optional<std::string> maybe;
  std::array<std::string, 2> parts;
  double ratio = 0;
  std::vector<std::byte> tail;
  auto tie() const { return std::tie(name, number, maybe, parts, ratio, tail); }
};
using CompositeCodec = firn::OrderedFields<&Composite::name, &Composite::number, &Composite::maybe,
                                           &Composite::parts, &Composite::ratio, &Composite::tail>;

std::vector<std::byte> to_vector(const std::string& text) {
  const Bytes bytes(text);
  return {bytes.begin(), bytes.end()};
}

Composite random_composite(Random& random) {
  Composite value;
  value.name = random_text(random, 2);
  value.number = random_integer<std::int32_t>(random);
  if (random() % 3 != 0) value.maybe = random_text(random, 2);
  value.parts = {random_text(random, 2), random_text(random, 1)};
  value.ratio = random_float<double>(random);
  value.tail = to_vector(random_text(random, 3));
  return value;
}

// A key that differs from `value` in its later fields only, so that those decide as well.
Composite random_neighbour(Random& random, const Composite& value) {
  Composite other = random_composite(random);
  const std::uint64_t shared = random() % 6;
  if (shared > 0) other.name = value.name;
  if (shared > 1) other.number = value.number;
  if (shared > 2) other.maybe = value.maybe;
  if (shared > 3) other.parts = value.parts;
  if (shared > 4) other.ratio = value.ratio;
  return other;
}

// Both ways, and equality too.
template <class Codec, class T, class Less>
void require_same_order(const T& left, const T& right, Less less) {
  const std::string left_bytes = encoded<Codec>(left);
  const std::string right_bytes = encoded<Codec>(right);
  INFO(Catch::Detail::stringify(left_bytes) << " and " << Catch::Detail::stringify(right_bytes));
  REQUIRE((Bytes(left_bytes) < Bytes(right_bytes)) == less(left, right));
  REQUIRE((Bytes(right_bytes) < Bytes(left_bytes)) == less(right, left));
  T back{};
  REQUIRE(decode<Codec>(left_bytes, back));
  REQUIRE_FALSE(less(back, left));
  REQUIRE_FALSE(less(left, back));
  REQUIRE(encoded<Codec>(back) == left_bytes);
}

template <class T, class Make>
void require_order_kept(Make make) {
  INFO("seed " << seed);
  Random random(seed);
  for (int round = 0; round < pairs_per_type; ++round) {
    require_same_order<firn::OrderedSingleField<T>>(make(random), make(random), std::less<T>());
  }
}

// The order of a field inside a key, and that no encoding of it begins another one.
template <class T>
struct Inner {
  T value{};
  std::uint8_t next = 0;
};

template <class T, class Make>
void require_prefix_free(Make make) {
  using Codec = firn::OrderedFields<&Inner<T>::value, &Inner<T>::next>;
  INFO("seed " << seed);
  Random random(seed);
  const auto less = [](const Inner<T>& left, const Inner<T>& right) {
    return std::tie(left.value, left.next) < std::tie(right.value, right.next);
  };
  for (int round = 0; round < pairs_per_type; ++round) {
    const Inner<T> left{make(random), static_cast<std::uint8_t>(random())};
    const Inner<T> right{make(random), static_cast<std::uint8_t>(random())};
    require_same_order<Codec>(left, right, less);
    const std::string left_bytes = encoded<Codec>(left);
    const std::string right_bytes = encoded<Codec>(right);
    const std::string_view left_field(left_bytes.data(), left_bytes.size() - 1);
    const std::string_view right_field(right_bytes.data(), right_bytes.size() - 1);
    if (left_field != right_field) REQUIRE_FALSE(left_field.starts_with(right_field));
  }
}

template <class T>
void require_integer() {
  require_order_kept<T>(random_integer<T>);
  require_prefix_free<T>(random_integer<T>);
}

std::vector<std::byte> random_bytes(Random& random) { return to_vector(random_text(random)); }
std::vector<std::uint8_t> random_octets(Random& random) {
  const std::string text = random_text(random);
  return {text.begin(), text.end()};
}
std::string random_string(Random& random) { return random_text(random); }
template <class T, T make_one(Random&)>
std::optional<T> random_optional(Random& random) {
  if (random() % 4 == 0) return std::nullopt;
  return make_one(random);
}
template <class E>
E random_enum(Random& random) {
  return static_cast<E>(random_integer<std::underlying_type_t<E>>(random));
}

}  // namespace

TEST_CASE("key order: integers sort as integers", "[codec]") {
  require_integer<std::uint8_t>();
  require_integer<std::int8_t>();
  require_integer<std::uint16_t>();
  require_integer<std::int16_t>();
  require_integer<std::uint32_t>();
  require_integer<std::int32_t>();
  require_integer<std::uint64_t>();
  require_integer<std::int64_t>();
}

TEST_CASE("key order: bools - bytes and enums sort as their integers", "[codec]") {
  const auto random_bool = [](Random& random) { return random() % 2 == 0; };
  const auto random_byte = [](Random& random) { return static_cast<std::byte>(random()); };
  require_order_kept<bool>(random_bool);
  require_order_kept<std::byte>(random_byte);
  require_order_kept<Signed>(random_enum<Signed>);
  require_order_kept<Unsigned>(random_enum<Unsigned>);
  require_prefix_free<bool>(random_bool);
  require_prefix_free<Signed>(random_enum<Signed>);
}

TEST_CASE("key order: floating point sorts by value - infinities and denormals included",
          "[codec]") {
  require_order_kept<float>(random_float<float>);
  require_order_kept<double>(random_float<double>);
  require_prefix_free<double>(random_float<double>);
}

TEST_CASE("key order: the two zeros are one key", "[codec]") {
  using Codec = firn::OrderedSingleField<double>;
  REQUIRE(encoded<Codec>(-0.0) == encoded<Codec>(0.0));
  double back = 1;
  REQUIRE(decode<Codec>(encoded<Codec>(-0.0), back));
  REQUIRE(std::bit_cast<std::uint64_t>(back) == 0);
  REQUIRE_FALSE(decode<Codec>("\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", back));
}

TEST_CASE("key order: NaN is refused - in keys and in stored bytes", "[codec]") {
  firn::Buffer buffer;
  firn::Encoder encoder(buffer);
  const auto refused =
      firn::OrderedSingleField<float>::encode(std::numeric_limits<float>::quiet_NaN(), encoder);
  REQUIRE_FALSE(refused);
  REQUIRE(refused.error().code == ErrorCode::invalid_argument);
  float back = 0;
  REQUIRE_FALSE(decode<firn::OrderedSingleField<float>>("\xFF\xC0\0\0"sv, back));
  REQUIRE_FALSE(decode<firn::OrderedSingleField<float>>("\0\0\0\0"sv, back));
}

TEST_CASE("key order: strings sort as bytes - embedded zeros and prefixes included", "[codec]") {
  require_order_kept<std::string>(random_string);
  require_order_kept<std::vector<std::byte>>(random_bytes);
  require_order_kept<std::vector<std::uint8_t>>(random_octets);
  require_prefix_free<std::string>(random_string);
  require_prefix_free<std::vector<std::byte>>(random_bytes);
  require_prefix_free<std::vector<std::uint8_t>>(random_octets);
}

TEST_CASE("key order: an absent value comes first", "[codec]") {
  using MaybeString = std::optional<std::string>;
  using MaybeNumber = std::optional<std::int32_t>;
  require_order_kept<MaybeString>(random_optional<std::string, random_string>);
  require_order_kept<MaybeNumber>(random_optional<std::int32_t, random_integer<std::int32_t>>);
  require_prefix_free<MaybeString>(random_optional<std::string, random_string>);
  require_prefix_free<MaybeNumber>(random_optional<std::int32_t, random_integer<std::int32_t>>);
  using Codec = firn::OrderedSingleField<MaybeString>;
  REQUIRE(Bytes(encoded<Codec>(MaybeString())) < Bytes(encoded<Codec>(MaybeString(""))));
}

TEST_CASE("key order: arrays sort element by element", "[codec]") {
  using Digest = std::array<std::uint8_t, 4>;
  using Names = std::array<std::string, 3>;
  const auto random_digest = [](Random& random) {
    Digest digest{};
    for (std::uint8_t& octet : digest) octet = random_integer<std::uint8_t>(random);
    return digest;
  };
  const auto random_names = [](Random& random) {
    Names names;
    for (std::string& name : names) name = random_text(random, 2);
    return names;
  };
  require_order_kept<Digest>(random_digest);
  require_prefix_free<Digest>(random_digest);
  require_order_kept<Names>(random_names);
  require_prefix_free<Names>(random_names);
}

TEST_CASE("key order: composite keys sort field by field", "[codec]") {
  INFO("seed " << seed);
  Random random(seed);
  const auto less = [](const Composite& left, const Composite& right) {
    return left.tie() < right.tie();
  };
  for (int round = 0; round < 5 * pairs_per_type; ++round) {
    const Composite value = random_composite(random);
    require_same_order<CompositeCodec>(value, random_neighbour(random, value), less);
  }
}

TEST_CASE("key order: keys of one parent lie together - whatever the names hold", "[codec]") {
  struct Entry {
    std::string parent;
    std::string name;
  };
  using Codec = firn::OrderedFields<&Entry::parent, &Entry::name>;
  REQUIRE(encoded<Codec>(Entry{"a\0b"s, "c\0"s}) ==
          "a\0\xFF"
          "b\0\0c\0"s);
  // Without an end mark below every byte, "a" + "\xFF" would come after "a\0".
  REQUIRE(Bytes(encoded<Codec>(Entry{"a", "\xFF\xFF"})) < Bytes(encoded<Codec>(Entry{"a\0"s, ""})));
  REQUIRE(Bytes(encoded<Codec>(Entry{"", "z"})) < Bytes(encoded<Codec>(Entry{"\0"s, "a"})));
}

TEST_CASE("key order: bytes that no key has are corrupt", "[codec]") {
  using Codec = firn::OrderedFields<&Inner<std::string>::value, &Inner<std::string>::next>;
  Inner<std::string> out;
  CHECK(decode<Codec>("a\0\0\7"sv, out));
  CHECK_FALSE(decode<Codec>("a\0\1\7"sv, out));
  CHECK_FALSE(decode<Codec>("a\0\xFE\7"sv, out));
  CHECK_FALSE(decode<Codec>("a\0"sv, out));
  CHECK_FALSE(decode<Codec>("a", out));
  CHECK_FALSE(decode<Codec>("", out));
  CHECK_FALSE(decode<Codec>("a\0\0"sv, out));
  CHECK_FALSE(decode<Codec>("a\0\0\7\7"sv, out));
  const auto result = decode<Codec>("ab", out);
  REQUIRE_FALSE(result);
  REQUIRE(result.error().code == ErrorCode::corrupt);
}
