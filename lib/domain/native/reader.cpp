#include "domain/native/reader.hpp"

#include "base/allocation.hpp"
#include "domain/native/native.hpp"
#include "tree/caller.hpp"

namespace firn::domain {
namespace {

constexpr std::uint64_t budget_bytes = 64ULL << 20;

// Stands for a comparator that is code of the type's, and makes the tree one that is not ordered by
// bytes. Nobody relies on what it says: Shape::order_known.
std::strong_ordering unknown_order(Bytes left, Bytes right) noexcept { return left <=> right; }

tree::Shape shape_for_reading(const CatalogueRow& row) noexcept {
  const bool bytewise = row.type.comparator == BytewiseOrder::id;
  tree::Shape shape = shape_of(row, row.root, bytewise ? nullptr : &unknown_order);
  shape.order_known = bytewise;
  return shape;
}

Failure damaged_catalogue(const char* detail, std::uint64_t value = 0) noexcept {
  Failure failure = fail(ErrorCode::corrupt, detail, value);
  failure.error.place.table = catalogue_table_id;
  return failure;
}

Result<void> with_table(Result<void> outcome, std::uint64_t table) noexcept {
  if (outcome.has_value()) return outcome;
  Failure failure = fail(outcome.error());
  failure.error.place.table = table;
  return failure;
}

}  // namespace

Reader::~Reader() {
  catalogue_.reset();
  if (pool_ != nullptr) pool_->stop_background();
}

Result<void> Reader::open() noexcept {
  buffer::PageSlot root;
  FIRN_TRY(decode_payload(segment_.store().payload(), root));
  if (!root.valid()) return {};
  const std::uint64_t segment_bytes = segment_.file().size();
  FIRN_TRY_ASSIGN(
      pool_, buffer::Pool::create(segment_.store(), pool_options(budget_bytes, segment_bytes)));
  tree::Tree::register_kinds(*pool_);
  FIRN_TRY(pool_->start_background(segment_.executor()));
  if (!pool_->known(root)) return damaged_catalogue("the catalogue's root is no page");
  catalogue_.emplace(*pool_, root);
  const auto load = [this]() noexcept {
    std::uint64_t next_id = 0;
    return catalogue_->load(next_id, [this](CatalogueRow& row) noexcept -> Result<void> {
      if (!pool_->known(row.root)) {
        return damaged_catalogue("the root of table {} is no page", row.id);
      }
      return base::guard_allocation([&] { rows_.push_back(std::move(row)); });
    });
  };
  return with_table(segment_.on_fiber(load), catalogue_table_id);
}

const CatalogueRow* Reader::find(std::string_view name) const noexcept {
  for (const CatalogueRow& row : rows_) {
    if (row.state == RowState::live && row.name == name) return &row;
  }
  return nullptr;
}

Result<void> Reader::census_of_catalogue(tree::Census& census) noexcept {
  tree::Tree tree(*pool_, Catalogue::shape(catalogue_->root()));
  return with_table(segment_.on_fiber([&]() noexcept { return tree.census(census); }),
                    catalogue_table_id);
}

TableReader::TableReader(Reader& reader, const CatalogueRow& row) noexcept
    : reader_(reader), tree_(*reader.pool_, shape_for_reading(row)) {}

Result<void> TableReader::named(Result<void> outcome) const noexcept {
  return with_table(std::move(outcome), tree_.shape().table);
}

Result<bool> TableReader::lookup(Bytes key, Buffer& record) noexcept {
  if (!order_known()) {
    return fail(ErrorCode::unsupported, "the table's keys have a comparator of their own");
  }
  struct Found {
    Buffer& record;
    Result<void> copied;
  } found{record, {}};
  Progress progress = Progress::no;
  const tree::Sink sink{.take =
                            [](void* context, Bytes value) noexcept {
                              auto& its = *static_cast<Found*>(context);
                              its.record.clear();
                              its.copied = its.record.append(value);
                            },
                        .context = &found};
  FIRN_TRY(named(reader_.segment_.on_fiber([&]() noexcept -> Result<void> {
    Error error;
    progress = tree::on_fiber(*reader_.pool_, [&](tree::Caller& caller) noexcept {
      return tree_.lookup(caller, error, key, sink);
    });
    if (progress == Progress::failed) return fail(error);
    return found.copied;
  })));
  return progress == Progress::yes;
}

Result<bool> TableReader::move(tree::Target target, Bytes key) noexcept {
  if (!order_known()) {
    return fail(ErrorCode::unsupported, "the table's keys have a comparator of their own");
  }
  Progress progress = Progress::no;
  FIRN_TRY(named(reader_.segment_.on_fiber([&]() noexcept -> Result<void> {
    Error error;
    progress = tree::on_fiber(*reader_.pool_, [&](tree::Caller& caller) noexcept {
      return tree_.move(caller, error, position_, target, key, {key_, room_, record_});
    });
    if (progress == Progress::failed) return fail(error);
    return {};
  })));
  return progress == Progress::yes;
}

Result<void> TableReader::census(tree::Census& census) noexcept {
  return named(reader_.segment_.on_fiber([&]() noexcept { return tree_.census(census); }));
}

}  // namespace firn::domain
