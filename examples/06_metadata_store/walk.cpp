#include "walk.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace mdfs {
namespace {

constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// A directory on the way from the root to where the walk is.
struct Level {
  int descriptor = -1;  // -1: closed for the time being, to be found again by ".." from below
  std::uint64_t id = 0;
  dev_t device = 0;
  ino_t number = 0;
  std::size_t path_size = 0;  // of the path up to and with this directory
  double part = 0;            // of the whole walk
  std::vector<std::pair<std::string, std::uint64_t>> directories;  // still to be entered
};

class Walk {
 public:
  Walk(const std::string& root_path, bool cross, WalkVisitor& visitor)
      : visitor_(visitor), path_(root_path), cross_(cross) {}

  WalkCounts run(int root) {
    struct stat status {};
    if (fstat(root, &status) != 0) {
      close(root);
      return counts_;
    }
    WalkedEntry entry;
    entry.name = path_;
    entry.status = status;
    const std::uint64_t id = visitor_.meet(std::move(entry), 0);
    enter(root, id, status, 1.0);
    while (!levels_.empty() && !visitor_.stopped()) {
      if (levels_.back().directories.empty()) {
        leave();
      } else {
        descend();
      }
    }
    for (const Level& level : levels_) {
      if (level.descriptor >= 0) close(level.descriptor);
    }
    return counts_;
  }

 private:
  // Descriptors are few, so only the lowest directories stay open, and the root.
  static constexpr std::size_t open_levels_max = 64;

  void enter(int descriptor, std::uint64_t id, const struct stat& status, double part) {
    Level& level = levels_.emplace_back();
    level.descriptor = descriptor;
    level.id = id;
    level.device = status.st_dev;
    level.number = status.st_ino;
    level.path_size = path_.size();
    level.part = part;
    read_entries(level);
    if (levels_.size() > open_levels_max + 1) {
      Level& upper = levels_[levels_.size() - 1 - open_levels_max];
      close(std::exchange(upper.descriptor, -1));
    }
  }

  // Meets all entries of a directory at once, so that no stream stays open.
  void read_entries(Level& level) {
    const int copy = fcntl(level.descriptor, F_DUPFD_CLOEXEC, 0);
    DIR* stream = copy < 0 ? nullptr : fdopendir(copy);
    if (stream == nullptr) {
      const int error = errno;
      if (copy >= 0) close(copy);
      return refuse(level.id, error);
    }
    while (!visitor_.stopped()) {
      errno = 0;
      const dirent* found = readdir(stream);
      if (found == nullptr) {
        if (errno != 0) refuse(level.id, errno);
        break;
      }
      const std::string_view name = found->d_name;
      if (name != "." && name != "..") meet(level, std::string(name));
    }
    closedir(stream);
    // The directories below share this one's part of the walk, and so does reading it.
    level.part /= static_cast<double>(level.directories.size() + 1);
    done_ += level.part;
  }

  void meet(Level& level, std::string name) {
    WalkedEntry entry;
    if (fstatat(level.descriptor, name.c_str(), &entry.status, AT_SYMLINK_NOFOLLOW) != 0) {
      ++counts_.vanished;
      return;
    }
    if (S_ISLNK(entry.status.st_mode)) entry.target = target_of(level.descriptor, name);
    const bool directory = S_ISDIR(entry.status.st_mode);
    const bool other = directory && entry.status.st_dev != level.device;
    entry.parent = level.id;
    entry.name = name;
    const std::uint64_t id = visitor_.meet(std::move(entry), done_);
    if (!directory) return;
    if (other && !cross_) return visitor_.other_file_system(id);
    level.directories.emplace_back(std::move(name), id);
  }

  static std::string target_of(int directory, const std::string& name) {
    std::string target(256, '\0');
    while (true) {
      const ssize_t size = readlinkat(directory, name.c_str(), target.data(), target.size());
      if (size < 0) return {};
      if (static_cast<std::size_t>(size) < target.size()) {
        target.resize(static_cast<std::size_t>(size));
        return target;
      }
      target.resize(2 * target.size());
    }
  }

  void descend() {
    Level& level = levels_.back();
    auto [name, id] = std::move(level.directories.back());
    level.directories.pop_back();
    if (path_.empty() || path_.back() != '/') path_ += '/';
    path_ += name;
    const double part = level.part;
    const int descriptor = openat(level.descriptor, name.c_str(), directory_flags);
    struct stat status {};
    if (descriptor >= 0 && fstat(descriptor, &status) == 0) {
      return enter(descriptor, id, status, part);
    }
    const int error = errno;
    if (descriptor >= 0) close(descriptor);
    refuse(id, error);
    path_.resize(level.path_size);
    done_ += part;
  }

  void leave() {
    const Level left = std::move(levels_.back());
    levels_.pop_back();
    if (!levels_.empty()) {
      Level& upper = levels_.back();
      path_.resize(upper.path_size);
      if (upper.descriptor < 0 && !upper.directories.empty()) reopen(upper, left.descriptor);
    }
    if (left.descriptor >= 0) close(left.descriptor);
  }

  void reopen(Level& upper, int below) {
    struct stat status {};
    upper.descriptor = below < 0 ? -1 : openat(below, "..", directory_flags);
    if (upper.descriptor >= 0 && fstat(upper.descriptor, &status) == 0 &&
        status.st_dev == upper.device && status.st_ino == upper.number) {
      return;
    }
    // Somebody moved the directory below: what is left of this one cannot be reached any more.
    for (const auto& [name, id] : upper.directories) refuse(id, ESTALE);
    upper.directories.clear();
  }

  void refuse(std::uint64_t id, int error) {
    ++counts_.unreadable;
    visitor_.unreadable(id, path_, error);
  }

  WalkVisitor& visitor_;
  std::string path_;
  const bool cross_;
  std::vector<Level> levels_;
  double done_ = 0;
  WalkCounts counts_;
};

}  // namespace

int open_directory(const char* path) noexcept {
  // The directory that the user names may be a symlink.
  return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

WalkCounts walk(int root, const std::string& root_path, bool cross_file_systems,
                WalkVisitor& visitor) {
  return Walk(root_path, cross_file_systems, visitor).run(root);
}

}  // namespace mdfs
