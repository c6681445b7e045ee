// The flat text in which the tools of Berkeley DB and LMDB dump and load tables: a header of lines
// NAME=VALUE that ends with HEADER=END, a line for each key and one for each record, each after a
// blank, and DATA=END. Several tables follow each other. One thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bytes_text.hpp"

namespace firn::cli {

/// The beginning of a table; `name` may be empty. Only keywords that all these tools know.
[[nodiscard]] std::string dump_header(TextForm form, std::string_view name);
/// One key or one record.
void append_dump_line(std::string& out, TextForm form, Bytes bytes);
inline constexpr std::string_view dump_end = "DATA=END\n";

class DumpReader {
 public:
  enum class Read {
    yes,
    end,  ///< of the input, or of the table's pairs
    bad,  ///< problem() says why, at line()
  };

  /// `input` outlives it.
  explicit DumpReader(std::FILE* input) : input_(input) {}
  ~DumpReader();
  DumpReader(const DumpReader&) = delete;
  DumpReader& operator=(const DumpReader&) = delete;

  /// To the next table's pairs.
  Read next_table();
  Read next_pair(std::string& key, std::string& record);

  /// Of the current table; empty if it has none.
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Keywords of its header that are not known; they have no effect.
  [[nodiscard]] const std::vector<std::string>& unknown() const { return unknown_; }
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] std::uint64_t line() const { return line_number_; }

 private:
  [[nodiscard]] bool next_line();
  Read bad(std::string problem);
  Read take_keyword(std::string_view keyword, std::string_view value);
  [[nodiscard]] std::optional<std::string> data() const;

  std::FILE* input_;
  char* buffer_ = nullptr;  // getline's
  std::size_t capacity_ = 0;
  std::string_view line_;
  std::uint64_t line_number_ = 0;
  TextForm form_ = TextForm::hex;
  std::string name_;
  std::vector<std::string> unknown_;
  std::string problem_;
};

}  // namespace firn::cli
