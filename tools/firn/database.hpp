// Commands that look at the tables of a native domain, or change one. What only looks opens the
// file for reading; what changes opens the domain.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include <firn/domain.hpp>

#include "bytes_text.hpp"
#include "domain/native/reader.hpp"
#include "output.hpp"

namespace firn::cli {

/// The arguments of commands on one table.
struct TableArguments {
  std::string path;
  std::string table;
  bool wants_hex = false;
};
/// Declares the argument DB.
void add_database(CLI::App& app, std::string& path);
/// Declares DB and TABLE.
void add_table(CLI::App& app, TableArguments& arguments);
/// Declares --hex.
void add_hex(CLI::App& app, bool& wants_hex);

/// "table 'users' in 'FILE'".
[[nodiscard]] std::string table_text(std::string_view table, const std::string& path);
/// Prints why something cannot be done to a table. The exit code is `damage` for `corrupt`.
ExitCode report_table(const Error& error, std::string_view table, const std::string& path);
/// Prints that `text` is no key or record (`what`) in that form.
ExitCode report_bad_text(std::string_view what, TextForm form, std::string_view command);

/// Prints that there is no pair of that key; exit code 1.
ExitCode report_no_pair(std::string_view key, std::string_view table, const std::string& path);
/// Prints that a sack's pairs get their addresses from Firn.
ExitCode report_sack(std::string_view table, const std::string& path);

/// What the argument KEY is, for --help.
inline constexpr const char* key_help =
    "a number where the table's keys are one u64, else the encoded bytes, which of one text are "
    "the "
    "text itself; any other byte than printable ASCII as \\xx (two hexadecimal digits)";

/// A domain's file, open for reading.
class Database {
 public:
  /// False: what is wrong was printed, and `code()` is the command's. A file without a catalogue is
  /// wrong where one is needed.
  [[nodiscard]] bool open(const std::string& path, bool needs_catalogue = true);
  [[nodiscard]] bool has_catalogue() const { return reader_->has_catalogue(); }
  /// Null: the same.
  [[nodiscard]] const domain::CatalogueRow* find(const std::string& table);
  [[nodiscard]] domain::Reader& reader() { return *reader_; }
  [[nodiscard]] ExitCode code() const { return code_; }

 private:
  std::string path_;
  domain::OpenedSegment segment_;
  std::unique_ptr<domain::Reader> reader_;
  ExitCode code_ = ExitCode::ok;
};

/// A domain open for writing, and one table in it.
class WritableTable {
 public:
  /// False: what is wrong was printed, and `code()` is the command's. The file exists.
  [[nodiscard]] bool open(const TableArguments& arguments);
  [[nodiscard]] Table<BytesType>& table() { return table_; }
  [[nodiscard]] const TableInfo& info() const { return info_; }
  /// Makes everything durable. The command's exit code.
  [[nodiscard]] ExitCode close();
  [[nodiscard]] ExitCode code() const { return code_; }

 private:
  TableArguments arguments_;
  Domain domain_;
  Table<BytesType> table_;
  TableInfo info_;
  ExitCode code_ = ExitCode::ok;
};

/// Opens a table to be written, without its type; what is wrong was printed if it is empty.
[[nodiscard]] std::optional<Table<BytesType>> open_to_write(Domain& domain, const TableInfo& info,
                                                            const std::string& path);

}  // namespace firn::cli
