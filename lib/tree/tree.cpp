// Descents and lookups.
#include "tree/tree.hpp"

#include <cstring>

#include "base/planted.hpp"
#include "base/spin.hpp"
#include "base/yield.hpp"
#include "tree/path.hpp"
#include "tree/scratch.hpp"

namespace firn::tree {
namespace {

using buffer::Access;
using format::PageHeader;
using format::PageKind;

// About 2 microseconds: who changes a page has finished by then.
constexpr int latched_spins_max = 64;

Result<void> validate_value_page(PageSlot page, Bytes content) noexcept {
  PageHeader head;
  NodeHead no_node;
  std::memcpy(&head, content.data(), sizeof head);
  std::memcpy(&no_node, content.data() + node_head_at, sizeof no_node);
  if (head.level != 0 || head.length > content.size() || head.length < value_at ||
      no_node.level != NodeHead::no_node) {
    return corrupt(page, "a value's page with an impossible head");
  }
  return {};
}

Result<void> refuse_page(PageSlot page, Bytes) noexcept {
  return corrupt(page, "a page of a kind that no tree has");
}

}  // namespace

Tree::Tree(buffer::Pool& pool, const Shape& shape) noexcept
    : pool_(pool),
      shape_(shape),
      inline_max_(shape.inline_max != 0
                      ? shape.inline_max
                      : static_cast<std::uint32_t>(entry_size_max_of(shape.leaf_class))) {
  FIRN_ASSERT(shape.leaf_class <= leaf_class_max);
}

void Tree::register_kinds(buffer::Pool& pool) noexcept {
  pool.register_kind(PageKind::leaf, {&validate_node, &serialize_node, store::Group::leaves});
  pool.register_kind(PageKind::inner, {&validate_node, &serialize_node, store::Group::other});
  pool.register_kind(PageKind::raw, {&refuse_page, nullptr, store::Group::other});
  pool.register_kind(PageKind::blob, {&validate_value_page, nullptr, store::Group::other});
}

bool Tree::reads_latched(unsigned attempt) const noexcept {
  return buffer::shared_reads || shape_.compare != nullptr || attempt >= optimistic_attempts;
}

// Brings in a page that cannot be read now. The error of a page that is no child of its parent any
// more means nothing: the caller looks at the parent again.
Tree::Walk Tree::load(Caller& caller, Error& error, PageSlot page, PageWord word) noexcept {
  if (word.exclusive()) {
    const auto& state = pool_.descriptor(page).state;
    for (int spin = 0; spin < latched_spins_max; ++spin) {
      base::pause_briefly();
      if (!state.load().exclusive()) return Walk::again;
    }
  }
  return walk_after(pool_.fault_or_park(caller.waiter(), page, error), Walk::again);
}

// A child that cannot be read now, and where the descent goes on after that.
Tree::Walk Tree::load_child(Caller& caller, Error& error, const Seek& seek,
                            const Resumption& resumption, PageWord word) noexcept {
  if (seek.leaf_only) caller.resume_at(resumption);
  const Walk walk = load(caller, error, resumption.child, word);
  if (walk == Walk::failed &&
      !resumption.parent_word.validates(pool_.descriptor(resumption.parent).state.load())) {
    return Walk::again;
  }
  return walk;
}

// Ends the reading of a leaf. Whether what was read holds.
bool Tree::leave(Leaf& leaf) noexcept {
  if (leaf.latched) {
    leaf.latched = false;
    pool_.release_shared(leaf.page);
    return true;
  }
  return pool_.descriptor(leaf.page).state.validate(leaf.word) ||
         FIRN_PLANTED("tree-validate-skipped");
}

// From the root to the leaf; `done` leaves the leaf to be read and left.
Tree::Walk Tree::descend(Caller& caller, Error& error, const Seek& seek, bool latched, Path& path,
                         Leaf& leaf) noexcept {
  PageSlot page = shape_.root;
  PageWord word = pool_.descriptor(page).state.load();
  unsigned level = 0;
  unsigned first_depth = 0;
  const Resumption resumption = seek.leaf_only ? caller.take_resumption() : Resumption();
  if (resumption.child != PageSlot() && !latched) {
    const PageWord child_word = pool_.descriptor(resumption.child).state.load();
    if (resumption.parent_word.validates(pool_.descriptor(resumption.parent).state.load()) ||
        FIRN_PLANTED("tree-resume-unproved")) {
      if (!child_word.readable()) return load_child(caller, error, seek, resumption, child_word);
      path.steps[0] = {resumption.parent, resumption.parent_word, 0};
      page = resumption.child;
      word = child_word;
      level = resumption.level;
      first_depth = 1;
    }
  }
  if (!word.readable()) return load(caller, error, page, word);
  bool shared = false;  // the page's shared latch is held already
  for (unsigned depth = first_depth; depth <= level_max; ++depth) {
    buffer::Descriptor& descriptor = pool_.descriptor(page);
    if (latched && !shared) {
      switch (pool_.shared_or_park(caller.waiter(), page, error)) {
        case Access::parked:
          return Walk::parked;
        case Access::failed:
          // Of a page that left the tree meanwhile the error means nothing.
          if (depth > 0 && !path.steps[depth - 1].word.validates(
                               pool_.descriptor(path.steps[depth - 1].page).state.load())) {
            return Walk::again;
          }
          return Walk::failed;
        case Access::again:
          return Walk::again;
        case Access::ready:
          break;
      }
      // Between its parent's release and now it may have become another page.
      if (!word.validates(descriptor.state.load())) {
        pool_.release_shared(page);
        return Walk::again;
      }
    }
    leaf.node = NodeReader(pool_.resolve(page), bytes_of(page));
    leaf.page = page;
    leaf.word = word;
    leaf.latched = latched;
    NodeReader& node = leaf.node;
    const bool opened = depth == 0 ? node.open_root(shape_.table, by_bytes())
                                   : node.open(level, shape_.table, by_bytes());
    path.steps[depth] = {page, word, 0};
    if (opened && node.level() == 0 && depth > 0) {
      path.leaf = depth;
      pool_.touch(descriptor);
      return Walk::done;
    }
    std::uint32_t index = 0;
    PageSlot child;
    if (opened && node.level() > 0) {
      if (seek.target == Target::last) {
        index = node.count();
      } else if (seek.target != Target::first) {
        const NodeReader::Found found = node.find(seek.key, shape_.compare);
        index = found.index + (found.equal && seek.target != Target::before ? 1 : 0);
      }
      child = node.child(index);
    }
    const bool sensible = opened && node.level() > 0 && !node.bad() && pool_.known(child);
    if (sensible) prefetch_node(pool_.resolve(child));
    // The child's word is taken before the parent is known to have been whole.
    const PageWord child_word = sensible ? pool_.descriptor(child).state.load() : PageWord();
    level = node.level() - 1;
    FIRN_YIELD("tree.descend");
    // While the parent cannot change, the child is had at one try.
    shared = latched && sensible && child_word.readable() &&
             pool_.descriptor(child).state.try_share(child_word);
    if (!leave(leaf)) return Walk::again;
    if (!sensible) {
      error = corrupt(page, "a page of a tree that is none, or leads out of it").error;
      return Walk::failed;
    }
    pool_.touch(descriptor);
    path.steps[depth].index = index;
    if (!child_word.readable()) {
      return load_child(caller, error, seek, {page, word, child, level}, child_word);
    }
    page = child;
    word = child_word;
  }
  error = corrupt(shape_.root, "a tree with too many levels").error;
  return Walk::failed;
}

// The value of an entry of the leaf, which is left.
Tree::Walk Tree::copy_value(Caller& caller, Error& error, Leaf& leaf, ValuePlace place,
                            Buffer& out) noexcept {
  if (leaf.node.bad()) {
    if (!leave(leaf)) return Walk::again;
    error = corrupt(leaf.page, "a leaf with an impossible entry").error;
    return Walk::failed;
  }
  // Room first: nothing is allocated under a latch.
  if (out.capacity() < place.size) {
    static_cast<void>(leave(leaf));
    if (auto room = out.reserve(place.size); !room.has_value()) {
      error = room.error();
      return Walk::failed;
    }
    return Walk::again;
  }
  FIRN_YIELD("tree.value");  // before memory of this thread is used
  out.clear();
  std::byte* to = *out.extend(place.size);
  leaf.node.copy(to, place.offset, place.size);
  const bool bad = leaf.node.bad();
  ValueReference reference;
  PageWord word;
  PageSlot page;
  bool sensible = !bad;
  if (place.apart && !bad) {
    std::memcpy(&reference, to, sizeof reference);
    page = PageSlot::from_bits(reference.page);
    sensible = pool_.known(page) && reference.size <= bytes_of(page) - value_at;
    if (sensible) word = pool_.descriptor(page).state.load();
  }
  if (!leave(leaf)) return Walk::again;
  if (!sensible) {
    error = corrupt(leaf.page, "an entry whose value lies nowhere").error;
    return Walk::failed;
  }
  if (!place.apart) return Walk::done;
  if (!word.readable()) {
    const Walk walk = load(caller, error, page, word);
    if (walk == Walk::failed && !leaf.word.validates(pool_.descriptor(leaf.page).state.load())) {
      return Walk::again;
    }
    return walk;
  }
  out.clear();
  if (auto room = out.extend(reference.size); !room.has_value()) {
    error = room.error();
    return Walk::failed;
  }
  pool_.touch(pool_.descriptor(page));
  PageHeader head;
  const std::byte* content = pool_.resolve(page);
  const Glance glance(pool_, page, word);
  const bool there = glance.began() && buffer::load_optimistic(head, content) &&
                     buffer::copy_optimistic(out.data(), content + value_at, reference.size);
  if (!glance.holds()) return Walk::again;
  if (!there || !holds_value(head, reference.size)) {
    error = corrupt(page, "a value's page that holds something else").error;
    return Walk::failed;
  }
  return Walk::done;
}

bool Tree::holds_value(const PageHeader& head, std::uint64_t size) const noexcept {
  return head.kind == PageKind::blob && head.table == shape_.table &&
         head.length == value_at + size;
}

bool Tree::is_node(PageSlot page, unsigned level) const noexcept {
  PageHeader head;
  std::memcpy(&head, pool_.resolve(page), sizeof head);
  NodeReader node(pool_.resolve(page), bytes_of(page));
  return head.kind == (level == 0 ? PageKind::leaf : PageKind::inner) &&
         head.table == shape_.table && node.open(level, shape_.table, by_bytes());
}

Progress Tree::lookup(Caller& caller, Error& error, Bytes key, Sink sink) noexcept {
  Scratch* scratch = scratch_of_this_thread();
  if (scratch == nullptr) {
    error = fail(ErrorCode::no_memory, "no memory for this thread's scratch").error;
    return Progress::failed;
  }
  Buffer value = std::move(scratch->value);  // a sink may come back here
  struct Return {
    Scratch* scratch;
    Buffer& value;
    ~Return() {
      if (value.capacity() <= Scratch::page_size) scratch->value = std::move(value);
    }
  } give_back{scratch, value};
  Path path;
  Leaf leaf;
  for (unsigned attempt = 0;; ++attempt) {
    Walk walk = descend(caller, error, {Target::at_or_after, key, true}, reads_latched(attempt),
                        path, leaf);
    bool found = false;
    if (walk == Walk::done) {
      const NodeReader::Found place = leaf.node.find(key, shape_.compare);
      found = place.equal || leaf.node.bad();
      if (found) {
        walk = copy_value(caller, error, leaf, leaf.node.value(place.index), value);
      } else if (!leave(leaf)) {
        walk = Walk::again;
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
    if (!found) return Progress::no;
    sink.take(sink.context, value.view());
    return Progress::yes;
  }
}

}  // namespace firn::tree
