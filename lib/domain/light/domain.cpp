// The light domain itself: its catalogue is a list of tables, its transactions only say when.
#include <algorithm>
#include <new>

#include "base/allocation.hpp"
#include "base/spin.hpp"
#include "base/yield.hpp"
#include "domain/immediate_transaction.hpp"
#include "domain/light/light.hpp"
#include "domain/open_names.hpp"

namespace firn::domain {
namespace {

class LightTransaction final : public ImmediateTransaction<LightDomain> {
 public:
  using ImmediateTransaction::ImmediateTransaction;

  Progress commit(OperationBase&, Error&) noexcept override {
    committed();
    epoch_ = own_domain().next_epoch();
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

 private:
  std::uint64_t epoch_ = 0;
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

Progress LightDomain::create_table(OperationBase& operation, Error& error, std::string_view name,
                                   const TypeDescription& type, const TableOptions& options,
                                   Reference<TableCore>& out) noexcept {
  FIRN_YIELD("light.create_table");
  if (!latch_.exclusive_or_park(operation)) return Progress::waiting;
  const Result<void> made = create_latched(name, type, options);
  if (made.has_value()) out = Reference<TableCore>::share(*tables_.back());
  latch_.release_exclusive();
  return made.has_value() ? Progress::yes : fail_with(error, fail(made.error()));
}

// The catalogue is short and changes seldom: a few allocations happen under its latch.
Result<void> LightDomain::create_latched(std::string_view name, const TypeDescription& type,
                                         const TableOptions& options) noexcept {
  FIRN_TRY(usable());  // it may have been closed before the latch was had
  FIRN_TRY(check_free(tables_, name));
  Result<void> made;
  FIRN_TRY(base::guard_allocation([&] {
    auto references = resolve_references(tables_, type, options, name, next_table_id_);
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
  }));
  return made;
}

Progress LightDomain::open_table(OperationBase& operation, Error& error, std::string_view name,
                                 const TypeDescription& type, Reference<TableCore>& out) noexcept {
  if (!latch_.shared_or_park(operation)) return Progress::waiting;
  Result<void> opened = usable();
  if (opened.has_value()) {
    const Result<TableCore*> table = find_to_open(tables_, name, type);
    if (table.has_value()) {
      out = Reference<TableCore>::share(**table);
    } else {
      opened = fail(table.error());
    }
  }
  latch_.release_shared();
  return opened.has_value() ? Progress::yes : fail_with(error, fail(opened.error()));
}

Progress LightDomain::find_table(OperationBase& operation, Error& error, std::uint64_t id,
                                 BorrowedTable& out) noexcept {
  if (!latch_.shared_or_park(operation)) return Progress::waiting;
  const auto open = usable();
  TableCore* table = find_by_id(tables_, id);
  if (table != nullptr) out = BorrowedTable(*table);
  latch_.release_shared();
  if (!open.has_value()) return fail_with(error, fail(open.error()));
  return table != nullptr ? Progress::yes : Progress::no;
}

// Takes a table out of the catalogue; its pairs go when the last handle does.
void LightDomain::forget(TableCore& table) noexcept {
  table.destroyed.store(true, std::memory_order_release);
  tables_.erase(std::find(tables_.begin(), tables_.end(), &table));
  table_count_.fetch_sub(1, std::memory_order_relaxed);
  give_back(table);
}

Progress LightDomain::destroy_table(OperationBase& operation, Error& error, TableCore& table,
                                    Force force) noexcept {
  if (!latch_.exclusive_or_park(operation)) return Progress::waiting;
  Result<void> allowed = usable();
  if (allowed.has_value()) allowed = check_destroy(tables_, table, force);
  if (allowed.has_value()) forget(table);  // the handle that was given up for this keeps it alive
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
      for (const TableCore* table : tables_) out.push_back(table->info());
    });
  }
  latch_.release_shared();
  return listed.has_value() ? Progress::yes : fail_with(error, fail(listed.error()));
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
  std::vector<TableCore*> tables;
  const bool was_closed = closed.exchange(true, std::memory_order_acq_rel);
  tables.swap(tables_);
  latch_.release_exclusive();
  if (was_closed) return;
  free_name(*this);
  for (TableCore* table : tables) give_back(*table);
}

}  // namespace firn::domain

namespace firn::detail {

Progress open_light(OperationBase&, Error& error, std::string_view path,
                    const DomainOptions& options, Reference<DomainCore>& out) noexcept {
  std::unique_ptr<domain::LightDomain> made;
  auto opened = base::guard_allocation(
      [&] { made = std::make_unique<domain::LightDomain>(std::string(path), options); });
  if (opened.has_value()) opened = domain::take_name(*made);
  if (!opened.has_value()) return fail_with(error, fail(opened.error()));
  out = Reference<DomainCore>::adopt(made.release());
  return Progress::yes;
}

}  // namespace firn::detail
