#include "queries.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <tuple>
#include <unordered_set>

#include "text.hpp"

namespace mdfs {

firn::Result<std::vector<Entry>> list(MetadataStore& store, const Entry& at) {
  std::vector<Entry> entries;
  if (at.inode.kind != Kind::directory) {
    entries.push_back(at);
    return entries;
  }
  auto cursor = store.dirents().cursor(MetadataStore::range_of(at.id));
  while (cursor.next().wait().value_or(false)) {
    const firn::Ref<InodeType>& reference = cursor.record().inode;
    FIRN_TRY_ASSIGN(const std::uint64_t id, reference.key());
    FIRN_TRY_ASSIGN(auto inode, store.domain().follow(reference).wait());
    if (!inode) return firn::fail(firn::ErrorCode::corrupt, "an entry leads to no inode");
    entries.push_back({cursor.key().name, id, std::move(*inode)});
  }
  FIRN_TRY(cursor.status());
  return entries;
}

firn::Result<std::vector<std::string>> find_names(MetadataStore& store, const Entry& start,
                                                  const std::string& pattern) {
  std::vector<std::string> found;
  FIRN_TRY(store.descend(start.id, [&](const std::string& path, const Entry& entry) {
    if (fnmatch(pattern.c_str(), entry.name.c_str(), 0) == 0) found.push_back(path);
  }));
  std::sort(found.begin(), found.end());
  return found;
}

firn::Result<Usage> usage_of(MetadataStore& store, const Entry& start) {
  Usage usage;
  firn::Result<void> outcome;
  std::unordered_set<std::uint64_t> counted;  // inodes of several names
  FIRN_TRY_ASSIGN(const Body own, store.run(body_of(store, start.inode)));
  usage = {.entries = 1, .bytes = own.size_bytes, .bytes_taken = own.blocks * 512};
  if (start.inode.kind != Kind::directory) return usage;
  FIRN_TRY(store.descend(start.id, [&](const std::string&, const Entry& entry) {
    ++usage.entries;
    if (entry.inode.names > 1 && !counted.insert(entry.id).second) return;
    // On the fiber that `descend` runs this on: it waits, others go on.
    auto body = firn::fiber::await(store.domain().follow(entry.inode.body));
    if (!body) {
      outcome = firn::fail(body.error());
    } else if (!body->has_value()) {
      outcome = firn::fail(firn::ErrorCode::corrupt, "inode {} has no body", entry.id);
    } else {
      usage.bytes += (*body)->size_bytes;
      usage.bytes_taken += (*body)->blocks * 512;
    }
  }));
  FIRN_TRY(outcome);
  return usage;
}

firn::Result<std::vector<Entry>> largest(MetadataStore& store, std::size_t count) {
  const auto before = [](const Entry& left, const Entry& right) {
    return std::make_tuple(right.inode.size_bytes, left.inode.device, left.inode.number) <
           std::make_tuple(left.inode.size_bytes, right.inode.device, right.inode.number);
  };
  std::vector<Entry> heap;  // the last in that order on top
  auto cursor = store.inodes().cursor(store.inode_range());
  while (count > 0 && cursor.next().wait().value_or(false)) {
    const Inode& inode = cursor.record();
    if (inode.kind != Kind::file) continue;
    if (heap.size() == count && inode.size_bytes < heap.front().inode.size_bytes) continue;
    heap.push_back({inode.name, cursor.key(), inode});
    std::push_heap(heap.begin(), heap.end(), before);
    if (heap.size() <= count) continue;
    std::pop_heap(heap.begin(), heap.end(), before);
    heap.pop_back();
  }
  FIRN_TRY(cursor.status());
  std::sort_heap(heap.begin(), heap.end(), before);
  return heap;
}

firn::Task<firn::Result<Body>> body_of(MetadataStore& store, Inode inode) {
  auto body = co_await store.domain().follow(std::move(inode.body));
  if (!body) co_return firn::fail(body.error());
  if (!body->has_value()) {
    co_return firn::fail(firn::ErrorCode::corrupt, "an inode leads to no body");
  }
  co_return std::move(**body);
}

namespace {

using Words = std::vector<std::string>;

std::string time_text(std::int64_t nanoseconds) {
  std::int64_t seconds = nanoseconds / 1'000'000'000;
  if (nanoseconds % 1'000'000'000 < 0) --seconds;
  const std::time_t time = seconds;
  std::tm parts{};
  char text[32];
  if (gmtime_r(&time, &parts) == nullptr) return std::to_string(seconds);
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return text;
}

firn::Result<void> print_line(MetadataStore& store, const Entry& entry) {
  const Inode& inode = entry.inode;
  std::printf("%s %3u %5u %5u %12llu %s %s", mode_text(inode.kind, inode.mode).c_str(), inode.links,
              inode.user, inode.group, static_cast<unsigned long long>(inode.size_bytes),
              time_text(inode.modified_ns).c_str(), escaped(entry.name).c_str());
  if (inode.kind == Kind::symlink) {
    FIRN_TRY_ASSIGN(const Body body, store.run(body_of(store, inode)));
    std::printf(" -> %s", escaped(body.target).c_str());
  }
  std::puts("");
  return {};
}

firn::Result<void> run_ls(MetadataStore& store, const Entry& at) {
  FIRN_TRY_ASSIGN(const auto entries, list(store, at));
  for (const Entry& entry : entries) FIRN_TRY(print_line(store, entry));
  if (at.inode.contents == Contents::unreadable) std::puts("(could not be read when indexed)");
  if (at.inode.contents == Contents::other_file_system) std::puts("(another file system)");
  return {};
}

firn::Result<void> run_find(MetadataStore& store, const Entry& start, const std::string& pattern) {
  FIRN_TRY_ASSIGN(const std::string at, store.path_of(start.inode));
  FIRN_TRY_ASSIGN(const auto paths, find_names(store, start, pattern));
  for (const std::string& path : paths) {
    std::printf("%s%s%s\n", escaped(at).c_str(), at.ends_with('/') ? "" : "/",
                escaped(path).c_str());
  }
  return {};
}

firn::Result<void> run_du(MetadataStore& store, const Entry& start) {
  FIRN_TRY_ASSIGN(const Usage usage, usage_of(store, start));
  std::printf("%s entries, %s bytes (%s), %s on the device\n", grouped(usage.entries).c_str(),
              grouped(usage.bytes).c_str(), size_text(usage.bytes).c_str(),
              size_text(usage.bytes_taken).c_str());
  return {};
}

firn::Result<void> run_largest(MetadataStore& store, std::size_t count) {
  FIRN_TRY_ASSIGN(const auto files, largest(store, count));
  for (const Entry& file : files) {
    FIRN_TRY_ASSIGN(const std::string path, store.path_of(file.inode));
    std::printf("%14s %s\n", grouped(file.inode.size_bytes).c_str(), escaped(path).c_str());
  }
  return {};
}

firn::Result<void> run_stat(MetadataStore& store, const Entry& at) {
  const Inode& inode = at.inode;
  FIRN_TRY_ASSIGN(const std::string path, store.path_of(inode));
  FIRN_TRY_ASSIGN(const Body body, store.run(body_of(store, inode)));
  std::printf("%s: %s\n", escaped(path).c_str(), std::string(name_of(inode.kind)).c_str());
  if (inode.kind == Kind::symlink) std::printf("  target  %s\n", escaped(body.target).c_str());
  std::printf("  inode   %llu, was %llu on device %llx\n", static_cast<unsigned long long>(at.id),
              static_cast<unsigned long long>(inode.number),
              static_cast<unsigned long long>(inode.device));
  std::printf("  size    %s bytes, %s blocks\n", grouped(body.size_bytes).c_str(),
              grouped(body.blocks).c_str());
  std::printf("  mode    %s (%04o), user %u, group %u\n", mode_text(inode.kind, inode.mode).c_str(),
              inode.mode, inode.user, inode.group);
  std::printf("  links   %u, of them %u here\n", inode.links, inode.names);
  std::printf("  written %s UTC\n", time_text(inode.modified_ns).c_str());
  return {};
}

int usage_error(const char* text) {
  std::fprintf(stderr, "06_metadata_store: %s; `help` lists the commands\n", text);
  return 2;
}

int exit_status(const firn::Result<void>& done, std::string_view command,
                std::string_view subject) {
  if (done) return 0;
  std::fprintf(stderr, "06_metadata_store: %s %s: %s\n", std::string(command).c_str(),
               escaped(subject).c_str(), done.error().message().c_str());
  return done.error().code == firn::ErrorCode::invalid_argument ? 2 : 1;
}

}  // namespace

const char* const commands_help =
    "  ls [PATH]                 the entries of a directory\n"
    "  find [PATH] -name GLOB    the paths below whose last name matches\n"
    "  du [PATH]                 how much lies at and below it\n"
    "  largest [N]               the N largest files (20)\n"
    "  stat PATH                 all about one entry\n"
    "PATH is absolute, or relative to the indexed directory.\n";

int run_command(MetadataStore& store, const Words& words) {
  if (words.empty()) return 0;
  const std::string& command = words[0];
  Words arguments(words.begin() + 1, words.end());
  if (command == "help") return std::fputs(commands_help, stdout) < 0 ? 1 : 0;
  if (command == "largest") {
    std::size_t count = 20;
    if (arguments.size() > 1) return usage_error("usage: largest [N]");
    if (!arguments.empty()) {
      const char* end = arguments[0].data() + arguments[0].size();
      const auto parsed = std::from_chars(arguments[0].data(), end, count);
      if (parsed.ec != std::errc() || parsed.ptr != end) return usage_error("N is a number");
    }
    return exit_status(run_largest(store, count), command, "");
  }
  std::string pattern;
  if (command == "find") {
    const auto name = std::find(arguments.begin(), arguments.end(), "-name");
    if (arguments.end() - name != 2) return usage_error("usage: find [PATH] -name GLOB");
    pattern = name[1];
    arguments.erase(name, arguments.end());
  } else if (command != "ls" && command != "du" && command != "stat") {
    return usage_error(("no such command: " + escaped(command)).c_str());
  }
  if (arguments.size() > 1 || (command == "stat" && arguments.empty())) {
    return usage_error(("too many or too few arguments for " + command).c_str());
  }
  const std::string path = arguments.empty() ? "." : arguments[0];
  auto at = store.find(path);
  if (!at) return exit_status(firn::fail(at.error()), command, path);
  if (command == "find" && at->inode.kind != Kind::directory) {
    return exit_status(firn::fail(firn::ErrorCode::invalid_argument, "it is not a directory"),
                       command, path);
  }
  if (command == "ls") return exit_status(run_ls(store, *at), command, path);
  if (command == "du") return exit_status(run_du(store, *at), command, path);
  if (command == "stat") return exit_status(run_stat(store, *at), command, path);
  return exit_status(run_find(store, *at, pattern), command, path);
}

}  // namespace mdfs
