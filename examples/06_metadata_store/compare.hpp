// Asks the store what it holds and compares each answer with the real file system.
#pragma once

#include <cstdint>
#include <string>

#include "index.hpp"
#include "store.hpp"

namespace mdfs {

/// Prints one line for each kind of answer. True when all are equal; otherwise the first difference
/// is printed. What changed since the index began is told by the file system's own time stamps, and
/// a difference there is counted but not held against the store.
[[nodiscard]] firn::Result<bool> compare(MetadataStore& store, const IndexReport& report,
                                         const std::string& root, bool cross_file_systems,
                                         std::uint64_t seed);

}  // namespace mdfs
