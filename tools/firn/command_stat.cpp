// firn stat FILE: what a segment's file holds, without reading its pages.
#include <memory>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <firn/check.hpp>

#include "command.hpp"
#include "doctor.hpp"
#include "segment_file.hpp"

namespace firn::cli {
namespace {

using Groups = std::array<std::pair<const char*, const SegmentStatistics::OfGroup*>, 3>;

Groups groups_of(const SegmentStatistics& found) {
  return {{{"leaves", &found.leaves}, {"runs", &found.runs}, {"other", &found.other}}};
}

void print_json(Output& output, const SegmentStatistics& found, const std::string& path) {
  auto classes = nlohmann::ordered_json::array();
  for (const SegmentStatistics::OfClass& of_class : found.classes) {
    classes.push_back({{"page_bytes", of_class.page_bytes},
                       {"pages", of_class.pages},
                       {"image_bytes", of_class.image_bytes}});
  }
  auto groups = nlohmann::ordered_json::array();
  for (const auto& [name, group] : groups_of(found)) {
    groups.push_back({{"name", name},
                      {"chunks", group->chunks},
                      {"live_bytes", group->live_bytes},
                      {"pending_bytes", group->pending_bytes},
                      {"free_bytes", group->free_bytes}});
  }
  output.json({{"file", path},
               {"checkpoint", found.checkpoint},
               {"open_count", found.open_count},
               {"segment_bytes", found.segment_bytes},
               {"granule_bytes", found.granule_bytes},
               {"chunk_bytes", found.chunk_bytes},
               {"damaged_superblock_copies", found.damaged_copies},
               {"pages", found.pages},
               {"image_bytes", found.image_bytes},
               {"mapping_bytes", found.mapping_bytes},
               {"pending_bytes", found.pending_bytes},
               {"free_bytes", found.free_bytes},
               {"empty_chunks", found.empty_chunks},
               {"holes", found.holes},
               {"longest_hole_bytes", found.longest_hole_bytes},
               {"fragmentation", found.fragmentation},
               {"classes", classes},
               {"groups", groups}});
}

void print_text(Output& output, const SegmentStatistics& found, const std::string& path) {
  std::string text = fmt::format(
      "{}\n"
      "  checkpoint     {}, opened for writing {} times\n"
      "  segment        {} in chunks of {}, granules of {} bytes\n"
      "  pages          {}, images {}\n"
      "  mapping        {}\n"
      "  free           {}, and {} with the next checkpoint\n"
      "  empty chunks   {}\n"
      "  fragmentation  {:.1f} % of the free space in other chunks; {} holes, the longest {}\n",
      in_quotes(path), found.checkpoint, found.open_count, size_text(found.segment_bytes),
      size_text(found.chunk_bytes), found.granule_bytes, found.pages, size_text(found.image_bytes),
      size_text(found.mapping_bytes), size_text(found.free_bytes), size_text(found.pending_bytes),
      found.empty_chunks, 100 * found.fragmentation, found.holes,
      size_text(found.longest_hole_bytes));
  if (found.damaged_copies > 0) {
    text += fmt::format("  superblocks    {} of 4 copies damaged or older than their twins\n",
                        found.damaged_copies);
  }
  text += "\n  page size       pages      images\n";
  for (const SegmentStatistics::OfClass& of_class : found.classes) {
    if (of_class.pages == 0) continue;
    text += fmt::format("  {:>9}  {:>10}  {:>10}\n", size_text(of_class.page_bytes), of_class.pages,
                        size_text(of_class.image_bytes));
  }
  text += "\n  group       chunks        live     pending        free\n";
  for (const auto& [name, group] : groups_of(found)) {
    text += fmt::format("  {:8}  {:>8}  {:>10}  {:>10}  {:>10}\n", name, group->chunks,
                        size_text(group->live_bytes), size_text(group->pending_bytes),
                        size_text(group->free_bytes));
  }
  output.text(text);
}

ExitCode stat(Output& output, const std::string& path) {
  const Result<SegmentStatistics> found = segment_statistics(path);
  if (!found.has_value()) return report_segment(found.error(), path);
  if (output.wants_json()) {
    print_json(output, *found, path);
  } else {
    print_text(output, *found, path);
  }
  return ExitCode::ok;
}

Action prepare(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  add_segment_file(app, *path);
  return [path](Output& output) { return stat(output, *path); };
}

}  // namespace

const Command stat_command = {"stat", "show what a segment's file holds", prepare};

}  // namespace firn::cli
