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

std::vector<Partition> open_partitions(std::size_t count, std::uint64_t budget = 1 << 20) {
  std::vector<Partition> partitions;
  for (std::size_t i = 0; i < count; ++i) {
    Domain domain = open_light("partition" + std::to_string(i), budget);
    auto words = create<WordType>(domain, "words");
    partitions.push_back({std::move(domain), std::move(words)});
  }
  return partitions;
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
  auto partitions = open_partitions(64);
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
  Domain again = open_light("partition0");
  auto words = create<WordType>(again, "words");
  REQUIRE(contents(words).empty());
  REQUIRE(error_of(Domain::open("partition1", {.type = firn::DomainType::light}).wait()) == "busy");
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
        const std::string path = std::to_string(thread) + "/" + std::to_string(round);
        auto domain =
            Domain::open(path, {.type = firn::DomainType::light, .memory_budget = 4 << 20}).wait();
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
