// firn del DB TABLE KEY: erases one pair.
#include <memory>
#include <string>

#include "command.hpp"
#include "database.hpp"

namespace firn::cli {
namespace {

struct DelArguments : TableArguments {
  std::string key;
};

ExitCode del(Output& output, const DelArguments& arguments) {
  WritableTable writable;
  if (!writable.open(arguments)) return writable.code();
  const TextForm form = key_form(writable.info().key_schema, arguments.wants_hex);
  const auto key = bytes_of_text(form, arguments.key);
  if (!key.has_value()) return report_bad_text("key", form, "del");
  const auto erased = writable.table().erase(std::string_view(*key), Expect::present).wait();
  if (!erased.has_value() && erased.error().code == ErrorCode::not_found) {
    const ExitCode code = writable.close();
    if (code != ExitCode::ok) return code;
    return report_no_pair(arguments.key, arguments.table, arguments.path);
  }
  if (!erased.has_value()) return report_table(erased.error(), arguments.table, arguments.path);
  const ExitCode code = writable.close();
  if (code == ExitCode::ok && output.wants_json()) {
    output.json({{"table", arguments.table}, {"key", arguments.key}, {"erased", true}});
  }
  return code;
}

Action prepare_del(CLI::App& app) {
  auto arguments = std::make_shared<DelArguments>();
  add_table(app, *arguments);
  app.add_option("KEY", arguments->key, key_help)->required();
  add_hex(app, arguments->wants_hex);
  return [arguments](Output& output) { return del(output, *arguments); };
}

}  // namespace

const Command del_command = {"del", "erase a pair", prepare_del};

}  // namespace firn::cli
