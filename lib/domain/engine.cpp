// The library's side of include/firn/detail/engine.hpp: what every domain type checks in the same
// way stands here, the rest is the type's own.
#include <firn/detail/engine.hpp>

#include <array>
#include <bit>
#include <new>
#include <utility>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "domain/catalogue_rules.hpp"
#include "domain/core.hpp"
#include "runtime/operation_access.hpp"

namespace firn::detail {
namespace {

// What must hold before any operation on a table begins: at a glance, and why it does not.
bool may_use(const TableCore& table, const TransactionCore* transaction) noexcept {
  return transaction == nullptr && table.domain().is_usable() &&
         !table.destroyed.load(std::memory_order_acquire);
}
Result<void> check_use(const TableCore& table, const TransactionCore* transaction) noexcept {
  FIRN_TRY(table.domain().usable());
  if (table.destroyed.load(std::memory_order_acquire)) {
    return fail(ErrorCode::invalid_state, "the table was destroyed");
  }
  if (transaction == nullptr) return {};
  if (&transaction->domain() != &table.domain()) {
    return fail(ErrorCode::wrong_domain, "the transaction belongs to another domain");
  }
  if (transaction->state() != TransactionCore::State::open) {
    return fail(ErrorCode::invalid_state, "the transaction is closed");
  }
  return {};
}

Result<void> check_update(const TableCore& table, const TransactionCore* transaction,
                          Bytes record) noexcept {
  if (!may_use(table, transaction)) FIRN_TRY(check_use(table, transaction));
  if (transaction != nullptr && transaction->options().read_only) {
    return fail(ErrorCode::invalid_state, "the transaction is read-only");
  }
  if (record.size() > record_size_bytes_max) {
    return fail(ErrorCode::too_large, "a record has at most 1 GiB, this one {} bytes",
                record.size());
  }
  return {};
}

Result<void> check_key(Bytes key) noexcept {
  if (key.size() > key_size_bytes_max) {
    return fail(ErrorCode::too_large, "a key has at most 2048 bytes, this one {}", key.size());
  }
  return {};
}

Result<void> check_name(std::string_view name) noexcept {
  if (name.empty()) return fail(ErrorCode::invalid_argument, "a name has at least one byte");
  if (name.size() > Name::size_max) {
    return fail(ErrorCode::too_large, "a name has at most 255 bytes, this one more");
  }
  return {};
}

Result<void> check_offers(const DomainCore& domain, Capability capability) noexcept {
  if (includes(capabilities_of(domain.type()), capability)) return {};
  return domain::lacking(capability);
}

// Whether an earlier step has begun what it does: it may be doing just what the checks look for.
bool was_begun(const OperationBase& operation) noexcept {
  return OperationAccess::has_engine_state(operation);
}

// Set when the thread's store is gone. Destructors of the program's own statics and thread locals
// run later than that and may call Firn: they find no warm buffers. It has no destructor itself.
constinit thread_local bool buffer_store_gone = false;

// Warm buffers of this thread. Bounded: no more of them, and none larger, than these. Its end is
// that of all that a thread has here: each destructor to be called takes a lock of the loader's
// once.
struct BufferStore {
  ~BufferStore() {
    buffer_store_gone = true;
    Stripe::leave();
  }
  void expect_end() const noexcept {}  // any first touch has the destructor called
  static constexpr std::size_t count_max = 16;
  static constexpr std::size_t kept_capacity_max = 64 * 1024;
  std::array<Buffer, count_max> buffers;
  std::size_t count = 0;
};
thread_local BufferStore buffer_store;

}  // namespace

constinit thread_local std::uint32_t Stripe::current = Stripe::none;
constinit std::atomic<std::uint32_t> Stripe::owned{0};

// A thread that ends leaves its line to another one.
void Stripe::leave() noexcept {
  const std::uint32_t former = std::exchange(current, none);
  if (former < owned_count) owned.fetch_and(~(1U << former), std::memory_order_release);
}

// What a thread that has ended here still counts goes to a shared line.
std::uint32_t Stripe::choose() noexcept {
  static constinit std::atomic<std::uint32_t> sharing_count{0};
  std::uint32_t taken = owned.load(std::memory_order_relaxed);
  while (!buffer_store_gone && taken != (1U << owned_count) - 1) {
    const auto free = static_cast<std::uint32_t>(std::countr_one(taken));
    if (owned.compare_exchange_weak(taken, taken | 1U << free, std::memory_order_acquire)) {
      buffer_store.expect_end();
      return current = free;
    }
  }
  return current = owned_count +
                   sharing_count.fetch_add(1, std::memory_order_relaxed) % (count - owned_count);
}

Progress TableCore::lookup_batch(OperationBase& operation, Error& error,
                                 TransactionCore* transaction, std::span<const Bytes> keys,
                                 std::size_t& done, BatchSink sink) noexcept {
  for (; done < keys.size(); ++done) {
    OneOfBatch one{sink, done};
    const Progress progress = lookup(operation, error, transaction, keys[done], one.sink());
    if (progress == Progress::waiting || progress == Progress::failed) return progress;
  }
  return Progress::yes;
}

TableInfo TableCore::info() const {
  return {.id = id_,
          .name = name_,
          .type = type_.name,
          .version_major = type_.version.major,
          .version_minor = type_.version.minor,
          .sack = type_.sack,
          .persistence = persistence_,
          .key_schema = type_.key_schema,
          .record_schema = type_.record_schema,
          .comparator = type_.comparator,
          .references = references_,
          .pair_count = pair_count()};
}

void retain(DomainCore& core) noexcept {
  core.reference_count.fetch_add(1, std::memory_order_relaxed);
}
void release(DomainCore& core) noexcept {
  if (core.reference_count.fetch_sub(1, std::memory_order_acq_rel) == 1) delete &core;
}
// A table keeps its domain's core alive through the handles, not through the domain's own list.
void retain(TableCore& core) noexcept {
  core.counts_.fetch_add(TableCore::handle, std::memory_order_relaxed);
  retain(core.domain());
}
void release(TableCore& core) noexcept {
  DomainCore& domain = core.domain();
  core.remove(TableCore::handle);
  release(domain);
}
void borrow(TableCore& core) noexcept {
  core.counts_.fetch_add(TableCore::internal, std::memory_order_relaxed);
}
void give_back(TableCore& core) noexcept { core.remove(TableCore::internal); }

// Unreachable: who has the capability has functions of its own.
Progress DomainCore::checkpoint(OperationBase&, Error& error) noexcept {
  return fail_with(error, domain::lacking(Capability::persistent));
}
Progress DomainCore::create_segment(OperationBase&, Error& error, std::string_view,
                                    const LocalSegment*, const MemorySegment*,
                                    const RemoteSegment*) noexcept {
  return fail_with(error, domain::lacking(Capability::segments));
}
Progress DomainCore::destroy_segment(OperationBase&, Error& error, std::string_view) noexcept {
  return fail_with(error, domain::lacking(Capability::segments));
}

Buffer take_buffer() noexcept {
  if (buffer_store_gone) return Buffer();
  BufferStore& store = buffer_store;
  if (store.count == 0) return Buffer();
  return std::move(store.buffers[--store.count]);
}
void give_buffer(Buffer&& buffer) noexcept {
  Buffer given = std::move(buffer);
  if (buffer_store_gone) return;
  BufferStore& store = buffer_store;
  if (store.count == BufferStore::count_max || given.capacity() == 0 ||
      given.capacity() > BufferStore::kept_capacity_max) {
    return;
  }
  given.clear();
  store.buffers[store.count++] = std::move(given);
}

Progress lookup(OperationBase& operation, Error& error, TableCore& table,
                TransactionCore* transaction, Bytes key, RecordSink sink) noexcept {
  if (!may_use(table, transaction)) [[unlikely]] {
    const auto use = check_use(table, transaction);
    if (!use.has_value()) return fail_at(error, fail(use.error()), table);
  }
  const Progress progress = table.lookup(operation, error, transaction, key, sink);
  if (progress != Progress::waiting) table.domain().lookups.add();
  return progress;
}

Progress lookup_batch(OperationBase& operation, Error& error, TableCore& table,
                      TransactionCore* transaction, std::span<const Bytes> keys, std::size_t& done,
                      BatchSink sink) noexcept {
  FIRN_ASSERT(keys.size() <= lookup_batch_max);
  if (!may_use(table, transaction)) [[unlikely]] {
    const auto use = check_use(table, transaction);
    if (!use.has_value()) return fail_at(error, fail(use.error()), table);
  }
  const std::size_t done_before = done;
  const Progress progress = table.lookup_batch(operation, error, transaction, keys, done, sink);
  // Once it waits it may be running elsewhere.
  if (progress != Progress::waiting) table.domain().lookups.add(done - done_before);
  return progress;
}

Progress write(OperationBase& operation, Error& error, TableCore& table,
               TransactionCore* transaction, WriteKind kind, Bytes key, Bytes record) noexcept {
  auto checked = check_update(table, transaction, record);
  if (checked.has_value()) checked = check_key(key);
  if (!checked.has_value()) return fail_at(error, fail(checked.error()), table);
  return table.write(operation, error, transaction, kind, key, record);
}

Progress insert_into_sack(OperationBase& operation, Error& error, TableCore& table,
                          TransactionCore* transaction, Address& address, Bytes record) noexcept {
  if (auto checked = check_update(table, transaction, record); !checked.has_value()) {
    return fail_at(error, fail(checked.error()), table);
  }
  return table.insert_into_sack(operation, error, transaction, address, record);
}

Result<void> check_cursor(CursorState& cursor) noexcept {
  FIRN_TRY(check_use(*cursor.table, cursor.transaction));
  if (cursor.bounds_hold) return {};
  const bool bounded = cursor.has_lower || cursor.has_upper;
  if (bounded && !cursor.table->type().hints.ordered) {
    return fail(ErrorCode::unsupported, "the table's type is unordered: it takes no bounds");
  }
  if (cursor.has_lower && cursor.has_upper &&
      cursor.table->compare(cursor.lower(), cursor.upper()) > 0) {
    return fail(ErrorCode::invalid_argument, "the lower bound lies above the upper bound");
  }
  cursor.bounds_hold = true;
  return {};
}

Progress move_cursor(OperationBase& operation, Error& error, CursorState& cursor, Move move,
                     Bytes target) noexcept {
  TableCore& table = *cursor.table;
  if (!cursor.bounds_hold || !may_use(table, cursor.transaction)) {
    const auto checked = check_cursor(cursor);
    if (!checked.has_value()) return fail_at(error, fail(checked.error()), table);
  }
  if (move != Move::next && !table.type().hints.ordered) {
    return fail_at(
        error,
        fail(ErrorCode::unsupported, "the table's type is unordered: its cursors go forward"),
        table);
  }
  const Progress progress = table.move_cursor(operation, error, cursor, move, target);
  if (progress == Progress::waiting) return progress;
  if (progress != Progress::failed && !cursor.status.has_value()) cursor.status = {};
  table.domain().moves.add();
  return progress;
}

Progress follow(OperationBase& operation, Error& error, DomainCore& domain,
                TransactionCore* transaction, std::uint64_t table_id, Bytes key,
                FingerprintFunction type, RecordSink sink) noexcept {
  if (auto usable = domain.usable(); !usable.has_value()) {
    return fail_with(error, fail(usable.error()));
  }
  if (transaction != nullptr && &transaction->domain() != &domain) {
    return fail_with(error,
                     fail(ErrorCode::wrong_domain, "the transaction belongs to another domain"));
  }
  if (table_id == 0) return Progress::no;  // a null reference
  BorrowedTable table;
  const Progress found = domain.find_table(operation, error, table_id, table);
  if (found == Progress::waiting || found == Progress::failed) return found;
  const Failure destroyed =
      fail(ErrorCode::not_found, "the reference's table {} was destroyed", table_id);
  if (found == Progress::no) return fail_with(error, destroyed);
  std::uint64_t expected = 0;
  if (auto made = base::guard_allocation([&] { expected = type(); }); !made.has_value()) {
    return fail_with(error, fail(made.error()));
  }
  if (table.get()->fingerprint() != expected && !FIRN_PLANTED("follow-type-unchecked")) {
    return fail_at(error,
                   fail(ErrorCode::wrong_type,
                        "name, kind, codec, comparator or major version differ from the table's"),
                   *table.get());
  }
  const Progress progress = lookup(operation, error, *table.get(), transaction, key, sink);
  // It may have been destroyed since it was found.
  if (progress == Progress::failed && error.code == ErrorCode::invalid_state &&
      table.get()->destroyed.load(std::memory_order_acquire) && domain.usable().has_value()) {
    return fail_with(error, destroyed);
  }
  return progress;
}

Progress open_domain(OperationBase& operation, Error& error, std::string_view path,
                     const DomainOptions& options, Reference<DomainCore>& out) noexcept {
  if (options.memory_budget < memory_budget_bytes_min) {
    return fail_with(error, fail(ErrorCode::invalid_argument,
                                 "a memory budget has at least 1 MiB, this one {} bytes",
                                 options.memory_budget));
  }
  const Capability offered = capabilities_of(options.type);
  for (std::uint32_t bit = 1; bit != 0; bit <<= 1) {
    const auto capability = static_cast<Capability>(bit);
    if (includes(options.required, capability) && !includes(offered, capability)) {
      return fail_with(error, domain::lacking(capability));
    }
  }
  base::watch_forks();
  switch (options.type) {
    case DomainType::light:
      return open_light(operation, error, path, options, out);
    case DomainType::native:
      return open_native(operation, error, path, options, out);
    case DomainType::db5:
    case DomainType::rvm:
      break;
  }
  return fail_with(
      error, fail(ErrorCode::unsupported, "the domain type '{s}' is not part of this build", 0,
                  name_of(options.type).data()));
}

Progress close_domain(OperationBase& operation, Error& error, DomainCore& domain) noexcept {
  if (was_begun(operation)) return domain.close(operation, error);
  if (auto usable = domain.usable(); !usable.has_value()) {
    return fail_with(error, fail(usable.error()));
  }
  return domain.close(operation, error);
}
void abandon_domain(DomainCore& domain) noexcept {
  if (domain.usable().has_value()) domain.abandon();
}

Progress create_table(OperationBase& operation, Error& error, DomainCore& domain,
                      std::string_view name, DescribeFunction describe, const TableOptions& options,
                      Reference<TableCore>& out) noexcept {
  TypeDescription type;
  if (was_begun(operation)) {
    return domain.create_table(operation, error, name, type, options, out);
  }
  auto checked = domain.usable();
  if (checked.has_value()) checked = check_name(name);
  if (checked.has_value()) checked = base::guard_allocation([&] { type = describe(); });
  if (checked.has_value()) {
    checked = domain::check_capabilities(capabilities_of(domain.type()), type, options);
  }
  if (!checked.has_value()) return fail_with(error, fail(checked.error()));
  return domain.create_table(operation, error, name, type, options, out);
}

Progress open_table(OperationBase& operation, Error& error, DomainCore& domain,
                    std::string_view name, DescribeFunction describe,
                    Reference<TableCore>& out) noexcept {
  auto checked = domain.usable();
  if (checked.has_value()) checked = check_name(name);
  TypeDescription type;
  if (checked.has_value()) checked = base::guard_allocation([&] { type = describe(); });
  if (!checked.has_value()) return fail_with(error, fail(checked.error()));
  return domain.open_table(operation, error, name, type, out);
}

Progress destroy_table(OperationBase& operation, Error& error, DomainCore& domain, TableCore& table,
                       Force force) noexcept {
  if (was_begun(operation)) return domain.destroy_table(operation, error, table, force);
  auto checked = domain.usable();
  if (checked.has_value() && &table.domain() != &domain) {
    checked = fail(ErrorCode::wrong_domain, "the table belongs to another domain");
  }
  if (checked.has_value()) checked = check_use(table, nullptr);
  if (!checked.has_value()) return fail_with(error, fail(checked.error()));
  return domain.destroy_table(operation, error, table, force);
}

Progress list_tables(OperationBase& operation, Error& error, DomainCore& domain,
                     std::vector<TableInfo>& out) noexcept {
  if (auto usable = domain.usable(); !usable.has_value()) {
    return fail_with(error, fail(usable.error()));
  }
  return domain.list_tables(operation, error, out);
}

Progress checkpoint_domain(OperationBase& operation, Error& error, DomainCore& domain) noexcept {
  if (was_begun(operation)) return domain.checkpoint(operation, error);
  auto checked = domain.usable();
  if (checked.has_value()) checked = check_offers(domain, Capability::persistent);
  if (!checked.has_value()) return fail_with(error, fail(checked.error()));
  return domain.checkpoint(operation, error);
}

Progress create_segment(OperationBase& operation, Error& error, DomainCore& domain,
                        std::string_view name, const LocalSegment* local,
                        const MemorySegment* memory, const RemoteSegment* remote) noexcept {
  auto checked = domain.usable();
  if (checked.has_value()) checked = check_name(name);
  if (checked.has_value()) checked = check_offers(domain, Capability::segments);
  if (!checked.has_value()) return fail_with(error, fail(checked.error()));
  return domain.create_segment(operation, error, name, local, memory, remote);
}

Progress destroy_segment(OperationBase& operation, Error& error, DomainCore& domain,
                         std::string_view name) noexcept {
  auto checked = domain.usable();
  if (checked.has_value()) checked = check_name(name);
  if (checked.has_value()) checked = check_offers(domain, Capability::segments);
  if (!checked.has_value()) return fail_with(error, fail(checked.error()));
  return domain.destroy_segment(operation, error, name);
}

std::uint64_t table_id(const TableCore& table) noexcept { return table.id(); }
std::string_view table_name(const TableCore& table) noexcept { return table.name(); }
DomainType domain_type(const DomainCore& domain) noexcept { return domain.type(); }
std::string_view domain_path(const DomainCore& domain) noexcept { return domain.path(); }
DomainStatistics domain_statistics(const DomainCore& domain) noexcept {
  return domain.statistics();
}

Progress begin(OperationBase& operation, Error& error, DomainCore& domain,
               const TransactionOptions& options, TransactionCore*& out) noexcept {
  auto checked = domain.usable();
  if (checked.has_value() && options.abortable) checked = check_offers(domain, Capability::abort);
  if (checked.has_value() && options.notify) checked = check_offers(domain, Capability::notify);
  if (!checked.has_value()) return fail_with(error, fail(checked.error()));
  return domain.begin(operation, error, options, out);
}

namespace {
Result<void> check_open(const TransactionCore& core) noexcept {
  FIRN_TRY(core.domain().usable());
  if (core.state() != TransactionCore::State::open) {
    return fail(ErrorCode::invalid_state, "the transaction is closed");
  }
  return {};
}
}  // namespace

Progress commit(OperationBase& operation, Error& error, TransactionCore& core) noexcept {
  if (auto open = check_open(core); !open.has_value()) return fail_with(error, fail(open.error()));
  return core.commit(operation, error);
}
Progress abort(OperationBase& operation, Error& error, TransactionCore& core) noexcept {
  auto open = check_open(core);
  if (open.has_value() && !core.options().abortable) {
    open = fail(ErrorCode::invalid_state, "the transaction was not begun abortable");
  }
  if (!open.has_value()) return fail_with(error, fail(open.error()));
  return core.abort(operation, error);
}
Progress wait_persistent(OperationBase& operation, Error& error, TransactionCore& core,
                         std::uint64_t& epoch) noexcept {
  Result<void> checked = core.domain().usable();
  if (checked.has_value() && !core.options().notify) {
    checked = fail(ErrorCode::invalid_state, "the transaction was begun without notify");
  }
  if (checked.has_value() && core.state() != TransactionCore::State::committed) {
    checked = fail(ErrorCode::invalid_state, "the transaction is not committed");
  }
  if (!checked.has_value()) return fail_with(error, fail(checked.error()));
  return core.wait_persistent(operation, error, epoch);
}
Result<void> force(TransactionCore& core) noexcept {
  FIRN_TRY(core.domain().usable());
  if (core.state() == TransactionCore::State::aborted) {
    return fail(ErrorCode::invalid_state, "the transaction was aborted");
  }
  return core.force();
}
Result<PersistenceNotice*> notice_of(TransactionCore& core) noexcept {
  FIRN_TRY(check_open(core));
  if (!core.options().notify) {
    return fail(ErrorCode::invalid_state, "the transaction was begun without notify");
  }
  if (core.notice().call != nullptr) {
    return fail(ErrorCode::invalid_state, "the transaction has its callback");
  }
  return &core.notice();
}
void drop(TransactionCore& core) noexcept { core.drop(); }

}  // namespace firn::detail
