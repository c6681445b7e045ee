// Commands that look at the file of a segment.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include <firn/error.hpp>

#include "output.hpp"

namespace firn::cli {

/// Declares the argument FILE.
void add_segment_file(CLI::App& app, std::string& path);

/// Prints why the segment in `path` cannot be read, with what to do about it.
ExitCode report_segment(const Error& error, const std::string& path);

/// "segment 0 ('FILE'), page 17"; without the page if there is none in `place`.
[[nodiscard]] std::string place_text(const Place& place, const std::string& path);

}  // namespace firn::cli
