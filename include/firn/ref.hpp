// References: typed pointers to a pair, kept in the records of other pairs.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <firn/table_type.hpp>

namespace firn {

/// Points to a pair of a table of `Type`: the table's number and the encoded key. It owns neither
/// and may dangle; following it then finds nothing. `Type` may be incomplete where a reference is
/// declared, so a record can point to its own kind.
///
/// Cost: the key is held encoded, in a string. Sack addresses and keys of up to 15 bytes lie inside
/// it, longer ones are allocated. Stored: varint table (null: 0 and no more), varint size, key.
template <class Type>
class Ref {
 public:
  /// Null.
  Ref() noexcept = default;

  /// The reference to `key` in the table of that number, which is not 0. Handles call this; users
  /// ask a table for a reference. Errors: what the key's codec refuses.
  template <class T = Type>
  [[nodiscard]] static Result<Ref> make(std::uint64_t table,
                                        const std::type_identity_t<KeyOf<T>>& key) noexcept {
    Buffer buffer;
    FIRN_TRY(encode_key<T>(key, buffer));
    return from_encoded(table, buffer.view());
  }
  /// The same of an encoded key, which is not checked.
  [[nodiscard]] static Ref from_encoded(std::uint64_t table, Bytes key) noexcept {
    FIRN_ASSERT(table != 0);
    Ref made;
    made.table_ = table;
    detail::assign_to(made.key_, key);
    return made;
  }

  [[nodiscard]] bool is_null() const noexcept { return table_ == 0; }
  explicit operator bool() const noexcept { return !is_null(); }
  /// 0 if null.
  [[nodiscard]] std::uint64_t table() const noexcept { return table_; }
  /// The encoded key; valid as long as this reference is neither changed nor destroyed.
  [[nodiscard]] Bytes encoded_key() const noexcept { return detail::bytes_of(key_); }
  /// The key, of a sack the address. The reference is not null. Errors: corrupt.
  template <class T = Type>
  [[nodiscard]] Result<OwnedKeyOf<T>> key() const noexcept {
    FIRN_ASSERT(!is_null());
    OwnedKeyOf<T> decoded{};
    FIRN_TRY(decode_key<T>(encoded_key(), decoded));
    return decoded;
  }

  /// Same table and same bytes, also where the table's comparator takes more keys for equal.
  friend bool operator==(const Ref& left, const Ref& right) noexcept {
    return left.table_ == right.table_ && left.key_ == right.key_;
  }

 private:
  std::uint64_t table_ = 0;
  std::string key_;
};

template <class Type>
struct FieldCodec<Ref<Type>> {
  static std::string schema() { return detail::joined({"ref(", Type::name, ")"}); }
  static void references(std::vector<std::string>& out) { out.emplace_back(Type::name); }
  static void encode(Encoder& encoder, const Ref<Type>& value) noexcept {
    encoder.put_varint(value.table());
    if (value.is_null()) return;
    encoder.put_varint(value.encoded_key().size());
    encoder.put(value.encoded_key());
  }
  static bool decode(Decoder& decoder, Ref<Type>& out) noexcept {
    std::uint64_t table = 0;
    if (!decoder.take_varint(table)) return false;
    if (table == 0) {
      out = Ref<Type>();
      return true;
    }
    Bytes key;
    if (!decoder.take_sized(key)) return false;
    out = Ref<Type>::from_encoded(table, key);
    return true;
  }
};

}  // namespace firn
