// Codecs: how keys and records become bytes. A codec is a struct of static functions:
//
//   static Result<void> encode(const T&, Encoder&);   // appends; same value, same bytes
//   static Result<void> decode(Bytes, T&);            // strict; any bytes; corrupt if not its own
//   static constexpr std::string_view id;             // kept in the catalogue, compared at open
//
// and, where its records hold references, `static void references(std::vector<std::string>&)`.
// `Fields`, `OrderedFields` and the single values of codec/fields.hpp are codecs that describe
// themselves by `schema()` in place of `id`.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include <firn/codec/fields.hpp>

namespace firn {

namespace detail {
template <class C>
concept HasSchema = requires {
  { C::schema() } -> std::convertible_to<std::string>;
};
template <class C>
concept HasCodecId = requires {
  { C::id } -> std::convertible_to<std::string_view>;
};
template <class C>
consteval bool may_keep_order() noexcept {
  if constexpr (requires { C::keeps_order; }) return C::keeps_order;
  return true;
}
}  // namespace detail

/// `C` encodes values of `T`.
template <class C, class T>
concept RecordCodecFor = (detail::HasSchema<C> ||
                          detail::HasCodecId<C>)&&requires(const T& value, T& out, Encoder& encoder,
                                                           Bytes bytes) {
  { C::encode(value, encoder) } -> std::same_as<Result<void>>;
  { C::decode(bytes, out) } -> std::same_as<Result<void>>;
};

/// `C` encodes keys of `T` so that their bytes sort as they should. An own codec is believed to;
/// `Fields` does not.
template <class C, class T>
concept KeyCodecFor = RecordCodecFor<C, T> && detail::may_keep_order<C>();

/// The text that stands for the codec in the catalogue: its schema, or "codec(<id>)".
template <class C>
[[nodiscard]] std::string schema_of() {
  if constexpr (detail::HasSchema<C>) {
    return C::schema();
  } else {
    return detail::joined({"codec(", C::id, ")"});
  }
}

}  // namespace firn
