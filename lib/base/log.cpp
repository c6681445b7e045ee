#include "base/log.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "base/clock.hpp"

namespace firn::base {
namespace {

// Longer lines are cut: logging allocates nothing.
constexpr std::size_t line_bytes_max = 512;

void write_to_stderr(void*, LogLevel level, std::string_view line) noexcept {
  if (level < LogLevel::warning) return;
  std::fprintf(stderr, "firn: %.*s\n", static_cast<int>(line.size()), line.data());
}

std::mutex sink_mutex;
LogSink current_sink{&write_to_stderr, nullptr};
std::atomic<std::uint64_t> limits_forgotten_count{0};

}  // namespace

LogSink set_log_sink(LogSink sink) noexcept {
  if (sink.write == nullptr) sink = LogSink{&write_to_stderr, nullptr};
  const std::lock_guard lock(sink_mutex);
  return std::exchange(current_sink, sink);
}

void forget_log_limits() noexcept {
  limits_forgotten_count.fetch_add(1, std::memory_order_relaxed);
}

// Two threads at the turn of a minute may let a line more pass; nothing depends on the number.
bool LogPlace::may_pass(std::uint32_t& suppressed) noexcept {
  const auto since = steady_clock().now().time_since_epoch();
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(since).count();
  const std::uint64_t minute = static_cast<std::uint64_t>(minutes) + 1 +
                               (limits_forgotten_count.load(std::memory_order_relaxed) << 40);
  if (minute_.exchange(minute, std::memory_order_relaxed) != minute) {
    passed_.store(0, std::memory_order_relaxed);
  }
  if (passed_.fetch_add(1, std::memory_order_relaxed) >= lines_per_minute_) {
    suppressed_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
  return true;
}

void LogPlace::log(LogLevel level, std::string_view text, int system_error) noexcept {
  std::uint32_t suppressed = 0;
  if (!may_pass(suppressed)) return;
  std::array<char, line_bytes_max> line;
  auto* end = line.data();
  const auto left = [&] { return line.size() - static_cast<std::size_t>(end - line.data()); };
  end = fmt::format_to_n(end, left(), "{}", text).out;
  if (system_error != 0) {
    end = fmt::format_to_n(end, left(), ": {}", std::strerror(system_error)).out;
  }
  if (suppressed != 0) end = fmt::format_to_n(end, left(), " ({} such left out)", suppressed).out;
  LogSink sink;
  {
    const std::lock_guard lock(sink_mutex);
    sink = current_sink;
  }
  sink.write(sink.context, level, {line.data(), static_cast<std::size_t>(end - line.data())});
}

}  // namespace firn::base
