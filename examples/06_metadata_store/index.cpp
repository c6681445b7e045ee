#include "index.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "progress.hpp"
#include "queries.hpp"

namespace mdfs {
namespace {

// FNV-1a
std::uint32_t checksum_of(std::string_view text) noexcept {
  std::uint32_t sum = 2166136261u;
  for (const char character : text) {
    sum = (sum ^ static_cast<unsigned char>(character)) * 16777619u;
  }
  return sum;
}

// Turns what the walk meets into writes, of which many are under way at a time: each new entry is a
// coroutine on the store's executor. What the store knows already is listed by directory, compared
// and crossed off; what is left over in the end is there no longer.
class Indexer final : public WalkVisitor {
 public:
  explicit Indexer(MetadataStore& store) : store_(store) {}

  firn::Result<void> start() {
    FIRN_TRY_ASSIGN(auto root, store_.inodes().lookup(store_.root_id()).wait());
    if (root) known_[0].emplace(root->name, Entry{root->name, store_.root_id(), *root});
    return {};
  }

  std::uint64_t meet(WalkedEntry walked, double part) override {
    const struct stat& status = walked.status;
    NewEntry entry;
    entry.parent = walked.parent;
    entry.inode = inode_of(status);
    entry.body = {.size_bytes = entry.inode.size_bytes,
                  .blocks = static_cast<std::uint64_t>(status.st_blocks),
                  .name_checksum = checksum_of(walked.name),
                  .target = std::move(walked.target)};
    entry.name = std::move(walked.name);
    count(entry.inode.kind);
    progress_.show(part, report_.entries);
    std::optional<Entry> known = take_known(entry.parent, entry.name);
    if (known && is_same(*known, entry)) return meet_again(std::move(*known), entry);
    if (known) remove(entry.parent, std::move(*known));
    ++report_.added;
    if (entry.inode.kind != Kind::directory && entry.inode.links > 1) {
      // Names are counted by reading and writing again, so links are added one after the other.
      NewEntry found = entry;
      note(store_.run(store_.add_link(std::move(entry))));
      // Its other names may be known with a link less.
      if (report_.found_before && outcome_) note(store_.refresh_named(found));
      return 0;
    }
    const std::uint64_t id = store_.new_id();
    if (writes_.size() == writes_max) finish_some();
    writes_.push_back(store_.add(id, std::move(entry)));
    writes_.back().start(store_.executor());
    return id;
  }

  void unreadable(std::uint64_t directory, const std::string& path, int error) override {
    constexpr std::size_t listed_max = 10;
    if (report_.unreadable.size() < listed_max) {
      report_.unreadable.push_back(escaped(path) + ": " + std::strerror(error));
    }
    mark(directory, Contents::unreadable);
  }
  void other_file_system(std::uint64_t directory) override {
    ++report_.other_file_systems;
    mark(directory, Contents::other_file_system);
  }
  [[nodiscard]] bool stopped() const override { return !outcome_.has_value(); }

  firn::Result<IndexReport> finish(WalkCounts counts) {
    finish_all();
    for (const std::uint64_t directory : unlisted_) list_known(directory);
    for (auto& [directory, entries] : known_) {
      for (auto& [name, entry] : entries) remove(directory, std::move(entry));
    }
    for (const std::uint64_t directory : incomplete_) {
      if (outcome_) note(store_.set_contents(directory, Contents::complete));
    }
    FIRN_TRY(outcome_);
    report_.walk = counts;
    FIRN_TRY_ASSIGN(report_.hard_links, further_names());
    return std::move(report_);
  }

 private:
  static constexpr std::size_t writes_max = 256;

  void count(Kind kind) {
    ++report_.entries;
    ++(kind == Kind::file        ? report_.files
       : kind == Kind::directory ? report_.directories
       : kind == Kind::symlink   ? report_.symlinks
                                 : report_.others);
  }
  template <class T>
  void note(const firn::Result<T>& result) {
    if (!result && outcome_) outcome_ = firn::fail(result.error());
  }

  // The walk meets the entries of a directory in a row, so few lists are in memory at a time.
  void list_known(std::uint64_t directory) {
    Entry at;
    at.id = directory;
    at.inode.kind = Kind::directory;
    auto entries = list(store_, at);
    note(entries);
    if (!entries) return;
    for (Entry& entry : *entries) {
      std::string name = entry.name;
      known_[directory].emplace(std::move(name), std::move(entry));
    }
  }
  std::optional<Entry> take_known(std::uint64_t directory, const std::string& name) {
    if (unlisted_.erase(directory) > 0) list_known(directory);
    const auto entries = known_.find(directory);
    if (entries == known_.end()) return std::nullopt;
    auto found = entries->second.extract(name);
    if (entries->second.empty()) known_.erase(entries);
    if (found.empty()) return std::nullopt;
    return std::move(found.mapped());
  }
  // A file with a link more or less has been given or has lost a name: its names are counted anew.
  static bool is_same(const Entry& known, const NewEntry& found) {
    if (found.parent == 0) return true;
    return known.inode.same_file(found.inode) &&
           (found.inode.kind == Kind::directory || known.inode.links == found.inode.links);
  }
  std::uint64_t meet_again(Entry known, const NewEntry& found) {
    report_.found_before = true;
    const std::uint64_t id = known.id;
    const auto changed = store_.refresh(known, found, false);
    note(changed);
    ++(changed.value_or(false) ? report_.changed : report_.unchanged);
    if (known.inode.kind != Kind::directory) return id;
    if (known.inode.contents != Contents::complete) incomplete_.insert(id);
    unlisted_.insert(id);
    return id;
  }
  void remove(std::uint64_t directory, Entry entry) {
    if (!outcome_) return;
    report_.found_before = true;
    const auto count = store_.remove(directory, std::move(entry));
    note(count);
    report_.removed += count.value_or(0);
  }
  void mark(std::uint64_t directory, Contents contents) {
    incomplete_.erase(directory);
    finish_all();  // the directory's own entry may still be under way
    if (outcome_) note(store_.set_contents(directory, contents));
  }
  // Waits until there is room again.
  void finish_some() {
    while (true) {
      const auto rest = std::remove_if(writes_.begin(), writes_.end(), [this](auto& task) {
        if (task.done()) note(task.result());
        return task.done();
      });
      if (rest != writes_.end()) {
        writes_.erase(rest, writes_.end());
        return;
      }
      store_.tick();
    }
  }
  void finish_all() {
    while (!writes_.empty()) finish_some();
  }
  firn::Result<std::uint64_t> further_names() {
    std::uint64_t further = 0;
    auto cursor = store_.origins().cursor(store_.origin_range());
    while (cursor.next().wait().value_or(false)) {
      FIRN_TRY_ASSIGN(auto inode, store_.domain().follow(cursor.record()).wait());
      if (inode) further += inode->names - 1;
    }
    FIRN_TRY(cursor.status());
    return further;
  }

  MetadataStore& store_;
  std::map<std::uint64_t, std::map<std::string, Entry>> known_;  // by directory, not yet met again
  std::set<std::uint64_t> unlisted_;    // directories met again whose entries were not met
  std::set<std::uint64_t> incomplete_;  // directories known as such and not met as such
  std::vector<firn::Task<firn::Result<void>>> writes_;
  IndexReport report_;
  firn::Result<void> outcome_;
  Progress progress_{"index"};
};

}  // namespace

Kind kind_of(mode_t mode) noexcept {
  if (S_ISDIR(mode)) return Kind::directory;
  if (S_ISLNK(mode)) return Kind::symlink;
  if (S_ISBLK(mode)) return Kind::block;
  if (S_ISCHR(mode)) return Kind::character;
  if (S_ISFIFO(mode)) return Kind::pipe;
  if (S_ISSOCK(mode)) return Kind::socket;
  return Kind::file;
}

Inode inode_of(const struct stat& status) noexcept {
  Inode inode;
  inode.kind = kind_of(status.st_mode);
  inode.mode = static_cast<std::uint16_t>(status.st_mode & 07777);
  inode.size_bytes = static_cast<std::uint64_t>(status.st_size);
  inode.modified_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  inode.links = static_cast<std::uint32_t>(status.st_nlink);
  inode.user = status.st_uid;
  inode.group = status.st_gid;
  inode.device = status.st_dev;
  inode.number = status.st_ino;
  return inode;
}

firn::Result<IndexReport> index_tree(MetadataStore& store, int directory, const std::string& path,
                                     bool cross_file_systems) {
  timespec begun{};
  clock_gettime(CLOCK_REALTIME_COARSE, &begun);
  const auto start = std::chrono::steady_clock::now();
  Indexer indexer(store);
  FIRN_TRY(indexer.start());
  const WalkCounts counts = walk(directory, path, cross_file_systems, indexer);
  FIRN_TRY_ASSIGN(IndexReport report, indexer.finish(counts));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.begun = begun;
  return report;
}

void print(const IndexReport& report, MetadataStore& store) {
  const auto show = [](const char* what, std::uint64_t count) {
    std::printf("  %-22s %12s\n", what, grouped(count).c_str());
  };
  show("entries", report.entries);
  show("files", report.files);
  show("directories", report.directories);
  show("symlinks", report.symlinks);
  if (report.others > 0) show("other kinds", report.others);
  show("further hard links", report.hard_links);
  if (report.walk.vanished > 0) show("vanished meanwhile", report.walk.vanished);
  if (report.other_file_systems > 0) show("other file systems", report.other_file_systems);
  if (report.walk.unreadable > 0) show("unreadable directories", report.walk.unreadable);
  for (const std::string& line : report.unreadable) std::printf("    %s\n", line.c_str());
  const firn::DomainStatistics statistics = store.domain().statistics();
  std::printf("  %s entries/s; %s pairs in %s tables\n", rate_of(report).c_str(),
              grouped(statistics.pair_count).c_str(), grouped(statistics.table_count).c_str());
}

std::string rate_of(const IndexReport& report) {
  return grouped(static_cast<std::uint64_t>(static_cast<double>(report.entries) /
                                            std::max(report.seconds, 1e-6)));
}

}  // namespace mdfs
