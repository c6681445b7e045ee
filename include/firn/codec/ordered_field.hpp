// How one field of a key becomes bytes whose bytewise order is the order of the values. As in
// records, a value has one encoding and a decoder accepts no other.
//
//   unsigned integers, std::byte   big endian
//   signed integers                big endian with the sign bit flipped
//   bool, enum                     as the integer
//   float, double                  big endian; sign bit flipped, or all bits if it was set.
//                                  -0.0 is stored as +0.0; NaN is refused (invalid_argument)
//   std::string, byte vectors      inside a key: each 00 becomes 00 FF, and 00 00 ends the field;
//                                  as its last field: the bytes themselves
//   std::optional<X>               00 if absent, which is first, or 01 and the value
//   std::array<X, N>               the values, so bytes stay bytes
//   Address                        number, then generation, big endian (12 bytes)
//
// Why the order is kept. Let no encoding of an inner field be a prefix of another one of that
// field; then two keys first differ inside the first field that differs, and later fields do not
// matter. Fixed widths have that property, and so does 00 | 01 X if X has it. In a string 00 is
// always followed by FF, hence 00 00 occurs at its end only; and as 00 00 is less than 00 FF and
// than any other byte followed by anything, a string comes before those it is a prefix of. The idea
// is the tuple layer's of FoundationDB; there a single 00 ends a string, which is enough only
// because a type code other than FF follows it, whereas here the next field may begin with any
// byte.
#pragma once

#include <cstring>

#include <firn/codec/field.hpp>

namespace firn {

/// Where in its key a field stands. The last field needs no end of its own.
enum class KeyPosition : bool { inner, last };

/// The codec of one key field, to be specialised like `FieldCodec`, with
///   static std::string schema();
///   static void encode(Encoder&, const T&, KeyPosition) noexcept;
///   static bool decode(Decoder&, T&, KeyPosition) noexcept;
/// At `KeyPosition::inner` no encoding may be a prefix of another one.
template <class T>
struct OrderedFieldCodec;

/// A type that can be a field of a key.
template <class T>
concept OrderedField = requires(Encoder& encoder, Decoder& decoder, const T& value, T& out) {
  { OrderedFieldCodec<T>::schema() } -> std::convertible_to<std::string>;
  OrderedFieldCodec<T>::encode(encoder, value, KeyPosition::inner);
  { OrderedFieldCodec<T>::decode(decoder, out, KeyPosition::inner) } -> std::same_as<bool>;
};

namespace detail {

inline constexpr std::byte escaped_zero[2]{std::byte{0x00}, std::byte{0xFF}};
inline constexpr std::byte string_end[2]{std::byte{0x00}, std::byte{0x00}};

// The offset of the first zero byte, or the size.
inline std::size_t find_zero(Bytes bytes) noexcept {
  if (bytes.empty()) return 0;
  const void* found = std::memchr(bytes.data(), 0, bytes.size());
  if (found == nullptr) return bytes.size();
  return static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes.data());
}

inline void put_escaped(Encoder& encoder, Bytes bytes) noexcept {
  for (;;) {
    const std::size_t zero = find_zero(bytes);
    encoder.put(bytes.first(zero));
    if (zero == bytes.size()) break;
    encoder.put({escaped_zero, 2});
    bytes = bytes.subview(zero + 1);
  }
  encoder.put({string_end, 2});
}

template <ByteString T>
bool take_escaped(Decoder& decoder, T& out) noexcept {
  out.clear();
  for (;;) {
    Bytes plain;
    Bytes mark;
    if (!decoder.take(find_zero(decoder.rest()), plain)) return false;
    if (!decoder.take(2, mark)) return false;
    append_to(out, plain);
    if (mark == Bytes(string_end, 2)) return true;
    if (mark != Bytes(escaped_zero, 2))
      return decoder.fail("a key holds a bare zero, before byte {}");
    append_to(out, mark.first(1));
  }
}

template <std::unsigned_integral U>
inline constexpr U sign_bit = static_cast<U>(U{1} << (8 * sizeof(U) - 1));

}  // namespace detail

template <detail::FixedInteger T>
struct OrderedFieldCodec<T> {
  using Unsigned = std::make_unsigned_t<T>;
  static constexpr Unsigned flip = std::is_signed_v<T> ? detail::sign_bit<Unsigned> : Unsigned{0};
  static std::string schema() { return detail::integer_text<T>(); }
  static void encode(Encoder& encoder, const T& value, KeyPosition) noexcept {
    encoder.put_big_endian(static_cast<Unsigned>(static_cast<Unsigned>(value) ^ flip));
  }
  static bool decode(Decoder& decoder, T& out, KeyPosition) noexcept {
    Unsigned bits{};
    if (!decoder.take_big_endian(bits)) return false;
    out = static_cast<T>(static_cast<Unsigned>(bits ^ flip));
    return true;
  }
};

// One byte in records already sorts as it should in keys.
template <detail::one_of<bool, std::byte> T>
struct OrderedFieldCodec<T> {
  static std::string schema() { return FieldCodec<T>::schema(); }
  static void encode(Encoder& encoder, const T& value, KeyPosition) noexcept {
    FieldCodec<T>::encode(encoder, value);
  }
  static bool decode(Decoder& decoder, T& out, KeyPosition) noexcept {
    return FieldCodec<T>::decode(decoder, out);
  }
};

template <detail::FixedEnum T>
struct OrderedFieldCodec<T> {
  using Underlying = std::underlying_type_t<T>;
  static std::string schema() {
    return detail::joined({"enum(", OrderedFieldCodec<Underlying>::schema(), ")"});
  }
  static void encode(Encoder& encoder, const T& value, KeyPosition position) noexcept {
    OrderedFieldCodec<Underlying>::encode(encoder, static_cast<Underlying>(value), position);
  }
  static bool decode(Decoder& decoder, T& out, KeyPosition position) noexcept {
    Underlying value{};
    if (!OrderedFieldCodec<Underlying>::decode(decoder, value, position)) return false;
    out = static_cast<T>(value);
    return true;
  }
};

template <detail::FixedFloat T>
struct OrderedFieldCodec<T> {
  using Bits = detail::BitsOf<T>;
  static constexpr Bits sign = detail::sign_bit<Bits>;
  static std::string schema() { return FieldCodec<T>::schema(); }
  static void encode(Encoder& encoder, const T& value, KeyPosition) noexcept {
    if (value != value) {
      encoder.fail(ErrorCode::invalid_argument, "NaN has no place in the order of keys");
      return;
    }
    const Bits bits = value == T{0} ? Bits{0} : std::bit_cast<Bits>(value);
    encoder.put_big_endian((bits & sign) != 0 ? static_cast<Bits>(~bits)
                                              : static_cast<Bits>(bits | sign));
  }
  static bool decode(Decoder& decoder, T& out, KeyPosition) noexcept {
    Bits stored{};
    if (!decoder.take_big_endian(stored)) return false;
    const Bits bits =
        (stored & sign) != 0 ? static_cast<Bits>(stored ^ sign) : static_cast<Bits>(~stored);
    const T value = std::bit_cast<T>(bits);
    if (value != value || bits == sign) {
      return decoder.fail("a key holds NaN or a negative zero, before byte {}");
    }
    out = value;
    return true;
  }
};

template <detail::ByteString T>
struct OrderedFieldCodec<T> {
  static std::string schema() { return detail::byte_string_text<T>(); }
  static void encode(Encoder& encoder, const T& value, KeyPosition position) noexcept {
    if (position == KeyPosition::last) {
      encoder.put(detail::bytes_of(value));
    } else {
      detail::put_escaped(encoder, detail::bytes_of(value));
    }
  }
  static bool decode(Decoder& decoder, T& out, KeyPosition position) noexcept {
    if (position == KeyPosition::inner) return detail::take_escaped(decoder, out);
    Bytes bytes;
    if (!decoder.take_rest(bytes)) return false;
    detail::assign_to(out, bytes);
    return true;
  }
};

template <class T>
struct OrderedFieldCodec<std::optional<T>> {
  static std::string schema() { return detail::joined({OrderedFieldCodec<T>::schema(), "?"}); }
  static void encode(Encoder& encoder, const std::optional<T>& value,
                     KeyPosition position) noexcept {
    encoder.put_byte(value.has_value() ? 1 : 0);
    if (value.has_value()) OrderedFieldCodec<T>::encode(encoder, *value, position);
  }
  static bool decode(Decoder& decoder, std::optional<T>& out, KeyPosition position) noexcept {
    bool present = false;
    if (!detail::take_flag(decoder, present)) return false;
    if (!present) {
      out.reset();
      return true;
    }
    return OrderedFieldCodec<T>::decode(decoder, out.emplace(), position);
  }
};

template <class T, std::size_t N>
struct OrderedFieldCodec<std::array<T, N>> {
  static std::string schema() {
    return detail::joined({OrderedFieldCodec<T>::schema(), "[", std::to_string(N), "]"});
  }
  static void encode(Encoder& encoder, const std::array<T, N>& value,
                     KeyPosition position) noexcept {
    if constexpr (detail::RawByte<T>) {
      encoder.put(detail::bytes_of(value));
    } else {
      for (std::size_t i = 0; i < N; ++i) {
        OrderedFieldCodec<T>::encode(encoder, value[i], position_of(i, position));
      }
    }
  }
  static bool decode(Decoder& decoder, std::array<T, N>& out, KeyPosition position) noexcept {
    for (std::size_t i = 0; i < N; ++i) {
      if (!OrderedFieldCodec<T>::decode(decoder, out[i], position_of(i, position))) return false;
    }
    return true;
  }

 private:
  static KeyPosition position_of(std::size_t index, KeyPosition whole) noexcept {
    return index + 1 == N ? whole : KeyPosition::inner;
  }
};

}  // namespace firn
