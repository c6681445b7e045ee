// A table's tree: a B+-tree on the pages of the pool, synchronised by optimistic lock coupling.
//
//   1. Readers latch nothing: they copy what they need of a page and ask afterwards whether the
//      page was the same all the time. A child's state word is taken before its parent is
//      validated, and nothing read through the parent is used before that.
//   2. A step that misses a page, or meets a latch for too long, parks; its continuation is its
//      key, and it starts again at the root. A lookup also remembers the page it waits for and its
//      parent: while that is unchanged, the key still leads there, and it goes on at the page.
//   3. A write changes one leaf, under its exclusive latch. A leaf without room is split first, a
//      full parent before it: each split or merge is one change of its own (structure.cpp), and the
//      step starts again.
//   4. The root is always an inner node and keeps its page id; its level grows and shrinks.
//   5. All pages that one change concerns carry one number (buffer/pool.hpp), so a checkpoint holds
//      all of it or nothing.
//
// Where a key is put is decided in one place, Tree::target_of(): today always the leaf.
//
// Shared between threads; a step belongs to its caller's executor.
#pragma once

#include <cstdint>
#include <span>

#include <firn/buffer.hpp>
#include <firn/bytes.hpp>
#include <firn/result.hpp>

#include "buffer/pool.hpp"
#include "tree/caller.hpp"
#include "tree/node.hpp"

namespace firn::tree {

/// What is constant of a tree; the catalogue keeps it.
struct Shape {
  PageSlot root;
  std::uint64_t table = 0;
  std::uint8_t leaf_class = 1;   ///< size class of its leaves, 0 to 4; larger where keys need it
  std::uint32_t inline_max = 0;  ///< bytes; larger values lie apart; 0: a quarter of a leaf
  CompareFunction compare = nullptr;  ///< null: unsigned bytes
  bool order_known = true;  ///< false: `compare` only stands for one that is not; for census only
};

struct Cut;
struct Seek;
class Latched;

enum class Write : std::uint8_t { insert, put, update, erase };

/// Where found bytes go. `take` sees them during the call only, outside of all latches.
struct Sink {
  void (*take)(void* context, Bytes value) noexcept = nullptr;
  void* context = nullptr;
};

/// An empty tree that comes to be with the write of the value that names its root. Its pages are
/// made when nothing is left to wait for, so that nobody waits who holds them.
struct NewTree {
  Shape shape;  ///< its root is filled in
  /// The value with that root in it: as long as the one that the write was given, which it takes
  /// the place of. Called once or several times, the last time for the root that it will be.
  Bytes (*value)(void* context, PageSlot root) noexcept = nullptr;
  void* context = nullptr;
};

/// What changes with a write to a leaf, under its number, and not without it: a tree that joins the
/// store, and pages that leave it.
struct Companions {
  NewTree* joining = nullptr;
  std::span<const PageSlot> leaving = {};
};

/// A private copy of one leaf, where a cursor stands: only a short cut, correct at any age. Start
/// with an empty one; one cursor's.
struct Position {
  Buffer image;
  NodeReader node;  // of the image
  Buffer apart;     // a value of the kind on its way
  Buffer former;    // an image that the key looked for lies in
  PageSlot page;
  PageWord word;
  std::uint32_t index = 0;  // of the pair shown last, if `stands`
  bool stands = false;      // the pair shown last is the copy's
  // The neighbour, as long as their parent is what it was.
  bool forward = true;  // on which side
  PageSlot next;
  PageSlot parent;
  PageWord parent_word;
  std::uint32_t parent_index = 0;
  std::uint32_t leaves_in_row = 0;  // come to in one direction: how far to read ahead
  std::uint32_t looked_at = 0;      // of the leaves that follow: whether they are in memory
  bool missed = false;              // some of them were not
};

/// Where a move shows a pair. The value lies in the position's copy or, if that does not hold it,
/// in `room`, and is moved there when the copy changes; the view holds until the position's next
/// move, or its end.
struct PairOut {
  Buffer& key;
  Buffer& room;
  Bytes& value;
};

/// Where a move leads.
enum class Target : std::uint8_t { first, last, at_or_after, after, before };

/// What a walk over a tree counted.
struct Census {
  std::uint64_t levels = 0;
  std::uint64_t inner_pages = 0;
  std::uint64_t leaf_pages = 0;
  std::uint64_t value_pages = 0;
  std::uint64_t pairs = 0;
  std::uint64_t leaf_used_bytes = 0;  ///< of the leaves' classes
  std::uint64_t leaf_capacity_bytes = 0;

  [[nodiscard]] std::uint64_t pages() const noexcept {
    return inner_pages + leaf_pages + value_pages;
  }
};

class Tree {
 public:
  Tree(buffer::Pool& pool, const Shape& shape) noexcept;
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  /// Before any tree of the pool is used: how leaves and inner nodes are checked and stored.
  static void register_kinds(buffer::Pool& pool) noexcept;

  /// Keys have at most this many bytes whatever the leaf class.
  static constexpr std::size_t key_size_max = tree::key_size_max;
  /// The largest value; above `inline_max` it has a page of its own.
  [[nodiscard]] std::size_t value_size_max() const noexcept;

  // Steps (tree.cpp, write.cpp, scan.cpp). `waiting`: call again when woken.
  /// yes: `sink` was given the value; no: no such key.
  Progress lookup(Caller& caller, Error& error, Bytes key, Sink sink) noexcept;
  /// Where lookups of these keys may begin, and brings what they will read closer: only to be
  /// quicker. On the executor's thread; as many starts as keys, and at most 32.
  void prepare_lookups(runtime::ExecutorCore& executor, std::span<const Bytes> keys,
                       std::span<Resumption> starts) noexcept;
  /// yes: done; `pairs` is +1, 0 or -1. no: insert found the key, update or erase did not; nothing
  /// changed. On failure nothing changed either.
  Progress write(Caller& caller, Error& error, Write kind, Bytes key, Bytes value, int& pairs,
                 const Companions& companions = {}) noexcept;
  /// yes: the pair is in `out`; no: there is none that way. `key` is not looked at for first and
  /// last. It may lie in the pair that is shown: that stays where it is while the move waits. The
  /// quickest way to the neighbour is the whole of `out.key`, as the position's last move left it.
  Progress move(Caller& caller, Error& error, Position& position, Target target, Bytes key,
                const PairOut& out) noexcept;

  // For domains, on fibers (structure.cpp, census.cpp).
  /// Before anybody uses it: the root, which was not known when it was constructed.
  void set_root(PageSlot root) noexcept { shape_.root = root; }
  /// An empty tree for `shape`, whose root is filled in: a change of its own.
  static Result<void> create(buffer::Pool& pool, Shape& shape) noexcept;
  /// Frees all pages of a tree that nobody uses any more, but for its root, which may leave with
  /// the write that forgets the tree. Can be repeated after a crash.
  Result<void> clear() noexcept;
  /// Reads the whole tree, checks each page against its neighbours (keys in order, within fences,
  /// levels, tables) and counts. `corrupt` names the page. May run beside writers.
  Result<void> census(Census& census) noexcept;

  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }

 private:
  struct Path;
  struct Leaf;
  /// What a walk came to.
  enum class Walk : std::uint8_t { done, again, parked, failed };

  // After so many vain attempts nodes are read under shared latches: nobody starves.
  static constexpr unsigned optimistic_attempts = 8;

  // tree.cpp
  [[nodiscard]] bool by_bytes() const noexcept { return shape_.compare == nullptr; }
  /// Under the exclusive latch: whether it is a node of this tree, and of that level.
  [[nodiscard]] bool is_node(PageSlot page, unsigned level) const noexcept;
  /// Of a value's page.
  [[nodiscard]] bool holds_value(const format::PageHeader& head, std::uint64_t size) const noexcept;
  [[nodiscard]] bool reads_latched(unsigned attempt) const noexcept;
  Walk descend(Caller& caller, Error& error, const Seek& seek, bool latched, Path& path,
               Leaf& leaf) noexcept;
  Walk load(Caller& caller, Error& error, PageSlot page, PageWord word) noexcept;
  Walk load_child(Caller& caller, Error& error, const Seek& seek, const Resumption& resumption,
                  PageWord word) noexcept;
  [[nodiscard]] bool leave(Leaf& leaf) noexcept;
  Walk copy_value(Caller& caller, Error& error, Leaf& leaf, ValuePlace place, Buffer& out) noexcept;

  // scan.cpp
  Walk copy_leaf(Error& error, Leaf& leaf, Position& position) noexcept;
  void look_ahead(Caller& caller, Position& position) noexcept;
  [[nodiscard]] bool cross(Leaf& leaf, Position& position) noexcept;
  [[nodiscard]] bool still_there(const Position& position) const noexcept;
  [[nodiscard]] bool in_copy(const Position& position, Bytes key) const noexcept;
  [[nodiscard]] bool step_aside(Position& position, bool forward, const PairOut& out) noexcept;
  [[nodiscard]] static bool show(Position& position, std::uint32_t index, const PairOut& out,
                                 bool beside) noexcept;
  [[nodiscard]] static bool keep_shown(Error& error, Position& position, Bytes key,
                                       const PairOut& out) noexcept;
  Walk take_pair(Caller& caller, Error& error, Position& position, const Seek& seek,
                 const PairOut& out, bool& off_leaf) noexcept;
  Progress move_afar(Caller& caller, Error& error, Position& position, Target target, Bytes key,
                     const PairOut& out) noexcept;

  // write.cpp
  struct Change;
  class MadePages;
  Walk target_of(Caller& caller, Error& error, Bytes key, unsigned attempt, Path& path,
                 Leaf& leaf) noexcept;
  Walk try_write(Caller& caller, Error& error, Change& change) noexcept;
  Walk change_leaf(Caller& caller, Error& error, Change& change, NodeReader::Found found) noexcept;
  [[nodiscard]] static PageSlot value_page_of(Leaf& leaf, std::uint32_t index) noexcept;
  [[nodiscard]] static bool has_room(Change& change, NodeReader::Found found) noexcept;
  Walk make_pages(Caller& caller, Error& error, Change& change) noexcept;
  void drop_pages(std::span<const PageSlot> pages) noexcept;
  void drop_page(PageSlot page) noexcept { drop_pages({&page, 1}); }
  [[nodiscard]] bool stored_apart(Bytes key, Bytes value) const noexcept;

  // structure.cpp
  Walk split(Caller& caller, Error& error, const Path& path, Bytes key) noexcept;
  Walk look_at_parent(Caller& caller, Error& error, const Path& path, unsigned depth, Bytes key,
                      bool& is_full) noexcept;
  Walk plan_split(Error& error, const Path& path, unsigned depth, Bytes key, Cut& cut,
                  bool& parent_is_full) noexcept;
  Walk split_node(Caller& caller, Error& error, const Path& path, unsigned depth,
                  Bytes key) noexcept;
  Walk wait_for_latches(Caller& caller, Error& error, std::span<const PageSlot> pages) noexcept;
  Walk grow_root(Caller& caller, Error& error, const Path& path) noexcept;
  Walk grow_leaf(Caller& caller, Error& error, const Path& path, unsigned size_class) noexcept;
  void try_merge(Caller& caller, const Path& path) noexcept;
  bool try_merge_at(Caller& caller, const Path& path, unsigned depth) noexcept;
  bool try_merge_pair(const Path& path, unsigned depth, std::uint32_t left_index) noexcept;
  bool used_bytes(PageSlot page, unsigned level, std::uint32_t& used) const noexcept;
  void try_shrink_root(const Path& path) noexcept;
  Walk create_node(Caller& caller, Error& error, unsigned size_class, unsigned level,
                   PageSlot& page) noexcept;
  [[nodiscard]] format::PageHeader head_of(unsigned level) const noexcept;
  void fill_empty(PageSlot root, PageSlot leaf) noexcept;
  Walk settle(Caller& caller, Error& error, std::span<const PageSlot> changed,
              std::span<const PageSlot> freed) noexcept;

  // census.cpp
  struct Copy;
  struct Bounds;
  Result<void> copy_node(PageSlot page, unsigned level, bool is_root, Copy& copy) noexcept;
  Result<void> census_below(PageSlot page, unsigned level, bool is_root, const Bounds& bounds,
                            Census& census, bool& moved) noexcept;
  Result<void> check_node(PageSlot page, const Copy& copy, const Bounds& bounds) noexcept;
  Result<void> clear_below(PageSlot page, unsigned level) noexcept;
  Result<void> clear_values(PageSlot page) noexcept;
  Result<void> latch_pair(PageSlot above, PageSlot below, Latched& latched) noexcept;
  template <class Edit>
  Result<void> free_below(PageSlot above, PageSlot below, Edit&& edit) noexcept;
  Result<void> load_on_fiber(PageSlot page) noexcept;

  buffer::Pool& pool_;
  Shape shape_;
  const std::uint32_t inline_max_;
};

}  // namespace firn::tree
