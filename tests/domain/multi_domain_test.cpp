// Many domains in one process: partitions that share nothing.
#include "support/light.hpp"

#include <atomic>
#include <thread>
#include <vector>

using namespace firn::test;
using firn::Domain;

namespace {

struct Partition {
  Domain domain;
  firn::Table<WordType> words;
};

template <class Open>
std::vector<Partition> open_partitions(std::size_t count, Open&& open) {
  std::vector<Partition> partitions;
  for (std::size_t i = 0; i < count; ++i) {
    Domain domain = open("partition" + std::to_string(i), std::uint64_t{1} << 20);
    auto words = create<WordType>(domain, "words");
    partitions.push_back({std::move(domain), std::move(words)});
  }
  return partitions;
}

std::vector<Partition> open_partitions(std::size_t count) {
  return open_partitions(count, [](const std::string& name, std::uint64_t budget) {
    return open_domain(name, budget);
  });
}

}  // namespace

TEST_CASE("multi-domain: 64 domains of equal table names hold their own pairs", "[multi-domain]") {
  auto partitions = open_partitions(64);
  for (std::uint64_t i = 0; i < 64; ++i) {
    for (std::uint64_t key = 0; key <= i; ++key) {
      REQUIRE(partitions[i].words.insert(key, std::to_string(i)).wait());
    }
  }
  for (std::uint64_t i = 0; i < 64; ++i) {
    REQUIRE(partitions[i].domain.statistics().pair_count == i + 1);
    REQUIRE(found(partitions[i].words, i) == std::to_string(i));
    REQUIRE(found(partitions[i].words, i + 1) == std::nullopt);
  }
}

TEST_CASE("multi-domain: the failure of one leaves the rest working", "[multi-domain]") {
  auto partitions = open_partitions(
      64, [](const std::string& name, std::uint64_t budget) { return open_light(name, budget); });
  Partition& failing = partitions[17];
  std::uint64_t filled = 0;
  while (failing.words.insert(filled, std::string(10'000, 'r')).wait()) ++filled;
  REQUIRE(error_of(failing.words.insert(filled, std::string(10'000, 'r')).wait()) == "no_memory");
  for (std::size_t i = 0; i < 64; ++i) {
    if (i == 17) continue;
    REQUIRE(partitions[i].words.insert(1, std::string(10'000, 'r')).wait());
    REQUIRE(found(partitions[i].words, 1)->size() == 10'000);
  }
  REQUIRE(found(failing.words, 0)->size() == 10'000);
}

TEST_CASE("multi-domain: any number are opened or closed at run time", "[multi-domain]") {
  auto partitions = open_partitions(64);
  for (std::size_t i = 0; i < 64; i += 2) REQUIRE(partitions[i].domain.close().wait());
  for (std::size_t i = 0; i < 64; ++i) {
    REQUIRE(error_of(partitions[i].words.insert(1, "r").wait()) ==
            (i % 2 == 0 ? "invalid_state" : ""));
  }
  Domain again = open_domain("partition0");
  const bool persists = includes(again.capabilities(), firn::Capability::persistent);
  auto words = persists ? open<WordType>(again, "words") : create<WordType>(again, "words");
  REQUIRE(contents(words).empty());
  const auto second =
      Domain::open(path_under_test("partition1"), domain_under_test().options()).wait();
  REQUIRE(error_of(second) == "busy");
}

TEST_CASE("multi-domain: a reference means nothing in another one", "[multi-domain]") {
  auto partitions = open_partitions(2);
  REQUIRE(partitions[0].words.insert(1, "one").wait());
  auto notes = create<NoteType>(partitions[1].domain, "notes");
  const auto ref = partitions[0].words.ref(1).value();
  REQUIRE(partitions[0].domain.follow(ref).wait().value() == "one");
  REQUIRE(partitions[1].domain.follow(ref).wait().value() == std::nullopt);
}

TEST_CASE("multi-domain: several threads each run domains of their own", "[multi-domain]") {
  std::atomic<int> wrong_count{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([thread, &wrong_count] {
      for (int round = 0; round < 8; ++round) {
        const std::string path =
            path_under_test(std::to_string(thread) + "/" + std::to_string(round));
        firn::DomainOptions options = domain_under_test().options();
        options.memory_budget = 4 << 20;
        auto domain = Domain::open(path, options).wait();
        if (!domain.has_value()) {
          ++wrong_count;
          continue;
        }
        auto words = domain->create_table<WordType>("words", volatile_table()).wait();
        for (std::uint64_t key = 0; key < 500; ++key) {
          if (!words->insert(key, path).wait()) ++wrong_count;
        }
        for (std::uint64_t key = 0; key < 500; ++key) {
          if (words->lookup(key).wait().value() != path) ++wrong_count;
        }
        if (domain->statistics().pair_count != 500) ++wrong_count;
        if (round % 2 == 0 && !domain->close().wait()) ++wrong_count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(wrong_count == 0);
}
