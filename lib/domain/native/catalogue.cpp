#include "domain/native/catalogue.hpp"

#include <string_view>

namespace firn::domain {

Result<void> Catalogue::write_bytes(tree::Write kind, std::uint64_t id, Bytes value,
                                    const tree::Companions& companions) noexcept {
  if (value.size() > tree_.value_size_max()) {
    return fail(ErrorCode::too_large, "the schemas and names of a table have {} bytes",
                value.size());
  }
  const RowKey key = key_of_row(id);
  Error error;
  const auto step = [&](tree::Caller& caller) noexcept {
    int pairs = 0;
    return tree_.write(caller, error, kind, Bytes(key.data(), key.size()), value, pairs,
                       companions);
  };
  const Progress progress = tree::on_fiber(pool_, step, true);
  if (progress == Progress::failed) return fail(error);
  return {};
}

Result<void> Catalogue::write(const CatalogueRow& row,
                              const tree::Companions& companions) noexcept {
  Buffer value;
  FIRN_TRY(encode_row(row, value));
  return write_bytes(tree::Write::put, row.id, value.view(), companions);
}

Result<void> Catalogue::write_with_tree(CatalogueRow& row, const tree::Shape& shape) noexcept {
  struct Value {
    CatalogueRow& row;
    Buffer bytes;
  } value{row, {}};
  const buffer::PageSlot former = row.root;
  // Any id of a root's class: they have the same length in a row.
  row.root = buffer::PageSlot(tree::inner_class, 1);
  Result<void> written = encode_row(row, value.bytes);
  tree::NewTree joining{.shape = shape,
                        .value =
                            [](void* context, buffer::PageSlot root) noexcept {
                              auto& its = *static_cast<Value*>(context);
                              its.row.root = root;
                              its.bytes.clear();
                              const Result<void> encoded = encode_row(its.row, its.bytes);
                              FIRN_ASSERT(encoded.has_value());  // there is room
                              return its.bytes.view();
                            },
                        .context = &value};
  if (written.has_value()) {
    written = write_bytes(tree::Write::put, row.id, value.bytes.view(), {.joining = &joining});
  }
  if (!written.has_value()) row.root = former;
  return written;
}

Result<void> Catalogue::erase(std::uint64_t id, const tree::Companions& companions) noexcept {
  return write_bytes(tree::Write::erase, id, Bytes(), companions);
}

Result<void> Catalogue::write_next_id(std::uint64_t next_id,
                                      const tree::Companions& companions) noexcept {
  Buffer value;
  FIRN_TRY(encode_next_id(next_id, value));
  return write_bytes(tree::Write::put, 0, value.view(), companions);
}

Result<void> Catalogue::load(std::uint64_t& next_id, const Take& take) noexcept {
  next_id = 0;
  tree::Position position;
  tree::Target target = tree::Target::first;
  Buffer key;
  Buffer room;
  Bytes value;
  while (true) {
    Error error;
    const Progress progress = tree::on_fiber(pool_, [&](tree::Caller& caller) noexcept {
      return tree_.move(caller, error, position, target, key.view(), {key, room, value});
    });
    if (progress == Progress::failed) return fail(error);
    if (progress == Progress::no) return {};
    target = tree::Target::after;
    const RowKey first = key_of_row(0);
    if (key.view() == Bytes(first.data(), first.size())) {
      FIRN_TRY(decode_next_id(value, next_id));
      continue;
    }
    CatalogueRow row;
    FIRN_TRY(decode_row(key.view(), value, row));
    FIRN_TRY(take(row));
  }
}

}  // namespace firn::domain
