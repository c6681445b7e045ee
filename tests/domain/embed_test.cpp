// What embedding leaves alone: signals, locale, standard streams, threads; and what a forked child
// may do.
#include "support/light.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <new>
#include <thread>

#include "support/stopping_order.hpp"

using namespace firn::test;
using firn::Domain;

namespace {

// Opens a domain, uses every kind of call once, and closes it.
void use_firn() {
  Domain domain = open_light("embedded");
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  auto links = create<LinkType>(domain, "links");
  const auto address = notes.insert("note").wait().value();
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(error_of(words.insert(1, "one").wait()) == "already_exists");
  REQUIRE(links.put("a", {notes.ref(address), {}, {}}).wait());
  REQUIRE(domain.follow(notes.ref(address)).wait());
  REQUIRE(contents(words).size() == 1);
  auto transaction = domain.begin({.notify = true}).wait().value();
  REQUIRE(words.erase(transaction, 1).wait());
  REQUIRE(transaction.commit().wait());
  REQUIRE(domain.destroy_table(std::move(words), firn::Force::yes).wait());
  REQUIRE(domain.close().wait());
}

using Actions = std::array<struct sigaction, NSIG>;
Actions signal_actions() {
  Actions actions{};
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction& action = actions[static_cast<std::size_t>(signal)];
    if (::sigaction(signal, nullptr, &action) != 0) action = {};
  }
  return actions;
}

// Whatever this process writes to a descriptor during a scope.
class Captured {
 public:
  explicit Captured(int descriptor) : descriptor_(descriptor), former_(::dup(descriptor)) {
    REQUIRE(::pipe2(pipe_.data(), O_NONBLOCK | O_CLOEXEC) == 0);
    std::cout.flush();  // what the test program itself has said so far
    std::fflush(nullptr);
    ::dup2(pipe_[1], descriptor_);
  }
  std::string stop() {
    std::fflush(nullptr);
    ::dup2(former_, descriptor_);
    std::string text(65536, '\0');
    const ssize_t size = ::read(pipe_[0], text.data(), text.size());
    text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
    ::close(former_);
    return text;
  }

 private:
  int descriptor_;
  int former_;
  std::array<int, 2> pipe_{};
};

struct StoppingType : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.stopping";
  using Comparator = StoppingOrder;
};

std::ptrdiff_t thread_count() {
  using Iterator = std::filesystem::directory_iterator;
  return std::distance(Iterator("/proc/self/task"), Iterator());
}

// The exit status of a child that runs `check`: 0 if all that it looked at was right.
int in_child(const std::function<bool()>& check) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(check() ? 0 : 1);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

TEST_CASE("embed: signals untouched after open", "[embed]") {
  const Actions before = signal_actions();
  sigset_t mask_before;
  sigset_t mask_after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_before);
  use_firn();
  Domain domain = open_light();
  const Actions after = signal_actions();
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
  for (std::size_t signal = 1; signal < NSIG; ++signal) {
    INFO("signal " << signal);
    CHECK(before[signal].sa_handler == after[signal].sa_handler);
    CHECK(before[signal].sa_flags == after[signal].sa_flags);
    CHECK(sigismember(&mask_before, static_cast<int>(signal)) ==
          sigismember(&mask_after, static_cast<int>(signal)));
  }
}

TEST_CASE("embed: locale untouched after open", "[embed]") {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  use_firn();
  Domain domain = open_light();
  REQUIRE(std::setlocale(LC_ALL, nullptr) == before);
}

TEST_CASE("embed: stderr and stdout untouched after open", "[embed]") {
  Captured error_output(STDERR_FILENO);
  Captured output(STDOUT_FILENO);
  use_firn();
  const std::string written = output.stop();
  const std::string error_written = error_output.stop();
  REQUIRE(written.empty());
  REQUIRE(error_written.empty());
}

TEST_CASE("embed: starts no thread", "[embed]") {
  const auto before = thread_count();
  use_firn();
  Domain domain = open_light();
  auto words = create<WordType>(domain, "words");
  auto executor = firn::Executor::create().value();
  auto insert = words.insert(1, "one");
  REQUIRE(insert.post(executor));
  executor.tick(firn::literals::operator""_ms(1));
  REQUIRE(thread_count() == before);
}

TEST_CASE("embed: use of any handle in a forked child is invalid_state", "[embed]") {
  Domain domain = open_light("parent");
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  REQUIRE(words.insert(1, "one").wait());
  const auto ref = words.ref(1).value();
  auto transaction = domain.begin({.notify = true}).wait().value();
  auto cursor = words.cursor();
  const int status = in_child([&] {
    const auto refused = [](const auto& result) { return error_of(result) == "invalid_state"; };
    return refused(words.lookup(1).wait()) && refused(words.insert(2, "x").wait()) &&
           refused(words.read(1, [](firn::Bytes) noexcept {}).wait()) &&
           refused(words.put(1, "x").wait()) && refused(words.update(1, "x").wait()) &&
           refused(words.erase(1).wait()) && refused(notes.insert("x").wait()) &&
           refused(words.cursor().status()) && refused(cursor.next().wait()) &&
           refused(cursor.prev().wait()) && refused(cursor.seek(1).wait()) &&
           refused(domain.follow(ref).wait()) &&
           refused(domain.follow(firn::Ref<WordType>()).wait()) &&
           refused(domain.create_table<WordType>("w", volatile_table()).wait()) &&
           refused(domain.open_table<WordType>("words").wait()) &&
           refused(domain.tables().wait()) && refused(domain.begin().wait()) &&
           refused(domain.create_segment("s", firn::MemorySegment{}).wait()) &&
           refused(domain.destroy_segment("s").wait()) &&
           refused(words.lookup(transaction, 1).wait()) &&
           refused(words.insert(transaction, 2, "x").wait()) &&
           refused(transaction.commit().wait()) && refused(transaction.abort().wait()) &&
           refused(transaction.force()) && refused(transaction.persistent().wait()) &&
           refused(transaction.on_persistent([](firn::Result<firn::Persisted>) noexcept {})) &&
           refused(domain.destroy_table(std::move(notes), firn::Force::yes).wait()) &&
           refused(domain.close().wait());
  });
  REQUIRE(status == 0);
  REQUIRE(transaction.commit().wait());
  REQUIRE(contents(words) == std::map<std::uint64_t, std::string>{{1, "one"}});
}

TEST_CASE("embed: destroying handles in a forked child is harmless to both", "[embed]") {
  auto domain = std::make_optional(open_light("parent"));
  auto words = std::make_optional(create<WordType>(*domain, "words"));
  auto transaction = std::make_optional(domain->begin().wait().value());
  REQUIRE((*words).insert(1, "one").wait());
  const int status = in_child([&] {
    transaction.reset();
    words.reset();
    domain.reset();
    return true;
  });
  REQUIRE(status == 0);
  REQUIRE(found(*words, 1) == "one");
  REQUIRE(words->insert(*transaction, 2, "two").wait());
  REQUIRE(transaction->commit().wait());
  REQUIRE(domain->close().wait());
}

TEST_CASE("embed: a forked child opens domains of its own under any name", "[embed]") {
  auto domain = std::make_optional(open_light("parent"));
  REQUIRE(create<WordType>(*domain, "words").insert(1, "one").wait());
  const int status = in_child([&] {
    const auto open_and_use = [](std::string_view path) {
      auto opened = Domain::open(path, {.type = firn::DomainType::light}).wait();
      if (!opened.has_value()) return false;
      auto words = opened->create_table<WordType>("words", volatile_table()).wait();
      return words.has_value() && words->insert(1, "uno").wait().has_value() &&
             words->lookup(1).wait().value() == "uno" && opened->close().wait().has_value();
    };
    if (!open_and_use("child") || !open_and_use("parent")) return false;
    domain.reset();
    return open_and_use("child") && open_and_use("parent");
  });
  REQUIRE(status == 0);
  REQUIRE(found(open<WordType>(*domain, "words"), 1) == "one");
}

TEST_CASE("embed: the parent goes on while a child lives", "[embed]") {
  Domain domain = open_light("parent");
  auto words = create<WordType>(domain, "words");
  std::array<int, 2> pipe{};
  REQUIRE(::pipe(pipe.data()) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    ::close(pipe[1]);
    [[maybe_unused]] const auto ended = ::read(pipe[0], &byte, 1);  // the parent closes its end
    ::_exit(error_of(words.lookup(1).wait()) == "invalid_state" ? 0 : 1);
  }
  for (std::uint64_t key = 0; key < 1000; ++key) REQUIRE(words.insert(key, "r").wait());
  REQUIRE(error_of(Domain::open("parent", {.type = firn::DomainType::light}).wait()) == "busy");
  REQUIRE(domain.close().wait());
  Domain again = open_light("parent");
  ::close(pipe[0]);
  ::close(pipe[1]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}

// Destructors of a program's statics and thread locals run after those of Firn's own thread locals
// if they were built before Firn was first called.
TEST_CASE("embed: destructors that run at the end of a thread may use a domain", "[embed]") {
  Domain domain = open_light();
  auto words = create<WordType>(domain, "words");
  struct Late {
    firn::Table<WordType>* table = nullptr;
    ~Late() {
      std::uint64_t key = 100;
      for (int round = 0; round < 40; ++round) {
        static_cast<void>(table->put(key++, std::string(100, 'l')).wait());
        auto cursor = table->cursor({.lower = 100, .upper = {}});
        while (cursor.next().wait().value_or(false)) continue;
      }
    }
  };
  std::thread([&] {
    thread_local Late late;
    late.table = &words;
    for (std::uint64_t key = 0; key < 10; ++key) {
      REQUIRE(words.put(key, std::string(100, 'e')).wait());
    }
  }).join();
  REQUIRE(contents(words).size() == 50);
}

TEST_CASE("embed: a forked child ends although an operation of its parent's thread waits",
          "[embed]") {
  using Put = firn::WriteOperation<StoppingType>;
  Domain domain = open_light();
  auto words = create<StoppingType>(domain, "words");
  REQUIRE(words.insert(1, "one").wait());
  // Built first, so that it ends the child after Firn's own thread locals are destroyed there.
  struct Last {
    bool in_child = false;
    ~Last() {
      if (in_child) ::_exit(0);
    }
  };
  // Of static life, so that the child destroys no operation that waits.
  alignas(Put) static std::byte memory[sizeof(Put)];
  int status = -1;
  bool waited = false;
  std::thread([&] {
    thread_local Last last;
    auto* put = ::new (static_cast<void*>(memory)) Put(words.put(1, "a longer one"));
    auto fork_meanwhile = [&]() noexcept {
      auto executor = firn::detail::executor_of_this_thread();
      waited = !put->start_with(
          *executor, [](void*) noexcept {}, nullptr);
      const pid_t child = ::fork();
      if (child == 0) {
        last.in_child = true;
        std::exit(1);
      }
      static_cast<void>(::waitpid(child, &status, 0));
    };
    const StopNextSearch stop(fork_meanwhile);
    CHECK(words.lookup(1).wait());
    firn::detail::run_until_done(*put);
    CHECK(put->result());
    put->~Put();
  }).join();
  REQUIRE(waited);
  REQUIRE(status == 0);
}

// An executor of the parent's and the child's share nothing either: each sleeps and wakes alone.
TEST_CASE("embed: blocking calls of a forked child use no descriptor of its parent", "[embed]") {
  use_firn();  // this thread has its executor now
  const auto descriptors = [] {
    std::map<std::string, std::string> open_ones;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code ignored;
      open_ones[entry.path().filename()] = std::filesystem::read_symlink(entry.path(), ignored);
    }
    return open_ones;
  };
  const auto before = descriptors();
  const int status = in_child([&] {
    auto opened = Domain::open("child", {.type = firn::DomainType::light}).wait();
    return opened.has_value() && descriptors().size() > before.size();
  });
  REQUIRE(status == 0);
}
