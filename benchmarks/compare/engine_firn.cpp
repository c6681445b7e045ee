// Firn: a native domain with one table of plain bytes, through its public interface.
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include <firn/firn.hpp>

#include "engine.hpp"

namespace comparison {
namespace {

using Clock = std::chrono::steady_clock;

void expect_success(const firn::Result<void>& result, std::string_view what) {
  if (!result.has_value()) [[unlikely]] {
    stop(what, result.error().message());
  }
}
template <class T>
T value_of(firn::Result<T> result, std::string_view what) {
  if (!result.has_value()) [[unlikely]] {
    stop(what, result.error().message());
  }
  return std::move(*result);
}

// Byte tables that say how large their records are, as a program would that knows.
struct SmallPairs : firn::BytesType {
  static constexpr firn::Hints hints{.record_size_typical = 100};
};
struct LargePairs : firn::BytesType {
  static constexpr firn::Hints hints{.record_size_typical = 2048};
};
constexpr std::uint32_t large_from = 1024;  // bytes of a value

using PairTable = firn::Table<firn::BytesType>;

// Puts of a load: some under way at a time, so that one's wait for a page is another's work.
class Loads {
 public:
  Loads(PairTable& table, unsigned depth)
      : table_(table), executor_(value_of(firn::Executor::create(), "executor")), slots_(depth) {
    for (Slot& slot : slots_) {
      slot.loads = this;
      free_.push_back(&slot);
    }
  }
  void put(std::string_view key, std::string_view value) {
    while (free_.empty()) tick();
    Slot* const slot = free_.back();
    free_.pop_back();
    slot->key = key;
    slot->value = value;
    slot->operation.emplace(table_.core(), nullptr, firn::detail::WriteKind::put,
                            firn::Bytes(std::string_view(slot->key)),
                            firn::Bytes(std::string_view(slot->value)));
    expect_success(slot->operation->post(executor_,
                                         [slot](firn::Result<void>& result) noexcept {
                                           expect_success(result, "put");
                                           slot->loads->free_.push_back(slot);
                                         }),
                   "put");
  }
  void finish() {
    while (free_.size() < slots_.size()) tick();
  }

 private:
  struct Slot {
    Loads* loads = nullptr;
    std::optional<firn::WriteOperation<firn::BytesType>> operation;
    std::string key;
    std::string value;
  };
  void tick() {
    if (executor_.tick(std::chrono::nanoseconds::zero()) == 0) executor_.wait_for_work();
  }
  PairTable& table_;
  firn::Executor executor_;
  std::vector<Slot> slots_;
  std::vector<Slot*> free_;
};

struct See {
  ValueCheck* check;
  void operator()(firn::Bytes record) const noexcept { check->see(record.text()); }
};

// One thread's lookups, each begun again as it ends.
class Lookups {
 public:
  Lookups(PairTable& table, unsigned depth, LookupSource& source)
      : table_(table),
        source_(source),
        executor_(value_of(firn::Executor::create(), "executor")),
        slots_(depth) {
    for (auto& slot : slots_) {
      slot = std::make_unique<Slot>(*this);
      free_.push_back(slot.get());
    }
  }
  void run() {
    bool more = true;
    while (more || free_.size() < slots_.size()) {
      // What is free now; those that end as they are posted come round again after the tick.
      std::swap(free_, batch_);
      while (!batch_.empty() && more) {
        Slot* const slot = batch_.back();
        more = source_.next(slot->lookup);
        if (!more) break;
        batch_.pop_back();
        post(*slot);
      }
      free_.insert(free_.end(), batch_.begin(), batch_.end());
      batch_.clear();
      const bool idle = executor_.tick(std::chrono::nanoseconds::zero()) == 0;
      if (idle && (free_.empty() || (!more && free_.size() < slots_.size()))) {
        executor_.wait_for_work();
      }
    }
  }

 private:
  struct Slot {
    explicit Slot(Lookups& all) : lookups(all), check{0, all.source_.shape()} {}
    Lookups& lookups;
    LookupSource::Lookup lookup;
    Key key;
    ValueCheck check;
    Clock::time_point begun = {};
    std::optional<firn::ReadOperation<firn::BytesType, See>> operation;
  };
  void post(Slot& slot) {
    slot.key = Key(slot.lookup.number, slot.check.shape.order);
    slot.check.number = slot.lookup.number;
    slot.check.right = false;
    if (slot.lookup.timed) slot.begun = Clock::now();
    slot.operation.emplace(table_.core(), nullptr, firn::Bytes(slot.key.view()), See{&slot.check});
    expect_success(
        slot.operation->post(executor_,
                             [&slot](firn::Result<bool>& result) noexcept { ended(slot, result); }),
        "read");
  }
  static void ended(Slot& slot, firn::Result<bool>& result) noexcept {
    const bool found = value_of(std::move(result), "read");
    const auto took = slot.lookup.timed ? Clock::now() - slot.begun : Clock::duration::zero();
    slot.lookups.source_.done(slot.lookup, found && slot.check.right,
                              static_cast<std::uint64_t>(std::chrono::nanoseconds(took).count()));
    slot.lookups.free_.push_back(&slot);
  }

  PairTable& table_;
  LookupSource& source_;
  firn::Executor executor_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> free_;
  std::vector<Slot*> batch_;
};

class FirnSession final : public Session {
 public:
  FirnSession(firn::Domain& domain, const PairTable& table, bool in_memory)
      : domain_(domain), table_(table), in_memory_(in_memory) {}

  bool get(std::string_view key, ValueCheck& check) override {
    return value_of(table_.read(key, See{&check}).wait(), "read");
  }
  void put(std::string_view key, std::string_view value) override {
    expect_success(table_.put(key, value).wait(), "put");
  }
  std::uint64_t scan(std::string_view key, std::uint64_t count, PairCheck& check) override {
    if (!cursor_.has_value()) cursor_.emplace(table_.core(), nullptr, firn::Range<firn::Bytes>());
    std::uint64_t seen = 0;
    bool more = value_of(cursor_->seek(key).wait(), "seek");
    while (more) {
      check.see(cursor_->key().text(), cursor_->record().text());
      if (++seen == count) break;
      more = value_of(cursor_->next().wait(), "next");
    }
    return seen;
  }
  // Waiting for each is the quicker way where nothing has to be waited for.
  void load(std::string_view key, std::string_view value) override {
    if (in_memory_) return put(key, value);
    if (loads_ == nullptr) loads_ = std::make_unique<Loads>(table_, load_depth);
    loads_->put(key, value);
  }
  void finish_load() override {
    if (loads_ != nullptr) loads_->finish();
    loads_.reset();
  }
  void transact(std::string_view key, std::string_view value) override {
    auto transaction = value_of(domain_.begin().wait(), "begin");
    expect_success(table_.update(transaction, key, value).wait(), "update");
    expect_success(transaction.commit().wait(), "commit");
  }
  void get_in_flight(unsigned depth, LookupSource& source) override {
    Lookups(table_, depth, source).run();
  }

 private:
  static constexpr unsigned load_depth = 64;
  firn::Domain& domain_;
  PairTable table_;
  const bool in_memory_;
  std::unique_ptr<Loads> loads_;
  std::optional<firn::Cursor<firn::BytesType>> cursor_;
};

class FirnEngine final : public Engine {
 public:
  explicit FirnEngine(const Settings& settings) : in_memory_(settings.in_memory) {
    if (settings.durability == Durability::sync) stop_unsupported("durable commits");
    domain_ = value_of(
        firn::Domain::open(settings.directory + "/firn", {.type = firn::DomainType::native,
                                                          .memory_budget = settings.budget_bytes})
            .wait(),
        "open");
    if (!value_of(domain_.tables().wait(), "tables").empty()) {
      table_ = value_of(domain_.open_table<firn::BytesType>("pairs").wait(), "open table");
    } else if (settings.shape.value_size < large_from) {
      make_table<SmallPairs>();
    } else {
      make_table<LargePairs>();
    }
  }
  ~FirnEngine() override {
    table_ = {};
    expect_success(domain_.close().wait(), "close");
  }
  std::unique_ptr<Session> session() override {
    return std::make_unique<FirnSession>(domain_, table_, in_memory_);
  }
  void flush() override { expect_success(domain_.checkpoint().wait(), "checkpoint"); }

 private:
  template <class Type>
  void make_table() {
    auto table = value_of(domain_.create_table<Type>("pairs").wait(), "create table");
    table_ = PairTable(table.take_core());
  }
  const bool in_memory_;
  firn::Domain domain_;
  PairTable table_;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const Settings& settings) {
  return std::make_unique<FirnEngine>(settings);
}

std::string engine_version() { return FIRN_VERSION; }

}  // namespace comparison
