// firn stat FILE: what a segment's file holds, and the tables of a native domain in it. Of the
// pages only the catalogue's are read, but for --tree.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <firn/check.hpp>

#include "census.hpp"
#include "command.hpp"
#include "database.hpp"
#include "doctor.hpp"
#include "segment_file.hpp"

namespace firn::cli {
namespace {

struct StatArguments {
  std::string path;
  std::string table;
  bool wants_trees = false;
};

/// A table as the catalogue tells of it, and its tree if that was asked for.
struct OfTable {
  const domain::CatalogueRow* row;
  std::optional<tree::Census> census;
};

using Groups = std::array<std::pair<const char*, const SegmentStatistics::OfGroup*>, 3>;

Groups groups_of(const SegmentStatistics& found) {
  return {{{"leaves", &found.leaves}, {"runs", &found.runs}, {"other", &found.other}}};
}

nlohmann::ordered_json to_json(const OfTable& table) {
  const domain::CatalogueRow& row = *table.row;
  nlohmann::ordered_json json{{"id", row.id},
                              {"name", row.name},
                              {"type", row.type.name},
                              {"volatile", row.persistence == Persistence::volatile_},
                              {"pairs", row.pair_count},
                              {"leaf_bytes", buffer::page_bytes(row.leaf_class)},
                              {"value_threshold", value_threshold(row)},
                              {"placement",
                               {{"inner", row.placement.inner},
                                {"leaves", row.placement.leaves},
                                {"values", row.placement.values}}}};
  if (table.census.has_value()) json["tree"] = census_json(*table.census);
  return json;
}

// A line each, then a line each of their trees.
std::string tables_text(const std::vector<OfTable>& tables) {
  std::string text = "\n       pairs  leaf size  values apart  table\n";
  for (const OfTable& table : tables) {
    const domain::CatalogueRow& row = *table.row;
    text += fmt::format("  {:>10}  {:>9}  {:>12}  {}{}\n", row.pair_count,
                        size_text(buffer::page_bytes(row.leaf_class)),
                        fmt::format("> {}", value_threshold(row)), in_quotes(row.name),
                        row.persistence == Persistence::volatile_ ? ", volatile" : "");
  }
  if (tables.empty() || !tables.front().census.has_value()) return text;
  text += "\n  levels  inner nodes    leaves  values apart  fan-out  leaf fill  table\n";
  for (const OfTable& table : tables) {
    const tree::Census& census = *table.census;
    text += fmt::format("  {:>6}  {:>11}  {:>8}  {:>12}  {:>7.1f}  {:>7.1f} %  {}\n", census.levels,
                        census.inner_pages, census.leaf_pages, census.value_pages, fan_out(census),
                        100 * leaf_fill(census), in_quotes(table.row->name));
  }
  return text;
}

void print_json(Output& output, const SegmentStatistics& found, const std::string& path,
                const std::optional<std::vector<OfTable>>& of_tables) {
  auto tables = nlohmann::ordered_json::array();
  if (of_tables.has_value()) {
    for (const OfTable& table : *of_tables) tables.push_back(to_json(table));
  }
  auto classes = nlohmann::ordered_json::array();
  for (const SegmentStatistics::OfClass& of_class : found.classes) {
    classes.push_back({{"page_bytes", of_class.page_bytes},
                       {"pages", of_class.pages},
                       {"image_bytes", of_class.image_bytes}});
  }
  auto groups = nlohmann::ordered_json::array();
  for (const auto& [name, group] : groups_of(found)) {
    groups.push_back({{"name", name},
                      {"chunks", group->chunks},
                      {"live_bytes", group->live_bytes},
                      {"pending_bytes", group->pending_bytes},
                      {"free_bytes", group->free_bytes}});
  }
  output.json({{"file", path},
               {"checkpoint", found.checkpoint},
               {"open_count", found.open_count},
               {"segment_bytes", found.segment_bytes},
               {"granule_bytes", found.granule_bytes},
               {"chunk_bytes", found.chunk_bytes},
               {"damaged_superblock_copies", found.damaged_copies},
               {"pages", found.pages},
               {"image_bytes", found.image_bytes},
               {"mapping_bytes", found.mapping_bytes},
               {"pending_bytes", found.pending_bytes},
               {"free_bytes", found.free_bytes},
               {"empty_chunks", found.empty_chunks},
               {"holes", found.holes},
               {"longest_hole_bytes", found.longest_hole_bytes},
               {"fragmentation", found.fragmentation},
               {"classes", classes},
               {"groups", groups},
               {"tables", tables}});
}

void print_text(Output& output, const SegmentStatistics& found, const std::string& path,
                const std::optional<std::vector<OfTable>>& tables) {
  std::string text = fmt::format(
      "{}\n"
      "  checkpoint     {}, opened for writing {} times\n"
      "  segment        {} in chunks of {}, granules of {} bytes\n"
      "  pages          {}, images {}\n"
      "  mapping        {}\n"
      "  free           {}, and {} with the next checkpoint\n"
      "  empty chunks   {}\n"
      "  fragmentation  {:.1f} % of the free space in other chunks; {} holes, the longest {}\n",
      in_quotes(path), found.checkpoint, found.open_count, size_text(found.segment_bytes),
      size_text(found.chunk_bytes), found.granule_bytes, found.pages, size_text(found.image_bytes),
      size_text(found.mapping_bytes), size_text(found.free_bytes), size_text(found.pending_bytes),
      found.empty_chunks, 100 * found.fragmentation, found.holes,
      size_text(found.longest_hole_bytes));
  if (found.damaged_copies > 0) {
    text += fmt::format("  superblocks    {} of 4 copies damaged or older than their twins\n",
                        found.damaged_copies);
  }
  text += "\n  page size       pages      images\n";
  for (const SegmentStatistics::OfClass& of_class : found.classes) {
    if (of_class.pages == 0) continue;
    text += fmt::format("  {:>9}  {:>10}  {:>10}\n", size_text(of_class.page_bytes), of_class.pages,
                        size_text(of_class.image_bytes));
  }
  text += "\n  group       chunks        live     pending        free\n";
  for (const auto& [name, group] : groups_of(found)) {
    text += fmt::format("  {:8}  {:>8}  {:>10}  {:>10}  {:>10}\n", name, group->chunks,
                        size_text(group->live_bytes), size_text(group->pending_bytes),
                        size_text(group->free_bytes));
  }
  if (tables.has_value()) text += tables_text(*tables);
  output.text(text);
}

// False: what is wrong was reported, and `code` is the command's.
bool take_tables(Database& database, const StatArguments& arguments, std::vector<OfTable>& tables,
                 ExitCode& code) {
  if (!arguments.table.empty()) {
    const domain::CatalogueRow* const row = database.find(arguments.table);
    code = database.code();
    if (row == nullptr) return false;
    tables.push_back({row, {}});
  } else {
    for (const domain::CatalogueRow& row : database.reader().rows()) {
      if (row.state == domain::RowState::live) tables.push_back({&row, {}});
    }
  }
  if (!arguments.wants_trees) return true;
  for (OfTable& table : tables) {
    domain::TableReader reader(database.reader(), *table.row);
    const Result<void> walked = reader.census(table.census.emplace());
    if (walked.has_value()) continue;
    code = report_table(walked.error(), table.row->name, arguments.path);
    return false;
  }
  return true;
}

ExitCode stat(Output& output, const StatArguments& arguments) {
  const Result<SegmentStatistics> found = segment_statistics(arguments.path);
  if (!found.has_value()) return report_segment(found.error(), arguments.path);
  // A segment need not be a domain's; who asks for tables means one that is.
  const bool needs_tables = !arguments.table.empty() || arguments.wants_trees;
  Database database;
  std::optional<std::vector<OfTable>> tables;
  if (!database.open(arguments.path, needs_tables)) return database.code();
  if (database.has_catalogue()) {
    ExitCode code = ExitCode::ok;
    if (!take_tables(database, arguments, tables.emplace(), code)) return code;
  }
  if (output.wants_json()) {
    print_json(output, *found, arguments.path, tables);
  } else {
    print_text(output, *found, arguments.path, tables);
  }
  return ExitCode::ok;
}

Action prepare_stat(CLI::App& app) {
  auto arguments = std::make_shared<StatArguments>();
  add_segment_file(app, arguments->path);
  app.add_option("--table", arguments->table, "of the tables only this one");
  app.add_flag("--tree", arguments->wants_trees,
               "also levels, fan-out and fill of the tables' trees, which are read in whole");
  return [arguments](Output& output) { return stat(output, *arguments); };
}

}  // namespace

const Command stat_command = {"stat", "show what a segment's file holds", prepare_stat};

}  // namespace firn::cli
