// Walks over whole trees, on fibers: the census, which checks what it counts, and the freeing of a
// tree that nobody uses.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/allocation.hpp"
#include "tree/path.hpp"
#include "tree/scratch.hpp"
#include "tree/tree.hpp"

namespace firn::tree {
namespace {

using buffer::Access;
using format::PageHeader;
using format::PageKind;

constexpr std::uint32_t prefetch_count = 32;
// A part that is found damaged while writers change its parent is looked at again so often.
constexpr unsigned attempts_max = 100;

}  // namespace

// A private copy of a node and the word under which it was whole.
struct Tree::Copy {
  Buffer image;
  PageWord word;
  [[nodiscard]] NodeEditor node() noexcept { return {image.data(), image.size()}; }
};

// What the parents say about the keys of a node.
struct Tree::Bounds {
  Buffer lower;
  Buffer upper;
  bool has_lower = false;
  bool has_upper = false;
};

// Waits until the page is in memory.
Result<void> Tree::load_on_fiber(PageSlot page) noexcept {
  Error error;
  const Progress progress = on_fiber(pool_, [&](Caller& caller) noexcept {
    caller.scans();
    while (!pool_.descriptor(page).state.load().readable()) {
      switch (pool_.fault_or_park(caller.waiter(), page, error)) {
        case Access::parked:
          return Progress::waiting;
        case Access::failed:
          return Progress::failed;
        case Access::ready:
        case Access::again:
          break;
      }
    }
    return Progress::yes;
  });
  if (progress == Progress::failed) return fail(error);
  return {};
}

Result<void> Tree::copy_node(PageSlot page, unsigned level, bool is_root, Copy& copy) noexcept {
  if (!pool_.known(page)) return corrupt(page, "a page id outside of every segment");
  const std::size_t size = bytes_of(page);
  copy.image.clear();
  FIRN_TRY(copy.image.extend(size));
  Error error;
  const Progress progress = on_fiber(pool_, [&](Caller& caller) noexcept {
    caller.scans();
    while (true) {
      switch (pool_.shared_or_park(caller.waiter(), page, error)) {
        case Access::parked:
          return Progress::waiting;
        case Access::failed:
          return Progress::failed;
        case Access::again:
          continue;
        case Access::ready:
          break;
      }
      // Under the latch: as one writes them, nobody does.
      copy.word = pool_.descriptor(page).state.load();
      static_cast<void>(buffer::copy_optimistic(copy.image.data(), pool_.resolve(page), size));
      pool_.release_shared(page);
      return Progress::yes;
    }
  });
  if (progress == Progress::failed) return fail(error);
  NodeReader reader(copy.image.data(), size);
  const bool opened = is_root ? reader.open_root(shape_.table, by_bytes())
                              : reader.open(level, shape_.table, by_bytes());
  if (!opened) return corrupt(page, "a page that is no node of this table and level");
  return {};
}

// Order of keys, fences against the parent's separators, and the bytes in use. Not inline: its
// arrays would stand in every frame of the recursion below.
[[gnu::noinline]] Result<void> Tree::check_node(PageSlot page, const Copy& copy,
                                                const Bounds& bounds) noexcept {
  Buffer image;
  FIRN_TRY(image.extend(copy.image.size()));
  std::memset(image.data(), 0, image.size());
  static_cast<void>(serialize_node(copy.image.data(), image.data()));
  FIRN_TRY(validate_node(page, image.view()));
  NodeReader reader(copy.image.data(), copy.image.size());
  if (!reader.open_root(shape_.table, by_bytes())) return corrupt(page, "a node of another table");
  const auto order = [&](Bytes left, Bytes right) {
    return shape_.compare == nullptr ? left <=> right : shape_.compare(left, right);
  };
  std::array<std::byte, key_size_max> fence;
  for (const bool upper : {false, true}) {
    const bool wanted = upper ? bounds.has_upper : bounds.has_lower;
    if (reader.has_fence(upper) != wanted) return corrupt(page, "a node with a fence too many");
    if (!wanted) continue;
    const std::uint32_t size = reader.fence_size(upper);
    if (!reader.copy_fence(upper, fence.data()) ||
        Bytes(fence.data(), size) != (upper ? bounds.upper : bounds.lower).view()) {
      return corrupt(page, "a node whose fence is not its parent's separator");
    }
  }
  std::array<std::byte, key_size_max> keys[2];
  Bytes before;
  for (std::uint32_t index = 0; index < reader.count(); ++index) {
    std::array<std::byte, key_size_max>& bytes = keys[index % 2];
    const std::uint32_t size = reader.key_size(index);
    if (size > key_size_max || !reader.copy_key(index, bytes.data())) {
      return corrupt(page, "a node with an impossible key");
    }
    const Bytes key(bytes.data(), size);
    if (!shape_.order_known) continue;
    if (index > 0 && order(before, key) >= 0) return corrupt(page, "keys out of order");
    if (bounds.has_lower && order(key, bounds.lower.view()) < 0) {
      return corrupt(page, "a key below its node's fence");
    }
    if (bounds.has_upper && order(key, bounds.upper.view()) >= 0) {
      return corrupt(page, "a key above its node's fence");
    }
    before = key;
  }
  return {};
}

// `moved`: a writer has changed the node while its children were read; its part is to be read
// again.
Result<void> Tree::census_below(PageSlot page, unsigned level, bool is_root, const Bounds& bounds,
                                Census& census, bool& moved) noexcept {
  Copy copy;
  FIRN_TRY(copy_node(page, level, is_root, copy));
  FIRN_TRY(check_node(page, copy, bounds));
  const NodeEditor node = copy.node();
  if (node.level() == 0) {
    ++census.leaf_pages;
    census.pairs += node.count();
    census.leaf_used_bytes += node.used();
    census.leaf_capacity_bytes += node.capacity();
    for (std::uint32_t index = 0; index < node.count(); ++index) {
      bool apart = false;
      const Bytes value = node.value(index, apart);
      if (!apart) continue;
      ValueReference reference;
      std::memcpy(&reference, value.data(), sizeof reference);
      const PageSlot value_page = PageSlot::from_bits(reference.page);
      if (!pool_.known(value_page)) return corrupt(page, "an entry whose value lies nowhere");
      if (auto loaded = load_on_fiber(value_page); !loaded.has_value()) {
        moved = !copy.word.validates(pool_.descriptor(page).state.load());
        return loaded;
      }
      ++census.value_pages;
    }
    return {};
  }
  if (is_root) census.levels = node.level() + 1;
  ++census.inner_pages;
  for (std::uint32_t index = 0; index <= node.count(); ++index) {
    if (index % prefetch_count == 0) {
      std::array<PageSlot, prefetch_count> ahead;
      std::uint32_t count = 0;
      while (count < prefetch_count && index + count <= node.count()) {
        ahead[count] = node.child(index + count);
        ++count;
      }
      pool_.prefetch(*runtime::current_fiber()->home, {ahead.data(), count});
    }
    Bounds below;
    below.has_lower = index > 0 || bounds.has_lower;
    below.has_upper = index < node.count() || bounds.has_upper;
    if (index > 0) {
      FIRN_TRY(below.lower.append(node.prefix()));
      FIRN_TRY(below.lower.append(node.suffix(index - 1)));
    } else {
      FIRN_TRY(below.lower.append(bounds.lower.view()));
    }
    if (index < node.count()) {
      FIRN_TRY(below.upper.append(node.prefix()));
      FIRN_TRY(below.upper.append(node.suffix(index)));
    } else {
      FIRN_TRY(below.upper.append(bounds.upper.view()));
    }
    for (unsigned attempt = 0;; ++attempt) {
      Census part;
      bool part_moved = false;
      const Result<void> checked =
          census_below(node.child(index), node.level() - 1, false, below, part, part_moved);
      if (!checked.has_value()) {
        // What is wrong below a node that has changed since is perhaps not there any more.
        moved = !copy.word.validates(pool_.descriptor(page).state.load());
        if (moved || !part_moved || attempt == attempts_max) return checked;
        continue;
      }
      census.inner_pages += part.inner_pages;
      census.leaf_pages += part.leaf_pages;
      census.value_pages += part.value_pages;
      census.pairs += part.pairs;
      census.leaf_used_bytes += part.leaf_used_bytes;
      census.leaf_capacity_bytes += part.leaf_capacity_bytes;
      break;
    }
  }
  return {};
}

Result<void> Tree::census(Census& census) noexcept {
  for (unsigned attempt = 0;; ++attempt) {
    census = {};
    bool moved = false;
    const Result<void> checked = census_below(shape_.root, 0, true, Bounds{}, census, moved);
    if (checked.has_value() || !moved || attempt == attempts_max) return checked;
  }
}

// The exclusive latch of a page, and of one below it.
Result<void> Tree::latch_pair(PageSlot above, PageSlot below, Latched& latched) noexcept {
  Error error;
  const Progress progress = on_fiber(pool_, [&](Caller& caller) noexcept {
    while (true) {
      Access access = pool_.exclusive_or_park(caller.waiter(), above, error);
      if (access == Access::ready) {
        latched.adopt(above);
        if (below == PageSlot() || latched.take_now(below)) return Progress::yes;
        latched.release();
        // Waits for the other one, and lets it go: both are had together or not at all.
        access = pool_.exclusive_or_park(caller.waiter(), below, error);
        if (access == Access::ready) pool_.release_exclusive(below);
      }
      if (access == Access::parked) return Progress::waiting;
      if (access == Access::failed) return Progress::failed;
    }
  });
  if (progress == Progress::failed) return fail(error);
  return {};
}

// Changes `above` by `edit` and frees `below`, as one.
template <class Edit>
Result<void> Tree::free_below(PageSlot above, PageSlot below, Edit&& edit) noexcept {
  if (!pool_.known(below) || below == above) {
    return corrupt(above, "a node that leads out of its tree");
  }
  while (true) {
    Latched latched(pool_);
    FIRN_TRY(latch_pair(above, below, latched));
    PageHeader head;
    std::memcpy(&head, pool_.resolve(below), sizeof head);
    if (head.table != shape_.table) return corrupt(below, "a page of another table");
    std::uint64_t number = 0;
    if (pool_.begin_change({&above, 1}, {&below, 1}, number)) {
      FIRN_TRY(pool_.free_page(below, number));
      latched.forget(below);
      NodeEditor node(pool_.resolve(above), bytes_of(above));
      edit(node);
      node.finish();
      return {};
    }
    latched.release();
    Error error;
    const Progress progress = on_fiber(pool_, [&](Caller& caller) noexcept {
      switch (settle(caller, error, {&above, 1}, {&below, 1})) {
        case Walk::parked:
          return Progress::waiting;
        case Walk::failed:
          return Progress::failed;
        default:
          return Progress::yes;
      }
    });
    if (progress == Progress::failed) return fail(error);
  }
}

// Frees the values' pages of a leaf, one after another.
Result<void> Tree::clear_values(PageSlot page) noexcept {
  while (true) {
    PageSlot value_page;
    std::uint32_t index = 0;
    {
      Latched latched(pool_);
      FIRN_TRY(latch_pair(page, PageSlot(), latched));
      if (!is_node(page, 0)) return corrupt(page, "a page where a leaf should be");
      const NodeEditor leaf(pool_.resolve(page), bytes_of(page));
      for (index = 0; index < leaf.count(); ++index) {
        bool apart = false;
        const Bytes value = leaf.value(index, apart);
        if (!apart) continue;
        ValueReference reference;
        std::memcpy(&reference, value.data(), sizeof reference);
        value_page = PageSlot::from_bits(reference.page);
        break;
      }
      if (index == leaf.count()) return {};
    }
    FIRN_TRY(free_below(page, value_page, [&](NodeEditor& leaf) noexcept { leaf.erase(index); }));
  }
}

// Frees the children of an inner node, the last one first; its own page remains.
Result<void> Tree::clear_below(PageSlot page, unsigned level) noexcept {
  while (true) {
    PageSlot child;
    {
      Latched latched(pool_);
      FIRN_TRY(latch_pair(page, PageSlot(), latched));
      const NodeEditor node(pool_.resolve(page), bytes_of(page));
      if (level == 0) level = node.level();  // the root's
      if (level == 0 || !is_node(page, level)) {
        return corrupt(page, "a page where an inner node should be");
      }
      child = node.child(node.count());
    }
    if (child == PageSlot()) return {};
    if (!pool_.known(child)) return corrupt(page, "a node that leads out of its tree");
    FIRN_TRY(level > 1 ? clear_below(child, level - 1) : clear_values(child));
    FIRN_TRY(free_below(page, child, [](NodeEditor& node) noexcept {
      if (node.count() > 0) {
        node.erase(node.count() - 1);
      } else {
        node.set_first_child(PageSlot());
      }
    }));
  }
}

Result<void> Tree::clear() noexcept { return clear_below(shape_.root, 0); }

}  // namespace firn::tree
