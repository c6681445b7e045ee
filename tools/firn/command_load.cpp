// firn load DB: reads the flat text that `firn dump`, db5.3_dump and mdb_dump write into tables.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "command.hpp"
#include "common/progress.hpp"
#include "database.hpp"
#include "doctor.hpp"
#include "dump_text.hpp"
#include "segment_file.hpp"

namespace firn::cli {
namespace {

struct LoadArguments {
  std::string path;
  std::string table;
  std::string file;
};

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};

class Load {
 public:
  Load(const LoadArguments& arguments, std::FILE* input) : arguments_(arguments), reader_(input) {}

  ExitCode run(Output& output);

 private:
  using Read = DumpReader::Read;

  ExitCode report_line(const std::string& problem, bool at_header);
  ExitCode report_error(const Error& error);
  [[nodiscard]] std::string place() const;
  [[nodiscard]] std::optional<Table<BytesType>> open_table(const std::string& name);
  ExitCode load_table(const std::string& name);
  void warn() const;

  const LoadArguments& arguments_;
  DumpReader reader_;
  Domain domain_;
  tools::Progress progress_{"load"};
  std::uint64_t pairs_ = 0;
  nlohmann::ordered_json loaded_ = nlohmann::ordered_json::array();
  std::string text_;
};

std::string Load::place() const {
  return fmt::format("{}, line {}",
                     arguments_.file.empty() ? "standard input" : in_quotes(arguments_.file),
                     reader_.line());
}

// The domain is closed by its end: what was read up to there is kept.
ExitCode Load::report_line(const std::string& problem, bool at_header) {
  const bool nothing = at_header && loaded_.empty();
  return report(Problem{
      .error = problem,
      .where = place(),
      .next = {{nothing ? "give a dump that was written by firn dump, db5.3_dump or mdb_dump"
                        : "correct the line and load again; the pairs before it are loaded"}}});
}

ExitCode Load::report_error(const Error& error) {
  report(Problem{.error = text_of(error),
                 .where = place(),
                 .next = {{std::string(next_step_for(error.code))}}});
  return error.code == ErrorCode::corrupt ? ExitCode::damage : ExitCode::cannot_run;
}

void Load::warn() const {
  for (const std::string& keyword : reader_.unknown()) {
    std::fprintf(stderr, "warning: keyword %s is not known and has no effect\n",
                 in_quotes(keyword).c_str());
  }
}

// One that is not there is made, of plain bytes.
std::optional<Table<BytesType>> Load::open_table(const std::string& name) {
  const auto tables = domain_.tables().wait();
  if (!tables.has_value()) {
    report_error(tables.error());
    return {};
  }
  const auto found = std::ranges::find(*tables, name, &TableInfo::name);
  if (found != tables->end()) {
    if (found->sack) {
      report_sack(name, arguments_.path);
      return {};
    }
    return open_to_write(domain_, *found, arguments_.path);
  }
  auto made = domain_.create_table<BytesType>(name).wait();
  if (!made.has_value()) {
    report_error(made.error());
    return {};
  }
  return *std::move(made);
}

ExitCode Load::load_table(const std::string& name) {
  auto table = open_table(name);
  if (!table.has_value()) return ExitCode::cannot_run;
  std::string key;
  std::string record;
  std::uint64_t count = 0;
  while (true) {
    const Read read = reader_.next_pair(key, record);
    if (read == Read::bad) return report_line(reader_.problem(), false);
    if (read == Read::end) break;
    const auto put = table->put(std::string_view(key), std::string_view(record)).wait();
    if (!put.has_value()) return report_error(put.error());
    ++count;
    progress_(++pairs_, 0, "pairs");
  }
  loaded_.push_back({{"name", name}, {"pairs", count}});
  text_ += fmt::format("{}: {} pairs\n", in_quotes(name), count);
  return ExitCode::ok;
}

ExitCode Load::run(Output& output) {
  // The domain is not made for an input that is none.
  for (bool opened = false;; opened = true) {
    const Read read = reader_.next_table();
    if (read == Read::bad) return report_line(reader_.problem(), true);
    if (read == Read::end) break;
    warn();
    const std::string& name = arguments_.table.empty() ? reader_.name() : arguments_.table;
    if (name.empty()) {
      return report(Problem{.error = "the dump does not name its table",
                            .where = place(),
                            .next = {{"firn load --table NAME", "says which one"}}});
    }
    if (opened && !arguments_.table.empty()) {
      return report(Problem{.error = "the dump has more than one table",
                            .where = place(),
                            .next = {{"load it without --table: they have names of their own"}}});
    }
    if (!opened) {
      auto domain = Domain::open(arguments_.path).wait();
      if (!domain.has_value()) return report_segment(domain.error(), arguments_.path);
      domain_ = *std::move(domain);
    }
    const ExitCode code = load_table(name);
    if (code != ExitCode::ok) return code;
  }
  const Result<void> closed = domain_.close().wait();
  if (!closed.has_value()) return report_segment(closed.error(), arguments_.path);
  if (output.wants_json()) {
    output.json({{"file", arguments_.path}, {"tables", loaded_}});
  } else {
    output.text(text_);
  }
  return ExitCode::ok;
}

ExitCode load(Output& output, const LoadArguments& arguments) {
  const std::unique_ptr<std::FILE, CloseFile> input(
      arguments.file.empty() ? stdin : std::fopen(arguments.file.c_str(), "re"));
  if (input == nullptr) {
    return report(Problem{.error = fmt::format("cannot read the dump: {}", errno_text(errno)),
                          .where = in_quotes(arguments.file),
                          .next = {{"give the path of a dump, or none to read standard input"}}});
  }
  return Load(arguments, input.get()).run(output);
}

Action prepare_load(CLI::App& app) {
  auto arguments = std::make_shared<LoadArguments>();
  app.add_option("DB", arguments->path, "the file of a native domain; made if it is not there")
      ->required();
  app.add_option("-t,--table", arguments->table,
                 "where the pairs go, whatever name the dump has; made of plain bytes if missing");
  app.add_option("-f,--file", arguments->file, "the dump; else standard input");
  return [arguments](Output& output) { return load(output, *arguments); };
}

}  // namespace

const Command load_command = {"load", "read tables from flat text", prepare_load};

}  // namespace firn::cli
