// Splits, merges and the root. Each is one change of a few pages, latched by single tries from the
// top down under the words of a descent, with everything new built in memory of this thread: a step
// that meets anybody else lets go of all of it and starts again.
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
using format::PageHeader;
using format::PageKind;

// A merge leaves room for as much again as a third of what is there, so that the next insert does
// not split what was just merged.
constexpr std::uint32_t merged_share_percent = 75;

}  // namespace

struct Key {
  std::array<std::byte, key_size_max> bytes;
  std::size_t size = 0;
  [[nodiscard]] Bytes view() const noexcept { return {bytes.data(), size}; }
  void set(Bytes first, Bytes second) noexcept {
    std::copy(first.begin(), first.end(), bytes.begin());
    std::copy(second.begin(), second.end(),
              bytes.begin() + static_cast<std::ptrdiff_t>(first.size()));
    size = first.size() + second.size();
  }
};

// Where a node is divided: entries before `left_end` stay, entries from `right_begin` on move. Of
// an inner node the one between goes up.
struct Cut {
  std::uint32_t left_end = 0;
  std::uint32_t right_begin = 0;
  Key separator;
};

namespace {

std::size_t separator_size_at(const NodeEditor& node, std::uint32_t index, bool by_bytes) noexcept {
  const Bytes key = node.suffix(index);
  if (node.level() > 0 || !by_bytes) return key.size();
  return separator_size(node.suffix(index - 1), key);
}

// By bytes as even as possible, moved by a few of them to where the separator is shorter. Keys
// whose order is the user's are not cut short, so there nothing is to be gained.
std::uint32_t balanced_index(const NodeEditor& node, bool by_bytes) noexcept {
  const std::uint32_t count = node.count();
  const std::uint32_t half = node.entries_size(0, count, node.prefix().size()) / 2;
  std::uint32_t index = 0;
  std::uint32_t before = 0;
  while (index < count && before + node.entry_size_at(index) / 2 < half) {
    before += node.entry_size_at(index);
    ++index;
  }
  const std::uint32_t low = 1;
  const std::uint32_t high = node.level() == 0 ? count - 1 : count - 2;
  index = std::clamp(index, low, std::max(low, high));
  if (!by_bytes) return index;
  std::uint32_t best = index;
  std::size_t best_size = separator_size_at(node, index, by_bytes);
  const auto look = [&](std::uint32_t candidate) {
    const std::size_t size = separator_size_at(node, candidate, by_bytes);
    if (size >= best_size) return;
    best = candidate;
    best_size = size;
  };
  const std::uint32_t reach = node.capacity() / 16;
  std::uint32_t moved = 0;
  for (std::uint32_t at = index; at < high && (moved += node.entry_size_at(at)) <= reach;)
    look(++at);
  moved = 0;
  for (std::uint32_t at = index; at > low && (moved += node.entry_size_at(at - 1)) <= reach;) {
    look(--at);
  }
  return best;
}

// False: the node is too small to be divided.
bool choose_cut(const NodeEditor& node, Bytes key, CompareFunction compare, Cut& cut) noexcept {
  const std::uint32_t count = node.count();
  const bool by_bytes = compare == nullptr;
  const Bytes prefix = node.prefix();
  const Bytes own = key.size() >= prefix.size() ? key.subview(prefix.size()) : key;
  if (node.level() == 0 && count > 0 && node.append_row() > count / 2) {
    // Keys come in order: the leaf stays full, and the next one begins with this key.
    const Bytes last = node.suffix(count - 1);
    const bool behind = by_bytes ? last < own : compare(last, own) < 0;
    const std::size_t size = by_bytes ? separator_size(last, own) : own.size();
    const Fences fences = node.fences();
    const std::size_t growth = prefix.size() + size;
    if (behind && node.used() - fences.upper.size() + growth <= node.capacity()) {
      cut.left_end = cut.right_begin = count;
      cut.separator.set(prefix, own.first(size));
      return true;
    }
  }
  if (count < (node.level() == 0 ? 2u : 3u)) return false;
  const std::uint32_t index = balanced_index(node, by_bytes);
  const std::size_t size = separator_size_at(node, index, by_bytes);
  cut.left_end = index;
  cut.right_begin = node.level() == 0 ? index : index + 1;
  cut.separator.set(prefix, node.suffix(index).first(size));
  return true;
}

}  // namespace

PageHeader Tree::head_of(unsigned level) const noexcept {
  PageHeader head;
  head.table = shape_.table;
  head.kind = level == 0 ? PageKind::leaf : PageKind::inner;
  head.level = static_cast<std::uint8_t>(level);
  return head;
}

Tree::Walk Tree::create_node(Caller& caller, Error& error, unsigned size_class, unsigned level,
                             PageSlot& page) noexcept {
  return walk_after(pool_.create_or_park(caller.waiter(), size_class, head_of(level), page, error),
                    Walk::done);
}

// A change found one of these pages latched. Parks until it is not, since each attempt costs a page
// id; never `done`.
Tree::Walk Tree::wait_for_latches(Caller& caller, Error& error,
                                  std::span<const PageSlot> pages) noexcept {
  for (const PageSlot page : pages) {
    const PageWord word = pool_.descriptor(page).state.load();
    if (!word.exclusive() && word.share_count() == 0) continue;
    switch (pool_.exclusive_or_park(caller.waiter(), page, error)) {
      case Access::parked:
        return Walk::parked;
      case Access::ready:
        pool_.release_exclusive(page);
        break;
      case Access::failed:
      case Access::again:
        break;
    }
  }
  return Walk::again;
}

// Makes room in the leaf of the path: divides it, or the lowest node above it whose parent has room
// for one more; never `done`. `key` is what asks for room.
Tree::Walk Tree::split(Caller& caller, Error& error, const Path& path, Bytes key) noexcept {
  for (unsigned depth = path.leaf; depth > 0; --depth) {
    bool parent_is_full = false;
    const Walk walk = look_at_parent(caller, error, path, depth, key, parent_is_full);
    if (walk != Walk::done) return walk;
    if (!parent_is_full) return split_node(caller, error, path, depth, key);
  }
  return grow_root(caller, error, path);
}

// Before a page is made for the new node: one that is made and not used may cost its maker another
// wait for memory, while the next attempt needs a page of another size.
Tree::Walk Tree::look_at_parent(Caller& caller, Error& error, const Path& path, unsigned depth,
                                Bytes key, bool& is_full) noexcept {
  const Path::Step& above = path.steps[depth - 1];
  const Path::Step& step = path.steps[depth];
  {
    const Shared parent(pool_, above.page, above.word);
    const Shared node(pool_, step.page, step.word);
    Cut cut;
    if (parent.held() && node.held()) return plan_split(error, path, depth, key, cut, is_full);
  }
  return wait_for_latches(caller, error, std::array{above.page, step.page});
}

// Both pages are latched. `done`: `cut` says how the node is divided; or `failed`.
Tree::Walk Tree::plan_split(Error& error, const Path& path, unsigned depth, Bytes key, Cut& cut,
                            bool& parent_is_full) noexcept {
  const Path::Step& above = path.steps[depth - 1];
  const PageSlot page = path.steps[depth].page;
  const auto fail_with = [&error, page](const char* what) noexcept {
    error = corrupt(page, what).error;
    return Walk::failed;
  };
  if (!is_node(page, path.leaf - depth) || !is_node(above.page, path.leaf - depth + 1)) {
    return fail_with("a page of a tree that is none");
  }
  const NodeEditor node(pool_.resolve(page), bytes_of(page));
  const NodeEditor parent(pool_.resolve(above.page), bytes_of(above.page));
  if (!choose_cut(node, key, shape_.compare, cut)) {
    return fail_with("a node with an entry that is too large for it");
  }
  parent_is_full = !parent.fits(parent.entry_size(cut.separator.size, 0));
  if (!parent_is_full && !parent.has_place(above.index, cut.separator.view(), shape_.compare)) {
    return fail_with("a node whose keys are not those of its parent");
  }
  return Walk::done;
}

Tree::Walk Tree::split_node(Caller& caller, Error& error, const Path& path, unsigned depth,
                            Bytes key) noexcept {
  const Path::Step& above = path.steps[depth - 1];
  const Path::Step& step = path.steps[depth];
  const std::size_t size = bytes_of(step.page);
  PageSlot right;
  {
    const Walk walk = create_node(caller, error, step.page.size_class(), path.leaf - depth, right);
    if (walk != Walk::done) return walk;
  }
  Latched latched(pool_);
  if (!latched.take(above.page, above.word) || !latched.take(step.page, step.word)) {
    latched.release();
    drop_page(right);
    return wait_for_latches(caller, error, std::array{above.page, step.page});
  }
  FIRN_YIELD("tree.split");
  Cut cut;
  bool parent_is_full = false;
  const Walk planned = plan_split(error, path, depth, key, cut, parent_is_full);
  if (planned != Walk::done || parent_is_full) {
    latched.release();
    drop_page(right);
    return planned == Walk::done ? Walk::again : planned;
  }
  NodeEditor node(pool_.resolve(step.page), size);
  NodeEditor parent(pool_.resolve(above.page), bytes_of(above.page));
  const std::array<PageSlot, 3> changed{above.page, step.page, right};
  const std::size_t left_out = FIRN_PLANTED("tree-split-without-parent") ? 1 : 0;
  std::uint64_t number = 0;
  if (!pool_.begin_change(std::span(changed).subspan(left_out), {}, number)) {
    latched.release();
    drop_page(right);
    return settle(caller, error, std::span(changed).first(2), {});
  }
  latched.adopt(right);
  Scratch& scratch = *scratch_of_this_thread();
  const Fences fences = node.fences();
  Bytes boundary = cut.separator.view();
  if (FIRN_PLANTED("tree-split-fence") && node.level() == 0) boundary = fences.upper;
  NodeEditor left_image =
      NodeEditor::make(scratch.first.data(), size, node.level(), shape_.table,
                       {fences.lower, boundary, fences.has_lower, true}, by_bytes());
  NodeEditor right_image = NodeEditor::make(
      scratch.second.data(), size, node.level(), shape_.table,
      {cut.separator.view(), fences.upper, true,
       fences.has_upper &&
           !(FIRN_PLANTED("tree-append-loses-fence") && cut.right_begin == node.count())},
      by_bytes());
  if (node.level() > 0) {
    left_image.set_first_child(node.child(0));
    right_image.set_first_child(node.child(cut.right_begin));
  }
  left_image.append(node, 0, cut.left_end);
  right_image.append(node, cut.right_begin, node.count());
  if (cut.right_begin == node.count()) {  // the row goes on in the new leaf
    right_image.set_append_row(static_cast<std::uint16_t>(node.append_row()));
  }
  left_image.finish();
  right_image.finish();
  store_node(pool_.resolve(step.page), scratch.first.data(), size);
  store_node(pool_.resolve(right), scratch.second.data(), size);
  parent.insert_child(above.index, cut.separator.view(), right, scratch.third.data());
  parent.finish();
  return Walk::again;
}

// The root's content moves down into a new node; the root keeps its page.
Tree::Walk Tree::grow_root(Caller& caller, Error& error, const Path& path) noexcept {
  const Path::Step& root = path.steps[0];
  const unsigned level = path.leaf;
  if (level >= level_max) {
    error = fail(ErrorCode::no_space, "the tree has as many levels as it can").error;
    return Walk::failed;
  }
  PageSlot below;
  const Walk walk = create_node(caller, error, inner_class, level, below);
  if (walk != Walk::done) return walk;
  Latched latched(pool_);
  const std::array<PageSlot, 2> changed{root.page, below};
  std::uint64_t number = 0;
  if (!latched.take(root.page, root.word)) {
    drop_page(below);
    return wait_for_latches(caller, error, {&root.page, 1});
  }
  if (!pool_.begin_change(changed, {}, number)) {
    latched.release();
    drop_page(below);
    return settle(caller, error, {changed.data(), 1}, {});
  }
  latched.adopt(below);
  Scratch& scratch = *scratch_of_this_thread();
  const std::size_t size = bytes_of(root.page);
  const NodeEditor former(pool_.resolve(root.page), size);
  NodeEditor image =
      NodeEditor::make(scratch.first.data(), size, level, shape_.table, Fences{}, by_bytes());
  image.set_first_child(former.child(0));
  image.append(former, 0, former.count());
  image.finish();
  store_node(pool_.resolve(below), scratch.first.data(), size);
  NodeEditor top =
      NodeEditor::make(scratch.first.data(), size, level + 1, shape_.table, Fences{}, by_bytes());
  top.set_first_child(below);
  top.finish();
  store_node(pool_.resolve(root.page), scratch.first.data(), size);
  return Walk::again;
}

// The leaf moves to a page of a larger class, for keys that a page of its own class should not
// hold.
Tree::Walk Tree::grow_leaf(Caller& caller, Error& error, const Path& path,
                           unsigned size_class) noexcept {
  const Path::Step& above = path.steps[path.leaf - 1];
  const Path::Step& step = path.steps[path.leaf];
  PageSlot larger;
  const Walk walk = create_node(caller, error, size_class, 0, larger);
  if (walk != Walk::done) return walk;
  Latched latched(pool_);
  if (!latched.take(above.page, above.word) || !latched.take(step.page, step.word)) {
    latched.release();
    drop_page(larger);
    return wait_for_latches(caller, error, std::array{above.page, step.page});
  }
  const std::array<PageSlot, 2> changed{above.page, larger};
  const std::array<PageSlot, 1> freed{step.page};
  std::uint64_t number = 0;
  if (!pool_.begin_change(changed, freed, number)) {
    latched.release();
    drop_page(larger);
    return settle(caller, error, {changed.data(), 1}, freed);
  }
  latched.adopt(larger);
  Scratch& scratch = *scratch_of_this_thread();
  const std::size_t size = bytes_of(larger);
  {
    const NodeEditor node(pool_.resolve(step.page), bytes_of(step.page));
    NodeEditor image =
        NodeEditor::make(scratch.first.data(), size, 0, shape_.table, node.fences(), by_bytes());
    image.append(node, 0, node.count());
    image.finish();
  }
  if (auto freeing = pool_.free_page(step.page, number); !freeing.has_value()) {
    error = freeing.error();
    latched.forget(larger);
    if (!pool_.free_page(larger, number).has_value()) pool_.release_exclusive(larger);
    return Walk::failed;
  }
  latched.forget(step.page);
  store_node(pool_.resolve(larger), scratch.first.data(), size);
  NodeEditor parent(pool_.resolve(above.page), bytes_of(above.page));
  parent.set_child(above.index, larger);
  parent.finish();
  return Walk::again;
}

// Bytes in use of a page that is in memory; false if it is not, or changes just now.
bool Tree::used_bytes(PageSlot page, unsigned level, std::uint32_t& used) const noexcept {
  const Glance glance(pool_, page);
  if (!glance.began()) return false;
  NodeReader node(pool_.resolve(page), bytes_of(page));
  const bool opened = node.open(level, shape_.table, by_bytes());
  used = node.used();
  return opened && !node.bad() && glance.holds();
}

// After an erase that left a thin leaf: joins it with a neighbour that is in memory, and its
// parents likewise. Nobody waits for this: what cannot be had now is left to the next erase.
void Tree::try_merge(Caller& caller, const Path& path) noexcept {
  for (unsigned depth = path.leaf; depth > 0; --depth) {
    if (!try_merge_at(caller, path, depth)) break;
  }
  try_shrink_root(path);
}

// The child of the node above `depth` that the path leads to, and one of its neighbours.
bool Tree::try_merge_at(Caller& caller, const Path& path, unsigned depth) noexcept {
  const Path::Step& above = path.steps[depth - 1];
  const unsigned level = path.leaf - depth;
  // First without a latch: mostly there is nothing to join.
  for (const std::uint32_t back : {1u, 0u}) {
    if (above.index < back) continue;
    const std::uint32_t left_index = above.index - back;
    PageSlot left;
    PageSlot right;
    {
      const Glance glance(pool_, above.page, above.word);
      if (!glance.began()) return false;
      NodeReader parent(pool_.resolve(above.page), bytes_of(above.page));
      const bool opened = parent.open(level + 1, shape_.table, by_bytes());
      const bool there = opened && left_index < parent.count();
      if (there) {
        left = parent.child(left_index);
        right = parent.child(left_index + 1);
      }
      if (!glance.holds() || !opened || parent.bad()) return false;
      if (!there) continue;
    }
    if (!pool_.known(left) || !pool_.known(right)) return false;
    for (const PageSlot page : {left, right}) {
      if (pool_.descriptor(page).state.load().evicted()) {
        pool_.prefetch(caller.executor(), {&page, 1});
      }
    }
    std::uint32_t left_used = 0;
    std::uint32_t right_used = 0;
    if (right.size_class() > left.size_class()) continue;
    if (!used_bytes(left, level, left_used) || !used_bytes(right, level, right_used)) continue;
    const std::size_t room = (bytes_of(left) - slots_at) * merged_share_percent / 100;
    if (std::size_t{left_used} + right_used > room) continue;
    return try_merge_pair(path, depth, left_index);
  }
  return false;
}

// Joins the children `left_index` and the next one of the node above `depth`.
bool Tree::try_merge_pair(const Path& path, unsigned depth, std::uint32_t left_index) noexcept {
  const Path::Step& above = path.steps[depth - 1];
  Latched latched(pool_);
  if (!latched.take(above.page, above.word)) return false;
  NodeEditor parent(pool_.resolve(above.page), bytes_of(above.page));
  const PageSlot left_page = parent.child(left_index);
  const PageSlot right_page = parent.child(left_index + 1);
  if (!latched.take_now(left_page) || !latched.take_now(right_page)) return false;
  FIRN_YIELD("tree.merge");
  const std::size_t size = bytes_of(left_page);
  const unsigned level = path.leaf - depth;
  if (right_page.size_class() > left_page.size_class() || !is_node(left_page, level) ||
      !is_node(right_page, level)) {
    return false;
  }
  const NodeEditor left(pool_.resolve(left_page), size);
  const NodeEditor right(pool_.resolve(right_page), bytes_of(right_page));
  const Fences lower = left.fences();
  const Fences upper = right.fences();
  Fences fences{lower.lower, upper.upper, lower.has_lower, upper.has_upper};
  const std::size_t prefix = by_bytes() && fences.has_lower && fences.has_upper
                                 ? common_prefix(fences.lower, fences.upper)
                                 : 0;
  if (FIRN_PLANTED("tree-merge-keeps-prefix")) fences.upper = lower.upper;
  std::size_t total = left.entries_size(0, left.count(), prefix) +
                      right.entries_size(0, right.count(), prefix) + fences.lower.size() +
                      fences.upper.size();
  Key separator;
  separator.set(parent.prefix(), parent.suffix(left_index));
  if (!lower.has_upper || !upper.has_lower || lower.upper != separator.view() ||
      upper.lower != separator.view()) {
    return false;  // damaged; whoever checks the tree finds it
  }
  if (left.level() > 0) total += sizeof(Slot) + 8 + separator.size - prefix;
  if (total > std::size_t{left.capacity()} * merged_share_percent / 100) return false;
  Scratch& scratch = *scratch_of_this_thread();
  NodeEditor image =
      NodeEditor::make(scratch.first.data(), size, left.level(), shape_.table, fences, by_bytes());
  if (left.level() > 0) image.set_first_child(left.child(0));
  image.append(left, 0, left.count());
  if (left.level() > 0) {
    image.insert_child(image.count(), separator.view(), right.child(0), scratch.third.data());
  }
  image.append(right, 0, right.count());
  image.finish();
  const std::array<PageSlot, 2> changed{above.page, left_page};
  std::uint64_t number = 0;
  if (!pool_.begin_change(changed, {&right_page, 1}, number)) return false;
  if (FIRN_PLANTED("tree-merge-forgets-right")) {
    NodeEditor::make(scratch.first.data(), size, left.level(), shape_.table, fences, by_bytes())
        .finish();
  }
  if (!FIRN_PLANTED("tree-merge-frees-nothing")) {
    if (!pool_.free_page(right_page, number).has_value()) return false;
    latched.forget(right_page);
  }
  store_node(pool_.resolve(left_page), scratch.first.data(), size);
  parent.erase(left_index);
  parent.finish();
  return true;
}

// A root with one child that is an inner node takes over its content.
void Tree::try_shrink_root(const Path& path) noexcept {
  const PageSlot root = path.steps[0].page;
  if (path.leaf < 2) return;
  const PageWord word = pool_.descriptor(root).state.load();
  NodeReader reader(pool_.resolve(root), bytes_of(root));
  {
    const Glance glance(pool_, root, word);
    const bool one_child = glance.began() && reader.open_root(shape_.table, by_bytes()) &&
                           reader.count() == 0 && reader.level() > 1;
    if (!glance.holds() || !one_child) return;
  }
  Latched latched(pool_);
  if (!latched.take(root, word)) return;
  const PageSlot child = reader.child(0);
  if (!pool_.known(child) || child.size_class() != root.size_class() || !latched.take_now(child)) {
    return;
  }
  std::uint64_t number = 0;
  if (!pool_.begin_change({&root, 1}, {&child, 1}, number)) return;
  Scratch& scratch = *scratch_of_this_thread();
  const std::size_t size = bytes_of(root);
  const NodeEditor below(pool_.resolve(child), size);
  NodeEditor image = NodeEditor::make(scratch.first.data(), size, below.level(), shape_.table,
                                      below.fences(), by_bytes());
  image.set_first_child(below.child(0));
  image.append(below, 0, below.count());
  image.finish();
  if (!pool_.free_page(child, number).has_value()) return;
  latched.forget(child);
  store_node(pool_.resolve(root), scratch.first.data(), size);
}

// Whole trees.

// Two new pages become a root with one leaf, both empty; latched exclusively.
void Tree::fill_empty(PageSlot root, PageSlot leaf) noexcept {
  std::byte* const image = scratch_of_this_thread()->first.data();
  for (const unsigned level : {0u, 1u}) {
    const PageSlot page = level == 0 ? leaf : root;
    NodeEditor node =
        NodeEditor::make(image, bytes_of(page), level, shape_.table, Fences{}, by_bytes());
    if (level > 0) node.set_first_child(leaf);
    node.finish();
    store_node(pool_.resolve(page), image, bytes_of(page));
  }
}

Result<void> Tree::create(buffer::Pool& pool, Shape& shape) noexcept {
  if (scratch_of_this_thread() == nullptr) {
    return fail(ErrorCode::no_memory, "no memory for this thread's scratch");
  }
  Tree tree(pool, shape);
  std::array<buffer::NewPage, 2> wanted;
  for (const unsigned level : {0u, 1u}) {
    wanted[level].size_class = level == 0 ? shape.leaf_class : inner_class;
    wanted[level].header = tree.head_of(level);
  }
  Error error;
  const Progress progress = on_fiber(pool, [&](Caller& caller) noexcept {
    while (true) {
      switch (pool.create_or_park(caller.waiter(), wanted, error)) {
        case Access::again:
          continue;
        case Access::parked:
          return Progress::waiting;
        case Access::failed:
          return Progress::failed;
        case Access::ready:
          return Progress::yes;
      }
    }
  });
  if (progress == Progress::failed) return fail(error);
  const std::array<PageSlot, 2> pages{wanted[0].page, wanted[1].page};
  std::uint64_t number = 0;
  const bool begun = pool.begin_change(pages, {}, number);
  FIRN_ASSERT(begun);  // they have no older images
  tree.fill_empty(pages[1], pages[0]);
  for (const PageSlot page : pages) pool.release_exclusive(page);
  shape.root = pages[1];
  return {};
}

}  // namespace firn::tree
