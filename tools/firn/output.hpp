// What the tool says: results on stdout as text or JSON, problems on stderr, and exit codes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <firn/error.hpp>

namespace firn::cli {

/// Exit codes of every subcommand; docs/firn.1 explains them.
enum class ExitCode : int {
  ok = 0,
  damage = 1,      ///< it ran, and what it found is bad, or nothing
  cannot_run = 2,  ///< usage or environment; nothing was printed to stdout
};

/// A command a user can type next, and what it is good for (may be empty).
struct NextStep {
  std::string command;
  std::string reason = {};
};

/// Why a command cannot do what was asked. Printed as lines error / where / next.
struct Problem {
  std::string error;
  std::string where;
  std::vector<NextStep> next;
};

/// Prints `problem` to stderr and returns `cannot_run`.
ExitCode report(const Problem& problem);
/// The same for an error of the library; `where` names what the command worked on. The exit code is
/// `damage` for bytes found corrupt, else `cannot_run`.
ExitCode report(const Error& error, std::string_view where);

/// What went wrong, without the next step that `Error::message` ends with.
[[nodiscard]] std::string text_of(const Error& error);

/// `text` in quotes, its control characters as \xNN: a user's bytes never steer the terminal.
[[nodiscard]] std::string in_quotes(std::string_view text);

enum class Colour { plain, green, yellow, red };

/// Results of a command: either `text`, or `json` or `json_line`, as `wants_json` says.
class Output {
 public:
  explicit Output(bool wants_json);

  [[nodiscard]] bool wants_json() const { return wants_json_; }
  void text(std::string_view text);
  void json(const nlohmann::ordered_json& document);
  /// One of several results, on a line of its own and at once: for what takes long.
  void json_line(const nlohmann::ordered_json& document);
  /// `text` in a colour if stdout is a terminal that wants colours, else unchanged.
  [[nodiscard]] std::string coloured(Colour colour, std::string_view text) const;
  /// False if something that was printed did not arrive (disk full, closed descriptor).
  [[nodiscard]] bool flush();

 private:
  bool wants_json_;
  bool wants_colour_;
};

}  // namespace firn::cli
