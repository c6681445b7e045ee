// Cursors. A move works on a private copy of the leaf where the cursor stands, which was validated
// as a whole; while the leaf has not changed since, the next move needs one look at its state word.
// A leaf boundary is crossed by looking for the fence key from the root again, so nothing that
// others do can lead astray.
#include <algorithm>
#include <cstring>

#include "base/planted.hpp"
#include "base/yield.hpp"
#include "tree/path.hpp"
#include "tree/scratch.hpp"
#include "tree/tree.hpp"

namespace firn::tree {
namespace {

using buffer::Access;

constexpr std::uint32_t prefetch_max = 32;

bool forward(Target target) noexcept { return target != Target::last && target != Target::before; }

}  // namespace

// Copies the leaf into the position. The leaf is left.
Tree::Walk Tree::copy_leaf(Error& error, Leaf& leaf, Position& position) noexcept {
  const std::size_t size = bytes_of(leaf.page);
  position.page = PageSlot();
  if (position.image.capacity() < size) {
    static_cast<void>(leave(leaf));
    if (auto room = position.image.reserve(size); !room.has_value()) {
      error = room.error();
      return Walk::failed;
    }
    return Walk::again;
  }
  position.image.clear();
  std::byte* image = *position.image.extend(size);
  NodeReader& node = leaf.node;
  std::uint32_t heap[2] = {0, 0};  // begin, end
  node.copy(heap, node_head_at + static_cast<std::uint32_t>(offsetof(NodeHead, heap_begin)),
            sizeof heap);
  const std::uint32_t slots_end =
      slots_at + node.count() * static_cast<std::uint32_t>(sizeof(Slot));
  node.copy(image, 0, slots_end);
  if (heap[1] >= heap[0])
    node.copy(image + std::min<std::size_t>(heap[0], size), heap[0], heap[1] - heap[0]);
  const bool bad = node.bad() || heap[1] < heap[0];
  const PageSlot page = leaf.page;
  FIRN_YIELD("tree.copy_leaf");
  if (!leave(leaf)) return Walk::again;
  if (bad) {
    error = corrupt(page, "a leaf with an impossible head").error;
    return Walk::failed;
  }
  position.page = page;
  position.word = leaf.word;
  return Walk::done;
}

// Begins to load the leaves that a scan will come to next: the more, the longer it has gone on.
void Tree::read_ahead(Caller& caller, const Path& path, bool ahead,
                      const Position& position) noexcept {
  const std::uint32_t row = position.leaves_in_row;
  if (row < 1) return;
  const std::uint32_t wanted = std::min(prefetch_max, 1U << std::min(row, 5U));
  const Path::Step& above = path.steps[path.leaf - 1];
  const Glance glance(pool_, above.page, above.word);
  if (!glance.began()) return;
  NodeReader parent(pool_.resolve(above.page), bytes_of(above.page));
  if (!parent.open(1, shape_.table, by_bytes())) return;
  std::array<PageSlot, prefetch_max> pages;
  std::uint32_t count = 0;
  for (std::uint32_t away = 1; away <= wanted; ++away) {
    if (ahead ? above.index + away > parent.count() : above.index < away) break;
    pages[count++] = parent.child(ahead ? above.index + away : above.index - away);
  }
  if (parent.bad() || !glance.holds()) return;
  // Half of them may be on their way already; a look at their words finds that out.
  pool_.prefetch(caller.executor(), {pages.data(), count});
}

// Whether the copy is still what the leaf holds, so that a move may start from it.
bool Tree::still_there(const Position& position) const noexcept {
  if (position.page == PageSlot()) return false;
  return position.word.validates(pool_.descriptor(position.page).state.load());
}

Progress Tree::move(Caller& caller, Error& error, Position& position, Target target, Bytes key,
                    Buffer& key_out, Buffer& value_out) noexcept {
  Scratch* scratch = scratch_of_this_thread();
  if (scratch == nullptr) {
    error = fail(ErrorCode::no_memory, "no memory for this thread's scratch").error;
    return Progress::failed;
  }
  // The key that is looked for now: the caller's, then fences. Kept apart from key_out.
  std::array<std::byte, key_size_max> wanted;
  Bytes looked_for = key;
  if (key.size() <= key_size_max) {  // a larger one is no pair's, so it does not lie in key_out
    std::copy(key.begin(), key.end(), wanted.begin());
    looked_for = Bytes(wanted.data(), key.size());
  }
  Seek seek{target, looked_for};
  Path path;
  Leaf leaf;
  bool first_look = true;
  for (unsigned attempt = 0;; ++attempt) {
    Walk walk = Walk::done;
    const bool near = first_look && target != Target::first && target != Target::last &&
                      still_there(position) && in_copy(position, looked_for);
    if (first_look && !near && target != Target::after && target != Target::before) {
      position.leaves_in_row = 0;
    }
    first_look = false;
    if (!near) {
      seek.key = looked_for;
      walk = descend(caller, error, seek, reads_latched(attempt), path, leaf);
      if (walk == Walk::done) walk = copy_leaf(error, leaf, position);
      if (walk == Walk::done) read_ahead(caller, path, forward(target), position);
    }
    if (walk == Walk::done) {
      bool off_leaf = false;
      walk = take_pair(caller, error, position, seek, key_out, value_out, off_leaf);
      if (walk == Walk::done && off_leaf) {
        // On to the neighbour: the fence is where it begins or ends.
        NodeReader node(position.image.data(), position.image.size());
        const bool upper = forward(target);
        static_cast<void>(node.open(0, shape_.table, by_bytes()));
        const bool ends_early = FIRN_PLANTED("tree-cursor-ends-at-empty") && node.count() == 0;
        if (!node.has_fence(upper) || ends_early) {
          caller.done();
          return Progress::no;
        }
        const std::uint32_t wanted_size = node.fence_size(upper);
        if (wanted_size > key_size_max || !node.copy_fence(upper, wanted.data())) {
          error = corrupt(position.page, "a leaf with an impossible fence").error;
          return Progress::failed;
        }
        looked_for = Bytes(wanted.data(), wanted_size);
        seek.target = upper ? Target::at_or_after : Target::before;
        attempt = 0;
        ++position.leaves_in_row;
        caller.scans();
        continue;
      }
    }
    switch (walk) {
      case Walk::again:
        continue;
      case Walk::parked:
        return Progress::waiting;
      case Walk::failed:
        return Progress::failed;
      case Walk::done:
        break;
    }
    caller.done();
    return Progress::yes;
  }
}

// Whether the key lies among those of the copy: then the copy decides where a move from it leads.
bool Tree::in_copy(const Position& position, Bytes key) const noexcept {
  NodeReader node(position.image.data(), position.image.size());
  if (!node.open(0, shape_.table, by_bytes()) || node.count() == 0) return false;
  const auto order = [&](std::uint32_t index) {
    std::array<std::byte, key_size_max> own;
    NodeReader its = node;
    const std::uint32_t size = its.key_size(index);
    if (size > key_size_max || !its.copy_key(index, own.data())) {
      return std::strong_ordering::equal;
    }
    const Bytes view(own.data(), size);
    return shape_.compare == nullptr ? view <=> key : shape_.compare(view, key);
  };
  return order(0) <= 0 && order(node.count() - 1) >= 0;
}

// The pair of the copy that `seek` leads to; `off_leaf`: it lies in the neighbour.
Tree::Walk Tree::take_pair(Caller& caller, Error& error, Position& position, const Seek& seek,
                           Buffer& key_out, Buffer& value_out, bool& off_leaf) noexcept {
  NodeReader node(position.image.data(), position.image.size());
  std::uint32_t index = 0;
  bool none = !node.open(0, shape_.table, by_bytes());
  if (seek.target == Target::last) {
    none = none || node.count() == 0;
    index = node.count() - 1;
  } else if (seek.target != Target::first) {
    const NodeReader::Found found = node.find(seek.key, shape_.compare);
    index = found.index;
    if (seek.target == Target::after && found.equal) ++index;
    if (seek.target == Target::before) {
      none = none || index == 0;
      --index;
    }
  }
  if (!none && index >= node.count()) none = true;
  off_leaf = none;
  if (none && !node.bad()) return Walk::done;
  const ValuePlace place = node.bad() ? ValuePlace{} : node.value(index);
  const std::uint32_t key_size = node.bad() ? 0 : node.key_size(index);
  if (node.bad() || key_size > key_size_max) {
    error = corrupt(position.page, "a leaf with an impossible entry").error;
    return Walk::failed;
  }
  if (place.apart) {
    // The value's page is proved by the leaf's word.
    Leaf leaf;
    leaf.node = node;
    leaf.page = position.page;
    leaf.word = position.word;
    const Walk walk = copy_value(caller, error, leaf, place, value_out);
    if (walk != Walk::done) {
      if (walk == Walk::again) position.page = PageSlot();
      return walk;
    }
  }
  Result<void> room = key_out.reserve(key_size);
  if (room.has_value() && !place.apart) room = value_out.reserve(place.size);
  if (!room.has_value()) {
    error = room.error();
    return Walk::failed;
  }
  key_out.clear();
  node.copy_key(index, *key_out.extend(key_size));
  if (!place.apart) {
    value_out.clear();
    node.copy(*value_out.extend(place.size), place.offset, place.size);
  }
  if (node.bad()) {
    error = corrupt(position.page, "a leaf with an impossible entry").error;
    return Walk::failed;
  }
  position.index = index;
  return Walk::done;
}

}  // namespace firn::tree
