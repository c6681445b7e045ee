// The native domain's tables as its users see them: listed, opened, created, destroyed.
#include <algorithm>
#include <new>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "base/yield.hpp"
#include "domain/immediate_transaction.hpp"
#include "domain/native/job.hpp"
#include "domain/native/native.hpp"

namespace firn::domain {
namespace {

constexpr auto look_again_time = std::chrono::milliseconds(1);

class NativeTransaction final : public ImmediateTransaction<NativeDomain> {
 public:
  using ImmediateTransaction::ImmediateTransaction;

  Progress commit(OperationBase&, Error&) noexcept override {
    committed();
    return Progress::yes;
  }
  // Asked for as options, abort and notices are refused at `begin`.
  Progress abort(OperationBase&, Error& error) noexcept override {
    return fail_with(error, lacking(Capability::abort));
  }
  Progress wait_persistent(OperationBase&, Error& error, std::uint64_t&) noexcept override {
    return fail_with(error, lacking(Capability::notify));
  }
};

class CreateJob final : public Job {
 public:
  // Throws when there is no memory.
  CreateJob(NativeDomain& domain, std::string_view name, const TypeDescription& type,
            const TableOptions& options)
      : domain_(domain), name_(name), type_(type), options_(options) {}
  [[nodiscard]] Reference<TableCore> take() noexcept { return std::move(made_); }

 private:
  Result<void> work() noexcept override {
    return domain_.create_on_fiber(name_, type_, options_, made_);
  }
  NativeDomain& domain_;
  const std::string name_;
  const TypeDescription type_;
  const TableOptions options_;
  Reference<TableCore> made_;
};

class DestroyJob final : public Job {
 public:
  DestroyJob(NativeDomain& domain, NativeTable& table, Force force) noexcept
      : domain_(domain), table_(table), force_(force) {}

 private:
  Result<void> work() noexcept override { return domain_.destroy_on_fiber(table_, force_); }
  NativeDomain& domain_;
  NativeTable& table_;  // the operation has a handle
  const Force force_;
};

class CheckpointJob final : public Job {
 public:
  explicit CheckpointJob(NativeDomain& domain) noexcept : domain_(domain) {}

 private:
  Result<void> work() noexcept override { return domain_.checkpoint_on_fiber(); }
  NativeDomain& domain_;
};

// Begins the job that `make()` makes; the operation waits for it.
template <class Make>
Progress start_job(NativeDomain& domain, OperationBase& operation, Error& error,
                   Make&& make) noexcept {
  std::unique_ptr<Job> job;
  const auto made = base::guard_allocation([&] { job = make(); });
  if (!made.has_value()) return fail_with(error, fail(made.error()));
  Job& started = *job;
  OperationAccess::engine_state<JobState>(operation, std::move(job));
  started.start(operation, domain.background(), domain.job_count());
  return Progress::waiting;
}

Progress end_job(const Job& job, Error& error) noexcept {
  return job.outcome().has_value() ? Progress::yes : fail_with(error, fail(job.outcome().error()));
}

}  // namespace

Progress NativeDomain::create_table(OperationBase& operation, Error& error, std::string_view name,
                                    const TypeDescription& type, const TableOptions& options,
                                    Reference<TableCore>& out) noexcept {
  if (Job* job = job_of(operation)) {
    out = static_cast<CreateJob*>(job)->take();
    return end_job(*job, error);
  }
  FIRN_YIELD("native.create_table");
  if (auto still = usable(); !still.has_value()) return fail_with(error, fail(still.error()));
  return start_job(*this, operation, error,
                   [&] { return std::make_unique<CreateJob>(*this, name, type, options); });
}

// The new pages join the store with the row that names their root, and not before: no crash leaves
// one without the other.
Result<void> NativeDomain::create_on_fiber(std::string_view name, const TypeDescription& type,
                                           const TableOptions& options,
                                           Reference<TableCore>& out) noexcept {
  const FiberGuard guard(catalogue_mutex_);
  if (store_->failed()) return failed();
  FIRN_TRY(with_tables([&](Tables tables) noexcept { return check_free(tables, name); }));
  std::shared_ptr<CatalogueRow> kept;
  FIRN_TRY(base::guard_allocation([&] { kept = std::make_shared<CatalogueRow>(); }));
  CatalogueRow& row = *kept;
  const Layout layout = layout_for(type.hints);
  row.id = next_table_id_;
  row.persistence = options.persistence;
  row.leaf_class = layout.leaf_class;
  row.inline_max = layout.inline_max;
  Result<void> resolved;
  FIRN_TRY(base::guard_allocation([&] {
    row.name = name;
    row.type = type;
    row.placement = options.placement;
    auto references = with_tables(
        [&](Tables tables) { return resolve_references(tables, type, options, name, row.id); });
    resolved = references.has_value() ? Result<void>() : fail(references.error());
    if (references.has_value()) row.references = *std::move(references);
  }));
  FIRN_TRY(resolved);
  if (!FIRN_PLANTED("native-next-id-not-written")) {
    FIRN_TRY(catalogue_->write_next_id(row.id + 1));
  }
  ++next_table_id_;
  keeper_.note_change();
  std::unique_ptr<NativeTable> table;
  FIRN_TRY(base::guard_allocation([&] {
    table = std::make_unique<NativeTable>(*this, kept, type.compare);
    change_tables([&] { tables_.reserve(tables_.size() + 1); });
  }));
  FIRN_TRY(catalogue_->write_with_tree(row, shape_of(row, buffer::PageSlot())));
  table->take_root();
  keeper_.note_change();
  out = Reference<TableCore>::share(*table);
  change_tables([&] { tables_.push_back(table.release()); });
  return {};
}

Progress NativeDomain::open_table(OperationBase& operation, Error& error, std::string_view name,
                                  const TypeDescription& type, Reference<TableCore>& out) noexcept {
  // Exclusively, since a table that learns its order is replaced.
  if (!latch_.exclusive_or_park(operation)) return Progress::waiting;
  Result<void> opened = usable();
  if (opened.has_value()) {
    const Result<TableCore*> table = find_to_open(tables_, name, type);
    if (!table.has_value()) {
      opened = fail(table.error());
    } else {
      auto* found = static_cast<NativeTable*>(*table);
      if (!found->knows_order()) opened = bring_order(found, type);
      if (opened.has_value()) out = Reference<TableCore>::share(*found);
    }
  }
  latch_.release_exclusive();
  return opened.has_value() ? Progress::yes : fail_with(error, fail(opened.error()));
}

// Under the exclusive latch: puts one that can compare in the place of a table that cannot, and
// that nobody has a handle of.
Result<void> NativeDomain::bring_order(NativeTable*& table, const TypeDescription& type) noexcept {
  NativeTable* fresh = nullptr;
  FIRN_TRY(base::guard_allocation(
      [&] { fresh = new NativeTable(*this, table->shared_row(), type.compare); }));
  *std::find(tables_.begin(), tables_.end(), table) = fresh;
  give_back(*table);
  table = fresh;
  return {};
}

Progress NativeDomain::find_table(OperationBase& operation, Error& error, std::uint64_t id,
                                  BorrowedTable& out) noexcept {
  if (!latch_.shared_or_park(operation)) return Progress::waiting;
  Result<void> found = usable();
  TableCore* table = find_by_id(tables_, id);
  if (found.has_value() && table != nullptr) {
    if (static_cast<NativeTable*>(table)->knows_order()) {
      out = BorrowedTable(*table);
    } else {
      found =
          fail(ErrorCode::invalid_state,
               "table {} has a comparator of its own: open it before references are followed", id);
    }
  }
  latch_.release_shared();
  if (!found.has_value()) return fail_with(error, fail(found.error()));
  return table != nullptr ? Progress::yes : Progress::no;
}

Progress NativeDomain::list_tables(OperationBase& operation, Error& error,
                                   std::vector<TableInfo>& out) noexcept {
  if (!latch_.shared_or_park(operation)) return Progress::waiting;
  auto listed = usable();
  if (listed.has_value()) {
    listed = base::guard_allocation([&] {
      out.clear();
      for (const TableCore* table : tables_) {
        out.push_back(static_cast<const NativeTable*>(table)->info_with_layout());
      }
    });
  }
  latch_.release_shared();
  return listed.has_value() ? Progress::yes : fail_with(error, fail(listed.error()));
}

Progress NativeDomain::destroy_table(OperationBase& operation, Error& error, TableCore& table,
                                     Force force) noexcept {
  if (const Job* job = job_of(operation)) return end_job(*job, error);
  return start_job(*this, operation, error, [&] {
    return std::make_unique<DestroyJob>(*this, static_cast<NativeTable&>(table), force);
  });
}

// First nobody can use it any more, then the row says so, then its pages are freed in the
// background.
Result<void> NativeDomain::destroy_on_fiber(NativeTable& table, Force force) noexcept {
  const FiberGuard guard(catalogue_mutex_);
  if (store_->failed()) return failed();
  Result<void> allowed;
  change_tables([&] {
    allowed = check_destroy(tables_, table, force);
    if (!allowed.has_value()) return;
    table.destroyed.store(true);
    tables_.erase(std::find(tables_.begin(), tables_.end(), &table));
  });
  FIRN_TRY(allowed);
  // Steps that entered before end soon; whoever closes the domain looks no more at this table.
  while (table.in_use()) rest_for(*background_, look_again_time);
  table.row().state = RowState::destroyed;
  if (const auto written = catalogue_->write(table.row()); !written.has_value()) {
    table.row().state = RowState::live;
    change_tables([&] {
      tables_.push_back(&table);  // there is room: it was taken out
      table.destroyed.store(false);
    });
    return written;
  }
  keeper_.note_change();
  sweeper_.add(table);
  give_back(table);
  return {};
}

Progress NativeDomain::checkpoint(OperationBase& operation, Error& error) noexcept {
  if (const Job* job = job_of(operation)) return end_job(*job, error);
  return start_job(*this, operation, error, [&] { return std::make_unique<CheckpointJob>(*this); });
}

Progress NativeDomain::begin(OperationBase&, Error& error, const TransactionOptions& wanted,
                             TransactionCore*& out) noexcept {
  out = new (std::nothrow) NativeTransaction(*this, wanted);
  if (out == nullptr) return fail_with(error, fail(ErrorCode::no_memory, "no memory for it"));
  return Progress::yes;
}

// In a forked child the locks may be held by threads that are not there.
DomainStatistics NativeDomain::statistics() const noexcept {
  if (!of_this_process()) return {};
  const base::SpinGuard guard(statistics_lock_);
  return engine_is_open_ ? statistics_of_engine() : closed_statistics_;
}

// Under the lock of the statistics, while the engine is open.
DomainStatistics NativeDomain::statistics_of_engine() const noexcept {
  auto& self = const_cast<NativeDomain&>(*this);
  const buffer::PoolStatistics pool = pool_->statistics();
  const store::StoreStatistics store = store_->statistics();
  DomainStatistics statistics;
  statistics.memory_budget = pool.budget_bytes;
  statistics.memory_used = pool.used_bytes;
  statistics.lookup_count = lookups.sum();
  statistics.update_count = updates.sum();
  statistics.move_count = moves.sum();
  static_cast<void>(self.with_tables([&](Tables tables) noexcept {
    statistics.table_count = tables.size();
    for (const TableCore* table : tables) statistics.pair_count += table->pair_count();
    return true;
  }));
  statistics.page_reads = store.page_reads;
  statistics.page_read_bytes = store.page_read_bytes;
  statistics.page_writes = store.page_writes;
  statistics.page_write_bytes = store.page_write_bytes;
  statistics.other_write_bytes = store.meta_write_bytes;
  statistics.page_faults = pool.faults;
  statistics.page_evictions = pool.evictions;
  statistics.checkpoints = store.checkpoints;
  statistics.segment_bytes = segment_->size();
  statistics.stored_bytes = store.image_bytes;
  return statistics;
}

}  // namespace firn::domain
