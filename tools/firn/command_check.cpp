// firn check FILE: reads and verifies all that a segment's newest checkpoint refers to, and the
// tables of a native domain in it.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include <fmt/format.h>

#include <firn/check.hpp>

#include "command.hpp"
#include "common/progress.hpp"
#include "doctor.hpp"
#include "segment_file.hpp"

namespace firn::cli {
namespace {

// "segment 0 ('FILE'), page 17, table 'users'".
std::string where(const Place& place, const CheckReport& found, const std::string& path) {
  std::string text = place_text(place, path);
  if (place.table == Place::none) return text;
  const auto table = std::ranges::find(found.tables, place.table, &CheckReport::OfTable::id);
  if (table != found.tables.end()) return text + fmt::format(", table {}", in_quotes(table->name));
  return text + fmt::format(", table {}", place.table);
}

nlohmann::ordered_json to_json(const Error& error) {
  nlohmann::ordered_json row{{"code", name_of(error.code)}, {"error", text_of(error)}};
  if (error.place.segment != static_cast<std::uint32_t>(Place::none)) {
    row["segment"] = error.place.segment;
  }
  if (error.place.page != Place::none) row["page"] = error.place.page;
  if (error.place.table != Place::none) row["table"] = error.place.table;
  return row;
}

void print_json(Output& output, const CheckReport& found, const std::string& path) {
  auto damage = nlohmann::ordered_json::array();
  for (const Error& error : found.damage) damage.push_back(to_json(error));
  auto tables = nlohmann::ordered_json::array();
  for (const CheckReport::OfTable& table : found.tables) {
    tables.push_back({{"id", table.id},
                      {"name", table.name},
                      {"pairs", table.pairs},
                      {"catalogued_pairs", table.catalogued_pairs},
                      {"whole", table.whole}});
  }
  output.json({{"file", path},
               {"clean", found.clean()},
               {"complete", true},
               {"checkpoint", found.checkpoint},
               {"segment_bytes", found.segment_bytes},
               {"pages", found.pages},
               {"image_bytes", found.image_bytes},
               {"free_bytes", found.free_bytes},
               {"damaged_pages", found.damaged_pages},
               {"damaged_superblock_copies", found.damaged_copies},
               {"damaged_trees", found.damaged_trees},
               {"unreachable_pages", found.unreachable_pages},
               {"tables", tables},
               {"damage", damage}});
}

// Each damage as a problem, then what was looked at.
void print_text(Output& output, const CheckReport& found, const std::string& path) {
  for (const Error& error : found.damage) {
    report(Problem{.error = text_of(error),
                   .where = where(error.place, found, path),
                   .next = {{"restore the file from a copy; what is not listed here is whole"}}});
  }
  if (found.damaged_pages > found.damage.size()) {
    report(Problem{.error = fmt::format("{} more pages are damaged and not listed",
                                        found.damaged_pages - found.damage.size()),
                   .where = in_quotes(path),
                   .next = {{"restore the file from a copy"}}});
  }
  if (found.damaged_copies > 0) {
    report(Problem{
        .error = fmt::format("{} of the 4 superblock copies are damaged or older than their twins",
                             found.damaged_copies),
        .where = in_quotes(path),
        .next = {{"open the domain: that renews them; nothing else is lost by it"}}});
  }
  if (found.unreachable_pages > 0) {
    report(Problem{.error = fmt::format("{} pages belong to no table", found.unreachable_pages),
                   .where = in_quotes(path),
                   .next = {{"dump the tables and load them into a new file: only room is lost"}}});
  }
  const std::string verdict = found.clean() ? output.coloured(Colour::green, "clean")
                                            : output.coloured(Colour::red, "damaged");
  std::string text = fmt::format(
      "{}: {}\n"
      "  checkpoint  {}\n"
      "  pages       {} verified, {} of them damaged\n"
      "  images      {}\n"
      "  free        {} of {}\n",
      in_quotes(path), verdict, found.checkpoint, found.pages, found.damaged_pages,
      size_text(found.image_bytes), size_text(found.free_bytes), size_text(found.segment_bytes));
  for (const CheckReport::OfTable& table : found.tables) {
    text += fmt::format("  table       {}: {}", in_quotes(table.name),
                        table.whole ? fmt::format("{} pairs", table.pairs) : "not whole");
    if (table.whole && table.pairs != table.catalogued_pairs) {
      text +=
          fmt::format(" (the catalogue says {}, as may be after a crash)", table.catalogued_pairs);
    }
    text += '\n';
  }
  output.text(text);
}

ExitCode check(Output& output, const std::string& path) {
  const Result<CheckReport> found = [&] {
    tools::Progress progress("check");
    return check_segment(path, {.progress = [&](std::uint64_t done, std::uint64_t total) {
                           progress(done, total, "bytes");
                         }});
  }();
  if (!found.has_value()) {
    const Error& error = found.error();
    if (error.code != ErrorCode::corrupt || !output.wants_json()) {
      return report_segment(error, path);
    }
    output.json({{"file", path},
                 {"clean", false},
                 {"complete", false},
                 {"damage", nlohmann::ordered_json::array({to_json(error)})}});
    return ExitCode::damage;
  }
  if (output.wants_json()) {
    print_json(output, *found, path);
  } else {
    print_text(output, *found, path);
  }
  return found->clean() ? ExitCode::ok : ExitCode::damage;
}

Action prepare_check(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  add_segment_file(app, *path);
  return [path](Output& output) { return check(output, *path); };
}

}  // namespace

const Command check_command = {"check", "verify every page and table in a segment's file",
                               prepare_check};

}  // namespace firn::cli
