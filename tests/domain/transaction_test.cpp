// Transactions where the domain ignores them: updates apply at once, notices come at commit.
#include "support/light.hpp"

using namespace firn::test;
using firn::Domain;
using firn::Persisted;
using firn::Result;
using firn::Transaction;

TEST_CASE("transaction: updates in a light domain apply at once", "[domain]") {
  Domain domain = open_light();
  auto words = create<WordType>(domain, "words");
  auto transaction = domain.begin().wait().value();
  REQUIRE(words.insert(transaction, 1, "one").wait());
  REQUIRE(found(words, 1) == "one");
  REQUIRE(transaction.commit().wait());
  REQUIRE(found(words, 1) == "one");
}

TEST_CASE("transaction: commit twice is invalid_state", "[domain]") {
  Domain domain = open_light();
  auto transaction = domain.begin().wait().value();
  REQUIRE(transaction.commit().wait());
  REQUIRE(error_of(transaction.commit().wait()) == "invalid_state");
  REQUIRE(error_of(transaction.abort().wait()) == "invalid_state");
}

TEST_CASE("transaction: a closed one takes no more calls", "[domain]") {
  Domain domain = open_light();
  auto words = create<WordType>(domain, "words");
  auto transaction = domain.begin().wait().value();
  REQUIRE(transaction.commit().wait());
  CHECK(error_of(words.insert(transaction, 1, "one").wait()) == "invalid_state");
  CHECK(error_of(words.lookup(transaction, 1).wait()) == "invalid_state");
  CHECK(error_of(words.cursor(transaction).status()) == "invalid_state");
  CHECK(contents(words).empty());
}

TEST_CASE("transaction: abortable is unsupported in a light domain", "[domain]") {
  Domain domain = open_light();
  const auto begun = domain.begin({.abortable = true}).wait();
  REQUIRE(error_of(begun) == "unsupported");
  REQUIRE(begun.error().message().find("abort") != std::string::npos);
  REQUIRE(domain.close().wait());
}

TEST_CASE("transaction: one that was not begun abortable refuses abort and stays open",
          "[domain]") {
  Domain domain = open_light();
  auto transaction = domain.begin().wait().value();
  REQUIRE(error_of(transaction.abort().wait()) == "invalid_state");
  REQUIRE(transaction.commit().wait());
}

TEST_CASE("transaction: an update in a read-only one is invalid_state", "[domain]") {
  Domain domain = open_light();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  REQUIRE(words.insert(1, "one").wait());
  auto transaction = domain.begin({.read_only = true}).wait().value();
  CHECK(error_of(words.insert(transaction, 2, "x").wait()) == "invalid_state");
  CHECK(error_of(words.put(transaction, 1, "x").wait()) == "invalid_state");
  CHECK(error_of(words.update(transaction, 1, "x").wait()) == "invalid_state");
  CHECK(error_of(words.erase(transaction, 1).wait()) == "invalid_state");
  CHECK(error_of(notes.insert(transaction, "x").wait()) == "invalid_state");
  CHECK(words.lookup(transaction, 1).wait().value() == "one");
  CHECK(transaction.commit().wait());
  CHECK(contents(words) == std::map<std::uint64_t, std::string>{{1, "one"}});
}

TEST_CASE("transaction: the notice comes at commit and exactly once", "[domain]") {
  Domain domain = open_light();
  struct Notices {
    int count = 0;
    std::uint64_t epoch = 0;
  } notices;
  auto transaction = domain.begin({.notify = true}).wait().value();
  REQUIRE(transaction.on_persistent([&notices](Result<Persisted> outcome) noexcept {
    ++notices.count;
    notices.epoch = outcome.has_value() ? outcome->epoch : 0;
  }));
  REQUIRE(transaction.force());
  REQUIRE(notices.count == 0);
  REQUIRE(transaction.commit().wait());
  REQUIRE(notices.count == 1);
  REQUIRE(notices.epoch > 0);
  REQUIRE(transaction.force());
  REQUIRE(transaction.persistent().wait().value().epoch == notices.epoch);
  REQUIRE(error_of(transaction.commit().wait()) == "invalid_state");
  transaction = Transaction();
  REQUIRE(notices.count == 1);
}

TEST_CASE("transaction: notices come in epoch order", "[domain]") {
  Domain domain = open_light();
  std::uint64_t before = 0;
  for (int i = 0; i < 10; ++i) {
    auto transaction = domain.begin({.notify = true}).wait().value();
    REQUIRE(transaction.commit().wait());
    const std::uint64_t epoch = transaction.persistent().wait().value().epoch;
    REQUIRE(epoch > before);
    before = epoch;
  }
}

TEST_CASE("transaction: a second callback is invalid_state and the first one is kept", "[domain]") {
  Domain domain = open_light();
  int first = 0;
  int second = 0;
  auto transaction = domain.begin({.notify = true}).wait().value();
  REQUIRE(transaction.on_persistent([&first](Result<Persisted>) noexcept { ++first; }));
  REQUIRE(error_of(transaction.on_persistent(
              [&second](Result<Persisted>) noexcept { ++second; })) == "invalid_state");
  REQUIRE(transaction.commit().wait());
  REQUIRE(first == 1);
  REQUIRE(second == 0);
}

TEST_CASE("transaction: persistent before commit is invalid_state", "[domain]") {
  Domain domain = open_light();
  auto transaction = domain.begin({.notify = true}).wait().value();
  REQUIRE(error_of(transaction.persistent().wait()) == "invalid_state");
  REQUIRE(transaction.commit().wait());
  REQUIRE(transaction.persistent().wait());
  REQUIRE(error_of(transaction.on_persistent([](Result<Persisted>) noexcept {})) ==
          "invalid_state");
}

TEST_CASE("transaction: without notify nothing tells of persistence", "[domain]") {
  Domain domain = open_light();
  auto transaction = domain.begin().wait().value();
  REQUIRE(error_of(transaction.on_persistent([](Result<Persisted>) noexcept {})) ==
          "invalid_state");
  REQUIRE(transaction.commit().wait());
  REQUIRE(error_of(transaction.persistent().wait()) == "invalid_state");
}

TEST_CASE("transaction: calls on an empty handle are invalid_state", "[domain]") {
  Domain domain = open_light();
  auto transaction = domain.begin({.notify = true}).wait().value();
  auto moved = std::move(transaction);
  CHECK(error_of(transaction.commit().wait()) == "invalid_state");
  CHECK(error_of(transaction.abort().wait()) == "invalid_state");
  CHECK(error_of(transaction.force()) == "invalid_state");
  CHECK(error_of(transaction.persistent().wait()) == "invalid_state");
  CHECK(error_of(transaction.on_persistent([](Result<Persisted>) noexcept {})) == "invalid_state");
  CHECK(moved.commit().wait());
}
