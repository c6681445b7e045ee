// The table types of the conformance script: one of each kind that the public interface offers.
#pragma once

#include <string>

#include <firn/firn.hpp>

namespace firn::tests {

struct Note;
struct NoteRecord {
  std::string text;
  Ref<Note> next;
};
struct Note : SackType<NoteRecord> {
  static constexpr std::string_view name = "conformance.note";
  using RecordCodec = Fields<&NoteRecord::text, &NoteRecord::next>;
};

struct PersonKey {
  std::uint32_t group = 0;
  std::string name;
};
struct PersonRecord {
  std::uint64_t id = 0;
  std::string city;
  Ref<Note> note;
};
struct Person : TableType<PersonKey, PersonRecord> {
  static constexpr std::string_view name = "conformance.person";
  using KeyCodec = OrderedFields<&PersonKey::group, &PersonKey::name>;
  using RecordCodec = Fields<&PersonRecord::id, &PersonRecord::city, &PersonRecord::note>;
};
// The same name with another record, with another major version, and as another kind.
struct PersonWithoutCity : TableType<PersonKey, std::uint64_t> {
  static constexpr std::string_view name = "conformance.person";
  using KeyCodec = Person::KeyCodec;
};
struct PersonOfTomorrow : Person {
  static constexpr TypeVersion version{2, 0};
};
struct PersonOfLater : Person {
  static constexpr TypeVersion version{1, 9};
};
struct PersonSack : SackType<PersonRecord> {
  static constexpr std::string_view name = "conformance.person";
  using RecordCodec = Person::RecordCodec;
};

struct ReverseOrder {
  static constexpr std::string_view id = "conformance.reverse";
  static std::strong_ordering compare(Bytes left, Bytes right) noexcept { return right <=> left; }
};
struct Reversed : TableType<Bytes, Bytes> {
  static constexpr std::string_view name = "conformance.reversed";
  using Comparator = ReverseOrder;
};
struct NotReversed : TableType<Bytes, Bytes> {
  static constexpr std::string_view name = "conformance.reversed";
};

struct Unordered : TableType<Bytes, Bytes> {
  static constexpr std::string_view name = "conformance.unordered";
  static constexpr Hints hints{.ordered = false};
};

// Its records are never accepted when they are read.
struct RefusingCodec {
  static std::string schema() { return "u64"; }
  static Result<void> encode(const std::uint64_t& value, Encoder& encoder) noexcept {
    return SingleField<std::uint64_t>::encode(value, encoder);
  }
  static Result<void> decode(Bytes, std::uint64_t&) noexcept {
    return fail(ErrorCode::corrupt, "refused");
  }
  static constexpr bool keeps_order = false;
};
struct Refusing : TableType<std::uint64_t, std::uint64_t> {
  static constexpr std::string_view name = "conformance.refusing";
  using RecordCodec = RefusingCodec;
};
struct Measured : TableType<double, std::uint64_t> {
  static constexpr std::string_view name = "conformance.measured";
};

}  // namespace firn::tests
