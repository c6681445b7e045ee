// One script of every public call, which prints what came of each. It is the same text for every
// domain type and every way of running operations; a section that needs a capability names it.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "contract/conformance_types.hpp"
#include "support/domains.hpp"
#include "support/executor_modes.hpp"

namespace firn::tests {

/// What each section printed.
using Transcript = std::map<std::string, std::string>;

class ConformanceScript {
 public:
  ConformanceScript(const DomainFactory& factory, Mode mode) : factory_(factory), runner_(mode) {}
  Transcript run();

 private:
  using Section = void (ConformanceScript::*)();
  void section(const char* name, Section body, Capability needs, Capability lacks);

  void opening();
  void tables();
  void pairs();
  void typed_pairs();
  void comparators();
  void cursors();
  void cursors_and_updates();
  void wrong_cursors();
  void unordered_tables();
  void sacks();
  void references();
  void catalogue();
  void wrong_arguments();
  void corrupt_records();
  void transactions();
  void notified_transactions();
  void without_abort();
  void without_notify();
  void without_segments();
  void without_persistence();
  void posting();
  void closing();

  // The name of the call, then what came of it.
  template <class T>
  void say(std::string_view call, const Result<T>& result) {
    text_ += std::string(call) + ": ";
    if (result.has_value()) {
      show(result);
    } else {
      text_ += name_of(result.error().code);
    }
    text_ += '\n';
  }
  template <class Make>
  void does(std::string_view call, Make&& make) {
    say(call, runner_.run(make));
  }
  // The same, for what succeeds and is used afterwards.
  template <class Make>
  auto takes(std::string_view call, Make&& make) {
    auto result = runner_.run(make);
    say(call, result);
    must(result.has_value(), "what the script goes on with was refused");
    return std::move(*result);
  }
  // Quietly; it must succeed.
  template <class Make>
  auto get(Make&& make) {
    auto result = runner_.run(make);
    must(result.has_value(), result.has_value() ? "" : result.error().detail);
    if constexpr (!std::is_void_v<typename decltype(result)::value_type>) {
      return std::move(*result);
    }
  }
  void note(std::string line) { text_ += std::move(line) + '\n'; }

  void show(const Result<void>&) { text_ += "ok"; }
  void show(const Result<bool>& yes) { text_ += *yes ? "yes" : "no"; }
  void show(const Result<Address>&) { text_ += "an address"; }
  template <class T>
  void show(const Result<std::optional<T>>& found) {
    text_ += found->has_value() ? shown(**found) : "nothing";
  }
  template <class T>
  void show(const Result<Table<T>>& table) {
    text_ += "table " + std::string(table->name());
  }
  void show(const Result<Transaction>&) { text_ += "a transaction"; }
  void show(const Result<Domain>&) { text_ += "a domain"; }
  void show(const Result<std::vector<TableInfo>>& list) {
    text_ += std::to_string(list->size()) + " tables";
  }
  void show(const Result<Persisted>&) { text_ += "persisted"; }

  static std::string shown(std::string_view bytes) {
    if (bytes.size() > 80) return std::to_string(bytes.size()) + " bytes";
    std::string text = "'";
    for (const char each : bytes) {
      const auto byte = static_cast<unsigned char>(each);
      constexpr std::string_view digits = "0123456789abcdef";
      if (byte >= 0x20 && byte < 0x7f) {
        text += each;
      } else {
        text += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      }
    }
    return text + "'";
  }
  static std::string shown(Bytes bytes) { return shown(bytes.text()); }
  static std::string shown(std::uint64_t number) { return std::to_string(number); }
  static std::string shown(double number) { return std::to_string(number); }
  static std::string shown(const PersonKey& key) {
    return std::to_string(key.group) + "/" + shown(key.name);
  }
  static std::string shown(const PersonRecord& record) {
    return std::to_string(record.id) + " " + shown(record.city) + (record.note ? " noted" : "");
  }
  static std::string shown(const NoteRecord& record) {
    return shown(record.text) + (record.next ? " ->" : "");
  }
  static std::string shown(const Address& address) {
    return address.is_null() ? "null" : "an address";
  }

  template <class C>
  void move(std::string_view call, C& cursor, bool forward) {
    const auto moved = forward ? runner_.run([&] { return cursor.next(); })
                               : runner_.run([&] { return cursor.prev(); });
    say_place(call, cursor, moved);
  }
  template <class C, class K>
  void seek(C& cursor, const K& key) {
    say_place("seek " + shown(key), cursor, runner_.run([&] { return cursor.seek(key); }));
  }
  template <class C>
  void say_place(std::string_view call, const C& cursor, const Result<bool>& moved) {
    text_ += std::string(call) + ": ";
    if (!moved.has_value()) {
      text_ += name_of(moved.error().code);
    } else if (*moved) {
      text_ += shown(cursor.key()) + " = " + shown(cursor.record());
    } else {
      text_ += "end";
    }
    text_ += cursor.status().has_value() ? "\n" : " (not well)\n";
  }
  template <class Type>
  void walk(std::string_view call, Table<Type>& table, Range<KeyOf<Type>> range, bool forward) {
    auto cursor = table.cursor(std::move(range));
    note(std::string(call));
    do move(forward ? "  next" : "  prev", cursor, forward);
    while (cursor.at_pair() && cursor.status().has_value());
  }
  template <class Type>
  Table<Type> made(std::string_view name) {
    return get([&] { return domain_.create_table<Type>(name, factory_.table_options()); });
  }

  const DomainFactory& factory_;
  ModeRunner runner_;
  Domain domain_;
  std::string path_;
  std::string text_;
  Transcript transcript_;
};

}  // namespace firn::tests
