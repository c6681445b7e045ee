#include <firn/codec.hpp>

#include <limits>

#include "codec/support.hpp"
#include "support/catch.hpp"

using namespace std::literals;
using firn::ErrorCode;
using namespace codec_test;

namespace {

enum class Kind : std::uint16_t { file = 1, directory = 0x0203 };
enum Flags : std::int8_t { none = 0, below = -1 };

struct Everything {
  std::uint8_t u8 = 0;
  std::int16_t i16 = 0;
  std::uint32_t u32 = 0;
  std::int64_t i64 = 0;
  bool flag = false;
  std::byte raw{};
  Kind kind = Kind::file;
  Flags flags = none;
  float f32 = 0;
  double f64 = 0;
  std::string text;
  std::vector<std::byte> bytes;
  std::vector<std::uint8_t> octets;
  std::optional<std::string> maybe;
  std::array<std::uint8_t, 3> digest{};
  std::array<std::optional<std::int16_t>, 2> pair;
  friend bool operator==(const Everything&, const Everything&) = default;
};
using EverythingCodec =
    firn::Fields<&Everything::u8, &Everything::i16, &Everything::u32, &Everything::i64,
                 &Everything::flag, &Everything::raw, &Everything::kind, &Everything::flags,
                 &Everything::f32, &Everything::f64, &Everything::text, &Everything::bytes,
                 &Everything::octets, &Everything::maybe, &Everything::digest, &Everything::pair>;

Everything random_everything(Random& random) {
  Everything value;
  value.u8 = random_integer<std::uint8_t>(random);
  value.i16 = random_integer<std::int16_t>(random);
  value.u32 = random_integer<std::uint32_t>(random);
  value.i64 = random_integer<std::int64_t>(random);
  value.flag = random() % 2 == 0;
  value.raw = static_cast<std::byte>(random());
  value.kind = static_cast<Kind>(random());
  value.flags = static_cast<Flags>(static_cast<std::int8_t>(random()));
  value.f32 = random_float<float>(random);
  value.f64 = random_float<double>(random);
  value.text = random_text(random, 200);
  value.bytes.assign(random() % 5, std::byte{7});
  value.octets.assign(random() % 5, 9);
  if (random() % 2 == 0) value.maybe = random_text(random);
  for (std::uint8_t& octet : value.digest) octet = static_cast<std::uint8_t>(random());
  if (random() % 2 == 0) value.pair[1] = random_integer<std::int16_t>(random);
  return value;
}

struct Small {
  std::uint32_t number = 0;
  std::string name;
};
using SmallCodec = firn::Fields<&Small::number, &Small::name>;

// Two bytes, of which the second repeats the first.
struct Mirrored {
  static constexpr std::string_view id = "test.mirrored.1";
  static firn::Result<void> encode(const std::uint8_t& value, firn::Encoder& encoder) {
    encoder.put_byte(value);
    encoder.put_byte(value);
    return encoder.status();
  }
  static firn::Result<void> decode(firn::Bytes bytes, std::uint8_t& out) {
    firn::Decoder decoder(bytes);
    std::uint8_t again = 0;
    if (decoder.take_byte(out) && decoder.take_byte(again) && out != again) {
      decoder.fail("not mirrored, before byte {}");
    }
    return decoder.finish();
  }
};

namespace nested {
template <class T>
struct Holder {
  T held_2{};
};
}  // namespace nested

static_assert(firn::RecordCodecFor<SmallCodec, Small>);
static_assert(!firn::KeyCodecFor<SmallCodec, Small>);
static_assert(!firn::RecordCodecFor<SmallCodec, Everything>);
static_assert(firn::KeyCodecFor<firn::OrderedFields<&Small::name>, Small>);
static_assert(firn::KeyCodecFor<Mirrored, std::uint8_t>);
static_assert(!firn::RecordCodecFor<int, int>);
static_assert(firn::RecordCodecFor<firn::BytesCodec, firn::Bytes>);

enum Loose { loose };
static_assert(!firn::Field<Loose>, "most integers are no value of such an enum");
static_assert(!firn::Field<char> && !firn::Field<wchar_t> && !firn::Field<int*>);
static_assert(!firn::OrderedField<char> && firn::OrderedField<std::optional<std::string>>);

}  // namespace

TEST_CASE("codec: a record of every field type comes back as it was", "[codec]") {
  INFO("seed " << seed);
  Random random(seed);
  for (int round = 0; round < 10'000; ++round) {
    const Everything value = random_everything(random);
    const std::string bytes = encoded<EverythingCodec>(value);
    Everything back;
    REQUIRE(decode<EverythingCodec>(bytes, back));
    REQUIRE(back == value);
    REQUIRE(encoded<EverythingCodec>(back) == bytes);
  }
}

TEST_CASE("codec: the bytes of a record are the documented ones", "[codec]") {
  Everything value;
  value.u8 = 0x11;
  value.i16 = -2;
  value.u32 = 0x01020304;
  value.i64 = 5;
  value.flag = true;
  value.raw = std::byte{0xAB};
  value.kind = Kind::directory;
  value.flags = below;
  value.f32 = 1.0F;
  value.f64 = -2.0;
  value.text = "hi";
  value.maybe = "x";
  value.digest = {1, 2, 3};
  value.pair[1] = 4;
  const std::string expected =
      "\x11\xFE\xFF\x04\x03\x02\x01\x05\0\0\0\0\0\0\0\x01\xAB\x03\x02\xFF"
      "\0\0\x80\x3F\0\0\0\0\0\0\0\xC0\x02hi\0\0\x01\x01x\x01\x02\x03\0\x01\x04\0"s;
  REQUIRE(encoded<EverythingCodec>(value) == expected);
}

TEST_CASE("codec: a NaN in a record keeps its bits", "[codec]") {
  using Codec = firn::SingleField<double>;
  const double value = std::numeric_limits<double>::quiet_NaN();
  double back = 0;
  REQUIRE(decode<Codec>(encoded<Codec>(value), back));
  REQUIRE(std::bit_cast<std::uint64_t>(back) == std::bit_cast<std::uint64_t>(value));
}

TEST_CASE("codec: missing and left-over bytes are corrupt - and the error says where", "[codec]") {
  const std::string bytes = encoded<SmallCodec>(Small{7, "seven"});
  REQUIRE(bytes.size() == 10);
  Small out;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto result = decode<SmallCodec>(bytes.substr(0, size), out);
    REQUIRE_FALSE(result);
    REQUIRE(result.error().code == ErrorCode::corrupt);
  }
  const auto longer = decode<SmallCodec>(bytes + '\0', out);
  REQUIRE_FALSE(longer);
  REQUIRE(longer.error().code == ErrorCode::corrupt);
  REQUIRE(longer.error().value == 10);
  REQUIRE(longer.error().message().find("left over, from byte 10") != std::string::npos);
}

TEST_CASE("codec: forms that no encoder writes are corrupt", "[codec]") {
  bool flag = false;
  REQUIRE_FALSE(decode<firn::SingleField<bool>>("\2", flag));
  std::optional<std::uint8_t> maybe;
  REQUIRE_FALSE(decode<firn::SingleField<decltype(maybe)>>("\2\1", maybe));
  REQUIRE_FALSE(decode<firn::SingleField<decltype(maybe)>>("\0\1"sv, maybe));
  Small small;
  CHECK(decode<SmallCodec>("\1\0\0\0\1a"sv, small));
  CHECK_FALSE(decode<SmallCodec>("\1\0\0\0\x81\0a"sv, small));  // size 1 in two bytes
  CHECK_FALSE(decode<SmallCodec>("\1\0\0\0\2a"sv, small));
  CHECK_FALSE(decode<SmallCodec>("\1\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1a"sv, small));
  CHECK_FALSE(decode<SmallCodec>("\1\0\0\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\2a"sv, small));
  std::uint8_t mirrored = 0;
  CHECK(decode<Mirrored>("aa", mirrored));
  CHECK_FALSE(decode<Mirrored>("ab", mirrored));
}

TEST_CASE("codec: varints of every length come back", "[codec]") {
  for (unsigned bit = 0; bit < 64; ++bit) {
    for (const std::uint64_t value :
         {(std::uint64_t{1} << bit) - 1, std::uint64_t{1} << bit, ~std::uint64_t{0} >> bit}) {
      firn::Buffer buffer;
      firn::Encoder encoder(buffer);
      encoder.put_varint(value);
      firn::Decoder decoder(buffer.view());
      std::uint64_t back = 0;
      REQUIRE(decoder.take_varint(back));
      REQUIRE(back == value);
      REQUIRE(decoder.finish());
    }
  }
}

TEST_CASE("codec: a failed decoder stays failed and keeps its first reason", "[codec]") {
  firn::Decoder decoder(firn::Bytes("abc"));
  std::uint8_t byte = 0;
  firn::Bytes bytes("before");
  REQUIRE(decoder.take_byte(byte));
  decoder.fail("first");
  decoder.fail("second");
  REQUIRE_FALSE(decoder.take_byte(byte));
  REQUIRE_FALSE(decoder.take(0, bytes));
  REQUIRE_FALSE(decoder.take_rest(bytes));
  REQUIRE(bytes == firn::Bytes("before"));
  REQUIRE(byte == 'a');
  const auto result = decoder.finish();
  REQUIRE_FALSE(result);
  REQUIRE(result.error().detail == "first"sv);
  REQUIRE(result.error().value == 1);
}

TEST_CASE("codec: a failed encoder writes no more and keeps its first reason", "[codec]") {
  firn::Buffer buffer;
  firn::Encoder encoder(buffer);
  encoder.put_byte(1);
  encoder.fail(ErrorCode::too_large, "first");
  encoder.fail(ErrorCode::invalid_argument, "second");
  encoder.put_byte(2);
  REQUIRE(buffer.size() == 1);
  REQUIRE_FALSE(encoder.status());
  REQUIRE(encoder.status().error().code == ErrorCode::too_large);
}

TEST_CASE("codec: a single string is stored as it is", "[codec]") {
  REQUIRE(encoded<firn::SingleField<std::string>>("a\0b"s) == "a\0b"s);
  REQUIRE(encoded<firn::OrderedSingleField<std::string>>("a\0b"s) == "a\0b"s);
  REQUIRE(encoded<firn::SingleField<std::uint16_t>>(std::uint16_t{0x0102}) == "\2\1");
  REQUIRE(encoded<firn::OrderedSingleField<std::uint16_t>>(std::uint16_t{0x0102}) == "\1\2");
  std::string copy;
  REQUIRE(decode<firn::BytesCodec>("xyz", copy));
  REQUIRE(copy == "xyz");
}

TEST_CASE("codec: schemas name the fields and their types", "[codec]") {
  CHECK(EverythingCodec::schema() ==
        "u8:u8,i16:i16,u32:u32,i64:i64,flag:bool,raw:byte,kind:enum(u16),flags:enum(i8),"
        "f32:f32,f64:f64,text:string,bytes:bytes,octets:bytes,maybe:string?,digest:u8[3],"
        "pair:i16?[2]");
  CHECK(firn::OrderedFields<&Small::number, &Small::name>::schema() == "number:u32,name:string");
  CHECK(firn::Fields<&nested::Holder<int>::held_2>::schema() == "held_2:i32");
  CHECK(firn::Fields<&nested::Holder<std::array<bool, 2>>::held_2>::schema() == "held_2:bool[2]");
  CHECK(firn::SingleField<long long>::schema() == "i64");
  CHECK(firn::schema_of<SmallCodec>() == "number:u32,name:string");
  CHECK(firn::schema_of<Mirrored>() == "codec(test.mirrored.1)");
}
