// A store with trees that is opened again, with a pool: what its trees say of themselves, and work
// that goes on with them. On one fiber of one executor.
#pragma once

#include <memory>
#include <string>

#include "crash/tree_history.hpp"

namespace firn::test {

class OpenedTrees {
 public:
  /// `backend` outlives it. Without a pool after an error.
  OpenedTrees(segment::Backend& backend, runtime::ExecutorCore& core, bool read_only = false)
      : core_(core) {
    outcome_ = open(backend, read_only);
  }

  [[nodiscard]] const Result<void>& outcome() const { return outcome_; }
  [[nodiscard]] Store& store() { return *store_; }
  [[nodiscard]] buffer::Pool& pool() { return *pool_; }
  [[nodiscard]] tree::Shape catalogue() const { return catalogue_of(store_->payload()); }

  /// The tree's pairs, in their order, by a cursor.
  Result<void> scan(tree::Tree& tree, Pairs& pairs, std::string& wrong) {
    tree::Position position;
    Buffer key;
    Buffer room;
    Bytes value;
    Target target = Target::first;
    std::string former;
    while (true) {
      Error error;
      const tree::Progress progress = tree::on_fiber(*pool_, [&](tree::Caller& caller) noexcept {
        return tree.move(caller, error, position, target, bytes_of(former), {key, room, value});
      });
      if (progress == tree::Progress::failed) return fail(error);
      if (progress == tree::Progress::no) return {};
      const std::string found(key.view().text());
      if (target == Target::after && !in_order(tree, former, found)) {
        wrong = "a cursor goes back";
        return {};
      }
      pairs[found] = std::string(value.text());
      former = found;
      target = Target::after;
    }
  }

  Result<bool> lookup(tree::Tree& tree, const std::string& key, std::string& found) {
    Error error;
    const tree::Sink sink{[](void* context, Bytes bytes) noexcept {
                            *static_cast<std::string*>(context) = bytes.text();
                          },
                          &found};
    const tree::Progress progress = tree::on_fiber(*pool_, [&](tree::Caller& caller) noexcept {
      return tree.lookup(caller, error, bytes_of(key), sink);
    });
    if (progress == tree::Progress::failed) return fail(error);
    return progress == tree::Progress::yes;
  }

  Result<bool> write(tree::Tree& tree, Write kind, const std::string& key, const std::string& value,
                     const tree::Companions& companions = {}) {
    Error error;
    int pairs = 0;
    const tree::Progress progress = tree::on_fiber(*pool_, [&](tree::Caller& caller) noexcept {
      return tree.write(caller, error, kind, bytes_of(key), bytes_of(value), pairs, companions);
    });
    if (progress == tree::Progress::failed) return fail(error);
    return progress == tree::Progress::yes;
  }

  /// Census and cursor of every table agree with `tables`, which were read page by page; those that
  /// are being cleared are cleared to the end and forgotten. Empty, or what is wrong.
  std::string compare(Tables& tables, const TreeContent& content, std::uint64_t pages) {
    if (!catalogue().root.valid()) return tables.empty() ? "" : "a catalogue without a root";
    std::uint64_t counted = 0;
    bool cleared_any = false;
    const Pairs entries = tables[catalogue_table];
    std::string wrong = compare_one(catalogue(), tables, counted);
    for (const auto& [key, value] : entries) {
      if (!wrong.empty()) return wrong;
      if (!is_table_key(key)) continue;
      const tree::Shape shape = shape_of(value);
      const auto known = content.find(shape.table);
      if (known == content.end() || !known->second.clearing) {
        wrong = compare_one(shape, tables, counted);
        continue;
      }
      cleared_any = true;
      wrong = forget(key, shape);
      tables.erase(shape.table);
      tables[catalogue_table].erase(key);
    }
    if (wrong.empty() && !cleared_any && counted != pages) return "censuses count other pages";
    return wrong;
  }

  /// Changes every table by `random`, and `tables` with them.
  std::string work_on(Tables& tables, base::Random& random) {
    const Pairs entries = tables[catalogue_table];
    for (auto& [id, pairs] : tables) {
      const tree::Shape shape =
          id == catalogue_table ? catalogue() : shape_of(entries.at(table_key(id)));
      tree::Tree tree(*pool_, shape);
      const Pairs former = pairs;
      for (const auto& [key, value] : former) {
        if (is_table_key(key) || !random.one_in(4)) continue;
        if (random.one_in(2)) {
          const auto erased = write(tree, Write::erase, key, {});
          if (!erased.has_value() || !*erased) return "erases nothing";
          pairs.erase(key);
        } else {
          const std::string more = value + "more";
          const auto updated = write(tree, Write::update, key, more);
          if (!updated.has_value() || !*updated) return "updates nothing";
          pairs[key] = more;
        }
      }
      for (int number = 0; number < 3; ++number) {
        const std::string key = "new" + std::to_string(random.below(100));
        const std::string value(random.below(1500), 'n');
        if (!write(tree, Write::put, key, value).has_value()) return "takes no pair";
        pairs[key] = value;
      }
    }
    return {};
  }

  Result<void> checkpoint(std::uint64_t content) {
    return pool_->checkpoint(core_, tree_payload(content, catalogue().root));
  }

 private:
  Result<void> open(segment::Backend& backend, bool read_only) {
    if (read_only) {
      FIRN_TRY_ASSIGN(store_, Store::open_read_only(core_, backend, tree_history_options));
    } else {
      FIRN_TRY_ASSIGN(store_, Store::open(core_, backend, tree_history_options));
    }
    FIRN_TRY_ASSIGN(pool_, buffer::Pool::create(*store_, tree_pool_options()));
    tree::Tree::register_kinds(*pool_);
    return {};
  }

  static bool in_order(const tree::Tree& tree, const std::string& left, const std::string& right) {
    return tree.shape().compare == nullptr
               ? left < right
               : tree.shape().compare(bytes_of(left), bytes_of(right)) < 0;
  }

  std::string compare_one(const tree::Shape& shape, const Tables& tables, std::uint64_t& pages) {
    tree::Tree tree(*pool_, shape);
    tree::Census census;
    if (auto done = tree.census(census); !done.has_value()) {
      return "census: " + done.error().message();
    }
    pages += census.inner_pages + census.leaf_pages + census.value_pages;
    const Pairs& pairs = tables.at(shape.table);
    if (census.pairs != pairs.size()) return "a census counts other pairs";
    Pairs scanned;
    std::string wrong;
    if (auto done = scan(tree, scanned, wrong); !done.has_value()) {
      return "scan: " + done.error().message();
    }
    if (wrong.empty() && scanned != pairs) wrong = "a cursor meets other pairs";
    return wrong;
  }

  std::string forget(const std::string& key, const tree::Shape& shape) {
    tree::Tree tree(*pool_, shape);
    if (auto cleared = tree.clear(); !cleared.has_value()) {
      return "clearing again: " + cleared.error().message();
    }
    tree::Tree of_tables(*pool_, catalogue());
    const tree::Companions companions{.joining = nullptr, .leaving = {&shape.root, 1}};
    const auto erased = write(of_tables, Write::erase, key, {}, companions);
    if (!erased.has_value()) return "forgetting again: " + erased.error().message();
    return *erased ? "" : "a table that is not there";
  }

  runtime::ExecutorCore& core_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<buffer::Pool> pool_;
  Result<void> outcome_;
};

/// Reads a store page by page: empty, or how it is not exactly `tables`.
inline std::string reads_as(segment::Backend& backend, runtime::ExecutorCore& core,
                            const Tables& tables) {
  auto opened = Store::open(core, backend, tree_history_options);
  if (!opened.has_value()) return "does not open: " + opened.error().message();
  (*opened)->check_well_formed();
  TreeReader reader(**opened, core);
  reader.read();
  if (reader.unread.has_value()) return "does not read: " + reader.unread->message();
  if (!reader.wrong.empty()) return reader.wrong;
  return reader.tables == tables ? "" : "other pairs than were written";
}

}  // namespace firn::test
