// The catalogue's own tree: a row for each table. Fibers of the domain's background executor, one
// at a time. Checkpoints wait for them, so what they need of the pool they are given as background
// work (buffer/waiter.hpp).
#pragma once

#include <functional>

#include "domain/native/catalogue_row.hpp"
#include "tree/tree.hpp"

namespace firn::domain {

using detail::Progress;

/// Stands for a comparator that no opening has brought yet: pages that are made or freed without it
/// are only not to be taken for bytewise ones.
inline std::strong_ordering unknown_order(Bytes left, Bytes right) noexcept {
  return left <=> right;
}

/// The shape of a table's tree at `root`.
[[nodiscard]] inline tree::Shape shape_of(const CatalogueRow& row, buffer::PageSlot root,
                                          CompareFunction compare = nullptr) noexcept {
  if (compare == nullptr && row.type.comparator != BytewiseOrder::id) compare = &unknown_order;
  return {.root = root,
          .table = row.id,
          .leaf_class = row.leaf_class,
          .inline_max = row.inline_max,
          .compare = compare};
}

class Catalogue {
 public:
  [[nodiscard]] static tree::Shape shape(buffer::PageSlot root) noexcept {
    return {.root = root, .table = catalogue_table_id, .leaf_class = 1};
  }

  Catalogue(buffer::Pool& pool, buffer::PageSlot root) noexcept
      : pool_(pool), tree_(pool, shape(root)) {}

  /// `companions` change with the row: in every checkpoint are both or neither.
  Result<void> write(const CatalogueRow& row, const tree::Companions& companions = {}) noexcept;
  /// The same with an empty tree of `shape`, whose root is the row's from then on.
  Result<void> write_with_tree(CatalogueRow& row, const tree::Shape& shape) noexcept;
  Result<void> erase(std::uint64_t id, const tree::Companions& companions = {}) noexcept;
  Result<void> write_next_id(std::uint64_t next_id,
                             const tree::Companions& companions = {}) noexcept;

  /// Calls `take(row)` for each row; `next_id` is 0 if there is none. `corrupt` for what makes no
  /// sense.
  using Take = std::function<Result<void>(CatalogueRow&)>;
  Result<void> load(std::uint64_t& next_id, const Take& take) noexcept;

  [[nodiscard]] buffer::PageSlot root() const noexcept { return tree_.shape().root; }

 private:
  Result<void> write_bytes(tree::Write kind, std::uint64_t id, Bytes value,
                           const tree::Companions& companions) noexcept;

  buffer::Pool& pool_;
  tree::Tree tree_;
};

}  // namespace firn::domain
