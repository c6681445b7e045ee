// LevelDB with Bloom filters of 10 bits. In memory it maps its files, as it does by default; where
// memory is short it reads blocks into its cache instead, since the kernel reads ahead of maps. It
// always writes its log.
#include <fcntl.h>
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/env.h>
#include <leveldb/filter_policy.h>
#include <leveldb/options.h>
#include <leveldb/write_batch.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "engine.hpp"

namespace comparison {
namespace {

void expect_ok(const leveldb::Status& status, std::string_view what) {
  if (!status.ok()) [[unlikely]] {
    stop(what, status.ToString());
  }
}
leveldb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view view(const leveldb::Slice& slice) { return {slice.data(), slice.size()}; }

// Files that are read block by block, without reading ahead.
class BlockFile final : public leveldb::RandomAccessFile {
 public:
  explicit BlockFile(int file) : file_(file) { ::posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM); }
  ~BlockFile() override { ::close(file_); }
  leveldb::Status Read(std::uint64_t offset, std::size_t size, leveldb::Slice* result,
                       char* scratch) const override {
    const ssize_t count = ::pread(file_, scratch, size, static_cast<off_t>(offset));
    if (count < 0) return leveldb::Status::IOError("pread");
    *result = leveldb::Slice(scratch, static_cast<std::size_t>(count));
    return {};
  }

 private:
  const int file_;
};
class BlockEnvironment final : public leveldb::EnvWrapper {
 public:
  BlockEnvironment() : EnvWrapper(leveldb::Env::Default()) {}
  leveldb::Status NewRandomAccessFile(const std::string& name,
                                      leveldb::RandomAccessFile** result) override {
    const int file = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return leveldb::Status::IOError(name);
    *result = new BlockFile(file);
    return {};
  }
};

class LevelSession final : public Session {
 public:
  LevelSession(leveldb::DB& database, Durability durability) : database_(database) {
    write_options_.sync = durability == Durability::sync;
  }

  bool get(std::string_view key, ValueCheck& check) override {
    const leveldb::Status status = database_.Get(read_options_, slice(key), &value_);
    if (status.IsNotFound()) return false;
    expect_ok(status, "get");
    check.see(value_);
    return true;
  }
  void put(std::string_view key, std::string_view value) override {
    expect_ok(database_.Put(write_options_, slice(key), slice(value)), "put");
  }
  std::uint64_t scan(std::string_view key, std::uint64_t count, PairCheck& check) override {
    const std::unique_ptr<leveldb::Iterator> at(database_.NewIterator(read_options_));
    std::uint64_t seen = 0;
    for (at->Seek(slice(key)); at->Valid(); at->Next()) {
      check.see(view(at->key()), view(at->value()));
      if (++seen == count) break;
    }
    expect_ok(at->status(), "scan");
    return seen;
  }
  void load(std::string_view key, std::string_view value) override {
    batch_.Put(slice(key), slice(value));
    if (++batch_count_ == load_batch_pairs) finish_load();
  }
  void finish_load() override {
    expect_ok(database_.Write(write_options_, &batch_), "write");
    batch_.Clear();
    batch_count_ = 0;
  }

 private:
  leveldb::DB& database_;
  leveldb::ReadOptions read_options_;
  leveldb::WriteOptions write_options_;
  std::string value_;
  leveldb::WriteBatch batch_;
  unsigned batch_count_ = 0;
};

class LevelEngine final : public Engine {
 public:
  explicit LevelEngine(const Settings& settings)
      : durability_(settings.durability), filter_(leveldb::NewBloomFilterPolicy(10)) {
    constexpr std::uint64_t write_buffer_max = 64 << 20;
    const std::uint64_t write_buffer =
        std::clamp<std::uint64_t>(settings.budget_bytes / 8, 1 << 20, write_buffer_max);
    cache_.reset(leveldb::NewLRUCache(settings.budget_bytes - 2 * write_buffer));
    leveldb::Options options;
    options.create_if_missing = true;
    options.compression = leveldb::kNoCompression;
    options.block_cache = cache_.get();
    options.filter_policy = filter_.get();
    options.write_buffer_size = write_buffer;
    if (!settings.in_memory) options.env = &environment_;
    leveldb::DB* database = nullptr;
    expect_ok(leveldb::DB::Open(options, settings.directory, &database), "open");
    database_.reset(database);
  }

  std::unique_ptr<Session> session() override {
    return std::make_unique<LevelSession>(*database_, durability_);
  }
  // It has no call for that: the log is written, and what is due of compactions happens behind.
  void flush() override {}
  bool works_behind() const override { return true; }

 private:
  const Durability durability_;
  BlockEnvironment environment_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<leveldb::DB> database_;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const Settings& settings) {
  return std::make_unique<LevelEngine>(settings);
}

std::string engine_version() {
  return fmt::format("{}.{}", leveldb::kMajorVersion, leveldb::kMinorVersion);
}

}  // namespace comparison
