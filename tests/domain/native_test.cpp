// Native domains as a whole: files, openers, checkpoints, threads, closing.
#include <fstream>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include "base/sanitizer.hpp"
#include "support/native.hpp"

using namespace firn::test;
using firn::Domain;
using firn::DomainOptions;
using firn::Executor;

namespace {

void fill(firn::Table<WordType>& words, std::uint64_t count, std::size_t size = 100) {
  for (std::uint64_t key = 0; key < count; ++key) {
    const auto put = words.put(key, std::string(size, 'r')).wait();
    if (!put.has_value()) FAIL(put.error().message());
  }
}

template <class Operation>
auto run(Executor& executor, Operation&& operation) {
  REQUIRE(operation.post(executor));
  while (!operation.done()) {
    if (executor.tick(std::chrono::nanoseconds(0)) == 0) executor.wait_for_work();
  }
  return std::move(operation.result());
}

bool waits_for(const std::function<bool()>& holds) {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace

TEST_CASE("native: a second opener of the file is busy with the owner's process", "[domain]") {
  NativeFile file;
  Domain domain = file.open();
  const auto second = file.try_open();
  REQUIRE(error_of(second) == "busy");
  CHECK(second.error().value == static_cast<std::uint64_t>(::getpid()));
  if (FIRN_TSAN) return;  // it ends forked children that start threads
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const auto third = Domain::open(file.path(), NativeFile::small()).wait();
    const bool refused = !third.has_value() && third.error().code == firn::ErrorCode::busy &&
                         third.error().value == static_cast<std::uint64_t>(::getppid());
    ::_exit(refused ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  close(domain);
  Domain again = file.open();
}

TEST_CASE("native: a forked child drops its parent's domain while pages are being freed",
          "[domain]") {
  NativeFile file;
  DomainOptions options = NativeFile::small();
  options.background_thread = false;
  Executor executor = Executor::create().value();
  auto domain = std::make_optional(run(executor, Domain::open(file.path(), options)).value());
  for (const char* name : {"first", "second"}) {
    auto words = run(executor, domain->create_table<WordType>(name)).value();
    REQUIRE(run(executor, words.put(1, "one")).has_value());
    REQUIRE(run(executor, domain->destroy_table(std::move(words))).has_value());
  }
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const bool nothing = domain->statistics().memory_budget == 0;
    domain.reset();
    ::_exit(nothing ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(error_of(run(executor, domain->close())) == "");
}

TEST_CASE("native: what is no domain's file is refused and left alone", "[domain]") {
  Scratch scratch;
  CHECK(error_of(Domain::open("").wait()) == "invalid_argument");
  CHECK(error_of(Domain::open(scratch.path().string()).wait()) == "invalid_argument");
  CHECK(error_of(Domain::open(scratch.file("no/such/directory")).wait()) == "not_found");
  const auto refused = [&](const std::string& content) {
    const std::string path = scratch.file("other");
    std::ofstream(path, std::ios::binary) << content;
    const auto opened = Domain::open(path).wait();
    CHECK(!opened.has_value());
    std::ifstream left(path, std::ios::binary);
    CHECK(std::string(std::istreambuf_iterator<char>(left), {}) == content);
    std::filesystem::remove(path);
    return std::string(error_of(opened));
  };
  CHECK(refused("a letter") == "already_exists");
  CHECK(refused(std::string(8 << 20, 'x')) == "corrupt");
  CHECK(refused(std::string(500'000, '\0') + std::string(8 << 20, 'x')) == "not_found");
}

TEST_CASE("native: an empty file becomes a domain", "[domain]") {
  NativeFile file;
  std::ofstream(file.path()).close();
  { Domain domain = file.open(); }
  Domain again = file.open();
  CHECK(again.statistics().table_count == 0);
}

TEST_CASE("native: a file whose making was cut short becomes a domain", "[domain]") {
  NativeFile file;
  { std::ofstream made(file.path()); }
  std::filesystem::resize_file(file.path(), 64 << 20);
  Domain domain = file.open();
  auto words = create_persistent<WordType>(domain, "words");
  REQUIRE(words.put(1, "one").wait());
}

TEST_CASE("native: a domain that is dropped has made a last checkpoint", "[domain]") {
  NativeFile file;
  {
    Domain domain = file.open();
    auto words = create_persistent<WordType>(domain, "words");
    fill(words, 1000);
  }
  Domain domain = file.open();
  CHECK(contents(open<WordType>(domain, "words")).size() == 1000);
}

TEST_CASE("native: data larger than memory stays within the budget and grows the file",
          "[domain]") {
  NativeFile file;
  DomainOptions options = NativeFile::small();
  options.checkpoint_bytes = 64 << 20;
  Domain domain = file.open(options);
  const std::uint64_t size_before = domain.statistics().segment_bytes;
  auto words = create_persistent<WordType>(domain, "words");
  fill(words, 2000, 40'000);
  const auto statistics = domain.statistics();
  CHECK(statistics.memory_used <= options.memory_budget * 21 / 20);
  CHECK(statistics.segment_bytes > size_before);
  CHECK(statistics.page_evictions > 1000);
  CHECK(statistics.page_write_bytes > 80'000'000);
  for (std::uint64_t key = 0; key < 2000; key += 97) CHECK(found(words, key)->size() == 40'000);
  CHECK(domain.statistics().page_reads > statistics.page_reads);
  CHECK(domain.statistics().page_faults > 0);
}

TEST_CASE("native: a checkpoint grows the file until all that memory holds fits", "[domain]") {
  NativeFile file;
  DomainOptions options = NativeFile::small();
  options.memory_budget = 256 << 20;
  options.background_thread = false;
  Executor executor = Executor::create().value();
  {
    Domain domain = run(executor, Domain::open(file.path(), options)).value();
    auto words = run(executor, domain.create_table<WordType>("words")).value();
    // By this thread's executor, while nobody ticks the domain's.
    fill(words, 3500, 40'000);
    CHECK(domain.statistics().segment_bytes == 64 << 20);
    CHECK(error_of(run(executor, domain.close())) == "");
  }
  Domain domain = file.open();
  CHECK(domain.statistics().pair_count == 3500);
}

TEST_CASE("native: a record larger than a page can be is too large", "[domain]") {
  NativeFile file;
  Domain domain = file.open();
  auto words = create_persistent<WordType>(domain, "words");
  const auto put = words.put(1, std::string(2 << 20, 'r')).wait();
  REQUIRE(error_of(put) == "too_large");
  CHECK(put.error().place.table == words.id());
  CHECK(put.error().value > 60'000);
  REQUIRE(words.put(1, "small").wait());
}

TEST_CASE("native: checkpoints come by time after a change and not without one", "[domain]") {
  NativeFile file;
  DomainOptions options = NativeFile::small();
  options.checkpoint_interval = std::chrono::milliseconds(30);
  Domain domain = file.open(options);
  auto words = create_persistent<WordType>(domain, "words");
  const std::uint64_t before = domain.statistics().checkpoints;
  CHECK(waits_for([&] { return domain.statistics().checkpoints > before; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const std::uint64_t quiet = domain.statistics().checkpoints;
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(domain.statistics().checkpoints == quiet);
  REQUIRE(words.put(1, "one").wait());
  CHECK(waits_for([&] { return domain.statistics().checkpoints > quiet; }));
}

TEST_CASE("native: checkpoints come by bytes", "[domain]") {
  NativeFile file;
  DomainOptions options = NativeFile::small();
  options.checkpoint_bytes = 1 << 20;
  Domain domain = file.open(options);
  auto words = create_persistent<WordType>(domain, "words");
  const std::uint64_t before = domain.statistics().checkpoints;
  fill(words, 200, 40'000);
  CHECK(waits_for([&] { return domain.statistics().checkpoints > before + 2; }));
}

TEST_CASE("native: checkpoints asked for together share one that began later", "[domain]") {
  NativeFile file;
  Domain domain = file.open();
  auto words = create_persistent<WordType>(domain, "words");
  REQUIRE(words.put(1, "one").wait());
  Executor executor = Executor::create().value();
  const std::uint64_t before = domain.statistics().checkpoints;
  {
    auto first = domain.checkpoint();
    auto second = domain.checkpoint();
    auto third = domain.checkpoint();
    REQUIRE(first.post(executor));
    REQUIRE(second.post(executor));
    REQUIRE(third.post(executor));
    while (!first.done() || !second.done() || !third.done()) {
      if (executor.tick(std::chrono::nanoseconds(0)) == 0) executor.wait_for_work();
    }
    CHECK(first.result().has_value());
    CHECK(second.result().has_value());
    CHECK(third.result().has_value());
  }
  const std::uint64_t made = domain.statistics().checkpoints - before;
  CHECK(made >= 1);
  CHECK(made <= 3);
}

TEST_CASE("native: light domains have no checkpoints", "[domain]") {
  Domain domain = open_light();
  const auto refused = domain.checkpoint().wait();
  REQUIRE(error_of(refused) == "unsupported");
  CHECK(refused.error().message().find("persistent") != std::string::npos);
}

TEST_CASE("native: without a thread the executor that opened the domain does all", "[domain]") {
  NativeFile file;
  DomainOptions options = NativeFile::small();
  options.background_thread = false;
  Executor executor = Executor::create().value();
  for (int round = 0; round < 3; ++round) {
    Domain domain = run(executor, Domain::open(file.path(), options)).value();
    auto words = round == 0 ? run(executor, domain.create_table<WordType>("words")).value()
                            : run(executor, domain.open_table<WordType>("words")).value();
    for (std::uint64_t key = 0; key < 2000; ++key) {
      REQUIRE(run(executor, words.put(key, std::string(1000, 'r'))).has_value());
    }
    REQUIRE(run(executor, domain.checkpoint()).has_value());
    CHECK(domain.statistics().page_evictions > 0);
    if (round == 1) REQUIRE(run(executor, domain.close()).has_value());
  }
  Domain domain = file.open();
  CHECK(contents(open<WordType>(domain, "words")).size() == 2000);
}

TEST_CASE("native: an operation on a closed domain that waited for a page ends", "[domain]") {
  NativeFile file;
  {
    Domain domain = file.open();
    auto words = create_persistent<WordType>(domain, "words");
    fill(words, 2000, 1000);
  }
  auto domain = std::make_optional(file.open());
  auto words = open<WordType>(*domain, "words");
  Executor executor = Executor::create().value();
  auto lookup = words.lookup(1234);
  REQUIRE(lookup.post(executor));
  REQUIRE(!lookup.done());
  CHECK(error_of(domain->close().wait()) == "busy");
  domain.reset();
  while (!lookup.done()) {
    if (executor.tick(std::chrono::nanoseconds(0)) == 0) executor.wait_for_work();
  }
  CHECK(error_of(lookup.result()) == "invalid_state");
  words = {};
  // Nobody waited for the end of it.
  CHECK(waits_for([&] { return file.try_open().has_value(); }));
}

TEST_CASE("native: a cancelled lookup leaves the domain in order", "[domain]") {
  NativeFile file;
  {
    Domain domain = file.open();
    auto words = create_persistent<WordType>(domain, "words");
    fill(words, 2000, 1000);
  }
  Domain domain = file.open();
  auto words = open<WordType>(domain, "words");
  Executor executor = Executor::create().value();
  {
    auto lookup = words.lookup(1234);
    REQUIRE(lookup.post(executor));
    lookup.cancel();
    while (!lookup.done()) {
      if (executor.tick(std::chrono::nanoseconds(0)) == 0) executor.wait_for_work();
    }
    CHECK(error_of(lookup.result()) == "cancelled");
  }
  // The read that it began is still under way on that executor.
  CHECK(error_of(run(executor, domain.close())) == "");
}

TEST_CASE("native: a domain dropped while a cancelled read is under way ends in later ticks",
          "[domain]") {
  NativeFile file;
  for (const bool background_thread : {true, false}) {
    DomainOptions options = NativeFile::small();
    options.background_thread = background_thread;
    {
      Domain domain = file.open();
      auto words = domain.open_table<WordType>("words").wait();
      if (!words.has_value()) words = create_persistent<WordType>(domain, "words");
      fill(*words, 2000, 1000);
    }
    Executor background = Executor::create().value();
    Executor executor = Executor::create().value();
    {
      Domain domain = run(background, Domain::open(file.path(), options)).value();
      auto words = run(background, domain.open_table<WordType>("words")).value();
      auto lookup = words.lookup(1234);
      REQUIRE(lookup.post(executor));
      lookup.cancel();
      while (!lookup.done()) executor.tick(std::chrono::nanoseconds(0));
      CHECK(error_of(lookup.result()) == "cancelled");
    }
    CHECK(waits_for([&] {
      executor.tick(std::chrono::nanoseconds(0));
      background.tick(std::chrono::nanoseconds(0));
      return file.try_open().has_value();
    }));
  }
}

TEST_CASE("native: the failure of one of 64 domains leaves the rest working", "[multi-domain]") {
  Scratch scratch;
  DomainOptions options = NativeFile::small();
  options.memory_budget = 1 << 20;
  std::vector<Domain> domains;
  std::vector<firn::Table<WordType>> tables;
  for (int number = 0; number < 64; ++number) {
    domains.push_back(open_at(scratch.file(("domain" + std::to_string(number)).c_str()), options));
    tables.push_back(create_persistent<WordType>(domains.back(), "words"));
    fill(tables.back(), 300, 2000);
    checkpoint(domains.back());
  }
  std::filesystem::resize_file(scratch.file("domain17"), 1 << 20);
  std::size_t failed = 0;
  for (std::uint64_t key = 0; key < 300; ++key) {
    const auto record = tables[17].lookup(key).wait();
    if (!record.has_value()) ++failed;
  }
  CHECK(failed > 0);
  for (std::size_t number = 0; number < 64; ++number) {
    if (number == 17) continue;
    REQUIRE(found(tables[number], 250)->size() == 2000);
    REQUIRE(tables[number].put(1000, "more").wait());
    REQUIRE(domains[number].close().wait());
  }
  static_cast<void>(domains[17].close().wait());
}
