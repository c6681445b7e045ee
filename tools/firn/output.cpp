#include "output.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

namespace firn::cli {
namespace {

bool wants_colour(int descriptor) {
  const char* no_colour = std::getenv("NO_COLOR");
  if (no_colour != nullptr && *no_colour != '\0') return false;
  const char* terminal = std::getenv("TERM");
  return isatty(descriptor) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

std::string paint(bool wanted, Colour colour, std::string_view text) {
  if (!wanted || colour == Colour::plain) return std::string(text);
  const int number = colour == Colour::green ? 32 : colour == Colour::yellow ? 33 : 31;
  return fmt::format("\033[{}m{}\033[0m", number, text);
}

}  // namespace

ExitCode report(const Problem& problem) {
  const bool colour = wants_colour(STDERR_FILENO);
  std::string text = fmt::format("{} {}\n", paint(colour, Colour::red, "error:"), problem.error);
  if (!problem.where.empty()) text += fmt::format("  where    {}\n", problem.where);
  std::size_t width = 0;
  for (const NextStep& step : problem.next) width = std::max(width, step.command.size());
  std::string_view label = "next";
  for (const NextStep& step : problem.next) {
    if (step.reason.empty()) {
      text += fmt::format("  {:8} {}\n", label, step.command);
    } else {
      text += fmt::format("  {:8} {:{}}   {}\n", label, step.command, width, step.reason);
    }
    label = "";
  }
  std::fwrite(text.data(), 1, text.size(), stderr);
  return ExitCode::cannot_run;
}

ExitCode report(const Error& error, std::string_view where) {
  report(Problem{.error = text_of(error),
                 .where = std::string(where),
                 .next = {{std::string(next_step_for(error.code))}}});
  return error.code == ErrorCode::corrupt ? ExitCode::damage : ExitCode::cannot_run;
}

std::string text_of(const Error& error) {
  std::string message = error.message();
  message.resize(std::min(message.size(), message.rfind("; next: ")));
  return message;
}

std::string in_quotes(std::string_view text) {
  std::string result = "'";
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += character;
    }
  }
  return result + "'";
}

Output::Output(bool wants_json)
    : wants_json_(wants_json), wants_colour_(!wants_json && wants_colour(STDOUT_FILENO)) {}

void Output::text(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void Output::json(const nlohmann::ordered_json& document) {
  // File names need not be UTF-8; JSON must be.
  text(document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void Output::json_line(const nlohmann::ordered_json& document) {
  text(document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  std::fflush(stdout);
}

std::string Output::coloured(Colour colour, std::string_view text) const {
  return paint(wants_colour_, colour, text);
}

bool Output::flush() { return std::fflush(stdout) == 0 && std::ferror(stdout) == 0; }

}  // namespace firn::cli
