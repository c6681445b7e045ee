#include "resident.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace mdfs {
namespace {

using Clock = std::chrono::steady_clock;

// The program has one thread of its own.
std::uint64_t before = 0;
std::uint64_t most = 0;
Clock::time_point looked;

}  // namespace

std::uint64_t Resident::now() noexcept {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  unsigned long long size = 0;
  unsigned long long resident = 0;
  unsigned long long shared = 0;
  const int fields = std::fscanf(file, "%llu %llu %llu", &size, &resident, &shared);
  std::fclose(file);
  if (fields != 3) return 0;
  return (resident - shared) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

void Resident::watch() noexcept {
  before = now();
  most = 0;
}

void Resident::look() noexcept {
  const auto time = Clock::now();
  if (time - looked < std::chrono::milliseconds(5)) return;
  looked = time;
  const std::uint64_t resident = now();
  most = std::max(most, resident - std::min(resident, before));
}

std::uint64_t Resident::peak() noexcept { return most; }

}  // namespace mdfs
