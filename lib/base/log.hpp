// What the library has to say while it goes on: one line at a time, to a sink that the program may
// replace. By default warnings go to stderr and notices nowhere. Shared between threads.
//
// Each place in the code owns a `LogPlace`, which lets few lines pass per minute and counts the
// rest, so that a device that fails a million times does not write a million lines.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace firn::base {

enum class LogLevel : std::uint8_t { notice, warning };

/// Called from any thread, also from several at once; `line` has no line end.
struct LogSink {
  void (*write)(void* context, LogLevel level, std::string_view line) noexcept = nullptr;
  void* context = nullptr;
};

/// Replaces the sink; a null `write` brings the default back. Returns the former one.
LogSink set_log_sink(LogSink sink) noexcept;

/// A place that logs; static in its function. Constant-initialised.
class LogPlace {
 public:
  static constexpr std::uint32_t lines_per_minute_default = 10;

  constexpr explicit LogPlace(std::uint32_t lines_per_minute = lines_per_minute_default) noexcept
      : lines_per_minute_(lines_per_minute) {}

  /// Writes `text`, and behind it `: ` and the text of `system_error` unless that is 0.
  void log(LogLevel level, std::string_view text, int system_error = 0) noexcept;

 private:
  [[nodiscard]] bool may_pass(std::uint32_t& suppressed) noexcept;

  const std::uint32_t lines_per_minute_;
  std::atomic<std::uint64_t> minute_{0};  // since forget_log_limits' last call; 0: never logged
  std::atomic<std::uint32_t> passed_{0};
  std::atomic<std::uint32_t> suppressed_{0};
};

/// Every place may log again at once. For tests.
void forget_log_limits() noexcept;

}  // namespace firn::base
