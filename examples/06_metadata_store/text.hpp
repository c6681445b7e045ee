// How names, numbers and the like are printed and read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "types.hpp"

namespace mdfs {

/// The name with everything escaped that would confuse a terminal or a reader: control characters,
/// bytes that are no UTF-8, backslashes. "a\nb" becomes "a\\nb", the byte FF "\\xff".
[[nodiscard]] std::string escaped(std::string_view name);

/// 1234567 as "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t number);
/// 1536 as "1.5 KiB".
[[nodiscard]] std::string size_text(std::uint64_t bytes);

/// "drwxr-xr-x"
[[nodiscard]] std::string mode_text(Kind kind, std::uint16_t mode);
[[nodiscard]] std::string_view name_of(Kind kind);

/// A command line in words: parted by blanks; '…' and "…" hold words together, \ keeps the next
/// character as it is.
[[nodiscard]] std::vector<std::string> words_of(std::string_view line);

}  // namespace mdfs
