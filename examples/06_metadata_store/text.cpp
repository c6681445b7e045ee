#include "text.hpp"

#include <array>
#include <cstdio>

namespace mdfs {
namespace {

// The size of the printable UTF-8 sequence that `text` begins with; 0 if it begins with none.
std::size_t printable_size(std::string_view text) {
  const auto byte = [text](std::size_t index) {
    return static_cast<unsigned>(static_cast<unsigned char>(text[index]));
  };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7F && first != '\\' ? 1 : 0;
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
  unsigned point = first & (0x7Fu >> size);
  for (std::size_t index = 1; index < size; ++index) {
    if ((byte(index) & 0xC0) != 0x80) return 0;
    point = point << 6 | (byte(index) & 0x3F);
  }
  constexpr std::array<unsigned, 5> smallest{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xD800 && point < 0xE000;
  const bool control = point < 0xA0;  // the C1 controls
  // Marks that change the direction of what follows would show one name as another.
  const bool direction =
      (point >= 0x202A && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
  if (point < smallest[size] || point > 0x10FFFF || surrogate || control || direction) return 0;
  return size;
}

}  // namespace

std::string escaped(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const std::size_t size = printable_size(name);
    if (size > 0) {
      out.append(name.substr(0, size));
      name.remove_prefix(size);
      continue;
    }
    switch (name[0]) {
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\\':
        out += "\\\\";
        break;
      default: {
        std::array<char, 8> code;
        std::snprintf(code.data(), code.size(), "\\x%02x",
                      static_cast<unsigned>(static_cast<unsigned char>(name[0])));
        out += code.data();
      }
    }
    name.remove_prefix(1);
  }
  return out;
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 6> units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double size = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; size >= 1024 && unit + 1 < units.size(); ++unit) size /= 1024;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
  return text.data();
}

std::string mode_text(Kind kind, std::uint16_t mode) {
  std::string text(1, "-dlbcps"[static_cast<std::size_t>(kind)]);
  for (int shift = 6; shift >= 0; shift -= 3) {
    text += (mode >> shift & 4) != 0 ? 'r' : '-';
    text += (mode >> shift & 2) != 0 ? 'w' : '-';
    text += (mode >> shift & 1) != 0 ? 'x' : '-';
  }
  const auto special = [&text](std::size_t at, char with_execute) {
    text[at] = text[at] == 'x' ? with_execute : static_cast<char>(with_execute - ('a' - 'A'));
  };
  if ((mode & 04000) != 0) special(3, 's');
  if ((mode & 02000) != 0) special(6, 's');
  if ((mode & 01000) != 0) special(9, 't');
  return text;
}

std::string_view name_of(Kind kind) {
  constexpr std::array<std::string_view, 7> names{
      "file", "directory", "symlink", "block device", "character device", "pipe", "socket"};
  return names[static_cast<std::size_t>(kind)];
}

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  bool inside = false;
  char quote = 0;
  for (std::size_t at = 0; at < line.size(); ++at) {
    const char character = line[at];
    if (quote == 0 && (character == ' ' || character == '\t')) {
      inside = false;
      continue;
    }
    if (!inside) words.emplace_back();
    inside = true;
    if (quote != 0 ? character == quote : character == '\'' || character == '"') {
      quote = quote != 0 ? '\0' : character;
    } else if (character == '\\' && quote != '\'' && at + 1 < line.size()) {
      words.back() += line[++at];
    } else {
      words.back() += character;
    }
  }
  return words;
}

}  // namespace mdfs
