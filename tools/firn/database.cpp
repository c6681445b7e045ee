#include "database.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include <fmt/format.h>

#include "base/nearest.hpp"
#include "domain/untyped.hpp"
#include "segment_file.hpp"

namespace firn::cli {
namespace {

ExitCode no_such_table(std::string_view table, const std::string& path,
                       const std::vector<std::string_view>& known) {
  Problem problem{
      .error = fmt::format("no table {}", in_quotes(table)), .where = in_quotes(path), .next = {}};
  if (const std::string_view meant = base::nearest_meant(table, known); !meant.empty()) {
    problem.next.push_back({fmt::format("give {}", in_quotes(meant)), "is the nearest name"});
  }
  problem.next.push_back({fmt::format("firn schema {}", path), "lists the tables"});
  return report(problem);
}

}  // namespace

void add_database(CLI::App& app, std::string& path) {
  app.add_option("DB", path, "the file of a native domain")->required();
}

void add_table(CLI::App& app, TableArguments& arguments) {
  add_database(app, arguments.path);
  app.add_option("TABLE", arguments.table, "the table's name")->required();
}

void add_hex(CLI::App& app, bool& wants_hex) {
  app.add_flag("--hex", wants_hex, "keys and records are hexadecimal digits");
}

std::string table_text(std::string_view table, const std::string& path) {
  return fmt::format("table {} in {}", in_quotes(table), in_quotes(path));
}

ExitCode report_table(const Error& error, std::string_view table, const std::string& path) {
  std::string where = table_text(table, path);
  if (error.place.page != Place::none) where += fmt::format(", page {}", error.place.page);
  Problem problem{.error = text_of(error), .where = where, .next = {}};
  switch (error.code) {
    case ErrorCode::corrupt:
      problem.next = {{fmt::format("firn check {}", path), "lists every damaged place"}};
      break;
    case ErrorCode::unsupported:
      problem.next = {{"use a program that has the table's type, and its comparator"}};
      break;
    default:
      problem.next = {{std::string(next_step_for(error.code))}};
  }
  report(problem);
  return error.code == ErrorCode::corrupt ? ExitCode::damage : ExitCode::cannot_run;
}

ExitCode report_bad_text(std::string_view what, TextForm form, std::string_view command) {
  return report(
      Problem{.error = fmt::format("the {} is not {}", what, description(form)),
              .where = fmt::format("firn {}", command),
              .next = {{fmt::format("firn {} --help", command), "says how it is written"}}});
}

ExitCode report_no_pair(std::string_view key, std::string_view table, const std::string& path) {
  report(Problem{.error = fmt::format("no pair has the key {}", in_quotes(key)),
                 .where = table_text(table, path),
                 .next = {{fmt::format("firn scan {} {} --limit 10", path, table),
                           "shows how its keys are written"}}});
  return ExitCode::damage;
}

ExitCode report_sack(std::string_view table, const std::string& path) {
  return report(Problem{.error = "the table is a sack: Firn itself gives its pairs their addresses",
                        .where = table_text(table, path),
                        .next = {{"use a program that has the table's type"}}});
}

bool Database::open(const std::string& path, bool needs_catalogue) {
  path_ = path;
  Result<void> opened = segment_.open(path);
  if (opened.has_value()) {
    reader_ = std::make_unique<domain::Reader>(segment_);
    opened = reader_->open();
  }
  if (opened.has_value() && (has_catalogue() || !needs_catalogue)) return true;
  if (!opened.has_value()) {
    code_ = report_segment(opened.error(), path);
  } else {
    code_ = report(Problem{.error = "there is no catalogue of tables in it",
                           .where = in_quotes(path),
                           .next = {{"give the path of a native domain's file"}}});
  }
  return false;
}

const domain::CatalogueRow* Database::find(const std::string& table) {
  const domain::CatalogueRow* row = reader_->find(table);
  if (row == nullptr) {
    std::vector<std::string_view> known;
    for (const domain::CatalogueRow& one : reader_->rows()) known.push_back(one.name);
    code_ = no_such_table(table, path_, known);
  }
  return row;
}

std::optional<Table<BytesType>> open_to_write(Domain& domain, const TableInfo& info,
                                              const std::string& path) {
  if (info.comparator != BytewiseOrder::id) {
    report_table(fail(ErrorCode::unsupported, "its keys have a comparator of their own").error,
                 info.name, path);
    return {};
  }
  Result<Table<BytesType>> opened = domain::open_untyped(domain, info.id);
  if (opened.has_value()) return *std::move(opened);
  report_table(opened.error(), info.name, path);
  return {};
}

bool WritableTable::open(const TableArguments& arguments) {
  arguments_ = arguments;
  code_ = ExitCode::cannot_run;
  struct stat status;
  if (::stat(arguments.path.c_str(), &status) != 0) {  // opening would make it
    const Error error{.code = ErrorCode::not_found, .system_error = errno};
    code_ = report_segment(error, arguments.path);
    return false;
  }
  auto domain = Domain::open(arguments.path).wait();
  if (!domain.has_value()) {
    code_ = report_segment(domain.error(), arguments.path);
    return false;
  }
  domain_ = *std::move(domain);
  const auto tables = domain_.tables().wait();
  if (!tables.has_value()) {
    code_ = report_segment(tables.error(), arguments.path);
    return false;
  }
  const auto found = std::ranges::find(*tables, arguments.table, &TableInfo::name);
  if (found == tables->end()) {
    std::vector<std::string_view> known;
    for (const TableInfo& one : *tables) known.push_back(one.name);
    code_ = no_such_table(arguments.table, arguments.path, known);
    return false;
  }
  info_ = *found;
  auto table = open_to_write(domain_, info_, arguments.path);
  if (!table.has_value()) return false;
  table_ = *std::move(table);
  code_ = ExitCode::ok;
  return true;
}

ExitCode WritableTable::close() {
  table_ = {};
  const Result<void> closed = domain_.close().wait();
  return closed.has_value() ? ExitCode::ok : report_segment(closed.error(), arguments_.path);
}

}  // namespace firn::cli
