#include <array>
#include <charconv>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "doctor.hpp"

namespace firn::cli {

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<std::uint64_t> first_number(const std::string& path) {
  const std::optional<std::string> line = first_line(path);
  if (!line) return std::nullopt;
  std::uint64_t number = 0;
  const char* end = line->data() + line->size();
  const auto [stop, error] = std::from_chars(line->data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::string size_text(std::uint64_t size_bytes) {
  constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  auto size = static_cast<double>(size_bytes);
  for (; size >= 1024 && unit + 1 < units.size(); ++unit) size /= 1024;
  std::string text = fmt::format("{:.1f}", size);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text + " " + units[unit];
}

std::string errno_text(int number) {
  const char* name = strerrorname_np(number);
  return fmt::format("{} ({})", std::strerror(number), name == nullptr ? "?" : name);
}

}  // namespace firn::cli
