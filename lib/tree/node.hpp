// The layout of a tree's pages: leaves and inner nodes are slotted pages of one form
// (docs/format.md, "Tree pages").
//
//   page head | node head with hints | slots, growing up | gap | payloads, growing down | gap
//
// A slot holds the first four bytes of its key behind the node's common prefix, so that most
// comparisons touch nothing else. Payload of a leaf's entry: value size 2, key, value; of an inner
// node's: child 8, key. Child i of an inner node holds the keys from separator i - 1 on and below
// separator i. Fences bound the keys of a node: what they have in common is stored once.
//
// NodeReader copes with any bytes, torn or hostile: what makes no sense sets bad(), and what it
// returned is worth something only after the page's word was validated. NodeEditor wants a valid
// page that is latched exclusively, or a private one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <firn/bytes.hpp>
#include <firn/result.hpp>

#include "buffer/optimistic_read.hpp"
#include "buffer/page_slot.hpp"
#include "format/page_header.hpp"

namespace firn::tree {

using buffer::PageSlot;
using CompareFunction = std::strong_ordering (*)(Bytes, Bytes) noexcept;

inline constexpr unsigned inner_class = 2;     // 16 KiB: room for two separators of any length
inline constexpr unsigned leaf_class_max = 4;  // 64 KiB: what 16-bit offsets reach
inline constexpr unsigned level_max = 24;
inline constexpr std::size_t key_size_max = 2048;

struct Slot {
  std::uint32_t head = 0;    ///< of the key behind the prefix, as a number, filled up with zeroes
  std::uint16_t offset = 0;  ///< of the payload
  std::uint16_t size = 0;    ///< of the key behind the prefix
};
static_assert(sizeof(Slot) == 8);

/// Behind the page head. The first 24 bytes are what a descent reads.
struct NodeHead {
  static constexpr std::size_t hint_count = 16;
  static constexpr std::uint8_t has_upper = 1;
  static constexpr std::uint8_t has_lower = 2;
  static constexpr std::uint8_t by_bytes = 4;    ///< keys are ordered by their bytes
  static constexpr std::uint8_t no_node = 0xff;  ///< the level of what is no node

  std::uint16_t count = 0;
  std::uint16_t prefix_size = 0;
  std::uint8_t level = 0;  ///< as in the page head
  std::uint8_t flags = 0;
  std::uint16_t append_row = 0;   ///< inserts at the end without another one between them
  std::uint32_t table = 0;        ///< low bits of the page head's
  std::uint32_t fences = 0;       ///< where the lower fence lies; the upper one follows
  std::uint64_t first_child = 0;  ///< of an inner node; the others are in the payloads
  std::uint16_t lower_size = 0;
  std::uint16_t upper_size = 0;
  std::uint32_t heap_begin = 0;  ///< payloads and fences lie in [heap_begin, heap_end)
  std::uint32_t heap_end = 0;
  std::uint32_t heap_used = 0;  ///< bytes of it in use
  std::uint64_t reserved[3] = {};
  std::uint32_t hints[hint_count] = {};  ///< heads of the slots at (i + 1) * (count / 17)
};
static_assert(sizeof(NodeHead) == 128);

inline constexpr std::uint32_t node_head_at = sizeof(format::PageHeader);
inline constexpr std::uint32_t slots_at = node_head_at + sizeof(NodeHead);

/// Where a value's page holds it: behind what would be the head of a node, which says that it is
/// none, whatever the value's bytes are.
inline constexpr std::uint32_t value_at = slots_at;

/// In place of a large value; the size field of its payload says `value_is_apart`.
struct ValueReference {
  std::uint64_t page = 0;
  std::uint64_t size = 0;
};
inline constexpr std::uint16_t value_is_apart = 0xffff;

/// Keys of a leaf have at most an eighth of its page, entries a quarter: then two of them and two
/// fences fit, and a split always makes room. A leaf whose keys need it has a larger class.
[[nodiscard]] constexpr std::size_t key_size_max_of(unsigned leaf_class) noexcept {
  return buffer::page_bytes(leaf_class) / 8;
}
[[nodiscard]] constexpr std::size_t entry_size_max_of(unsigned leaf_class) noexcept {
  return buffer::page_bytes(leaf_class) / 4;
}

[[nodiscard]] inline std::uint32_t key_head(Bytes suffix) noexcept {
  std::uint32_t head = 0;
  if (suffix.size() >= sizeof head) {
    std::memcpy(&head, suffix.data(), sizeof head);
  } else if (!suffix.empty()) {
    std::memcpy(&head, suffix.data(), suffix.size());
  }
  return __builtin_bswap32(head);
}

/// Where a value lies; `apart`: in a page of its own.
struct ValuePlace {
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
  bool apart = false;
};

class NodeReader {
 public:
  struct Found {
    std::uint32_t index;  ///< of the first entry whose key is not below the one looked for
    bool equal;
  };

  /// Where an entry of a leaf lies: the key behind the prefix, then the value.
  struct Entry {
    std::uint32_t key = 0;
    std::uint32_t key_size = 0;
    ValuePlace value;
  };

  NodeReader() noexcept = default;
  NodeReader(const std::byte* page, std::size_t page_bytes) noexcept
      : page_(page), bytes_(static_cast<std::uint32_t>(page_bytes)) {}

  /// Reads the head. False: this is no node of that table, order and level.
  [[nodiscard]] bool open(unsigned level, std::uint64_t table, bool by_bytes) noexcept;
  /// The same for a root, whose level is not known.
  [[nodiscard]] bool open_root(std::uint64_t table, bool by_bytes) noexcept;

  [[nodiscard]] bool bad() const noexcept { return bad_; }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] unsigned level() const noexcept { return level_; }
  [[nodiscard]] std::uint32_t prefix_size() const noexcept { return prefix_size_; }
  [[nodiscard]] bool has_fence(bool upper) const noexcept {
    return (flags_ & (upper ? NodeHead::has_upper : NodeHead::has_lower)) != 0;
  }

  /// Bytes of slots, payloads and fences.
  [[nodiscard]] std::uint32_t used() noexcept {
    return count_ * static_cast<std::uint32_t>(sizeof(Slot)) +
           at<std::uint32_t>(node_head_at +
                             static_cast<std::uint32_t>(offsetof(NodeHead, heap_used)));
  }
  /// The bytes that an entry of a leaf takes; its key begins with the prefix.
  [[nodiscard]] std::uint32_t entry_size(std::size_t key_size,
                                         std::size_t value_size) const noexcept {
    return static_cast<std::uint32_t>(sizeof(Slot) + 2 + key_size - prefix_size_ + value_size);
  }
  /// `key` lies between the fences. Null `compare`: bytes.
  [[nodiscard]] Found find(Bytes key, CompareFunction compare) noexcept;
  /// The child at `index`, of count() + 1.
  [[nodiscard]] PageSlot child(std::uint32_t index) noexcept;
  [[nodiscard]] ValuePlace value(std::uint32_t index) noexcept;
  /// An entry that would end out of the page sets bad().
  [[nodiscard]] Entry entry(std::uint32_t index) noexcept {
    const Slot its = slot(index);
    const auto size = at<std::uint16_t>(its.offset);
    const bool apart = size == value_is_apart;
    const std::uint32_t value_size = apart ? sizeof(ValueReference) : std::uint32_t{size};
    const Entry entry{key_at(its), its.size, {key_at(its) + its.size, value_size, apart}};
    static_cast<void>(in_page(entry.key, entry.key_size + value_size));
    return entry;
  }
  /// Bytes of a private page, and no other, that were found to lie in it.
  [[nodiscard]] Bytes view(std::uint32_t offset, std::uint32_t size) const noexcept {
    return {page_ + offset, size};
  }
  /// Copies out; false sets bad().
  bool copy(void* to, std::uint32_t offset, std::uint32_t size) noexcept;
  /// Sizes of the whole key of an entry and of the fences, and copies of them.
  [[nodiscard]] std::uint32_t key_size(std::uint32_t index) noexcept;
  bool copy_key(std::uint32_t index, std::byte* to) noexcept;
  bool copy_prefix(std::byte* to) noexcept { return copy(to, fences_, prefix_size_); }
  [[nodiscard]] std::uint32_t fence_size(bool upper) noexcept;
  bool copy_fence(bool upper, std::byte* to) noexcept;

 private:
  template <class T>
  [[nodiscard]] T at(std::uint32_t offset) noexcept {
    T value{};
    if (offset > bytes_ - sizeof(T) || !buffer::load_optimistic(value, page_ + offset)) {
      bad_ = true;
      return T{};
    }
    return value;
  }
  [[nodiscard]] Slot slot(std::uint32_t index) noexcept {
    return at<Slot>(slots_at + index * static_cast<std::uint32_t>(sizeof(Slot)));
  }
  [[nodiscard]] std::uint32_t key_at(Slot slot) const noexcept {
    return std::uint32_t{slot.offset} + (level_ == 0 ? 2u : 8u);
  }
  [[nodiscard]] bool in_page(std::uint32_t offset, std::uint32_t size) noexcept {
    if (offset <= bytes_ && size <= bytes_ - offset) return true;
    bad_ = true;
    return false;
  }
  /// Of a run of slots: how many heads are below one, and how many are not above it.
  struct Heads {
    std::uint32_t below;
    std::uint32_t not_above;
  };
  [[nodiscard]] Heads count_heads(std::uint32_t from, std::uint32_t to,
                                  std::uint32_t head) noexcept;
  [[nodiscard]] int compare_rest(Slot slot, Bytes suffix) noexcept;
  [[nodiscard]] Found find_by(Bytes key, CompareFunction compare) noexcept;

  const std::byte* page_ = nullptr;
  std::uint32_t bytes_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t prefix_size_ = 0;
  std::uint32_t fences_ = 0;
  std::uint64_t first_child_ = 0;
  unsigned level_ = 0;
  std::uint8_t flags_ = 0;
  bool bad_ = false;
};

inline bool NodeReader::open_root(std::uint64_t table, bool by_bytes) noexcept {
  struct First {
    std::uint16_t count;
    std::uint16_t prefix_size;
    std::uint8_t level;
    std::uint8_t flags;
    std::uint16_t append_row;
    std::uint32_t table;
    std::uint32_t fences;
    std::uint64_t first_child;
  };
  static_assert(sizeof(First) == 24 && offsetof(NodeHead, first_child) == 16);
  const auto first = at<First>(node_head_at);
  count_ = first.count;
  prefix_size_ = first.prefix_size;
  level_ = first.level;
  flags_ = first.flags;
  fences_ = first.fences;
  first_child_ = first.first_child;
  if (first.table != static_cast<std::uint32_t>(table)) bad_ = true;
  if (((flags_ & NodeHead::by_bytes) != 0) != by_bytes) bad_ = true;
  if (level_ > level_max || count_ > (bytes_ - slots_at) / sizeof(Slot)) bad_ = true;
  return !bad_;
}

inline bool NodeReader::open(unsigned level, std::uint64_t table, bool by_bytes) noexcept {
  if (!open_root(table, by_bytes) || level_ != level) bad_ = true;
  return !bad_;
}

/// The keys of a node: from `lower` on and below `upper`; a fence that is missing does not bind.
struct Fences {
  Bytes lower;
  Bytes upper;
  bool has_lower = false;
  bool has_upper = false;
};

/// Changes a node. All stores go through store_page, so optimistic readers may look on.
class NodeEditor {
 public:
  NodeEditor(std::byte* page, std::size_t page_bytes) noexcept
      : page_(page), bytes_(static_cast<std::uint32_t>(page_bytes)) {
    std::memcpy(&head_, page_ + node_head_at, sizeof head_);
  }
  /// An empty node in a private page, whose page head is written as well. `shared_prefix`: keys are
  /// ordered by their bytes.
  static NodeEditor make(std::byte* page, std::size_t page_bytes, unsigned level,
                         std::uint64_t table, const Fences& fences, bool shared_prefix) noexcept;

  [[nodiscard]] std::uint32_t count() const noexcept { return head_.count; }
  [[nodiscard]] unsigned level() const noexcept { return head_.level; }
  [[nodiscard]] std::uint32_t append_row() const noexcept { return head_.append_row; }
  [[nodiscard]] Bytes prefix() const noexcept { return {page_ + head_.fences, head_.prefix_size}; }
  [[nodiscard]] Bytes suffix(std::uint32_t index) const noexcept {
    const Slot its = slot(index);
    return {page_ + its.offset + fixed(), its.size};
  }
  [[nodiscard]] Fences fences() const noexcept {
    return {{page_ + head_.fences, head_.lower_size},
            {page_ + head_.fences + head_.lower_size, head_.upper_size},
            (head_.flags & NodeHead::has_lower) != 0,
            (head_.flags & NodeHead::has_upper) != 0};
  }
  /// What follows the key in a leaf, and whether it is a reference.
  [[nodiscard]] Bytes value(std::uint32_t index, bool& apart) const noexcept;
  [[nodiscard]] PageSlot child(std::uint32_t index) const noexcept;
  void set_child(std::uint32_t index, PageSlot child) noexcept;

  /// Bytes of slots, payloads and fences; what a page of this size can hold of them.
  [[nodiscard]] std::uint32_t used() const noexcept {
    return head_.heap_used + head_.count * static_cast<std::uint32_t>(sizeof(Slot));
  }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return bytes_ - slots_at; }
  /// The bytes an entry takes.
  [[nodiscard]] std::uint32_t entry_size(std::size_t key_size,
                                         std::size_t value_size) const noexcept {
    return static_cast<std::uint32_t>(sizeof(Slot) + fixed() + key_size - head_.prefix_size +
                                      value_size);
  }
  /// The bytes of entries [from, to) in a node with that prefix.
  [[nodiscard]] std::uint32_t entries_size(std::uint32_t from, std::uint32_t to,
                                           std::size_t prefix_size) const noexcept;
  [[nodiscard]] std::uint32_t entry_size_at(std::uint32_t index) const noexcept {
    return static_cast<std::uint32_t>(sizeof(Slot)) + payload_size(slot(index));
  }
  /// Whether `key` lies between the fences, and in byte order between the entries around `index`.
  [[nodiscard]] bool has_place(std::uint32_t index, Bytes key,
                               CompareFunction compare) const noexcept;
  [[nodiscard]] bool fits(std::uint32_t entry_bytes) const noexcept {
    return used() + entry_bytes <= capacity();
  }

  // Changes. What is inserted fits. `scratch` has room for a page and is used where holes have to
  // be closed first. Nothing is visible outside of this object until finish().
  void insert_value(std::uint32_t index, Bytes key, Bytes value, bool apart,
                    std::byte* scratch) noexcept;
  /// False: it does not fit; nothing changed.
  [[nodiscard]] bool replace_value(std::uint32_t index, Bytes value, bool apart,
                                   std::byte* scratch) noexcept;
  /// The child comes behind the separator, which becomes entry `index`.
  void insert_child(std::uint32_t index, Bytes separator, PageSlot child,
                    std::byte* scratch) noexcept;
  /// Entry `index`: of an inner node its separator and the child behind it.
  void erase(std::uint32_t index) noexcept;
  /// Appends entries [from, to) of another node of the same level with the same or a shorter
  /// prefix, in a private page. For an inner node the caller has set the first child.
  void append(const NodeEditor& source, std::uint32_t from, std::uint32_t to) noexcept;
  void set_first_child(PageSlot child) noexcept { head_.first_child = child.bits(); }
  void set_append_row(std::uint16_t row) noexcept { head_.append_row = row; }
  /// Stores the head, with its hints.
  void finish() noexcept;

 private:
  [[nodiscard]] std::uint32_t fixed() const noexcept { return head_.level == 0 ? 2 : 8; }
  [[nodiscard]] Slot slot(std::uint32_t index) const noexcept {
    Slot its;
    std::memcpy(&its, page_ + slots_at + index * sizeof(Slot), sizeof its);
    return its;
  }
  [[nodiscard]] std::uint32_t payload_size(Slot its) const noexcept;
  void open_slot(std::uint32_t index, Slot its) noexcept;
  std::uint32_t take(std::uint32_t bytes, std::byte* scratch) noexcept;
  void compact(std::byte* scratch) noexcept;
  std::byte* page_;
  std::uint32_t bytes_;
  NodeHead head_;
};

/// The whole of a private node into the page, which is latched exclusively and has the same size,
/// but for the page head's first fields, which are the store's.
void store_node(std::byte* page, const std::byte* image, std::size_t page_bytes) noexcept;

// For the pool's hooks: a node as it lies on the device, trimmed, and the check of one from there.
std::uint32_t serialize_node(const std::byte* page, std::byte* image) noexcept;
// The latter for images as serialize_node makes them, and nothing else.
[[nodiscard]] Result<void> validate_node(PageSlot page, Bytes content) noexcept;

/// The shortest key that is above `left` and not above `right`, two neighbours in byte order: a
/// prefix of `right`.
[[nodiscard]] std::size_t separator_size(Bytes left, Bytes right) noexcept;
[[nodiscard]] std::size_t common_prefix(Bytes left, Bytes right) noexcept;

}  // namespace firn::tree
