// Table types: what the pairs of a table are made of. A type of one's own derives from `TableType`
// or `SackType`, states its name, and overrides what it wants to differ.
#pragma once

#include <algorithm>
#include <compare>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <firn/address.hpp>
#include <firn/codec.hpp>

namespace firn {

/// The version of a table type. Major must match the catalogue's; minor says which fields exist.
struct TypeVersion {
  std::uint16_t major = 1;
  std::uint16_t minor = 0;
  friend bool operator==(const TypeVersion&, const TypeVersion&) = default;
};

/// What the user expects of a table. Wrong hints cost speed, never correctness. 0 is "unknown".
struct Hints {
  bool ordered = true;                    ///< keys are asked for in order
  std::uint32_t record_size_typical = 0;  ///< bytes
  std::uint64_t expected_pairs = 0;
  bool write_heavy = false;
  std::uint32_t value_threshold = 0;  ///< bytes above which a value lies apart; 0: derived
  friend bool operator==(const Hints&, const Hints&) = default;
};

/// The default order: unsigned bytes, the shorter of two equal prefixes first.
struct BytewiseOrder {
  static constexpr std::string_view id = "firn.bytewise";
  [[nodiscard]] static std::strong_ordering compare(Bytes left, Bytes right) noexcept {
    return left <=> right;
  }
};

/// A total order of encoded keys. `id` is kept in the catalogue; another one at open is wrong_type.
template <class C>
concept KeyComparator = requires(Bytes left, Bytes right) {
  { C::id } -> std::convertible_to<std::string_view>;
  { C::compare(left, right) }
  noexcept->std::same_as<std::strong_ordering>;
};

namespace detail {
struct SackTag {};
}  // namespace detail

/// Base of the types of keyed tables. The derived type states `name` and may override the rest;
/// `KeyCodec` and `RecordCodec` may be left out where K and R are single fields or `Bytes`.
template <class K, class R>
struct TableType {
  using Key = K;
  using Record = R;
  using Comparator = BytewiseOrder;
  static constexpr TypeVersion version{1, 0};
  static constexpr Hints hints{};
};

/// Base of the types of sacks: tables whose keys Firn assigns.
template <class R>
struct SackType : detail::SackTag {
  using Key = Address;
  using Record = R;
  using KeyCodec = OrderedSingleField<Address>;
  using Comparator = BytewiseOrder;
  static constexpr TypeVersion version{1, 0};
  static constexpr Hints hints{};
};

/// The type of tables of plain bytes. Results hold copies, in strings.
struct BytesType : TableType<Bytes, Bytes> {
  static constexpr std::string_view name = "bytes";
};

/// Names of table types have at least one byte and at most this many.
inline constexpr std::size_t type_name_size_max = 255;

/// Whatever can be the type of a table or sack.
template <class Type>
concept TypeDefinition = requires {
  typename Type::Key;
  typename Type::Record;
  { Type::name } -> std::convertible_to<std::string_view>;
  { Type::version } -> std::convertible_to<TypeVersion>;
  { Type::hints } -> std::convertible_to<Hints>;
}
&&KeyComparator<typename Type::Comparator>;

template <class Type>
inline constexpr bool is_sack = std::is_base_of_v<detail::SackTag, Type>;

/// What calls take as key and record.
template <class Type>
using KeyOf = typename Type::Key;
template <class Type>
using RecordOf = typename Type::Record;

namespace detail {
template <class T>
struct Owned {
  using Type = T;
};
template <>
struct Owned<Bytes> {
  using Type = std::string;
};

template <class K>
struct DefaultKeyCodec {
  static_assert(OrderedField<K>, "this key needs a KeyCodec: its type is no single key field");
  using Type = OrderedSingleField<K>;
};
template <>
struct DefaultKeyCodec<Bytes> {
  using Type = BytesCodec;
};
template <class R>
struct DefaultRecordCodec {
  static_assert(Field<R>, "this record needs a RecordCodec: its type is no single field");
  using Type = SingleField<R>;
};
template <>
struct DefaultRecordCodec<Bytes> {
  using Type = BytesCodec;
};

template <class Codec, class T>
concept DecodesTo = requires(Bytes bytes, T& out) {
  { Codec::decode(bytes, out) } -> std::same_as<Result<void>>;
};

template <class Type>
struct KeyCodecChoice : DefaultKeyCodec<typename Type::Key> {};
template <class T>
requires requires { typename T::KeyCodec; }
struct KeyCodecChoice<T> {
  using Type = typename T::KeyCodec;
};
template <class Type>
struct RecordCodecChoice : DefaultRecordCodec<typename Type::Record> {};
template <class T>
requires requires { typename T::RecordCodec; }
struct RecordCodecChoice<T> {
  using Type = typename T::RecordCodec;
};
}  // namespace detail

/// What results hold: as `KeyOf` and `RecordOf`, but a string in place of `Bytes`.
template <class Type>
using OwnedKeyOf = typename detail::Owned<KeyOf<Type>>::Type;
template <class Type>
using OwnedRecordOf = typename detail::Owned<RecordOf<Type>>::Type;

template <class Type>
using KeyCodecOf = typename detail::KeyCodecChoice<Type>::Type;
template <class Type>
using RecordCodecOf = typename detail::RecordCodecChoice<Type>::Type;
template <class Type>
using ComparatorOf = typename Type::Comparator;

template <class Type>
inline constexpr bool is_bytewise = std::is_same_v<ComparatorOf<Type>, BytewiseOrder>;

namespace detail {
template <class Codec, class T>
Result<void> encode_whole(const T& value, Buffer& out) noexcept {
  const std::size_t size_before = out.size();
  Encoder encoder(out);
  Result<void> encoded = Codec::encode(value, encoder);
  if (encoded) encoded = encoder.status();
  if (!encoded) out.truncate(size_before);
  return encoded;
}
}  // namespace detail

/// Appends the encoded key; `out` is as before if that fails. Errors: no_memory, and what the codec
/// refuses.
template <class Type>
[[nodiscard]] Result<void> encode_key(const std::type_identity_t<KeyOf<Type>>& key,
                                      Buffer& out) noexcept {
  return detail::encode_whole<KeyCodecOf<Type>>(key, out);
}
/// Errors: corrupt, and `out` may have been changed in part.
template <class Type>
[[nodiscard]] Result<void> decode_key(Bytes bytes, OwnedKeyOf<Type>& out) noexcept {
  return KeyCodecOf<Type>::decode(bytes, out);
}
template <class Type>
[[nodiscard]] Result<void> encode_record(const std::type_identity_t<RecordOf<Type>>& record,
                                         Buffer& out) noexcept {
  return detail::encode_whole<RecordCodecOf<Type>>(record, out);
}
template <class Type>
[[nodiscard]] Result<void> decode_record(Bytes bytes, OwnedRecordOf<Type>& out) noexcept {
  return RecordCodecOf<Type>::decode(bytes, out);
}

using CompareFunction = std::strong_ordering (*)(Bytes, Bytes) noexcept;

/// A table type as the catalogue keeps and compares it. It owns its texts: the code that described
/// it may be unloaded before the table is gone. An own comparator, though, is code: it stays loaded
/// as long as a domain is open that has a table of the type.
struct TypeDescription {
  std::string name;
  TypeVersion version;
  bool sack = false;
  std::string key_schema;
  std::string record_schema;
  std::string comparator;
  std::vector<std::string> references;  ///< types the record's references point to, sorted, once
  Hints hints;
  CompareFunction compare = nullptr;  ///< null: bytewise
};

namespace detail {
inline std::vector<std::string> sorted_once(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}
}  // namespace detail

/// Describes `Type` and checks at compile time that it is one. Allocates.
template <TypeDefinition Type>
[[nodiscard]] TypeDescription describe() {
  constexpr std::string_view name = Type::name;
  static_assert(!name.empty() && name.size() <= type_name_size_max,
                "a table type's name has 1 to 255 bytes");
  static_assert(std::string_view(ComparatorOf<Type>::id).size() > 0, "a comparator needs an id");
  static_assert(is_bytewise<Type> || std::string_view(ComparatorOf<Type>::id) != BytewiseOrder::id,
                "that comparator id is taken");
  static_assert(RecordCodecFor<KeyCodecOf<Type>, KeyOf<Type>>, "KeyCodec does not encode Key");
  static_assert(!is_bytewise<Type> || KeyCodecFor<KeyCodecOf<Type>, KeyOf<Type>>,
                "KeyCodec does not keep the order of keys: use OrderedFields or an own Comparator");
  static_assert(RecordCodecFor<RecordCodecOf<Type>, RecordOf<Type>>,
                "RecordCodec does not encode Record");
  static_assert(detail::DecodesTo<KeyCodecOf<Type>, OwnedKeyOf<Type>> &&
                    detail::DecodesTo<RecordCodecOf<Type>, OwnedRecordOf<Type>>,
                "a codec of Bytes decodes to std::string as well");
  std::vector<std::string> references;
  detail::collect_references<RecordCodecOf<Type>>(references);
  return {.name = std::string(name),
          .version = Type::version,
          .sack = is_sack<Type>,
          .key_schema = schema_of<KeyCodecOf<Type>>(),
          .record_schema = schema_of<RecordCodecOf<Type>>(),
          .comparator = std::string(std::string_view(ComparatorOf<Type>::id)),
          .references = detail::sorted_once(std::move(references)),
          .hints = Type::hints,
          .compare = is_bytewise<Type> ? nullptr : &ComparatorOf<Type>::compare};
}

}  // namespace firn
