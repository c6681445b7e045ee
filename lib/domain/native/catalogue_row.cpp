#include "domain/native/catalogue_row.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include <firn/codec/coder.hpp>

#include "base/allocation.hpp"

namespace firn::domain {
namespace {

using buffer::PageSlot;

constexpr std::uint8_t row_format = 1;
constexpr std::uint32_t payload_format = 1;
constexpr std::size_t name_bytes_max = 255;
constexpr std::uint8_t leaf_class_max = 4;  // 64 KiB
// Of tables and addresses: nobody counts so far, and what is counted on does not wrap.
constexpr std::uint64_t number_max = std::uint64_t{1} << 62;

struct PayloadLayout {
  std::uint32_t format = 0;
  std::uint32_t reserved = 0;
  std::uint64_t catalogue_root = 0;
};
static_assert(sizeof(PayloadLayout) == 16 && sizeof(PayloadLayout) <= sizeof(store::Payload));

Failure corrupt(const char* detail, std::uint64_t value = 0) noexcept {
  Failure failure = fail(ErrorCode::corrupt, detail, value);
  failure.error.place.table = static_cast<std::uint32_t>(catalogue_table_id);
  return failure;
}

void put_text(Encoder& encoder, std::string_view text) noexcept {
  encoder.put_varint(text.size());
  encoder.put(Bytes(text));
}
// Throws when there is no memory.
bool take_text(Decoder& decoder, std::string& out) {
  Bytes bytes;
  if (!decoder.take_sized(bytes)) return false;
  out.assign(bytes.text());
  return true;
}
bool take_flag(Decoder& decoder, bool& out) noexcept {
  std::uint8_t byte = 0;
  if (!decoder.take_byte(byte)) return false;
  if (byte > 1) return decoder.fail("a flag is neither 0 nor 1, at byte {}");
  out = byte != 0;
  return true;
}
template <class U>
bool take_number(Decoder& decoder, U& out) noexcept {
  std::uint64_t number = 0;
  if (!decoder.take_varint(number)) return false;
  if (number > std::numeric_limits<U>::max()) return decoder.fail("a number is too large, at {}");
  out = static_cast<U>(number);
  return true;
}
template <class E>
bool take_enumerator(Decoder& decoder, E least, E most, E& out) noexcept {
  std::uint8_t byte = 0;
  if (!decoder.take_byte(byte)) return false;
  if (byte < static_cast<std::uint8_t>(least) || byte > static_cast<std::uint8_t>(most)) {
    return decoder.fail("no such enumerator, at byte {}");
  }
  out = static_cast<E>(byte);
  return true;
}
bool take_page(Decoder& decoder, PageSlot& out) noexcept {
  std::uint64_t bits = 0;
  if (!decoder.take_varint(bits)) return false;
  out = PageSlot::from_bits(bits);
  if (bits != 0 && !out.valid()) return decoder.fail("no page id, at byte {}");
  return true;
}
// Each element takes a byte at least, so a count can be checked before memory is taken for it.
bool take_count(Decoder& decoder, std::size_t& out) noexcept {
  if (!take_number(decoder, out)) return false;
  return out <= decoder.remaining() || decoder.fail("a count is beyond the end, at byte {}");
}

void put_type(Encoder& encoder, const TypeDescription& type) noexcept {
  put_text(encoder, type.name);
  encoder.put_varint(type.version.major);
  encoder.put_varint(type.version.minor);
  encoder.put_byte(type.sack ? 1 : 0);
  put_text(encoder, type.key_schema);
  put_text(encoder, type.record_schema);
  put_text(encoder, type.comparator);
  encoder.put_varint(type.references.size());
  for (const std::string& reference : type.references) put_text(encoder, reference);
  encoder.put_byte(type.hints.ordered ? 1 : 0);
  encoder.put_varint(type.hints.record_size_typical);
  encoder.put_varint(type.hints.expected_pairs);
  encoder.put_byte(type.hints.write_heavy ? 1 : 0);
  encoder.put_varint(type.hints.value_threshold);
}
bool take_type(Decoder& decoder, TypeDescription& type) {
  std::size_t count = 0;
  bool fine = take_text(decoder, type.name) && take_number(decoder, type.version.major) &&
              take_number(decoder, type.version.minor) && take_flag(decoder, type.sack) &&
              take_text(decoder, type.key_schema) && take_text(decoder, type.record_schema) &&
              take_text(decoder, type.comparator) && take_count(decoder, count);
  for (std::size_t index = 0; fine && index < count; ++index) {
    fine = take_text(decoder, type.references.emplace_back());
  }
  return fine && take_flag(decoder, type.hints.ordered) &&
         take_number(decoder, type.hints.record_size_typical) &&
         take_number(decoder, type.hints.expected_pairs) &&
         take_flag(decoder, type.hints.write_heavy) &&
         take_number(decoder, type.hints.value_threshold);
}

bool take_references(Decoder& decoder, std::vector<std::uint64_t>& out) {
  std::size_t count = 0;
  if (!take_count(decoder, count)) return false;
  for (std::size_t index = 0; index < count; ++index) {
    std::uint64_t id = 0;
    if (!decoder.take_varint(id)) return false;
    if (!out.empty() && id <= out.back()) return decoder.fail("ids out of order, at byte {}");
    out.push_back(id);
  }
  return true;
}

void take_row(Decoder& decoder, CatalogueRow& row) {
  const bool fine =
      take_enumerator(decoder, RowState::live, RowState::destroyed, row.state) &&
      take_text(decoder, row.name) && take_type(decoder, row.type) &&
      take_enumerator(decoder, Persistence::persistent, Persistence::volatile_, row.persistence) &&
      take_references(decoder, row.references) && take_text(decoder, row.placement.inner) &&
      take_text(decoder, row.placement.leaves) && take_text(decoder, row.placement.values) &&
      decoder.take_byte(row.leaf_class) && take_number(decoder, row.inline_max) &&
      take_page(decoder, row.root) && take_page(decoder, row.former_root) &&
      decoder.take_varint(row.pair_count) && decoder.take_varint(row.address_limit);
  if (!fine) return;
  if (row.name.empty() || row.name.size() > name_bytes_max || row.type.name.empty() ||
      row.type.name.size() > type_name_size_max || row.type.comparator.empty()) {
    decoder.fail("a name is empty or too long, before byte {}");
  } else if (row.leaf_class > leaf_class_max) {
    decoder.fail("no such leaf class, before byte {}");
  } else if (!row.root.valid()) {
    decoder.fail("a table without a root, before byte {}");
  } else if (row.former_root.valid() &&
             (row.former_root == row.root || row.persistence != Persistence::volatile_)) {
    decoder.fail("a former root that is none, before byte {}");
  } else if (row.address_limit > number_max) {
    decoder.fail("an address beyond all that are handed out, before byte {}");
  }
}

}  // namespace

RowKey key_of_row(std::uint64_t id) noexcept {
  RowKey key;
  for (std::size_t index = 0; index < key.size(); ++index) {
    key[index] = static_cast<std::byte>(id >> (56 - 8 * index));
  }
  return key;
}

Result<void> encode_row(const CatalogueRow& row, Buffer& out) noexcept {
  Encoder encoder(out);
  encoder.put_byte(row_format);
  encoder.put_byte(static_cast<std::uint8_t>(row.state));
  put_text(encoder, row.name);
  put_type(encoder, row.type);
  encoder.put_byte(static_cast<std::uint8_t>(row.persistence));
  encoder.put_varint(row.references.size());
  for (const std::uint64_t id : row.references) encoder.put_varint(id);
  put_text(encoder, row.placement.inner);
  put_text(encoder, row.placement.leaves);
  put_text(encoder, row.placement.values);
  encoder.put_byte(row.leaf_class);
  encoder.put_varint(row.inline_max);
  encoder.put_varint(row.root.bits());
  encoder.put_varint(row.former_root.bits());
  encoder.put_varint(row.pair_count);
  encoder.put_varint(row.address_limit);
  return encoder.status();
}

Result<void> decode_row(Bytes key, Bytes value, CatalogueRow& out) noexcept {
  std::uint64_t id = 0;
  Decoder key_decoder(key);
  if (!key_decoder.take_big_endian(id) || !key_decoder.finish().has_value()) {
    return corrupt("a key of the catalogue has {} bytes", key.size());
  }
  if (id < first_table_id || id > number_max) {
    return corrupt("the catalogue has a row of table {}", id);
  }
  Decoder decoder(value);
  std::uint8_t format = 0;
  if (!decoder.take_byte(format)) return corrupt("the row of table {} is empty", id);
  if (format != row_format) {
    return fail(ErrorCode::unsupported_format, "the catalogue has rows of format {}", format);
  }
  out = {};
  out.id = id;
  FIRN_TRY(base::guard_allocation([&] { take_row(decoder, out); }));
  if (decoder.finish().has_value()) return {};
  return corrupt("the row of table {} makes no sense", id);
}

Result<void> encode_next_id(std::uint64_t next_id, Buffer& out) noexcept {
  Encoder encoder(out);
  encoder.put_byte(row_format);
  encoder.put_varint(next_id);
  return encoder.status();
}

Result<void> decode_next_id(Bytes value, std::uint64_t& next_id) noexcept {
  Decoder decoder(value);
  std::uint8_t format = 0;
  const bool taken = decoder.take_byte(format) && decoder.take_varint(next_id);
  if (!taken || !decoder.finish().has_value() || next_id < first_table_id || next_id > number_max) {
    return corrupt("the catalogue's next number makes no sense");
  }
  if (format != row_format) {
    return fail(ErrorCode::unsupported_format, "the catalogue has rows of format {}", format);
  }
  return {};
}

store::Payload encode_payload(PageSlot catalogue_root) noexcept {
  store::Payload payload{};
  const PayloadLayout layout{.format = payload_format, .catalogue_root = catalogue_root.bits()};
  std::memcpy(payload.data(), &layout, sizeof layout);
  return payload;
}

Result<void> decode_payload(const store::Payload& payload, PageSlot& catalogue_root) noexcept {
  catalogue_root = PageSlot();
  if (payload == store::Payload{}) return {};
  PayloadLayout layout;
  std::memcpy(&layout, payload.data(), sizeof layout);
  if (layout.format != payload_format) {
    return fail(ErrorCode::unsupported_format, "the catalogue is of format {}", layout.format);
  }
  catalogue_root = PageSlot::from_bits(layout.catalogue_root);
  if (!catalogue_root.valid()) return corrupt("the catalogue's root is no page");
  return {};
}

// Small records that are mostly read want small leaves, since a lookup reads one; large records and
// many writes want large ones: at least about 16 records to a leaf, 64 KiB at most.
Layout layout_for(const Hints& hints) noexcept {
  constexpr std::uint32_t small_record_bytes = 256;
  constexpr std::uint32_t large_record_bytes = 1024;
  constexpr std::uint8_t class_of_4_kib = 0;
  constexpr std::uint8_t class_of_8_kib = 1;
  constexpr std::uint8_t class_of_16_kib = 2;
  Layout layout{.leaf_class = class_of_8_kib, .inline_max = hints.value_threshold};
  const std::uint32_t typical = hints.record_size_typical;
  if (typical > large_record_bytes) {
    const auto wanted = std::bit_width(std::uint64_t{typical} * 16 - 1) - 12;
    layout.leaf_class = static_cast<std::uint8_t>(
        std::clamp<std::uint64_t>(wanted, class_of_16_kib, leaf_class_max));
  } else if (hints.write_heavy) {
    layout.leaf_class = class_of_16_kib;
  } else if (typical > 0 && typical <= small_record_bytes) {
    layout.leaf_class = class_of_4_kib;
  }
  return layout;
}

}  // namespace firn::domain
