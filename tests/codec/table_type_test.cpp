#include <firn/table_type.hpp>

#include <algorithm>
#include <cctype>
#include <limits>

#include <firn/ref.hpp>

#include "codec/support.hpp"
#include "support/catch.hpp"

using namespace std::literals;
using firn::Bytes;
using firn::ErrorCode;

namespace table_type_test {

struct Body {
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
};
struct BodyType : firn::SackType<Body> {
  static constexpr std::string_view name = "mdfs.body";
  using RecordCodec = firn::Fields<&Body::size, &Body::crc>;
};

struct CaseBlind {
  static constexpr std::string_view id = "mdfs.case-blind.1";
  static std::strong_ordering compare(Bytes left, Bytes right) noexcept {
    const auto lower = [](std::byte byte) { return std::tolower(std::to_integer<int>(byte)); };
    return std::lexicographical_compare_three_way(
        left.begin(), left.end(), right.begin(), right.end(),
        [&](std::byte a, std::byte b) { return lower(a) <=> lower(b); });
  }
};

struct InodeType;
struct InodeKey {
  std::uint64_t parent = 0;
  std::string name;
  friend bool operator==(const InodeKey&, const InodeKey&) = default;
};
struct Inode {
  std::uint64_t id = 0;
  std::uint32_t links = 0;
  firn::Ref<BodyType> body;
  firn::Ref<InodeType> parent;
  std::array<std::optional<firn::Ref<InodeType>>, 2> siblings;
};
struct InodeType : firn::TableType<InodeKey, Inode> {
  static constexpr std::string_view name = "mdfs.inode";
  static constexpr firn::TypeVersion version{1, 2};
  using KeyCodec = firn::OrderedFields<&InodeKey::parent, &InodeKey::name>;
  using RecordCodec =
      firn::Fields<&Inode::id, &Inode::links, &Inode::body, &Inode::parent, &Inode::siblings>;
  using Comparator = CaseBlind;
  static constexpr firn::Hints hints{.ordered = true, .record_size_typical = 96};
};

// A sack whose records point to their own kind.
struct LinkType;
struct Link {
  firn::Ref<LinkType> next;
};
struct LinkType : firn::SackType<Link> {
  static constexpr std::string_view name = "test.link";
  using RecordCodec = firn::Fields<&Link::next>;
};

struct CounterType : firn::TableType<std::string, std::uint64_t> {
  static constexpr std::string_view name = "test.counter";
};

struct Blob {
  static constexpr std::string_view id = "test.blob.1";
  static firn::Result<void> encode(Bytes value, firn::Encoder& encoder) noexcept {
    encoder.put(value);
    return encoder.status();
  }
  template <class T>
  static firn::Result<void> decode(Bytes bytes, T& out) noexcept {
    return firn::BytesCodec::decode(bytes, out);
  }
  static void references(std::vector<std::string>& out) { out.emplace_back("test.counter"); }
};
struct BlobType : firn::TableType<std::uint32_t, Bytes> {
  static constexpr std::string_view name = "test.blob";
  using RecordCodec = Blob;
};

// Encodes a byte and then refuses.
struct Refusing {
  static constexpr std::string_view id = "test.refusing.1";
  static firn::Result<void> encode(const int&, firn::Encoder& encoder) noexcept {
    encoder.put_byte(1);
    encoder.fail(ErrorCode::too_large, "too large for this test");
    return {};  // the failure is found all the same
  }
  static firn::Result<void> decode(Bytes, int&) noexcept { return {}; }
};
struct RefusingType : firn::TableType<int, int> {
  static constexpr std::string_view name = "test.refusing";
  using RecordCodec = Refusing;
};

struct NumberType : firn::TableType<double, std::uint8_t> {
  static constexpr std::string_view name = "test.number";
};

static_assert(firn::TypeDefinition<BodyType> && firn::TypeDefinition<InodeType>);
static_assert(firn::TypeDefinition<firn::BytesType> && firn::TypeDefinition<BlobType>);
static_assert(!firn::TypeDefinition<Body>);
static_assert(firn::is_sack<BodyType> && !firn::is_sack<InodeType>);
static_assert(std::is_same_v<firn::KeyOf<BodyType>, firn::Address>);
static_assert(std::is_same_v<firn::KeyOf<firn::BytesType>, Bytes>);
static_assert(std::is_same_v<firn::OwnedRecordOf<firn::BytesType>, std::string>);
static_assert(std::is_same_v<firn::OwnedRecordOf<InodeType>, Inode>);
static_assert(firn::is_bytewise<BodyType> && !firn::is_bytewise<InodeType>);
static_assert(firn::KeyComparator<CaseBlind>);
static_assert(std::is_trivially_copyable_v<firn::Address>);
static_assert(std::is_nothrow_move_constructible_v<firn::Ref<InodeType>>);
static_assert(sizeof(firn::Ref<BodyType>) <= 40);

}  // namespace table_type_test

using namespace table_type_test;

TEST_CASE("table type: the description says what the catalogue compares", "[codec]") {
  const firn::TypeDescription inode = firn::describe<InodeType>();
  CHECK(inode.name == "mdfs.inode");
  CHECK(inode.version == firn::TypeVersion{1, 2});
  CHECK_FALSE(inode.sack);
  CHECK(inode.key_schema == "parent:u64,name:string");
  CHECK(inode.record_schema ==
        "id:u64,links:u32,body:ref(mdfs.body),parent:ref(mdfs.inode),siblings:ref(mdfs.inode)?[2]");
  CHECK(inode.references == std::vector<std::string>{"mdfs.body", "mdfs.inode"});
  CHECK(inode.hints.record_size_typical == 96);

  const firn::TypeDescription body = firn::describe<BodyType>();
  CHECK(body.sack);
  CHECK(body.key_schema == "address");
  CHECK(body.record_schema == "size:u64,crc:u32");
  CHECK(body.references.empty());
  CHECK(body.version == firn::TypeVersion{1, 0});

  const firn::TypeDescription bytes = firn::describe<firn::BytesType>();
  CHECK(bytes.name == "bytes");
  CHECK(bytes.key_schema == "bytes");
  CHECK(bytes.record_schema == "bytes");

  const firn::TypeDescription blob = firn::describe<BlobType>();
  CHECK(blob.key_schema == "u32");
  CHECK(blob.record_schema == "codec(test.blob.1)");
  CHECK(blob.references == std::vector<std::string>{"test.counter"});
}

TEST_CASE("table type: an own comparator is described by its id and function", "[comparator]") {
  const firn::TypeDescription inode = firn::describe<InodeType>();
  REQUIRE(inode.comparator == "mdfs.case-blind.1");
  REQUIRE(inode.compare != nullptr);
  CHECK(inode.compare(Bytes("Name"), Bytes("nAME")) == std::strong_ordering::equal);
  CHECK(inode.compare(Bytes("a"), Bytes("B")) == std::strong_ordering::less);

  const firn::TypeDescription body = firn::describe<BodyType>();
  CHECK(body.comparator == "firn.bytewise");
  CHECK(body.compare == nullptr);
  CHECK(firn::BytewiseOrder::compare("a", "ab") == std::strong_ordering::less);
}

TEST_CASE("table type: keys and records go through the type's codecs", "[codec]") {
  firn::Buffer buffer;
  REQUIRE(firn::encode_key<InodeType>({1, "a"}, buffer));
  REQUIRE(buffer.view().text() == "\0\0\0\0\0\0\0\1a"sv);
  InodeKey key;
  REQUIRE(firn::decode_key<InodeType>(buffer.view(), key));
  REQUIRE(key == InodeKey{1, "a"});

  buffer.clear();
  REQUIRE(firn::encode_key<firn::BytesType>("any bytes", buffer));
  std::string text;
  REQUIRE(firn::decode_key<firn::BytesType>(buffer.view(), text));
  REQUIRE(text == "any bytes");

  buffer.clear();
  REQUIRE(firn::encode_record<CounterType>(258, buffer));
  REQUIRE(buffer.view().text() == "\2\1\0\0\0\0\0\0"sv);
  std::uint64_t count = 0;
  const auto corrupt = firn::decode_record<CounterType>(buffer.view().first(7), count);
  REQUIRE_FALSE(corrupt);
  REQUIRE(corrupt.error().code == ErrorCode::corrupt);
}

TEST_CASE("table type: an encoding that fails leaves the buffer as it was", "[codec]") {
  firn::Buffer buffer;
  REQUIRE(buffer.append("before"));
  const auto refused = firn::encode_record<RefusingType>(1, buffer);
  REQUIRE_FALSE(refused);
  REQUIRE(refused.error().code == ErrorCode::too_large);
  REQUIRE(buffer.view() == Bytes("before"));
}

TEST_CASE("address: twelve bytes that sort by number - then by generation", "[codec]") {
  using Codec = firn::KeyCodecOf<BodyType>;
  using codec_test::encoded;
  const firn::Address address{0x0102030405060708, 0x090A0B0C};
  REQUIRE(encoded<Codec>(address) == "\1\2\3\4\5\6\7\x08\x09\x0A\x0B\x0C");
  REQUIRE(encoded<firn::SingleField<firn::Address>>(address) == encoded<Codec>(address));
  REQUIRE(firn::Address().is_null());
  codec_test::Random random(codec_test::seed);
  const auto any = [&] {
    return firn::Address{codec_test::random_integer<std::uint64_t>(random),
                         codec_test::random_integer<std::uint32_t>(random)};
  };
  for (int round = 0; round < 10'000; ++round) {
    const firn::Address left = any();
    const firn::Address right = any();
    REQUIRE((encoded<Codec>(left) < encoded<Codec>(right)) == (left < right));
  }
}

TEST_CASE("reference: a null one is one byte and comes back null", "[reference]") {
  using Codec = firn::SingleField<firn::Ref<BodyType>>;
  const firn::Ref<BodyType> null;
  REQUIRE(null.is_null());
  REQUIRE_FALSE(static_cast<bool>(null));
  REQUIRE(codec_test::encoded<Codec>(null) == "\0"s);
  auto out = firn::Ref<BodyType>::make(1, {2, 3}).value();
  REQUIRE(codec_test::decode<Codec>("\0"sv, out));
  REQUIRE(out == null);
  REQUIRE_FALSE(codec_test::decode<Codec>("\0\0"sv, out));
}

TEST_CASE("reference: to a sack holds table and address", "[reference]") {
  using Codec = firn::SingleField<firn::Ref<BodyType>>;
  const auto ref = firn::Ref<BodyType>::make(300, {5, 6}).value();
  REQUIRE(ref.table() == 300);
  REQUIRE(ref.key().value() == firn::Address{5, 6});
  REQUIRE(codec_test::encoded<Codec>(ref) == "\xAC\2\x0C\0\0\0\0\0\0\0\5\0\0\0\6"s);
  firn::Ref<BodyType> back;
  REQUIRE(codec_test::decode<Codec>(codec_test::encoded<Codec>(ref), back));
  REQUIRE(back == ref);
  REQUIRE_FALSE(back == firn::Ref<BodyType>::make(300, {5, 7}).value());
  REQUIRE_FALSE(back == firn::Ref<BodyType>::make(301, {5, 6}).value());
}

TEST_CASE("reference: to a keyed table holds the typed key - also of the record's own type",
          "[reference]") {
  const std::string long_name(100, 'n');
  Inode inode;
  inode.parent = firn::Ref<InodeType>::make(3, {1, long_name}).value();
  inode.body = firn::Ref<BodyType>::make(4, {9, 1}).value();
  inode.siblings[1] = firn::Ref<InodeType>::make(3, {1, "b"}).value();
  firn::Buffer buffer;
  REQUIRE(firn::encode_record<InodeType>(inode, buffer));
  Inode back;
  REQUIRE(firn::decode_record<InodeType>(buffer.view(), back));
  REQUIRE(back.parent.key().value() == InodeKey{1, long_name});
  REQUIRE(back.body == inode.body);
  REQUIRE(back.siblings == inode.siblings);

  const auto link = firn::Ref<LinkType>::make(1, {1, 1}).value();
  buffer.clear();
  REQUIRE(firn::encode_record<LinkType>({link}, buffer));
  Link link_back;
  REQUIRE(firn::decode_record<LinkType>(buffer.view(), link_back));
  REQUIRE(link_back.next == link);
}

TEST_CASE("reference: to bytes tables and single values", "[reference]") {
  const auto bytes = firn::Ref<firn::BytesType>::make(1, "key").value();
  REQUIRE(bytes.key().value() == "key");
  const auto counter = firn::Ref<CounterType>::make(2, "counter").value();
  REQUIRE(counter.encoded_key() == Bytes("counter"));
}

TEST_CASE("reference: a key that is none of its target's is corrupt when asked for",
          "[reference]") {
  const auto ref = firn::Ref<BodyType>::from_encoded(1, "short");
  const auto key = ref.key();
  REQUIRE_FALSE(key);
  REQUIRE(key.error().code == ErrorCode::corrupt);
}

TEST_CASE("reference: a key that has no encoding makes no reference", "[reference]") {
  const auto ref = firn::Ref<NumberType>::make(1, std::numeric_limits<double>::quiet_NaN());
  REQUIRE_FALSE(ref);
  REQUIRE(ref.error().code == ErrorCode::invalid_argument);
}
