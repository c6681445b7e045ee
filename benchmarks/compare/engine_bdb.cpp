// Berkeley DB 5.3: a B-tree. Without a log as its Concurrent Data Store, which many threads may use
// with one writer at a time; with one as its Transactional Data Store.
#include <db.h>

#include <array>
#include <vector>

#include <fmt/format.h>

#include "engine.hpp"

namespace comparison {
namespace {

void expect_ok(int code, std::string_view what) {
  if (code != 0) [[unlikely]] {
    stop(what, db_strerror(code));
  }
}
// The library takes pointers to what it only reads.
DBT input(std::string_view text) {
  DBT entry{};
  entry.data = const_cast<char*>(text.data());
  entry.size = static_cast<std::uint32_t>(text.size());
  return entry;
}
DBT output(std::vector<char>& buffer) {
  DBT entry{};
  entry.data = buffer.data();
  entry.ulen = static_cast<std::uint32_t>(buffer.size());
  entry.flags = DB_DBT_USERMEM;
  return entry;
}
std::string_view view(const DBT& entry) {
  return {static_cast<const char*>(entry.data), entry.size};
}

class BdbSession final : public Session {
 public:
  BdbSession(DB_ENV* environment, DB* table, const Settings& settings)
      : environment_(environment),
        table_(table),
        key_(key_size),
        value_(settings.shape.value_size) {}

  bool get(std::string_view key, ValueCheck& check) override {
    DBT wanted = input(key);
    DBT found = output(value_);
    int code = 0;
    do {
      code = table_->get(table_, nullptr, &wanted, &found, 0);
    } while (code == DB_LOCK_DEADLOCK);
    if (code == DB_NOTFOUND) return false;
    expect_ok(code, "get");
    check.see(view(found));
    return true;
  }
  void put(std::string_view key, std::string_view value) override {
    DBT where = input(key);
    DBT what = input(value);
    int code = 0;
    do {
      code = table_->put(table_, nullptr, &where, &what, 0);
    } while (code == DB_LOCK_DEADLOCK);
    expect_ok(code, "put");
  }
  std::uint64_t scan(std::string_view key, std::uint64_t count, PairCheck& check) override {
    DBC* cursor = nullptr;
    expect_ok(table_->cursor(table_, nullptr, &cursor, 0), "cursor");
    std::copy(key.begin(), key.end(), key_.begin());
    DBT at = output(key_);
    at.size = static_cast<std::uint32_t>(key.size());
    DBT found = output(value_);
    std::uint64_t seen = 0;
    int code = cursor->get(cursor, &at, &found, key.empty() ? DB_FIRST : DB_SET_RANGE);
    while (code == 0) {
      check.see(view(at), view(found));
      if (++seen == count) break;
      code = cursor->get(cursor, &at, &found, DB_NEXT);
    }
    expect_ok(cursor->close(cursor), "cursor");
    if (code != DB_NOTFOUND) expect_ok(code, "scan");
    return seen;
  }
  void transact(std::string_view key, std::string_view value) override {
    DBT where = input(key);
    DBT what = input(value);
    while (true) {
      DB_TXN* transaction = nullptr;
      expect_ok(environment_->txn_begin(environment_, nullptr, &transaction, 0), "begin");
      const int code = table_->put(table_, transaction, &where, &what, 0);
      if (code == 0) return expect_ok(transaction->commit(transaction, 0), "commit");
      expect_ok(transaction->abort(transaction), "abort");
      if (code != DB_LOCK_DEADLOCK) expect_ok(code, "put");
    }
  }

 private:
  DB_ENV* const environment_;
  DB* const table_;
  std::vector<char> key_;
  std::vector<char> value_;
};

class BdbEngine final : public Engine {
 public:
  explicit BdbEngine(const Settings& settings)
      : settings_(settings), logged_(settings.durability != Durability::none) {
    // The library itself adds a quarter to caches below 500 MB.
    constexpr std::uint64_t small_cache = 500'000'000;
    const std::uint64_t cache =
        settings.budget_bytes < small_cache ? settings.budget_bytes / 5 * 4 : settings.budget_bytes;
    expect_ok(db_env_create(&environment_, 0), "environment");
    expect_ok(environment_->set_cachesize(environment_, static_cast<std::uint32_t>(cache >> 30),
                                          static_cast<std::uint32_t>(cache & ((1U << 30) - 1)), 1),
              "cache");
    std::uint32_t flags = DB_CREATE | DB_PRIVATE | DB_THREAD | DB_INIT_MPOOL;
    if (logged_) {
      flags |= DB_INIT_TXN | DB_INIT_LOCK | DB_INIT_LOG;
      expect_ok(environment_->set_lk_detect(environment_, DB_LOCK_DEFAULT), "deadlocks");
      if (settings.durability == Durability::async) {
        expect_ok(environment_->set_flags(environment_, DB_TXN_WRITE_NOSYNC, 1), "no sync");
      }
    } else {
      flags |= DB_INIT_CDB;
    }
    expect_ok(environment_->open(environment_, settings.directory.c_str(), flags, 0644), "open");
    expect_ok(db_create(&table_, environment_, 0), "table");
    expect_ok(table_->open(table_, nullptr, "pairs.db", nullptr, DB_BTREE,
                           DB_CREATE | DB_THREAD | (logged_ ? DB_AUTO_COMMIT : 0U), 0644),
              "open table");
  }
  ~BdbEngine() override {
    expect_ok(table_->close(table_, 0), "close table");
    expect_ok(environment_->close(environment_, 0), "close");
  }

  std::unique_ptr<Session> session() override {
    return std::make_unique<BdbSession>(environment_, table_, settings_);
  }
  void flush() override {
    if (logged_) {
      expect_ok(environment_->txn_checkpoint(environment_, 0, 0, DB_FORCE), "checkpoint");
    } else {
      expect_ok(table_->sync(table_, 0), "sync");
    }
  }

 private:
  const Settings settings_;
  const bool logged_;
  DB_ENV* environment_ = nullptr;
  DB* table_ = nullptr;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const Settings& settings) {
  return std::make_unique<BdbEngine>(settings);
}

std::string engine_version() {
  return fmt::format("{}.{}.{}", DB_VERSION_MAJOR, DB_VERSION_MINOR, DB_VERSION_PATCH);
}

}  // namespace comparison
