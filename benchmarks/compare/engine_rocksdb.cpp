// RocksDB, with the settings of its tuning guide: Bloom filters of 10 bits, memtables charged to
// the block cache (index and filters too where memory is short), dynamic level sizes, direct I/O.
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice.h>
#include <rocksdb/table.h>
#include <rocksdb/version.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <thread>

#include "engine.hpp"

namespace comparison {
namespace {

void expect_ok(const rocksdb::Status& status, std::string_view what) {
  if (!status.ok()) [[unlikely]] {
    stop(what, status.ToString());
  }
}
rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

class RocksSession final : public Session {
 public:
  RocksSession(rocksdb::DB& database, Durability durability) : database_(database) {
    write_options_.disableWAL = durability == Durability::none;
    write_options_.sync = durability == Durability::sync;
  }

  bool get(std::string_view key, ValueCheck& check) override {
    value_.Reset();
    const rocksdb::Status status =
        database_.Get(read_options_, database_.DefaultColumnFamily(), slice(key), &value_);
    if (status.IsNotFound()) return false;
    expect_ok(status, "get");
    check.see(view(value_));
    return true;
  }
  void put(std::string_view key, std::string_view value) override {
    expect_ok(database_.Put(write_options_, slice(key), slice(value)), "put");
  }
  std::uint64_t scan(std::string_view key, std::uint64_t count, PairCheck& check) override {
    const std::unique_ptr<rocksdb::Iterator> at(database_.NewIterator(read_options_));
    std::uint64_t seen = 0;
    for (at->Seek(slice(key)); at->Valid(); at->Next()) {
      check.see(view(at->key()), view(at->value()));
      if (++seen == count) break;
    }
    expect_ok(at->status(), "scan");
    return seen;
  }
  void load(std::string_view key, std::string_view value) override {
    expect_ok(batch_.Put(slice(key), slice(value)), "batch");
    if (batch_.Count() == load_batch_pairs) finish_load();
  }
  void finish_load() override {
    expect_ok(database_.Write(write_options_, &batch_), "write");
    batch_.Clear();
  }

 private:
  rocksdb::DB& database_;
  rocksdb::ReadOptions read_options_;
  rocksdb::WriteOptions write_options_;
  rocksdb::PinnableSlice value_;
  rocksdb::WriteBatch batch_;
};

class RocksEngine final : public Engine {
 public:
  explicit RocksEngine(const Settings& settings) : durability_(settings.durability) {
    constexpr std::uint64_t write_buffer_max = 64 << 20;
    const std::uint64_t write_buffer =
        std::clamp<std::uint64_t>(settings.budget_bytes / 8, 1 << 20, write_buffer_max);
    const auto cache = rocksdb::NewLRUCache(settings.budget_bytes);
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    table.cache_index_and_filter_blocks = !settings.in_memory;
    table.pin_l0_filter_and_index_blocks_in_cache = true;
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.write_buffer_size = write_buffer;
    options.max_write_buffer_number = 2;
    options.write_buffer_manager =
        std::make_shared<rocksdb::WriteBufferManager>(2 * write_buffer, cache);
    options.level_compaction_dynamic_level_bytes = true;
    options.max_background_jobs = 2;
    options.bytes_per_sync = 1 << 20;
    options.use_direct_reads = true;
    options.use_direct_io_for_flush_and_compaction = true;
    rocksdb::DB* database = nullptr;
    expect_ok(rocksdb::DB::Open(options, settings.directory, &database), "open");
    database_.reset(database);
  }
  ~RocksEngine() override { expect_ok(database_->Close(), "close"); }

  std::unique_ptr<Session> session() override {
    return std::make_unique<RocksSession>(*database_, durability_);
  }
  // The memtables, and what compactions are due after them.
  void flush() override {
    expect_ok(database_->Flush(rocksdb::FlushOptions()), "flush");
    while (property("rocksdb.compaction-pending") + property("rocksdb.num-running-compactions") +
               property("rocksdb.num-running-flushes") >
           0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

 private:
  std::uint64_t property(const char* name) const {
    std::uint64_t value = 0;
    expect(database_->GetIntProperty(name, &value), "no property", name);
    return value;
  }
  const Durability durability_;
  std::unique_ptr<rocksdb::DB> database_;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const Settings& settings) {
  return std::make_unique<RocksEngine>(settings);
}

std::string engine_version() { return rocksdb::GetRocksVersionAsString(); }

}  // namespace comparison
