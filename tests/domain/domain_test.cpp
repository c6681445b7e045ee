// Domains: opening, capabilities, closing, and handles of one used with another.
#include "support/light.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "support/dies.hpp"

using namespace firn::test;
using firn::Capability;
using firn::Domain;
using firn::DomainType;
using firn::Force;

namespace {

firn::Result<Domain> open_with(firn::DomainOptions options, std::string_view path = "") {
  return Domain::open(path, options).wait();
}

// What a child that runs `action` says on stderr before it aborts; empty if it does not abort.
template <class Action>
std::string last_words(Action action) {
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC) == 0);
  const bool aborted = dies([&] {
    ::dup2(pipe[1], STDERR_FILENO);
    action();
  });
  std::string text(4096, '\0');
  const ssize_t size = aborted ? ::read(pipe[0], text.data(), text.size()) : 0;
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  ::close(pipe[0]);
  ::close(pipe[1]);
  return text;
}
bool begins(const std::string& text, const std::string& with) { return text.starts_with(with); }

}  // namespace

TEST_CASE("domain: holds tables of one engine with one budget", "[domain]") {
  Domain domain = open_domain("store", 8 << 20);
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(notes.insert("note").wait());
  REQUIRE(domain.type() == domain_under_test().type);
  REQUIRE(domain.path() == path_under_test("store"));
  const auto statistics = domain.statistics();
  REQUIRE(statistics.memory_budget == 8 << 20);
  REQUIRE(statistics.table_count == 2);
  REQUIRE(statistics.pair_count == 2);
}

TEST_CASE("domain: a second opener is busy with the owner's name", "[domain]") {
  Domain domain = open_domain("store");
  const auto second = open_with(domain_under_test().options(), path_under_test("store"));
  REQUIRE(error_of(second) == "busy");
  REQUIRE(second.error().message().find(std::to_string(::getpid())) != std::string::npos);
  Domain other = open_domain("another");
}

TEST_CASE("domain: its name is free again after close and after dropping the handle", "[domain]") {
  {
    Domain domain = open_domain("store");
    REQUIRE(domain.close().wait());
    Domain again = open_domain("store");
  }
  Domain again = open_domain("store");
}

TEST_CASE("domain: moving the handle keeps the domain open", "[domain]") {
  Domain domain = open_domain("store");
  auto words = create<WordType>(domain, "words");
  Domain moved = std::move(domain);
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(moved.close().wait());
}

TEST_CASE("domain: assigning over a handle closes the domain that it had", "[domain]") {
  Domain domain = open_domain("first");
  auto words = create<WordType>(domain, "words");
  domain = open_domain("second");
  REQUIRE(error_of(words.lookup(1).wait()) == "invalid_state");
  Domain first = open_domain("first");
}

TEST_CASE("domain: a required capability that is missing is unsupported and named", "[domain]") {
  for (const auto capability :
       {Capability::persistent, Capability::atomic, Capability::abort, Capability::segments,
        Capability::remote_segments, Capability::larger_than_memory, Capability::upsert,
        Capability::range_erase, Capability::snapshots}) {
    const auto opened = open_with({.type = DomainType::light, .required = capability});
    REQUIRE(error_of(opened) == "unsupported");
    REQUIRE(opened.error().message().find(firn::name_of(capability)) != std::string::npos);
    REQUIRE_FALSE(includes(firn::capabilities_of(DomainType::light), capability));
  }
  const auto several =
      open_with({.type = DomainType::light, .required = Capability::ordered | Capability::abort});
  REQUIRE(several.error().message().find("'abort'") != std::string::npos);
}

TEST_CASE("domain: required capabilities that are there open", "[domain]") {
  const auto opened =
      open_with({.type = DomainType::light,
                 .required = Capability::ordered | Capability::sacks | Capability::notify});
  REQUIRE(error_of(opened) == "");
  REQUIRE(includes(opened->capabilities(), Capability::ordered | Capability::sacks));
}

TEST_CASE("domain: types that are not part of this build are unsupported", "[domain]") {
  for (const auto type : {DomainType::db5, DomainType::rvm}) {
    const auto opened = open_with({.type = type});
    REQUIRE(error_of(opened) == "unsupported");
    REQUIRE(opened.error().message().find(firn::name_of(type)) != std::string::npos);
  }
  REQUIRE(error_of(open_with({.type = static_cast<DomainType>(99)})) == "unsupported");
}

TEST_CASE("domain: a budget below 1 MiB is invalid_argument", "[domain]") {
  for (const std::uint64_t budget : {0u, 1u, (1u << 20) - 1}) {
    REQUIRE(error_of(open_with({.type = DomainType::light, .memory_budget = budget})) ==
            "invalid_argument");
  }
  REQUIRE(error_of(open_with({.type = DomainType::light, .memory_budget = 1 << 20})) == "");
  REQUIRE(error_of(open_with({.type = DomainType::light, .memory_budget = ~std::uint64_t{0}})) ==
          "");
}

TEST_CASE("domain: handles after close are invalid_state", "[domain]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  REQUIRE(words.insert(1, "one").wait());
  const auto ref = words.ref(1).value();
  auto cursor = words.cursor();
  REQUIRE(domain.close().wait());
  CHECK(error_of(words.lookup(1).wait()) == "invalid_state");
  CHECK(error_of(words.read(1, [](firn::Bytes) noexcept {}).wait()) == "invalid_state");
  CHECK(error_of(words.insert(2, "two").wait()) == "invalid_state");
  CHECK(error_of(words.put(1, "two").wait()) == "invalid_state");
  CHECK(error_of(words.update(1, "two").wait()) == "invalid_state");
  CHECK(error_of(words.erase(1).wait()) == "invalid_state");
  CHECK(error_of(notes.insert("note").wait()) == "invalid_state");
  CHECK(error_of(cursor.next().wait()) == "invalid_state");
  CHECK(error_of(words.cursor().status()) == "invalid_state");
  CHECK(error_of(domain.follow(ref).wait()) == "invalid_state");
  CHECK(error_of(domain.create_table<WordType>("w", volatile_table()).wait()) == "invalid_state");
  CHECK(error_of(domain.open_table<WordType>("words").wait()) == "invalid_state");
  CHECK(error_of(domain.tables().wait()) == "invalid_state");
  CHECK(error_of(domain.begin().wait()) == "invalid_state");
  CHECK(error_of(domain.create_segment("s", firn::MemorySegment{}).wait()) == "invalid_state");
  CHECK(error_of(domain.destroy_segment("s").wait()) == "invalid_state");
  CHECK(error_of(domain.destroy_table(std::move(notes)).wait()) == "invalid_state");
  CHECK(error_of(domain.close().wait()) == "invalid_state");
  CHECK(words.name() == "words");
}

TEST_CASE("domain: close with an open transaction is busy and leaves it open", "[domain]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto transaction = domain.begin().wait().value();
  const auto closed = domain.close().wait();
  REQUIRE(error_of(closed) == "busy");
  REQUIRE(closed.error().value == 1);
  REQUIRE(words.insert(transaction, 1, "one").wait());
  REQUIRE(transaction.commit().wait());
  REQUIRE(domain.close().wait());
}

TEST_CASE("domain: a dropped transaction no longer hinders close", "[domain]") {
  Domain domain = open_domain();
  { auto transaction = domain.begin().wait().value(); }
  REQUIRE(domain.close().wait());
}

TEST_CASE("domain: dropping it leaves handles and transactions harmless", "[domain]") {
  auto domain = std::make_optional(open_light());
  auto words = create<WordType>(*domain, "words");
  auto transaction = domain->begin({.notify = true}).wait().value();
  auto cursor = words.cursor();
  REQUIRE(words.insert(1, "one").wait());
  domain.reset();
  CHECK(error_of(words.lookup(1).wait()) == "invalid_state");
  CHECK(error_of(cursor.next().wait()) == "invalid_state");
  CHECK(error_of(transaction.commit().wait()) == "invalid_state");
  CHECK(error_of(transaction.force()) == "invalid_state");
  CHECK(error_of(transaction.persistent().wait()) == "invalid_state");
}

TEST_CASE("domain: a transaction of another one is wrong_domain", "[domain]") {
  Domain domain = open_domain();
  Domain other = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  REQUIRE(words.insert(1, "one").wait());
  auto foreign = other.begin().wait().value();
  CHECK(error_of(words.lookup(foreign, 1).wait()) == "wrong_domain");
  CHECK(error_of(words.read(foreign, 1, [](firn::Bytes) noexcept {}).wait()) == "wrong_domain");
  CHECK(error_of(words.insert(foreign, 2, "x").wait()) == "wrong_domain");
  CHECK(error_of(words.put(foreign, 1, "x").wait()) == "wrong_domain");
  CHECK(error_of(words.update(foreign, 1, "x").wait()) == "wrong_domain");
  CHECK(error_of(words.erase(foreign, 1).wait()) == "wrong_domain");
  CHECK(error_of(notes.insert(foreign, "x").wait()) == "wrong_domain");
  CHECK(error_of(words.cursor(foreign).status()) == "wrong_domain");
  CHECK(contents(words) == std::map<std::uint64_t, std::string>{{1, "one"}});
  CHECK(contents(notes).empty());
}

TEST_CASE("domain: destroying a table of another one is wrong_domain", "[domain]") {
  Domain domain = open_domain();
  Domain other = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.insert(1, "one").wait());
  auto copy = words;
  REQUIRE(error_of(other.destroy_table(std::move(copy), Force::yes).wait()) == "wrong_domain");
  REQUIRE(found(words, 1) == "one");
}

TEST_CASE("domain: an operation posted twice is invalid_state and ran once", "[domain]") {
  Domain domain = open_domain();
  auto executor = firn::Executor::create().value();
  auto words = create<WordType>(domain, "words");
  auto insert = words.insert(1, "one");
  REQUIRE(insert.post(executor));
  REQUIRE(error_of(insert.post(executor)) == "invalid_state");
  REQUIRE(error_of(insert.post(executor, [](firn::Result<void>&) noexcept {})) == "invalid_state");
  REQUIRE(error_of(insert.wait()) == "invalid_state");
  REQUIRE(error_of(insert.result()) == "");
  auto opening = Domain::open("", {.type = DomainType::light});
  REQUIRE(opening.wait());
  REQUIRE(error_of(opening.wait()) == "invalid_state");
}

TEST_CASE("domain: an operation cancelled before it is posted changes nothing", "[domain]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto insert = words.insert(1, "one");
  insert.cancel();
  REQUIRE(error_of(insert.result()) == "cancelled");
  REQUIRE(error_of(insert.wait()) == "invalid_state");
  REQUIRE(contents(words).empty());
  auto copy = words;
  {
    auto destroy = domain.destroy_table(std::move(copy));
    destroy.cancel();
  }
  REQUIRE(words.insert(1, "one").wait());
}

TEST_CASE("domain: calls on an empty handle die with the text of an assertion", "[domain]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  const std::string handle = "firn: assertion failed: core_";
  CHECK(begins(last_words([] { static_cast<void>(Domain().close().wait()); }), handle));
  CHECK(begins(last_words([] { static_cast<void>(firn::Table<WordType>().lookup(1).wait()); }),
               handle));
  CHECK(begins(last_words([] { static_cast<void>(firn::Table<WordType>().cursor().status()); }),
               handle));
  CHECK(begins(last_words([] { static_cast<void>(firn::Table<WordType>().id()); }), handle));
  CHECK(begins(
      last_words([&] { static_cast<void>(domain.destroy_table(firn::Table<WordType>()).wait()); }),
      handle));
  CHECK(begins(last_words([&] {
                 firn::Transaction empty;
                 static_cast<void>(words.insert(empty, 1, "one").wait());
               }),
               handle));
}

TEST_CASE("domain: calls on a handle that was moved from die with the text of an assertion",
          "[domain]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  const std::string handle = "firn: assertion failed: core_";
  CHECK(begins(last_words([&] {
                 auto moved = std::move(words);
                 static_cast<void>(words.insert(1, "one").wait());  // NOLINT: that is the point
               }),
               handle));
  CHECK(begins(last_words([&] {
                 Domain moved = std::move(domain);
                 static_cast<void>(domain.begin().wait());  // NOLINT: that is the point
               }),
               handle));
}

TEST_CASE("domain: posting to an executor that was moved from dies with the text of an assertion",
          "[domain]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto executor = firn::Executor::create().value();
  CHECK(begins(last_words([&] {
                 auto moved = std::move(executor);
                 auto insert = words.insert(1, "one");
                 static_cast<void>(insert.post(executor));  // NOLINT: that is the point
               }),
               "firn: assertion failed: executor.core_"));
}

TEST_CASE("domain: asking for what is not there yet dies with the text of an assertion",
          "[domain]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  CHECK(begins(last_words([&] {
                 auto cursor = words.cursor();
                 static_cast<void>(cursor.key());
               }),
               "firn: assertion failed: at_pair()"));
  CHECK(begins(last_words([&] { static_cast<void>(words.lookup(1).result()); }),
               "firn: assertion failed: done()"));
}
