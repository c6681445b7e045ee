// What the file system itself says: one pass of fts(3), which shares no code with the walk that
// filled the store. On its way it compares each directory's listing and each entry's attributes.
#pragma once

#include <fts.h>

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "index.hpp"
#include "queries.hpp"

namespace mdfs {

class Truth {
 public:
  /// Usage as `du` would find it, of the root (an empty path) or a directory in it.
  struct Subtree {
    std::string path;
    Usage usage;
    bool changed = false;
    std::set<OriginKey> counted = {};
  };
  struct Search {
    const char* pattern;
    std::vector<std::string> paths = {};
  };
  using Size = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;  // ~size, device, number
  static constexpr std::size_t sample_size = 1000;
  static constexpr std::size_t largest_count = 20;

  Truth(MetadataStore& store, timespec begun, std::uint64_t expected_entries, std::uint64_t seed)
      : store_(store), begun_(begun), expected_entries_(expected_entries), random_(seed) {}

  [[nodiscard]] firn::Result<void> walk(const std::string& root, bool cross_file_systems);

  /// The first difference; empty if there is none.
  [[nodiscard]] const std::string& difference() const { return difference_; }
  void differ(std::string text) {
    if (difference_.empty()) difference_ = std::move(text);
  }
  /// Whether what this describes changed since the index began.
  [[nodiscard]] bool changed(const struct stat& status) const {
    return std::make_pair(status.st_ctim.tv_sec, status.st_ctim.tv_nsec) >=
           std::make_pair(begun_.tv_sec, begun_.tv_nsec);
  }
  /// Whether a path that is not there may be so because somebody removed it meanwhile, as the
  /// lowest directory that is there tells; or because it is too long for a call.
  [[nodiscard]] bool may_have_vanished(std::string path) const;
  /// The first attribute that differs from the store's, or null.
  [[nodiscard]] firn::Result<const char*> difference_of(const Inode& inode,
                                                        const struct stat& status);

  std::uint64_t entries = 0, files = 0, directories = 0, symlinks = 0, names = 0, unreadable = 0;
  std::uint64_t excused = 0;  ///< differences of what changed meanwhile
  bool any_changed = false;
  std::vector<Subtree> subtrees;
  std::vector<Search> searches{
      {"*.so*"}, {"*.h"}, {"README*"}, {"[a-c]*[0-9].py"}, {"no such name"}};
  std::set<Size> largest;
  std::map<OriginKey, std::uint32_t> links;  ///< names of files that have more than one link
  std::vector<std::string> sample;           ///< paths relative to the root, chosen at random

 private:
  void visit(FTS* stream, FTSENT* entry);
  void compare_listing(FTS* stream, FTSENT* directory, const Entry& at);
  void compare_attributes(const FTSENT& entry, const Inode& inode);
  void collect(const FTSENT& entry);
  void excuse(const FTSENT& entry);
  [[nodiscard]] std::string relative_path(const FTSENT& entry) const;

  MetadataStore& store_;
  timespec begun_;
  std::uint64_t expected_entries_;
  std::mt19937_64 random_;
  std::size_t root_size_ = 0;
  std::size_t subtree_ = 0;  // which one of depth 1 the pass is in; 0: none
  std::string difference_;
};

}  // namespace mdfs
