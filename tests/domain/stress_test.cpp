// Many threads on the tables of one domain, for the thread sanitizer as well.
#include "support/light.hpp"

#include <array>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

using namespace firn::test;
using firn::Domain;

namespace {

constexpr int thread_count = 4;

template <class Body>
void run_threads(const Body& body) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < thread_count; ++thread) threads.emplace_back(body, thread);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

// Every record names its key and who wrote it; threads own the keys that leave their number over.
TEST_CASE("lookup: many threads on one table find whole records and their own writes",
          "[lookup][stress]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  constexpr std::uint64_t key_count = 200;
  std::array<std::map<std::uint64_t, std::string>, thread_count> models;
  std::atomic<int> wrong_count{0};
  run_threads([&](int thread) {
    auto table = words;
    auto& model = models[static_cast<std::size_t>(thread)];
    std::mt19937_64 random(static_cast<std::uint64_t>(thread));
    for (int step = 0; step < 20'000; ++step) {
      const std::uint64_t any_key = random() % key_count;
      const std::uint64_t key =
          any_key / thread_count * thread_count + static_cast<std::uint64_t>(thread);
      std::string record = std::to_string(key) + ":" + std::string(random() % 100, 'r');
      const bool present = model.contains(key);
      switch (random() % 7) {
        case 0:
          if (table.insert(key, record).wait().has_value() == present) ++wrong_count;
          if (!present) model[key] = record;
          break;
        case 1:
          if (!table.put(key, record).wait()) ++wrong_count;
          model[key] = record;
          break;
        case 2:
          if (table.update(key, record).wait().has_value() != present) ++wrong_count;
          if (present) model[key] = record;
          break;
        case 3:
          if (table.erase(key, firn::Expect::present).wait().has_value() != present) {
            ++wrong_count;
          }
          model.erase(key);
          break;
        case 4: {
          const auto looked = table.lookup(key).wait().value();
          if (looked.has_value() != present || (present && *looked != model[key])) ++wrong_count;
          break;
        }
        case 5: {
          const auto looked = table.lookup(any_key).wait().value();
          if (looked && !looked->starts_with(std::to_string(any_key) + ":")) ++wrong_count;
          break;
        }
        default: {
          auto cursor = table.cursor({.lower = any_key});
          std::uint64_t before = 0;
          for (int move = 0; move < 10 && cursor.next().wait().value(); ++move) {
            if (move > 0 && cursor.key() <= before) ++wrong_count;
            before = cursor.key();
            if (!cursor.record().starts_with(std::to_string(before) + ":")) ++wrong_count;
          }
          break;
        }
      }
    }
  });
  REQUIRE(wrong_count == 0);
  std::map<std::uint64_t, std::string> all;
  for (const auto& model : models) all.insert(model.begin(), model.end());
  REQUIRE(contents(words) == all);
  REQUIRE(domain.statistics().pair_count == all.size());
}

TEST_CASE("lookup: inserts of one key by many threads succeed once", "[lookup][stress]") {
  Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  std::atomic<std::uint64_t> success_count{0};
  run_threads([&](int thread) {
    auto table = words;
    for (std::uint64_t key = 0; key < 3000; ++key) {
      if (table.insert(key, std::to_string(thread)).wait()) ++success_count;
    }
  });
  REQUIRE(success_count == 3000);
  REQUIRE(contents(words).size() == 3000);
}

TEST_CASE("sack: many threads get different addresses", "[sack][stress]") {
  Domain domain = open_domain();
  auto notes = create<NoteType>(domain, "notes");
  std::array<std::vector<firn::Address>, thread_count> given;
  run_threads([&](int thread) {
    auto table = notes;
    for (int i = 0; i < 2000; ++i) {
      const auto address = table.insert(std::to_string(thread)).wait();
      if (address.has_value()) given[static_cast<std::size_t>(thread)].push_back(*address);
    }
  });
  std::map<firn::Address, std::string> expected;
  for (std::size_t thread = 0; thread < thread_count; ++thread) {
    REQUIRE(given[thread].size() == 2000);
    for (const auto address : given[thread]) expected[address] = std::to_string(thread);
  }
  REQUIRE(contents(notes) == expected);
}

// Threads race to create, open, use and destroy tables of the same few names.
TEST_CASE("table destroy: by many threads at once each table goes once",
          "[table-destroy][stress]") {
  Domain domain = open_domain();
  std::atomic<int> wrong_count{0};
  std::atomic<int> created_count{0};
  std::atomic<int> destroyed_count{0};
  run_threads([&](int thread) {
    std::mt19937_64 random(static_cast<std::uint64_t>(thread));
    for (int step = 0; step < 3000; ++step) {
      const std::string name(1, static_cast<char>('a' + random() % 3));
      auto made = domain.create_table<WordType>(name, volatile_table()).wait();
      if (made.has_value()) ++created_count;
      auto opened = domain.open_table<WordType>(name).wait();
      if (!opened.has_value()) {
        if (error_of(opened) != "not_found") ++wrong_count;
        continue;
      }
      const auto put = opened->put(random() % 10, "record").wait();
      if (!put && error_of(put) != "invalid_state") ++wrong_count;
      const auto force = random() % 2 == 0 ? firn::Force::yes : firn::Force::no;
      const auto destroyed = domain.destroy_table(*std::move(opened), force).wait();
      if (destroyed.has_value()) {
        ++destroyed_count;
      } else if (error_of(destroyed) != "busy" && error_of(destroyed) != "invalid_state") {
        ++wrong_count;
      }
    }
  });
  REQUIRE(wrong_count == 0);
  const auto left = domain.tables().wait().value();
  REQUIRE(created_count == destroyed_count + static_cast<int>(left.size()));
  REQUIRE(domain.statistics().table_count == left.size());
}

TEST_CASE("follow: against a table that is destroyed meanwhile finds it or says not_found",
          "[follow][stress]") {
  Domain domain = open_domain();
  std::atomic<int> wrong_count{0};
  std::atomic<std::uint64_t> current{0};
  std::atomic<bool> stop{false};
  std::thread follower([&] {
    while (!stop.load()) {
      const std::uint64_t id = current.load();
      if (id == 0) continue;
      const auto ref = firn::Ref<WordType>::make(id, 1).value();
      const auto followed = domain.follow(ref).wait();
      const bool right = followed.has_value() ? (!followed->has_value() || **followed == "one")
                                              : error_of(followed) == "not_found";
      if (!right) ++wrong_count;
    }
  });
  for (int round = 0; round < 3000; ++round) {
    auto words = domain.create_table<WordType>("words", volatile_table()).wait();
    if (!words.has_value() || !words->insert(1, "one").wait()) ++wrong_count;
    current = words->id();
    if (!domain.destroy_table(*std::move(words), firn::Force::yes).wait()) ++wrong_count;
  }
  stop = true;
  follower.join();
  REQUIRE(wrong_count == 0);
}
