#include "compare.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "text.hpp"
#include "truth.hpp"

namespace mdfs {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begun) {
  return std::max(1e-6, std::chrono::duration<double>(Clock::now() - begun).count());
}
std::string rate(std::uint64_t count, double seconds) {
  return grouped(static_cast<std::uint64_t>(static_cast<double>(count) / seconds)) + "/s";
}

class Comparison {
 public:
  Comparison(MetadataStore& store, const IndexReport& report, std::string root, std::uint64_t seed)
      : store_(store),
        report_(report),
        root_(std::move(root)),
        truth_(store, report.begun, report.entries, seed) {}

  firn::Result<bool> run(bool cross_file_systems) {
    FIRN_TRY(truth_.walk(root_, cross_file_systems));
    if (!failed()) {
      equal("ls", grouped(truth_.directories) + " directories, " + grouped(truth_.names) +
                      " names and kinds");
      equal("inodes", grouped(truth_.entries) + " times mode, size, time, owner, links, blocks; " +
                          grouped(truth_.symlinks) + " symlink targets");
    }
    // In the order of their cost. Each does nothing once a difference is known.
    FIRN_TRY(compare_counts());
    FIRN_TRY(compare_links());
    FIRN_TRY(compare_du());
    FIRN_TRY(compare_find());
    FIRN_TRY(compare_largest());
    FIRN_TRY(compare_stat());
    FIRN_TRY(follow_references());
    if (truth_.excused > 0) {
      std::printf("  but for what changed since the index began: %s differences\n",
                  grouped(truth_.excused).c_str());
    }
    if (failed()) std::printf("DIFFERENCE: %s\n", truth_.difference().c_str());
    return !failed();
  }

 private:
  [[nodiscard]] bool failed() const { return !truth_.difference().empty(); }
  static void equal(const char* what, const std::string& compared) {
    std::printf("  %-11s equal: %s\n", what, compared.c_str());
  }
  // An answer about many entries differs. That is excused if some of them changed meanwhile.
  void differ(bool changed, std::string text) {
    if (!changed) return truth_.differ(std::move(text));
    ++truth_.excused;
  }

  firn::Result<void> compare_counts() {
    if (failed()) return {};
    const bool same = truth_.entries == report_.entries && truth_.files == report_.files &&
                      truth_.directories == report_.directories &&
                      truth_.symlinks == report_.symlinks &&
                      truth_.unreadable == report_.walk.unreadable;
    if (!same) {
      differ(truth_.any_changed, "counts: " + grouped(report_.entries) + " entries indexed, " +
                                     grouped(truth_.entries) + " found");
      return {};
    }
    equal("counts", grouped(truth_.files) + " files, " + grouped(truth_.directories) +
                        " directories, " + grouped(truth_.symlinks) + " symlinks");
    return {};
  }

  firn::Result<void> compare_links() {
    std::uint64_t names = 0;
    for (const auto& [origin, count] : truth_.links) {
      if (failed()) return {};
      FIRN_TRY_ASSIGN(auto reference, store_.origins().lookup(origin).wait());
      std::uint32_t known = 0;
      if (reference) {
        FIRN_TRY_ASSIGN(auto inode, store_.domain().follow(*reference).wait());
        if (inode) known = inode->names;
      }
      if (known != count) {
        differ(truth_.any_changed, "hard links of inode " + std::to_string(origin.number) + ": " +
                                       std::to_string(known) + " names in the store, " +
                                       std::to_string(count) + " in the file system");
      }
      names += count;
    }
    if (!failed()) {
      equal("hard links",
            grouped(truth_.links.size()) + " inodes under " + grouped(names) + " names");
    }
    return {};
  }

  firn::Result<void> compare_du() {
    if (failed()) return {};
    const Clock::time_point begun = Clock::now();
    std::uint64_t entries = 0;
    for (const Truth::Subtree& subtree : truth_.subtrees) {
      FIRN_TRY_ASSIGN(const Entry at, store_.find(subtree.path));
      FIRN_TRY_ASSIGN(const Usage usage, usage_of(store_, at));
      entries += usage.entries;
      if (usage == subtree.usage) continue;
      differ(subtree.changed, "du of \"" + escaped(subtree.path) + "\": " + grouped(usage.bytes) +
                                  " bytes in the store, " + grouped(subtree.usage.bytes) +
                                  " in the file system");
      if (failed()) return {};
    }
    const Usage& whole = truth_.subtrees[0].usage;
    equal("du", grouped(truth_.subtrees.size()) + " subtrees, " + size_text(whole.bytes) +
                    ", on the device " + size_text(whole.bytes_taken) + " (" +
                    rate(entries, seconds_since(begun)) + " entries)");
    return {};
  }

  firn::Result<void> compare_find() {
    if (failed()) return {};
    const Clock::time_point begun = Clock::now();
    FIRN_TRY_ASSIGN(const Entry root, store_.find("."));
    std::string counts;
    for (Truth::Search& search : truth_.searches) {
      FIRN_TRY_ASSIGN(const auto paths, find_names(store_, root, search.pattern));
      std::sort(search.paths.begin(), search.paths.end());
      counts += (counts.empty() ? "" : ", ") + grouped(paths.size()) + " of " + search.pattern;
      if (paths == search.paths) continue;
      const auto where =
          std::mismatch(paths.begin(), paths.end(), search.paths.begin(), search.paths.end());
      const std::string& path = where.first != paths.end()           ? *where.first
                                : where.second != search.paths.end() ? *where.second
                                                                     : root_;
      differ(truth_.any_changed,
             std::string("find ") + search.pattern + " differs at " + escaped(path));
      if (failed()) return {};
    }
    const std::uint64_t entries = truth_.entries * truth_.searches.size();
    equal("find", counts + " (" + rate(entries, seconds_since(begun)) + " entries)");
    return {};
  }

  firn::Result<void> compare_largest() {
    if (failed()) return {};
    FIRN_TRY_ASSIGN(const auto files, mdfs::largest(store_, Truth::largest_count));
    std::vector<Truth::Size> known;
    for (const Entry& file : files) {
      known.emplace_back(~file.inode.size_bytes, file.inode.device, file.inode.number);
    }
    if (!std::equal(known.begin(), known.end(), truth_.largest.begin(), truth_.largest.end())) {
      differ(truth_.any_changed, "largest: other files than in the file system");
      return {};
    }
    std::string text = grouped(files.size()) + " files";
    for (const Entry& file : files) {
      FIRN_TRY_ASSIGN(const std::string path, store_.path_of(file.inode));
      struct stat status {};
      const bool there = lstat(path.c_str(), &status) == 0;
      if (!there && truth_.may_have_vanished(path)) continue;
      if (!there || (status.st_ino != file.inode.number && !truth_.changed(status))) {
        truth_.differ("largest: another file lies at " + escaped(path));
        return {};
      }
      if (&file == &files[0]) {
        text += ", first " + escaped(path) + " of " + size_text(file.inode.size_bytes);
      }
    }
    equal("largest", text);
    return {};
  }

  // Whole paths, looked up name by name, against lstat.
  firn::Result<void> compare_stat() {
    if (failed()) return {};
    const Clock::time_point begun = Clock::now();
    const firn::DomainStatistics before = store_.domain().statistics();
    std::vector<Entry> found;
    for (const std::string& path : truth_.sample) {
      FIRN_TRY_ASSIGN(auto entry, store_.run(store_.resolve(path)));
      if (!entry) {
        truth_.differ("stat: the store does not find " + escaped(path));
        return {};
      }
      found.push_back(std::move(*entry));
    }
    const double seconds = seconds_since(begun);
    const firn::DomainStatistics after = store_.domain().statistics();
    char reads[64];
    std::snprintf(reads, sizeof reads, "%.3f device reads per lookup",
                  static_cast<double>(after.page_reads - before.page_reads) /
                      static_cast<double>(
                          std::max<std::uint64_t>(1, after.lookup_count - before.lookup_count)));
    std::uint64_t compared = 0;
    for (std::size_t index = 0; index < found.size(); ++index) {
      const std::string path = root_ + (root_ == "/" ? "" : "/") + truth_.sample[index];
      FIRN_TRY_ASSIGN(const std::string by_parents, store_.path_of(found[index].inode));
      if (found[index].inode.names == 1 && by_parents != path) {
        truth_.differ("stat: the parents of " + escaped(path) + " lead to " + escaped(by_parents));
        return {};
      }
      struct stat status {};
      if (lstat(path.c_str(), &status) != 0) {
        if (!truth_.may_have_vanished(path)) truth_.differ("stat: no " + escaped(path));
        if (failed()) return {};
        continue;
      }
      ++compared;
      FIRN_TRY_ASSIGN(const char* what, truth_.difference_of(found[index].inode, status));
      if (what == nullptr) continue;
      differ(truth_.changed(status), "stat " + escaped(path) + ": the store has another " + what);
      if (failed()) return {};
    }
    equal("stat",
          grouped(compared) + " random paths (" + rate(found.size(), seconds) + ", " + reads + ")");
    return {};
  }

  // Every dirent to its inode, and on to its body.
  firn::Result<void> follow_references() {
    if (failed()) return {};
    const Clock::time_point begun = Clock::now();
    std::uint64_t count = 0;
    auto cursor = store_.dirents().cursor(store_.dirent_range());
    while (cursor.next().wait().value_or(false)) {
      FIRN_TRY_ASSIGN(auto inode, store_.domain().follow(cursor.record().inode).wait());
      if (inode) {
        FIRN_TRY_ASSIGN(auto body, store_.domain().follow(inode->body).wait());
        if (body && body->size_bytes == inode->size_bytes) {
          ++count;
          continue;
        }
      }
      truth_.differ("the references of \"" + escaped(cursor.key().name) + "\" lead nowhere");
      return {};
    }
    FIRN_TRY(cursor.status());
    if (count + 1 != report_.entries) {
      truth_.differ("the store has " + grouped(count) + " entries under its root");
      return {};
    }
    equal("references", grouped(count) + " from entry to inode to body (" +
                            rate(2 * count, seconds_since(begun)) + " lookups)");
    return {};
  }

  MetadataStore& store_;
  const IndexReport& report_;
  const std::string root_;
  Truth truth_;
};

}  // namespace

firn::Result<bool> compare(MetadataStore& store, const IndexReport& report, const std::string& root,
                           bool cross_file_systems, std::uint64_t seed) {
  return Comparison(store, report, root, seed).run(cross_file_systems);
}

}  // namespace mdfs
