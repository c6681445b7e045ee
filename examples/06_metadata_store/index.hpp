// Fills the store from a real directory tree, or brings it up to date with one.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "store.hpp"
#include "walk.hpp"

namespace mdfs {

struct IndexReport {
  std::uint64_t entries = 0;  ///< the root included
  std::uint64_t files = 0;    ///< names of regular files
  std::uint64_t directories = 0;
  std::uint64_t symlinks = 0;
  std::uint64_t others = 0;
  std::uint64_t hard_links = 0;  ///< names beyond an inode's first
  std::uint64_t other_file_systems = 0;
  // Against what the store held before.
  bool found_before = false;  ///< it held some of it
  std::uint64_t added = 0;
  std::uint64_t changed = 0;
  std::uint64_t unchanged = 0;
  std::uint64_t removed = 0;
  WalkCounts walk;
  std::vector<std::string> unreadable;  ///< the first few, escaped, with the reason
  double seconds = 0;
  timespec begun = {};  ///< by the clock of the file system's time stamps
};

[[nodiscard]] Kind kind_of(mode_t mode) noexcept;

/// The inode that a file's attributes make; references and names are left to the store.
[[nodiscard]] Inode inode_of(const struct stat& status) noexcept;

/// Walks `directory`, an open descriptor of what `path` names, and adds all it finds; of what the
/// store knows already it writes only what differs.
[[nodiscard]] firn::Result<IndexReport> index_tree(MetadataStore& store, int directory,
                                                   const std::string& path,
                                                   bool cross_file_systems);

/// Entries per second.
[[nodiscard]] std::string rate_of(const IndexReport& report);
/// Prints the report's counts.
void print(const IndexReport& report, MetadataStore& store);

}  // namespace mdfs
