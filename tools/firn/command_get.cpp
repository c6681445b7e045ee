// firn get DB TABLE KEY: one record.
#include <memory>
#include <string>

#include <fmt/format.h>

#include "command.hpp"
#include "database.hpp"

namespace firn::cli {
namespace {

struct GetArguments : TableArguments {
  std::string key;
};

ExitCode get(Output& output, const GetArguments& arguments) {
  Database database;
  if (!database.open(arguments.path)) return database.code();
  const domain::CatalogueRow* const row = database.find(arguments.table);
  if (row == nullptr) return database.code();
  const TextForm form = key_form(row->type.key_schema, arguments.wants_hex);
  const auto key = bytes_of_text(form, arguments.key);
  if (!key.has_value()) return report_bad_text("key", form, "get");
  domain::TableReader table(database.reader(), *row);
  Buffer record;
  const Result<bool> found = table.lookup(std::string_view(*key), record);
  if (!found.has_value()) return report_table(found.error(), row->name, arguments.path);
  if (!*found) return report_no_pair(arguments.key, row->name, arguments.path);
  const TextForm record_form = arguments.wants_hex ? TextForm::hex : TextForm::print;
  const std::string text = text_of_bytes(record_form, record.view());
  if (output.wants_json()) {
    output.json({{"table", row->name}, {"key", arguments.key}, {"record", text}});
  } else {
    output.text(text + "\n");
  }
  return ExitCode::ok;
}

Action prepare_get(CLI::App& app) {
  auto arguments = std::make_shared<GetArguments>();
  add_table(app, *arguments);
  app.add_option("KEY", arguments->key, key_help)->required();
  add_hex(app, arguments->wants_hex);
  return [arguments](Output& output) { return get(output, *arguments); };
}

}  // namespace

const Command get_command = {"get", "print the record of a key", prepare_get};

}  // namespace firn::cli
