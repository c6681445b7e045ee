// Addresses: the keys of sacks, which Firn assigns.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include <firn/codec/ordered_field.hpp>

namespace firn {

/// Where in a sack a record lies. It stays the record's as long as that lives, also when pages
/// move; a number used again gets another generation, so an old address finds nothing. Default:
/// null.
struct Address {
  std::uint64_t number = 0;  ///< 0 only in the null address
  std::uint32_t generation = 0;
  [[nodiscard]] bool is_null() const noexcept { return number == 0; }
  friend auto operator<=>(const Address&, const Address&) = default;
};

/// Twelve bytes that sort by number, then by generation; in records as in keys.
template <>
struct FieldCodec<Address> {
  static std::string schema() { return "address"; }
  static void encode(Encoder& encoder, const Address& value) noexcept {
    encoder.put_big_endian(value.number);
    encoder.put_big_endian(value.generation);
  }
  static bool decode(Decoder& decoder, Address& out) noexcept {
    return decoder.take_big_endian(out.number) && decoder.take_big_endian(out.generation);
  }
};
template <>
struct OrderedFieldCodec<Address> {
  static std::string schema() { return FieldCodec<Address>::schema(); }
  static void encode(Encoder& encoder, const Address& value, KeyPosition) noexcept {
    FieldCodec<Address>::encode(encoder, value);
  }
  static bool decode(Decoder& decoder, Address& out, KeyPosition) noexcept {
    return FieldCodec<Address>::decode(decoder, out);
  }
};

}  // namespace firn
