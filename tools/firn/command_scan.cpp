// firn scan DB TABLE: pairs in key order, a line each.
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "command.hpp"
#include "database.hpp"

namespace firn::cli {
namespace {

struct ScanArguments : TableArguments {
  std::optional<std::string> from;
  std::optional<std::string> to;
  std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  bool reverse = false;
  bool keys_only = false;
};

// A bound in the table's terms; false: it was reported.
bool take_bound(const std::optional<std::string>& text, TextForm form,
                std::optional<std::string>& bytes, std::string_view name) {
  if (!text.has_value()) return true;
  bytes = bytes_of_text(form, *text);
  if (!bytes.has_value()) report_bad_text(name, form, "scan");
  return bytes.has_value();
}

void print_pair(Output& output, const ScanArguments& arguments, TextForm form,
                const domain::TableReader& table) {
  const TextForm record_form = arguments.wants_hex ? TextForm::hex : TextForm::print;
  std::string key = text_of_bytes(form, table.key());
  std::string record = arguments.keys_only ? "" : text_of_bytes(record_form, table.record());
  if (output.wants_json()) {
    nlohmann::ordered_json line{{"key", key}};
    if (!arguments.keys_only) line["record"] = record;
    output.json_line(line);
  } else if (arguments.keys_only) {
    output.text(key + "\n");
  } else {
    output.text(key + "\t" + record + "\n");
  }
}

ExitCode scan(Output& output, const ScanArguments& arguments) {
  Database database;
  if (!database.open(arguments.path)) return database.code();
  const domain::CatalogueRow* const row = database.find(arguments.table);
  if (row == nullptr) return database.code();
  const TextForm form = key_form(row->type.key_schema, arguments.wants_hex);
  std::optional<std::string> from;
  std::optional<std::string> to;
  if (!take_bound(arguments.from, form, from, "key after --from") ||
      !take_bound(arguments.to, form, to, "key after --to")) {
    return ExitCode::cannot_run;
  }
  const auto key_of = [](const std::optional<std::string>& bound) {
    return bound.has_value() ? Bytes(std::string_view(*bound)) : Bytes();
  };
  domain::TableReader table(database.reader(), *row);
  tree::Target target = from.has_value() ? tree::Target::at_or_after : tree::Target::first;
  Bytes key = key_of(from);
  if (arguments.reverse) {
    target = to.has_value() ? tree::Target::before : tree::Target::last;
    key = key_of(to);
  }
  for (std::uint64_t count = 0; count < arguments.limit; ++count) {
    const Result<bool> moved = table.move(target, key);
    if (!moved.has_value()) return report_table(moved.error(), row->name, arguments.path);
    key = table.key();
    if (!*moved) break;
    if (arguments.reverse ? from.has_value() && key < key_of(from)
                          : to.has_value() && key >= key_of(to)) {
      break;
    }
    print_pair(output, arguments, form, table);
    target = arguments.reverse ? tree::Target::before : tree::Target::after;
  }
  return ExitCode::ok;
}

Action prepare_scan(CLI::App& app) {
  auto arguments = std::make_shared<ScanArguments>();
  add_table(app, *arguments);
  app.add_option("--from", arguments->from, "the first key that counts, written as for get");
  app.add_option("--to", arguments->to, "the first key that does not count any more");
  app.add_option("--limit", arguments->limit, "at most so many pairs");
  app.add_flag("--reverse", arguments->reverse, "from the last pair to the first");
  app.add_flag("--keys", arguments->keys_only, "without the records");
  add_hex(app, arguments->wants_hex);
  return [arguments](Output& output) { return scan(output, *arguments); };
}

}  // namespace

const Command scan_command = {"scan", "print pairs in key order", prepare_scan};

}  // namespace firn::cli
