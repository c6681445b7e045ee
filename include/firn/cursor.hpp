// Cursors: positions in a table that move pair by pair, both ways.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <firn/detail/engine.hpp>
#include <firn/operation.hpp>
#include <firn/table_type.hpp>

namespace firn {

/// The keys from `lower` on and before `upper`; a bound that is missing does not bind.
template <class Key>
struct Range {
  std::optional<Key> lower = {};
  std::optional<Key> upper = {};
};

template <class Type>
class Cursor;

/// One move of a cursor; its result says whether the cursor stands at a pair. The cursor outlives
/// it, and makes one move at a time.
template <class Type>
class MoveOperation final : public Operation<bool> {
 public:
  MoveOperation(Cursor<Type>& cursor, detail::Move move,
                std::optional<KeyOf<Type>> target = {}) noexcept
      : cursor_(cursor), target_(std::move(target)), move_(move) {}

 private:
  detail::Progress step() noexcept override;
  void settle(detail::Progress progress) noexcept override;

  Cursor<Type>& cursor_;
  std::optional<KeyOf<Type>> target_;
  detail::Move move_;
};

/// A cursor over [lower, upper) of a table. Each key is met at most once on the way in one
/// direction, in order; a pair that is there throughout is met; others may be. What the same thread
/// wrote before a move is seen by it. The current pair may be erased: the next move goes on from
/// its key.
///
/// One thread at a time; neither copied nor moved, so that a move under way finds it again. It
/// counts as a handle of its table, which it keeps; the transaction outlives it.
template <class Type>
class Cursor {
 public:
  using Key = OwnedKeyOf<Type>;
  using Record = OwnedRecordOf<Type>;

  Cursor(detail::TableCore* table, detail::TransactionCore* transaction,
         const Range<KeyOf<Type>>& range) noexcept
      : table_(detail::Reference<detail::TableCore>::share(*table)) {
    state_.table = table;
    state_.transaction = transaction;
    state_.bounds = detail::take_buffer();
    state_.key = detail::take_buffer();
    state_.record_room = detail::take_buffer();
    state_.status = set_bounds(range);
    bad_bounds_ = !state_.status.has_value();
    if (!bad_bounds_) state_.status = detail::check_cursor(state_);
  }
  ~Cursor() {
    detail::give_buffer(std::move(state_.bounds));
    detail::give_buffer(std::move(state_.key));
    detail::give_buffer(std::move(state_.record_room));
  }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  /// To the pair with the next key: the first one from a fresh cursor. False: there is none, and
  /// `prev` leads back to the last one.
  [[nodiscard]] MoveOperation<Type> next() noexcept { return {*this, detail::Move::next}; }
  /// To the pair with the key before: the last one from a fresh cursor, the current one's
  /// predecessor otherwise.
  [[nodiscard]] MoveOperation<Type> prev() noexcept { return {*this, detail::Move::previous}; }
  /// To the first pair at or after `key` within the bounds.
  [[nodiscard]] MoveOperation<Type> seek(KeyOf<Type> key) noexcept {
    return {*this, detail::Move::seek, std::move(key)};
  }

  /// The current pair; only while the last move said true.
  [[nodiscard]] decltype(auto) key() const noexcept {
    FIRN_ASSERT(at_pair());
    if constexpr (plain_key) {
      return state_.key.view();
    } else {
      return (key_);
    }
  }
  [[nodiscard]] decltype(auto) record() const noexcept {
    FIRN_ASSERT(at_pair());
    if constexpr (plain_record) {
      return state_.record;
    } else {
      return (record_);
    }
  }
  /// The same pair as it is stored; also after a move that said `corrupt`.
  [[nodiscard]] Bytes raw_key() const noexcept { return state_.key.view(); }
  [[nodiscard]] Bytes raw_record() const noexcept { return state_.record; }

  [[nodiscard]] bool at_pair() const noexcept {
    return state_.place == detail::CursorPlace::at_pair && state_.status.has_value();
  }
  /// Success while the cursor works or has ended because there are no more pairs; else why it
  /// stopped. A move after an error tries again, but for wrong bounds.
  [[nodiscard]] const Result<void>& status() const noexcept { return state_.status; }

 private:
  friend class MoveOperation<Type>;
  static constexpr bool plain_key = std::is_same_v<KeyCodecOf<Type>, BytesCodec>;
  static constexpr bool plain_record = std::is_same_v<RecordCodecOf<Type>, BytesCodec>;
  struct Nothing {};

  Result<void> set_bounds(const Range<KeyOf<Type>>& range) noexcept {
    if (range.lower.has_value()) {
      FIRN_TRY(encode_key<Type>(*range.lower, state_.bounds));
      state_.has_lower = true;
    }
    state_.lower_size = state_.bounds.size();
    if (range.upper.has_value()) {
      FIRN_TRY(encode_key<Type>(*range.upper, state_.bounds));
      state_.has_upper = true;
    }
    return {};
  }

  // The current pair in the user's terms; a pair that does not decode is `corrupt` with its table.
  Result<void> decode() noexcept {
    if constexpr (!plain_key) FIRN_TRY(decode_key<Type>(state_.key.view(), key_));
    if constexpr (!plain_record) FIRN_TRY(decode_record<Type>(state_.record, record_));
    return {};
  }

  detail::Reference<detail::TableCore> table_;
  detail::CursorState state_;
  bool bad_bounds_ = false;  // a bound has no encoding: no move is right
  [[no_unique_address]] std::conditional_t<plain_key, Nothing, Key> key_{};
  [[no_unique_address]] std::conditional_t<plain_record, Nothing, Record> record_{};
};

template <class Type>
detail::Progress MoveOperation<Type>::step() noexcept {
  if (cursor_.bad_bounds_) return detail::fail_with(error_, fail(cursor_.state_.status.error()));
  detail::Progress progress;
  if (target_.has_value()) {
    if constexpr (Cursor<Type>::plain_key) {
      progress = detail::move_cursor(*this, error_, cursor_.state_, move_, Bytes(*target_));
    } else {
      detail::ScratchBuffer buffer;
      if (auto encoded = encode_key<Type>(*target_, *buffer); !encoded.has_value()) {
        return detail::fail_with(error_, fail(encoded.error()));
      }
      progress = detail::move_cursor(*this, error_, cursor_.state_, move_, buffer->view());
    }
  } else {
    progress = detail::move_cursor(*this, error_, cursor_.state_, move_, Bytes());
  }
  if (progress != detail::Progress::yes) return progress;
  if (auto decoded = cursor_.decode(); !decoded.has_value()) {
    error_ = decoded.error();
    error_.place.table = detail::table_id(*cursor_.state_.table);
    return detail::Progress::failed;
  }
  return progress;
}

template <class Type>
void MoveOperation<Type>::settle(detail::Progress progress) noexcept {
  if (progress == detail::Progress::failed) {
    // A move that was cancelled has not moved: the cursor stands where it stood.
    if (error_.code != ErrorCode::cancelled) cursor_.state_.status = fail(error_);
    return settle_with(fail(error_));
  }
  settle_with(progress == detail::Progress::yes);
}

}  // namespace firn
