// firn schema DB: the catalogue, a table after the other.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "command.hpp"
#include "database.hpp"

namespace firn::cli {
namespace {

using domain::CatalogueRow;

// The tables that references of `row` may point into, by name.
std::vector<std::string> targets_of(const CatalogueRow& row, const domain::Reader& reader) {
  std::vector<std::string> names;
  for (const std::uint64_t id : row.references) {
    const auto found = std::ranges::find(reader.rows(), id, &CatalogueRow::id);
    names.push_back(found == reader.rows().end() ? fmt::format("{} (destroyed)", id) : found->name);
  }
  return names;
}

ExitCode schema(Output& output, const std::string& path) {
  Database database;
  if (!database.open(path)) return database.code();
  auto tables = nlohmann::ordered_json::array();
  std::string text;
  for (const CatalogueRow& row : database.reader().rows()) {
    if (row.state != domain::RowState::live) continue;
    const bool is_volatile = row.persistence == Persistence::volatile_;
    const std::vector<std::string> targets = targets_of(row, database.reader());
    tables.push_back({{"id", row.id},
                      {"name", row.name},
                      {"type", row.type.name},
                      {"version_major", row.type.version.major},
                      {"version_minor", row.type.version.minor},
                      {"sack", row.type.sack},
                      {"volatile", is_volatile},
                      {"key", row.type.key_schema},
                      {"record", row.type.record_schema},
                      {"comparator", row.type.comparator},
                      {"references", targets}});
    text += fmt::format(
        "{} {}\n"
        "  type        {} {}.{}{}\n"
        "  key         {}\n"
        "  record      {}\n",
        row.type.sack ? "sack" : "table", in_quotes(row.name), in_quotes(row.type.name),
        row.type.version.major, row.type.version.minor, is_volatile ? ", volatile" : "",
        row.type.key_schema, row.type.record_schema);
    if (row.type.comparator != BytewiseOrder::id) {
      text += fmt::format("  comparator  {}\n", in_quotes(row.type.comparator));
    }
    for (const std::string& target : targets) {
      text += fmt::format("  references  {}\n", in_quotes(target));
    }
  }
  if (output.wants_json()) {
    output.json({{"file", path}, {"tables", tables}});
  } else {
    output.text(text.empty() ? in_quotes(path) + ": no tables\n" : text);
  }
  return ExitCode::ok;
}

Action prepare_schema(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  add_database(app, *path);
  return [path](Output& output) { return schema(output, *path); };
}

}  // namespace

const Command schema_command = {"schema", "list the tables and what they are made of",
                                prepare_schema};

}  // namespace firn::cli
