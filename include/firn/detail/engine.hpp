// The border between the typed handles, which are templates, and the library: untyped cores, bytes,
// and one function per kind of step. Not part of the public interface.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <firn/buffer.hpp>
#include <firn/operation.hpp>
#include <firn/options.hpp>
#include <firn/stats.hpp>
#include <firn/table_type.hpp>

namespace firn::detail {

class DomainCore;
class TableCore;
class TransactionCore;

FIRN_API void retain(DomainCore& core) noexcept;
FIRN_API void release(DomainCore& core) noexcept;
FIRN_API void retain(TableCore& core) noexcept;
FIRN_API void release(TableCore& core) noexcept;

// A counted reference to a core; what a handle holds. May be passed between threads, but one
// reference is used by one thread at a time.
template <class Core>
class Reference {
 public:
  Reference() noexcept = default;
  // Takes over a count that the core already has.
  static Reference adopt(Core* core) noexcept {
    Reference made;
    made.core_ = core;
    return made;
  }
  // Adds a count.
  static Reference share(Core& core) noexcept {
    retain(core);
    return adopt(&core);
  }
  Reference(const Reference& other) noexcept : core_(other.core_) {
    if (core_ != nullptr) retain(*core_);
  }
  Reference(Reference&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  Reference& operator=(Reference other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~Reference() {
    if (core_ != nullptr) release(*core_);
  }
  [[nodiscard]] Core* get() const noexcept { return core_; }
  explicit operator bool() const noexcept { return core_ != nullptr; }

 private:
  Core* core_ = nullptr;
};

// Where a found record goes: `take` sees it during the call only. It may be called again with
// another version of the record when a step is repeated; the last call counts.
struct RecordSink {
  void (*take)(void* context, Bytes record) noexcept = nullptr;
  void* context = nullptr;
};

// The same for the keys of a batch, by their index.
struct BatchSink {
  void (*take)(void* context, std::size_t index, Bytes record) noexcept = nullptr;
  void* context = nullptr;
};
// Keys of one call: so many misses of the cache overlap, and their keys fit on a stack.
inline constexpr std::size_t lookup_batch_max = 32;

enum class WriteKind : std::uint8_t { insert, put, update, erase, erase_present };
enum class Move : std::uint8_t { next, previous, seek };
// A fresh cursor goes either way; one that ran off an end comes back only the other way.
enum class CursorPlace : std::uint8_t { fresh, before_first, at_pair, after_last };

// How a step ends that failed.
inline Progress fail_with(Error& error, const Failure& failure) noexcept {
  error = failure.error;
  return Progress::failed;
}

// A cursor without types. The engine keeps the current pair, encoded, and a note of its own about
// where it stands; it does not register the cursor anywhere. The record lies in the room for it or
// in the engine's own object.
struct CursorState {
  TableCore* table = nullptr;
  TransactionCore* transaction = nullptr;
  Buffer bounds;  // the lower bound, then the upper
  Buffer key;
  Buffer record_room;
  Bytes record;
  std::size_t lower_size = 0;
  CursorPlace place = CursorPlace::fresh;
  bool has_lower = false;
  bool has_upper = false;
  bool bounds_hold = false;  // they were checked, and never change
  Result<void> status;
  // The engine's own object, made at the first move.
  static constexpr std::size_t engine_state_size = 208;
  void (*drop_engine_state)(void* state) noexcept = nullptr;
  alignas(std::max_align_t) std::byte engine_state[engine_state_size];

  CursorState() noexcept = default;
  ~CursorState() {
    if (drop_engine_state != nullptr) drop_engine_state(engine_state);
  }
  CursorState(const CursorState&) = delete;
  CursorState& operator=(const CursorState&) = delete;

  [[nodiscard]] Bytes lower() const noexcept { return bounds.view().first(lower_size); }
  [[nodiscard]] Bytes upper() const noexcept { return bounds.view().subview(lower_size); }
};

// Buffers of this thread, warm from former use: what is encoded on the way of an operation needs no
// allocation. A buffer taken is given back by the same thread; large ones are not kept.
FIRN_API Buffer take_buffer() noexcept;
FIRN_API void give_buffer(Buffer&& buffer) noexcept;
class ScratchBuffer {
 public:
  ScratchBuffer() noexcept : buffer_(take_buffer()) {}
  ~ScratchBuffer() { give_buffer(std::move(buffer_)); }
  ScratchBuffer(const ScratchBuffer&) = delete;
  ScratchBuffer& operator=(const ScratchBuffer&) = delete;
  Buffer& operator*() noexcept { return buffer_; }
  Buffer* operator->() noexcept { return &buffer_; }

 private:
  Buffer buffer_;
};

// Steps of operations. Each either parks the operation and says `waiting`, or ends with yes or no,
// or fills `error` and says `failed`. Views are used during the call only.
FIRN_API Progress lookup(OperationBase& operation, Error& error, TableCore& table,
                         TransactionCore* transaction, Bytes key, RecordSink sink) noexcept;
// Looks for `keys[done]` and those after it, and counts in `done` how far it came; yes at the end.
FIRN_API Progress lookup_batch(OperationBase& operation, Error& error, TableCore& table,
                               TransactionCore* transaction, std::span<const Bytes> keys,
                               std::size_t& done, BatchSink sink) noexcept;
FIRN_API Progress write(OperationBase& operation, Error& error, TableCore& table,
                        TransactionCore* transaction, WriteKind kind, Bytes key,
                        Bytes record) noexcept;
FIRN_API Progress insert_into_sack(OperationBase& operation, Error& error, TableCore& table,
                                   TransactionCore* transaction, Address& address,
                                   Bytes record) noexcept;
// `target` is where a seek goes.
FIRN_API Progress move_cursor(OperationBase& operation, Error& error, CursorState& cursor,
                              Move move, Bytes target) noexcept;
// Checks the bounds against each other and the table; the answer is the new cursor's status.
FIRN_API Result<void> check_cursor(CursorState& cursor) noexcept;

// A number made of all that `open_table` compares, so that a step compares types without describing
// them. Types that differ have two, but for one chance in 2^64. It is not kept on any device.
FIRN_API std::uint64_t fingerprint(const TypeDescription& type) noexcept;
// Made by the first call, which throws when there is no memory for that.
template <class Type>
std::uint64_t fingerprint_of() {
  // No guarded static: the first comers would sleep on it.
  static constinit std::atomic<std::uint64_t> number{0};
  std::uint64_t known = number.load(std::memory_order_relaxed);
  if (known == 0) {
    known = fingerprint(describe<Type>());
    number.store(known, std::memory_order_relaxed);
  }
  return known;
}
using FingerprintFunction = std::uint64_t (*)();
FIRN_API Progress follow(OperationBase& operation, Error& error, DomainCore& domain,
                         TransactionCore* transaction, std::uint64_t table, Bytes key,
                         FingerprintFunction type, RecordSink sink) noexcept;

// A table or segment's name, kept inside the operation that it is given to. Of one that is too long
// as much is kept as shows that.
class Name {
 public:
  explicit Name(std::string_view name) noexcept : size_(std::min(name.size(), size_max + 1)) {
    std::copy_n(name.data(), size_, bytes_.data());
  }
  [[nodiscard]] std::string_view view() const noexcept { return {bytes_.data(), size_}; }
  static constexpr std::size_t size_max = 255;

 private:
  std::size_t size_;
  std::array<char, size_max + 1> bytes_ = {};
};

// Describes a table type; throws when there is no memory for that.
using DescribeFunction = TypeDescription (*)();

FIRN_API Progress open_domain(OperationBase& operation, Error& error, std::string_view path,
                              const DomainOptions& options, Reference<DomainCore>& out) noexcept;
// The last of a domain handle that was not closed.
FIRN_API void abandon_domain(DomainCore& domain) noexcept;
FIRN_API Progress close_domain(OperationBase& operation, Error& error, DomainCore& domain) noexcept;
FIRN_API Progress create_table(OperationBase& operation, Error& error, DomainCore& domain,
                               std::string_view name, DescribeFunction describe,
                               const TableOptions& options, Reference<TableCore>& out) noexcept;
FIRN_API Progress open_table(OperationBase& operation, Error& error, DomainCore& domain,
                             std::string_view name, DescribeFunction describe,
                             Reference<TableCore>& out) noexcept;
FIRN_API Progress destroy_table(OperationBase& operation, Error& error, DomainCore& domain,
                                TableCore& table, Force force) noexcept;
FIRN_API Progress list_tables(OperationBase& operation, Error& error, DomainCore& domain,
                              std::vector<TableInfo>& out) noexcept;
FIRN_API Progress checkpoint_domain(OperationBase& operation, Error& error,
                                    DomainCore& domain) noexcept;
FIRN_API Progress create_segment(OperationBase& operation, Error& error, DomainCore& domain,
                                 std::string_view name, const LocalSegment* local,
                                 const MemorySegment* memory, const RemoteSegment* remote) noexcept;
FIRN_API Progress destroy_segment(OperationBase& operation, Error& error, DomainCore& domain,
                                  std::string_view name) noexcept;

FIRN_API std::uint64_t table_id(const TableCore& table) noexcept;
FIRN_API std::string_view table_name(const TableCore& table) noexcept;
FIRN_API DomainType domain_type(const DomainCore& domain) noexcept;
FIRN_API std::string_view domain_path(const DomainCore& domain) noexcept;
FIRN_API DomainStatistics domain_statistics(const DomainCore& domain) noexcept;

// A notice of persistence, kept inside the transaction.
struct PersistenceNotice {
  static constexpr std::size_t size_max = 48;
  void (*call)(void* context, Result<std::uint64_t> epoch) noexcept = nullptr;
  alignas(std::max_align_t) std::byte context[size_max];
};
FIRN_API Progress begin(OperationBase& operation, Error& error, DomainCore& domain,
                        const TransactionOptions& options, TransactionCore*& out) noexcept;
FIRN_API Progress commit(OperationBase& operation, Error& error, TransactionCore& core) noexcept;
FIRN_API Progress abort(OperationBase& operation, Error& error, TransactionCore& core) noexcept;
FIRN_API Progress wait_persistent(OperationBase& operation, Error& error, TransactionCore& core,
                                  std::uint64_t& epoch) noexcept;
FIRN_API Result<void> force(TransactionCore& core) noexcept;
FIRN_API Result<PersistenceNotice*> notice_of(TransactionCore& core) noexcept;
FIRN_API void drop(TransactionCore& core) noexcept;

}  // namespace firn::detail
