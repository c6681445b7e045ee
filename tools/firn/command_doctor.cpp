// firn doctor [DIR]: what this machine offers to Firn, and what to do about what it lacks.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <sys/stat.h>

#include "command.hpp"
#include "doctor.hpp"

namespace firn::cli {
namespace {

std::string_view name_of(State state) {
  switch (state) {
    case State::ok:
      return "ok";
    case State::limited:
      return "limited";
    case State::missing:
      return "missing";
  }
  return "";
}

Colour colour_of(State state) {
  switch (state) {
    case State::ok:
      return Colour::green;
    case State::limited:
      return Colour::yellow;
    case State::missing:
      return Colour::red;
  }
  return Colour::plain;
}

Findings examine(const std::string& directory) {
  Findings findings;
  probe_kernel(findings);
  probe_processor(findings);
  probe_numa(findings);
  probe_clock(findings);
  probe_memory(findings);
  probe_reservation(findings);
  probe_page_release(findings);
  probe_huge_pages(findings);
  probe_limits(findings);
  probe_io_uring(findings);
  probe_direct_io(findings, directory);
  probe_rdma(findings);
  return findings;
}

void print_text(Output& output, const Findings& findings, const std::string& summary) {
  std::size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.name.size());
  std::string text;
  for (const Finding& finding : findings) {
    // Padded before it is coloured: the codes have no width.
    const std::string state = fmt::format("{:7}", name_of(finding.state));
    text += fmt::format("{}  {:{}}  {}\n", output.coloured(colour_of(finding.state), state),
                        finding.name, width, finding.found);
    const std::string margin(width + 11, ' ');
    if (!finding.consequence.empty())
      text += fmt::format("{}so: {}\n", margin, finding.consequence);
    if (!finding.advice.empty()) text += fmt::format("{}do: {}\n", margin, finding.advice);
  }
  output.text(text + "\n" + summary + "\n");
}

void print_json(Output& output, const Findings& findings, const std::string& directory) {
  auto rows = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    rows.push_back({{"name", finding.name},
                    {"state", name_of(finding.state)},
                    {"found", finding.found},
                    {"consequence", finding.consequence},
                    {"advice", finding.advice}});
  }
  output.json({{"directory", directory}, {"findings", rows}});
}

ExitCode diagnose(Output& output, const std::string& directory) {
  struct stat status {};
  const int error = stat(directory.c_str(), &status) != 0 ? errno
                    : S_ISDIR(status.st_mode)             ? 0
                                                          : ENOTDIR;
  if (error != 0) {
    return report(
        Problem{.error = fmt::format("no such place for data files: {}", errno_text(error)),
                .where = in_quotes(directory),
                .next = {{"firn doctor", "examines the current directory"},
                         {"firn doctor DIR", "examines a directory that exists"}}});
  }
  const Findings findings = examine(directory);
  if (output.wants_json()) {
    print_json(output, findings, directory);
    return ExitCode::ok;
  }
  const auto count = [&](State state) {
    return std::ranges::count(findings, state, &Finding::state);
  };
  print_text(output, findings,
             fmt::format("{} ok, {} limited, {} missing; so: what follows from it, do: what helps.",
                         count(State::ok), count(State::limited), count(State::missing)));
  return ExitCode::ok;
}

Action prepare_doctor(CLI::App& app) {
  auto directory = std::make_shared<std::string>(".");
  app.add_option("DIR", *directory, "where data files would lie (default: the current directory)");
  return [directory](Output& output) { return diagnose(output, *directory); };
}

}  // namespace

const Command doctor_command = {
    "doctor", "show what this machine offers, and what to do about the rest", prepare_doctor};

}  // namespace firn::cli
