// What handles point to: domains, tables and transactions without types. A domain type derives from
// these; the functions of engine.cpp check what is the same for all types and then call them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <firn/detail/engine.hpp>

#include "base/fork.hpp"

namespace firn::detail {

// Limits that every domain type keeps, so that a program moves between them. A key has at most a
// quarter of the default leaf page.
inline constexpr std::size_t key_size_bytes_max = 2048;
inline constexpr std::size_t record_size_bytes_max = std::size_t{1} << 30;
inline constexpr std::uint64_t memory_budget_bytes_min = std::uint64_t{1} << 20;

// Which line of a StripedCounter is this thread's: one that it alone writes while there are any
// left, else one that it shares.
struct Stripe {
  static constexpr std::uint32_t owned_count = 16;
  static constexpr std::uint32_t count = 2 * owned_count;  // the others are shared
  static constexpr std::uint32_t none = count;

  [[nodiscard]] static std::uint32_t of_this_thread() noexcept {
    return current == none ? choose() : current;
  }
  static void leave() noexcept;

 private:
  static std::uint32_t choose() noexcept;
  static constinit thread_local std::uint32_t current;
  static constinit std::atomic<std::uint32_t> owned;  // a bit each
};

// Counts that many threads add to: each thread has a line, read by adding them up. What one adds,
// it takes away again itself, if at all.
class StripedCounter {
 public:
  /// In one order with all other sequentially consistent accesses.
  void add_in_order(std::uint64_t by) noexcept {
    lines_[Stripe::of_this_thread()].value.fetch_add(by, std::memory_order_seq_cst);
  }
  /// Whoever sees it sees what the thread did before.
  void subtract(std::uint64_t by) noexcept { add<std::memory_order_release>(~by + 1); }
  [[nodiscard]] std::uint64_t sum_in_order() const noexcept {
    std::uint64_t total = 0;
    for (const Line& line : lines_) total += line.value.load(std::memory_order_seq_cst);
    return total;
  }
  void add(std::uint64_t by = 1) noexcept { add<std::memory_order_relaxed>(by); }
  /// What is added and taken away meanwhile may be seen in part: a negative sum is 0.
  [[nodiscard]] std::uint64_t sum() const noexcept {
    std::uint64_t total = 0;
    for (const Line& line : lines_) total += line.value.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(total) < 0 ? 0 : total;
  }

 private:
  struct alignas(64) Line {
    std::atomic<std::uint64_t> value{0};
  };
  template <std::memory_order order>
  void add(std::uint64_t by) noexcept {
    const std::uint32_t stripe = Stripe::of_this_thread();
    std::atomic<std::uint64_t>& value = lines_[stripe].value;
    if (stripe < Stripe::owned_count) {
      value.store(value.load(std::memory_order_relaxed) + by, order);
    } else {
      value.fetch_add(by, order);
    }
  }
  std::array<Line, Stripe::count> lines_;
};

// The sink of one key of a batch.
struct OneOfBatch {
  BatchSink batch;
  std::size_t index;

  [[nodiscard]] RecordSink sink() noexcept {
    return {[](void* context, Bytes record) noexcept {
              const auto& its = *static_cast<OneOfBatch*>(context);
              its.batch.take(its.batch.context, its.index, record);
            },
            this};
  }
};

// Shared between threads; lives as long as something counts it: handles and cursors (`retain`), and
// Firn itself (`borrow`), whose references hinder nobody from destroying the table.
class TableCore {
 public:
  virtual ~TableCore() = default;
  TableCore(const TableCore&) = delete;
  TableCore& operator=(const TableCore&) = delete;

  virtual Progress lookup(OperationBase& operation, Error& error, TransactionCore* transaction,
                          Bytes key, RecordSink sink) noexcept = 0;
  /// As detail::lookup_batch. Here one after another.
  virtual Progress lookup_batch(OperationBase& operation, Error& error,
                                TransactionCore* transaction, std::span<const Bytes> keys,
                                std::size_t& done, BatchSink sink) noexcept;
  virtual Progress write(OperationBase& operation, Error& error, TransactionCore* transaction,
                         WriteKind kind, Bytes key, Bytes record) noexcept = 0;
  virtual Progress insert_into_sack(OperationBase& operation, Error& error,
                                    TransactionCore* transaction, Address& address,
                                    Bytes record) noexcept = 0;
  virtual Progress move_cursor(OperationBase& operation, Error& error, CursorState& cursor,
                               Move move, Bytes target) noexcept = 0;
  [[nodiscard]] virtual std::uint64_t pair_count() const noexcept = 0;

  [[nodiscard]] std::strong_ordering compare(Bytes left, Bytes right) const noexcept {
    return type_.compare == nullptr ? left <=> right : type_.compare(left, right);
  }
  [[nodiscard]] TableInfo info() const;

  [[nodiscard]] DomainCore& domain() const noexcept { return domain_; }
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const TypeDescription& type() const noexcept { return type_; }
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return fingerprint_; }
  /// Ids of the tables that its references may point into, sorted.
  [[nodiscard]] const std::vector<std::uint64_t>& references() const noexcept {
    return references_;
  }

  /// How many handles and cursors point to it.
  [[nodiscard]] std::uint32_t handle_count() const noexcept {
    return static_cast<std::uint32_t>(counts_.load(std::memory_order_acquire) / handle);
  }

  // Shared.
  std::atomic<bool> destroyed{false};

 protected:
  TableCore(DomainCore& domain, std::uint64_t id, std::string name, TypeDescription type,
            Persistence persistence, std::vector<std::uint64_t> references)
      : domain_(domain),
        id_(id),
        name_(std::move(name)),
        type_(std::move(type)),
        persistence_(persistence),
        references_(std::move(references)) {}

 private:
  friend void retain(TableCore& core) noexcept;
  friend void release(TableCore& core) noexcept;
  friend void borrow(TableCore& core) noexcept;
  friend void give_back(TableCore& core) noexcept;

  // Two counts in one word, so that the last of either kind is known for sure: handles in the upper
  // half, what `borrow` added below. It begins with the catalogue's.
  static constexpr std::uint64_t handle = std::uint64_t{1} << 32;
  static constexpr std::uint64_t internal = 1;
  void remove(std::uint64_t count) noexcept {
    if (counts_.fetch_sub(count, std::memory_order_acq_rel) == count) delete this;
  }
  std::atomic<std::uint64_t> counts_{internal};

  // Constant after construction.
  DomainCore& domain_;
  const std::uint64_t id_;
  const std::string name_;
  const TypeDescription type_;
  const std::uint64_t fingerprint_ = detail::fingerprint(type_);
  const Persistence persistence_;
  const std::vector<std::uint64_t> references_;
};

// Firn's own references: that of the catalogue, which a table is made with, and those of steps. The
// last one destroys it. They do not keep the domain's core, as handles do.
void borrow(TableCore& core) noexcept;
void give_back(TableCore& core) noexcept;

// A reference of a step's own. One thread at a time.
class BorrowedTable {
 public:
  BorrowedTable() noexcept = default;
  explicit BorrowedTable(TableCore& core) noexcept : core_(&core) { borrow(core); }
  BorrowedTable(BorrowedTable&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  BorrowedTable& operator=(BorrowedTable&& other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~BorrowedTable() {
    if (core_ != nullptr) give_back(*core_);
  }
  [[nodiscard]] TableCore* get() const noexcept { return core_; }

 private:
  TableCore* core_ = nullptr;
};

// Shared between threads; counted references.
class DomainCore {
 public:
  virtual ~DomainCore() = default;
  DomainCore(const DomainCore&) = delete;
  DomainCore& operator=(const DomainCore&) = delete;

  virtual Progress close(OperationBase& operation, Error& error) noexcept = 0;
  // What closing does when nobody asks for its outcome.
  virtual void abandon() noexcept = 0;
  virtual Progress create_table(OperationBase& operation, Error& error, std::string_view name,
                                const TypeDescription& type, const TableOptions& options,
                                Reference<TableCore>& out) noexcept = 0;
  virtual Progress open_table(OperationBase& operation, Error& error, std::string_view name,
                              const TypeDescription& type, Reference<TableCore>& out) noexcept = 0;
  virtual Progress destroy_table(OperationBase& operation, Error& error, TableCore& table,
                                 Force force) noexcept = 0;
  virtual Progress list_tables(OperationBase& operation, Error& error,
                               std::vector<TableInfo>& out) noexcept = 0;
  // The table of that id; null when it was destroyed.
  virtual Progress find_table(OperationBase& operation, Error& error, std::uint64_t id,
                              BorrowedTable& out) noexcept = 0;
  // Called of domain types with the capability `persistent` only.
  virtual Progress checkpoint(OperationBase& operation, Error& error) noexcept;
  // Called of domain types with the capability `segments` only.
  virtual Progress create_segment(OperationBase& operation, Error& error, std::string_view name,
                                  const LocalSegment* local, const MemorySegment* memory,
                                  const RemoteSegment* remote) noexcept;
  virtual Progress destroy_segment(OperationBase& operation, Error& error,
                                   std::string_view name) noexcept;
  virtual Progress begin(OperationBase& operation, Error& error, const TransactionOptions& options,
                         TransactionCore*& out) noexcept = 0;
  [[nodiscard]] virtual DomainStatistics statistics() const noexcept = 0;

  [[nodiscard]] bool is_usable() const noexcept {
    return !closed.load(std::memory_order_acquire) && of_this_process();
  }
  // Why the domain cannot be used now, if so.
  [[nodiscard]] Result<void> usable() const noexcept {
    if (closed.load(std::memory_order_acquire)) {
      return fail(ErrorCode::invalid_state, "the domain is closed");
    }
    if (!of_this_process()) {
      return fail(ErrorCode::invalid_state, "a forked child cannot use its parent's domain");
    }
    return {};
  }

  [[nodiscard]] DomainType type() const noexcept { return type_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const DomainOptions& options() const noexcept { return options_; }
  /// Whether this process opened it, and not the one it was forked from.
  [[nodiscard]] bool of_this_process() const noexcept {
    return process_ == base::process_generation();
  }

  // Shared.
  std::atomic<std::uint32_t> reference_count{1};
  std::atomic<bool> closed{false};
  StripedCounter lookups;
  StripedCounter updates;
  StripedCounter moves;
  DomainCore* next_open = nullptr;  // of the list of open names, which guards it

 protected:
  DomainCore(DomainType type, std::string path, const DomainOptions& options)
      : type_(type), path_(std::move(path)), options_(options) {}

 private:
  // Constant after construction.
  const DomainType type_;
  const std::string path_;
  const DomainOptions options_;
  const std::uint32_t process_ = base::process_generation();
};

// One thread at a time.
class TransactionCore {
 public:
  enum class State : std::uint8_t { open, committed, aborted };

  virtual ~TransactionCore() = default;
  TransactionCore(const TransactionCore&) = delete;
  TransactionCore& operator=(const TransactionCore&) = delete;

  virtual Progress commit(OperationBase& operation, Error& error) noexcept = 0;
  virtual Progress abort(OperationBase& operation, Error& error) noexcept = 0;
  virtual Progress wait_persistent(OperationBase& operation, Error& error,
                                   std::uint64_t& epoch) noexcept = 0;
  virtual Result<void> force() noexcept = 0;
  // The handle is gone: aborts what is open and, when nothing refers to it any more, frees it.
  virtual void drop() noexcept = 0;

  // Legal arrows: open -> committed, open -> aborted.
  void transition(State to) noexcept {
    FIRN_ASSERT(state_ == State::open && to != State::open);
    state_ = to;
  }
  [[nodiscard]] DomainCore& domain() const noexcept { return domain_; }
  [[nodiscard]] const TransactionOptions& options() const noexcept { return options_; }
  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] PersistenceNotice& notice() noexcept { return notice_; }

 protected:
  TransactionCore(DomainCore& domain, const TransactionOptions& options) noexcept
      : domain_(domain), options_(options) {}

 private:
  DomainCore& domain_;
  const TransactionOptions options_;
  State state_ = State::open;
  PersistenceNotice notice_;
};

// How a step on a table ends that failed.
inline Progress fail_at(Error& error, Failure failure, const TableCore& table) noexcept {
  failure.error.place.table = table.id();
  return fail_with(error, failure);
}

// The engine's own object inside a cursor, made at the first call. One type for each cursor.
template <class State>
State& engine_state_of(CursorState& cursor) noexcept {
  static_assert(sizeof(State) <= CursorState::engine_state_size);
  static_assert(alignof(State) <= alignof(std::max_align_t));
  if (cursor.drop_engine_state == nullptr) {
    ::new (static_cast<void*>(cursor.engine_state)) State();
    cursor.drop_engine_state = [](void* state) noexcept {
      std::launder(static_cast<State*>(state))->~State();
    };
  }
  return *std::launder(reinterpret_cast<State*>(cursor.engine_state));
}

Progress open_light(OperationBase& operation, Error& error, std::string_view path,
                    const DomainOptions& options, Reference<DomainCore>& out) noexcept;
Progress open_native(OperationBase& operation, Error& error, std::string_view path,
                     const DomainOptions& options, Reference<DomainCore>& out) noexcept;

}  // namespace firn::detail
