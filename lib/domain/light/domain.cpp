// The light domain itself: its catalogue is a list of tables, its transactions only say when.
#include <algorithm>
#include <new>

#include <unistd.h>

#include "base/allocation.hpp"
#include "base/spin.hpp"
#include "base/yield.hpp"
#include "domain/light/light.hpp"

namespace firn::domain {
namespace {

Progress fail_with(Error& error, const Failure& failure) noexcept {
  error = failure.error;
  return Progress::failed;
}

// The names of the light domains open in this process: a second opener is refused. A forked child
// begins with none: its parent's domains are not its own, and nobody would release their mutex.
struct OpenNames {
  const std::uint32_t process = base::process_generation();
  base::SpinLock mutex;
  std::vector<const LightDomain*> domains;
};
OpenNames& open_names() {
  static constinit std::atomic<OpenNames*> shared{nullptr};
  OpenNames* names = shared.load(std::memory_order_acquire);
  if (names != nullptr && names->process == base::process_generation()) return *names;
  auto* fresh = new OpenNames;  // outlives every static destructor
  if (shared.compare_exchange_strong(names, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *names;
}

bool same_type(const TypeDescription& left, const TypeDescription& right) noexcept {
  return left.name == right.name && left.version.major == right.version.major &&
         left.sack == right.sack && left.key_schema == right.key_schema &&
         left.record_schema == right.record_schema && left.comparator == right.comparator;
}

class LightTransaction final : public TransactionCore {
 public:
  LightTransaction(LightDomain& domain, const TransactionOptions& options) noexcept
      : TransactionCore(domain, options), light_(domain) {
    retain(domain);
    light_.open_transaction_count.fetch_add(1, std::memory_order_relaxed);
  }
  ~LightTransaction() override {
    close_once();
    release(light_);
  }

  Progress commit(OperationBase&, Error&) noexcept override {
    transition(State::committed);
    close_once();
    epoch_ = light_.next_epoch();
    if (notice().call != nullptr) notice().call(notice().context, epoch_);
    return Progress::yes;
  }
  Progress abort(OperationBase&, Error& error) noexcept override {
    return fail_with(error, fail(ErrorCode::unsupported, "light domains cannot abort"));
  }
  Progress wait_persistent(OperationBase&, Error&, std::uint64_t& epoch) noexcept override {
    epoch = epoch_;
    return Progress::yes;
  }
  Result<void> force() noexcept override { return {}; }
  void drop() noexcept override { delete this; }

 private:
  void close_once() noexcept {
    if (!open_) return;
    open_ = false;
    light_.open_transaction_count.fetch_sub(1, std::memory_order_relaxed);
  }
  LightDomain& light_;
  std::uint64_t epoch_ = 0;
  bool open_ = true;
};

}  // namespace

// In a forked child the tables are the parent's business: they are left alone.
LightDomain::~LightDomain() { FIRN_ASSERT(tables_.empty() || !of_this_process()); }

bool LightDomain::charge(std::size_t size) noexcept {
  // Never above the budget, not even for a moment: others would be refused because of it.
  std::uint64_t used = memory_used_.load(std::memory_order_relaxed);
  do {
    if (size > options().memory_budget - used) return false;
  } while (!memory_used_.compare_exchange_weak(used, used + size, std::memory_order_relaxed));
  return true;
}
void LightDomain::discharge(std::size_t size) noexcept {
  memory_used_.fetch_sub(size, std::memory_order_relaxed);
}

LightTable* LightDomain::find_by_name(std::string_view name) noexcept {
  for (LightTable* table : tables_) {
    if (table->name() == name) return table;
  }
  return nullptr;
}

// The ids of the tables that references of `type` may point into; those named, or all of the types
// that its fields name. The table itself counts: it is `own_id`.
Result<std::vector<std::uint64_t>> LightDomain::resolve_references(const TypeDescription& type,
                                                                   const TableOptions& options,
                                                                   std::uint64_t own_id) {
  std::vector<std::uint64_t> ids;
  const auto is_target = [&type](std::string_view name) {
    return std::find(type.references.begin(), type.references.end(), name) != type.references.end();
  };
  for (std::string_view name : options.references) {
    const LightTable* table = find_by_name(name);
    if (table == nullptr) {
      return fail(ErrorCode::invalid_argument, "a table named in 'references' does not exist");
    }
    if (!is_target(table->type().name)) {
      return fail(ErrorCode::invalid_argument,
                  "table {}, named in 'references', is of no type that the fields refer to",
                  table->id());
    }
    ids.push_back(table->id());
  }
  for (const std::string& target : type.references) {
    bool declared = target == type.name;
    if (declared) ids.push_back(own_id);
    for (const LightTable* table : tables_) {
      if (table->type().name != target) continue;
      if (options.references.empty()) ids.push_back(table->id());
      declared = declared || std::find(ids.begin(), ids.end(), table->id()) != ids.end();
    }
    if (!declared) {
      return fail(ErrorCode::invalid_argument,
                  "the type has references into a table type that no declared table has");
    }
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Progress LightDomain::create_table(OperationBase& operation, Error& error, std::string_view name,
                                   const TypeDescription& type, const TableOptions& options,
                                   Reference<TableCore>& out) noexcept {
  const Placement& placement = options.placement;
  if (!placement.inner.empty() || !placement.leaves.empty() || !placement.values.empty()) {
    return fail_with(error, fail(ErrorCode::not_found, "light domains have no segments to name"));
  }
  FIRN_YIELD("light.create_table");
  // The catalogue is short and changes seldom: a few allocations happen under its latch.
  if (!latch_.exclusive_or_park(operation)) return Progress::waiting;
  Result<void> made = usable();  // it may have been closed before the latch was had
  if (!made.has_value()) {
    latch_.release_exclusive();
    return fail_with(error, fail(made.error()));
  }
  if (find_by_name(name) != nullptr) {
    made = fail(ErrorCode::already_exists, "a table of that name is there");
  } else {
    const auto guarded = base::guard_allocation([&] {
      auto references = resolve_references(type, options, next_table_id_);
      if (!references.has_value()) {
        made = fail(references.error());
        return;
      }
      tables_.reserve(tables_.size() + 1);
      auto table = std::make_unique<LightTable>(*this, next_table_id_, std::string(name), type,
                                                *std::move(references));
      if (!table->charge_itself()) {
        made = fail(ErrorCode::no_memory, "the domain's memory budget is used up");
        return;
      }
      tables_.push_back(table.release());
      ++next_table_id_;
      table_count_.fetch_add(1, std::memory_order_relaxed);
    });
    if (!guarded.has_value()) made = fail(guarded.error());
  }
  if (made.has_value()) {
    retain(*tables_.back());
    out = Reference<TableCore>::adopt(tables_.back());
  }
  latch_.release_exclusive();
  return made.has_value() ? Progress::yes : fail_with(error, fail(made.error()));
}

Progress LightDomain::open_table(OperationBase& operation, Error& error, std::string_view name,
                                 const TypeDescription& type, Reference<TableCore>& out) noexcept {
  if (!latch_.shared_or_park(operation)) return Progress::waiting;
  LightTable* table = find_by_name(name);
  Result<void> opened = usable();
  if (!opened.has_value()) {
    table = nullptr;
  } else if (table == nullptr) {
    opened = fail(ErrorCode::not_found, "no table of that name");
  } else if (!same_type(table->type(), type)) {
    opened =
        fail(ErrorCode::wrong_type,
             "name, kind, codec, comparator or major version differ from table {}", table->id());
  } else {
    retain(*table);
    out = Reference<TableCore>::adopt(table);
  }
  latch_.release_shared();
  return opened.has_value() ? Progress::yes : fail_with(error, fail(opened.error()));
}

Progress LightDomain::find_table(OperationBase& operation, Error& error, std::uint64_t id,
                                 Reference<TableCore>& out) noexcept {
  if (!latch_.shared_or_park(operation)) return Progress::waiting;
  const auto open = usable();
  for (LightTable* table : tables_) {
    if (table->id() != id) continue;
    retain(*table);
    out = Reference<TableCore>::adopt(table);
  }
  latch_.release_shared();
  if (!open.has_value()) return fail_with(error, fail(open.error()));
  return out ? Progress::yes : Progress::no;
}

// Takes a table out of the catalogue; its pairs go when the last handle does.
void LightDomain::forget(LightTable& table) noexcept {
  table.destroyed.store(true, std::memory_order_release);
  tables_.erase(std::find(tables_.begin(), tables_.end(), &table));
  table_count_.fetch_sub(1, std::memory_order_relaxed);
}

Progress LightDomain::destroy_table(OperationBase& operation, Error& error, TableCore& core,
                                    Force force) noexcept {
  if (!latch_.exclusive_or_park(operation)) return Progress::waiting;
  auto& table = static_cast<LightTable&>(core);
  Result<void> allowed = usable();
  // One count is the catalogue's, one the handle's that was given up for this.
  const std::uint32_t others = table.reference_count.load(std::memory_order_acquire) - 2;
  if (allowed.has_value() && table.destroyed.load(std::memory_order_relaxed)) {
    allowed = fail(ErrorCode::invalid_state, "the table was destroyed");
  }
  if (force == Force::no && allowed.has_value() && others > 0) {
    allowed = fail(ErrorCode::busy, "{} other handles use the table", others);
  }
  for (const LightTable* referrer : tables_) {
    const auto& ids = referrer->references();
    const bool refers =
        referrer != &table && std::find(ids.begin(), ids.end(), table.id()) != ids.end();
    if (force == Force::no && allowed.has_value() && refers) {
      allowed = fail(ErrorCode::busy, "table {} declares references into it", referrer->id());
    }
  }
  if (allowed.has_value()) {
    forget(table);
    table.reference_count.fetch_sub(1, std::memory_order_acq_rel);  // the handle keeps it alive
  }
  latch_.release_exclusive();
  return allowed.has_value() ? Progress::yes : fail_with(error, fail(allowed.error()));
}

Progress LightDomain::list_tables(OperationBase& operation, Error& error,
                                  std::vector<TableInfo>& out) noexcept {
  if (!latch_.shared_or_park(operation)) return Progress::waiting;
  auto listed = usable();
  if (listed.has_value()) {
    listed = base::guard_allocation([&] {
      out.clear();
      for (const LightTable* table : tables_) out.push_back(table->info());
    });
  }
  latch_.release_shared();
  return listed.has_value() ? Progress::yes : fail_with(error, fail(listed.error()));
}

Progress LightDomain::create_segment(OperationBase&, Error& error, std::string_view,
                                     const LocalSegment*, const MemorySegment*,
                                     const RemoteSegment*) noexcept {
  return fail_with(
      error, fail(ErrorCode::unsupported, "this domain type lacks the capability 'segments'"));
}
Progress LightDomain::destroy_segment(OperationBase&, Error& error, std::string_view) noexcept {
  return fail_with(
      error, fail(ErrorCode::unsupported, "this domain type lacks the capability 'segments'"));
}

Progress LightDomain::begin(OperationBase&, Error& error, const TransactionOptions& wanted,
                            TransactionCore*& out) noexcept {
  out = new (std::nothrow) LightTransaction(*this, wanted);
  if (out == nullptr) return fail_with(error, fail(ErrorCode::no_memory, "no memory for it"));
  return Progress::yes;
}

DomainStatistics LightDomain::statistics() const noexcept {
  DomainStatistics statistics;
  statistics.memory_budget = options().memory_budget;
  statistics.memory_used = memory_used_.load(std::memory_order_relaxed);
  statistics.lookup_count = lookups.sum();
  statistics.update_count = updates.sum();
  statistics.move_count = moves.sum();
  statistics.table_count = table_count_.load(std::memory_order_relaxed);
  statistics.pair_count = pairs.sum();
  return statistics;
}

Progress LightDomain::close(OperationBase& operation, Error& error) noexcept {
  const std::uint32_t open = open_transaction_count.load(std::memory_order_acquire);
  if (open > 0) return fail_with(error, fail(ErrorCode::busy, "{} transactions are open", open));
  if (!latch_.exclusive_or_park(operation)) return Progress::waiting;
  if (auto still = usable(); !still.has_value()) {
    latch_.release_exclusive();
    return fail_with(error, fail(still.error()));
  }
  close_latched();
  return Progress::yes;
}

// Nobody waits for this: the latch is held for short stretches only.
void LightDomain::abandon() noexcept {
  while (!latch_.try_exclusive()) base::pause_briefly();
  close_latched();
}

// Releases the latch. Whoever gets it afterwards finds the domain closed.
void LightDomain::close_latched() noexcept {
  std::vector<LightTable*> tables;
  const bool was_closed = closed.exchange(true, std::memory_order_acq_rel);
  tables.swap(tables_);
  latch_.release_exclusive();
  if (was_closed) return;
  {
    OpenNames& names = open_names();
    const base::SpinGuard guard(names.mutex);
    std::erase(names.domains, this);
  }
  for (LightTable* table : tables) {
    if (table->reference_count.fetch_sub(1, std::memory_order_acq_rel) == 1) delete table;
  }
}

}  // namespace firn::domain

namespace firn::detail {

Progress open_light(OperationBase&, Error& error, std::string_view path,
                    const DomainOptions& options, Reference<DomainCore>& out) noexcept {
  Result<void> opened;
  const auto guarded = base::guard_allocation([&] {
    domain::OpenNames& names = domain::open_names();
    auto made = std::make_unique<domain::LightDomain>(std::string(path), options);
    const base::SpinGuard guard(names.mutex);
    for (const domain::LightDomain* other : names.domains) {
      if (!path.empty() && other->path() == path) {
        opened = fail(ErrorCode::busy, "process {} (this one) has the domain open",
                      static_cast<std::uint64_t>(::getpid()));
        return;
      }
    }
    names.domains.push_back(made.get());
    out = Reference<DomainCore>::adopt(made.release());
  });
  if (guarded.has_value() && opened.has_value()) return Progress::yes;
  error = guarded.has_value() ? opened.error() : guarded.error();
  return Progress::failed;
}

}  // namespace firn::detail
