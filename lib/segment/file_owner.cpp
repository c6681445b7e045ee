// Who holds the lock of a file. Linux tells no process number for locks of open file descriptions,
// so /proc is searched for a process that has this file open with such a lock on it.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string_view>

#include "segment/file_open.hpp"

namespace firn::segment {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// Reads the beginning of a small file of /proc.
template <std::size_t size>
std::string_view read_file(const char* path, std::array<char, size>& text) noexcept {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t length = ::read(fd, text.data(), text.size());
  ::close(fd);
  return {text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
}

using PathText = std::array<char, 128>;

bool holds_lock(long pid, dev_t device, ino_t inode) noexcept {
  PathText path{};
  std::snprintf(path.data(), path.size(), "/proc/%ld/fd", pid);
  const Directory descriptors(::opendir(path.data()));
  if (descriptors == nullptr) return false;
  while (const dirent* entry = ::readdir(descriptors.get())) {
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) == 0) continue;
    struct stat status {};
    if (::fstatat(::dirfd(descriptors.get()), entry->d_name, &status, 0) != 0) continue;
    if (status.st_dev != device || status.st_ino != inode) continue;
    std::snprintf(path.data(), path.size(), "/proc/%ld/fdinfo/%.20s", pid, entry->d_name);
    std::array<char, 1024> text{};
    if (read_file(path.data(), text).find("OFDLCK") != std::string_view::npos) return true;
  }
  return false;
}

// Errors carry text with static life. Few programs ever hold a lock against us.
const char* static_name(std::string_view name) noexcept {
  constexpr std::size_t name_bytes = 16;  // of the kernel's, with its end
  constexpr std::size_t name_count_max = 64;
  static std::mutex mutex;
  static std::array<std::array<char, name_bytes>, name_count_max> names{};
  const std::lock_guard lock(mutex);
  name = name.substr(0, std::min(name.find('\n'), name_bytes - 1));
  for (auto& known : names) {
    if (known[0] == '\0') std::copy(name.begin(), name.end(), known.begin());
    if (name == known.data()) return known.data();
  }
  return "another program";
}

}  // namespace

Failure fail_locked(dev_t device, ino_t inode, std::uint32_t id) noexcept {
  Failure failure = fail(ErrorCode::busy, "another process has the segment's file open");
  failure.error.place = place_in(id);
  const Directory processes(::opendir("/proc"));
  if (processes == nullptr) return failure;
  while (const dirent* entry = ::readdir(processes.get())) {
    const long pid = std::strtol(entry->d_name, nullptr, 10);
    if (pid <= 0 || !holds_lock(pid, device, inode)) continue;
    PathText path{};
    std::snprintf(path.data(), path.size(), "/proc/%ld/comm", pid);
    std::array<char, 64> text{};
    failure.error.detail = "process {} ({s}) has the segment's file open";
    failure.error.subject = static_name(read_file(path.data(), text));
    failure.error.value = static_cast<std::uint64_t>(pid);
    break;
  }
  return failure;
}

}  // namespace firn::segment
