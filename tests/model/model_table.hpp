// A keyed table beside its model: one bit and one value for each key of the universe, in the
// table's order. Nothing of Firn is used to order or to find: the model must not share its faults.
#pragma once

#include <algorithm>
#include <array>
#include <numeric>

#include "contract/conformance_types.hpp"
#include "model/history.hpp"

namespace firn::tests {

/// Shorter keys first, equal lengths from high bytes to low.
struct LengthOrder {
  static constexpr std::string_view id = "model.length";
  static std::strong_ordering compare(Bytes left, Bytes right) noexcept {
    if (left.size() != right.size()) return left.size() <=> right.size();
    return right <=> left;
  }
};
struct ByLength : TableType<Bytes, Bytes> {
  static constexpr std::string_view name = "model.by_length";
  static constexpr Hints hints{.write_heavy = true};  // leaves of 16 KiB
  using Comparator = LengthOrder;
};

/// How the keys and records of a type come from the universe.
template <class Type>
struct Pairs {
  static Bytes key(const Universe& universe, std::size_t index) noexcept {
    return std::string_view(universe.key(index));
  }
  static Bytes record(const Universe& universe, const Step& step) noexcept {
    return universe.value(step.value_at, step.value_size);
  }
  template <class R>
  static bool equal(const R& found, Bytes expected) noexcept {
    return Bytes(std::string_view(reinterpret_cast<const char*>(found.data()), found.size())) ==
           expected;
  }
  static bool same_key(Bytes found, const Universe& universe, std::size_t index) noexcept {
    return found.text() == universe.key(index);
  }
  static bool key_too_large(const Universe&, std::size_t) noexcept { return false; }
  static bool before(const Universe& universe, std::size_t left, std::size_t right) {
    const std::string& one = universe.key(left);
    const std::string& two = universe.key(right);
    if (std::is_same_v<Type, ByLength>) {
      return one.size() != two.size() ? one.size() < two.size() : two < one;
    }
    return one < two;
  }
};
template <>
struct Pairs<Person> {
  static std::uint32_t group(std::size_t index) noexcept {
    return static_cast<std::uint32_t>(index % 7 * 40'000'000);
  }
  static PersonKey key(const Universe& universe, std::size_t index) {
    return {group(index), universe.key(index)};
  }
  static PersonRecord record(const Universe& universe, const Step& step) {
    const Bytes value = universe.value(step.value_at, step.value_size);
    return {.id = step.value_at, .city = std::string(value.text()), .note = {}};
  }
  static bool equal(const PersonRecord& found, Bytes expected) noexcept {
    return found.city == expected.text() && !found.note;
  }
  static bool same_key(const PersonKey& found, const Universe& universe, std::size_t index) {
    return found.group == group(index) && found.name == universe.key(index);
  }
  // Four bytes of the group, then the name.
  static bool key_too_large(const Universe& universe, std::size_t index) noexcept {
    return universe.key(index).size() + 4 > 2048;
  }
  static bool before(const Universe& universe, std::size_t left, std::size_t right) {
    if (group(left) != group(right)) return group(left) < group(right);
    return universe.key(left) < universe.key(right);
  }
};

template <class Type>
class KeyedModel final : public ModelTable {
 public:
  KeyedModel(const Universe& universe, std::size_t slot) : name_("table" + std::to_string(slot)) {
    std::iota(key_at_.begin(), key_at_.end(), std::uint16_t{0});
    std::sort(key_at_.begin(), key_at_.end(), [&](std::uint16_t left, std::uint16_t right) {
      return P::before(universe, left, right);
    });
    for (std::size_t rank = 0; rank < key_count; ++rank) {
      rank_of_[key_at_[rank]] = static_cast<std::uint16_t>(rank);
    }
  }

  void apply(HistoryState& state, const Step& step) override {
    switch (step.act) {
      case Act::create_table:
        return create(state);
      case Act::open_table:
        return open(state);
      case Act::destroy_table:
        return destroy(state, step);
      case Act::follow:
        return follow(state, step);
      case Act::scan:
        return scan(state);
      default:
        break;
    }
    if (!handle_.has_value()) return;
    switch (step.act) {
      case Act::lookup:
        return lookup(state, step);
      case Act::read:
        return read(state, step);
      case Act::open_cursor:
        return open_cursor(state, step);
      case Act::next:
      case Act::previous:
      case Act::seek:
        return move(state, step);
      default:
        return write(state, step);
    }
  }

  void scan(HistoryState& state) override {
    if (!handle_.has_value() || !exists_) return;
    for (const bool forward : {true, false}) {
      auto cursor = handle_->cursor();
      Standing standing;
      bool more = true;
      while (more && state.failure.empty()) {
        Step step;
        step.act = forward ? Act::next : Act::previous;
        more = compare_move(state, cursor, standing, step);
      }
    }
  }

  [[nodiscard]] std::uint64_t id() const noexcept override { return exists_ ? id_ : 0; }
  [[nodiscard]] std::uint64_t pair_count() const noexcept override { return count_; }
  void let_go(bool survives) override {
    for (auto& cursor : cursors_) cursor.reset();
    handle_.reset();
    if (survives) return;
    exists_ = false;
    clear();
  }
  [[nodiscard]] std::string snippet(const Universe& universe, const Step& step) const override;

 private:
  using P = Pairs<Type>;
  enum class Where : std::uint8_t { fresh, before, at, after };
  struct Standing {
    Where where = Where::fresh;
    std::uint32_t rank = 0;
    std::uint32_t lower = 0;  // ranks
    std::uint32_t upper = key_count;
    bool inverted = false;
  };
  struct Value {
    std::uint32_t at = 0;
    std::uint32_t size = 0;
  };

  void clear() noexcept {
    present_.fill(0);
    count_ = 0;
  }
  [[nodiscard]] bool is_present(std::size_t rank) const noexcept {
    return (present_[rank / 64] >> (rank % 64) & 1) != 0;
  }
  void set_present(std::size_t rank, bool there) noexcept {
    if (is_present(rank) == there) return;
    present_[rank / 64] ^= std::uint64_t{1} << (rank % 64);
    there ? ++count_ : --count_;
  }
  // The first present rank at or after `rank`; key_count: none.
  [[nodiscard]] std::uint32_t first_from(std::uint32_t rank) const noexcept {
    while (rank < key_count) {
      const std::uint64_t word = present_[rank / 64] >> (rank % 64);
      if (word != 0) return rank + static_cast<std::uint32_t>(std::countr_zero(word));
      rank = (rank / 64 + 1) * 64;
    }
    return key_count;
  }
  // The last present rank before `rank`; key_count: none.
  [[nodiscard]] std::uint32_t last_before(std::uint32_t rank) const noexcept {
    while (rank > 0) {
      const std::uint32_t top = rank - 1;
      const std::uint64_t word = present_[top / 64] << (63 - top % 64);
      if (word != 0) return top - static_cast<std::uint32_t>(std::countl_zero(word));
      rank = top / 64 * 64;
    }
    return key_count;
  }

  // Fails as every call on a destroyed table does.
  [[nodiscard]] std::uint16_t gone() const noexcept {
    return exists_ ? success : number_of(ErrorCode::invalid_state);
  }

  void create(HistoryState& state) {
    auto made = state.runner.run(
        [&] { return state.domain.create_table<Type>(name_, state.factory.table_options()); });
    std::uint16_t expected = exists_ ? number_of(ErrorCode::already_exists) : success;
    if (std::is_same_v<Type, Person> && !exists_ && state.note_table == 0) {
      expected = number_of(ErrorCode::invalid_argument);
    }
    if (!state.same_outcome("create_table", made, expected)) return;
    for (auto& cursor : cursors_) cursor.reset();
    handle_.emplace(std::move(*made));
    if (handle_->id() <= id_) state.differs("create_table: a number that was used before");
    id_ = handle_->id();
    state.record(id_);
    exists_ = true;
    if (std::is_same_v<Type, Person>) state.referenced_table = state.note_table;
  }
  void open(HistoryState& state) {
    auto opened = state.runner.run([&] { return state.domain.open_table<Type>(name_); });
    const std::uint16_t expected = exists_ ? success : number_of(ErrorCode::not_found);
    if (!state.same_outcome("open_table", opened, expected)) return;
    if (opened->id() != id_) state.differs("open_table: another number");
    handle_ = std::move(*opened);  // cursors of the former handle go on: the table is the same
  }
  void destroy(HistoryState& state, const Step& step) {
    if (!handle_.has_value()) return;
    const bool force = step.flag % 2 == 1;
    const bool shared = force || step.flag % 4 == 2;
    std::uint16_t expected = gone();
    if (expected == success && shared && !force) expected = number_of(ErrorCode::busy);
    if (!shared) {
      for (auto& cursor : cursors_) cursor.reset();
    }
    Table<Type> given = *handle_;
    if (!shared) handle_.reset();
    auto destroyed = state.runner.run([&] {
      return state.domain.destroy_table(std::move(given), force ? Force::yes : Force::no);
    });
    if (!state.same_outcome("destroy_table", destroyed, expected)) return;
    exists_ = false;
    clear();
    if (std::is_same_v<Type, Person>) state.referenced_table = 0;
  }

  void follow(HistoryState& state, const Step& step) {
    if (id_ == 0) return;
    auto target = Ref<Type>::make(id_, P::key(state.universe, step.key));
    if (!target.has_value()) return state.differs("ref: refused");
    auto found = state.runner.run([&] { return state.domain.follow(*target); });
    const std::uint16_t expected = exists_ ? success : number_of(ErrorCode::not_found);
    if (state.same_outcome("follow", found, expected)) compare_found(state, "follow", *found, step);
  }
  void lookup(HistoryState& state, const Step& step) {
    const Transaction* in = transaction_of(state, step);
    auto found = state.runner.run([&] {
      return in != nullptr ? handle_->lookup(*state.transaction, P::key(state.universe, step.key))
                           : handle_->lookup(P::key(state.universe, step.key));
    });
    if (state.same_outcome("lookup", found, gone())) {
      compare_found(state, "lookup", *found, step);
    }
  }
  template <class Found>
  void compare_found(HistoryState& state, const char* call, const Found& found, const Step& step) {
    const std::size_t rank = rank_of_[step.key];
    state.record(found.has_value() ? 2 + values_[rank].size : 1);
    if (found.has_value() != is_present(rank)) {
      return state.differs(std::string(call) + (found ? ": found" : ": did not find"));
    }
    if (found.has_value() && !P::equal(*found, value_at(state, rank))) {
      state.differs(std::string(call) + ": another record");
    }
  }
  void read(HistoryState& state, const Step& step) {
    struct Seen {
      std::size_t size = 0;
      std::uint64_t sum = 0;
    } seen;
    const auto visit = [&seen](Bytes bytes) noexcept {
      seen = {bytes.size(), bytes.empty() ? 0 : std::to_integer<std::uint64_t>(bytes[0])};
    };
    auto found =
        state.runner.run([&] { return handle_->read(P::key(state.universe, step.key), visit); });
    if (!state.same_outcome("read", found, gone())) return;
    const std::size_t rank = rank_of_[step.key];
    state.record(seen.size * 256 + seen.sum);
    if (*found != is_present(rank)) return state.differs("read: found or not");
    if (*found && !std::is_same_v<Type, Person> && seen.size != values_[rank].size) {
      state.differs("read: another size");
    }
  }

  [[nodiscard]] Bytes value_at(const HistoryState& state, std::size_t rank) const noexcept {
    return state.universe.value(values_[rank].at, values_[rank].size);
  }
  static const Transaction* transaction_of(const HistoryState& state, const Step& step) noexcept {
    return step.flag % 8 >= 4 && state.transaction.has_value() ? &*state.transaction : nullptr;
  }

  void write(HistoryState& state, const Step& step) {
    const std::size_t rank = rank_of_[step.key];
    const bool there = is_present(rank);
    const bool erases = step.act == Act::erase || step.act == Act::erase_present;
    std::uint16_t expected = gone();
    if (expected == success && P::key_too_large(state.universe, step.key)) {
      expected = number_of(ErrorCode::too_large);
    } else if (expected == success && step.act == Act::insert && there) {
      expected = number_of(ErrorCode::already_exists);
    } else if (expected == success && !there &&
               (step.act == Act::update || step.act == Act::erase_present)) {
      expected = number_of(ErrorCode::not_found);
    }
    auto written = state.runner.run([&] { return write_operation(state, step); });
    if (!state.same_outcome("write", written, expected)) return;
    set_present(rank, !erases);
    if (!erases) values_[rank] = {step.value_at, step.value_size};
  }
  WriteOperation<Type> write_operation(HistoryState& state, const Step& step) {
    auto key = P::key(state.universe, step.key);
    if (transaction_of(state, step) != nullptr) {
      Transaction& in = *state.transaction;
      switch (step.act) {
        case Act::insert:
          return handle_->insert(in, std::move(key), P::record(state.universe, step));
        case Act::update:
          return handle_->update(in, std::move(key), P::record(state.universe, step));
        case Act::erase:
          return handle_->erase(in, std::move(key));
        case Act::erase_present:
          return handle_->erase(in, std::move(key), Expect::present);
        default:
          return handle_->put(in, std::move(key), P::record(state.universe, step));
      }
    }
    switch (step.act) {
      case Act::insert:
        return handle_->insert(std::move(key), P::record(state.universe, step));
      case Act::update:
        return handle_->update(std::move(key), P::record(state.universe, step));
      case Act::erase:
        return handle_->erase(std::move(key));
      case Act::erase_present:
        return handle_->erase(std::move(key), Expect::present);
      default:
        return handle_->put(std::move(key), P::record(state.universe, step));
    }
  }

  void open_cursor(HistoryState& state, const Step& step) {
    Range<KeyOf<Type>> range;
    Standing standing;
    if ((step.flag & 1) != 0) {
      range.lower = P::key(state.universe, step.key);
      standing.lower = rank_of_[step.key];
    }
    if ((step.flag & 2) != 0) {
      range.upper = P::key(state.universe, step.other);
      standing.upper = rank_of_[step.other];
    }
    // Mostly the right way round.
    if (standing.lower > standing.upper && step.flag < 224) {
      std::swap(range.lower, range.upper);
      std::swap(standing.lower, standing.upper);
    }
    standing.inverted = standing.lower > standing.upper;
    auto& cursor = cursors_[step.cursor];
    cursor.reset();
    cursor.emplace(handle_->core(), nullptr, range);
    standings_[step.cursor] = standing;
    const std::uint16_t expected =
        standing.inverted && exists_ ? number_of(ErrorCode::invalid_argument) : gone();
    state.same_outcome("cursor", cursor->status(), expected);
  }
  void move(HistoryState& state, const Step& step) {
    if (!cursors_[step.cursor].has_value()) return;
    compare_move(state, *cursors_[step.cursor], standings_[step.cursor], step);
  }
  // Whether it stands at a pair.
  bool compare_move(HistoryState& state, Cursor<Type>& cursor, Standing& standing,
                    const Step& step) {
    std::uint16_t expected = gone();
    if (expected == success && standing.inverted) {
      expected = number_of(ErrorCode::invalid_argument);
    }
    auto moved = state.runner.run([&]() -> MoveOperation<Type> {
      if (step.act == Act::next) return cursor.next();
      if (step.act == Act::previous) return cursor.prev();
      return cursor.seek(P::key(state.universe, step.key));
    });
    if (!state.same_outcome("move", moved, expected)) return false;
    std::uint32_t rank = expected_rank(standing, step);
    if (rank < standing.lower || rank >= standing.upper) rank = key_count;
    state.record(rank);
    if (rank == key_count) {
      standing.where = step.act == Act::previous ? Where::before : Where::after;
      if (*moved) state.differs("move: a pair instead of the end");
      return false;
    }
    standing.where = Where::at;
    standing.rank = rank;
    if (!*moved) {
      state.differs("move: the end instead of a pair");
    } else if (!P::same_key(cursor.key(), state.universe, key_at_[rank])) {
      state.differs("move: another key");
    } else if (!P::equal(cursor.record(), value_at(state, rank))) {
      state.differs("move: another record");
    }
    return true;
  }
  [[nodiscard]] std::uint32_t expected_rank(const Standing& standing,
                                            const Step& step) const noexcept {
    switch (step.act) {
      case Act::next:
        if (standing.where == Where::after) return key_count;
        return first_from(standing.where == Where::at ? standing.rank + 1 : standing.lower);
      case Act::previous:
        if (standing.where == Where::before) return key_count;
        return last_before(standing.where == Where::at ? standing.rank : standing.upper);
      default:
        return first_from(std::max<std::uint32_t>(standing.lower, rank_of_[step.key]));
    }
  }

  const std::string name_;
  std::array<std::uint16_t, key_count> key_at_{};   // by rank
  std::array<std::uint16_t, key_count> rank_of_{};  // by key
  std::array<std::uint64_t, key_count / 64> present_{};
  std::array<Value, key_count> values_{};  // by rank
  std::uint64_t count_ = 0;
  std::uint64_t id_ = 0;  // the last one it had
  bool exists_ = false;
  std::optional<Table<Type>> handle_;
  std::array<std::optional<Cursor<Type>>, cursor_count> cursors_;
  std::array<Standing, cursor_count> standings_{};
};

/// The text of bytes in a C++ string literal, or how to make them.
std::string literal(const std::string& bytes);
std::string step_snippet(const Universe& universe, const Step& step, const std::string& table,
                         bool typed, std::uint32_t group);

template <class Type>
std::string KeyedModel<Type>::snippet(const Universe& universe, const Step& step) const {
  constexpr bool typed = std::is_same_v<Type, Person>;
  return step_snippet(universe, step, name_, typed, Pairs<Person>::group(step.key));
}

}  // namespace firn::tests
