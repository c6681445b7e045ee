// Memory: how much there is, how far address space reaches, and how single pages can be given back.
#include <cerrno>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <firn/bytes.hpp>

#include "doctor.hpp"
#include "doctor_cgroup.hpp"

namespace firn::cli {
namespace {

using namespace firn::literals;

// A private anonymous mapping that goes away with its scope.
class Mapping {
 public:
  Mapping(std::size_t size_bytes, int flags)
      : data_(mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags,
                   -1, 0)),
        size_bytes_(size_bytes) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (exists()) munmap(data_, size_bytes_);
  }
  [[nodiscard]] bool exists() const { return data_ != MAP_FAILED; }
  [[nodiscard]] void* data() const { return data_; }

 private:
  void* data_;
  std::size_t size_bytes_;
};

std::size_t page_size_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

// Gives back one touched page of this process through a pidfd. Returns an errno, or 0 if the page
// reads as zero afterwards.
int try_process_madvise() {
  const Mapping page(page_size_bytes(), 0);
  if (!page.exists()) return errno;
  const auto self = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  if (self < 0) return errno;
  auto* first = static_cast<volatile char*>(page.data());
  *first = 1;
  const iovec range{.iov_base = page.data(), .iov_len = page_size_bytes()};
  const long given_back = syscall(SYS_process_madvise, self, &range, 1, MADV_DONTNEED, 0);
  const int error = given_back < 0 ? errno : 0;
  close(self);
  if (error != 0) return error;
  return *first == 0 ? 0 : EIO;
}

// Installs a guard on one page. The kernel, asked to read that page, must answer EFAULT: so no
// signal is risked here. Returns an errno.
int try_guard() {
  constexpr int madv_guard_install = 102;
  const Mapping page(page_size_bytes(), 0);
  if (!page.exists()) return errno;
  if (madvise(page.data(), page_size_bytes(), madv_guard_install) != 0) return errno;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  const ssize_t size = write(ends[1], page.data(), 1);
  const int answer = errno;
  close(ends[0]);
  close(ends[1]);
  return size < 0 && answer == EFAULT ? 0 : EIO;
}

void probe_overcommit(Findings& findings) {
  const auto mode = first_number("/proc/sys/vm/overcommit_memory");
  Finding finding{.name = "overcommit"};
  if (!mode) {
    finding.found = "unknown";
  } else if (*mode == 2) {
    finding.state = State::limited;
    finding.found = "vm.overcommit_memory = 2 (strict)";
    finding.consequence = "large reservations are refused: the buffer pool is a pinned arena";
    finding.advice = "sysctl vm.overcommit_memory=0";
  } else {
    finding.found =
        fmt::format("vm.overcommit_memory = {} ({})", *mode, *mode == 0 ? "heuristic" : "always");
  }
  findings.push_back(std::move(finding));
}

void probe_exmap(Findings& findings) {
  Finding finding{.name = "exmap", .state = State::missing};
  const int device = open("/dev/exmap", O_RDWR | O_CLOEXEC);
  if (device >= 0) {
    close(device);
    finding.state = State::ok;
    finding.found = "/dev/exmap can be opened";
  } else {
    finding.found = "/dev/exmap: " + errno_text(errno);
    finding.consequence = "pages are mapped and given back by ordinary system calls";
    finding.advice = errno == ENOENT ? "nothing, if it is not wanted; the module is not part of "
                                       "Debian and builds for kernels 6.0 to 6.8"
                                     : "give this user access to /dev/exmap";
  }
  findings.push_back(std::move(finding));
}

}  // namespace

void probe_memory(Findings& findings) {
  const auto page = static_cast<std::uint64_t>(page_size_bytes());
  const std::uint64_t total = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * page;
  const std::uint64_t free = static_cast<std::uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * page;
  findings.push_back(Finding{
      .name = "memory", .found = fmt::format("{}, {} free", size_text(total), size_text(free))});

  Finding finding{.name = "memory_limit", .found = "none below the memory of the machine"};
  if (const auto limit = cgroup_memory_limit(); limit && *limit < total) {
    finding.state = State::limited;
    finding.found = size_text(*limit) + " for this control group";
    finding.consequence = "a larger budget gets the process killed, not an error";
    finding.advice = fmt::format("keep the memory budget below {}, or raise the group's limit",
                                 size_text(*limit / 4 * 3));
  }
  findings.push_back(std::move(finding));
}

void probe_reservation(Findings& findings) {
  probe_overcommit(findings);
  constexpr std::uint64_t wanted = 64_TiB;
  constexpr std::uint64_t least = 1_GiB;
  std::uint64_t size = wanted;
  int refusal = 0;
  for (; size >= least; size /= 2) {
    if (Mapping(size, MAP_NORESERVE).exists()) break;
    if (refusal == 0) refusal = errno;
  }
  Finding finding{.name = "reservation"};
  if (size == wanted) {
    finding.found = size_text(size) + " of address space can be reserved";
  } else {
    finding.state = size >= least ? State::limited : State::missing;
    finding.found = fmt::format("{} of address space, {} was refused: {}",
                                size >= least ? size_text(size) : "less than " + size_text(least),
                                size_text(wanted), errno_text(refusal));
    finding.consequence = size >= least ? "the pages of all open segments must fit into that"
                                        : "the buffer pool is a pinned arena";
    finding.advice = "ulimit -v unlimited; sysctl vm.overcommit_memory=0";
  }
  findings.push_back(std::move(finding));
}

void probe_page_release(Findings& findings) {
  Finding release{.name = "process_madvise"};
  if (const int error = try_process_madvise(); error == 0) {
    release.found = "gives back many pages of this process in one call";
  } else {
    release.state = State::missing;
    release.found = "MADV_DONTNEED on this process: " + errno_text(error);
    release.consequence = "evicted pages are given back one call each: three to five times slower";
    release.advice = error == EPERM || error == ENOSYS
                         ? "allow pidfd_open and process_madvise in the container's seccomp profile"
                         : "use a newer kernel (6.18 takes it, 6.1 does not)";
  }
  findings.push_back(std::move(release));

  Finding guard{.name = "guard_pages"};
  if (const int error = try_guard(); error == 0) {
    guard.found = "MADV_GUARD_INSTALL works";
  } else {
    guard.state = State::missing;
    guard.found = "MADV_GUARD_INSTALL: " + errno_text(error);
    guard.consequence = "a stray read of an evicted page sees zeroes instead of a fault";
    guard.advice = "nothing for production; tests of the fault handler need Linux 6.13 or later";
  }
  findings.push_back(std::move(guard));
  probe_exmap(findings);
}

void probe_huge_pages(Findings& findings) {
  const std::string directory = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
  const auto free = first_number(directory + "free_hugepages");
  const auto total = first_number(directory + "nr_hugepages");
  Finding reserved{.name = "huge_pages"};
  reserved.found =
      fmt::format("{} of {} reserved pages of 2 MiB are free", free.value_or(0), total.value_or(0));
  if (free.value_or(0) == 0) {
    reserved.state = State::missing;
    reserved.consequence = "pinned arenas use small pages: more misses in the address cache";
    reserved.advice = "sysctl vm.nr_hugepages=512 reserves 1 GiB";
  }
  findings.push_back(std::move(reserved));

  const auto mode = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  Finding transparent{.name = "transparent_huge_pages",
                      .found = mode.value_or("not in this kernel")};
  if (!mode || mode->find("[never]") != std::string::npos) {
    transparent.state = State::limited;
    transparent.consequence = "pinned arenas get no huge pages on their own";
    transparent.advice = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
  }
  findings.push_back(std::move(transparent));
}

void probe_numa(Findings& findings) {
  std::size_t node_count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/devices/system/node", error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("node") && name.size() > 4) ++node_count;
  }
  // A kernel without NUMA has no such directory, and one node.
  node_count = node_count == 0 ? 1 : node_count;
  findings.push_back(
      Finding{.name = "numa",
              .found = fmt::format("{} memory node{}", node_count, node_count == 1 ? "" : "s")});
}

}  // namespace firn::cli
