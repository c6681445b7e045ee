// How one field of a record becomes bytes. Compact and canonical: a value has one encoding, and
// what a decoder accepts is encoded to the same bytes again.
//
//   type                                       text in schemas  bytes
//   unsigned and signed integers, 8 to 64 bit  u8 … i64         fixed width, little endian
//   bool                                       bool             00 or 01
//   float, double                              f32, f64         IEEE bits, little endian
//   enum with a stated underlying type         enum(u8) …       as the underlying integer
//   std::byte                                  byte             one byte
//   std::string                                string           varint size, then the bytes
//   std::vector of std::byte or std::uint8_t   bytes            varint size, then the bytes
//   std::optional<X>                           X?               00, or 01 and the value
//   std::array<X, N>                           X[N]             N values
//   Ref<Type>, Address                         ref(name), address   see ref.hpp, address.hpp
//
// `char` and the other character types are no integers here: their signs differ among machines.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <firn/codec/coder.hpp>

namespace firn {

/// The codec of one record field. To store a type of one's own, specialise it with
///   static std::string schema();                 // its text in schemas, without ',' and ':'
///   static void encode(Encoder&, const T&) noexcept;
///   static bool decode(Decoder&, T&) noexcept;   // must accept any bytes, and refuse by fail()
/// and, where it contains references, static void references(std::vector<std::string>&).
/// A container that finds no memory while decoding ends the process, as nothing here throws; what a
/// decoder asks for is never more than the input's size.
template <class T>
struct FieldCodec;

/// A type that can be a field of a record.
template <class T>
concept Field = requires(Encoder& encoder, Decoder& decoder, const T& value, T& out) {
  { FieldCodec<T>::schema() } -> std::convertible_to<std::string>;
  FieldCodec<T>::encode(encoder, value);
  { FieldCodec<T>::decode(decoder, out) } -> std::same_as<bool>;
};

namespace detail {

template <class T, class... Others>
concept one_of = (std::same_as<T, Others> || ...);

template <class T>
concept FixedInteger = std::integral<T> && sizeof(T) <= 8 &&
                       !one_of<T, bool, char, wchar_t, char8_t, char16_t, char32_t> &&
                       !std::is_const_v<T>;

// Without a stated underlying type, most integers are no value of the enum and may not be cast to
// it.
template <class T>
concept FixedEnum = std::is_enum_v<T> && !std::same_as<T, std::byte> && requires {
  T{std::underlying_type_t<T>{}};
};

template <class T>
concept FixedFloat = one_of<T, float, double> && std::numeric_limits<T>::is_iec559;

template <class T>
concept ByteString = one_of<T, std::string, std::vector<std::byte>, std::vector<std::uint8_t>>;

template <class T>
concept RawByte = one_of<T, std::byte, std::uint8_t>;

template <FixedFloat T>
using BitsOf = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

// Not by operator+, of whose inlined memcpy g++ 12 warns at the user.
inline std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text.append(part);
  return text;
}

template <FixedInteger T>
std::string integer_text() {
  return joined({std::is_signed_v<T> ? "i" : "u", std::to_string(8 * sizeof(T))});
}

template <ByteString T>
std::string byte_string_text() {
  return std::same_as<T, std::string> ? "string" : "bytes";
}

template <ByteString T>
Bytes bytes_of(const T& value) noexcept {
  return {reinterpret_cast<const std::byte*>(value.data()), value.size()};
}

template <RawByte T, std::size_t N>
Bytes bytes_of(const std::array<T, N>& value) noexcept {
  return {reinterpret_cast<const std::byte*>(value.data()), N};
}

template <ByteString T>
void append_to(T& out, Bytes bytes) noexcept {
  if (bytes.empty()) return;
  const auto* first = reinterpret_cast<const typename T::value_type*>(bytes.data());
  if constexpr (std::same_as<T, std::string>) {
    out.append(first, bytes.size());
  } else {
    out.insert(out.end(), first, first + bytes.size());
  }
}

template <ByteString T>
void assign_to(T& out, Bytes bytes) noexcept {
  out.clear();
  append_to(out, bytes);
}

inline bool take_flag(Decoder& decoder, bool& out) noexcept {
  std::uint8_t byte = 0;
  if (!decoder.take_byte(byte)) return false;
  if (byte > 1) return decoder.fail("a flag is neither 0 nor 1, before byte {}");
  out = byte == 1;
  return true;
}

// The target types of a codec's references, for codecs that know of any.
template <class Codec>
void collect_references(std::vector<std::string>& out) {
  if constexpr (requires { Codec::references(out); }) Codec::references(out);
}

}  // namespace detail

template <detail::FixedInteger T>
struct FieldCodec<T> {
  static std::string schema() { return detail::integer_text<T>(); }
  static void encode(Encoder& encoder, const T& value) noexcept {
    encoder.put_little_endian(static_cast<std::make_unsigned_t<T>>(value));
  }
  static bool decode(Decoder& decoder, T& out) noexcept {
    std::make_unsigned_t<T> bits{};
    if (!decoder.take_little_endian(bits)) return false;
    out = static_cast<T>(bits);
    return true;
  }
};

template <>
struct FieldCodec<bool> {
  static std::string schema() { return "bool"; }
  static void encode(Encoder& encoder, const bool& value) noexcept {
    encoder.put_byte(value ? 1 : 0);
  }
  static bool decode(Decoder& decoder, bool& out) noexcept {
    return detail::take_flag(decoder, out);
  }
};

template <>
struct FieldCodec<std::byte> {
  static std::string schema() { return "byte"; }
  static void encode(Encoder& encoder, const std::byte& value) noexcept {
    encoder.put({&value, 1});
  }
  static bool decode(Decoder& decoder, std::byte& out) noexcept {
    Bytes bytes;
    if (!decoder.take(1, bytes)) return false;
    out = bytes[0];
    return true;
  }
};

template <detail::FixedEnum T>
struct FieldCodec<T> {
  using Underlying = std::underlying_type_t<T>;
  static std::string schema() {
    return detail::joined({"enum(", FieldCodec<Underlying>::schema(), ")"});
  }
  static void encode(Encoder& encoder, const T& value) noexcept {
    FieldCodec<Underlying>::encode(encoder, static_cast<Underlying>(value));
  }
  static bool decode(Decoder& decoder, T& out) noexcept {
    Underlying value{};
    if (!FieldCodec<Underlying>::decode(decoder, value)) return false;
    out = static_cast<T>(value);
    return true;
  }
};

template <detail::FixedFloat T>
struct FieldCodec<T> {
  static std::string schema() { return sizeof(T) == 4 ? "f32" : "f64"; }
  static void encode(Encoder& encoder, const T& value) noexcept {
    encoder.put_little_endian(std::bit_cast<detail::BitsOf<T>>(value));
  }
  static bool decode(Decoder& decoder, T& out) noexcept {
    detail::BitsOf<T> bits{};
    if (!decoder.take_little_endian(bits)) return false;
    out = std::bit_cast<T>(bits);
    return true;
  }
};

template <detail::ByteString T>
struct FieldCodec<T> {
  static std::string schema() { return detail::byte_string_text<T>(); }
  static void encode(Encoder& encoder, const T& value) noexcept {
    encoder.put_varint(value.size());
    encoder.put(detail::bytes_of(value));
  }
  static bool decode(Decoder& decoder, T& out) noexcept {
    Bytes bytes;
    if (!decoder.take_sized(bytes)) return false;
    detail::assign_to(out, bytes);
    return true;
  }
};

template <class T>
struct FieldCodec<std::optional<T>> {
  static std::string schema() { return detail::joined({FieldCodec<T>::schema(), "?"}); }
  static void references(std::vector<std::string>& out) {
    detail::collect_references<FieldCodec<T>>(out);
  }
  static void encode(Encoder& encoder, const std::optional<T>& value) noexcept {
    encoder.put_byte(value.has_value() ? 1 : 0);
    if (value.has_value()) FieldCodec<T>::encode(encoder, *value);
  }
  static bool decode(Decoder& decoder, std::optional<T>& out) noexcept {
    bool present = false;
    if (!detail::take_flag(decoder, present)) return false;
    if (!present) {
      out.reset();
      return true;
    }
    return FieldCodec<T>::decode(decoder, out.emplace());
  }
};

template <class T, std::size_t N>
struct FieldCodec<std::array<T, N>> {
  static std::string schema() {
    return detail::joined({FieldCodec<T>::schema(), "[", std::to_string(N), "]"});
  }
  static void references(std::vector<std::string>& out) {
    detail::collect_references<FieldCodec<T>>(out);
  }
  static void encode(Encoder& encoder, const std::array<T, N>& value) noexcept {
    if constexpr (detail::RawByte<T>) {
      encoder.put(detail::bytes_of(value));
    } else {
      for (const T& element : value) FieldCodec<T>::encode(encoder, element);
    }
  }
  static bool decode(Decoder& decoder, std::array<T, N>& out) noexcept {
    for (T& element : out) {
      if (!FieldCodec<T>::decode(decoder, element)) return false;
    }
    return true;
  }
};

}  // namespace firn
