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

// New pages, latched exclusively, that nobody wants.
void Tree::drop_pages(std::span<const PageSlot> pages) noexcept {
  std::uint64_t number = 0;
  // Somebody who still has a former page of such an id in mind may keep it for a moment.
  while (!pool_.begin_change({}, pages, number)) base::pause_briefly();
  if (pool_.free_pages(pages, number).has_value()) return;
  // Without memory to note that, the ids stay unused until the store is opened again.
  for (const PageSlot page : pages) pool_.release_exclusive(page);
}

// Somebody's image is in the way of a change: sees to it, holding nothing.
Tree::Walk Tree::settle(Caller& caller, Error& error, std::span<const PageSlot> changed,
                        std::span<const PageSlot> freed) noexcept {
  return walk_after(pool_.settle_or_park(caller.waiter(), changed, freed, error), Walk::again);
}

// Pages that a change brings, latched exclusively and known to nobody: dropped, unless they are
// released with it.
class Tree::MadePages {
 public:
  explicit MadePages(Tree& tree) noexcept : tree_(tree) {}
  ~MadePages() { drop(); }
  MadePages(const MadePages&) = delete;
  MadePages& operator=(const MadePages&) = delete;

  void add(PageSlot page) noexcept { pages_[count_++] = page; }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] PageSlot last() const noexcept { return pages_[count_ - 1]; }
  [[nodiscard]] std::span<const PageSlot> span() const noexcept { return {pages_.data(), count_}; }
  void drop() noexcept {
    if (!empty()) tree_.drop_pages(span());
    count_ = 0;
  }
  /// They belong to the store now.
  void release() noexcept {
    for (const PageSlot page : span()) tree_.pool_.release_exclusive(page);
    count_ = 0;
  }
  /// They are dirty under that number, and nobody is to know them.
  void free(std::uint64_t number) noexcept {
    if (!empty() && !tree_.pool_.free_pages(span(), number).has_value()) return release();
    count_ = 0;
  }

 private:
  Tree& tree_;
  std::array<PageSlot, 3> pages_;
  std::size_t count_ = 0;
};

// One write, as it is tried again and again.
struct Tree::Change {
  Write kind;
  Bytes key;
  Bytes value;
  Companions companions;
  bool apart;
  MadePages made;  // a new tree's leaf and root, then the value's page
  unsigned attempt = 0;
  int pairs = 0;
  bool refused = false;  // what is there is not as the write wants it
  bool thin = false;     // the leaf has become so empty that it should be merged
  Path path;
  Leaf leaf;

  [[nodiscard]] bool makes_pages() const noexcept { return apart || companions.joining != nullptr; }
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
                .made = MadePages(*this),
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
  // Of a leaf without room no pages are made: they would be dropped for the split's.
  const bool makes_pages = change.makes_pages() && has_room(change, found);
  const PageSlot old_value = found.equal ? value_page_of(leaf, found.index) : PageSlot();
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
  // Before the first latch all that leaves is in memory, and then new pages are there: the memory
  // for these is the last thing that is waited for, or it would be taken for what is loaded.
  for (const PageSlot page : change.companions.leaving) {
    const PageWord word = pool_.descriptor(page).state.load();
    if (!word.readable()) return load(caller, error, page, word);
  }
  if (old_value != PageSlot() && pool_.known(old_value)) {
    const PageWord word = pool_.descriptor(old_value).state.load();
    if (!word.readable()) {
      walk = load(caller, error, old_value, word);
      // It may have been freed since the leaf was left.
      const PageWord now = pool_.descriptor(leaf.page).state.load();
      return walk == Walk::failed && !leaf.word.validates(now) ? Walk::again : walk;
    }
  }
  if (makes_pages) {
    walk = make_pages(caller, error, change);
    if (walk != Walk::done) return walk;
  }
  walk = change_leaf(caller, error, change, found);
  change.made.drop();
  return walk;
}

// Of an entry of the leaf, which is being read; none if its value lies there.
PageSlot Tree::value_page_of(Leaf& leaf, std::uint32_t index) noexcept {
  const ValuePlace place = leaf.node.value(index);
  ValueReference reference;
  if (!place.apart || !leaf.node.copy(&reference, place.offset, sizeof reference)) return {};
  return PageSlot::from_bits(reference.page);
}

// Whether the leaf, which is being read, has room for the entry, in place of one that is there.
bool Tree::has_room(Change& change, NodeReader::Found found) noexcept {
  NodeReader& node = change.leaf.node;
  const std::size_t stored = change.apart ? sizeof(ValueReference) : change.value.size();
  const std::uint32_t entry = node.entry_size(change.key.size(), stored);
  std::uint32_t former = 0;
  if (found.equal) {
    const ValuePlace place = node.value(found.index);
    former = node.entry_size(change.key.size(), place.apart ? sizeof(ValueReference) : place.size);
  }
  return change.key.size() <= key_size_max_of(change.leaf.page.size_class()) &&
         (former >= entry || node.used() + entry - former <= bytes_of(change.leaf.page) - slots_at);
}

// The pages that the change brings, with what they hold.
Tree::Walk Tree::make_pages(Caller& caller, Error& error, Change& change) noexcept {
  std::array<buffer::NewPage, 3> wanted;
  std::size_t count = 0;
  NewTree* const joining = change.companions.joining;
  if (joining != nullptr) {
    const Tree tree(pool_, joining->shape);
    for (const unsigned level : {0u, 1u}) {
      wanted[count++] = {.size_class = level == 0 ? joining->shape.leaf_class : inner_class,
                         .header = tree.head_of(level),
                         .page = {}};
    }
  }
  if (change.apart) {
    buffer::NewPage& page = wanted[count++];
    const std::size_t size = value_at + change.value.size();
    while (buffer::page_bytes(page.size_class) < size) ++page.size_class;
    page.header.table = shape_.table;
    page.header.kind = PageKind::blob;
    page.header.length = static_cast<std::uint32_t>(size);
  }
  const Walk walk = walk_after(
      pool_.create_or_park(caller.waiter(), std::span(wanted).first(count), error), Walk::done);
  if (walk != Walk::done) return walk;
  for (const buffer::NewPage& page : std::span(wanted).first(count)) change.made.add(page.page);
  if (joining != nullptr) {
    Tree(pool_, joining->shape).fill_empty(wanted[1].page, wanted[0].page);
    joining->shape.root = wanted[1].page;
    const Bytes value = joining->value(joining->context, joining->shape.root);
    FIRN_ASSERT(value.size() == change.value.size());
    change.value = value;
  }
  if (change.apart) {
    std::byte* const page = pool_.resolve(wanted[count - 1].page);
    NodeHead no_node;
    no_node.level = NodeHead::no_node;
    buffer::store_page(page + node_head_at, &no_node, sizeof no_node);
    buffer::store_page(page + value_at, change.value.data(), change.value.size());
  }
  return Walk::done;
}

// The leaf was found and left.
Tree::Walk Tree::change_leaf(Caller& caller, Error& error, Change& change,
                             NodeReader::Found found) noexcept {
  const PageSlot page = change.leaf.page;
  Latched latched(pool_);
  if (!latched.take(page, change.leaf.word)) {
    if (change.attempt < optimistic_attempts) {
      for (unsigned spin = 0; spin < change.attempt * 8; ++spin) base::pause_briefly();
      return Walk::again;
    }
    const bool made_some = !change.made.empty();
    change.made.drop();
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
    if (made_some || !is_node(page, 0)) return Walk::again;
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
  const ValueReference reference{
      change.apart && !change.made.empty() ? change.made.last().bits() : 0, change.value.size()};
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
      change.made.drop();
      if (!alone) return Walk::again;
      return needed != page.size_class() ? grow_leaf(caller, error, change.path, needed)
                                         : split(caller, error, change.path, change.key);
    }
    if (change.makes_pages() && change.made.empty()) return Walk::again;  // there was no room
  }

  // All pages of the change, each latched by one try.
  std::array<PageSlot, 4> changed;
  std::size_t changed_count = 0;
  std::array<PageSlot, 8> freed;
  std::size_t freed_count = 0;
  std::uint64_t old_size = 0;
  FIRN_ASSERT(change.companions.leaving.size() + 1 <= freed.size());
  changed[changed_count++] = page;
  for (const PageSlot made : change.made.span()) changed[changed_count++] = made;
  if (FIRN_PLANTED("tree-companion-left-out") && change.companions.joining != nullptr) {
    --changed_count;
  }
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
      change.made.drop();
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
  const std::span<const PageSlot> all_freed(freed.data(), freed_count);
  if (!pool_.begin_change({changed.data(), changed_count}, all_freed, number)) {
    latched.release();
    change.made.drop();
    return settle(caller, error, {&page, 1}, all_freed);
  }
  if (!all_freed.empty()) {
    if (auto freeing = pool_.free_pages(all_freed, number); !freeing.has_value()) {
      error = freeing.error();
      change.made.free(number);
      return Walk::failed;
    }
    for (const PageSlot leaving : all_freed) latched.forget(leaving);
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
  change.made.release();
  return Walk::done;
}

}  // namespace firn::tree
