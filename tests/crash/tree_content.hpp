// What a checkpoint of a tree history holds, and how to find that out without the code under test:
// a catalogue, whose root the payload names, with an entry for each table, and the tables' pairs.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crash/page_history.hpp"
#include "tree/tree.hpp"

namespace firn::test {

using Pairs = std::map<std::string, std::string>;
using Tables = std::map<std::uint64_t, Pairs>;  // by table; 0 is the catalogue

/// Of a key whose operation is under way when a checkpoint begins: it may be in or not.
struct Choice {
  std::optional<std::string> before, after;
};

struct TableContent {
  Pairs pairs;
  std::map<std::string, Choice> open;
  bool clearing = false;  ///< any part of it
};
using TreeContent = std::map<std::uint64_t, TableContent>;

inline constexpr std::uint64_t catalogue_table = 0;
/// Large enough for values of 30,000 bytes.
inline constexpr store::StoreOptions tree_history_options{
    .chunk_bytes = 64 * 1024, .fold_percent = 50, .log_bytes_min = 2048};
inline constexpr std::uint64_t tree_history_bytes = 4_MiB;

inline std::strong_ordering backwards(Bytes left, Bytes right) noexcept { return right <=> left; }

/// What the catalogue says of a table.
struct TableEntry {
  std::uint64_t root = 0;
  std::uint64_t table = 0;
  std::uint32_t inline_max = 0;
  std::uint8_t leaf_class = 0;
  std::uint8_t is_backwards = 0;
  std::uint16_t reserved = 0;
};
inline std::string entry_of(const tree::Shape& shape) {
  const TableEntry entry{.root = shape.root.bits(),
                         .table = shape.table,
                         .inline_max = shape.inline_max,
                         .leaf_class = shape.leaf_class,
                         .is_backwards = shape.compare != nullptr};
  return std::string(reinterpret_cast<const char*>(&entry), sizeof entry);
}
inline tree::Shape shape_of(const std::string& bytes) {
  TableEntry entry;
  FIRN_ASSERT(bytes.size() == sizeof entry);
  std::memcpy(&entry, bytes.data(), sizeof entry);
  return {.root = PageId::from_bits(entry.root),
          .table = entry.table,
          .leaf_class = entry.leaf_class,
          .inline_max = entry.inline_max,
          .compare = entry.is_backwards != 0 ? &backwards : nullptr};
}
inline constexpr std::string_view table_key_prefix = "table/";
inline std::string table_key(std::uint64_t table) {
  return std::string(table_key_prefix) + std::to_string(table);
}
inline bool is_table_key(const std::string& key) { return key.starts_with(table_key_prefix); }

/// A payload names the content and the catalogue's root; without one the store is empty.
inline store::Payload tree_payload(std::uint64_t content, PageId root) {
  store::Payload payload = payload_of(content);
  const std::uint64_t bits = root.bits();
  std::memcpy(payload.data() + sizeof content, &bits, sizeof bits);
  return payload;
}
inline tree::Shape catalogue_of(const store::Payload& payload) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, payload.data() + sizeof(std::uint64_t), sizeof bits);
  return {.root = PageId::from_bits(bits), .table = catalogue_table, .leaf_class = 0};
}

/// Reads all trees of a store page by page, through no pool and no tree. On a fiber.
class TreeReader {
 public:
  TreeReader(Store& store, runtime::ExecutorCore& core) : store_(store), core_(core) {}

  Tables tables;
  std::set<std::uint64_t> pages;  ///< reached, by their bits
  /// The first thing that is wrong, but for pages that the store could not read.
  std::string wrong;
  std::optional<Error> unread;  ///< the first of those

  void read() {
    const tree::Shape catalogue = catalogue_of(store_.payload());
    if (!catalogue.root.valid()) return expect_no_other_pages();
    read_table(catalogue);
    for (const auto& [key, value] : Pairs(tables[catalogue_table])) {
      if (is_table_key(key)) read_table(shape_of(value));
    }
    expect_no_other_pages();
  }

 private:
  void read_table(const tree::Shape& shape) {
    read_node(shape, shape.root, std::nullopt, tables[shape.table]);
  }

  void reject(PageId page, const char* what) {
    if (wrong.empty()) wrong = std::string(what) + ": page " + std::to_string(page.bits());
  }

  // Null: it cannot be read, or there is something wrong.
  [[nodiscard]] std::optional<store::AlignedBlock> page_of(PageId page, std::uint64_t table,
                                                           format::PageKind kind) {
    if (!page.valid()) {
      reject(page, "an id of no page");
      return std::nullopt;
    }
    if (!pages.insert(page.bits()).second) {
      reject(page, "a page with two parents");
      return std::nullopt;
    }
    auto block = store::AlignedBlock::make(format::page_bytes(page.size_class()));
    FIRN_ASSERT(block.has_value());
    store::PageRead read;
    read.page = page;
    read.data = block->data();
    read.context = runtime::current_fiber();
    read.done = &firn::test::detail::wake<store::PageRead>;
    store_.read(core_, read);
    runtime::FiberContext::suspend();
    if (!read.outcome.has_value()) {
      if (!unread.has_value()) unread = read.outcome.error();
      return std::nullopt;
    }
    format::PageHeader head;
    std::memcpy(&head, block->data(), sizeof head);
    const bool is_node = kind != format::PageKind::blob;
    if (head.table != table ||
        (is_node ? head.kind == format::PageKind::blob : head.kind != format::PageKind::blob)) {
      reject(page, "a page of another table or kind");
      return std::nullopt;
    }
    return std::move(*block);
  }

  // `level`: none for the root.
  void read_node(const tree::Shape& shape, PageId page, std::optional<unsigned> level,
                 Pairs& pairs) {
    const auto block = page_of(page, shape.table, format::PageKind::leaf);
    if (!block.has_value()) return;
    std::byte* bytes = block->data();
    const std::size_t size = format::page_bytes(page.size_class());
    if (const auto valid = tree::validate_node(page, Bytes(bytes, size)); !valid.has_value()) {
      return reject(page, valid.error().detail);
    }
    const tree::NodeEditor node(bytes, size);
    if (level.has_value() ? node.level() != *level : node.level() == 0) {
      return reject(page, "a node of another level");
    }
    if (node.level() > 0) {
      for (std::uint32_t index = 0; index <= node.count(); ++index) {
        const PageId child = node.child(index);
        // A tree that is being cleared may have lost all.
        if (child != PageId() || index > 0) read_node(shape, child, node.level() - 1, pairs);
      }
      return;
    }
    for (std::uint32_t index = 0; index < node.count(); ++index) {
      std::string key(node.prefix().text());
      key += node.suffix(index).text();
      bool apart = false;
      const Bytes stored = node.value(index, apart);
      std::optional<std::string> value(stored.text());
      if (apart) value = value_of(shape, stored);
      if (!value.has_value()) continue;
      if (!pairs.emplace(std::move(key), std::move(*value)).second) reject(page, "a key twice");
    }
  }

  std::optional<std::string> value_of(const tree::Shape& shape, Bytes stored) {
    tree::ValueReference reference;
    std::memcpy(&reference, stored.data(), sizeof reference);
    const PageId page = PageId::from_bits(reference.page);
    const auto block = page_of(page, shape.table, format::PageKind::blob);
    if (!block.has_value()) return std::nullopt;
    const std::size_t room = format::page_bytes(page.size_class()) - tree::value_at;
    if (reference.size > room) {
      reject(page, "a value larger than its page");
      return std::nullopt;
    }
    const char* begin = reinterpret_cast<const char*>(block->data()) + tree::value_at;
    return std::string(begin, reference.size);
  }

  // Each page that has an image was reached.
  void expect_no_other_pages() {
    if (unread.has_value()) return;
    std::vector<PageId> listed(64);
    PageId after;
    while (const std::size_t count = store_.list_pages(after, listed)) {
      for (std::size_t index = 0; index < count; ++index) {
        if (!pages.contains(listed[index].bits())) reject(listed[index], "a page that nobody has");
      }
      after = listed[count - 1];
    }
  }

  Store& store_;
  runtime::ExecutorCore& core_;
};

/// Empty, or how what was found cannot be `content`. `partly`: some pages were not readable.
inline std::string differs_from(const Pairs& found, const TableContent& content, bool partly) {
  const auto named = [](const char* what, const std::string& key) {
    return std::string(what) + " '" + key.substr(0, 24) + "'";
  };
  for (const auto& [key, value] : found) {
    if (const auto open = content.open.find(key); open != content.open.end()) {
      if (value != open->second.before && value != open->second.after) {
        return named("neither the value before nor after of", key);
      }
      continue;
    }
    const auto wanted = content.pairs.find(key);
    if (wanted == content.pairs.end()) return named("a key too many:", key);
    if (wanted->second != value) {
      return named("another value of", key) + ": " + std::to_string(value.size()) + " bytes for " +
             std::to_string(wanted->second.size());
    }
  }
  if (partly || content.clearing) return {};
  for (const auto& [key, value] : content.pairs) {
    if (!found.contains(key) && !content.open.contains(key)) return named("a key is missing:", key);
  }
  for (const auto& [key, choice] : content.open) {
    if (!found.contains(key) && choice.before.has_value() && choice.after.has_value()) {
      return named("a key is missing that is only replaced:", key);
    }
  }
  return {};
}

inline std::string differs_from(const Tables& found, const TreeContent& content,
                                bool partly = false) {
  static const TableContent nothing;
  for (const auto& [table, pairs] : found) {
    // A table that has just come, and that nobody has written to.
    const auto wanted = content.find(table);
    const std::string differs =
        differs_from(pairs, wanted == content.end() ? nothing : wanted->second, partly);
    if (!differs.empty()) return "table " + std::to_string(table) + ": " + differs;
  }
  return {};
}

}  // namespace firn::test
