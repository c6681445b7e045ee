// firn version: what was built, for bug reports.
#include <fmt/format.h>

#include "command.hpp"

namespace firn::cli {
namespace {

#if defined(__clang__)
constexpr const char* compiler = "clang " __clang_version__;
#else
constexpr const char* compiler = "g++ " __VERSION__;
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FIRN_SANITIZER "address"
#elif defined(__SANITIZE_THREAD__)
#define FIRN_SANITIZER "thread"
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIRN_SANITIZER "address"
#elif __has_feature(thread_sanitizer)
#define FIRN_SANITIZER "thread"
#endif
#endif
#ifndef FIRN_SANITIZER
#define FIRN_SANITIZER "none"
#endif
#ifdef FIRN_DEBUG
constexpr const char* checks = "debug";
#else
constexpr const char* checks = "release";
#endif

ExitCode print(Output& output) {
  const std::string fmt_version =
      fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100);
  if (output.wants_json()) {
    output.json({{"firn", FIRN_VERSION},
                 {"compiler", compiler},
                 {"checks", checks},
                 {"sanitizer", FIRN_SANITIZER},
                 {"fmt", fmt_version}});
  } else {
    output.text(
        fmt::format("firn {}\n  compiler   {}\n  checks     {}\n  sanitizer  {}\n  fmt        {}\n",
                    FIRN_VERSION, compiler, checks, FIRN_SANITIZER, fmt_version));
  }
  return ExitCode::ok;
}

}  // namespace

const Command version_command = {"version", "print the version and how it was built",
                                 [](CLI::App&) -> Action { return print; }};

}  // namespace firn::cli
