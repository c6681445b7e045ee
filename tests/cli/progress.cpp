// The progress line: what it says, and that it stays out of logs. A program of its own, so that it
// needs no test framework and can be run anywhere.
#include "common/progress.hpp"

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using firn::tools::Progress;
using namespace std::chrono_literals;

int failure_count = 0;

void expect_equal(const std::string& actual, const std::string& expected) {
  if (actual == expected) return;
  ++failure_count;
  std::fprintf(stderr, "expected '%s', got '%s'\n", expected.c_str(), actual.c_str());
}

// What 25 s of work, reported every 50 ms, print.
std::string printed(bool terminal) {
  std::FILE* stream = std::tmpfile();
  const Progress::Clock::time_point begin{};
  {
    Progress progress("load", stream, terminal, begin);
    for (unsigned step = 0; step <= 500; ++step) {
      progress(step, 1000, "records", begin + step * 50ms);
    }
  }
  std::string text(static_cast<std::size_t>(std::ftell(stream)), '\0');
  std::rewind(stream);
  const std::size_t size = std::fread(text.data(), 1, text.size(), stream);
  std::fclose(stream);
  text.resize(size);
  return text;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

}  // namespace

int main() {
  expect_equal(printed(false),
               "load: 20 %, 200 records of 1000 records, 20 records/s, 40 s left\n"
               "load: 40 %, 400 records of 1000 records, 20 records/s, 30 s left\n");

  const std::string drawn = printed(true);
  expect_equal(std::to_string(count(drawn, "load:")), "250");
  expect_equal(std::to_string(count(drawn, "\n")), "0");
  expect_equal(drawn.substr(drawn.size() - 4), "\r\033[K");

  const Progress::Clock::time_point begin{};
  const Progress progress("check", stderr, false, begin);
  expect_equal(progress.text(3 << 20, 6 << 20, "bytes", begin + 3s),
               "check: 50 %, 3 MiB of 6 MiB, 1 MiB/s, 3 s left");
  expect_equal(progress.text(7, 0, "pages", begin + 7s), "check: 7 pages, 1 pages/s");
  expect_equal(progress.text(0, 10, "pages", begin), "check: 0 %, 0 pages of 10 pages, 0 pages/s");
  expect_equal(progress.text(12, 10, "pages", begin + 1s),
               "check: 100 %, 12 pages of 10 pages, 12 pages/s");
  return failure_count == 0 ? 0 : 1;
}
