#include "tree/node.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/planted.hpp"

namespace firn::tree {
namespace {

using buffer::store_page;
using format::PageHeader;
using format::PageKind;

constexpr std::uint32_t slot_bytes = sizeof(Slot);
constexpr std::uint32_t reference_bytes = sizeof(ValueReference);
constexpr std::uint32_t hint_gaps = NodeHead::hint_count + 1;
// Below this a search over the slots alone is as fast.
constexpr std::uint32_t hinted_count_min = 2 * hint_gaps;
// So many slots are looked at one after another: quicker than a search, whose branches nobody
// foresees.
constexpr std::uint32_t counted_max = 64;

int sign(std::size_t left, std::size_t right) noexcept {
  return left < right ? -1 : left > right ? 1 : 0;
}

}  // namespace

std::size_t common_prefix(Bytes left, Bytes right) noexcept {
  const std::size_t most = std::min(left.size(), right.size());
  std::size_t same = 0;
  while (same < most && left[same] == right[same]) ++same;
  return same;
}

std::size_t separator_size(Bytes left, Bytes right) noexcept {
  return std::min(common_prefix(left, right) + 1, right.size());
}

// NodeReader

// The heads are equal: the order of the rest.
int NodeReader::compare_rest(Slot its, Bytes suffix) noexcept {
  constexpr std::size_t in_head = sizeof its.head;
  constexpr std::size_t word = sizeof(std::uint64_t);
  // A key that ends within the head is a prefix of the other, but for zeroes.
  if (its.size <= in_head || suffix.size() <= in_head) return sign(its.size, suffix.size());
  const std::uint32_t offset = key_at(its);
  if (!in_page(offset, its.size)) return 0;
  __builtin_prefetch(page_ + offset + 64);  // where the value will be
  const std::size_t shared = std::min<std::size_t>(its.size, suffix.size());
  if (shared < word) {
    std::array<std::byte, word> rest;
    if (!copy(rest.data(), offset + in_head, static_cast<std::uint32_t>(shared - in_head))) {
      return 0;
    }
    const int order = std::memcmp(rest.data(), suffix.data() + in_head, shared - in_head);
    return order != 0 ? order : sign(its.size, suffix.size());
  }
  // By words, the last of which may overlap with what was found to be equal.
  for (std::size_t done = in_head; done < shared; done += word) {
    const std::size_t from = std::min(done, shared - word);
    const auto own = at<std::uint64_t>(offset + static_cast<std::uint32_t>(from));
    std::uint64_t wanted;
    std::memcpy(&wanted, suffix.data() + from, sizeof wanted);
    if (own != wanted) return __builtin_bswap64(own) < __builtin_bswap64(wanted) ? -1 : 1;
  }
  return sign(its.size, suffix.size());
}

// Four at a time: no branch depends on what they are.
NodeReader::Heads NodeReader::count_heads(std::uint32_t from, std::uint32_t to,
                                          std::uint32_t head) noexcept {
  using Four [[gnu::vector_size(16)]] = std::uint32_t;
  using Counts [[gnu::vector_size(16)]] = std::int32_t;
  const Four wanted = {head, head, head, head};
  Counts below = {};
  Counts not_above = {};
  if (!in_page(slots_at + from * slot_bytes, (to - from) * slot_bytes)) return {0, 0};
  for (; from + 4 <= to; from += 4) {
    Four slots[2];
    if (!buffer::copy_optimistic(slots, page_ + slots_at + from * slot_bytes, sizeof slots)) {
      bad_ = true;
      return {0, 0};
    }
    const Four heads = __builtin_shufflevector(slots[0], slots[1], 0, 2, 4, 6);
    below += heads < wanted;  // true is -1
    not_above += heads <= wanted;
  }
  Heads counted{
      static_cast<std::uint32_t>(-(below[0] + below[1] + below[2] + below[3])),
      static_cast<std::uint32_t>(-(not_above[0] + not_above[1] + not_above[2] + not_above[3]))};
  for (; from < to; ++from) {
    const std::uint32_t its = slot(from).head;
    counted.below += its < head;
    counted.not_above += its <= head;
  }
  return counted;
}

NodeReader::Found NodeReader::find(Bytes key, CompareFunction compare) noexcept {
  if (compare != nullptr) return find_by(key, compare);
  if (prefix_size_ > key.size()) {
    bad_ = true;
    return {0, false};
  }
  const Bytes suffix = key.subview(prefix_size_);
  const std::uint32_t head = key_head(suffix);
  std::uint32_t low = 0;
  std::uint32_t high = count_;
  if (count_ >= hinted_count_min) {
    const auto hints = at<std::array<std::uint32_t, NodeHead::hint_count>>(
        node_head_at + static_cast<std::uint32_t>(offsetof(NodeHead, hints)));
    const std::uint32_t gap = count_ / hint_gaps;
    std::uint32_t below = 0;
    std::uint32_t not_above = 0;
    for (const std::uint32_t hint : hints) {
      below += hint < head;
      not_above += hint <= head;
    }
    low = below * gap;
    if (not_above < NodeHead::hint_count) high = std::min(count_, (not_above + 1) * gap);
  }
  while (low < high && high - low > counted_max) {
    const std::uint32_t middle = low + (high - low) / 2;
    const std::uint32_t its = slot(middle).head;
    if (its == head) break;
    (its < head ? low : high) = its < head ? middle + 1 : middle;
  }
  if (low < high && high - low <= counted_max) {
    const Heads counted = count_heads(low, high, head);
    high = low + counted.not_above;
    low += counted.below;
  }
  // What is left has mostly the same head.
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    const Slot its = slot(middle);
    int order = its.head < head ? -1 : its.head > head ? 1 : 0;
    if (order == 0) order = compare_rest(its, suffix);
    if (bad_) return {0, false};
    if (order == 0) return {middle, true};
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (bad_) return {0, false};
  return {low, false};
}

// Under a shared latch: the page stays as it is, so the keys are compared where they lie.
NodeReader::Found NodeReader::find_by(Bytes key, CompareFunction compare) noexcept {
  std::uint32_t low = 0;
  std::uint32_t high = count_;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    const Slot its = slot(middle);
    if (!in_page(key_at(its), its.size)) return {0, false};
    const std::strong_ordering order = compare(Bytes(page_ + key_at(its), its.size), key);
    if (order == std::strong_ordering::equal) return {middle, true};
    if (order == std::strong_ordering::less) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return {low, false};
}

PageSlot NodeReader::child(std::uint32_t index) noexcept {
  if (index == 0) return PageSlot::from_bits(first_child_);
  return PageSlot::from_bits(at<std::uint64_t>(slot(index - 1).offset));
}

ValuePlace NodeReader::value(std::uint32_t index) noexcept {
  const Slot its = slot(index);
  const auto size = at<std::uint16_t>(its.offset);
  const std::uint32_t offset = key_at(its) + its.size;
  if (size == value_is_apart) return {offset, sizeof(ValueReference), true};
  return {offset, size, false};
}

bool NodeReader::copy(void* to, std::uint32_t offset, std::uint32_t size) noexcept {
  if (in_page(offset, size) && !buffer::copy_optimistic(to, page_ + offset, size)) bad_ = true;
  return !bad_;
}

std::uint32_t NodeReader::key_size(std::uint32_t index) noexcept {
  return prefix_size_ + slot(index).size;
}

bool NodeReader::copy_key(std::uint32_t index, std::byte* to) noexcept {
  const Slot its = slot(index);
  return copy_prefix(to) && copy(to + prefix_size_, key_at(its), its.size);
}

std::uint32_t NodeReader::fence_size(bool upper) noexcept {
  return at<std::uint16_t>(node_head_at +
                           static_cast<std::uint32_t>(upper ? offsetof(NodeHead, upper_size)
                                                            : offsetof(NodeHead, lower_size)));
}

bool NodeReader::copy_fence(bool upper, std::byte* to) noexcept {
  return copy(to, fences_ + (upper ? fence_size(false) : 0), fence_size(upper));
}

// NodeEditor

NodeEditor NodeEditor::make(std::byte* page, std::size_t page_bytes, unsigned level,
                            std::uint64_t table, const Fences& fences,
                            bool shared_prefix) noexcept {
  PageHeader page_head;
  page_head.table = table;
  page_head.kind = level == 0 ? PageKind::leaf : PageKind::inner;
  page_head.level = static_cast<std::uint8_t>(level);
  page_head.length = static_cast<std::uint32_t>(page_bytes);
  store_page(page, &page_head, sizeof page_head);
  NodeHead head;
  head.level = static_cast<std::uint8_t>(level);
  head.table = static_cast<std::uint32_t>(table);
  head.flags = static_cast<std::uint8_t>((fences.has_upper ? NodeHead::has_upper : 0) |
                                         (fences.has_lower ? NodeHead::has_lower : 0) |
                                         (shared_prefix ? NodeHead::by_bytes : 0));
  head.lower_size = static_cast<std::uint16_t>(fences.lower.size());
  head.upper_size = static_cast<std::uint16_t>(fences.upper.size());
  if (shared_prefix && fences.has_lower && fences.has_upper) {
    head.prefix_size = static_cast<std::uint16_t>(common_prefix(fences.lower, fences.upper));
  }
  head.heap_end = static_cast<std::uint32_t>(page_bytes);
  head.heap_used = head.lower_size + head.upper_size;
  head.heap_begin = head.heap_end - head.heap_used;
  head.fences = head.heap_begin;
  store_page(page + head.fences, fences.lower.data(), fences.lower.size());
  store_page(page + head.fences + head.lower_size, fences.upper.data(), fences.upper.size());
  store_page(page + node_head_at, &head, sizeof head);
  return NodeEditor(page, page_bytes);
}

std::uint32_t NodeEditor::payload_size(Slot its) const noexcept {
  std::uint32_t size = fixed() + its.size;
  if (head_.level == 0) {
    std::uint16_t value_size;
    std::memcpy(&value_size, page_ + its.offset, sizeof value_size);
    size += value_size == value_is_apart ? reference_bytes : value_size;
  }
  return size;
}

std::uint32_t NodeEditor::entries_size(std::uint32_t from, std::uint32_t to,
                                       std::size_t prefix_size) const noexcept {
  std::uint64_t size = 0;
  for (std::uint32_t index = from; index < to; ++index) {
    size += entry_size_at(index) + std::uint64_t{head_.prefix_size};
    size -= prefix_size;
  }
  return static_cast<std::uint32_t>(size);
}

Bytes NodeEditor::value(std::uint32_t index, bool& apart) const noexcept {
  const Slot its = slot(index);
  std::uint16_t size;
  std::memcpy(&size, page_ + its.offset, sizeof size);
  apart = size == value_is_apart;
  return {page_ + its.offset + fixed() + its.size, apart ? sizeof(ValueReference) : size};
}

PageSlot NodeEditor::child(std::uint32_t index) const noexcept {
  if (index == 0) return PageSlot::from_bits(head_.first_child);
  std::uint64_t bits;
  std::memcpy(&bits, page_ + slot(index - 1).offset, sizeof bits);
  return PageSlot::from_bits(bits);
}

void NodeEditor::set_child(std::uint32_t index, PageSlot child) noexcept {
  const std::uint64_t bits = child.bits();
  if (index == 0) {
    head_.first_child = bits;
  } else {
    store_page(page_ + slot(index - 1).offset, &bits, sizeof bits);
  }
}

bool NodeEditor::has_place(std::uint32_t index, Bytes key, CompareFunction compare) const noexcept {
  const Fences bounds = fences();
  const auto order = [&](Bytes left, Bytes right) {
    return compare == nullptr ? left <=> right : compare(left, right);
  };
  if (bounds.has_lower && order(key, bounds.lower) < 0) return false;
  if (bounds.has_upper && order(key, bounds.upper) >= 0) return false;
  if (compare != nullptr) return true;
  // Within the fences, hence with the prefix.
  const Bytes own = key.subview(head_.prefix_size);
  if (index > 0 && suffix(index - 1) >= own) return false;
  return index >= head_.count || own < suffix(index);
}

// Closes the holes: all payloads lie at the end of the page.
void NodeEditor::compact(std::byte* scratch) noexcept {
  std::uint32_t begin = bytes_;
  const auto keep = [&](std::uint32_t offset, std::uint32_t size) {
    begin -= size;
    std::memcpy(scratch + begin, page_ + offset, size);
    return begin;
  };
  head_.fences = keep(head_.fences, std::uint32_t{head_.lower_size} + head_.upper_size);
  // Slots change only after all payloads were read.
  for (std::uint32_t index = 0; index < head_.count; ++index) {
    Slot its = slot(index);
    its.offset = static_cast<std::uint16_t>(keep(its.offset, payload_size(its)));
    std::memcpy(scratch + slots_at + index * slot_bytes, &its, sizeof its);
  }
  FIRN_ASSERT(bytes_ - begin == head_.heap_used);
  store_page(page_ + slots_at, scratch + slots_at, head_.count * std::size_t{slot_bytes});
  store_page(page_ + begin, scratch + begin, bytes_ - begin);
  head_.heap_begin = begin;
  head_.heap_end = bytes_;
}

// Room for a payload and one more slot.
std::uint32_t NodeEditor::take(std::uint32_t bytes, std::byte* scratch) noexcept {
  const std::uint32_t slots_end = slots_at + (head_.count + 1u) * slot_bytes;
  if (head_.heap_begin < slots_end + bytes) {
    compact(scratch);
    FIRN_ASSERT(head_.heap_begin >= slots_end + bytes);
  }
  head_.heap_begin -= bytes;
  head_.heap_used += bytes;
  return head_.heap_begin;
}

void NodeEditor::open_slot(std::uint32_t index, Slot its) noexcept {
  std::byte* place = page_ + slots_at + index * slot_bytes;
  const std::size_t behind = (head_.count - index) * std::size_t{slot_bytes};
#ifdef FIRN_ATOMIC_PAGE_BYTES
  for (std::size_t done = behind; done > 0; done -= slot_bytes) {
    store_page(place + done, place + done - slot_bytes, slot_bytes);
  }
#else
  std::memmove(place + slot_bytes, place, behind);
#endif
  store_page(place, &its, sizeof its);
  ++head_.count;
}

void NodeEditor::insert_value(std::uint32_t index, Bytes key, Bytes value, bool apart,
                              std::byte* scratch) noexcept {
  const Bytes own = key.subview(head_.prefix_size);
  const auto size = static_cast<std::uint32_t>(2 + own.size() + value.size());
  const std::uint32_t offset = take(size, scratch);
  const std::uint16_t value_size =
      apart ? value_is_apart : static_cast<std::uint16_t>(value.size());
  store_page(page_ + offset, &value_size, sizeof value_size);
  store_page(page_ + offset + 2, own.data(), own.size());
  store_page(page_ + offset + 2 + own.size(), value.data(), value.size());
  const bool at_end = index == head_.count;
  head_.append_row =
      at_end ? static_cast<std::uint16_t>(std::min(head_.append_row + 1, 0x7fff)) : 0;
  open_slot(index, {key_head(own), static_cast<std::uint16_t>(offset),
                    static_cast<std::uint16_t>(own.size())});
}

bool NodeEditor::replace_value(std::uint32_t index, Bytes value, bool apart,
                               std::byte* scratch) noexcept {
  const Slot its = slot(index);
  const std::uint32_t former = payload_size(its);
  const auto wanted = static_cast<std::uint32_t>(2 + its.size + value.size());
  const std::uint16_t value_size =
      apart ? value_is_apart : static_cast<std::uint16_t>(value.size());
  if (wanted <= former) {
    store_page(page_ + its.offset, &value_size, sizeof value_size);
    store_page(page_ + its.offset + 2 + its.size, value.data(), value.size());
    head_.heap_used -= former - wanted;
    return true;
  }
  if (used() - former + wanted > capacity()) return false;
  std::array<std::byte, key_size_max> key;
  std::memcpy(key.data(), page_ + its.offset + 2, its.size);
  const std::uint16_t row = head_.append_row;
  erase(index);
  const std::uint32_t offset = take(wanted, scratch);
  store_page(page_ + offset, &value_size, sizeof value_size);
  store_page(page_ + offset + 2, key.data(), its.size);
  store_page(page_ + offset + 2 + its.size, value.data(), value.size());
  open_slot(index, {its.head, static_cast<std::uint16_t>(offset), its.size});
  head_.append_row = row;
  return true;
}

void NodeEditor::insert_child(std::uint32_t index, Bytes separator, PageSlot child,
                              std::byte* scratch) noexcept {
  const Bytes own = separator.subview(head_.prefix_size);
  const std::uint32_t offset = take(static_cast<std::uint32_t>(8 + own.size()), scratch);
  const std::uint64_t bits = child.bits();
  store_page(page_ + offset, &bits, sizeof bits);
  store_page(page_ + offset + 8, own.data(), own.size());
  open_slot(index, {key_head(own), static_cast<std::uint16_t>(offset),
                    static_cast<std::uint16_t>(own.size())});
}

void NodeEditor::erase(std::uint32_t index) noexcept {
  const Slot its = slot(index);
  const std::uint32_t size = payload_size(its);
  head_.heap_used -= size;
  if (its.offset == head_.heap_begin) {
    head_.heap_begin += size;
    // Empty fences lie in the heap as well.
    if (head_.lower_size + head_.upper_size == 0) head_.fences = head_.heap_begin;
  }
  std::byte* place = page_ + slots_at + index * slot_bytes;
  const std::size_t behind = (head_.count - index - 1u) * std::size_t{slot_bytes};
#ifdef FIRN_ATOMIC_PAGE_BYTES
  for (std::size_t done = 0; done < behind; done += slot_bytes) {
    store_page(place + done, place + done + slot_bytes, slot_bytes);
  }
#else
  std::memmove(place, place + slot_bytes, behind);
#endif
  --head_.count;
  head_.append_row = 0;
}

void NodeEditor::append(const NodeEditor& source, std::uint32_t from, std::uint32_t to) noexcept {
  // What of the source's keys is stored here: the end of the source's prefix may be, or a part of
  // the source's keys may be in this node's prefix.
  const std::uint32_t own_prefix = head_.prefix_size;
  const Bytes source_prefix = source.prefix();
  const std::size_t shared = source_prefix.size();
  for (std::uint32_t index = from; index < to; ++index) {
    const Slot its = source.slot(index);
    const Bytes tail = source.suffix(index);
    const std::size_t key_size = shared + its.size - own_prefix;
    const std::uint32_t size =
        source.payload_size(its) - its.size + static_cast<std::uint32_t>(key_size);
    FIRN_ASSERT(head_.heap_begin >= slots_at + (head_.count + 1u) * slot_bytes + size);
    head_.heap_begin -= size;
    head_.heap_used += size;
    std::byte* to_place = page_ + head_.heap_begin;
    std::memcpy(to_place, source.page_ + its.offset, fixed());
    std::byte* key = to_place + fixed();
    if (own_prefix <= shared) {
      std::memcpy(key, source_prefix.data() + own_prefix, shared - own_prefix);
      std::memcpy(key + (shared - own_prefix), tail.data(), tail.size());
    } else {
      std::memcpy(key, tail.data() + (own_prefix - shared), key_size);
    }
    const std::uint32_t value_size = source.payload_size(its) - fixed() - its.size;
    std::memcpy(key + key_size, source.page_ + its.offset + fixed() + its.size, value_size);
    const Slot made{key_head(Bytes(key, key_size)), static_cast<std::uint16_t>(head_.heap_begin),
                    static_cast<std::uint16_t>(key_size)};
    std::memcpy(page_ + slots_at + head_.count * slot_bytes, &made, sizeof made);
    ++head_.count;
  }
}

void NodeEditor::finish() noexcept {
  const std::uint32_t gap = head_.count / hint_gaps;
  for (std::uint32_t index = 0; index < NodeHead::hint_count && head_.count >= hinted_count_min;
       ++index) {
    head_.hints[index] = slot((index + 1) * gap).head;
  }
  store_page(page_ + node_head_at, &head_, sizeof head_);
}

// Whole nodes

void store_node(std::byte* page, const std::byte* image, std::size_t page_bytes) noexcept {
  PageHeader head;
  PageHeader made;
  std::memcpy(&head, page, sizeof head);
  std::memcpy(&made, image, sizeof made);
  head.table = made.table;
  head.kind = made.kind;
  head.level = made.level;
  head.length = made.length;
  store_page(page, &head, sizeof head);
  NodeHead node;
  std::memcpy(&node, image + node_head_at, sizeof node);
  store_page(page + node_head_at, image + node_head_at,
             sizeof node + node.count * std::size_t{slot_bytes});
  store_page(page + node.heap_begin, image + node.heap_begin, page_bytes - node.heap_begin);
}

// The heap moves down to the slots; what the page had free is not stored.
std::uint32_t serialize_node(const std::byte* page, std::byte* image) noexcept {
  PageHeader page_head;
  NodeHead head;
  std::memcpy(&page_head, page, sizeof page_head);
  std::memcpy(&head, page + node_head_at, sizeof head);
  const std::uint32_t fixed = head.level == 0 ? 2 : 8;
  const std::uint32_t heap = slots_at + head.count * slot_bytes;
  std::uint32_t end = heap;
  const auto keep = [&](std::uint32_t offset, std::uint32_t size) {
    std::memcpy(image + end, page + offset, size);
    end += size;
    return end - size;
  };
  head.fences = keep(head.fences, std::uint32_t{head.lower_size} + head.upper_size);
  for (std::uint32_t index = 0; index < head.count; ++index) {
    Slot its;
    std::memcpy(&its, page + slots_at + index * slot_bytes, sizeof its);
    std::uint32_t size = fixed + its.size;
    if (head.level == 0) {
      std::uint16_t value_size;
      std::memcpy(&value_size, page + its.offset, sizeof value_size);
      size += value_size == value_is_apart ? reference_bytes : value_size;
    }
    its.offset = static_cast<std::uint16_t>(keep(its.offset, size));
    std::memcpy(image + slots_at + index * slot_bytes, &its, sizeof its);
  }
  FIRN_ASSERT(end - heap == head.heap_used);
  head.heap_begin = heap;
  head.heap_end = end;
  page_head.length = end;
  std::memcpy(image, &page_head, sizeof page_head);
  std::memcpy(image + node_head_at, &head, sizeof head);
  return end;
}

namespace {

Failure corrupt_node(PageSlot page, const char* what) noexcept {
  Failure failure = fail(ErrorCode::corrupt, what);
  failure.error.place.page = page.bits();
  return failure;
}

}  // namespace

// Everything that readers and writers rely on, but for the order of keys by a comparator of the
// user's, and what only the neighbours know. One layout passes, so no two parts can overlap.
Result<void> validate_node(PageSlot page, Bytes content) noexcept {
  PageHeader page_head;
  NodeHead head;
  if (content.size() < slots_at) return corrupt_node(page, "a tree page that is too small");
  std::memcpy(&page_head, content.data(), sizeof page_head);
  std::memcpy(&head, content.data() + node_head_at, sizeof head);
  const bool leaf = page_head.kind == PageKind::leaf;
  if (page_head.level != head.level || leaf != (head.level == 0) || head.level > level_max ||
      static_cast<std::uint32_t>(page_head.table) != head.table) {
    return corrupt_node(page, "a tree page whose two heads differ");
  }
  if (page.size_class() > leaf_class_max || (!leaf && page.size_class() != inner_class)) {
    return corrupt_node(page, "a tree page of a wrong size class");
  }
  const std::uint32_t slots_end = slots_at + head.count * slot_bytes;
  if (page_head.length > content.size() || head.heap_end != page_head.length ||
      head.heap_begin != slots_end || head.heap_end < slots_end ||
      head.heap_used != head.heap_end - head.heap_begin || head.fences != head.heap_begin) {
    return corrupt_node(page, "a tree page whose parts do not follow one another");
  }
  if (head.lower_size > key_size_max || head.upper_size > key_size_max ||
      std::uint32_t{head.lower_size} + head.upper_size > head.heap_used) {
    return corrupt_node(page, "a tree page whose fences are too long");
  }
  const bool has_lower = (head.flags & NodeHead::has_lower) != 0;
  const bool has_upper = (head.flags & NodeHead::has_upper) != 0;
  const bool by_bytes = (head.flags & NodeHead::by_bytes) != 0;
  const Bytes lower(content.data() + head.fences, head.lower_size);
  const Bytes upper(lower.data() + lower.size(), head.upper_size);
  const std::size_t prefix = by_bytes && has_lower && has_upper ? common_prefix(lower, upper) : 0;
  if ((!has_lower && !lower.empty()) || (!has_upper && !upper.empty()) ||
      head.prefix_size != prefix || (by_bytes && has_lower && has_upper && lower >= upper)) {
    return corrupt_node(page, "a tree page with impossible fences");
  }
  const std::uint32_t fixed = leaf ? 2 : 8;
  std::uint32_t offset = head.fences + head.lower_size + head.upper_size;
  Bytes before;
  for (std::uint32_t index = 0; index < head.count; ++index) {
    Slot its;
    std::memcpy(&its, content.data() + slots_at + index * slot_bytes, sizeof its);
    std::uint32_t size = fixed + its.size;
    if (its.offset != offset || size > head.heap_end - offset) {
      return corrupt_node(page, "a slot whose payload does not follow the one before");
    }
    if (leaf) {
      std::uint16_t value_size;
      std::memcpy(&value_size, content.data() + offset, sizeof value_size);
      size += value_size == value_is_apart ? reference_bytes : value_size;
      if (size > head.heap_end - offset)
        return corrupt_node(page, "a value that ends out of its page");
    }
    if (prefix + its.size > key_size_max) return corrupt_node(page, "a key that is too long");
    const Bytes key(content.data() + offset + fixed, its.size);
    if (its.head != key_head(key))
      return corrupt_node(page, "a slot that does not agree with its key");
    if (by_bytes && index > 0 && before >= key) return corrupt_node(page, "keys out of order");
    before = key;
    offset += size;
  }
  if (offset != head.heap_end) return corrupt_node(page, "a tree page with bytes of nobody");
  if (by_bytes && head.count > 0) {
    Slot first;
    std::memcpy(&first, content.data() + slots_at, sizeof first);
    const Bytes lowest(content.data() + first.offset + fixed, first.size);
    if ((has_lower && has_upper &&
         (lowest < lower.subview(prefix) || before >= upper.subview(prefix))) ||
        (has_lower && !has_upper && lowest < lower) ||
        (!has_lower && has_upper && before >= upper)) {
      return corrupt_node(page, "a key beyond its node's fence");
    }
  }
  const std::uint32_t gap = head.count / hint_gaps;
  for (std::uint32_t index = 0; index < NodeHead::hint_count && head.count >= hinted_count_min;
       ++index) {
    std::uint32_t slot_head;
    std::memcpy(&slot_head, content.data() + slots_at + (index + 1) * gap * slot_bytes,
                sizeof slot_head);
    if (slot_head != head.hints[index]) return corrupt_node(page, "a hint that does not agree");
  }
  return {};
}

}  // namespace firn::tree
