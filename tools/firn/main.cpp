// The command line tool: chooses the subcommand, reads its arguments, and turns what goes wrong
// into an error with a next step.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/nearest.hpp"
#include "command.hpp"
#include "output.hpp"

namespace firn::cli {
namespace {

#define FIRN_ADDRESS_OF_COMMAND(name) &name##_command,
const Command* const commands[] = {FIRN_COMMANDS(FIRN_ADDRESS_OF_COMMAND)};
#undef FIRN_ADDRESS_OF_COMMAND

constexpr std::string_view global_options[] = {"--help", "--json", "--version"};

const Command* find(std::string_view name) {
  const auto found =
      std::ranges::find_if(commands, [&](const Command* command) { return command->name == name; });
  return found == std::end(commands) ? nullptr : *found;
}

std::string help() {
  std::string text =
      "firn: works on Firn domains (tables kept by the embeddable storage engine Firn)\n"
      "\n"
      "Usage: firn [--json] COMMAND [ARGUMENT...]\n"
      "\n"
      "Commands:\n";
  for (const Command* command : commands) {
    text += fmt::format("  {:10} {}\n", command->name, command->summary);
  }
  text +=
      "\n"
      "Options:\n"
      "  --json         print the result as one JSON document\n"
      "  -h, --help     print this text, or with a command its arguments\n"
      "  -V, --version  print the version\n"
      "\n"
      "Begin with:\n"
      "  firn doctor          what this machine offers, and what to do about the rest\n"
      "  firn doctor --help   the arguments of one command\n"
      "\n"
      "Exit codes: 0 done; 1 done, and damage or another bad finding; 2 could not run.\n";
  return text;
}

ExitCode unknown_option(std::string_view option, const std::vector<std::string_view>& known,
                        std::string_view command) {
  const std::string prefix = command.empty() ? "firn" : fmt::format("firn {}", command);
  Problem problem{
      .error = fmt::format("unknown option {}", in_quotes(option)), .where = prefix, .next = {}};
  if (const std::string_view meant = base::nearest_meant(option, known); !meant.empty()) {
    problem.next.push_back({fmt::format("{} {}", prefix, meant), "is the nearest known option"});
  }
  problem.next.push_back({prefix + " --help", "lists the options"});
  return report(problem);
}

ExitCode unknown_command(std::string_view name) {
  Problem problem{
      .error = fmt::format("unknown command {}", in_quotes(name)), .where = "firn", .next = {}};
  std::vector<std::string_view> known;
  for (const Command* command : commands) known.push_back(command->name);
  if (const std::string_view meant = base::nearest_meant(name, known); !meant.empty()) {
    problem.next.push_back({fmt::format("firn {}", meant), "is the nearest known command"});
  }
  problem.next.push_back({"firn --help", "lists the commands"});
  return report(problem);
}

// What is left over after an application has read its arguments: the first of them is the problem.
ExitCode unexpected(const CLI::App& app, const Command& command, const std::string& argument) {
  if (argument.size() > 1 && argument.front() == '-') {
    std::vector<std::string> names;
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    return unknown_option(argument.substr(0, argument.find('=')), {names.begin(), names.end()},
                          command.name);
  }
  return report(Problem{
      .error = fmt::format("unexpected argument {}", in_quotes(argument)),
      .where = fmt::format("firn {}", command.name),
      .next = {{fmt::format("firn {} --help", command.name), "shows the arguments it takes"}}});
}

ExitCode finish(ExitCode code, Output& output) {
  if (output.flush()) return code;
  return report(
      Problem{.error = "the output could not be written in full",
              .where = "stdout",
              .next = {{"free space where the output goes, then run the command again"}}});
}

ExitCode run(const Command& command, std::vector<std::string> arguments, bool wants_json) {
  CLI::App app(std::string(command.summary), fmt::format("firn {}", command.name));
  app.allow_extras();
  app.add_flag("--json", wants_json, "print the result as one JSON document");
  const Action action = command.prepare(app);
  try {
    std::ranges::reverse(arguments);  // what CLI11 expects of a vector
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    Output output(false);
    output.text(app.help());
    return finish(ExitCode::ok, output);
  } catch (const CLI::ParseError& problem) {
    return report(Problem{
        .error = problem.what(),
        .where = fmt::format("firn {}", command.name),
        .next = {{fmt::format("firn {} --help", command.name), "shows the arguments it takes"}}});
  }
  std::vector<std::string> left = app.remaining();
  std::erase(left, "--");  // read by CLI11, and kept all the same: no options come after it
  if (!left.empty()) return unexpected(app, command, left.front());
  Output output(wants_json);
  return finish(action(output), output);
}

ExitCode main(std::vector<std::string> arguments) {
  if (!arguments.empty() && arguments.front() == "help") {  // firn help [COMMAND]
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
  }
  bool wants_json = false;
  for (std::size_t index = 0; index < arguments.size(); ++index) {
    const std::string& argument = arguments[index];
    if (argument == "--json") {
      wants_json = true;
    } else if (argument == "--help" || argument == "-h") {
      Output output(false);
      output.text(help());
      return finish(ExitCode::ok, output);
    } else if (argument == "--version" || argument == "-V") {
      Output output(false);
      output.text("firn " FIRN_VERSION "\n");
      return finish(ExitCode::ok, output);
    } else if (argument.starts_with('-')) {
      return unknown_option(argument, {std::begin(global_options), std::end(global_options)}, "");
    } else {
      const Command* command = find(argument);
      if (command == nullptr) return unknown_command(argument);
      const auto rest = arguments.begin() + static_cast<std::ptrdiff_t>(index) + 1;
      return run(*command, {rest, arguments.end()}, wants_json);
    }
  }
  return report(Problem{
      .error = "no command was given",
      .where = "firn",
      .next = {{"firn --help", "lists the commands"}, {"firn doctor", "is a good first one"}}});
}

}  // namespace
}  // namespace firn::cli

int main(int argument_count, char** arguments) {
  return static_cast<int>(
      firn::cli::main({arguments + (argument_count > 0 ? 1 : 0), arguments + argument_count}));
}
