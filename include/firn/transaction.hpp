// Transactions: groups of updates that a failure leaves all or none of.
//
// Commit makes a transaction visible; it becomes durable later, in order, and says so. What a
// domain type ignores of this its capabilities tell (light: updates apply at once, notices come at
// commit).
#pragma once

#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include <firn/detail/engine.hpp>
#include <firn/operation.hpp>
#include <firn/options.hpp>

namespace firn {

/// What a notice of persistence says: every transaction of this epoch and before is durable.
struct Persisted {
  std::uint64_t epoch = 0;
};

/// `commit` or `abort` of a transaction.
class FinishOperation final : public Operation<void> {
 public:
  using Step = detail::Progress (*)(OperationBase&, Error&, detail::TransactionCore&) noexcept;
  FinishOperation(detail::TransactionCore* core, Step action) noexcept
      : core_(core), action_(action) {}

 private:
  detail::Progress step() noexcept override {
    if (core_ == nullptr) {
      return detail::fail_with(error_,
                               fail(ErrorCode::invalid_state, "the transaction's handle is empty"));
    }
    return action_(*this, error_, *core_);
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(error_));
    settle_with(Result<void>());
  }
  detail::TransactionCore* core_;
  Step action_;
};

/// Waits until a committed transaction is durable.
class PersistentOperation final : public Operation<Persisted> {
 public:
  explicit PersistentOperation(detail::TransactionCore* core) noexcept : core_(core) {}

 private:
  detail::Progress step() noexcept override {
    if (core_ == nullptr) {
      return detail::fail_with(error_,
                               fail(ErrorCode::invalid_state, "the transaction's handle is empty"));
    }
    return detail::wait_persistent(*this, error_, *core_, epoch_);
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(error_));
    settle_with(Result<Persisted>(Persisted{epoch_}));
  }
  detail::TransactionCore* core_;
  std::uint64_t epoch_ = 0;
};

/// A transaction's handle: move-only, one thread at a time. It outlives the operations and cursors
/// that it was passed to. Dropping an open one aborts it where the domain can, and closes it where
/// it cannot. Its own calls on an empty handle are `invalid_state`; passing an empty handle to a
/// table or domain is a programmer's error.
class Transaction {
 public:
  Transaction() noexcept = default;
  explicit Transaction(detail::TransactionCore* core) noexcept : core_(core) {}
  Transaction(Transaction&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  Transaction& operator=(Transaction&& other) noexcept {
    Transaction moved(std::move(other));
    std::swap(core_, moved.core_);
    return *this;
  }
  ~Transaction() {
    if (core_ != nullptr) detail::drop(*core_);
  }

  /// Makes the updates visible and, later and without further calls, durable. `invalid_state` if
  /// the transaction is closed already.
  [[nodiscard]] FinishOperation commit() noexcept { return {core_, &detail::commit}; }
  /// Drops the updates. `invalid_state` if it was not begun abortable or is closed.
  [[nodiscard]] FinishOperation abort() noexcept { return {core_, &detail::abort}; }
  /// Closes the epoch as soon as possible and returns at once; before commit it takes effect there.
  Result<void> force() noexcept {
    if (core_ == nullptr) return empty();
    return detail::force(*core_);
  }
  /// Ends when the transaction is durable, or with `failed` when it can no longer become so. Needs
  /// `notify`; before commit it is `invalid_state`.
  [[nodiscard]] PersistentOperation persistent() noexcept { return PersistentOperation(core_); }

  /// Has `callback(Result<Persisted>)` called once, on the executor that runs the commit, when the
  /// transaction is durable. Needs `notify`, before commit, and takes one callback: a second one
  /// is `invalid_state`. At most 48 bytes, trivially copyable.
  template <class F>
  Result<void> on_persistent(F callback) noexcept {
    static_assert(std::is_nothrow_invocable_v<F&, Result<Persisted>>, "callbacks are noexcept");
    static_assert(sizeof(F) <= detail::PersistenceNotice::size_max);
    static_assert(std::is_trivially_copyable_v<F>, "capture pointers and plain values");
    if (core_ == nullptr) return empty();
    FIRN_TRY_ASSIGN(detail::PersistenceNotice * notice, detail::notice_of(*core_));
    ::new (static_cast<void*>(notice->context)) F(std::move(callback));
    notice->call = [](void* context, Result<std::uint64_t> epoch) noexcept {
      F& stored = *std::launder(static_cast<F*>(context));
      if (epoch.has_value()) {
        stored(Result<Persisted>(Persisted{*epoch}));
      } else {
        stored(Result<Persisted>(fail(epoch.error())));
      }
    };
    return {};
  }

  [[nodiscard]] detail::TransactionCore* core() const noexcept {
    FIRN_ASSERT(core_ != nullptr);  // an empty handle: moved from, or never begun
    return core_;
  }

 private:
  static Failure empty() noexcept {
    return fail(ErrorCode::invalid_state, "the transaction's handle is empty");
  }
  detail::TransactionCore* core_ = nullptr;
};

}  // namespace firn
