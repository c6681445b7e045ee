// The names of the domains that this process has open, so that a second opener is refused. Any
// thread. A forked child begins with none: its parent's domains are not its own.
#pragma once

#include <firn/result.hpp>

namespace firn::detail {
class DomainCore;
}  // namespace firn::detail

namespace firn::domain {

/// Registers a domain under its type and path; an empty path is no name and never taken. `busy`:
/// another one is open under it. `no_memory`: nothing is registered.
[[nodiscard]] Result<void> take_name(detail::DomainCore& domain) noexcept;

/// Frees its name; a domain that was not registered is no harm. Before the domain is destroyed.
void free_name(detail::DomainCore& domain) noexcept;

}  // namespace firn::domain
