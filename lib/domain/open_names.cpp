#include "domain/open_names.hpp"

#include <unistd.h>

#include "base/allocation.hpp"
#include "base/spin.hpp"
#include "domain/core.hpp"

namespace firn::domain {
namespace {

// A list through the domains themselves: the mutex is held for a few instructions each.
struct OpenNames {
  base::SpinLock mutex;
  detail::DomainCore* first = nullptr;
};

}  // namespace

Result<void> take_name(detail::DomainCore& domain) noexcept {
  OpenNames* names = nullptr;
  FIRN_TRY(base::guard_allocation([&] { names = &base::of_this_process<OpenNames>(); }));
  const base::SpinGuard guard(names->mutex);
  for (const auto* other = names->first; other != nullptr; other = other->next_open) {
    if (!domain.path().empty() && other->type() == domain.type() &&
        other->path() == domain.path()) {
      return fail(ErrorCode::busy, "process {} (this one) has the domain open",
                  static_cast<std::uint64_t>(::getpid()));
    }
  }
  domain.next_open = names->first;
  names->first = &domain;
  return {};
}

void free_name(detail::DomainCore& domain) noexcept {
  auto& names = base::of_this_process<OpenNames>();
  const base::SpinGuard guard(names.mutex);
  detail::DomainCore** slot = &names.first;
  while (*slot != nullptr && *slot != &domain) slot = &(*slot)->next_open;
  if (*slot != nullptr) *slot = domain.next_open;
}

}  // namespace firn::domain
