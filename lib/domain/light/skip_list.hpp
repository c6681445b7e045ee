// The ordered map of the light domain: a skip list of pairs of bytes.
// W. Pugh, "Skip Lists: A Probabilistic Alternative to Balanced Trees", CACM 33(6), 1990.
//
// Guarded by its table's latch: readers shared, writers exclusive. It allocates only in `make_node`
// and `make_record`, which are called without the latch; linking and unlinking cannot fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <firn/bytes.hpp>

#include "base/random.hpp"

namespace firn::domain {

class SkipList {
 public:
  using Compare = std::strong_ordering (*)(Bytes, Bytes) noexcept;
  // Enough for 4^12 pairs at the branching used here.
  static constexpr int height_max = 12;

  // A record's bytes with the room they have; a shorter new one is written in place.
  struct Record {
    std::size_t capacity;
    std::size_t size;
    std::byte* bytes() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
    const std::byte* bytes() const noexcept { return reinterpret_cast<const std::byte*>(this + 1); }
    [[nodiscard]] Bytes view() const noexcept { return {bytes(), size}; }
    [[nodiscard]] std::size_t memory() const noexcept { return sizeof(Record) + capacity; }
    void assign(Bytes from) noexcept {
      size = from.size();
      if (!from.empty()) std::memcpy(bytes(), from.data(), from.size());
    }
  };
  struct Node {
    Record* record;
    std::size_t key_size;
    int height;
    Node* next[1];  // `height` of them, then the key

    [[nodiscard]] Bytes key() const noexcept {
      return {reinterpret_cast<const std::byte*>(&next[height]), key_size};
    }
    [[nodiscard]] std::size_t memory() const noexcept { return memory_of(height, key_size); }
    static std::size_t memory_of(int height, std::size_t key_size) noexcept {
      return sizeof(Node) + static_cast<std::size_t>(height - 1) * sizeof(Node*) + key_size;
    }
  };
  struct Free {
    void operator()(Record* record) const noexcept { std::free(record); }
    void operator()(Node* node) const noexcept { std::free(node); }
  };
  using RecordPointer = std::unique_ptr<Record, Free>;
  using NodePointer = std::unique_ptr<Node, Free>;

  // Where a key is or would be: on each level the last node before it (null: the head).
  struct Position {
    Node* before[height_max];
    Node* node;  // the first node at or after the key
    bool equal;
  };

  explicit SkipList(Compare order) noexcept : compare_(order) {}
  ~SkipList() { clear(); }
  SkipList(const SkipList&) = delete;
  SkipList& operator=(const SkipList&) = delete;

  // Null when memory is short.
  static RecordPointer make_record(Bytes bytes) noexcept {
    auto* record = static_cast<Record*>(std::malloc(sizeof(Record) + bytes.size()));
    if (record == nullptr) return nullptr;
    record->capacity = bytes.size();
    record->assign(bytes);
    return RecordPointer(record);
  }
  static NodePointer make_node(Bytes key, int height) noexcept {
    auto* node = static_cast<Node*>(std::malloc(Node::memory_of(height, key.size())));
    if (node == nullptr) return nullptr;
    node->record = nullptr;
    node->key_size = key.size();
    node->height = height;
    if (!key.empty()) std::memcpy(&node->next[height], key.data(), key.size());
    return NodePointer(node);
  }
  // The height for a new node of this key: from its bytes, so that equal histories build equal
  // lists.
  [[nodiscard]] static int height_for(Bytes key) noexcept {
    std::uint64_t hash = 0x9e3779b97f4a7c15u;
    for (const std::byte byte : key)
      hash = base::Random::mix(hash ^ static_cast<std::uint64_t>(byte));
    int height = 1;
    while (height < height_max && (hash & 3) == 0) {
      ++height;
      hash >>= 2;
    }
    return height;
  }

  [[nodiscard]] Position find(Bytes key) const noexcept {
    Position position;
    Node* before = nullptr;
    for (int level = height_max - 1; level >= 0; --level) {
      Node* next = next_of(before, level);
      while (next != nullptr && compare(next->key(), key) < 0) {
        before = next;
        next = next_of(before, level);
      }
      position.before[level] = before;
      position.node = next;
    }
    position.equal = position.node != nullptr && compare(position.node->key(), key) == 0;
    return position;
  }
  // `position` is where `find` put the node's key, and nothing was linked since.
  void link(const Position& position, NodePointer fresh, RecordPointer record) noexcept {
    Node* node = fresh.release();
    node->record = record.release();
    for (int level = 0; level < node->height; ++level) {
      Node*& slot = slot_of(position.before[level], level);
      node->next[level] = slot;
      slot = node;
    }
    ++count_;
    ++version_;
  }
  void unlink(const Position& position) noexcept {
    Node* node = position.node;
    for (int level = 0; level < node->height; ++level) {
      slot_of(position.before[level], level) = node->next[level];
    }
    --count_;
    ++version_;
    free_node(node);
  }
  void clear() noexcept {
    Node* node = head_[0];
    while (node != nullptr) {
      Node* next = node->next[0];
      free_node(node);
      node = next;
    }
    for (Node*& slot : head_) slot = nullptr;
    count_ = 0;
    ++version_;
  }

  [[nodiscard]] Node* first() const noexcept { return head_[0]; }
  [[nodiscard]] Node* last() const noexcept {
    Node* before = nullptr;
    for (int level = height_max - 1; level >= 0; --level) {
      while (Node* next = next_of(before, level)) before = next;
    }
    return before;
  }
  [[nodiscard]] std::strong_ordering compare(Bytes left, Bytes right) const noexcept {
    return compare_ == nullptr ? left <=> right : compare_(left, right);
  }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  // Changes whenever a node comes or goes: a cursor's pointer to a node holds while it does not.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

 private:
  static void free_node(Node* node) noexcept {
    std::free(node->record);
    std::free(node);
  }
  Node* next_of(Node* before, int level) const noexcept {
    return before == nullptr ? head_[level] : before->next[level];
  }
  Node*& slot_of(Node* before, int level) noexcept {
    return before == nullptr ? head_[level] : before->next[level];
  }

  const Compare compare_;
  Node* head_[height_max] = {};
  std::uint64_t count_ = 0;
  std::uint64_t version_ = 1;
};

}  // namespace firn::domain
