// WiredTiger: a B-tree of raw bytes with its cache, direct I/O for data, checkpoints every 30
// seconds, small leaves, as its documentation advises for reads of single pairs, and a cache that
// may be dirty: by default a fifth of it may, and all writes wait for eviction.
#include <wiredtiger.h>

#include <fmt/format.h>

#include "engine.hpp"

namespace comparison {
namespace {

void expect_ok(int code, std::string_view what) {
  if (code != 0) [[unlikely]] {
    stop(what, wiredtiger_strerror(code));
  }
}
WT_ITEM item(std::string_view text) {
  WT_ITEM item{};
  item.data = text.data();
  item.size = text.size();
  return item;
}
std::string_view view(const WT_ITEM& item) {
  return {static_cast<const char*>(item.data), item.size};
}

class WiredTigerSession final : public Session {
 public:
  explicit WiredTigerSession(WT_CONNECTION* connection) {
    expect_ok(connection->open_session(connection, nullptr, nullptr, &session_), "session");
    expect_ok(session_->open_cursor(session_, "table:pairs", nullptr, nullptr, &cursor_), "cursor");
  }
  ~WiredTigerSession() override { expect_ok(session_->close(session_, nullptr), "close"); }

  bool get(std::string_view key, ValueCheck& check) override {
    const WT_ITEM wanted = item(key);
    cursor_->set_key(cursor_, &wanted);
    const int code = cursor_->search(cursor_);
    if (code == WT_NOTFOUND) return false;
    expect_ok(code, "search");
    WT_ITEM found;
    expect_ok(cursor_->get_value(cursor_, &found), "value");
    check.see(view(found));
    expect_ok(cursor_->reset(cursor_), "reset");
    return true;
  }
  void put(std::string_view key, std::string_view value) override {
    expect_ok(insert(key, value), "insert");
  }
  std::uint64_t scan(std::string_view key, std::uint64_t count, PairCheck& check) override {
    int code = 0;
    if (key.empty()) {
      code = cursor_->next(cursor_);
    } else {
      const WT_ITEM wanted = item(key);
      cursor_->set_key(cursor_, &wanted);
      int where = 0;
      code = cursor_->search_near(cursor_, &where);
      if (code == 0 && where < 0) code = cursor_->next(cursor_);
    }
    std::uint64_t seen = 0;
    for (; code == 0; code = cursor_->next(cursor_)) {
      WT_ITEM at;
      WT_ITEM found;
      expect_ok(cursor_->get_key(cursor_, &at), "key");
      expect_ok(cursor_->get_value(cursor_, &found), "value");
      check.see(view(at), view(found));
      if (++seen == count) break;
    }
    if (code != WT_NOTFOUND) expect_ok(code, "scan");
    expect_ok(cursor_->reset(cursor_), "reset");
    return seen;
  }
  void transact(std::string_view key, std::string_view value) override {
    while (true) {
      expect_ok(session_->begin_transaction(session_, nullptr), "begin");
      const int code = insert(key, value);
      if (code == 0) return expect_ok(session_->commit_transaction(session_, nullptr), "commit");
      if (code != WT_ROLLBACK) expect_ok(code, "insert");
      expect_ok(session_->rollback_transaction(session_, nullptr), "rollback");
    }
  }

 private:
  // The cursor overwrites, which is its default.
  int insert(std::string_view key, std::string_view value) {
    const WT_ITEM where = item(key);
    const WT_ITEM what = item(value);
    cursor_->set_key(cursor_, &where);
    cursor_->set_value(cursor_, &what);
    return cursor_->insert(cursor_);
  }
  WT_SESSION* session_ = nullptr;
  WT_CURSOR* cursor_ = nullptr;
};

class WiredTigerEngine final : public Engine {
 public:
  explicit WiredTigerEngine(const Settings& settings) {
    const char* log = "";
    if (settings.durability == Durability::async) {
      log = ",log=(enabled=true),transaction_sync=(enabled=true,method=none)";
    } else if (settings.durability == Durability::sync) {
      log = ",log=(enabled=true),transaction_sync=(enabled=true,method=fsync)";
    }
    const std::string options = fmt::format(
        "create,cache_size={},eviction_dirty_target=80,eviction_dirty_trigger=95,"
        "direct_io=[data],checkpoint=(wait=30),session_max={}{}",
        settings.budget_bytes, settings.threads_max + 64, log);
    expect_ok(wiredtiger_open(settings.directory.c_str(), nullptr, options.c_str(), &connection_),
              "open");
    WT_SESSION* session = nullptr;
    expect_ok(connection_->open_session(connection_, nullptr, nullptr, &session), "session");
    expect_ok(session->create(session, "table:pairs",
                              "key_format=u,value_format=u,leaf_page_max=4KB,"
                              "internal_page_max=4KB"),
              "create");
    expect_ok(session->close(session, nullptr), "close");
  }
  ~WiredTigerEngine() override {
    expect_ok(connection_->close(connection_, "leak_memory=true"), "close");
  }

  std::unique_ptr<Session> session() override {
    return std::make_unique<WiredTigerSession>(connection_);
  }
  void flush() override {
    WT_SESSION* session = nullptr;
    expect_ok(connection_->open_session(connection_, nullptr, nullptr, &session), "session");
    expect_ok(session->checkpoint(session, nullptr), "checkpoint");
    expect_ok(session->close(session, nullptr), "close");
  }

 private:
  WT_CONNECTION* connection_ = nullptr;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const Settings& settings) {
  return std::make_unique<WiredTigerEngine>(settings);
}

std::string engine_version() {
  return fmt::format("{}.{}.{}", WIREDTIGER_VERSION_MAJOR, WIREDTIGER_VERSION_MINOR,
                     WIREDTIGER_VERSION_PATCH);
}

}  // namespace comparison
