// How data reaches devices: io_uring, direct I/O, RDMA.
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.hpp"

namespace firn::cli {
namespace {

// Sets up a ring with `flags`, sends a no-operation through it and takes the ring down. Returns an
// errno. A filter may let the set-up pass and refuse what follows.
int try_ring(unsigned flags) {
  io_uring ring{};
  constexpr unsigned entry_count = 8;
  if (const int error = io_uring_queue_init(entry_count, &ring, flags); error < 0) return -error;
  int result = -EAGAIN;
  if (io_uring_sqe* entry = io_uring_get_sqe(&ring); entry != nullptr) {
    io_uring_prep_nop(entry);
    result = io_uring_submit_and_wait(&ring, 1);
  }
  io_uring_queue_exit(&ring);
  return result < 0 ? -result : 0;
}

// Who said no, as far as it can be told apart, and what helps.
void explain_refusal(Finding& finding, int error) {
  constexpr const char* setting = "/proc/sys/kernel/io_uring_disabled";
  const std::uint64_t disabled = first_number(setting).value_or(0);
  finding.found = "refused: " + errno_text(error);
  finding.consequence =
      "files are read and written by helper threads: more context switches, less "
      "depth";
  if (error == EPERM && disabled != 0) {
    finding.found += fmt::format("; kernel.io_uring_disabled = {}", disabled);
    finding.advice = disabled == 1 ? "join the group of kernel.io_uring_group, or: "
                                     "sysctl kernel.io_uring_disabled=0"
                                   : "sysctl kernel.io_uring_disabled=0";
  } else if (error == EPERM || error == EACCES) {
    finding.found += "; kernel.io_uring_disabled = 0, so a seccomp filter or security module";
    finding.advice =
        "allow io_uring_setup, io_uring_enter and io_uring_register in the "
        "container's seccomp profile";
  } else if (error == ENOSYS) {
    finding.found += "; the kernel lacks it, or a seccomp filter says so";
    finding.advice =
        "allow io_uring_setup in the container's seccomp profile, or use a kernel "
        "built with CONFIG_IO_URING";
  } else if (error == ENOMEM) {
    finding.advice = "raise the memlock limit or the memory limit";
  } else {
    finding.advice = "look for io_uring in the kernel's log (dmesg)";
  }
}

// An unnamed file in `directory`, or the errno negated. Never leaves a name behind.
int open_unnamed(const std::string& directory, int flags) {
  const int file =
      open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, S_IRUSR | S_IWUSR);
  if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)) {
    return file >= 0 ? file : -errno;
  }
  std::string name = directory + "/.firn-doctor-XXXXXX";  // a file system without O_TMPFILE
  const int named = mkostemp(name.data(), O_CLOEXEC | flags);
  if (named < 0) return -errno;
  unlink(name.c_str());
  return named;
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Writes one aligned block and reads it back. Returns an errno.
int try_block(int file) {
  constexpr std::size_t size_bytes = 4096;
  const std::unique_ptr<void, Free> written(std::aligned_alloc(size_bytes, size_bytes));
  const std::unique_ptr<void, Free> read(std::aligned_alloc(size_bytes, size_bytes));
  if (written == nullptr || read == nullptr) return ENOMEM;
  std::memset(written.get(), 0xa5, size_bytes);
  std::memset(read.get(), 0, size_bytes);
  for (const bool writing : {true, false}) {
    const ssize_t size = writing ? pwrite(file, written.get(), size_bytes, 0)
                                 : pread(file, read.get(), size_bytes, 0);
    if (size < 0) return errno;
    if (static_cast<std::size_t>(size) != size_bytes) return writing ? ENOSPC : EIO;
  }
  return std::memcmp(written.get(), read.get(), size_bytes) == 0 ? 0 : EIO;
}

}  // namespace

void probe_io_uring(Findings& findings) {
  struct Level {
    unsigned flags;
    const char* text;
  };
  // The best first; an older kernel answers EINVAL to flags it does not know.
  constexpr std::array levels{
      Level{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
            "a ring works, with SINGLE_ISSUER and DEFER_TASKRUN"},
      Level{IORING_SETUP_SINGLE_ISSUER, "a ring works, with SINGLE_ISSUER only"},
      Level{0, "a ring works, without SINGLE_ISSUER and DEFER_TASKRUN"},
  };
  Finding finding{.name = "io_uring"};
  int error = 0;
  for (const Level& level : levels) {
    error = try_ring(level.flags);
    if (error == EINVAL) continue;
    if (error == 0) {
      finding.found = level.text;
      if (&level != levels.data()) {
        finding.state = State::limited;
        finding.consequence = "completions interrupt the executor: somewhat slower";
        finding.advice = "use a kernel of 6.1 or later";
      }
    }
    break;
  }
  if (error != 0) {
    finding.state = State::missing;
    explain_refusal(finding, error);
  }
  findings.push_back(std::move(finding));
}

void probe_direct_io(Findings& findings, const std::string& directory) {
  Finding finding{.name = "direct_io"};
  int file = open_unnamed(directory, O_DIRECT);
  const bool direct = file >= 0;
  if (file == -EINVAL) file = open_unnamed(directory, 0);
  const int error = file >= 0 ? try_block(file) : -file;
  if (file >= 0) close(file);

  if (error != 0) {
    finding.state = State::missing;
    finding.found = "no block could be written and read back: " + errno_text(error);
    finding.consequence = "no data files can lie in this directory";
    finding.advice = "choose another: firn doctor DIR";
  } else if (direct) {
    finding.found = "a block of 4 KiB was written and read back with O_DIRECT";
  } else {
    finding.state = State::limited;
    finding.found = "the file system refuses O_DIRECT";
    finding.consequence = "files are buffered and synced: pages are in memory twice";
    finding.advice = "keep data files on ext4, XFS, Btrfs or a block device: firn doctor DIR";
  }
  findings.push_back(std::move(finding));
}

void probe_rdma(Findings& findings) {
  Finding finding{.name = "rdma", .state = State::missing};
  std::size_t active_count = 0;
  std::error_code error;
  for (const auto& device : std::filesystem::directory_iterator("/sys/class/infiniband", error)) {
    const std::string state =
        first_line(device.path().string() + "/ports/1/state").value_or("port state unknown");
    if (state.find("ACTIVE") != std::string::npos) ++active_count;
    finding.found += fmt::format("{}{} ({})", finding.found.empty() ? "" : ", ",
                                 device.path().filename().string(), state);
  }
  if (finding.found.empty()) {
    finding.found = "no device in /sys/class/infiniband";
    finding.consequence = "remote segments are reached over TCP";
    finding.advice =
        "nothing, if none is wanted; to try: modprobe rdma_rxe && "
        "rdma link add rxe0 type rxe netdev eth0";
  } else if (active_count == 0) {
    finding.state = State::limited;
    finding.consequence = "no first port is active: remote segments are reached over TCP";
    finding.advice = "bring the link up: rdma link show";
  } else if (access("/dev/infiniband/rdma_cm", R_OK | W_OK) != 0) {
    finding.state = State::limited;
    finding.found += "; /dev/infiniband/rdma_cm: " + errno_text(errno);
    finding.consequence = "this user cannot open connections: remote segments are reached over TCP";
    finding.advice = "modprobe rdma_ucm; give the user access to /dev/infiniband";
  } else {
    finding.state = State::ok;
  }
  findings.push_back(std::move(finding));
}

}  // namespace firn::cli
