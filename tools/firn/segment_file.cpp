#include "segment_file.hpp"

#include <cerrno>
#include <vector>

#include <fmt/format.h>

namespace firn::cli {
namespace {

std::vector<NextStep> next_steps(const Error& error) {
  switch (error.code) {
    case ErrorCode::not_found:
      if (error.system_error != 0) return {{"give the path of a segment's file"}};
      return {{"give the path of a segment's file; this is none, or only the beginning of one"}};
    case ErrorCode::busy:
      return {{"close the domain there, or let that process end, then run the command again"}};
    case ErrorCode::corrupt:
      return {{"restore the file from a copy; Firn does not open this one"}};
    case ErrorCode::invalid_argument:
      return {{"name a segment's file or block device itself, as the user whom it belongs to"}};
    case ErrorCode::io_error:
      if (error.system_error == EACCES || error.system_error == EPERM) {
        return {{"run the command as the user whom the file belongs to"}};
      }
      return {{"look at the device and the kernel's log, then run the command again"}};
    default:
      return {{std::string(next_step_for(error.code))}};
  }
}

}  // namespace

void add_segment_file(CLI::App& app, std::string& path) {
  app.add_option("FILE", path, "the file or block device of a segment")->required();
}

std::string place_text(const Place& place, const std::string& path) {
  std::string text = in_quotes(path);
  if (place.segment != static_cast<std::uint32_t>(Place::none)) {
    text = fmt::format("segment {} ({})", place.segment, text);
  }
  if (place.page != Place::none) text += fmt::format(", page {}", place.page);
  return text;
}

ExitCode report_segment(const Error& error, const std::string& path) {
  report(Problem{
      .error = text_of(error), .where = place_text(error.place, path), .next = next_steps(error)});
  return error.code == ErrorCode::corrupt ? ExitCode::damage : ExitCode::cannot_run;
}

}  // namespace firn::cli
