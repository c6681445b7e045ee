// The subcommands of `firn`. To add one: write command_NAME.cpp, which defines `NAME_command`, and
// add its line to FIRN_COMMANDS.
#pragma once

#include <functional>
#include <string_view>

#include <CLI/CLI.hpp>

#include "output.hpp"

namespace firn::cli {

/// What a subcommand does once its arguments are read.
using Action = std::function<ExitCode(Output&)>;

struct Command {
  std::string_view name;
  std::string_view summary;          ///< one line for `firn --help`
  Action (*prepare)(CLI::App& app);  ///< declares the arguments; the result owns their values
};

// In the order of `firn --help`.
#define FIRN_COMMANDS(COMMAND) \
  COMMAND(check)               \
  COMMAND(stat)                \
  COMMAND(schema)              \
  COMMAND(tree)                \
  COMMAND(get)                 \
  COMMAND(put)                 \
  COMMAND(del)                 \
  COMMAND(scan)                \
  COMMAND(dump)                \
  COMMAND(load)                \
  COMMAND(bench)               \
  COMMAND(doctor)              \
  COMMAND(errors)              \
  COMMAND(version)

#define FIRN_DECLARE_COMMAND(name) extern const Command name##_command;
FIRN_COMMANDS(FIRN_DECLARE_COMMAND)
#undef FIRN_DECLARE_COMMAND

}  // namespace firn::cli
