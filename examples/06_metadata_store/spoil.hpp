// Spoils one record of the store, to show that the comparison of `demo` finds it.
#pragma once

#include <cstdint>
#include <string_view>

#include "store.hpp"

namespace mdfs {

/// `what` is "mode", "time", "names", "name" (an entry is lost), "parent" or "body" (its reference
/// leads nowhere); of the entry that `seed` chooses. `invalid_argument` for any other word.
[[nodiscard]] firn::Result<void> spoil(MetadataStore& store, std::string_view what,
                                       std::uint64_t seed);

}  // namespace mdfs
