#include "dump_text.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include <fmt/format.h>

namespace firn::cli {
namespace {

// How the other tools lay out or tune their files: no concern of Firn's.
constexpr std::array<std::string_view, 18> tuning = {
    "bt_minkey", "chksum",     "db_lorder", "db_pagesize", "extentsize", "h_ffactor",
    "h_nelem",   "mapaddr",    "mapsize",   "maxreaders",  "re_len",     "re_pad",
    "recnum",    "integerkey", "dupfixed",  "integerdup",  "reversedup", "reversekey"};

}  // namespace

std::string dump_header(TextForm form, std::string_view name) {
  std::string text =
      fmt::format("VERSION=3\nformat={}\n", form == TextForm::hex ? "bytevalue" : "print");
  if (!name.empty()) {
    text += "database=";
    append_text(text, TextForm::print, name);
    text += '\n';
  }
  return text + "type=btree\nHEADER=END\n";
}

void append_dump_line(std::string& out, TextForm form, Bytes bytes) {
  out += ' ';
  append_text(out, form, bytes);
  out += '\n';
}

DumpReader::~DumpReader() { std::free(buffer_); }

bool DumpReader::next_line() {
  const ssize_t length = getline(&buffer_, &capacity_, input_);
  if (length < 0) return false;
  ++line_number_;
  line_ = std::string_view(buffer_, static_cast<std::size_t>(length));
  if (line_.ends_with('\n')) line_.remove_suffix(1);
  return true;
}

DumpReader::Read DumpReader::bad(std::string problem) {
  problem_ = std::move(problem);
  return Read::bad;
}

DumpReader::Read DumpReader::next_table() {
  form_ = TextForm::hex;
  name_.clear();
  unknown_.clear();
  bool begun = false;
  while (next_line()) {
    if (line_ == "HEADER=END") return begun ? Read::yes : bad("the header does not begin");
    const std::size_t at = line_.find('=');
    if (at == std::string_view::npos) return bad("a line of a header is NAME=VALUE");
    const std::string_view keyword = line_.substr(0, at);
    const std::string_view value = line_.substr(at + 1);
    if (!begun && (keyword != "VERSION" || value != "3")) {
      return bad("a dump begins with VERSION=3");
    }
    begun = true;
    if (take_keyword(keyword, value) == Read::bad) return Read::bad;
  }
  if (std::ferror(input_) != 0) return bad("the input cannot be read");
  if (line_number_ == 0) return bad("the input is empty: a dump begins with VERSION=3");
  return begun ? bad("the input ends within a header") : Read::end;
}

DumpReader::Read DumpReader::take_keyword(std::string_view keyword, std::string_view value) {
  if (keyword == "VERSION") return value == "3" ? Read::yes : bad("the version is not 3");
  if (keyword == "format") {
    if (value != "bytevalue" && value != "print") {
      return bad("the format is neither bytevalue nor print");
    }
    form_ = value == "print" ? TextForm::print : TextForm::hex;
  } else if (keyword == "type") {
    // What is ordered by number has no keys in its dump.
    if (value != "btree" && value != "hash") return bad("the type is neither btree nor hash");
  } else if (keyword == "database" || keyword == "subdatabase") {
    const auto name = bytes_of_text(TextForm::print, value);
    name_ = name.has_value() ? *name : std::string(value);  // LMDB's tool escapes nothing
  } else if (keyword == "duplicates" || keyword == "dupsort") {
    if (value != "0") return bad("keys have several records: in a table of Firn each has one");
  } else if (keyword == "keys") {
    if (value != "1") return bad("the dump is without keys");
  } else if (std::ranges::find(tuning, keyword) == tuning.end()) {
    unknown_.emplace_back(keyword);
  }
  return Read::yes;
}

std::optional<std::string> DumpReader::data() const {
  if (!line_.starts_with(' ')) return {};
  return bytes_of_text(form_, line_.substr(1));
}

DumpReader::Read DumpReader::next_pair(std::string& key, std::string& record) {
  for (std::string* part : {&key, &record}) {
    if (!next_line()) {
      return bad(std::ferror(input_) != 0 ? "the input cannot be read"
                                          : "the input ends before DATA=END");
    }
    if (line_ == "DATA=END") {
      if (part == &key) return Read::end;
      return bad("a key without a record");
    }
    auto bytes = data();
    if (!bytes.has_value()) return bad(fmt::format("not a blank and {}", description(form_)));
    *part = *std::move(bytes);
  }
  return Read::yes;
}

}  // namespace firn::cli
