// The light domain: tables as maps in memory, transaction calls ignored. Usable by itself, and the
// oracle that the other domain types are compared with.
#pragma once

#include <memory>
#include <vector>

#include "domain/catalogue_rules.hpp"
#include "domain/light/skip_list.hpp"
#include "runtime/latch.hpp"

namespace firn::domain {

class LightDomain;

// Shared between threads. The list is guarded by `latch_`.
class LightTable final : public TableCore {
 public:
  LightTable(LightDomain& domain, std::uint64_t id, std::string name, const TypeDescription& type,
             std::vector<std::uint64_t> references);
  ~LightTable() override;

  // Charges what an empty table takes; false: the budget does not suffice. Once, at its creation.
  [[nodiscard]] bool charge_itself() noexcept;

  Progress lookup(OperationBase& operation, Error& error, TransactionCore* transaction, Bytes key,
                  RecordSink sink) noexcept override;
  Progress write(OperationBase& operation, Error& error, TransactionCore* transaction,
                 WriteKind kind, Bytes key, Bytes record) noexcept override;
  Progress insert_into_sack(OperationBase& operation, Error& error, TransactionCore* transaction,
                            Address& address, Bytes record) noexcept override;
  Progress move_cursor(OperationBase& operation, Error& error, CursorState& cursor, Move move,
                       Bytes target) noexcept override;
  [[nodiscard]] std::uint64_t pair_count() const noexcept override {
    return pair_count_.load(std::memory_order_relaxed);
  }

 private:
  struct Prepared;
  struct Place;
  enum class Attempt : std::uint8_t { done, needs_memory, refused };

  Progress show_large(OperationBase& operation, Error& error, Bytes key, Bytes record,
                      RecordSink sink) noexcept;
  Attempt try_write(WriteKind kind, Bytes key, Bytes record, Prepared& prepared,
                    ErrorCode& refusal) noexcept;
  void count_pairs(int by) noexcept;
  SkipList::Node* destination(CursorState& cursor, Move move, Bytes target) const noexcept;
  SkipList::Node* last_before(Bytes key) const noexcept;
  SkipList::Node* first_after(CursorState& cursor) const noexcept;

  LightDomain& light_;
  runtime::Latch latch_;
  SkipList list_;
  std::atomic<std::uint64_t> pair_count_{0};
  std::atomic<std::uint64_t> next_address_{1};
  std::size_t own_memory_ = 0;  // constant once the table is in the catalogue
};

// Shared between threads. The list of tables is guarded by `latch_`.
class LightDomain final : public DomainCore {
 public:
  LightDomain(std::string path, const DomainOptions& options)
      : DomainCore(DomainType::light, std::move(path), options) {}
  ~LightDomain() override;

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
  Progress begin(OperationBase& operation, Error& error, const TransactionOptions& options,
                 TransactionCore*& out) noexcept override;
  [[nodiscard]] DomainStatistics statistics() const noexcept override;

  // Takes bytes out of the budget, or refuses.
  [[nodiscard]] bool charge(std::size_t size) noexcept;
  void discharge(std::size_t size) noexcept;
  [[nodiscard]] std::uint64_t next_epoch() noexcept {
    return epoch_.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  std::atomic<std::uint32_t> open_transaction_count{0};
  StripedCounter
      pairs;  // wraps round below zero on one thread and back on another: the sum is right

 private:
  Result<void> create_latched(std::string_view name, const TypeDescription& type,
                              const TableOptions& options) noexcept;
  void forget(TableCore& table) noexcept;
  void close_latched() noexcept;

  runtime::Latch latch_;
  std::vector<TableCore*> tables_;  // LightTables, each borrowed by the domain
  std::uint64_t next_table_id_ = 1;
  std::atomic<std::uint64_t> memory_used_{0};
  std::atomic<std::uint64_t> table_count_{0};
  std::atomic<std::uint64_t> epoch_{0};
};

}  // namespace firn::domain
