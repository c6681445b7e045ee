#include "domain/catalogue_rules.hpp"

#include <algorithm>
#include <string>
#include <tuple>
#include <type_traits>

#include "base/random.hpp"

namespace firn::domain {
namespace {

bool contains(const std::vector<std::uint64_t>& ids, std::uint64_t id) noexcept {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

bool names_segments(const Placement& placement) noexcept {
  return !placement.inner.empty() || !placement.leaves.empty() || !placement.values.empty();
}

// What must be equal for a table of one type to be opened as the other.
auto identity(const TypeDescription& type) noexcept {
  return std::tie(type.name, type.version.major, type.sack, type.key_schema, type.record_schema,
                  type.comparator);
}

}  // namespace

Failure lacking(Capability capability) noexcept {
  return fail(ErrorCode::unsupported, "this domain type lacks the capability '{s}'", 0,
              name_of(capability).data());
}

Result<void> check_capabilities(Capability offered, const TypeDescription& type,
                                const TableOptions& options) noexcept {
  if (type.sack && !includes(offered, Capability::sacks)) return lacking(Capability::sacks);
  if (type.hints.ordered && !includes(offered, Capability::ordered)) {
    return lacking(Capability::ordered);
  }
  if (options.persistence == Persistence::persistent &&
      !includes(offered, Capability::persistent)) {
    return fail(ErrorCode::unsupported,
                "this domain type lacks the capability '{s}': create the table volatile", 0,
                name_of(Capability::persistent).data());
  }
  if (names_segments(options.placement) && !includes(offered, Capability::segments)) {
    return fail(ErrorCode::not_found, "domains of this type have no segments to name");
  }
  return {};
}

bool same_type(const TypeDescription& left, const TypeDescription& right) noexcept {
  return identity(left) == identity(right);
}

TableCore* find_by_name(Tables tables, std::string_view name) noexcept {
  for (TableCore* table : tables) {
    if (table->name() == name) return table;
  }
  return nullptr;
}

TableCore* find_by_id(Tables tables, std::uint64_t id) noexcept {
  for (TableCore* table : tables) {
    if (table->id() == id) return table;
  }
  return nullptr;
}

Result<void> check_free(Tables tables, std::string_view name) noexcept {
  if (find_by_name(tables, name) == nullptr) return {};
  return fail(ErrorCode::already_exists, "a table of that name is there");
}

Result<TableCore*> find_to_open(Tables tables, std::string_view name,
                                const TypeDescription& type) noexcept {
  TableCore* table = find_by_name(tables, name);
  if (table == nullptr) return fail(ErrorCode::not_found, "no table of that name");
  if (!same_type(table->type(), type)) {
    return fail(ErrorCode::wrong_type,
                "name, kind, codec, comparator or major version differ from table {}", table->id());
  }
  return table;
}

Result<std::vector<std::uint64_t>> resolve_references(Tables tables, const TypeDescription& type,
                                                      const TableOptions& options,
                                                      std::string_view own_name,
                                                      std::uint64_t own_id) {
  std::vector<std::uint64_t> ids;
  const auto refers_to = [&type](std::string_view target) {
    return std::find(type.references.begin(), type.references.end(), target) !=
           type.references.end();
  };
  if (refers_to(type.name)) ids.push_back(own_id);  // named or not
  for (const std::string& name : options.references) {
    const TableCore* table = find_by_name(tables, name);
    const bool own = table == nullptr && name == own_name;
    if (table == nullptr && !own) {
      return fail(ErrorCode::invalid_argument, "a table named in 'references' does not exist");
    }
    const std::uint64_t id = own ? own_id : table->id();
    if (!refers_to(own ? type.name : table->type().name)) {
      return fail(ErrorCode::invalid_argument,
                  "table {}, named in 'references', is of no type that the fields refer to", id);
    }
    ids.push_back(id);
  }
  for (const std::string& target : type.references) {
    bool declared = target == type.name;
    for (const TableCore* table : tables) {
      if (table->type().name != target) continue;
      if (options.references.empty()) ids.push_back(table->id());
      declared = declared || contains(ids, table->id());
    }
    if (!declared) {
      return fail(ErrorCode::invalid_argument,
                  "the type has references into a table type that no declared table has");
    }
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Result<void> check_destroy(Tables tables, const TableCore& table, Force force) noexcept {
  if (table.destroyed.load(std::memory_order_relaxed)) {
    return fail(ErrorCode::invalid_state, "the table was destroyed");
  }
  if (force == Force::yes) return {};
  const std::uint32_t others = table.handle_count() - 1;
  if (others > 0) return fail(ErrorCode::busy, "{} other handles use the table", others);
  for (const TableCore* referrer : tables) {
    if (referrer != &table && contains(referrer->references(), table.id())) {
      return fail(ErrorCode::busy, "table {} declares references into it", referrer->id());
    }
  }
  return {};
}

}  // namespace firn::domain

namespace firn::detail {

std::uint64_t fingerprint(const TypeDescription& type) noexcept {
  std::uint64_t hash = 0x9e3779b97f4a7c15u;
  const auto mix = [&hash](std::uint64_t number) noexcept {
    hash = base::Random::mix(hash ^ number);
  };
  const auto add = [&mix](const auto& part) noexcept {
    if constexpr (std::is_integral_v<std::remove_cvref_t<decltype(part)>>) {
      mix(part);
    } else {
      for (const char letter : part) mix(static_cast<unsigned char>(letter));
      mix(part.size());
    }
  };
  std::apply([&add](const auto&... parts) noexcept { (add(parts), ...); }, domain::identity(type));
  return hash;
}

}  // namespace firn::detail
