// firn dump DB: one table or all, in the flat text that `firn load`, db5.3_load and mdb_load read.
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "command.hpp"
#include "database.hpp"
#include "dump_text.hpp"

namespace firn::cli {
namespace {

struct DumpArguments {
  std::string path;
  std::string table;
  bool print = false;
};

ExitCode dump_table(Output& output, const DumpArguments& arguments, domain::Reader& reader,
                    const domain::CatalogueRow& row) {
  const TextForm form = arguments.print ? TextForm::print : TextForm::hex;
  domain::TableReader table(reader, row);
  tree::Target target = tree::Target::first;
  std::string text;
  bool begun = false;
  while (true) {
    const Result<bool> moved = table.move(target, table.key());
    if (!moved.has_value()) return report_table(moved.error(), row.name, arguments.path);
    // Not earlier: a table that cannot be read at all leaves no header behind.
    if (!begun) output.text(dump_header(form, arguments.table.empty() ? row.name : ""));
    begun = true;
    if (!*moved) break;
    text.clear();
    append_dump_line(text, form, table.key());
    append_dump_line(text, form, table.record());
    output.text(text);
    target = tree::Target::after;
  }
  output.text(dump_end);
  return ExitCode::ok;
}

ExitCode dump(Output& output, const DumpArguments& arguments) {
  if (output.wants_json()) {
    return report(Problem{.error = "a dump is flat text, and not JSON",
                          .where = "firn dump",
                          .next = {{"firn scan --json", "prints the pairs as JSON"}}});
  }
  Database database;
  if (!database.open(arguments.path)) return database.code();
  if (!arguments.table.empty()) {
    const domain::CatalogueRow* const row = database.find(arguments.table);
    if (row == nullptr) return database.code();
    return dump_table(output, arguments, database.reader(), *row);
  }
  std::vector<const domain::CatalogueRow*> rows;
  for (const domain::CatalogueRow& row : database.reader().rows()) {
    // What the next opening empties is no data to keep.
    if (row.state != domain::RowState::live) continue;
    if (row.persistence == Persistence::volatile_) continue;
    // All that is known beforehand is said before anything is written.
    if (row.type.comparator != BytewiseOrder::id) {
      return report(Problem{.error = "a table's keys have a comparator of their own",
                            .where = table_text(row.name, arguments.path),
                            .next = {{"firn dump --table NAME", "writes one of the others"}}});
    }
    rows.push_back(&row);
  }
  for (const domain::CatalogueRow* row : rows) {
    const ExitCode code = dump_table(output, arguments, database.reader(), *row);
    if (code != ExitCode::ok) return code;
  }
  return ExitCode::ok;
}

Action prepare_dump(CLI::App& app) {
  auto arguments = std::make_shared<DumpArguments>();
  add_database(app, arguments->path);
  app.add_option("-t,--table", arguments->table,
                 "one table, and without its name; else all persistent ones");
  app.add_flag("-p,--print", arguments->print, "printable characters as they are, others as \\xx");
  return [arguments](Output& output) { return dump(output, *arguments); };
}

}  // namespace

const Command dump_command = {"dump", "write tables as flat text", prepare_dump};

}  // namespace firn::cli
