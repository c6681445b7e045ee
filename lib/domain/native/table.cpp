// Tables of the native domain: each step enters the table, asks its tree, and says in the words of
// the surface what came of it.
#include <array>
#include <cstddef>
#include <utility>

#include "base/planted.hpp"
#include "base/yield.hpp"
#include "domain/native/native.hpp"

namespace firn::domain {
namespace {

// Addresses that one write of the catalogue's row allows.
constexpr std::uint64_t addresses_at_a_time = 4096;
// While an address may not be used yet, `generation` is this, or, when the insert has waited for
// the limit, `waited_since` and how many raises had ended before.
constexpr std::uint32_t not_waited = 0;
constexpr std::uint32_t first_generation = 1;
constexpr std::uint32_t waited_since = 2;

TypeDescription with_order(const TypeDescription& type, CompareFunction compare) {
  TypeDescription whole = type;
  whole.compare = compare;
  return whole;
}

tree::Write write_of(WriteKind kind) noexcept {
  switch (kind) {
    case WriteKind::insert:
      return tree::Write::insert;
    case WriteKind::put:
      return tree::Write::put;
    case WriteKind::update:
      return tree::Write::update;
    case WriteKind::erase:
    case WriteKind::erase_present:
      break;
  }
  return tree::Write::erase;
}

}  // namespace

NativeTable::NativeTable(NativeDomain& domain, std::shared_ptr<CatalogueRow> row,
                         CompareFunction order)
    : TableCore(domain, row->id, row->name, with_order(row->type, order), row->persistence,
                row->references),
      native_(domain),
      tree_(domain.pool(), shape_of(*row, row->root, order)),
      leaf_class_(row->leaf_class),
      row_(std::move(row)),
      next_address_(row_->address_limit),
      address_limit_(row_->address_limit) {
  pairs_.add(row_->pair_count);
  raise_.table = this;
}

TableInfo NativeTable::info_with_layout() const {
  TableInfo info = this->info();
  info.leaf_size = buffer::page_bytes(leaf_class_);
  return info;
}

// A step's time in the table. Whoever destroys the table or closes the domain says so first and
// then waits until nobody is inside.
class NativeTable::Entered {
 public:
  explicit Entered(NativeTable& table) noexcept : table_(table) { table.inside_.add_in_order(1); }
  ~Entered() { leave(); }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

  /// Whether the step ends here; `error` says why.
  [[nodiscard]] bool refused(Error& error) const noexcept {
    if (table_.native_.is_usable() && !table_.destroyed.load()) [[likely]] {
      return false;
    }
    auto allowed = table_.native_.usable();
    if (allowed.has_value() && table_.destroyed.load()) {
      allowed = fail(ErrorCode::invalid_state, "the table was destroyed");
    }
    if (!allowed.has_value()) static_cast<void>(fail_at(error, fail(allowed.error()), table_));
    return !allowed.has_value();
  }
  /// The rest of the step touches neither table nor pool.
  void leave() noexcept {
    if (std::exchange(inside_, false)) table_.inside_.subtract(1);
  }

 private:
  NativeTable& table_;
  bool inside_ = true;
};

Progress NativeTable::lookup(OperationBase& operation, Error& error, TransactionCore*, Bytes key,
                             RecordSink sink) noexcept {
  return lookup_from({}, operation, error, key, sink);
}

// The descents of all keys go down side by side; then each lookup begins where its own has ended.
Progress NativeTable::lookup_batch(OperationBase& operation, Error& error, TransactionCore*,
                                   std::span<const Bytes> keys, std::size_t& done,
                                   BatchSink sink) noexcept {
  std::array<tree::Resumption, detail::lookup_batch_max> starts;
  if (done == 0) {
    const Entered entered(*this);
    if (entered.refused(error)) return Progress::failed;
    tree_.prepare_lookups(OperationAccess::home(operation), keys, starts);
  }
  for (; done < keys.size(); ++done) {
    OneOfBatch one{sink, done};
    const Progress progress = lookup_from(starts[done], operation, error, keys[done], one.sink());
    if (progress == Progress::waiting || progress == Progress::failed) return progress;
  }
  return Progress::yes;
}

Progress NativeTable::lookup_from(const tree::Resumption& start, OperationBase& operation,
                                  Error& error, Bytes key, RecordSink sink) noexcept {
  Entered entered(*this);
  if (entered.refused(error)) return Progress::failed;
  FIRN_YIELD("native.lookup");
  tree::Caller caller(native_.pool(), operation);
  caller.start_at(start);
  // A codec may call Firn, and may even have the table destroyed: nobody waits for this step then.
  struct Show {
    Entered& entered;
    RecordSink sink;
  } show{entered, sink};
  const auto take = [](void* context, Bytes value) noexcept {
    auto& its = *static_cast<Show*>(context);
    its.entered.leave();
    its.sink.take(its.sink.context, value);
  };
  const Progress progress = tree_.lookup(caller, error, key, {.take = take, .context = &show});
  return progress == Progress::failed ? fail_at(error, fail(error), *this) : progress;
}

Progress NativeTable::write(OperationBase& operation, Error& error, TransactionCore*,
                            WriteKind kind, Bytes key, Bytes record) noexcept {
  const Entered entered(*this);
  if (entered.refused(error)) return Progress::failed;
  FIRN_YIELD("native.write");
  return write_inside(operation, error, kind, key, record);
}

Progress NativeTable::write_inside(OperationBase& operation, Error& error, WriteKind kind,
                                   Bytes key, Bytes record) noexcept {
  if (native_.store().failed()) return fail_at(error, NativeDomain::failed(), *this);
  if (record.size() > tree_.value_size_max()) {
    return fail_at(error,
                   fail(ErrorCode::too_large, "a record of this table has at most {} bytes",
                        tree_.value_size_max()),
                   *this);
  }
  tree::Caller caller(native_.pool(), operation);
  int pairs = 0;
  switch (tree_.write(caller, error, write_of(kind), key, record, pairs)) {
    case Progress::waiting:
      return Progress::waiting;
    case Progress::failed:
      return fail_at(error, fail(error), *this);
    case Progress::no:
      if (kind == WriteKind::erase) break;
      if (kind == WriteKind::insert) {
        return fail_at(error, fail(ErrorCode::already_exists, "a pair of this key is there"),
                       *this);
      }
      return fail_at(error, fail(ErrorCode::not_found, "no pair has this key"), *this);
    case Progress::yes:
      if (pairs != 0) pairs_.add(static_cast<std::uint64_t>(pairs));
      native_.keeper().note_change();
      break;
  }
  native_.updates.add();
  return Progress::yes;
}

// The number is kept when the insert waits and starts again; one that was not used in the end is a
// gap.
Progress NativeTable::insert_into_sack(OperationBase& operation, Error& error, TransactionCore*,
                                       Address& address, Bytes record) noexcept {
  const Entered entered(*this);
  if (entered.refused(error)) return Progress::failed;
  if (address.is_null()) address = {.number = next_address_.fetch_add(1), .generation = not_waited};
  if (address.generation != first_generation) {
    const Progress progress = limit_or_park(operation, error, address);
    if (progress != Progress::yes) return progress;
    address.generation = first_generation;
  }
  std::byte key[12];
  for (int index = 0; index < 8; ++index) {
    key[index] = static_cast<std::byte>(address.number >> (56 - 8 * index));
  }
  for (int index = 0; index < 4; ++index) {
    key[8 + index] = static_cast<std::byte>(address.generation >> (24 - 8 * index));
  }
  return write_inside(operation, error, WriteKind::insert, Bytes(key, sizeof key), record);
}

// yes: the catalogue's row allows the number.
Progress NativeTable::limit_or_park(OperationBase& operation, Error& error,
                                    Address& address) noexcept {
  while (address.number >= address_limit_.load()) {
    if (address.generation != not_waited &&
        failed_raise_.load() > address.generation - waited_since) {
      const base::SpinGuard guard(raise_error_lock_);
      return fail_at(error, fail(raise_error_), *this);
    }
    address.generation = raises_ended_.load() + waited_since;
    if (!raising_.exchange(true)) start_raise();
    const bool parked = runtime::park_operation(
        runtime::ParkingLot::shared(), &address_limit_, operation,
        [&]() noexcept { return raising_.load() && address.number >= address_limit_.load(); });
    if (parked) return Progress::waiting;
  }
  return Progress::yes;
}

// A raise counts as a job, so that the domain is not dismantled under it.
void NativeTable::start_raise() noexcept {
  borrow(*this);
  native_.job_count().fetch_add(1);
  raise_.home = &native_.background();
  raise_.run = [](runtime::Runnable& runnable) noexcept {
    NativeTable& self = *static_cast<Raise&>(runnable).table;
    const auto started = spawn(
        *runnable.home, [](void* context) noexcept { static_cast<NativeTable*>(context)->raise(); },
        &self);
    if (!started.has_value()) self.end_raise(started, 0);
  };
  native_.background().send(raise_);
}

void NativeTable::raise() noexcept {
  Result<void> raised;
  std::uint64_t limit = 0;
  {
    const FiberGuard guard(native_.catalogue_mutex());
    const std::uint64_t former = row_->address_limit;
    limit = next_address_.load() + addresses_at_a_time;
    // Its row may be erased already, and would be there again.
    if (row_->state == RowState::destroyed) {
      raised = fail(ErrorCode::invalid_state, "the table was destroyed");
    } else if (!FIRN_PLANTED("native-limit-not-written")) {
      row_->address_limit = limit;
      raised = native_.catalogue().write(*row_);
    }
    if (!raised.has_value()) row_->address_limit = former;
    if (raised.has_value()) native_.keeper().note_change();
  }
  end_raise(raised, limit);
}

// Whoever parked looks at the limit and at the failure once more.
void NativeTable::end_raise(const Result<void>& raised, std::uint64_t limit) noexcept {
  if (raised.has_value()) {
    address_limit_.store(limit);
  } else {
    const base::SpinGuard guard(raise_error_lock_);
    raise_error_ = raised.error();
    failed_raise_.store(raises_ended_.load() + 1);
  }
  raises_ended_.fetch_add(1);
  raising_.store(false);
  // Before anybody goes on and finds it counted; what follows is over before the domain's keeper,
  // on this thread too, looks at the count.
  native_.job_count().fetch_sub(1);
  runtime::ParkingLot::shared().unpark_all(&address_limit_);
  give_back(*this);
}

Progress NativeTable::move_cursor(OperationBase& operation, Error& error, CursorState& cursor,
                                  Move move, Bytes target) noexcept {
  const Entered entered(*this);
  if (entered.refused(error)) return Progress::failed;
  FIRN_YIELD("native.move");
  const bool at_pair = cursor.place == CursorPlace::at_pair;
  tree::Target where = tree::Target::first;
  Bytes key;
  bool ended = false;
  switch (move) {
    case Move::next:
      ended = cursor.place == CursorPlace::after_last;
      if (at_pair) {
        where = tree::Target::after;
        key = cursor.key.view();
      } else if (cursor.has_lower) {
        where = tree::Target::at_or_after;
        key = cursor.lower();
      }
      break;
    case Move::previous:
      ended = cursor.place == CursorPlace::before_first;
      where = tree::Target::last;
      if (at_pair || cursor.has_upper) {
        where = tree::Target::before;
        key = at_pair ? cursor.key.view() : cursor.upper();
      }
      break;
    case Move::seek:
      where = tree::Target::at_or_after;
      key = cursor.has_lower && compare(target, cursor.lower()) < 0 ? cursor.lower() : target;
      break;
  }
  Progress progress = Progress::no;
  if (!ended) {
    tree::Caller caller(native_.pool(), operation);
    progress = tree_.move(caller, error, engine_state_of<tree::Position>(cursor), where, key,
                          {cursor.key, cursor.record_room, cursor.record});
  }
  if (progress == Progress::waiting) return progress;
  if (progress == Progress::failed) return fail_at(error, fail(error), *this);
  const bool outside = progress == Progress::yes &&
                       ((cursor.has_upper && compare(cursor.key.view(), cursor.upper()) >= 0) ||
                        (cursor.has_lower && compare(cursor.key.view(), cursor.lower()) < 0));
  if (progress == Progress::yes && !outside) {
    cursor.place = CursorPlace::at_pair;
    return Progress::yes;
  }
  cursor.place = move == Move::previous ? CursorPlace::before_first : CursorPlace::after_last;
  return Progress::no;
}

}  // namespace firn::domain
