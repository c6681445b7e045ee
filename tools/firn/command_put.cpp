// firn put DB TABLE KEY RECORD: inserts or replaces one pair.
#include <memory>
#include <string>

#include "command.hpp"
#include "database.hpp"

namespace firn::cli {
namespace {

struct PutArguments : TableArguments {
  std::string key;
  std::string record;
};

ExitCode put(Output& output, const PutArguments& arguments) {
  const TextForm record_form = arguments.wants_hex ? TextForm::hex : TextForm::print;
  const auto record = bytes_of_text(record_form, arguments.record);
  if (!record.has_value()) return report_bad_text("record", record_form, "put");
  WritableTable writable;
  if (!writable.open(arguments)) return writable.code();
  if (writable.info().sack) return report_sack(arguments.table, arguments.path);
  const TextForm form = key_form(writable.info().key_schema, arguments.wants_hex);
  const auto key = bytes_of_text(form, arguments.key);
  if (!key.has_value()) return report_bad_text("key", form, "put");
  const auto written =
      writable.table().put(std::string_view(*key), std::string_view(*record)).wait();
  if (!written.has_value()) return report_table(written.error(), arguments.table, arguments.path);
  const ExitCode code = writable.close();
  if (code == ExitCode::ok && output.wants_json()) {
    output.json({{"table", arguments.table}, {"key", arguments.key}, {"put", true}});
  }
  return code;
}

Action prepare_put(CLI::App& app) {
  auto arguments = std::make_shared<PutArguments>();
  add_table(app, *arguments);
  app.add_option("KEY", arguments->key, key_help)->required();
  app.add_option("RECORD", arguments->record,
                 "its encoded bytes; any other byte than printable ASCII as \\xx (two digits)")
      ->required();
  add_hex(app, arguments->wants_hex);
  return [arguments](Output& output) { return put(output, *arguments); };
}

}  // namespace

const Command put_command = {"put", "insert or replace a pair", prepare_put};

}  // namespace firn::cli
