// What every domain type asks of its catalogue in the same way. Each function looks at the list of
// the domain's tables; its caller holds whatever guards that list, and it keeps nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "domain/core.hpp"

namespace firn::domain {

using namespace firn::detail;  // where the public headers name the cores

using Tables = std::span<TableCore* const>;

/// `unsupported`, with the capability's name.
[[nodiscard]] Failure lacking(Capability capability) noexcept;

/// Whether domains that offer `offered` have tables such as this at all: `unsupported` names the
/// capability of sacks, of order or of persistence that is missing; segments named where there
/// are none are `not_found`.
[[nodiscard]] Result<void> check_capabilities(Capability offered, const TypeDescription& type,
                                              const TableOptions& options) noexcept;

/// Whether a table of one may be opened as the other: same name, kind, codecs, comparator and major
/// version.
[[nodiscard]] bool same_type(const TypeDescription& left, const TypeDescription& right) noexcept;

/// Null: there is none.
[[nodiscard]] TableCore* find_by_name(Tables tables, std::string_view name) noexcept;
[[nodiscard]] TableCore* find_by_id(Tables tables, std::uint64_t id) noexcept;

/// `already_exists` if a table has the name.
[[nodiscard]] Result<void> check_free(Tables tables, std::string_view name) noexcept;

/// The table to be opened: `not_found`, or `wrong_type`.
[[nodiscard]] Result<TableCore*> find_to_open(Tables tables, std::string_view name,
                                              const TypeDescription& type) noexcept;

/// The ids, sorted, of the tables that references of a new table may point into: those that the
/// options name, or all of the types that its fields refer to. The new table itself, `own_name`
/// and `own_id`, is not in the list yet and counts all the same. `invalid_argument`: a table that
/// does not exist or is of no such type, or a type referred to without a table. Throws when there
/// is no memory.
[[nodiscard]] Result<std::vector<std::uint64_t>> resolve_references(Tables tables,
                                                                    const TypeDescription& type,
                                                                    const TableOptions& options,
                                                                    std::string_view own_name,
                                                                    std::uint64_t own_id);

/// Whether `table` may be destroyed with a handle that is given up for it: it is not yet, and,
/// unless forced, has no other handle or cursor (`busy`) and no other table declares references
/// into it (`busy`).
[[nodiscard]] Result<void> check_destroy(Tables tables, const TableCore& table,
                                         Force force) noexcept;

}  // namespace firn::domain
