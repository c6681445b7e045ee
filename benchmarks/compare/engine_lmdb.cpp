// LMDB: reads through its map, writes with pwrite, in transactions of one writer at a time. It has
// no cache of its own and no log.
#include <lmdb.h>

#include <algorithm>

#include <fmt/format.h>

#include "engine.hpp"

namespace comparison {
namespace {

void expect_ok(int code, std::string_view what) {
  if (code != MDB_SUCCESS) [[unlikely]] {
    stop(what, mdb_strerror(code));
  }
}
// The library takes pointers to what it only reads.
MDB_val value_of(std::string_view text) { return {text.size(), const_cast<char*>(text.data())}; }
std::string_view view(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

class LmdbSession final : public Session {
 public:
  LmdbSession(MDB_env* environment, MDB_dbi table, bool in_order)
      : environment_(environment), table_(table), in_order_(in_order) {}
  ~LmdbSession() override {
    if (cursor_ != nullptr) mdb_cursor_close(cursor_);
    if (reader_ != nullptr) mdb_txn_abort(reader_);
  }

  bool get(std::string_view key, ValueCheck& check) override {
    const Reading reading(*this);
    MDB_val wanted = value_of(key);
    MDB_val found;
    const int code = mdb_get(reader_, table_, &wanted, &found);
    if (code == MDB_NOTFOUND) return false;
    expect_ok(code, "get");
    check.see(view(found));
    return true;
  }
  void put(std::string_view key, std::string_view value) override {
    MDB_txn* transaction = nullptr;
    expect_ok(mdb_txn_begin(environment_, nullptr, 0, &transaction), "begin");
    put_in(transaction, key, value, 0);
    expect_ok(mdb_txn_commit(transaction), "commit");
  }
  std::uint64_t scan(std::string_view key, std::uint64_t count, PairCheck& check) override {
    const Reading reading(*this);
    if (cursor_ == nullptr) {
      expect_ok(mdb_cursor_open(reader_, table_, &cursor_), "cursor");
    } else {
      expect_ok(mdb_cursor_renew(reader_, cursor_), "cursor");
    }
    MDB_val at = value_of(key);
    MDB_val found;
    std::uint64_t seen = 0;
    int code = mdb_cursor_get(cursor_, &at, &found, key.empty() ? MDB_FIRST : MDB_SET_RANGE);
    while (code == MDB_SUCCESS) {
      check.see(view(at), view(found));
      if (++seen == count) break;
      code = mdb_cursor_get(cursor_, &at, &found, MDB_NEXT);
    }
    if (code != MDB_NOTFOUND) expect_ok(code, "scan");
    return seen;
  }
  void load(std::string_view key, std::string_view value) override {
    if (writer_ == nullptr) expect_ok(mdb_txn_begin(environment_, nullptr, 0, &writer_), "begin");
    put_in(writer_, key, value, in_order_ ? MDB_APPEND : 0);
    if (++batch_count_ == load_batch_pairs) finish_load();
  }
  void finish_load() override {
    if (writer_ != nullptr) expect_ok(mdb_txn_commit(writer_), "commit");
    writer_ = nullptr;
    batch_count_ = 0;
  }

 private:
  // A read transaction for as long as one call takes.
  class Reading {
   public:
    explicit Reading(LmdbSession& session) : session_(session) {
      if (session.reader_ != nullptr) {
        expect_ok(mdb_txn_renew(session.reader_), "renew");
      } else {
        expect_ok(mdb_txn_begin(session.environment_, nullptr, MDB_RDONLY, &session.reader_),
                  "begin");
      }
    }
    ~Reading() { mdb_txn_reset(session_.reader_); }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    LmdbSession& session_;
  };
  void put_in(MDB_txn* transaction, std::string_view key, std::string_view value, unsigned flags) {
    MDB_val where = value_of(key);
    MDB_val what = value_of(value);
    expect_ok(mdb_put(transaction, table_, &where, &what, flags), "put");
  }

  MDB_env* const environment_;
  const MDB_dbi table_;
  const bool in_order_;
  MDB_txn* reader_ = nullptr;
  MDB_cursor* cursor_ = nullptr;
  MDB_txn* writer_ = nullptr;
  unsigned batch_count_ = 0;
};

class LmdbEngine final : public Engine {
 public:
  explicit LmdbEngine(const Settings& settings)
      : in_order_(settings.shape.order == KeyOrder::sequential) {
    const std::size_t data = settings.pair_count * (key_size + settings.shape.value_size);
    unsigned flags = settings.durability == Durability::sync ? 0 : MDB_NOSYNC;
    // As its documentation says for random reads of what is larger than memory.
    if (!settings.in_memory) flags |= MDB_NORDAHEAD;
    expect_ok(mdb_env_create(&environment_), "environment");
    expect_ok(mdb_env_set_mapsize(environment_, 4 * data + (std::size_t{4} << 30)), "map size");
    expect_ok(mdb_env_set_maxreaders(environment_, settings.threads_max + 2), "readers");
    expect_ok(mdb_env_open(environment_, settings.directory.c_str(), flags, 0644), "open");
    MDB_txn* transaction = nullptr;
    expect_ok(mdb_txn_begin(environment_, nullptr, 0, &transaction), "begin");
    expect_ok(mdb_dbi_open(transaction, nullptr, MDB_CREATE, &table_), "table");
    expect_ok(mdb_txn_commit(transaction), "commit");
  }
  ~LmdbEngine() override { mdb_env_close(environment_); }

  std::unique_ptr<Session> session() override {
    return std::make_unique<LmdbSession>(environment_, table_, in_order_);
  }
  void flush() override { expect_ok(mdb_env_sync(environment_, 1), "sync"); }

 private:
  const bool in_order_;
  MDB_env* environment_ = nullptr;
  MDB_dbi table_ = 0;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const Settings& settings) {
  return std::make_unique<LmdbEngine>(settings);
}

std::string engine_version() {
  return fmt::format("{}.{}.{}", MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH);
}

}  // namespace comparison
