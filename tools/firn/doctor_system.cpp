// Kernel, processor, clock and resource limits.
#include <array>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <firn/bytes.hpp>

#include "doctor.hpp"

namespace firn::cli {
namespace {

std::string limit_text(rlim_t limit, bool bytes) {
  if (limit == RLIM_INFINITY) return "unlimited";
  return bytes ? size_text(limit) : std::to_string(limit);
}

std::string limits_text(const rlimit& limit, bool bytes) {
  return fmt::format("{}, hard limit {}", limit_text(limit.rlim_cur, bytes),
                     limit_text(limit.rlim_max, bytes));
}

// CAP_IPC_LOCK lifts RLIMIT_MEMLOCK. Its bit in CapEff of /proc/self/status is 14.
bool may_exceed_memlock() {
  std::ifstream status("/proc/self/status");
  unsigned long long effective = 0;
  for (std::string line; std::getline(status, line);) {
    if (std::sscanf(line.c_str(), "CapEff: %llx", &effective) == 1) break;
  }
  constexpr unsigned cap_ipc_lock = 14;
  return (effective >> cap_ipc_lock & 1) != 0;
}

void probe_memlock_limit(Findings& findings) {
  // Enough for the registered buffers of a few executors; the pinned arena wants its whole budget.
  using namespace firn::literals;
  constexpr rlim_t enough = 64_MiB;
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  Finding finding{.name = "memlock_limit", .found = limits_text(limit, true)};
  if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < enough) {
    finding.state = State::limited;
    if (may_exceed_memlock()) finding.found += ", lifted here by CAP_IPC_LOCK";
    finding.consequence =
        "a process without CAP_IPC_LOCK cannot pin more: no larger registered "
        "buffers, pinned arenas or RDMA regions";
    finding.advice =
        "ulimit -l unlimited; for good: memlock in /etc/security/limits.d, or "
        "LimitMEMLOCK=infinity in the unit";
  }
  findings.push_back(std::move(finding));
}

void probe_open_files_limit(Findings& findings) {
  constexpr rlim_t enough = 1024;  // segments, rings, and connections of a node
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  Finding finding{.name = "open_files_limit", .found = limits_text(limit, false)};
  if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < enough) {
    finding.state = State::limited;
    finding.consequence = "segments and connections end here";
    finding.advice = limit.rlim_max >= enough ? fmt::format("ulimit -n {}", enough)
                                              : "raise nofile in /etc/security/limits.d";
  }
  findings.push_back(std::move(finding));
}

}  // namespace

void probe_kernel(Findings& findings) {
  utsname name{};
  uname(&name);
  Finding finding{.name = "kernel",
                  .found = fmt::format("{} {} {}", name.sysname, name.release, name.machine)};
  int major = 0;
  int minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  if (std::pair(major, minor) < std::pair(6, 1)) {
    finding.state = State::limited;
    finding.consequence = "older than 6.1, the oldest kernel Firn is tested with";
    finding.advice = "use a kernel of 6.1 or later; the findings below say what works on this one";
  }
  findings.push_back(std::move(finding));
}

void probe_processor(Findings& findings) {
  Finding finding{.name = "processor"};
  const long count = sysconf(_SC_NPROCESSORS_ONLN);
  finding.found = fmt::format("{} online", count);
#if defined(__x86_64__)
  const bool checksum_fast = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
  const std::array<std::pair<const char*, bool>, 4> features{{
      {"SSE4.2", __builtin_cpu_supports("sse4.2")},
      {"PCLMUL", __builtin_cpu_supports("pclmul")},
      {"AVX2", __builtin_cpu_supports("avx2")},
      {"AVX-512F", __builtin_cpu_supports("avx512f")},
  }};
  for (const auto& [name, there] : features) {
    finding.found += fmt::format("; {} {}", there ? "has" : "lacks", name);
  }
  if (!checksum_fast) {
    finding.state = State::limited;
    finding.consequence = "checksums are computed from tables, several times slower";
    finding.advice = "in a virtual machine pass the host's processor through (-cpu host)";
  }
#endif
  findings.push_back(std::move(finding));
}

void probe_clock(Findings& findings) {
  const auto source =
      first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  Finding finding{.name = "clock", .found = source.value_or("unknown")};
  // These are read without a system call.
  constexpr std::array<std::string_view, 4> fast{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page",
                                                 "arch_sys_counter"};
  bool is_fast = false;
  for (const std::string_view name : fast) is_fast = is_fast || finding.found == name;
  if (!is_fast) {
    finding.state = State::limited;
    finding.consequence =
        "each reading of the clock may be a system call: timings and deadlines "
        "cost more";
    finding.advice =
        "see available_clocksource in /sys/devices/system/clocksource/clocksource0; "
        "prefer tsc";
  }
  findings.push_back(std::move(finding));
}

void probe_limits(Findings& findings) {
  probe_memlock_limit(findings);
  probe_open_files_limit(findings);
}

}  // namespace firn::cli
