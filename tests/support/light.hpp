// Domains for tests, of the type that is tested or light ones, the table types that they are filled
// with, and short ways to say what a call answered.
#pragma once

#include <firn/firn.hpp>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "support/catch.hpp"
#include "support/domains.hpp"

namespace firn::test {

// The name of the error that `result` holds; empty: it holds none.
template <class T>
std::string_view error_of(const Result<T>& result) {
  return result.has_value() ? std::string_view() : name_of(result.error().code);
}

// Many domains are opened under no name at once.
inline Domain open_light(std::string_view path = "", std::uint64_t memory_budget = 64_MiB) {
  auto opened =
      Domain::open(path, {.type = DomainType::light, .memory_budget = memory_budget}).wait();
  REQUIRE(error_of(opened) == "");
  return *std::move(opened);
}

/// The type that FIRN_DOMAIN names, or light: what the tests of the contract run on.
inline const tests::DomainFactory& domain_under_test() { return tests::chosen_domains_first(); }

/// The path at which the domain of that name lies.
inline std::string path_under_test(std::string_view name) { return domain_under_test().path(name); }

/// Many domains are opened under no name at once. Each test begins with none.
inline Domain open_domain(std::string_view name = "", std::uint64_t memory_budget = 64_MiB) {
  static int nameless_count = 0;
  const bool is_named = !name.empty() || domain_under_test().type == DomainType::light;
  const std::string unique =
      is_named ? std::string(name) : "nameless" + std::to_string(++nameless_count);
  DomainOptions options = domain_under_test().options();
  options.memory_budget = memory_budget;
  auto opened = Domain::open(path_under_test(unique), options).wait();
  if (!opened.has_value()) FAIL(opened.error().message());
  return *std::move(opened);
}

inline TableOptions volatile_table() {
  TableOptions options;
  options.persistence = Persistence::volatile_;
  return options;
}

template <class Type>
Table<Type> create(Domain& domain, std::string_view name) {
  TableOptions options;
  if (!includes(domain.capabilities(), Capability::persistent)) options = volatile_table();
  auto made = domain.create_table<Type>(name, options).wait();
  REQUIRE(error_of(made) == "");
  return *std::move(made);
}
template <class Type>
Table<Type> open(Domain& domain, std::string_view name) {
  auto opened = domain.open_table<Type>(name).wait();
  REQUIRE(error_of(opened) == "");
  return *std::move(opened);
}

// The record of a key, which is looked up without an error.
template <class Type>
std::optional<OwnedRecordOf<Type>> found(const Table<Type>& table, KeyOf<Type> key) {
  auto record = table.lookup(std::move(key)).wait();
  REQUIRE(error_of(record) == "");
  return *std::move(record);
}

template <class T>
const T& owned(const T& value) {
  return value;
}
inline std::string owned(Bytes bytes) { return std::string(bytes.text()); }

// Every pair as a cursor meets it.
template <class Type>
std::map<OwnedKeyOf<Type>, OwnedRecordOf<Type>> contents(const Table<Type>& table) {
  std::map<OwnedKeyOf<Type>, OwnedRecordOf<Type>> pairs;
  auto cursor = table.cursor();
  while (cursor.next().wait().value()) {
    const bool fresh = pairs.emplace(owned(cursor.key()), owned(cursor.record())).second;
    REQUIRE(fresh);
  }
  REQUIRE(error_of(cursor.status()) == "");
  return pairs;
}

struct WordType : TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.word";
};

// Some keys of this type have no encoding: NaN.
struct NumberType : TableType<double, std::string> {
  static constexpr std::string_view name = "test.number";
};

struct NoteType : SackType<std::string> {
  static constexpr std::string_view name = "test.note";
};

// Records that point to notes, to words and to their own kind.
struct LinkType;
struct Link {
  Ref<NoteType> note = {};
  Ref<WordType> word = {};
  Ref<LinkType> next = {};
};
struct LinkType : TableType<std::string, Link> {
  static constexpr std::string_view name = "test.link";
  using RecordCodec = Fields<&Link::note, &Link::word, &Link::next>;
};

struct CaseBlind {
  static constexpr std::string_view id = "test.case-blind.1";
  static std::strong_ordering compare(Bytes left, Bytes right) noexcept {
    const auto lower = [](std::byte byte) { return std::tolower(std::to_integer<int>(byte)); };
    return std::lexicographical_compare_three_way(
        left.begin(), left.end(), right.begin(), right.end(),
        [&](std::byte a, std::byte b) { return lower(a) <=> lower(b); });
  }
};
struct CaseBlindType : TableType<std::string, std::string> {
  static constexpr std::string_view name = "test.case-blind";
  using Comparator = CaseBlind;
};

struct UnorderedType : TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.unordered";
  static constexpr Hints hints{.ordered = false};
};

// Accepts nothing but records that begin with "ok".
struct PickyCodec {
  static constexpr std::string_view id = "test.picky.1";
  static Result<void> encode(const std::string& value, Encoder& encoder) noexcept {
    if (value == "refuse") {
      encoder.put_byte(1);
      return fail(ErrorCode::invalid_argument, "this record is refused");
    }
    encoder.put(Bytes(value));
    return encoder.status();
  }
  static Result<void> decode(Bytes bytes, std::string& out) noexcept {
    if (!bytes.text().starts_with("ok")) return fail(ErrorCode::corrupt, "no such record");
    detail::assign_to(out, bytes);
    return {};
  }
};
struct PickyType : TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.picky";
  using RecordCodec = PickyCodec;
};

}  // namespace firn::test
