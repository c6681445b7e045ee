// What the catalogue keeps of a table, and how it is written: the value of the table's row, whose
// key is its number, 8 bytes, big-endian. Row 0 keeps the next number. Part of the format.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <firn/buffer.hpp>
#include <firn/options.hpp>
#include <firn/table_type.hpp>

#include "buffer/page_slot.hpp"
#include "store/store.hpp"

namespace firn::domain {

inline constexpr std::uint64_t catalogue_table_id = 1;
inline constexpr std::uint64_t first_table_id = 2;

enum class RowState : std::uint8_t {
  live = 1,
  destroyed = 2,  ///< its pages are still to be freed
};

struct CatalogueRow {
  std::uint64_t id = 0;
  RowState state = RowState::live;
  std::string name;
  TypeDescription type;  ///< `compare` is not kept: its id is
  Persistence persistence = Persistence::persistent;
  std::vector<std::uint64_t> references;
  Placement placement;
  std::uint8_t leaf_class = 1;
  std::uint32_t inline_max = 0;
  buffer::PageSlot root;
  buffer::PageSlot former_root;     ///< of a tree that is still to be freed; or invalid
  std::uint64_t pair_count = 0;     ///< as of the last checkpoint
  std::uint64_t address_limit = 1;  ///< of a sack: no number from here on was handed out
};

using RowKey = std::array<std::byte, 8>;
[[nodiscard]] RowKey key_of_row(std::uint64_t id) noexcept;

/// Appends to `out`; `no_memory`.
[[nodiscard]] Result<void> encode_row(const CatalogueRow& row, Buffer& out) noexcept;
/// Any bytes are safe. `corrupt` names the catalogue; `unsupported_format` for a newer row.
[[nodiscard]] Result<void> decode_row(Bytes key, Bytes value, CatalogueRow& out) noexcept;

/// Row 0.
[[nodiscard]] Result<void> encode_next_id(std::uint64_t next_id, Buffer& out) noexcept;
[[nodiscard]] Result<void> decode_next_id(Bytes value, std::uint64_t& next_id) noexcept;

/// What a checkpoint carries: where the catalogue's tree is. An invalid root: there is none yet.
[[nodiscard]] store::Payload encode_payload(buffer::PageSlot catalogue_root) noexcept;
[[nodiscard]] Result<void> decode_payload(const store::Payload& payload,
                                          buffer::PageSlot& catalogue_root) noexcept;

/// How a new table is laid out, by the hints of its type.
struct Layout {
  std::uint8_t leaf_class = 1;
  std::uint32_t inline_max = 0;  ///< 0: what the tree chooses
};
[[nodiscard]] Layout layout_for(const Hints& hints) noexcept;

}  // namespace firn::domain
