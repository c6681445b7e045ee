// Walks a real directory tree: depth first, without recursion, relative to open directories, so
// that neither the depth of the tree nor the length of its paths matters.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace mdfs {

struct WalkedEntry {
  std::uint64_t parent = 0;  ///< what the visitor called the directory; 0 at the root
  std::string name;
  std::string target;  ///< of a symlink
  struct stat status = {};
};

class WalkVisitor {
 public:
  virtual ~WalkVisitor() = default;
  /// Meets an entry, and returns what a directory is to be called. `part` of the walk is done.
  virtual std::uint64_t meet(WalkedEntry entry, double part) = 0;
  /// A directory that cannot be read; `error` is an errno.
  virtual void unreadable(std::uint64_t directory, const std::string& path, int error) = 0;
  /// A directory that is left out because another file system begins there.
  virtual void other_file_system(std::uint64_t directory) = 0;
  /// Whether to give up.
  [[nodiscard]] virtual bool stopped() const = 0;
};

struct WalkCounts {
  std::uint64_t vanished = 0;    ///< entries that were gone when they were looked at
  std::uint64_t unreadable = 0;  ///< directories
};

/// Opens a directory to walk it: a descriptor, or -1 and errno.
[[nodiscard]] int open_directory(const char* path) noexcept;

/// Walks what lies under the open directory, which it closes. Entries that vanish are left out.
WalkCounts walk(int root, const std::string& root_path, bool cross_file_systems,
                WalkVisitor& visitor);

}  // namespace mdfs
