// A metadata index in the manner of a file system's metadata server: it walks a real directory
// tree into four tables and answers from them.
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "compare.hpp"
#include "index.hpp"
#include "queries.hpp"
#include "spoil.hpp"
#include "text.hpp"

namespace {

using namespace firn::literals;
using namespace mdfs;

constexpr const char* usage =
    "usage: 06_metadata_store [OPTION...] index DIR [-- COMMAND [-- COMMAND...]]\n"
    "       06_metadata_store [OPTION...] demo [DIR]\n"
    "\n"
    "index  fills the store from DIR, then runs the commands, or those on standard input\n"
    "demo   fills it from DIR (/usr) and compares every answer with the file system\n"
    "\n"
    "  --type TYPE        the engine (light)\n"
    "  --memory SIZE      its memory budget (512MiB)\n"
    "  --cross            also enter other file systems\n"
    "  --seed N           of the paths that demo chooses at random (1)\n"
    "  --spoil WHAT       demo: change a record first, so that the comparison has to fail:\n"
    "                     mode, time, names, name, parent, body\n"
    "\n"
    "Commands:\n";

struct Arguments {
  firn::DomainOptions options{.type = firn::DomainType::light, .memory_budget = 512_MiB};
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
  const bool known =
      option == "--type" || option == "--memory" || option == "--seed" || option == "--spoil";
  if (!known || at + 1 == words.size()) {
    usage_error(known ? option + " needs a value" : "no such option: " + escaped(option));
    return 0;
  }
  const std::string& value = words[at + 1];
  if (option == "--spoil") {
    arguments.spoil = value;
    return 2;
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
  if (!demo && arguments.command != "index") {
    return usage_error("no such command: " + escaped(arguments.command));
  }
  if (demo) arguments.directory = "/usr";
  if (at < words.size() && words[at] != "--") arguments.directory = words[at++];
  if (arguments.directory.empty()) return usage_error(arguments.command + " needs a directory");
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

firn::Result<int> run(MetadataStore& store, const Arguments& arguments, int directory,
                      const std::string& path) {
  const bool demo = arguments.command == "demo";
  if (demo) {
    std::printf("indexing %s into a %s domain\n", escaped(path).c_str(),
                std::string(firn::name_of(store.domain().type())).c_str());
    std::fflush(stdout);
  }
  FIRN_TRY_ASSIGN(const IndexReport report,
                  index_tree(store, directory, path, arguments.cross_file_systems));
  int status = 0;
  if (demo) {
    print(report, store);
    if (!arguments.spoil.empty()) FIRN_TRY(spoil(store, arguments.spoil, arguments.seed));
    std::printf("comparing with the file system (seed %llu)\n",
                static_cast<unsigned long long>(arguments.seed));
    std::fflush(stdout);
    FIRN_TRY_ASSIGN(const bool equal,
                    compare(store, report, path, arguments.cross_file_systems, arguments.seed));
    const firn::DomainStatistics statistics = store.domain().statistics();
    rusage usage_now{};
    getrusage(RUSAGE_SELF, &usage_now);
    std::printf("memory: %s charged to the domain, at most %s resident\n",
                size_text(statistics.memory_used).c_str(),
                size_text(static_cast<std::uint64_t>(usage_now.ru_maxrss) * 1024).c_str());
    std::puts(equal ? "every answer is equal" : "FAILED");
    status = equal ? 0 : 1;
  } else {
    if (isatty(STDIN_FILENO) == 1 && arguments.queries.empty()) print(report, store);
    if (report.walk.unreadable > 0) {
      std::fprintf(stderr, "06_metadata_store: %s directories could not be read, first %s\n",
                   grouped(report.walk.unreadable).c_str(), report.unreadable[0].c_str());
    }
    status = run_queries(store, arguments);
  }
  FIRN_TRY(store.close());
  return status;
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
  const int directory = open_directory(arguments.directory.c_str());
  if (directory < 0) {
    return usage_error("cannot index " + escaped(arguments.directory) + ": " +
                       std::strerror(errno));
  }
  char resolved[PATH_MAX];
  if (realpath(arguments.directory.c_str(), resolved) == nullptr) {
    return usage_error("cannot index " + escaped(arguments.directory) + ": " +
                       std::strerror(errno));
  }
  auto store = MetadataStore::open("metadata", arguments.options);
  if (!store) return failure("cannot open the store", store.error());
  auto status = run(*store, arguments, directory, resolved);
  if (!status) return failure(escaped(arguments.directory).c_str(), status.error());
  return *status;
}
