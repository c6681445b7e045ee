// firn check FILE: reads and verifies all that a segment's newest checkpoint refers to.
#include <cstdint>
#include <memory>
#include <string>

#include <fmt/format.h>

#include <firn/check.hpp>

#include "command.hpp"
#include "common/progress.hpp"
#include "doctor.hpp"
#include "segment_file.hpp"

namespace firn::cli {
namespace {

nlohmann::ordered_json to_json(const Error& error) {
  nlohmann::ordered_json row{{"code", name_of(error.code)}, {"error", text_of(error)}};
  if (error.place.segment != static_cast<std::uint32_t>(Place::none)) {
    row["segment"] = error.place.segment;
  }
  if (error.place.page != Place::none) row["page"] = error.place.page;
  return row;
}

void print_json(Output& output, const CheckReport& found, const std::string& path) {
  auto damage = nlohmann::ordered_json::array();
  for (const Error& error : found.damage) damage.push_back(to_json(error));
  output.json({{"file", path},
               {"clean", found.clean()},
               {"complete", true},
               {"checkpoint", found.checkpoint},
               {"segment_bytes", found.segment_bytes},
               {"pages", found.pages},
               {"image_bytes", found.image_bytes},
               {"free_bytes", found.free_bytes},
               {"damaged_pages", found.damaged_pages},
               {"damaged_superblock_copies", found.damaged_copies},
               {"damage", damage}});
}

// Each damage as a problem, then what was looked at.
void print_text(Output& output, const CheckReport& found, const std::string& path) {
  for (const Error& error : found.damage) {
    report(Problem{.error = text_of(error),
                   .where = place_text(error.place, path),
                   .next = {{"restore the file from a copy; what is not listed here is whole"}}});
  }
  if (found.damaged_pages > found.damage.size()) {
    report(Problem{.error = fmt::format("{} more pages are damaged and not listed",
                                        found.damaged_pages - found.damage.size()),
                   .where = in_quotes(path),
                   .next = {{"restore the file from a copy"}}});
  }
  if (found.damaged_copies > 0) {
    report(Problem{
        .error = fmt::format("{} of the 4 superblock copies are damaged or older than their twins",
                             found.damaged_copies),
        .where = in_quotes(path),
        .next = {{"open the domain: that renews them; nothing else is lost by it"}}});
  }
  const std::string verdict = found.clean() ? output.coloured(Colour::green, "clean")
                                            : output.coloured(Colour::red, "damaged");
  output.text(fmt::format(
      "{}: {}\n"
      "  checkpoint  {}\n"
      "  pages       {} verified, {} of them damaged\n"
      "  images      {}\n"
      "  free        {} of {}\n",
      in_quotes(path), verdict, found.checkpoint, found.pages, found.damaged_pages,
      size_text(found.image_bytes), size_text(found.free_bytes), size_text(found.segment_bytes)));
}

ExitCode check(Output& output, const std::string& path) {
  const Result<CheckReport> found = [&] {
    tools::Progress progress("check");
    return check_segment(path, {.progress = [&](std::uint64_t done, std::uint64_t total) {
                           progress(done, total, "bytes");
                         }});
  }();
  if (!found.has_value()) {
    const Error& error = found.error();
    if (error.code != ErrorCode::corrupt || !output.wants_json()) {
      return report_segment(error, path);
    }
    output.json({{"file", path},
                 {"clean", false},
                 {"complete", false},
                 {"damage", nlohmann::ordered_json::array({to_json(error)})}});
    return ExitCode::damage;
  }
  if (output.wants_json()) {
    print_json(output, *found, path);
  } else {
    print_text(output, *found, path);
  }
  return found->clean() ? ExitCode::ok : ExitCode::damage;
}

Action prepare(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  add_segment_file(app, *path);
  return [path](Output& output) { return check(output, *path); };
}

}  // namespace

const Command check_command = {"check", "verify every page in a segment's file", prepare};

}  // namespace firn::cli
