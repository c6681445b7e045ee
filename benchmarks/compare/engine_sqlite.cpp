// SQLite: a table without row ids, keyed by bytes, in WAL mode. Each session has a connection of
// its own; writers take turns in the process, which costs less than its busy handler.
#include <sqlite3.h>

#include <algorithm>
#include <mutex>

#include <fmt/format.h>

#include "engine.hpp"

namespace comparison {
namespace {

class Connection {
 public:
  explicit Connection(const Settings& settings) {
    const std::string path = settings.directory + "/pairs.sqlite";
    constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    const int code = sqlite3_open_v2(path.c_str(), &handle_, flags, nullptr);
    if (code != SQLITE_OK) stop("open", sqlite3_errstr(code));
    expect_ok(sqlite3_busy_timeout(handle_, 60'000), "busy timeout");
    const char* const synchronous = settings.durability == Durability::none    ? "OFF"
                                    : settings.durability == Durability::async ? "NORMAL"
                                                                               : "FULL";
    run(fmt::format("PRAGMA journal_mode=WAL; PRAGMA synchronous={};", synchronous));
    // In memory all connections share the map; otherwise each has its part of the budget.
    const std::uint64_t cache_kib = settings.budget_bytes / settings.threads_max / 1024;
    if (settings.in_memory) run(fmt::format("PRAGMA mmap_size={};", settings.budget_bytes));
    run(fmt::format("PRAGMA cache_size=-{};", std::max<std::uint64_t>(cache_kib, 64)));
  }
  ~Connection() { sqlite3_close(handle_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void run(const std::string& text) {
    expect_ok(sqlite3_exec(handle_, text.c_str(), nullptr, nullptr, nullptr), text);
  }
  [[nodiscard]] sqlite3_stmt* prepare(const char* text) {
    sqlite3_stmt* statement = nullptr;
    expect_ok(sqlite3_prepare_v3(handle_, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr),
              text);
    return statement;
  }
  void expect_ok(int code, std::string_view what) {
    if (code != SQLITE_OK && code != SQLITE_DONE) [[unlikely]] {
      stop(what, sqlite3_errmsg(handle_));
    }
  }

 private:
  sqlite3* handle_ = nullptr;
};

class SqliteSession final : public Session {
 public:
  SqliteSession(const Settings& settings, std::mutex& writing)
      : connection_(settings),
        writing_(writing),
        get_(connection_.prepare("SELECT value FROM pairs WHERE key = ?")),
        put_(connection_.prepare("INSERT OR REPLACE INTO pairs VALUES (?, ?)")),
        scan_(connection_.prepare("SELECT key, value FROM pairs WHERE key >= ? ORDER BY key")),
        begin_(connection_.prepare("BEGIN IMMEDIATE")),
        commit_(connection_.prepare("COMMIT")) {}
  ~SqliteSession() override {
    for (sqlite3_stmt* statement : {get_, put_, scan_, begin_, commit_}) {
      sqlite3_finalize(statement);
    }
  }

  bool get(std::string_view key, ValueCheck& check) override {
    bind(get_, 1, key);
    const int code = sqlite3_step(get_);
    if (code == SQLITE_ROW) check.see(column(get_, 0));
    const int ended = sqlite3_reset(get_);
    if (code != SQLITE_ROW) connection_.expect_ok(code, "get");
    connection_.expect_ok(ended, "get");
    return code == SQLITE_ROW;
  }
  void put(std::string_view key, std::string_view value) override {
    const std::lock_guard lock(writing_);
    insert(key, value);
  }
  std::uint64_t scan(std::string_view key, std::uint64_t count, PairCheck& check) override {
    bind(scan_, 1, key);
    std::uint64_t seen = 0;
    int code = SQLITE_DONE;
    while (seen < count && (code = sqlite3_step(scan_)) == SQLITE_ROW) {
      check.see(column(scan_, 0), column(scan_, 1));
      ++seen;
    }
    connection_.expect_ok(sqlite3_reset(scan_), "scan");
    return seen;
  }
  void load(std::string_view key, std::string_view value) override {
    if (batch_count_ == 0) run(begin_);
    insert(key, value);
    if (++batch_count_ == load_batch_pairs) finish_load();
  }
  void finish_load() override {
    if (batch_count_ > 0) run(commit_);
    batch_count_ = 0;
  }
  void transact(std::string_view key, std::string_view value) override {
    const std::lock_guard lock(writing_);
    run(begin_);
    insert(key, value);
    run(commit_);
  }

 private:
  static std::string_view column(sqlite3_stmt* statement, int index) {
    const auto* const data = static_cast<const char*>(sqlite3_column_blob(statement, index));
    return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement, index))};
  }
  void bind(sqlite3_stmt* statement, int index, std::string_view bytes) {
    // Not null for an empty one, which would compare with nothing.
    const char* const data = bytes.empty() ? "" : bytes.data();
    connection_.expect_ok(
        sqlite3_bind_blob(statement, index, data, static_cast<int>(bytes.size()), SQLITE_STATIC),
        "bind");
  }
  void run(sqlite3_stmt* statement) {
    connection_.expect_ok(sqlite3_step(statement), "step");
    connection_.expect_ok(sqlite3_reset(statement), "step");
  }
  void insert(std::string_view key, std::string_view value) {
    bind(put_, 1, key);
    bind(put_, 2, value);
    run(put_);
  }

  Connection connection_;
  std::mutex& writing_;
  sqlite3_stmt* const get_;
  sqlite3_stmt* const put_;
  sqlite3_stmt* const scan_;
  sqlite3_stmt* const begin_;
  sqlite3_stmt* const commit_;
  unsigned batch_count_ = 0;
};

class SqliteEngine final : public Engine {
 public:
  explicit SqliteEngine(const Settings& settings)
      : settings_(settings), connection_(configured(settings)) {
    connection_.run(
        "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) "
        "WITHOUT ROWID;");
  }

  std::unique_ptr<Session> session() override {
    return std::make_unique<SqliteSession>(settings_, writing_);
  }
  void flush() override { connection_.run("PRAGMA wal_checkpoint(TRUNCATE);"); }

 private:
  // As its documentation recommends where each connection stays on its thread.
  static const Settings& configured(const Settings& settings) {
    expect(sqlite3_config(SQLITE_CONFIG_MULTITHREAD) == SQLITE_OK &&
               sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) == SQLITE_OK,
           "cannot configure SQLite");
    return settings;
  }
  const Settings settings_;
  std::mutex writing_;
  Connection connection_;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const Settings& settings) {
  return std::make_unique<SqliteEngine>(settings);
}

std::string engine_version() { return sqlite3_libversion(); }

}  // namespace comparison
