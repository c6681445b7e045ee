// The write path: find the leaf, latch it, change it. What a write needs beside the leaf (a page
// for a large value, companions) is made or found before, and latched after it by single tries:
// nobody waits with a latch in hand.
#include <algorithm>
#include <cstring>

#include "base/planted.hpp"
#include "base/spin.hpp"
#include "base/yield.hpp"
#include "tree/path.hpp"
#include "tree/scratch.hpp"
#include "tree/tree.hpp"

namespace firn::tree {
namespace {

using buffer::Access;
using format::PageHeader;
using format::PageKind;

}  // namespace

std::size_t Tree::value_size_max() const noexcept {
  return buffer::page_bytes(pool_.page_class_max()) - value_at;
}

// A value lies in the leaf if it is small, and if its entry leaves room for another one like it.
bool Tree::stored_apart(Bytes key, Bytes value) const noexcept {
  const std::size_t entry = sizeof(Slot) + 2 + key.size() + value.size();
  const unsigned leaf_class =
      key.size() > key_size_max_of(shape_.leaf_class) ? inner_class : shape_.leaf_class;
  return value.size() > inline_max_ || entry > entry_size_max_of(leaf_class);
}

// How deep a write may go: to the leaf, as long as no inner node keeps messages.
Tree::Walk Tree::target_of(Caller& caller, Error& error, Bytes key, unsigned attempt, Path& path,
                           Leaf& leaf) noexcept {
  return descend(caller, error, {Target::at_or_after, key}, reads_latched(attempt), path, leaf);
}

// A page with the value, latched exclusively, which nobody knows yet.
Tree::Walk Tree::make_value_page(Caller& caller, Error& error, Bytes value,
                                 PageSlot& page) noexcept {
  const std::size_t size = value_at + value.size();
  unsigned size_class = 0;
  while (buffer::page_bytes(size_class) < size) ++size_class;
  PageHeader head;
  head.table = shape_.table;
  head.kind = PageKind::blob;
  head.length = static_cast<std::uint32_t>(size);
  const Walk walk =
      walk_after(pool_.create_or_park(caller.waiter(), size_class, head, page, error), Walk::done);
  if (walk != Walk::done) return walk;
  NodeHead no_node;
  no_node.level = NodeHead::no_node;
  buffer::store_page(pool_.resolve(page) + node_head_at, &no_node, sizeof no_node);
  buffer::store_page(pool_.resolve(page) + value_at, value.data(), value.size());
  return Walk::done;
}

// A new page, latched exclusively, that nobody wants.
void Tree::drop_page(PageSlot page) noexcept {
  std::uint64_t number = 0;
  // Somebody who still has a former page of this id in mind may keep it for a moment.
  while (!pool_.begin_change({}, {&page, 1}, number)) base::pause_briefly();
  // Without memory to note that, the id stays unused until the store is opened again.
  if (!pool_.free_page(page, number).has_value()) pool_.release_exclusive(page);
}

// Somebody's image is in the way of a change: sees to it, holding nothing.
Tree::Walk Tree::settle(Caller& caller, Error& error, std::span<const PageSlot> changed,
                        std::span<const PageSlot> freed) noexcept {
  return walk_after(pool_.settle_or_park(caller.waiter(), changed, freed, error), Walk::again);
}

// One write, as it is tried again and again.
struct Tree::Change {
  Write kind;
  Bytes key;
  Bytes value;
  Companions companions;
  bool apart;
  unsigned attempt = 0;
  int pairs = 0;
  bool refused = false;  // what is there is not as the write wants it
  bool thin = false;     // the leaf has become so empty that it should be merged
  Path path;
  Leaf leaf;
};

Progress Tree::write(Caller& caller, Error& error, Write kind, Bytes key, Bytes value, int& pairs,
                     const Companions& companions) noexcept {
  FIRN_ASSERT(key.size() <= key_size_max);
  if (value.size() > value_size_max()) {
    error = fail(ErrorCode::too_large, "with this memory budget a value has at most {} bytes",
                 value_size_max())
                .error;
    return Progress::failed;
  }
  if (scratch_of_this_thread() == nullptr) {
    error = fail(ErrorCode::no_memory, "no memory for this thread's scratch").error;
    return Progress::failed;
  }
  Change change{.kind = kind,
                .key = key,
                .value = value,
                .companions = companions,
                .apart = kind != Write::erase && stored_apart(key, value),
                .path = {},
                .leaf = {}};
  for (;; ++change.attempt) {
    switch (try_write(caller, error, change)) {
      case Walk::again:
        continue;
      case Walk::parked:
        return Progress::waiting;
      case Walk::failed:
        return Progress::failed;
      case Walk::done:
        break;
    }
    break;
  }
  caller.done();
  pairs = change.pairs;
  if (change.thin) try_merge(caller, change.path);
  return change.refused ? Progress::no : Progress::yes;
}

// One attempt.
Tree::Walk Tree::try_write(Caller& caller, Error& error, Change& change) noexcept {
  Leaf& leaf = change.leaf;
  Walk walk = target_of(caller, error, change.key, change.attempt, change.path, leaf);
  if (walk != Walk::done) return walk;
  NodeReader::Found found = leaf.node.find(change.key, shape_.compare);
  const bool torn = leaf.node.bad();
  FIRN_YIELD("tree.write");
  if (!leave(leaf)) return Walk::again;
  if (torn) {
    error = corrupt(leaf.page, "a leaf that cannot be searched").error;
    return Walk::failed;
  }
  if (found.equal ? change.kind == Write::insert
                  : change.kind == Write::update || change.kind == Write::erase) {
    change.refused = true;
    return Walk::done;
  }
  // Before the first latch: the companions are in memory, and the value has its page.
  for (const PageSlot page : change.companions.leaving) {
    const PageWord word = pool_.descriptor(page).state.load();
    if (!word.readable()) return load(caller, error, page, word);
  }
  PageSlot value_page;
  if (change.apart) {
    walk = make_value_page(caller, error, change.value, value_page);
    if (walk != Walk::done) return walk;
  }
  walk = change_leaf(caller, error, change, found, value_page);
  return walk;
}

// The leaf was found and left; `value_page` is latched, if there is one.
Tree::Walk Tree::change_leaf(Caller& caller, Error& error, Change& change, NodeReader::Found found,
                             PageSlot value_page) noexcept {
  const PageSlot page = change.leaf.page;
  const bool has_value_page = value_page != PageSlot();
  // Whoever leaves without success gives the value's page up.
  struct Guard {
    Tree& tree;
    PageSlot page;
    ~Guard() {
      if (page != PageSlot()) tree.drop_page(page);
    }
  } guard{*this, value_page};

  Latched latched(pool_);
  if (!latched.take(page, change.leaf.word)) {
    if (change.attempt < optimistic_attempts) {
      for (unsigned spin = 0; spin < change.attempt * 8; ++spin) base::pause_briefly();
      return Walk::again;
    }
    if (has_value_page) drop_page(std::exchange(guard.page, PageSlot()));
    switch (pool_.exclusive_or_park(caller.waiter(), page, error)) {
      case Access::parked:
        return Walk::parked;
      case Access::failed:
      case Access::again:
        return Walk::again;  // it is a leaf of this tree no longer
      case Access::ready:
        break;
    }
    latched.adopt(page);
    if (has_value_page || !is_node(page, 0)) return Walk::again;
    NodeReader now(pool_.resolve(page), bytes_of(page));
    static_cast<void>(now.open(0, shape_.table, by_bytes()));
    const bool was_equal = found.equal;
    found = now.find(change.key, shape_.compare);
    const NodeEditor its(pool_.resolve(page), bytes_of(page));
    if (now.bad() || found.equal != was_equal ||
        (!found.equal && !its.has_place(found.index, change.key, shape_.compare))) {
      return Walk::again;
    }
  }

  NodeEditor editor(pool_.resolve(page), bytes_of(page));
  const bool replaces = found.equal && change.kind != Write::erase;
  const ValueReference reference{value_page.bits(), change.value.size()};
  const Bytes stored = change.apart ? Bytes(std::as_bytes(std::span(&reference, 1))) : change.value;
  if (change.kind != Write::erase) {
    unsigned needed = page.size_class();
    if (change.key.size() > key_size_max_of(needed)) needed = inner_class;
    const std::uint32_t entry = editor.entry_size(change.key.size(), stored.size());
    const std::uint32_t former = replaces ? editor.entry_size_at(found.index) : 0;
    if (!replaces && !editor.has_place(found.index, change.key, shape_.compare)) {
      error = corrupt(page, "a leaf that its parent gives keys of others").error;
      return Walk::failed;
    }
    const bool fits = former >= entry || editor.fits(entry - former);
    if (needed != page.size_class() || !fits) {
      const bool alone = latched.release_and_look(page, change.path.steps[change.path.leaf].word);
      if (has_value_page) drop_page(std::exchange(guard.page, PageSlot()));
      if (!alone) return Walk::again;
      return needed != page.size_class() ? grow_leaf(caller, error, change.path, needed)
                                         : split(caller, error, change.path, change.key);
    }
  }

  // All pages of the change, each latched by one try.
  std::array<PageSlot, 8> changed;
  std::size_t changed_count = 0;
  std::array<PageSlot, 8> freed;
  std::size_t freed_count = 0;
  std::uint64_t old_size = 0;
  FIRN_ASSERT(change.companions.joining.size() + 2 <= changed.size());
  FIRN_ASSERT(change.companions.leaving.size() + 1 <= freed.size());
  changed[changed_count++] = page;
  for (const PageSlot joining : change.companions.joining) changed[changed_count++] = joining;
  if (FIRN_PLANTED("tree-companion-left-out") && !change.companions.joining.empty()) {
    --changed_count;
  }
  if (has_value_page) changed[changed_count++] = value_page;  // the last one
  for (const PageSlot leaving : change.companions.leaving) freed[freed_count++] = leaving;
  if (found.equal) {
    bool apart = false;
    const Bytes former = editor.value(found.index, apart);
    if (apart) {
      ValueReference old;
      std::memcpy(&old, former.data(), sizeof old);
      freed[freed_count++] = PageSlot::from_bits(old.page);
      old_size = old.size;
    }
  }
  const std::size_t old_value = freed_count - change.companions.leaving.size();
  for (const PageSlot joining : change.companions.joining) {
    if (!latched.take_now(joining)) return Walk::again;
  }
  for (std::size_t index = 0; index < freed_count; ++index) {
    const PageSlot leaving = freed[index];
    if (!pool_.known(leaving) || leaving == page) {
      error = corrupt(page, "an entry whose value lies nowhere").error;
      return Walk::failed;
    }
    const PageWord word = pool_.descriptor(leaving).state.load();
    if (!word.readable()) {
      PageWord& seen = change.path.steps[change.path.leaf].word;
      const bool alone = latched.release_and_look(page, seen);
      if (has_value_page) drop_page(std::exchange(guard.page, PageSlot()));
      if (!alone) return Walk::again;
      const Walk walk = load(caller, error, leaving, word);
      // It may have been freed since the leaf was let go.
      if (walk == Walk::failed && !seen.validates(pool_.descriptor(page).state.load())) {
        return Walk::again;
      }
      return walk;
    }
    if (!latched.take(leaving, word)) return Walk::again;
  }
  if (old_value > 0) {
    PageHeader head;
    std::memcpy(&head, pool_.resolve(freed[freed_count - 1]), sizeof head);
    if (!holds_value(head, old_size)) {
      error = corrupt(freed[freed_count - 1], "a value's page that holds something else").error;
      return Walk::failed;
    }
  }
  std::uint64_t number = 0;
  const std::span<const PageSlot> all_changed(changed.data(), changed_count);
  const std::span<const PageSlot> all_freed(freed.data(), freed_count);
  if (!pool_.begin_change(all_changed, all_freed, number)) {
    latched.release();
    if (has_value_page) drop_page(std::exchange(guard.page, PageSlot()));
    return settle(caller, error, all_changed.first(changed_count - (has_value_page ? 1 : 0)),
                  all_freed);
  }
  for (const PageSlot leaving : all_freed) {
    if (auto freeing = pool_.free_page(leaving, number); !freeing.has_value()) {
      // The value's page is dirty already: it is freed like any other.
      error = freeing.error();
      if (has_value_page) {
        guard.page = PageSlot();
        if (!pool_.free_page(value_page, number).has_value()) pool_.release_exclusive(value_page);
      }
      return Walk::failed;
    }
    latched.forget(leaving);
  }
  std::byte* scratch = scratch_of_this_thread()->first.data();
  if (change.kind == Write::erase) {
    editor.erase(found.index);
    change.pairs = -1;
    change.thin = editor.used() < editor.capacity() / 4;
  } else if (replaces) {
    const bool replaced = editor.replace_value(found.index, stored, change.apart, scratch);
    FIRN_ASSERT(replaced);
  } else {
    editor.insert_value(found.index, change.key, stored, change.apart, scratch);
    change.pairs = 1;
  }
  editor.finish();
  if (has_value_page) {
    guard.page = PageSlot();
    pool_.release_exclusive(value_page);
  }
  return Walk::done;
}

}  // namespace firn::tree
