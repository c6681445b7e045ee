// Cursors. A move works on a private copy of the leaf where the cursor stands, which was validated
// as a whole; while the leaf has not changed since, the next move needs one look at its state word.
// A leaf boundary is crossed through the parent, if that is what it was when the copy was made, or
// else by looking for the fence key from the root again, so nothing that others do can lead astray.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/planted.hpp"
#include "base/yield.hpp"
#include "tree/path.hpp"
#include "tree/tree.hpp"

namespace firn::tree {
namespace {

using buffer::Access;

constexpr std::uint32_t prefetch_max = 32;
constexpr std::size_t prefetch_bytes = 128;  // of the next leaf, at each move

bool forward(Target target) noexcept { return target != Target::last && target != Target::before; }

bool lies_in(Bytes bytes, const Buffer& buffer) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(buffer.data());
  const auto place = reinterpret_cast<std::uintptr_t>(bytes.data());
  return !bytes.empty() && place >= begin && place - begin < buffer.capacity();
}

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
  position.stands = false;
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
  position.node = NodeReader(image, size);
  static_cast<void>(position.node.open(0, shape_.table, by_bytes()));
  return Walk::done;
}

// Finds the copy's neighbour through their parent, and begins to load the leaves behind it that a
// scan will come to: the more, the longer it has gone on.
void Tree::look_ahead(Caller& caller, Position& position) noexcept {
  position.next = PageSlot();
  const Glance glance(pool_, position.parent, position.parent_word);
  if (!glance.began()) return;
  NodeReader parent(pool_.resolve(position.parent), bytes_of(position.parent));
  if (!parent.open(1, shape_.table, by_bytes())) return;
  const std::uint32_t last = position.forward ? parent.count() : 0;
  const std::uint32_t there =
      position.forward ? last - std::min(last, position.parent_index) : position.parent_index;
  if (there == 0) return;
  const auto leaf_at = [&](std::uint32_t away) {
    return parent.child(position.forward ? position.parent_index + away
                                         : position.parent_index - away);
  };
  const PageSlot next = leaf_at(1);
  if (parent.bad() || !pool_.known(next) || !glance.holds()) return;
  position.next = next;
  __builtin_prefetch(&pool_.descriptor(next));

  // Where all was in memory the next look waits until that is passed.
  const std::uint32_t row = position.leaves_in_row;
  const std::uint32_t wanted = std::min({prefetch_max, 1U << std::min(row, 5U), there});
  const std::uint32_t enough = position.missed ? wanted / 2 : 0;
  if (row < 1 || position.looked_at > enough) return;
  std::array<PageSlot, prefetch_max> pages;
  std::uint32_t count = 0;
  for (std::uint32_t away = position.looked_at + 1; away <= wanted; ++away) {
    const PageSlot page = leaf_at(away);
    if (!pool_.known(page)) return;
    if (!pool_.descriptor(page).state.load().readable()) pages[count++] = page;
  }
  position.looked_at = wanted;
  position.missed = count > 0;
  if (count == 0 || parent.bad() || !glance.holds()) return;
  pool_.prefetch(caller.executor(), {pages.data(), count});
}

// To the copy's neighbour without a descent. The parent is looked at once more, after the word of
// the leaf was taken: that proves as much as in a descent (tree.hpp, 2).
bool Tree::cross(Leaf& leaf, Position& position) noexcept {
  if (buffer::shared_reads || position.next == PageSlot()) return false;
  leaf.page = std::exchange(position.next, PageSlot());
  leaf.word = pool_.descriptor(leaf.page).state.load();
  leaf.latched = false;
  FIRN_YIELD("tree.cross");
  if (!leaf.word.readable() ||
      !position.parent_word.validates(pool_.descriptor(position.parent).state.load())) {
    return false;
  }
  leaf.node = NodeReader(pool_.resolve(leaf.page), bytes_of(leaf.page));
  if (!leaf.node.open(0, shape_.table, by_bytes())) return false;
  pool_.touch(pool_.descriptor(leaf.page));
  position.parent_index += position.forward ? 1U : ~0U;
  return true;
}

// Whether the copy is still what the leaf holds, so that a move may start from it.
bool Tree::still_there(const Position& position) const noexcept {
  if (position.page == PageSlot()) return false;
  return position.word.validates(pool_.descriptor(position.page).state.load());
}

// The pair beside the one that is shown, if both lie in the copy and the leaf has not changed.
bool Tree::step_aside(Position& position, bool forward, const PairOut& out) noexcept {
  if (!still_there(position)) return false;
  const std::uint32_t index = forward ? position.index + 1 : position.index - 1;
  if (index >= position.node.count() || !show(position, index, out, true)) return false;
  // As the moves go through the copy, the neighbour comes into the processor's cache.
  if (forward == position.forward && position.next != PageSlot()) {
    const std::size_t done = forward ? index : position.node.count() - 1 - index;
    const std::size_t offset = done * prefetch_bytes;
    if (offset < bytes_of(position.next)) {
      const std::byte* ahead = pool_.resolve(position.next) + offset;
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + prefetch_bytes / 2);
    }
  }
  return true;
}

// Shows a pair of the copy. False: its value lies apart, there is no room for its key yet, or it
// makes no sense. `beside`: the key that is shown now is of the copy too, so it has the prefix.
bool Tree::show(Position& position, std::uint32_t index, const PairOut& out, bool beside) noexcept {
  NodeReader& node = position.node;
  const NodeReader::Entry entry = node.entry(index);
  const std::uint32_t prefix_size = node.prefix_size();
  const std::uint32_t key_size = prefix_size + entry.key_size;
  if (node.bad() || entry.value.apart || key_size > out.key.capacity()) return false;
  out.key.clear();
  std::byte* key = *out.key.extend(key_size);
  if (!beside && !node.copy_prefix(key)) return false;
  const Bytes suffix = node.view(entry.key, entry.key_size);
  std::copy(suffix.begin(), suffix.end(), key + prefix_size);
  out.value = node.view(entry.value.offset, entry.value.size);
  position.index = index;
  position.stands = true;
  return true;
}

Progress Tree::move(Caller& caller, Error& error, Position& position, Target target, Bytes key,
                    const PairOut& out) noexcept {
  const bool from_shown = position.stands && key.data() == out.key.data() &&
                          key.size() == out.key.size() &&
                          (target == Target::after || target == Target::before);
  if (from_shown && step_aside(position, target == Target::after, out)) {
    caller.done();
    return Progress::yes;
  }
  return move_afar(caller, error, position, target, key, out);
}

// Before the copy changes: a move that waits or comes to no pair leaves the one that is shown, and
// a key that lies in its value is looked for again after each wait.
bool Tree::keep_shown(Error& error, Position& position, Bytes key, const PairOut& out) noexcept {
  if (lies_in(key, position.image)) {
    std::swap(position.image, position.former);
    position.page = PageSlot();
    position.stands = false;
  }
  if (out.value.data() == nullptr || out.value.data() == out.room.data()) return true;
  out.room.clear();
  if (auto kept = out.room.append(out.value); !kept.has_value()) {
    error = kept.error();
    return false;
  }
  out.value = out.room.view();
  return true;
}

Progress Tree::move_afar(Caller& caller, Error& error, Position& position, Target target, Bytes key,
                         const PairOut& out) noexcept {
  // The key that is looked for now: the caller's, then fences. Kept apart from the key shown.
  std::array<std::byte, key_size_max> wanted;
  Bytes looked_for = key;
  if (key.size() <= key_size_max) {  // a larger one is no pair's, so it is not the one shown
    std::copy(key.begin(), key.end(), wanted.begin());
    looked_for = Bytes(wanted.data(), key.size());
  }
  Seek seek{target, looked_for};
  Path path;
  Leaf leaf;
  const bool ahead = forward(target);
  bool first_look = true;
  bool beside = false;  // what is looked for lies in the copy's neighbour
  for (unsigned attempt = 0;; ++attempt) {
    Walk walk = Walk::done;
    const bool near = first_look && target != Target::first && target != Target::last &&
                      still_there(position) && in_copy(position, looked_for);
    if (first_look && !near &&
        ((target != Target::after && target != Target::before) || position.forward != ahead)) {
      position.leaves_in_row = 0;
      position.looked_at = 0;
    }
    first_look = false;
    Target within = seek.target;
    if (!near) {
      if (!keep_shown(error, position, key, out)) return Progress::failed;
      if (std::exchange(beside, false) && cross(leaf, position)) {
        within = ahead ? Target::first : Target::last;
      } else {
        seek.key = looked_for;
        walk = descend(caller, error, seek, reads_latched(attempt), path, leaf);
        if (walk == Walk::done) {
          const Path::Step& above = path.steps[path.leaf - 1];
          position.parent = above.page;
          position.parent_word = above.word;
          position.parent_index = above.index;
          position.forward = ahead;
        }
      }
      if (walk == Walk::done) walk = copy_leaf(error, leaf, position);
      if (walk == Walk::done) look_ahead(caller, position);
    }
    if (walk == Walk::done) {
      bool off_leaf = false;
      walk = take_pair(caller, error, position, {within, looked_for}, out, off_leaf);
      if (walk == Walk::done && off_leaf) {
        // On to the neighbour: the fence is where it begins or ends.
        NodeReader node = position.node;
        const bool ends_early = FIRN_PLANTED("tree-cursor-ends-at-empty") && node.count() == 0;
        if (!node.has_fence(ahead) || ends_early) {
          caller.done();
          return Progress::no;
        }
        const std::uint32_t wanted_size = node.fence_size(ahead);
        if (wanted_size > key_size_max || !node.copy_fence(ahead, wanted.data())) {
          error = corrupt(position.page, "a leaf with an impossible fence").error;
          return Progress::failed;
        }
        looked_for = Bytes(wanted.data(), wanted_size);
        seek.target = ahead ? Target::at_or_after : Target::before;
        attempt = 0;
        beside = position.forward == ahead;
        ++position.leaves_in_row;
        position.looked_at -= std::min(position.looked_at, 1U);
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
  NodeReader node = position.node;
  if (node.bad() || node.count() == 0) return false;
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
                           const PairOut& out, bool& off_leaf) noexcept {
  NodeReader node = position.node;
  std::uint32_t index = 0;
  bool none = node.bad();
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
  const NodeReader::Entry entry = node.bad() ? NodeReader::Entry() : node.entry(index);
  const std::uint32_t key_size = node.prefix_size() + entry.key_size;
  if (node.bad() || key_size > key_size_max) {
    error = corrupt(position.page, "a leaf with an impossible entry").error;
    return Walk::failed;
  }
  if (entry.value.apart) {
    // The value's page is proved by the leaf's word.
    Leaf leaf;
    leaf.node = node;
    leaf.page = position.page;
    leaf.word = position.word;
    const Walk walk = copy_value(caller, error, leaf, entry.value, position.apart);
    if (walk != Walk::done) {
      if (walk == Walk::again) position.page = PageSlot();
      return walk;
    }
  }
  // Not before the last wait: what is looked for may lie in the key that is shown.
  if (auto room = out.key.reserve(key_size); !room.has_value()) {
    error = room.error();
    return Walk::failed;
  }
  if (!entry.value.apart) {
    if (show(position, index, out, false)) return Walk::done;
    error = corrupt(position.page, "a leaf with an impossible entry").error;
    return Walk::failed;
  }
  out.key.clear();
  if (!node.copy_key(index, *out.key.extend(key_size))) {
    error = corrupt(position.page, "a leaf with an impossible entry").error;
    return Walk::failed;
  }
  std::swap(out.room, position.apart);
  out.value = out.room.view();
  position.index = index;
  position.stands = true;
  return Walk::done;
}

}  // namespace firn::tree
