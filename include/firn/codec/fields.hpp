// Codecs made from lists of members: `Fields` for records, `OrderedFields` for keys; and for keys
// and records that are a single value: `OrderedSingleField`, `SingleField`, `BytesCodec`.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <firn/codec/ordered_field.hpp>

namespace firn {

namespace detail {

template <class Member>
struct MemberParts;
template <class Class, class Value>
struct MemberParts<Value Class::*> {
  using ClassType = Class;
  using ValueType = Value;
};
template <auto Member>
using ClassOf = typename MemberParts<std::remove_const_t<decltype(Member)>>::ClassType;
template <auto Member>
using ValueOf = typename MemberParts<std::remove_const_t<decltype(Member)>>::ValueType;

template <auto First, auto...>
struct FirstClass {
  using Type = ClassOf<First>;
};

// The compilers print "… Member = &Inode::parent]"; the name is what follows the last colon.
template <auto Member>
constexpr auto member_name() noexcept {
  std::string_view text = __PRETTY_FUNCTION__;
  text = text.substr(0, text.rfind(']'));
  if (text.ends_with(')')) text.remove_suffix(1);
  return text.substr(text.rfind(':') + 1);
}

template <auto Member>
void append_field_text(std::string& out, const std::string& type_text) {
  if (!out.empty()) out += ',';
  out += member_name<Member>();
  out += ':';
  out += type_text;
}

}  // namespace detail

/// The record codec of a struct, from its members in the order of their storage:
/// `Fields<&Inode::id, &Inode::links>`. Decoding is strict: a missing or left-over byte is corrupt.
/// Fields that a later minor version adds will be listed after these, each wrapped with the version
/// that brings it.
template <auto... Members>
requires(sizeof...(Members) > 0) struct Fields {
  using Class = typename detail::FirstClass<Members...>::Type;
  static_assert((std::is_same_v<Class, detail::ClassOf<Members>> && ...),
                "Fields: the members must be of one class");

  /// "id:u64,links:u32"
  static std::string schema() {
    std::string text;
    (detail::append_field_text<Members>(text, FieldCodec<detail::ValueOf<Members>>::schema()), ...);
    return text;
  }
  /// The names of the types that this record's references point to, one for each reference.
  static void references(std::vector<std::string>& out) {
    (detail::collect_references<FieldCodec<detail::ValueOf<Members>>>(out), ...);
  }
  static Result<void> encode(const Class& value, Encoder& encoder) noexcept {
    static_assert((Field<detail::ValueOf<Members>> && ...), "a member's type has no FieldCodec");
    (FieldCodec<detail::ValueOf<Members>>::encode(encoder, value.*Members), ...);
    return encoder.status();
  }
  /// Errors: corrupt, and `out` may have been changed in part.
  static Result<void> decode(Bytes bytes, Class& out) noexcept {
    Decoder decoder(bytes);
    static_cast<void>((FieldCodec<detail::ValueOf<Members>>::decode(decoder, out.*Members) && ...));
    return decoder.finish();
  }

  static constexpr bool keeps_order = false;
};

/// The key codec of a struct: keys sort by the first member, then by the next, and so on.
/// Errors of `encode`: invalid_argument for NaN. Of `decode`: corrupt.
template <auto... Members>
requires(sizeof...(Members) > 0) struct OrderedFields {
  using Class = typename detail::FirstClass<Members...>::Type;
  static_assert((std::is_same_v<Class, detail::ClassOf<Members>> && ...),
                "OrderedFields: the members must be of one class");

  static std::string schema() {
    std::string text;
    (detail::append_field_text<Members>(text,
                                        OrderedFieldCodec<detail::ValueOf<Members>>::schema()),
     ...);
    return text;
  }
  static Result<void> encode(const Class& value, Encoder& encoder) noexcept {
    static_assert((OrderedField<detail::ValueOf<Members>> && ...),
                  "a member's type has no OrderedFieldCodec");
    std::size_t index = 0;
    (OrderedFieldCodec<detail::ValueOf<Members>>::encode(encoder, value.*Members,
                                                         position_of(index++)),
     ...);
    return encoder.status();
  }
  static Result<void> decode(Bytes bytes, Class& out) noexcept {
    Decoder decoder(bytes);
    std::size_t index = 0;
    static_cast<void>((OrderedFieldCodec<detail::ValueOf<Members>>::decode(decoder, out.*Members,
                                                                           position_of(index++)) &&
                       ...));
    return decoder.finish();
  }

  static constexpr bool keeps_order = true;

 private:
  static constexpr KeyPosition position_of(std::size_t index) noexcept {
    return index + 1 == sizeof...(Members) ? KeyPosition::last : KeyPosition::inner;
  }
};

/// The codec of a record that is one value. Strings and byte vectors are stored as they are.
template <Field T>
struct SingleField {
  static std::string schema() { return FieldCodec<T>::schema(); }
  static void references(std::vector<std::string>& out) {
    detail::collect_references<FieldCodec<T>>(out);
  }
  static Result<void> encode(const T& value, Encoder& encoder) noexcept {
    if constexpr (detail::ByteString<T>) {
      encoder.put(detail::bytes_of(value));
    } else {
      FieldCodec<T>::encode(encoder, value);
    }
    return encoder.status();
  }
  static Result<void> decode(Bytes bytes, T& out) noexcept {
    if constexpr (detail::ByteString<T>) {
      detail::assign_to(out, bytes);
      return {};
    } else {
      Decoder decoder(bytes);
      static_cast<void>(FieldCodec<T>::decode(decoder, out));
      return decoder.finish();
    }
  }
  static constexpr bool keeps_order = detail::ByteString<T>;
};

/// The codec of a key that is one value.
template <OrderedField T>
struct OrderedSingleField {
  static std::string schema() { return OrderedFieldCodec<T>::schema(); }
  static Result<void> encode(const T& value, Encoder& encoder) noexcept {
    OrderedFieldCodec<T>::encode(encoder, value, KeyPosition::last);
    return encoder.status();
  }
  static Result<void> decode(Bytes bytes, T& out) noexcept {
    Decoder decoder(bytes);
    static_cast<void>(OrderedFieldCodec<T>::decode(decoder, out, KeyPosition::last));
    return decoder.finish();
  }
  static constexpr bool keeps_order = true;
};

/// Bytes as they are. Decoding gives a view of the stored bytes, or a copy in a string.
struct BytesCodec {
  static std::string schema() { return "bytes"; }
  static Result<void> encode(Bytes value, Encoder& encoder) noexcept {
    encoder.put(value);
    return encoder.status();
  }
  static Result<void> decode(Bytes bytes, Bytes& out) noexcept {
    out = bytes;
    return {};
  }
  static Result<void> decode(Bytes bytes, std::string& out) noexcept {
    detail::assign_to(out, bytes);
    return {};
  }
  static constexpr bool keeps_order = true;
};

}  // namespace firn
