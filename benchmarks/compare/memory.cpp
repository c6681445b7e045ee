// What the machine's memory allows: dependent loads over 1 GiB, one chain and eight side by side.
//
//   compare_memory [MIB] [SECONDS]
//
// Prints a line of JSON with the nanoseconds of a load.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

#include "numbers.hpp"

namespace {

using Clock = std::chrono::steady_clock;

struct alignas(64) Line {
  std::uint32_t next = 0;
};

// One cycle through all lines, in random order (Sattolo).
void link(std::vector<Line>& lines) {
  comparison::Random random(1);
  std::vector<std::uint32_t> order(lines.size());
  std::iota(order.begin(), order.end(), 0U);
  for (std::size_t at = order.size() - 1; at > 0; --at) {
    std::swap(order[at], order[random.below(at)]);
  }
  for (std::size_t at = 0; at < order.size(); ++at) {
    lines[order[at]].next = order[at + 1 < order.size() ? at + 1 : 0];
  }
}

template <std::size_t chains>
double nanoseconds_per_load(const std::vector<Line>& lines, double seconds) {
  constexpr std::size_t loads_between_looks = 1 << 14;
  std::uint32_t at[chains];
  for (std::size_t chain = 0; chain < chains; ++chain) {
    at[chain] = static_cast<std::uint32_t>(lines.size() / chains * chain);
  }
  std::uint64_t count = 0;
  const auto begun = Clock::now();
  auto now = begun;
  do {
    for (std::size_t load = 0; load < loads_between_looks; ++load) {
      for (std::uint32_t& place : at) place = lines[place].next;
    }
    count += loads_between_looks * chains;
    now = Clock::now();
  } while (now - begun < std::chrono::duration<double>(seconds));
  std::uint32_t sum = 0;
  for (const std::uint32_t place : at) sum += place;
  volatile std::uint32_t used = sum;
  static_cast<void>(used);
  return std::chrono::duration<double, std::nano>(now - begun).count() / static_cast<double>(count);
}

}  // namespace

int main(int count, char** arguments) {
  const std::size_t mebibytes = count > 1 ? std::strtoul(arguments[1], nullptr, 10) : 1024;
  const double seconds = count > 2 ? std::strtod(arguments[2], nullptr) : 1;
  if (mebibytes == 0 || seconds <= 0) {
    std::fprintf(stderr, "usage: compare_memory [MIB] [SECONDS]\n");
    return 2;
  }
  std::vector<Line> lines((mebibytes << 20) / sizeof(Line));
  link(lines);
  const double one = nanoseconds_per_load<1>(lines, seconds);
  const double eight = nanoseconds_per_load<8>(lines, seconds);
  std::printf("{\"mebibytes\":%zu,\"dependent_load_ns\":%.2f,\"overlapped_8_load_ns\":%.2f}\n",
              mebibytes, one, eight);
  return 0;
}
