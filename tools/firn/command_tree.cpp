// firn tree DB TABLE: the shape of a table's tree, which is read and checked in whole.
#include <memory>

#include <fmt/format.h>

#include "census.hpp"
#include "command.hpp"
#include "database.hpp"
#include "doctor.hpp"

namespace firn::cli {
namespace {

void print_text(Output& output, const domain::CatalogueRow& row, const tree::Census& census,
                const std::string& path) {
  const double pairs = static_cast<double>(census.pairs);
  output.text(
      fmt::format("{}\n"
                  "  levels       {}\n"
                  "  inner nodes  {}, {:.1f} children each\n"
                  "  leaves       {} of {}, {:.1f} pairs each, {:.1f} % full\n"
                  "  values       {} on pages of their own, above {} bytes\n"
                  "  pairs        {}\n",
                  table_text(row.name, path), census.levels, census.inner_pages, fan_out(census),
                  census.leaf_pages, size_text(buffer::page_bytes(row.leaf_class)),
                  census.leaf_pages == 0 ? 0 : pairs / static_cast<double>(census.leaf_pages),
                  100 * leaf_fill(census), census.value_pages, value_threshold(row), census.pairs));
}

ExitCode tree(Output& output, const TableArguments& arguments) {
  Database database;
  if (!database.open(arguments.path)) return database.code();
  const domain::CatalogueRow* const row = database.find(arguments.table);
  if (row == nullptr) return database.code();
  tree::Census census;
  domain::TableReader table(database.reader(), *row);
  if (const auto walked = table.census(census); !walked.has_value()) {
    return report_table(walked.error(), row->name, arguments.path);
  }
  if (output.wants_json()) {
    nlohmann::ordered_json document{{"file", arguments.path},
                                    {"table", row->name},
                                    {"leaf_bytes", buffer::page_bytes(row->leaf_class)},
                                    {"value_threshold", value_threshold(*row)}};
    document.update(census_json(census));
    output.json(document);
  } else {
    print_text(output, *row, census, arguments.path);
  }
  return ExitCode::ok;
}

Action prepare_tree(CLI::App& app) {
  auto arguments = std::make_shared<TableArguments>();
  add_table(app, *arguments);
  return [arguments](Output& output) { return tree(output, *arguments); };
}

}  // namespace

const Command tree_command = {"tree", "show the shape of a table's tree", prepare_tree};

}  // namespace firn::cli
