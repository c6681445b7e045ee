// A step of a tree as an operation, whose answer stays in it.
#pragma once

#include <optional>
#include <string>

#include <firn/operation.hpp>

#include "tree/tree.hpp"

namespace firn::test {

using tree::Target;
using tree::Write;

inline Bytes bytes_of(const std::string& text) { return Bytes(std::string_view(text)); }

enum class TreeDeed : std::uint8_t { lookup, write, move };

/// What moves show.
struct Shown {
  Buffer key, room;
  Bytes value;
};
/// A cursor, with the pair at which it stands.
struct TreeCursor {
  tree::Position position;
  Shown shown;
};

/// One step of a tree as an operation; the answer stays in it.
class TreeOperation final : public Operation<bool> {
 public:
  TreeOperation(buffer::Pool& pool, tree::Tree& tree) : pool_(pool), tree_(tree) {}

  TreeDeed deed = TreeDeed::lookup;
  Write kind = Write::put;
  Target target = Target::first;
  std::string key, value;
  std::optional<std::string> found;    // lookup
  int pairs = 0;                       // write
  tree::Companions companions;         // write
  tree::Position* position = nullptr;  // move
  Shown own;
  Shown* shown = &own;
  std::optional<Bytes> key_view;  // instead of `key`
  bool stayed = true;             // what was shown, as long as the move waited

  void move_with(TreeCursor& cursor, Target where) {
    deed = TreeDeed::move;
    target = where;
    position = &cursor.position;
    shown = &cursor.shown;
    key_view = shown->key.view();
  }

 private:
  using Progress = firn::detail::Progress;
  Progress step() noexcept override {
    tree::Caller caller(pool_, *this);
    switch (deed) {
      case TreeDeed::lookup:
        found.reset();
        return tree_.lookup(caller, error_, bytes_of(key),
                            {[](void* context, Bytes bytes) noexcept {
                               static_cast<TreeOperation*>(context)->found =
                                   std::string(bytes.text());
                             },
                             this});
      case TreeDeed::write:
        return tree_.write(caller, error_, kind, bytes_of(key), bytes_of(value), pairs, companions);
      case TreeDeed::move: {
        const Bytes key_before = shown->key.view();
        const std::size_t room_before = shown->key.capacity();
        const std::string value_before(shown->value.text());
        const Progress progress = tree_.move(caller, error_, *position, target,
                                             key_view.has_value() ? *key_view : bytes_of(key),
                                             {shown->key, shown->room, shown->value});
        if (progress == Progress::waiting || progress == Progress::no) {
          stayed = stayed && shown->key.data() == key_before.data() &&
                   shown->key.size() == key_before.size() && shown->key.capacity() == room_before &&
                   shown->value.text() == value_before;
        }
        return progress;
      }
    }
    return Progress::no;
  }
  void settle(Progress progress) noexcept override {
    if (progress == Progress::failed) return settle_with(fail(error_));
    settle_with(progress == Progress::yes);
  }
  buffer::Pool& pool_;
  tree::Tree& tree_;
};

}  // namespace firn::test
