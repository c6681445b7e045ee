// Domains: the tables, segments and logs of one engine, under one memory budget.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <firn/detail/engine.hpp>
#include <firn/operation.hpp>
#include <firn/options.hpp>
#include <firn/ref.hpp>
#include <firn/stats.hpp>
#include <firn/table.hpp>
#include <firn/transaction.hpp>

namespace firn {

class Domain;

class OpenOperation;

/// An operation on a whole domain: what it does and what it returns are its two functions.
template <class T, class Step, class Finish>
class DomainOperation final : public Operation<T> {
 public:
  DomainOperation(Step step, Finish finish) noexcept
      : step_(std::move(step)), finish_(std::move(finish)) {}

 private:
  detail::Progress step() noexcept override { return step_(*this, this->error_); }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return this->settle_with(fail(this->error_));
    this->settle_with(finish_(step_));
  }
  Step step_;
  Finish finish_;
};

namespace detail {

template <class Type>
struct CreateTableStep {
  DomainCore* domain;
  Name name;
  TableOptions options;
  Reference<TableCore> core = {};
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    return create_table(operation, error, *domain, name.view(), &describe<Type>, options, core);
  }
};
template <class Type>
struct OpenTableStep {
  DomainCore* domain;
  Name name;
  Reference<TableCore> core = {};
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    return open_table(operation, error, *domain, name.view(), &describe<Type>, core);
  }
};
template <class Type>
struct TakeTable {
  template <class Step>
  Result<Table<Type>> operator()(Step& step) noexcept {
    return Table<Type>(std::move(step.core));
  }
};
struct DestroyTableStep {
  DomainCore* domain;
  Reference<TableCore> core;
  Force force;
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    const Progress progress = destroy_table(operation, error, *domain, *core.get(), force);
    if (progress != Progress::waiting) core = {};
    return progress;
  }
};
struct BeginStep {
  DomainCore* domain;
  TransactionOptions options;
  TransactionCore* core = nullptr;
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    return begin(operation, error, *domain, options, core);
  }
};
struct TakeTransaction {
  Result<Transaction> operator()(BeginStep& step) noexcept { return Transaction(step.core); }
};
struct ListTablesStep {
  DomainCore* domain;
  std::vector<TableInfo> tables = {};
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    return list_tables(operation, error, *domain, tables);
  }
};
struct TakeTables {
  Result<std::vector<TableInfo>> operator()(ListTablesStep& step) noexcept {
    return std::move(step.tables);
  }
};
struct CloseStep {
  DomainCore* domain;
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    return close_domain(operation, error, *domain);
  }
};
struct CheckpointStep {
  DomainCore* domain;
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    return checkpoint_domain(operation, error, *domain);
  }
};
struct CreateSegmentStep {
  DomainCore* domain;
  Name name;
  std::variant<LocalSegment, MemorySegment, RemoteSegment> segment;
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    return create_segment(operation, error, *domain, name.view(),
                          std::get_if<LocalSegment>(&segment), std::get_if<MemorySegment>(&segment),
                          std::get_if<RemoteSegment>(&segment));
  }
};
struct DestroySegmentStep {
  DomainCore* domain;
  Name name;
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    return destroy_segment(operation, error, *domain, name.view());
  }
};
template <class Type>
struct FollowStep {
  DomainCore* domain;
  TransactionCore* transaction;
  Ref<Type> target;
  Found<Type> found = {};
  Progress operator()(OperationBase& operation, Error& error) noexcept {
    const Progress progress = follow(operation, error, *domain, transaction, target.table(),
                                     target.encoded_key(), &fingerprint_of<Type>, found.sink());
    if (progress == Progress::waiting) return progress;
    if (progress == Progress::no) found.record.reset();
    return found.check(progress, error, target.table());
  }
};
template <class Type>
struct TakeFound {
  Result<std::optional<OwnedRecordOf<Type>>> operator()(FollowStep<Type>& step) noexcept {
    return std::move(step.found.record);
  }
};
struct TakeNothing {
  template <class Step>
  Result<void> operator()(Step&) noexcept {
    return {};
  }
};

}  // namespace detail

/// A domain's handle: move-only; its calls may be made by many threads at a time, each with its own
/// operations, which it outlives. Closing it, or dropping it, invalidates all handles that came
/// from it: their calls are `invalid_state`. After a fork the child may not use it
/// (`invalid_state`).
class Domain {
 public:
  /// Opens the domain at `path`, or makes one. Errors: `unsupported` names the first capability in
  /// `options.required` that the type lacks; `busy` names who has the path open; `invalid_argument`
  /// for a budget below 1 MiB. A light domain lives in memory: its path is a name, and may be
  /// empty. A native domain's path is that of its file, which grows with the data; what is found
  /// there is the last checkpoint. `corrupt`, `unsupported_format` and `io_error` tell of it.
  [[nodiscard]] static OpenOperation open(std::string_view path,
                                          const DomainOptions& options = {}) noexcept;

  Domain() noexcept = default;
  explicit Domain(detail::Reference<detail::DomainCore> core) noexcept : core_(std::move(core)) {}
  Domain(Domain&&) noexcept = default;
  Domain& operator=(Domain&& other) noexcept {
    Domain moved(std::move(other));
    std::swap(core_, moved.core_);
    return *this;
  }
  /// Closes an open one and blocks until that is done, unless operations or reads that this thread
  /// may have to go on with are under way: then it ends later.
  ~Domain() {
    if (core_) detail::abandon_domain(*core_.get());
  }

  /// Closes it. `busy` while transactions are open, or operations under way that wait for a
  /// device; table handles become invalid. A native domain makes a last checkpoint: if that fails,
  /// its error is returned, what was changed since the one before is lost, and the domain is closed
  /// all the same.
  [[nodiscard]] auto close() noexcept { return simple(detail::CloseStep{core()}); }

  /// Makes a table of `Type`. Errors: `already_exists`; `invalid_argument` for a bad name (1 to 255
  /// bytes) or a reference into an undeclared table; `not_found` for an unknown segment;
  /// `unsupported` where the type or its persistence asks for a capability that is missing.
  template <class Type>
  [[nodiscard]] auto create_table(std::string_view name, TableOptions options = {}) noexcept {
    return operation<Table<Type>>(
        detail::CreateTableStep<Type>{core(), detail::Name(name), std::move(options)},
        detail::TakeTable<Type>{});
  }
  /// Opens a table by name. Errors: `not_found`; `wrong_type` when the type's name, kind, codec,
  /// comparator or major version differ from the catalogue's.
  template <class Type>
  [[nodiscard]] auto open_table(std::string_view name) noexcept {
    return operation<Table<Type>>(detail::OpenTableStep<Type>{core(), detail::Name(name)},
                                  detail::TakeTable<Type>{});
  }
  /// Destroys a table; the handle is given up, also on failure. Errors: `busy` while other handles
  /// or cursors use it or other tables declare references into it, unless forced.
  template <class Type>
  [[nodiscard]] auto destroy_table(Table<Type>&& table, Force force = Force::no) noexcept {
    return simple(detail::DestroyTableStep{core(), table.take_core(), force});
  }
  /// Makes everything durable that was changed before the call, in persistent tables; nobody else
  /// waits. What is not in a checkpoint is lost when the process ends without closing the domain:
  /// the next opening finds the last checkpoint, exactly. Checkpoints are also made at close, by
  /// time and by bytes (`DomainOptions`). Errors: `unsupported` where tables are not persistent;
  /// `no_space`, `io_error`: the checkpoint before is still in force; `failed`: reopen the domain.
  [[nodiscard]] auto checkpoint() noexcept { return simple(detail::CheckpointStep{core()}); }
  /// The catalogue.
  [[nodiscard]] auto tables() noexcept {
    return operation<std::vector<TableInfo>>(detail::ListTablesStep{core()}, detail::TakeTables{});
  }

  /// Opens a transaction. Errors: `unsupported` for a flag whose capability is missing;
  /// `no_memory`.
  [[nodiscard]] auto begin(TransactionOptions options = {}) noexcept {
    return operation<Transaction>(detail::BeginStep{core(), options}, detail::TakeTransaction{});
  }

  /// The record a reference points to. Empty: null, erased, lost with a volatile table, or the
  /// address was used again. Errors: `not_found` when its table was destroyed; `wrong_type` when
  /// that table could not be opened as one of `Type`; those of a lookup.
  template <class Type>
  [[nodiscard]] auto follow(Ref<Type> target) noexcept {
    return follow_in(nullptr, std::move(target));
  }
  template <class Type>
  [[nodiscard]] auto follow(Transaction& transaction, Ref<Type> target) noexcept {
    return follow_in(transaction.core(), std::move(target));
  }

  [[nodiscard]] auto create_segment(std::string_view name, LocalSegment segment) noexcept {
    return simple(detail::CreateSegmentStep{core(), detail::Name(name), std::move(segment)});
  }
  [[nodiscard]] auto create_segment(std::string_view name, MemorySegment segment) noexcept {
    return simple(detail::CreateSegmentStep{core(), detail::Name(name), segment});
  }
  [[nodiscard]] auto create_segment(std::string_view name, RemoteSegment segment) noexcept {
    return simple(detail::CreateSegmentStep{core(), detail::Name(name), std::move(segment)});
  }
  /// `busy` while a table has pages in it.
  [[nodiscard]] auto destroy_segment(std::string_view name) noexcept {
    return simple(detail::DestroySegmentStep{core(), detail::Name(name)});
  }

  [[nodiscard]] DomainType type() const noexcept { return detail::domain_type(*core()); }
  [[nodiscard]] Capability capabilities() const noexcept { return capabilities_of(type()); }
  [[nodiscard]] std::string_view path() const noexcept { return detail::domain_path(*core()); }
  [[nodiscard]] DomainStatistics statistics() const noexcept {
    return detail::domain_statistics(*core());
  }
  [[nodiscard]] detail::DomainCore* core() const noexcept {
    FIRN_ASSERT(core_.get() != nullptr);  // an empty handle: moved from, or never opened
    return core_.get();
  }

 private:
  template <class T, class Step, class Finish>
  static DomainOperation<T, Step, Finish> operation(Step step, Finish finish) noexcept {
    return {std::move(step), std::move(finish)};
  }
  template <class Step>
  static DomainOperation<void, Step, detail::TakeNothing> simple(Step step) noexcept {
    return {std::move(step), detail::TakeNothing{}};
  }
  template <class Type>
  auto follow_in(detail::TransactionCore* transaction, Ref<Type> target) noexcept {
    return operation<std::optional<OwnedRecordOf<Type>>>(
        detail::FollowStep<Type>{core(), transaction, std::move(target)},
        detail::TakeFound<Type>{});
  }

  detail::Reference<detail::DomainCore> core_;
};

/// `Domain::open` as an operation.
class OpenOperation final : public Operation<Domain> {
 public:
  OpenOperation(std::string_view path, const DomainOptions& options) noexcept
      : path_kept_(path_.append(path)), options_(options) {}

 private:
  detail::Progress step() noexcept override {
    if (!path_kept_.has_value()) return detail::fail_with(error_, fail(path_kept_.error()));
    return detail::open_domain(*this, error_, path_.view().text(), options_, core_);
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(error_));
    settle_with(Result<Domain>(Domain(std::move(core_))));
  }

  Buffer path_;
  Result<void> path_kept_;
  DomainOptions options_;
  detail::Reference<detail::DomainCore> core_;
};

inline OpenOperation Domain::open(std::string_view path, const DomainOptions& options) noexcept {
  return {path, options};
}

}  // namespace firn
