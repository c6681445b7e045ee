#include "counters.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include "engine.hpp"

namespace comparison {
namespace {

constexpr std::uint64_t sector_size = 512;  // of the kernel's counters, whatever the device has

// The number after "name:" in a file of /proc; 0 if there is none.
std::uint64_t field_of(const char* path, std::string_view name) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    if (word != name) continue;
    std::uint64_t value = 0;
    file >> value;
    return value;
  }
  return 0;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

template <class Use>
void for_each_file(const std::string& directory, Use&& use) {
  std::error_code error;
  auto entry = std::filesystem::recursive_directory_iterator(directory, error);
  const auto end = std::filesystem::recursive_directory_iterator();
  for (; !error && entry != end; entry.increment(error)) use(entry->path());
}

}  // namespace

Counters Counters::since(const Counters& before) const noexcept {
  return {device_read_bytes - before.device_read_bytes,
          device_write_bytes - before.device_write_bytes,
          process_read_bytes - before.process_read_bytes,
          process_write_bytes - before.process_write_bytes,
          processor_seconds - before.processor_seconds,
          seconds - before.seconds};
}

Meter::Meter(const std::string& directory) {
  struct stat status {};
  expect(::stat(directory.c_str(), &status) == 0, "cannot read the directory", directory);
  const std::string path =
      fmt::format("/sys/dev/block/{}:{}/stat", major(status.st_dev), minor(status.st_dev));
  if (std::filesystem::exists(path)) device_stat_ = path;
}

Counters Meter::read() const {
  Counters counters;
  if (has_device()) {
    // reads, merged, sectors, milliseconds; the same of writes
    std::ifstream file(device_stat_);
    std::uint64_t fields[7] = {};
    for (std::uint64_t& field : fields) file >> field;
    expect(bool{file}, "cannot read", device_stat_);
    counters.device_read_bytes = fields[2] * sector_size;
    counters.device_write_bytes = fields[6] * sector_size;
  }
  counters.process_read_bytes = field_of("/proc/self/io", "read_bytes:");
  counters.process_write_bytes = field_of("/proc/self/io", "write_bytes:");
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  counters.processor_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  counters.seconds = std::chrono::duration<double>(now).count();
  return counters;
}

std::uint64_t peak_resident_bytes() { return field_of("/proc/self/status", "VmHWM:") << 10; }
std::uint64_t resident_bytes() { return field_of("/proc/self/status", "VmRSS:") << 10; }

bool reset_peak_resident() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return bool{file};
}

std::uint64_t file_bytes(const std::string& directory) {
  std::uint64_t bytes = 0;
  for_each_file(directory, [&](const std::filesystem::path& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode)) {
      bytes += static_cast<std::uint64_t>(status.st_blocks) * sector_size;
    }
  });
  return bytes;
}

void sync_files(const std::string& directory) {
  for_each_file(directory, [](const std::filesystem::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) return;  // one that its engine has just removed
    expect(::fdatasync(file) == 0 || errno == EINVAL, "cannot sync", path.native());
    ::close(file);
  });
}

void wait_for_quiet(double seconds_max) {
  constexpr auto step = std::chrono::milliseconds(20);
  constexpr int quiet_steps = 10;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds_max);
  std::uint64_t last = field_of("/proc/self/io", "wchar:");
  for (int quiet = 0; quiet < quiet_steps && std::chrono::steady_clock::now() < end; ++quiet) {
    std::this_thread::sleep_for(step);
    const std::uint64_t now = field_of("/proc/self/io", "wchar:");
    if (now != last) quiet = 0;
    last = now;
  }
}

}  // namespace comparison
