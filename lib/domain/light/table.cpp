// Tables of the light domain: one latch, one skip list. Memory is allocated and charged before the
// latch is taken, so a step never allocates while it holds it.
#include <algorithm>
#include <utility>

#include "base/planted.hpp"
#include "base/yield.hpp"
#include "domain/light/light.hpp"

namespace firn::domain {
// Memory that a write may need, allocated without the latch. What is not used goes back.
struct LightTable::Prepared {
  SkipList::NodePointer node;
  SkipList::RecordPointer record;
  std::size_t charged = 0;
};

// The node of a cursor's pair, as long as the list is of that version.
struct LightTable::Place {
  std::uint64_t version = 0;
  SkipList::Node* node = nullptr;
  Buffer former;  // the room that a key looked for lies in, since there is larger room
};

namespace {

// What is looked for may lie in the buffer: then it stays where it is.
Result<void> make_room(Buffer& buffer, std::size_t size, Bytes looked_for,
                       Buffer& former) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(buffer.data());
  const auto place = reinterpret_cast<std::uintptr_t>(looked_for.data());
  if (size <= buffer.capacity() || place < begin || place - begin >= buffer.size()) {
    return buffer.reserve(size);
  }
  Buffer larger;
  FIRN_TRY(larger.reserve(size));
  FIRN_TRY(larger.append(buffer.view()));
  former = std::exchange(buffer, std::move(larger));
  return {};
}

}  // namespace

LightTable::LightTable(LightDomain& domain, std::uint64_t id, std::string name,
                       const TypeDescription& type, std::vector<std::uint64_t> references)
    : TableCore(domain, id, std::move(name), type, Persistence::volatile_, std::move(references)),
      light_(domain),
      list_(type.compare) {}

LightTable::~LightTable() {
  std::size_t memory = own_memory_;
  for (const auto* node = list_.first(); node != nullptr; node = node->next[0]) {
    memory += node->memory() + node->record->memory();
  }
  light_.discharge(memory);
  light_.pairs.add(~list_.count() + 1);
}

bool LightTable::charge_itself() noexcept {
  const TypeDescription& description = type();
  const std::size_t size = sizeof(LightTable) + name().size() + description.name.size() +
                           description.key_schema.size() + description.record_schema.size() +
                           description.comparator.size() +
                           references().size() * sizeof(std::uint64_t);
  if (!light_.charge(size)) return false;
  own_memory_ = size;
  return true;
}

// The record is shown when the latch is released, so that whoever decodes it may take his time and
// call Firn. Records that fit the stack, as most do, take that way; larger ones a warm buffer's.
Progress LightTable::lookup(OperationBase& operation, Error& error, TransactionCore*, Bytes key,
                            RecordSink sink) noexcept {
  if (!latch_.shared_or_park(operation)) return Progress::waiting;
  const SkipList::Position position = list_.find(key);
  FIRN_YIELD("light.lookup");
  if (!position.equal) {
    latch_.release_shared();
    return Progress::no;
  }
  constexpr std::size_t small_size_max = 256;
  const Bytes record = position.node->record->view();
  if (record.size() > small_size_max) return show_large(operation, error, key, record, sink);
  std::byte copy[small_size_max];
  std::copy(record.begin(), record.end(), copy);
  latch_.release_shared();
  sink.take(sink.context, Bytes(copy, record.size()));
  return Progress::yes;
}

// Shows `record`, which was found under the latch that is held, and releases it. The buffer grows
// without the latch; whatever the record is after that is shown.
Progress LightTable::show_large(OperationBase& operation, Error& error, Bytes key, Bytes record,
                                RecordSink sink) noexcept {
  ScratchBuffer copy;
  while (record.size() > copy->capacity()) {
    latch_.release_shared();
    if (auto reserved = copy->reserve(record.size()); !reserved.has_value()) {
      return fail_at(error, fail(reserved.error()), *this);
    }
    if (!latch_.shared_or_park(operation)) return Progress::waiting;
    const SkipList::Position position = list_.find(key);
    if (!position.equal) {
      latch_.release_shared();
      return Progress::no;
    }
    record = position.node->record->view();
  }
  FIRN_ASSERT(copy->append(record).has_value());  // there is room: it cannot fail
  latch_.release_shared();
  sink.take(sink.context, copy->view());
  return Progress::yes;
}

// Under the exclusive latch. Says what stands in the way, or does it.
LightTable::Attempt LightTable::try_write(WriteKind kind, Bytes key, Bytes record,
                                          Prepared& prepared, ErrorCode& refusal) noexcept {
  const SkipList::Position position = list_.find(key);
  switch (kind) {
    case WriteKind::erase:
    case WriteKind::erase_present:
      if (!position.equal) {
        if (kind == WriteKind::erase) return Attempt::done;
        refusal = ErrorCode::not_found;
        return Attempt::refused;
      }
      if (FIRN_PLANTED("light-erase-keeps-pair") && position.node->height > 2) {
        return Attempt::done;
      }
      light_.discharge(position.node->memory() + position.node->record->memory());
      list_.unlink(position);
      count_pairs(-1);
      return Attempt::done;
    case WriteKind::insert:
      if (position.equal) {
        refusal = ErrorCode::already_exists;
        return Attempt::refused;
      }
      break;
    case WriteKind::update:
      if (!position.equal && !FIRN_PLANTED("light-update-inserts")) {
        refusal = ErrorCode::not_found;
        return Attempt::refused;
      }
      break;
    case WriteKind::put:
      break;
  }
  if (position.equal && record.size() <= position.node->record->capacity) {
    const std::size_t former_size = position.node->record->size;
    position.node->record->assign(record);
    if (FIRN_PLANTED("light-put-keeps-tail")) position.node->record->size = former_size;
    return Attempt::done;
  }
  if (prepared.record == nullptr || (!position.equal && prepared.node == nullptr)) {
    return Attempt::needs_memory;
  }
  if (position.equal) {
    SkipList::RecordPointer former(position.node->record);
    position.node->record = prepared.record.release();
    prepared.charged -= position.node->record->memory();
    prepared.charged += former->memory();  // its bytes go back with what was not used
    prepared.record = std::move(former);
    return Attempt::done;
  }
  prepared.charged -= prepared.node->memory() + prepared.record->memory();
  list_.link(position, std::move(prepared.node), std::move(prepared.record));
  count_pairs(+1);
  return Attempt::done;
}

void LightTable::count_pairs(int by) noexcept {
  pair_count_.store(list_.count(), std::memory_order_relaxed);
  light_.pairs.add(static_cast<std::uint64_t>(by));
}

Progress LightTable::write(OperationBase& operation, Error& error, TransactionCore*, WriteKind kind,
                           Bytes key, Bytes record) noexcept {
  Prepared prepared;
  Attempt attempt = Attempt::needs_memory;
  ErrorCode refusal{};
  while (true) {
    if (!latch_.exclusive_or_park(operation)) {
      light_.discharge(prepared.charged);
      return Progress::waiting;
    }
    FIRN_YIELD("light.write");
    attempt = try_write(kind, key, record, prepared, refusal);
    latch_.release_exclusive();
    if (attempt != Attempt::needs_memory) break;
    const int height = SkipList::height_for(key);
    const std::size_t needed =
        SkipList::Node::memory_of(height, key.size()) + sizeof(SkipList::Record) + record.size();
    if (!light_.charge(needed)) {
      return fail_at(error, fail(ErrorCode::no_memory, "the domain's memory budget is used up"),
                     *this);
    }
    prepared.charged = needed;
    prepared.node = SkipList::make_node(key, height);
    prepared.record = SkipList::make_record(record);
    FIRN_YIELD("light.write.prepared");
    if (prepared.node == nullptr || prepared.record == nullptr) {
      light_.discharge(prepared.charged);
      return fail_at(error, fail(ErrorCode::no_memory, "the process's allocator has none left"),
                     *this);
    }
  }
  light_.discharge(prepared.charged);
  if (attempt == Attempt::refused) {
    const char* why =
        refusal == ErrorCode::not_found ? "no pair has this key" : "a pair of this key is there";
    return fail_at(error, fail(refusal, why), *this);
  }
  light_.updates.add();
  return Progress::yes;
}

Progress LightTable::insert_into_sack(OperationBase& operation, Error& error,
                                      TransactionCore* transaction, Address& address,
                                      Bytes record) noexcept {
  // Kept when the write parks and starts again; a number that was not used in the end is a gap.
  if (address.is_null()) {
    address = {.number = next_address_.fetch_add(1, std::memory_order_relaxed), .generation = 1};
  }
  std::byte key[12];
  for (int index = 0; index < 8; ++index) {
    key[index] = static_cast<std::byte>(address.number >> (56 - 8 * index));
  }
  for (int index = 0; index < 4; ++index) {
    key[8 + index] = static_cast<std::byte>(address.generation >> (24 - 8 * index));
  }
  return write(operation, error, transaction, WriteKind::insert, Bytes(key, sizeof key), record);
}

SkipList::Node* LightTable::last_before(Bytes key) const noexcept {
  return list_.find(key).before[0];
}

// The node after the cursor's pair; without a search if nothing came or went since it was reached.
SkipList::Node* LightTable::first_after(CursorState& cursor) const noexcept {
  const Place& place = engine_state_of<Place>(cursor);
  if (place.version == list_.version()) return place.node->next[0];
  const SkipList::Position position = list_.find(cursor.key.view());
  if (FIRN_PLANTED("cursor-skips-after-erase") && position.node != nullptr) {
    return position.node->next[0];
  }
  return position.equal ? position.node->next[0] : position.node;
}

// Where the move leads, before the bound on the far side is looked at; null: off the end.
SkipList::Node* LightTable::destination(CursorState& cursor, Move move,
                                        Bytes target) const noexcept {
  const bool at_pair = cursor.place == CursorPlace::at_pair;
  switch (move) {
    case Move::next:
      if (cursor.place == CursorPlace::after_last) return nullptr;
      if (at_pair) return first_after(cursor);
      return cursor.has_lower ? list_.find(cursor.lower()).node : list_.first();
    case Move::previous:
      if (cursor.place == CursorPlace::before_first) return nullptr;
      if (at_pair) return last_before(cursor.key.view());
      return cursor.has_upper ? last_before(cursor.upper()) : list_.last();
    case Move::seek:
      if (cursor.has_lower && compare(target, cursor.lower()) < 0) target = cursor.lower();
      return list_.find(target).node;
  }
  return nullptr;
}

Progress LightTable::move_cursor(OperationBase& operation, Error& error, CursorState& cursor,
                                 Move move, Bytes target) noexcept {
  while (true) {
    if (!latch_.shared_or_park(operation)) return Progress::waiting;
    SkipList::Node* node = destination(cursor, move, target);
    if (node != nullptr) {
      bool outside = (cursor.has_upper && compare(node->key(), cursor.upper()) >= 0) ||
                     (cursor.has_lower && compare(node->key(), cursor.lower()) < 0);
      if (FIRN_PLANTED("cursor-meets-upper-bound") && cursor.has_upper) {
        outside = outside && compare(node->key(), cursor.upper()) != 0;
      }
      if (outside) node = nullptr;
    }
    if (node == nullptr) {
      FIRN_YIELD("light.move.end");
      latch_.release_shared();
      cursor.place = move == Move::previous ? CursorPlace::before_first : CursorPlace::after_last;
      return Progress::no;
    }
    const std::size_t key_size = node->key_size;
    const std::size_t record_size = node->record->size;
    if (key_size <= cursor.key.capacity() && record_size <= cursor.record_room.capacity()) {
      cursor.key.clear();
      cursor.record_room.clear();
      // There is room: neither can fail.
      FIRN_ASSERT(cursor.key.append(node->key()).has_value());
      FIRN_ASSERT(cursor.record_room.append(node->record->view()).has_value());
      cursor.record = cursor.record_room.view();
      auto& place = engine_state_of<Place>(cursor);
      place.version = list_.version();
      place.node = node;
      // Once for each move, however warm its buffers are: a seed must give one trace.
      FIRN_YIELD("light.move");
      latch_.release_shared();
      cursor.place = CursorPlace::at_pair;
      return Progress::yes;
    }
    latch_.release_shared();
    Buffer& former = engine_state_of<Place>(cursor).former;
    auto reserved = make_room(cursor.key, key_size, target, former);
    if (reserved.has_value()) {
      reserved = make_room(cursor.record_room, record_size, target, former);
    }
    cursor.record = cursor.record_room.view();  // it may have moved, and perhaps there is no pair
    if (!reserved.has_value()) return fail_at(error, fail(reserved.error()), *this);
  }
}

}  // namespace firn::domain
