// A native domain's file for reading only, without knowing the types of its tables: for tools and
// checks. Nothing is written; what is there is the newest checkpoint, so volatile tables show what
// the next opening will take away. One thread, which blocks; no fiber.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "buffer/pool.hpp"
#include "domain/native/catalogue.hpp"
#include "domain/opened_segment.hpp"
#include "tree/tree.hpp"

namespace firn::domain {

class Reader {
 public:
  /// The segment outlives it.
  explicit Reader(OpenedSegment& segment) noexcept : segment_(segment) {}
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// Reads the catalogue. `corrupt` names the table; `unsupported_format`; `no_memory`.
  Result<void> open() noexcept;

  /// False: a segment of something else, or of a domain that was never opened to the end.
  [[nodiscard]] bool has_catalogue() const noexcept { return catalogue_.has_value(); }
  /// Also of tables that are destroyed and still to be freed.
  [[nodiscard]] std::span<const CatalogueRow> rows() const noexcept { return rows_; }
  /// Null: there is none, or not any more.
  [[nodiscard]] const CatalogueRow* find(std::string_view name) const noexcept;

  Result<void> census_of_catalogue(tree::Census& census) noexcept;

 private:
  friend class TableReader;

  OpenedSegment& segment_;
  std::unique_ptr<buffer::Pool> pool_;
  std::optional<Catalogue> catalogue_;
  std::vector<CatalogueRow> rows_;
};

/// One table of a reader, which outlives it, and a position in it.
class TableReader {
 public:
  TableReader(Reader& reader, const CatalogueRow& row) noexcept;
  TableReader(const TableReader&) = delete;
  TableReader& operator=(const TableReader&) = delete;

  /// Whether its keys can be compared: not if that takes a comparator of the type's own. Lookups
  /// and moves are `unsupported` then.
  [[nodiscard]] bool order_known() const noexcept { return tree_.shape().order_known; }

  /// False: no such key.
  Result<bool> lookup(Bytes key, Buffer& record) noexcept;
  /// To the pair at `target`, as in Tree::move; false: there is none, and `key()` is as before.
  Result<bool> move(tree::Target target, Bytes key) noexcept;
  [[nodiscard]] Bytes key() const noexcept { return key_.view(); }
  [[nodiscard]] Bytes record() const noexcept { return record_; }

  /// Walks the whole tree and checks it, as Tree::census. Errors name the table.
  Result<void> census(tree::Census& census) noexcept;

 private:
  Result<void> named(Result<void> outcome) const noexcept;

  Reader& reader_;
  tree::Tree tree_;
  tree::Position position_;
  Buffer key_;
  Buffer room_;
  Bytes record_;
};

}  // namespace firn::domain
