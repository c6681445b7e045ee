// Tables opened by those who do not know their types: tools. Handles of typed tables are checked
// against the catalogue; these are not, and whoever writes by them keeps to the type's encoding.
#pragma once

#include <cstdint>

#include <firn/domain.hpp>

#include "domain/core.hpp"

namespace firn::domain {

/// A handle whose keys and records are the encoded ones. `not_found`; `invalid_state` where keys
/// have a comparator of their own.
[[nodiscard]] inline Result<Table<BytesType>> open_untyped(Domain& domain,
                                                           std::uint64_t table) noexcept {
  struct Step {
    detail::DomainCore* domain;
    std::uint64_t table;
    detail::Reference<detail::TableCore> core = {};
    detail::Progress operator()(OperationBase& operation, Error& error) noexcept {
      detail::BorrowedTable found;
      const detail::Progress progress = domain->find_table(operation, error, table, found);
      if (progress == detail::Progress::no) {
        return detail::fail_with(error, fail(ErrorCode::not_found, "no table {}", table));
      }
      if (progress == detail::Progress::yes) {
        core = detail::Reference<detail::TableCore>::share(*found.get());
      }
      return progress;
    }
  };
  struct Take {
    Result<Table<BytesType>> operator()(Step& step) noexcept {
      return Table<BytesType>(std::move(step.core));
    }
  };
  DomainOperation<Table<BytesType>, Step, Take> operation(Step{domain.core(), table}, Take{});
  return operation.wait();
}

}  // namespace firn::domain
