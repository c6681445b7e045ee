#include "bytes_text.hpp"

#include <charconv>
#include <cstdint>

namespace firn::cli {
namespace {

constexpr std::string_view digits = "0123456789abcdef";
constexpr std::size_t number_bytes = 8;

int value_of(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

void append_byte(std::string& out, std::byte byte) {
  const auto number = static_cast<unsigned>(byte);
  out += digits[number >> 4];
  out += digits[number & 15];
}

bool take_byte(std::string_view text, std::size_t at, std::string& out) {
  if (at + 2 > text.size()) return false;
  const int high = value_of(text[at]);
  const int low = value_of(text[at + 1]);
  if (high < 0 || low < 0) return false;
  out += static_cast<char>(16 * high + low);
  return true;
}

std::optional<std::string> from_hex(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t at = 0; at < text.size(); at += 2) {
    if (!take_byte(text, at, bytes)) return {};
  }
  return bytes;
}

std::optional<std::string> from_print(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\') {
      bytes += text[at];
    } else if (at + 1 < text.size() && text[at + 1] == '\\') {
      bytes += '\\';
      ++at;
    } else {
      if (!take_byte(text, at + 1, bytes)) return {};
      at += 2;
    }
  }
  return bytes;
}

// Big endian, as OrderedSingleField<std::uint64_t> encodes it.
std::optional<std::string> from_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size()) return {};
  std::string bytes(number_bytes, '\0');
  for (std::size_t index = number_bytes; index-- > 0; number >>= 8) {
    bytes[index] = static_cast<char>(number & 0xff);
  }
  return bytes;
}

}  // namespace

void append_text(std::string& out, TextForm form, Bytes bytes) {
  if (form == TextForm::number && bytes.size() == number_bytes) {
    std::uint64_t number = 0;
    for (const std::byte byte : bytes) number = number << 8 | static_cast<std::uint64_t>(byte);
    out += std::to_string(number);
    return;
  }
  for (const std::byte byte : bytes) {
    const auto character = static_cast<char>(byte);
    if (form == TextForm::print && character >= ' ' && character <= '~' && character != '\\') {
      out += character;
    } else {
      // A key that is no u64 where one should be shows its bytes, too.
      if (form != TextForm::hex) out += '\\';
      append_byte(out, byte);
    }
  }
}

std::string text_of_bytes(TextForm form, Bytes bytes) {
  std::string text;
  append_text(text, form, bytes);
  return text;
}

std::optional<std::string> bytes_of_text(TextForm form, std::string_view text) {
  switch (form) {
    case TextForm::print:
      return from_print(text);
    case TextForm::hex:
      return from_hex(text);
    case TextForm::number:
      break;
  }
  return from_number(text);
}

TextForm key_form(std::string_view key_schema, bool wants_hex) {
  if (wants_hex) return TextForm::hex;
  return key_schema == "u64" ? TextForm::number : TextForm::print;
}

std::string_view description(TextForm form) {
  switch (form) {
    case TextForm::print:
      return "text in which a backslash is followed by two hexadecimal digits or a backslash";
    case TextForm::hex:
      return "hexadecimal digits, two for each byte";
    case TextForm::number:
      break;
  }
  return "a number from 0 to 18446744073709551615, as the table's keys are";
}

}  // namespace firn::cli
