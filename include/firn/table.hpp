// Tables: sets of pairs with unique keys, all of the structure that the table type gives.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <firn/cursor.hpp>
#include <firn/detail/engine.hpp>
#include <firn/operation.hpp>
#include <firn/ref.hpp>
#include <firn/transaction.hpp>

namespace firn {
namespace detail {

// Calls `use(Bytes)` with the encoded key: plain bytes as they are, anything else by way of a warm
// buffer of this thread.
template <class Type, class Use>
Progress with_key(const KeyOf<Type>& key, Error& error, Use&& use) noexcept {
  if constexpr (std::is_same_v<KeyCodecOf<Type>, BytesCodec>) {
    return use(Bytes(key));
  } else {
    ScratchBuffer buffer;
    if (auto encoded = encode_key<Type>(key, *buffer); !encoded.has_value()) {
      return fail_with(error, fail(encoded.error()));
    }
    return use(buffer->view());
  }
}
template <class Type, class Use>
Progress with_record(const RecordOf<Type>& record, Error& error, Use&& use) noexcept {
  if constexpr (std::is_same_v<RecordCodecOf<Type>, BytesCodec>) {
    return use(Bytes(record));
  } else {
    ScratchBuffer buffer;
    if (auto encoded = encode_record<Type>(record, *buffer); !encoded.has_value()) {
      return fail_with(error, fail(encoded.error()));
    }
    return use(buffer->view());
  }
}

// Decodes a found record into the operation that looked for it.
template <class Type>
struct Found {
  std::optional<OwnedRecordOf<Type>> record;
  Result<void> decoded;

  static void take(void* context, Bytes bytes) noexcept {
    auto& self = *static_cast<Found*>(context);
    self.record.emplace();
    self.decoded = decode_record<Type>(bytes, *self.record);
  }
  RecordSink sink() noexcept { return {&take, this}; }
  // The lookup's answer: a record that does not decode is `corrupt` with its table.
  Progress check(Progress progress, Error& error, std::uint64_t table) noexcept {
    if (progress != Progress::yes || decoded.has_value()) return progress;
    error = decoded.error();
    error.place.table = table;
    return Progress::failed;
  }
};

}  // namespace detail

/// Finds a record by key: empty when there is none. The record is `corrupt`, with the table's
/// number, when the type's codec does not accept its bytes; `Table::read` still shows them.
template <class Type>
class LookupOperation final : public Operation<std::optional<OwnedRecordOf<Type>>> {
 public:
  LookupOperation(detail::TableCore* table, detail::TransactionCore* transaction,
                  KeyOf<Type> key) noexcept
      : table_(table), transaction_(transaction), key_(std::move(key)) {}

 private:
  detail::Progress step() noexcept override {
    return detail::with_key<Type>(key_, this->error_, [this](Bytes key) noexcept {
      const detail::Progress progress =
          detail::lookup(*this, this->error_, *table_, transaction_, key, found_.sink());
      if (progress == detail::Progress::waiting) return progress;
      return found_.check(progress, this->error_, detail::table_id(*table_));
    });
  }
  void settle(detail::Progress progress) noexcept override {
    switch (progress) {
      case detail::Progress::yes:
        return this->settle_with(std::move(found_.record));
      case detail::Progress::no:
        return this->settle_with(std::optional<OwnedRecordOf<Type>>());
      default:
        return this->settle_with(fail(this->error_));
    }
  }

  detail::TableCore* table_;
  detail::TransactionCore* transaction_;
  KeyOf<Type> key_;
  detail::Found<Type> found_;
};

/// Finds the records of many keys, and is done when all were looked for; the answer is how many
/// were found. Their waits overlap: for the processor's cache, and for pages that are not in
/// memory. They are lookups of their own each, not a view of one moment. `records` has a place for
/// each key, empty where there is no pair; keys and places stay where they are until the operation
/// is done. Errors: as of a lookup; places of keys that were looked for by then are filled.
template <class Type>
class LookupBatchOperation final : public Operation<std::size_t> {
 public:
  LookupBatchOperation(detail::TableCore* table, detail::TransactionCore* transaction,
                       std::span<const KeyOf<Type>> keys,
                       std::span<std::optional<OwnedRecordOf<Type>>> records) noexcept
      : table_(table), transaction_(transaction), keys_(keys), records_(records) {}

 private:
  detail::Progress step() noexcept override {
    if (records_.size() < keys_.size()) {
      return detail::fail_with(error_, fail(ErrorCode::invalid_argument,
                                            "a batch needs a place for the record of each key"));
    }
    if (!std::exchange(began_, true)) {
      for (auto& record : records_) record.reset();
    }
    while (first_ < keys_.size()) {
      const detail::Progress progress = look_for_some();
      if (progress != detail::Progress::yes) return progress;
    }
    return detail::Progress::yes;
  }
  // The next keys, as many as fit into one call.
  detail::Progress look_for_some() noexcept {
    const std::size_t count = std::min(keys_.size() - first_, detail::lookup_batch_max);
    std::array<Bytes, detail::lookup_batch_max> encoded;
    detail::ScratchBuffer buffer;
    if constexpr (std::is_same_v<KeyCodecOf<Type>, BytesCodec>) {
      for (std::size_t index = 0; index < count; ++index) encoded[index] = keys_[first_ + index];
    } else {
      std::array<std::size_t, detail::lookup_batch_max> ends;
      for (std::size_t index = 0; index < count; ++index) {
        if (auto made = encode_key<Type>(keys_[first_ + index], *buffer); !made.has_value()) {
          return detail::fail_with(error_, fail(made.error()));
        }
        ends[index] = buffer->size();
      }
      for (std::size_t index = 0; index < count; ++index) {
        const std::size_t begin = index == 0 ? 0 : ends[index - 1];
        encoded[index] = buffer->view().subview(begin).first(ends[index] - begin);
      }
    }
    const detail::Progress progress =
        detail::lookup_batch(*this, error_, *table_, transaction_, {encoded.data(), count}, done_,
                             {&LookupBatchOperation::take, this});
    if (progress != detail::Progress::yes) return progress;
    if (!decoded_.has_value()) {
      error_ = decoded_.error();
      error_.place.table = detail::table_id(*table_);
      return detail::Progress::failed;
    }
    first_ += count;
    done_ = 0;
    return detail::Progress::yes;
  }
  static void take(void* context, std::size_t index, Bytes bytes) noexcept {
    auto& self = *static_cast<LookupBatchOperation*>(context);
    auto& record = self.records_[self.first_ + index];
    record.emplace();
    auto decoded = decode_record<Type>(bytes, *record);
    if (decoded.has_value()) return;
    record.reset();
    self.decoded_ = decoded;
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(error_));
    std::size_t found = 0;
    for (std::size_t index = 0; index < keys_.size(); ++index) found += records_[index].has_value();
    settle_with(found);
  }

  detail::TableCore* table_;
  detail::TransactionCore* transaction_;
  std::span<const KeyOf<Type>> keys_;
  std::span<std::optional<OwnedRecordOf<Type>>> records_;
  std::size_t first_ = 0;  // of the call's keys
  std::size_t done_ = 0;   // of them
  bool began_ = false;
  Result<void> decoded_;
};

/// Shows a found record's bytes to a visitor, without decoding them; says whether there was one. No
/// latch is held meanwhile: the visitor may call Firn. It may be called again with a newer version,
/// and the last call counts.
template <class Type, class Visitor>
class ReadOperation final : public Operation<bool> {
 public:
  ReadOperation(detail::TableCore* table, detail::TransactionCore* transaction, KeyOf<Type> key,
                Visitor visitor) noexcept
      : table_(table), transaction_(transaction), key_(std::move(key)), visitor_(visitor) {}

 private:
  static void take(void* context, Bytes record) noexcept {
    static_cast<ReadOperation*>(context)->visitor_(record);
  }
  detail::Progress step() noexcept override {
    return detail::with_key<Type>(key_, this->error_, [this](Bytes key) noexcept {
      return detail::lookup(*this, this->error_, *table_, transaction_, key, {&take, this});
    });
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(this->error_));
    settle_with(progress == detail::Progress::yes);
  }

  detail::TableCore* table_;
  detail::TransactionCore* transaction_;
  KeyOf<Type> key_;
  Visitor visitor_;
};

/// Inserts, puts, updates or erases one pair; atomic for its key.
template <class Type>
class WriteOperation final : public Operation<void> {
 public:
  WriteOperation(detail::TableCore* table, detail::TransactionCore* transaction,
                 detail::WriteKind kind, KeyOf<Type> key,
                 RecordOf<Type> record = RecordOf<Type>()) noexcept
      : table_(table),
        transaction_(transaction),
        key_(std::move(key)),
        record_(std::move(record)),
        kind_(kind) {}

 private:
  [[nodiscard]] bool erases() const noexcept {
    return kind_ == detail::WriteKind::erase || kind_ == detail::WriteKind::erase_present;
  }
  detail::Progress step() noexcept override {
    return detail::with_key<Type>(key_, this->error_, [this](Bytes key) noexcept {
      if (erases()) {
        return detail::write(*this, this->error_, *table_, transaction_, kind_, key, Bytes());
      }
      return detail::with_record<Type>(record_, this->error_, [this, key](Bytes record) noexcept {
        return detail::write(*this, this->error_, *table_, transaction_, kind_, key, record);
      });
    });
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(this->error_));
    settle_with();
  }

  detail::TableCore* table_;
  detail::TransactionCore* transaction_;
  KeyOf<Type> key_;
  RecordOf<Type> record_;
  detail::WriteKind kind_;
};

/// Adds a record to a sack and says at which address.
template <class Type>
class SackInsertOperation final : public Operation<Address> {
 public:
  SackInsertOperation(detail::TableCore* table, detail::TransactionCore* transaction,
                      RecordOf<Type> record) noexcept
      : table_(table), transaction_(transaction), record_(std::move(record)) {}

 private:
  detail::Progress step() noexcept override {
    return detail::with_record<Type>(record_, this->error_, [this](Bytes record) noexcept {
      return detail::insert_into_sack(*this, this->error_, *table_, transaction_, address_, record);
    });
  }
  void settle(detail::Progress progress) noexcept override {
    if (progress == detail::Progress::failed) return settle_with(fail(this->error_));
    settle_with(Result<Address>(address_));
  }

  detail::TableCore* table_;
  detail::TransactionCore* transaction_;
  RecordOf<Type> record_;
  Address address_;
};

/// A table's handle: cheap to copy and to pass between threads. Many threads may call it at a time,
/// each with its own operations, which it outlives; it is moved, assigned and destroyed by one
/// alone. Keys and records are moved into the operation, but for plain bytes, which the caller
/// keeps until it is done.
///
/// Errors of every call: `invalid_state` when the domain is closed, the table destroyed or the
/// process a forked child; `wrong_domain` for a transaction of another domain; what the codec
/// refuses; `no_memory`, `io_error`, `corrupt`. Of updates: `too_large` for a key above a quarter
/// of the leaf page (2,048 bytes) or a record above 1 GiB, `no_space`. Lookups, bounds and seeks
/// take keys of any size: one above the limit is the key of no pair.
template <class Type>
class Table {
 public:
  using Key = KeyOf<Type>;
  using Record = RecordOf<Type>;

  Table() noexcept = default;
  explicit Table(detail::Reference<detail::TableCore> core) noexcept : core_(std::move(core)) {}

  /// Adds a pair; `already_exists` if the key is there.
  [[nodiscard]] WriteOperation<Type> insert(Key key, Record record) noexcept
      requires(!is_sack<Type>) {
    return {core(), nullptr, detail::WriteKind::insert, std::move(key), std::move(record)};
  }
  [[nodiscard]] WriteOperation<Type> insert(Transaction& transaction, Key key,
                                            Record record) noexcept requires(!is_sack<Type>) {
    return {core(), transaction.core(), detail::WriteKind::insert, std::move(key),
            std::move(record)};
  }
  /// Adds a record to a sack; the address is Firn's choice and is never used again while it lives.
  [[nodiscard]] SackInsertOperation<Type> insert(Record record) noexcept requires(is_sack<Type>) {
    return {core(), nullptr, std::move(record)};
  }
  [[nodiscard]] SackInsertOperation<Type> insert(Transaction& transaction, Record record) noexcept
      requires(is_sack<Type>) {
    return {core(), transaction.core(), std::move(record)};
  }

  /// Inserts or replaces, without looking.
  [[nodiscard]] WriteOperation<Type> put(Key key, Record record) noexcept requires(!is_sack<Type>) {
    return {core(), nullptr, detail::WriteKind::put, std::move(key), std::move(record)};
  }
  [[nodiscard]] WriteOperation<Type> put(Transaction& transaction, Key key, Record record) noexcept
      requires(!is_sack<Type>) {
    return {core(), transaction.core(), detail::WriteKind::put, std::move(key), std::move(record)};
  }

  /// Replaces the record of a key; `not_found` if it is not there.
  [[nodiscard]] WriteOperation<Type> update(Key key, Record record) noexcept {
    return {core(), nullptr, detail::WriteKind::update, std::move(key), std::move(record)};
  }
  [[nodiscard]] WriteOperation<Type> update(Transaction& transaction, Key key,
                                            Record record) noexcept {
    return {core(), transaction.core(), detail::WriteKind::update, std::move(key),
            std::move(record)};
  }

  /// Removes a pair. A key that is not there is fine, or `not_found` with `Expect::present`.
  [[nodiscard]] WriteOperation<Type> erase(Key key, Expect expect = Expect::any) noexcept {
    return {core(), nullptr, erase_kind(expect), std::move(key)};
  }
  [[nodiscard]] WriteOperation<Type> erase(Transaction& transaction, Key key,
                                           Expect expect = Expect::any) noexcept {
    return {core(), transaction.core(), erase_kind(expect), std::move(key)};
  }

  /// Finds the record of a key, the transaction's own updates first.
  [[nodiscard]] LookupOperation<Type> lookup(Key key) const noexcept {
    return {core(), nullptr, std::move(key)};
  }
  [[nodiscard]] LookupOperation<Type> lookup(Transaction& transaction, Key key) const noexcept {
    return {core(), transaction.core(), std::move(key)};
  }

  /// Finds the records of many keys in less time than one after another.
  [[nodiscard]] LookupBatchOperation<Type> lookup_batch(
      std::span<const Key> keys,
      std::span<std::optional<OwnedRecordOf<Type>>> records) const noexcept {
    return {core(), nullptr, keys, records};
  }
  [[nodiscard]] LookupBatchOperation<Type> lookup_batch(
      Transaction& transaction, std::span<const Key> keys,
      std::span<std::optional<OwnedRecordOf<Type>>> records) const noexcept {
    return {core(), transaction.core(), keys, records};
  }

  /// Shows the encoded record of a key to `visitor(Bytes) noexcept`, for as long as the call takes.
  template <std::invocable<Bytes> Visitor>
  [[nodiscard]] ReadOperation<Type, Visitor> read(Key key, Visitor visitor) const noexcept {
    return {core(), nullptr, std::move(key), std::move(visitor)};
  }
  template <std::invocable<Bytes> Visitor>
  [[nodiscard]] ReadOperation<Type, Visitor> read(Transaction& transaction, Key key,
                                                  Visitor visitor) const noexcept {
    return {core(), transaction.core(), std::move(key), std::move(visitor)};
  }

  /// A cursor over [lower, upper), before its first pair. Bounds that make no sense show in the
  /// cursor's `status()` and in its first move.
  [[nodiscard]] Cursor<Type> cursor(Range<Key> range = {}) const noexcept {
    return Cursor<Type>(core(), nullptr, range);
  }
  [[nodiscard]] Cursor<Type> cursor(Transaction& transaction,
                                    Range<Key> range = {}) const noexcept {
    return Cursor<Type>(core(), transaction.core(), range);
  }

  /// A reference to the pair of `key` in this table, to be kept in a record. The pair need not
  /// exist.
  [[nodiscard]] Result<Ref<Type>> ref(const Key& key) const noexcept requires(!is_sack<Type>) {
    return Ref<Type>::make(id(), key);
  }
  [[nodiscard]] Ref<Type> ref(Address address) const noexcept requires(is_sack<Type>) {
    return *Ref<Type>::make(id(), address);
  }

  /// The table's number in its domain: never used again, also after it is destroyed.
  [[nodiscard]] std::uint64_t id() const noexcept { return detail::table_id(*core()); }
  [[nodiscard]] std::string_view name() const noexcept { return detail::table_name(*core()); }

  [[nodiscard]] detail::TableCore* core() const noexcept {
    FIRN_ASSERT(core_.get() != nullptr);  // an empty handle: moved from, or never opened
    return core_.get();
  }
  [[nodiscard]] detail::Reference<detail::TableCore> take_core() noexcept {
    FIRN_ASSERT(core_.get() != nullptr);  // an empty handle: moved from, or never opened
    return std::move(core_);
  }

 private:
  static detail::WriteKind erase_kind(Expect expect) noexcept {
    return expect == Expect::present ? detail::WriteKind::erase_present : detail::WriteKind::erase;
  }
  detail::Reference<detail::TableCore> core_;
};

}  // namespace firn
