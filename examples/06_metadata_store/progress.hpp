// Shows how far a long task is, on standard error: a bar on a terminal, else a line every 10 s.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

#include "resident.hpp"
#include "text.hpp"

namespace mdfs {

class Progress {
 public:
  explicit Progress(const char* task) : task_(task) {}
  ~Progress() {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `part` of the whole, 0 to 1, and how many entries that were.
  void show(double part, std::uint64_t count) {
    using namespace std::chrono_literals;
    Resident::look();
    const auto now = Clock::now();
    if (now - shown_ < (terminal_ ? Clock::duration(100ms) : Clock::duration(10s))) return;
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - begun_).count();
    const auto rate = static_cast<std::uint64_t>(static_cast<double>(count) / seconds);
    std::string bar;
    if (terminal_) {
      constexpr std::size_t width = 30;
      const auto full = static_cast<std::size_t>(part * width);
      bar = '[' + std::string(full, '#') + std::string(width - full, '.') + "] ";
    }
    std::fprintf(stderr, "%s%s: %s%3.0f %%, %s entries, %s/s%s", terminal_ ? "\r" : "", task_,
                 bar.c_str(), 100 * part, grouped(count).c_str(), grouped(rate).c_str(),
                 terminal_ ? "\033[K" : "\n");
    drawn_ = terminal_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  const char* task_;
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  bool drawn_ = false;
  const Clock::time_point begun_ = Clock::now();
  Clock::time_point shown_ = begun_;
};

}  // namespace mdfs
