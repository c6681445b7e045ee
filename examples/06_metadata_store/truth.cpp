#include "truth.hpp"

#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "progress.hpp"
#include "text.hpp"

namespace mdfs {

firn::Result<void> Truth::walk(const std::string& root, bool cross_file_systems) {
  std::string path = root;
  char* const paths[] = {path.data(), nullptr};
  const int options = FTS_PHYSICAL | FTS_COMFOLLOW | (cross_file_systems ? 0 : FTS_XDEV);
  FTS* stream = fts_open(paths, options, nullptr);
  if (stream == nullptr) {
    return firn::fail_system(firn::ErrorCode::io_error, errno, "fts_open of the indexed directory");
  }
  root_size_ = root.size();
  Progress progress("compare");
  const double total = static_cast<double>(expected_entries_);
  while (difference_.empty()) {
    FTSENT* entry = fts_read(stream);
    if (entry == nullptr) break;
    visit(stream, entry);
    progress.show(std::min(1.0, static_cast<double>(entries) / total), entries);
  }
  fts_close(stream);
  return {};
}

std::string Truth::relative_path(const FTSENT& entry) const {
  std::string_view path(entry.fts_path, entry.fts_pathlen);
  path.remove_prefix(std::min(root_size_, path.size()));
  while (path.starts_with('/')) path.remove_prefix(1);
  return std::string(path);
}

// `fts_number` of an entry is the number of its inode in the store, or 0 if the store lacks it.
void Truth::visit(FTS* stream, FTSENT* entry) {
  if (entry->fts_level == 0) entry->fts_number = static_cast<long>(store_.root_id());
  switch (entry->fts_info) {
    case FTS_DP:
      return;
    case FTS_NS:
    case FTS_ERR:
      return excuse(*entry);  // gone since its directory was read
    case FTS_DNR:
      ++unreadable;
      return;
    default:
      break;
  }
  const bool directory = entry->fts_info == FTS_D;
  if (entry->fts_number == 0) {  // excused when its directory was compared
    if (directory) fts_set(stream, entry, FTS_SKIP);
    return;
  }
  const auto id = static_cast<std::uint64_t>(entry->fts_number);
  auto inode = store_.inodes().lookup(id).wait();
  if (!inode || !inode->has_value()) {
    return differ(escaped(entry->fts_path) + ": the store has no inode of it");
  }
  collect(*entry);
  compare_attributes(*entry, **inode);
  const bool complete = (*inode)->contents == Contents::complete;
  if (directory && complete) compare_listing(stream, entry, {"", id, std::move(**inode)});
  if (directory && !complete) fts_set(stream, entry, FTS_SKIP);
  if (directory && !complete) unreadable += (*inode)->contents == Contents::unreadable ? 1 : 0;
}

// Names and kinds, both sides in the order of names.
void Truth::compare_listing(FTS* stream, FTSENT* directory, const Entry& at) {
  auto listed = list(store_, at);
  if (!listed) return differ(escaped(directory->fts_path) + ": " + listed.error().message());
  std::vector<FTSENT*> children;
  errno = 0;
  FTSENT* child = fts_children(stream, 0);
  const int error = child == nullptr ? errno : 0;
  // Asked after the names were read: what came or went before shows in the directory's time.
  struct stat now {};
  const bool excused_here = lstat(directory->fts_accpath, &now) != 0 || changed(now);
  if (error != 0 && !excused_here) {
    return differ(escaped(directory->fts_path) +
                  ": readable when indexed, and now: " + std::strerror(error));
  }
  for (; child != nullptr; child = child->fts_link) children.push_back(child);
  const auto name_of_child = [](const FTSENT* one) {
    return std::string_view(one->fts_name, one->fts_namelen);
  };
  std::sort(children.begin(), children.end(), [&](const FTSENT* left, const FTSENT* right) {
    return name_of_child(left) < name_of_child(right);
  });
  const auto miss = [&](std::string_view name, const char* where) {
    if (excused_here) return excuse(*directory);
    differ(escaped(directory->fts_path) + ": only " + where + " has \"" + escaped(name) + '"');
  };
  auto known = listed->begin();
  for (FTSENT* one : children) {
    const std::string_view name = name_of_child(one);
    for (; known != listed->end() && known->name < name; ++known) miss(known->name, "the store");
    if (known == listed->end() || known->name != name) {
      miss(name, "the file system");
      continue;
    }
    one->fts_number = static_cast<long>(known->id);
    const bool known_kind = one->fts_info != FTS_NS && one->fts_info != FTS_NSOK;
    if (known_kind && kind_of(one->fts_statp->st_mode) != known->inode.kind) {
      if (!excused_here) {
        return differ(escaped(directory->fts_path) + '/' + escaped(name) + ": the store says " +
                      std::string(name_of(known->inode.kind)));
      }
      excuse(*directory);
      one->fts_number = 0;
    }
    ++names;
    ++known;
  }
  for (; known != listed->end(); ++known) miss(known->name, "the store");
}

bool Truth::may_have_vanished(std::string path) const {
  struct stat status {};
  while (path.size() > 1 && lstat(path.c_str(), &status) != 0) {
    if (errno == ENAMETOOLONG) return true;
    path.resize(std::max<std::size_t>(1, path.find_last_of('/')));
  }
  return changed(status);
}

firn::Result<const char*> Truth::difference_of(const Inode& inode, const struct stat& status) {
  const Inode real = inode_of(status);
  FIRN_TRY_ASSIGN(const Body body, store_.run(body_of(store_, inode)));
  // A file system may give a file its blocks some time after it was written.
  constexpr std::int64_t settling_seconds = 120;
  const bool settled = status.st_ctim.tv_sec + settling_seconds < begun_.tv_sec;
  const char* what = nullptr;
  if (inode.kind != real.kind) what = "kind";
  if (inode.mode != real.mode) what = "mode";
  if (inode.size_bytes != real.size_bytes || body.size_bytes != real.size_bytes) what = "size";
  if (inode.modified_ns != real.modified_ns) what = "time";
  if (inode.links != real.links) what = "link count";
  if (inode.user != real.user || inode.group != real.group) what = "owner";
  if (inode.device != real.device || inode.number != real.number) what = "origin";
  if (settled && body.blocks != static_cast<std::uint64_t>(status.st_blocks)) what = "blocks";
  return what;
}

void Truth::compare_attributes(const FTSENT& entry, const Inode& inode) {
  auto found = difference_of(inode, *entry.fts_statp);
  if (!found) return differ(escaped(entry.fts_path) + ": " + found.error().message());
  const char* what = *found;
  if (what == nullptr && inode.kind == Kind::symlink) {
    auto body = store_.run(body_of(store_, inode));
    std::array<char, PATH_MAX> target;
    const ssize_t size = readlink(entry.fts_accpath, target.data(), target.size());
    const bool equal =
        body && size >= 0 &&
        body->target == std::string_view(target.data(), static_cast<std::size_t>(size));
    if (!equal) what = "target";
  }
  if (what == nullptr) return;
  if (changed(*entry.fts_statp)) return excuse(entry);
  differ(escaped(entry.fts_path) + ": the store has another " + what);
}

void Truth::excuse(const FTSENT&) {
  ++excused;
  any_changed = true;
  if (!subtrees.empty()) subtrees[0].changed = true;
  if (subtree_ != 0) subtrees[subtree_].changed = true;
}

void Truth::collect(const FTSENT& entry) {
  const struct stat& status = *entry.fts_statp;
  const OriginKey origin{store_.tree(), status.st_dev, status.st_ino};
  const Kind kind = kind_of(status.st_mode);
  const bool several = kind != Kind::directory && status.st_nlink > 1;
  const std::string path = relative_path(entry);
  ++entries;
  if (kind == Kind::file) ++files;
  if (kind == Kind::directory) ++directories;
  if (kind == Kind::symlink) ++symlinks;
  if (several) ++links[origin];

  if (entry.fts_level == 0) subtrees.push_back({"", {}});
  if (entry.fts_level == 1) {
    subtree_ = kind == Kind::directory ? subtrees.size() : 0;
    if (subtree_ != 0) subtrees.push_back({path, {}});
  }
  const auto add = [&](Subtree& subtree) {
    ++subtree.usage.entries;
    if (changed(status)) subtree.changed = true;
    if (several && !subtree.counted.insert(origin).second) return;
    subtree.usage.bytes += static_cast<std::uint64_t>(status.st_size);
    subtree.usage.bytes_taken += static_cast<std::uint64_t>(status.st_blocks) * 512;
  };
  add(subtrees[0]);
  if (entry.fts_level > 0 && subtree_ != 0) add(subtrees[subtree_]);
  if (changed(status)) any_changed = true;

  if (kind == Kind::file) {
    largest.insert({~static_cast<std::uint64_t>(status.st_size), origin.device, origin.number});
    if (largest.size() > largest_count) largest.erase(std::prev(largest.end()));
  }
  if (entry.fts_level == 0) return;
  for (Search& search : searches) {
    if (fnmatch(search.pattern, entry.fts_name, 0) == 0) search.paths.push_back(path);
  }
  if (sample.size() < sample_size) {
    sample.push_back(path);
  } else if (const std::uint64_t place = random_() % entries; place < sample_size) {
    sample[place] = path;
  }
}

}  // namespace mdfs
