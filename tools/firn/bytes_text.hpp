// Keys and records as text, in the way of the tools of Berkeley DB and LMDB: printable ASCII as it
// is, anything else and the backslash as \xx; or hexadecimal digits.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <firn/bytes.hpp>

namespace firn::cli {

enum class TextForm {
  print,   ///< printable characters, \xx
  hex,     ///< two digits for each byte
  number,  ///< of a key that is one u64: decimal
};

void append_text(std::string& out, TextForm form, Bytes bytes);
[[nodiscard]] std::string text_of_bytes(TextForm form, Bytes bytes);

/// Empty: the text is none of that form. Of `print` also "\\" is a backslash.
[[nodiscard]] std::optional<std::string> bytes_of_text(TextForm form, std::string_view text);

/// How keys of that schema are shown and read: a u64 as a number, unless hexadecimal digits are
/// asked for. Texts are stored as they are, and other keys are not decoded.
[[nodiscard]] TextForm key_form(std::string_view key_schema, bool wants_hex);

/// "hexadecimal digits, two for each byte", for messages.
[[nodiscard]] std::string_view description(TextForm form);

}  // namespace firn::cli
