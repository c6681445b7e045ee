// The memory limit that the control groups of this process impose.
#pragma once

#include <cstdint>
#include <optional>

namespace firn::cli {

/// The lowest limit on the way from this process's group to the root, version 1 or 2; nothing if no
/// group names one.
[[nodiscard]] std::optional<std::uint64_t> cgroup_memory_limit();

}  // namespace firn::cli
