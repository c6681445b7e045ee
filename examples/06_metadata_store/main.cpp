// A metadata index in the manner of a file system's metadata server: it walks a real directory
// tree into four tables, in a file or in memory, and answers from them.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "compare.hpp"
#include "index.hpp"
#include "queries.hpp"
#include "resident.hpp"
#include "spoil.hpp"
#include "text.hpp"

namespace {

using namespace firn::literals;
using namespace mdfs;

constexpr const char* usage =
    "usage: 06_metadata_store [OPTION...] index DIR [-- COMMAND [-- COMMAND...]]\n"
    "       06_metadata_store [OPTION...] open [-- COMMAND [-- COMMAND...]]\n"
    "       06_metadata_store [OPTION...] demo [DIR]\n"
    "\n"
    "index  fills the store from DIR, or brings it up to date, then runs the commands, or those "
    "on\n"
    "       standard input\n"
    "open   runs the commands on a store that is there\n"
    "demo   fills it from DIR (/usr), opens it again, indexes again, and compares every answer "
    "with\n"
    "       the file system\n"
    "\n"
    "  --type TYPE        the engine: native, light (native)\n"
    "  --path FILE        of a native store: kept (default: a temporary file)\n"
    "  --memory SIZE      its memory budget (native: 16MiB, light: 512MiB)\n"
    "  --least SIZE       demo, native: DIR is indexed again under further roots until the index\n"
    "                     has so many bytes (64MiB)\n"
    "  --cross            also enter other file systems\n"
    "  --seed N           of the paths that demo chooses at random (1)\n"
    "  --spoil WHAT       demo: change a record first, so that the comparison has to fail:\n"
    "                     mode, time, names, name, parent, body\n"
    "\n"
    "Commands:\n";

struct Arguments {
  firn::DomainOptions options{.type = firn::DomainType::native, .memory_budget = 0};
  bool memory_is_default = false;
  std::string path;
  std::uint64_t least_bytes = 64_MiB;
  bool cross_file_systems = false;
  std::uint64_t seed = 1;
  std::string spoil;
  std::string command;
  std::string directory;
  std::vector<std::vector<std::string>> queries;
};

int usage_error(const std::string& text) {
  std::fprintf(stderr, "06_metadata_store: %s; --help shows the usage\n", text.c_str());
  return 2;
}
int failure(const char* what, const firn::Error& error) {
  std::fprintf(stderr, "06_metadata_store: %s: %s\n", what, error.message().c_str());
  return error.code == firn::ErrorCode::invalid_argument ||
                 error.code == firn::ErrorCode::unsupported
             ? 2
             : 1;
}

// Sets one option; how many words it took, or 0 after an error was printed.
int take_option(const std::vector<std::string>& words, std::size_t at, Arguments& arguments) {
  const std::string& option = words[at];
  if (option == "--cross") {
    arguments.cross_file_systems = true;
    return 1;
  }
  constexpr const char* with_values[] = {"--type",  "--memory", "--seed",
                                         "--spoil", "--path",   "--least"};
  const bool known =
      std::find(std::begin(with_values), std::end(with_values), option) != std::end(with_values);
  if (!known || at + 1 == words.size()) {
    usage_error(known ? option + " needs a value" : "no such option: " + escaped(option));
    return 0;
  }
  const std::string& value = words[at + 1];
  if (option == "--spoil") {
    arguments.spoil = value;
    return 2;
  }
  if (option == "--path") {
    arguments.path = value;
    return 2;
  }
  if (option == "--least") {
    firn::DomainOptions size;
    const auto least = firn::set_option(size, "memory_budget", value);
    if (!least) usage_error("--least: " + least.error().message());
    arguments.least_bytes = size.memory_budget;
    return least ? 2 : 0;
  }
  if (option == "--seed") {
    const char* end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, arguments.seed);
    if (parsed.ec == std::errc() && parsed.ptr == end) return 2;
    usage_error("--seed needs a number");
    return 0;
  }
  const auto set =
      firn::set_option(arguments.options, option == "--type" ? "type" : "memory_budget", value);
  if (set) return 2;
  usage_error(option + ' ' + escaped(value) + ": " + set.error().message());
  return 0;
}

// 0, or the exit status after an error was printed.
int parse(const std::vector<std::string>& words, Arguments& arguments) {
  std::size_t at = 0;
  while (at < words.size() && words[at].starts_with("--")) {
    const int taken = take_option(words, at, arguments);
    if (taken == 0) return 2;
    at += static_cast<std::size_t>(taken);
  }
  if (at == words.size()) return usage_error("a command is missing");
  arguments.command = words[at++];
  const bool demo = arguments.command == "demo";
  const bool opens = arguments.command == "open";
  if (!demo && !opens && arguments.command != "index") {
    return usage_error("no such command: " + escaped(arguments.command));
  }
  if (demo) arguments.directory = "/usr";
  if (!opens && at < words.size() && words[at] != "--") arguments.directory = words[at++];
  const bool native = arguments.options.type == firn::DomainType::native;
  if (opens && (!native || arguments.path.empty())) {
    return usage_error("open needs the --path of a native store");
  }
  if (arguments.options.memory_budget == 0) {
    arguments.memory_is_default = true;
    arguments.options.memory_budget = native ? 16_MiB : 512_MiB;
  }
  if (!opens && arguments.directory.empty())
    return usage_error(arguments.command + " needs a directory");
  if (at < words.size() && (demo || words[at] != "--")) {
    return usage_error("what is this for: " + escaped(words[at]));
  }
  for (; at < words.size(); ++at) {
    if (words[at] == "--") {
      arguments.queries.emplace_back();
    } else {
      arguments.queries.back().push_back(words[at]);
    }
  }
  return 0;
}

int run_queries(MetadataStore& store, const Arguments& arguments) {
  int status = 0;
  for (const auto& words : arguments.queries) {
    status = std::max(status, run_command(store, words));
  }
  if (!arguments.queries.empty()) return status;
  const bool prompt = isatty(STDIN_FILENO) == 1;
  std::string line;
  while (true) {
    if (prompt) std::fputs("mdfs> ", stdout);
    std::fflush(stdout);
    if (!std::getline(std::cin, line)) break;
    const auto words = words_of(line);
    if (!words.empty() && (words[0] == "quit" || words[0] == "exit")) break;
    const int answer = run_command(store, words);
    // At a prompt the user has seen it; a script wants to know.
    if (!prompt) status = std::max(status, answer);
  }
  return status;
}

// The store that the program works on, and its file.
class Session {
 public:
  explicit Session(const Arguments& arguments)
      : arguments_(arguments), options_(arguments.options), path_(arguments.path) {
    if (!path_.empty()) return;
    const char* folder = std::getenv("TMPDIR");
    path_ =
        std::string(folder != nullptr ? folder : "/tmp") + "/metadata-" + std::to_string(getpid());
    temporary_ = true;
  }
  ~Session() {
    store_.reset();
    if (temporary_) std::remove(path_.c_str());
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  firn::Result<void> open() {
    auto opened = MetadataStore::open(path_, options_);
    if (!opened) return firn::fail(opened.error());
    store_.emplace(std::move(*opened));
    return {};
  }
  firn::Result<int> run_index(const std::string& directory);
  firn::Result<int> run_open();
  firn::Result<int> run_demo(const std::string& directory);

 private:
  firn::Result<IndexReport> index(std::uint64_t tree, const std::string& directory);
  firn::Result<void> fill(const std::string& directory, std::vector<IndexReport>& reports);
  firn::Result<void> reopen();
  firn::Result<bool> index_again(const std::string& directory);
  void print_statistics(const char* what);
  void print_resident() const;
  [[nodiscard]] bool is_native() const { return options_.type == firn::DomainType::native; }

  const Arguments& arguments_;
  firn::DomainOptions options_;
  std::string path_;
  bool temporary_ = false;
  std::optional<MetadataStore> store_;
};

firn::Result<IndexReport> Session::index(std::uint64_t tree, const std::string& directory) {
  const bool there = tree <= store_->tree_count();
  FIRN_TRY(store_->select_tree(tree));
  if (there) {
    FIRN_TRY_ASSIGN(const std::string root, store_->root_path());
    if (root != directory) {
      return firn::fail(firn::ErrorCode::already_exists, "the store holds another directory");
    }
  }
  const int descriptor = open_directory(directory.c_str());
  if (descriptor < 0) {
    return firn::fail_system(firn::ErrorCode::io_error, errno, "open of the directory");
  }
  return index_tree(*store_, descriptor, directory, arguments_.cross_file_systems);
}

firn::Result<int> Session::run_index(const std::string& directory) {
  FIRN_TRY_ASSIGN(const IndexReport report, index(1, directory));
  if (isatty(STDIN_FILENO) == 1 && arguments_.queries.empty()) print(report, *store_);
  if (report.walk.unreadable > 0) {
    std::fprintf(stderr, "06_metadata_store: %s directories could not be read, first %s\n",
                 grouped(report.walk.unreadable).c_str(), report.unreadable[0].c_str());
  }
  return run_open();
}

firn::Result<int> Session::run_open() {
  const int status = run_queries(*store_, arguments_);
  FIRN_TRY(store_->close());
  return status;
}

// Fills the store; a native one until it is large enough to be larger than its memory.
firn::Result<void> Session::fill(const std::string& directory, std::vector<IndexReport>& reports) {
  constexpr std::uint64_t trees_max = 4096;
  std::printf("indexing %s into a %s domain\n", escaped(directory).c_str(),
              std::string(firn::name_of(options_.type)).c_str());
  std::fflush(stdout);
  for (std::uint64_t tree = 1; tree <= trees_max; ++tree) {
    FIRN_TRY_ASSIGN(IndexReport report, index(tree, directory));
    if (tree == 1) print(report, *store_);
    reports.push_back(std::move(report));
    if (!is_native()) break;
    FIRN_TRY(store_->domain().checkpoint().wait());
    const bool enough = store_->domain().statistics().stored_bytes >= arguments_.least_bytes;
    if (enough && tree >= store_->tree_count()) break;
  }
  if (!is_native()) return {};
  const std::uint64_t bytes = store_->domain().statistics().stored_bytes;
  if (reports.size() > 1) {
    std::printf("  it is small: indexed under %zu roots, the last with %s entries/s\n",
                reports.size(), rate_of(reports.back()).c_str());
  }
  std::printf("  the index has %s, the memory budget is %s\n", size_text(bytes).c_str(),
              size_text(options_.memory_budget).c_str());
  return {};
}

firn::Result<void> Session::reopen() {
  const std::uint64_t bytes = store_->domain().statistics().stored_bytes;
  FIRN_TRY(store_->close());
  print_statistics("to fill it");
  print_resident();
  store_.reset();
  if (arguments_.memory_is_default) {
    options_.memory_budget = std::max<std::uint64_t>(options_.memory_budget, bytes / 4);
  }
  Resident::watch();
  FIRN_TRY(open());
  std::printf("closed and opened again, with a memory budget of %s\n",
              size_text(options_.memory_budget).c_str());
  return {};
}

// Every tree once more: what has not changed since is not written.
firn::Result<bool> Session::index_again(const std::string& directory) {
  IndexReport all;
  std::uint64_t updates = store_->domain().statistics().update_count;
  for (std::uint64_t tree = 1; tree <= store_->tree_count(); ++tree) {
    FIRN_TRY_ASSIGN(const IndexReport report, index(tree, directory));
    all.entries += report.entries;
    all.unchanged += report.unchanged;
    all.changed += report.changed;
    all.added += report.added;
    all.removed += report.removed;
    all.seconds += report.seconds;
  }
  updates = store_->domain().statistics().update_count - updates;
  std::printf(
      "indexed again: %s unchanged, %s changed, %s new, %s gone; %s updates, %s entries/s\n",
      grouped(all.unchanged).c_str(), grouped(all.changed).c_str(), grouped(all.added).c_str(),
      grouped(all.removed).c_str(), grouped(updates).c_str(), rate_of(all).c_str());
  if (all.changed + all.added + all.removed == 0 && updates != 0) {
    std::puts("DIFFERENCE: nothing has changed, and the store was written");
    return false;
  }
  return true;
}

void Session::print_statistics(const char* what) {
  const firn::DomainStatistics statistics = store_->domain().statistics();
  const std::uint64_t written = statistics.page_write_bytes + statistics.other_write_bytes;
  std::printf("  %s: %s lookups, %s cursor moves, %s updates", what,
              grouped(statistics.lookup_count).c_str(), grouped(statistics.move_count).c_str(),
              grouped(statistics.update_count).c_str());
  if (is_native()) {
    const std::uint64_t asked = statistics.lookup_count + statistics.move_count;
    std::printf("; %s device reads (%.3f for each), %s written",
                grouped(statistics.page_reads).c_str(),
                static_cast<double>(statistics.page_reads) /
                    static_cast<double>(std::max<std::uint64_t>(1, asked)),
                size_text(written).c_str());
  }
  std::puts("");
}

void Session::print_resident() const {
  std::printf(
      "  resident memory: at most %s more than before it was opened, lists of directories "
      "included: %.1f %% of the budget\n",
      size_text(Resident::peak()).c_str(),
      100 * static_cast<double>(Resident::peak()) / static_cast<double>(options_.memory_budget));
}

firn::Result<int> Session::run_demo(const std::string& directory) {
  std::vector<IndexReport> reports;
  FIRN_TRY(fill(directory, reports));
  if (is_native()) FIRN_TRY(reopen());
  FIRN_TRY_ASSIGN(bool equal, index_again(directory));
  print_resident();  // before the comparison, which has lists of its own
  const std::uint64_t tree = 1 + arguments_.seed % reports.size();
  FIRN_TRY(store_->select_tree(tree));
  if (!arguments_.spoil.empty()) FIRN_TRY(spoil(*store_, arguments_.spoil, arguments_.seed));
  std::printf("comparing root %llu with the file system (seed %llu)\n",
              static_cast<unsigned long long>(tree),
              static_cast<unsigned long long>(arguments_.seed));
  std::fflush(stdout);
  FIRN_TRY_ASSIGN(const bool answers_equal,
                  compare(*store_, reports[tree - 1], directory, arguments_.cross_file_systems,
                          arguments_.seed));
  equal = equal && answers_equal;
  if (is_native()) FIRN_TRY(store_->close());
  print_statistics("to do all this");
  if (!is_native()) FIRN_TRY(store_->close());
  std::puts(equal ? "every answer is equal" : "FAILED");
  return equal ? 0 : 1;
}

}  // namespace

int main(int argument_count, char** argument_values) {
  const std::vector<std::string> words(argument_values + 1, argument_values + argument_count);
  if (!words.empty() && (words[0] == "--help" || words[0] == "help")) {
    std::printf("%s%s", usage, commands_help);
    return 0;
  }
  Arguments arguments;
  if (const int status = parse(words, arguments); status != 0) return status;
  char resolved[PATH_MAX] = {};
  if (arguments.command != "open") {
    const int directory = open_directory(arguments.directory.c_str());
    if (directory < 0 || realpath(arguments.directory.c_str(), resolved) == nullptr) {
      return usage_error("cannot index " + escaped(arguments.directory) + ": " +
                         std::strerror(errno));
    }
    close(directory);
  }
  if (arguments.command == "open" && access(arguments.path.c_str(), F_OK) != 0) {
    return usage_error("cannot open " + escaped(arguments.path) + ": " + std::strerror(errno));
  }
  Session session(arguments);
  Resident::watch();
  if (auto opened = session.open(); !opened) {
    return failure("cannot open the store", opened.error());
  }
  auto status = arguments.command == "demo"    ? session.run_demo(resolved)
                : arguments.command == "index" ? session.run_index(resolved)
                                               : session.run_open();
  if (!status) return failure(escaped(arguments.directory).c_str(), status.error());
  return *status;
}
