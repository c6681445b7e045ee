// Shows how far a long task is, on stderr: one line redrawn in place where stderr is a terminal,
// else a line every 10 s, so that logs and pipes stay readable. A task shorter than that prints
// nothing there. Used by one thread at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include <unistd.h>

namespace firn::tools {

/// Called with (done, total, unit); `total` is 0 while it is unknown. The unit "bytes" is shown in
/// larger units where that reads better.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Progress(std::string_view task) : Progress(task, stderr, isatty(STDERR_FILENO) == 1) {}
  /// For tests: where to, and whether that is a terminal.
  Progress(std::string_view task, std::FILE* stream, bool terminal,
           Clock::time_point now = Clock::now())
      : task_(task), stream_(stream), terminal_(terminal), begun_(now), shown_(now) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Takes the line off the terminal, so that what follows starts at its beginning.
  ~Progress() {
    if (drawn_) std::fputs("\r\033[K", stream_);
    std::fflush(stream_);
  }

  void operator()(std::uint64_t done, std::uint64_t total, std::string_view unit,
                  Clock::time_point now = Clock::now()) {
    using namespace std::chrono_literals;
    // Ten frames a second are smooth and cost nothing beside the work.
    const Clock::duration interval = terminal_ ? Clock::duration(100ms) : Clock::duration(10s);
    if (now - shown_ < interval) return;
    shown_ = now;
    const std::string line = text(done, total, unit, now);
    std::fprintf(stream_, terminal_ ? "\r%s\033[K" : "%s\n", line.c_str());
    std::fflush(stream_);
    drawn_ = terminal_;
  }

  /// "load: 25 %, 1000 of 4000 records, 500 records/s, 6 s left"
  [[nodiscard]] std::string text(std::uint64_t done, std::uint64_t total, std::string_view unit,
                                 Clock::time_point now) const {
    const double seconds = std::chrono::duration<double>(now - begun_).count();
    const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
    std::string line = task_ + ": ";
    if (total > 0) {
      const double part = static_cast<double>(done) / static_cast<double>(total);
      line += whole(100 * std::min(part, 1.0)) + " %, ";
      line += amount(static_cast<double>(done), unit) + " of ";
      line += amount(static_cast<double>(total), unit);
    } else {
      line += amount(static_cast<double>(done), unit);
    }
    line += ", " + amount(rate, unit) + "/s";
    if (total > done && rate > 0) {
      line += ", " + whole(static_cast<double>(total - done) / rate) + " s left";
    }
    return line;
  }

 private:
  // Rounded down: 100 % is the end, not nearly the end.
  static std::string whole(double number) {
    return std::to_string(static_cast<std::uint64_t>(number));
  }

  static std::string amount(double number, std::string_view unit) {
    if (unit != "bytes") return whole(number) + " " + std::string(unit);
    static constexpr const char* names[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    std::size_t index = 0;
    for (; number >= 1024 && index + 1 < std::size(names); ++index) number /= 1024;
    return whole(number) + " " + names[index];
  }

  const std::string task_;
  std::FILE* const stream_;
  const bool terminal_;
  const Clock::time_point begun_;
  Clock::time_point shown_;
  bool drawn_ = false;
};

}  // namespace firn::tools
