// The native domain: tables as trees on the pages of one pool, in the file of segment 0.
//
//   1. Operations on pairs run as steps on their callers' executors.
//   2. Whatever may wait for a device in other ways (opening, creating, destroying, checkpoints,
//      closing) is a job on a fiber of the background executor: a thread of the domain's own, or
//      the executor that opened it.
//   3. The catalogue changes on that executor only, one change after another (`catalogue_mutex`).
//      The list of tables, which steps look at, is guarded by a latch that is held for a few
//      instructions.
//   4. What is open is dismantled by one fiber, the keeper, when nothing uses it any more: no step
//      is inside a table, no operation waits for a page, no job runs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/spin.hpp"
#include "buffer/pool.hpp"
#include "domain/catalogue_rules.hpp"
#include "domain/native/catalogue.hpp"
#include "domain/native/fibers.hpp"
#include "domain/native/grower.hpp"
#include "domain/native/keeper.hpp"
#include "domain/native/sweeper.hpp"
#include "runtime/executor_thread.hpp"
#include "runtime/latch.hpp"
#include "segment/file.hpp"
#include "store/store.hpp"
#include "tree/tree.hpp"

namespace firn::domain {

class NativeDomain;

/// How a pool of `budget` bytes is laid out for pages of a segment of that size.
[[nodiscard]] buffer::PoolOptions pool_options(std::uint64_t budget,
                                               std::uint64_t segment_bytes) noexcept;

// Shared between threads.
class NativeTable final : public TableCore {
 public:
  /// `compare`: null if bytewise, or not known yet. Throws when there is no memory.
  NativeTable(NativeDomain& domain, std::shared_ptr<CatalogueRow> row, CompareFunction compare);

  Progress lookup(OperationBase& operation, Error& error, TransactionCore* transaction, Bytes key,
                  RecordSink sink) noexcept override;
  Progress lookup_batch(OperationBase& operation, Error& error, TransactionCore* transaction,
                        std::span<const Bytes> keys, std::size_t& done,
                        BatchSink sink) noexcept override;
  Progress write(OperationBase& operation, Error& error, TransactionCore* transaction,
                 WriteKind kind, Bytes key, Bytes record) noexcept override;
  Progress insert_into_sack(OperationBase& operation, Error& error, TransactionCore* transaction,
                            Address& address, Bytes record) noexcept override;
  Progress move_cursor(OperationBase& operation, Error& error, CursorState& cursor, Move move,
                       Bytes target) noexcept override;
  [[nodiscard]] std::uint64_t pair_count() const noexcept override { return pairs_.sum(); }

  /// Whether keys can be compared: not before a table with a comparator of its own was opened with
  /// its type, which brings the function.
  [[nodiscard]] bool knows_order() const noexcept {
    return type().compare != nullptr || type().comparator == BytewiseOrder::id;
  }
  /// Whether a step is in it; none enters once it is destroyed or the domain closed.
  [[nodiscard]] bool in_use() const noexcept { return inside_.sum_in_order() != 0; }

  /// Before anybody uses it: its row has been given a root.
  void take_root() noexcept { tree_.set_root(row_->root); }
  /// Under the catalogue's mutex.
  [[nodiscard]] CatalogueRow& row() noexcept { return *row_; }
  [[nodiscard]] const std::shared_ptr<CatalogueRow>& shared_row() const noexcept { return row_; }
  [[nodiscard]] TableInfo info_with_layout() const;

 private:
  class Entered;
  /// Raises the limit of addresses; stands in the background executor's queue or is its fiber.
  struct Raise : runtime::Runnable {
    NativeTable* table = nullptr;
  };

  Progress lookup_from(const tree::Resumption& start, OperationBase& operation, Error& error,
                       Bytes key, RecordSink sink) noexcept;
  Progress write_inside(OperationBase& operation, Error& error, WriteKind kind, Bytes key,
                        Bytes record) noexcept;
  Progress limit_or_park(OperationBase& operation, Error& error, Address& address) noexcept;
  void start_raise() noexcept;
  void raise() noexcept;
  void end_raise(const Result<void>& raised, std::uint64_t limit) noexcept;

  NativeDomain& native_;
  tree::Tree tree_;
  const std::uint8_t leaf_class_;
  StripedCounter inside_;  // steps in it now
  StripedCounter pairs_;
  // Guarded by the catalogue's mutex, but for what never changes; a table that takes this one's
  // place has the same.
  const std::shared_ptr<CatalogueRow> row_;

  // Of a sack: which numbers are handed out, and up to where the catalogue's row allows it.
  std::atomic<std::uint64_t> next_address_;
  std::atomic<std::uint64_t> address_limit_;
  std::atomic<bool> raising_{false};
  std::atomic<std::uint32_t> raises_ended_{0};
  std::atomic<std::uint32_t> failed_raise_{0};  // the last one that failed, counted from 1
  base::SpinLock raise_error_lock_;
  Error raise_error_;
  Raise raise_;
};

/// What tests put in the place of files and threads.
struct NativeSeam {
  segment::Backend* segment = nullptr;  ///< outlives the domain; may be empty
  std::uint64_t domain_id = 0;          ///< of a new one; 0: by chance
};

// Shared between threads.
class NativeDomain final : public DomainCore {
 public:
  NativeDomain(std::string path, const DomainOptions& options, const NativeSeam& seam)
      : DomainCore(DomainType::native, std::move(path), options), seam_(seam) {}
  ~NativeDomain() override;

  Progress close(OperationBase& operation, Error& error) noexcept override;
  void abandon() noexcept override;
  Progress create_table(OperationBase& operation, Error& error, std::string_view name,
                        const TypeDescription& type, const TableOptions& options,
                        Reference<TableCore>& out) noexcept override;
  Progress open_table(OperationBase& operation, Error& error, std::string_view name,
                      const TypeDescription& type, Reference<TableCore>& out) noexcept override;
  Progress destroy_table(OperationBase& operation, Error& error, TableCore& table,
                         Force force) noexcept override;
  Progress list_tables(OperationBase& operation, Error& error,
                       std::vector<TableInfo>& out) noexcept override;
  Progress find_table(OperationBase& operation, Error& error, std::uint64_t id,
                      BorrowedTable& out) noexcept override;
  Progress checkpoint(OperationBase& operation, Error& error) noexcept override;
  Progress begin(OperationBase& operation, Error& error, const TransactionOptions& options,
                 TransactionCore*& out) noexcept override;
  [[nodiscard]] DomainStatistics statistics() const noexcept override;

  // Opening (open.cpp).
  /// In the first step: the background executor.
  Result<void> start_executor(runtime::ExecutorCore& opener) noexcept;
  /// On a fiber of it: everything else. After a failure nothing is left but the executor's end.
  Result<void> open_engine() noexcept;

  // For its own parts, on fibers of the background executor.
  Result<void> create_on_fiber(std::string_view name, const TypeDescription& type,
                               const TableOptions& options, Reference<TableCore>& out) noexcept;
  Result<void> destroy_on_fiber(NativeTable& table, Force force) noexcept;
  Result<void> checkpoint_on_fiber() noexcept;
  /// Whether little of the segment is left, or somebody waits for more of it.
  [[nodiscard]] bool lacks_room() const noexcept;
  /// Makes the segment larger; whether there is more room now. Needs no page and no write.
  [[nodiscard]] bool grow() noexcept;
  /// By the keeper: waits until nothing is used, makes a last checkpoint, closes the files.
  void dismantle() noexcept;

  /// What updates answer once a sync has failed: no later checkpoint could hold them.
  [[nodiscard]] static Failure failed() noexcept {
    return fail(ErrorCode::failed, "the store takes no writes any more: reopen the domain");
  }
  [[nodiscard]] runtime::ExecutorCore& background() noexcept { return *background_; }
  [[nodiscard]] buffer::Pool& pool() noexcept { return *pool_; }
  [[nodiscard]] store::Store& store() noexcept { return *store_; }
  [[nodiscard]] Catalogue& catalogue() noexcept { return *catalogue_; }
  [[nodiscard]] FiberMutex& catalogue_mutex() noexcept { return catalogue_mutex_; }
  [[nodiscard]] Keeper& keeper() noexcept { return keeper_; }
  [[nodiscard]] Grower& grower() noexcept { return grower_; }
  [[nodiscard]] std::atomic<std::uint32_t>& job_count() noexcept { return job_count_; }

  std::atomic<std::uint32_t> open_transaction_count{0};

 private:
  Result<void> open_file() noexcept;
  Result<bool> segment_is_blank() noexcept;
  Result<void> open_store() noexcept;
  Result<void> open_pool() noexcept;
  Result<void> open_catalogue() noexcept;
  Result<void> create_catalogue() noexcept;
  Result<void> load_tables() noexcept;
  Result<void> empty_volatile(std::size_t index) noexcept;
  void close_engine() noexcept;
  void end_executor() noexcept;

  void write_pair_counts() noexcept;
  Result<void> checkpoint_once() noexcept;
  [[nodiscard]] DomainStatistics statistics_of_engine() const noexcept;
  [[nodiscard]] bool in_use() noexcept;

  template <class Look>
  auto with_tables(Look&& look);
  template <class Change>
  void change_tables(Change&& change);
  Result<void> bring_order(NativeTable*& table, const TypeDescription& type) noexcept;

  const NativeSeam seam_;

  // Constant while open, in the order of their lives.
  std::unique_ptr<runtime::ExecutorThread> thread_;
  runtime::ExecutorCore* background_ = nullptr;
  std::unique_ptr<segment::FileBackend> file_;
  segment::Backend* segment_ = nullptr;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<buffer::Pool> pool_;
  std::optional<Catalogue> catalogue_;

  // The background executor's.
  FiberMutex catalogue_mutex_;
  std::uint64_t next_table_id_ = first_table_id;
  FiberMutex checkpoint_mutex_;
  std::uint64_t checkpoints_asked_ = 0;
  std::uint64_t checkpoints_covered_ = 0;
  bool checkpoint_unfinished_ = false;
  Result<void> last_checkpoint_;
  Result<void> close_outcome_;
  Keeper keeper_{*this};
  Grower grower_{*this};
  Sweeper sweeper_{*this};

  runtime::Latch latch_;
  std::vector<TableCore*> tables_;  // NativeTables, each borrowed by the domain; guarded by latch_

  std::atomic<std::uint32_t> job_count_{0};
  std::atomic<bool> dismantled_{false};
  bool kept_by_keeper_ = false;  // set before it ends

  mutable base::SpinLock statistics_lock_;
  bool engine_is_open_ = false;         // guarded by statistics_lock_
  DomainStatistics closed_statistics_;  // likewise

  friend class Sweeper;
};

// The latch is held for a few instructions at a time, so nobody waits for it here.
template <class Look>
auto NativeDomain::with_tables(Look&& look) {
  struct Held {
    explicit Held(runtime::Latch& held) noexcept : latch(held) {
      while (!latch.try_shared()) base::pause_briefly();
    }
    ~Held() { latch.release_shared(); }
    runtime::Latch& latch;
  } held(latch_);
  return look(Tables(tables_));
}
template <class Change>
void NativeDomain::change_tables(Change&& change) {
  struct Held {
    explicit Held(runtime::Latch& held) noexcept : latch(held) {
      while (!latch.try_exclusive()) base::pause_briefly();
    }
    ~Held() { latch.release_exclusive(); }
    runtime::Latch& latch;
  } held(latch_);
  change();
}

Progress open_native_with(OperationBase& operation, Error& error, std::string_view path,
                          const DomainOptions& options, const NativeSeam& seam,
                          Reference<DomainCore>& out) noexcept;

}  // namespace firn::domain
