#include "doctor_cgroup.hpp"

#include <fstream>
#include <string>

#include "doctor.hpp"

namespace firn::cli {
namespace {

// The limit files of `group` and of all above it. In a container the path may be that of the host
// and not exist; the mount's root is then the container's own group, and is always looked at.
std::optional<std::uint64_t> lowest(const std::string& mount, std::string group,
                                    const std::string& file) {
  std::optional<std::uint64_t> limit;
  for (;;) {
    const auto here = first_number(mount + group + "/" + file);  // "max" is no number
    if (here && (!limit || *here < *limit)) limit = here;
    if (group.empty()) return limit;
    group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
}

}  // namespace

std::optional<std::uint64_t> cgroup_memory_limit() {
  std::optional<std::uint64_t> limit;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/path" or "0::/path"
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    std::optional<std::uint64_t> here;
    if (controllers.empty()) here = lowest("/sys/fs/cgroup", group, "memory.max");
    if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      here = lowest("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    }
    if (here && (!limit || *here < *limit)) limit = here;
  }
  return limit;
}

}  // namespace firn::cli
