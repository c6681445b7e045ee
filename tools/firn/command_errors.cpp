// firn errors [NAME]: every error code with what to do about it.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <firn/error.hpp>

#include "base/nearest.hpp"
#include "command.hpp"

namespace firn::cli {
namespace {

// Codes are never reused, so the numbers may have gaps, but they stay small.
constexpr std::uint16_t code_number_max = 255;

std::vector<ErrorCode> known_codes() {
  std::vector<ErrorCode> codes;
  for (std::uint16_t number = 1; number <= code_number_max; ++number) {
    const auto code = static_cast<ErrorCode>(number);
    if (!next_step_for(code).empty()) codes.push_back(code);
  }
  return codes;
}

ExitCode unknown_name(std::string_view name, const std::vector<ErrorCode>& codes) {
  Problem problem{.error = fmt::format("unknown error code {}", in_quotes(name)),
                  .where = "firn errors",
                  .next = {}};
  std::vector<std::string_view> known;
  for (const ErrorCode code : codes) known.push_back(name_of(code));
  if (const std::string_view meant = base::nearest_meant(name, known); !meant.empty()) {
    problem.next.push_back({fmt::format("firn errors {}", meant), "is the nearest known code"});
  }
  problem.next.push_back({"firn errors", "lists all codes"});
  return report(problem);
}

ExitCode print(Output& output, const std::string& name) {
  std::vector<ErrorCode> codes = known_codes();
  if (!name.empty()) {
    const std::vector<ErrorCode> all = codes;
    std::erase_if(codes, [&](ErrorCode code) { return name_of(code) != name; });
    if (codes.empty()) return unknown_name(name, all);
  }
  auto rows = nlohmann::ordered_json::array();
  std::string text = "  No  Code                Next step\n";
  for (const ErrorCode code : codes) {
    const auto number = static_cast<unsigned>(code);
    text += fmt::format("{:4}  {:18}  {}\n", number, name_of(code), next_step_for(code));
    rows.push_back({{"code", name_of(code)}, {"number", number}, {"next", next_step_for(code)}});
  }
  if (output.wants_json()) {
    output.json({{"errors", rows}});
  } else {
    output.text(text);
  }
  return ExitCode::ok;
}

Action prepare_errors(CLI::App& app) {
  auto name = std::make_shared<std::string>();
  app.add_option("CODE", *name, "one code only, for example no_space");
  return [name](Output& output) { return print(output, *name); };
}

}  // namespace

const Command errors_command = {"errors", "list the error codes and what to do about each",
                                prepare_errors};

}  // namespace firn::cli
