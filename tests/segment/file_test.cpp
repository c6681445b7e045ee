// Segments in local files: who may open them, what space they take, what a full or failing device
// does to them.
#include "segment/file.hpp"

#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <sched.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <string>

#include "base/log.hpp"
#include "segment/support.hpp"
#include "support/dies.hpp"
#include "support/scratch.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using segment::FileBackend;
using segment::FileOptions;

constexpr std::uint64_t mib = 1 << 20;

FileOptions sized(std::uint64_t size) {
  FileOptions options;
  options.id = 7;
  options.size_bytes = size;
  return options;
}

Result<std::unique_ptr<FileBackend>> create(const std::string& path, const FileOptions& options) {
  return FileBackend::create(path.c_str(), options);
}
Result<std::unique_ptr<FileBackend>> open(const std::string& path,
                                          const FileOptions& options = sized(0)) {
  return FileBackend::open(path.c_str(), options);
}

struct stat status_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status;
}
// What `du` counts.
std::uint64_t disk_usage(const std::string& path) {
  return static_cast<std::uint64_t>(status_of(path).st_blocks) * 512;
}

void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

// The exit status of a child, or 1000 if it crashed. What it does stays its own: limits, mounts.
constexpr int crashed = 1000;
constexpr int not_here = 77;
int in_child(const std::function<int()>& work) {
  const int status = status_of_child([&] { ::_exit(work()); });
  return WIFEXITED(status) ? WEXITSTATUS(status) : crashed;
}

// A child whose root sees a small tmpfs at `directory`.
bool mount_small(const std::string& directory) {
  if (::unshare(CLONE_NEWNS) != 0) return false;
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return ::mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=1m") == 0;
}

}  // namespace

TEST_CASE("file segment: keeps its bytes from one opening to the next", "[segment-local]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  const auto executor = make_executor();
  const Buffer buffer(64 * 4096);
  buffer.fill(0x21);
  {
    auto file = create(path, sized(mib));
    REQUIRE(file.has_value());
    REQUIRE((*file)->capabilities().direct);
    REQUIRE_FALSE((*file)->capabilities().is_volatile);
    REQUIRE(write_bytes(**file, *executor, mib / 2, buffer));
    REQUIRE(sync(**file, *executor));
    REQUIRE(grow(**file, *executor, 2 * mib));
    // Only its user may read it.
    REQUIRE((status_of(path).st_mode & 07777) == 0600);
  }
  auto file = open(path);
  REQUIRE(file.has_value());
  REQUIRE((*file)->size() == 2 * mib);
  buffer.fill(0);
  REQUIRE(read_bytes(**file, *executor, mib / 2, buffer));
  REQUIRE(buffer.holds(0x21));
}

TEST_CASE("file segment: foreign content is already_exists unless forced", "[segment-local]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  put(path, "somebody's thesis");
  const auto refused = create(path, sized(mib));
  REQUIRE(code_of(refused) == code_of(ErrorCode::already_exists));
  REQUIRE(refused.error().place.segment == 7);
  REQUIRE(status_of(path).st_size == 17);
  FileOptions forced = sized(mib);
  forced.force = true;
  {
    const auto executor = make_executor();
    const auto file = create(path, forced);
    REQUIRE(file.has_value());
    const Buffer buffer(4096);
    REQUIRE(read_bytes(**file, *executor, 0, buffer));
    REQUIRE(buffer.holds(0));
  }
  REQUIRE(code_of(create(path, sized(mib))) == code_of(ErrorCode::already_exists));
  // An empty file is nobody's content.
  const std::string empty = scratch.file("empty");
  put(empty, "");
  REQUIRE(create(empty, sized(mib)).has_value());
  REQUIRE(code_of(open(scratch.file("none"))) == code_of(ErrorCode::not_found));
  REQUIRE(code_of(create(scratch.file("none/disk"), sized(mib))) == code_of(ErrorCode::not_found));
}

TEST_CASE("file segment: what is not a regular file or not owned is invalid", "[segment-local]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  FileOptions options = sized(mib);
  const auto both_refuse = [&](const std::string& name) {
    for (const bool force : {false, true}) {
      options.force = force;
      REQUIRE(code_of(create(name, options)) == code_of(ErrorCode::invalid_argument));
      REQUIRE(code_of(open(name)) == code_of(ErrorCode::invalid_argument));
    }
  };
  both_refuse(scratch.path() / "");    // no name
  both_refuse(scratch.path() / "..");  // a directory
  both_refuse("/dev/null");            // a character device
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  both_refuse(path);
  REQUIRE(::unlink(path.c_str()) == 0);

  const std::string target = scratch.file("target");
  put(target, "target");
  REQUIRE(::symlink(target.c_str(), path.c_str()) == 0);
  both_refuse(path);
  REQUIRE(::unlink(path.c_str()) == 0);
  REQUIRE(::link(target.c_str(), path.c_str()) == 0);
  both_refuse(path);
  REQUIRE(::unlink(path.c_str()) == 0);
  REQUIRE(status_of(target).st_size == 6);

  if (::geteuid() == 0) {
    put(path, "");
    REQUIRE(::chown(path.c_str(), 12345, 12345) == 0);
    both_refuse(path);
  }
  options.force = false;
  options.size_bytes = mib + 1;
  REQUIRE(code_of(create(scratch.file("odd"), options)) == code_of(ErrorCode::invalid_argument));
  REQUIRE(::access(scratch.file("odd").c_str(), F_OK) != 0);
}

TEST_CASE("file segment: below a domain's directory no link is followed", "[segment-local]") {
  const Scratch scratch;
  const Scratch elsewhere;
  const int directory = ::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  REQUIRE(directory >= 0);
  FileOptions options = sized(mib);
  options.directory = directory;
  REQUIRE(FileBackend::create("disk.seg", options).has_value());
  REQUIRE(static_cast<std::uint64_t>(status_of(scratch.file("disk.seg")).st_size) == mib);
  REQUIRE(::symlink(elsewhere.path().c_str(), scratch.file("way").c_str()) == 0);
  REQUIRE_FALSE(FileBackend::create("way/disk.seg", options).has_value());
  REQUIRE(::access(elsewhere.file("disk.seg").c_str(), F_OK) != 0);
  ::close(directory);
}

TEST_CASE("file segment: an empty file that others may read becomes its user's own",
          "[segment-local]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  put(path, "");
  REQUIRE(::chmod(path.c_str(), 0644) == 0);
  REQUIRE(create(path, sized(mib)).has_value());
  REQUIRE((status_of(path).st_mode & 07777) == 0600);
}

TEST_CASE("file segment: a file that loses its name while it is opened is not_found",
          "[segment-local]") {
  static const segment::FileCalls unlinking{
      [](int directory, const char* path, int flags, mode_t mode) {
        const int fd = segment::kernel_file_calls().open_at(directory, path, flags, mode);
        if (fd >= 0) ::unlinkat(directory, path, 0);
        return fd;
      },
      segment::kernel_file_calls().fallocate};
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  REQUIRE(create(path, sized(mib)).has_value());
  FileOptions options = sized(0);
  options.calls = &unlinking;
  REQUIRE(code_of(open(path, options)) == code_of(ErrorCode::not_found));
}

TEST_CASE("file segment: a second opener is busy and is told who the first is", "[segment-local]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  auto first = create(path, sized(mib));
  REQUIRE(first.has_value());
  FileOptions forced = sized(mib);
  forced.force = true;
  std::string program;
  std::getline(std::ifstream("/proc/self/comm"), program);
  const std::string owner = "process " + std::to_string(::getpid()) + " (" + program + ")";
  const auto is_told = [&](const auto& second) {
    return !second.has_value() && second.error().code == ErrorCode::busy &&
           second.error().message().find(owner) != std::string::npos;
  };
  // From this process and from another, and force does not help.
  REQUIRE(is_told(open(path)));
  REQUIRE(is_told(create(path, forced)));
  // The child inherits the descriptor, so both hold the lock; either is named.
  REQUIRE(in_child([&] {
            const auto second = open(path);
            return !second.has_value() && second.error().code == ErrorCode::busy ? 0 : 1;
          }) == 0);
  first->reset();
  REQUIRE(open(path).has_value());
}

TEST_CASE("file segment: opened for reading only it is read by several and written by nobody",
          "[segment-local]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  const auto executor = make_executor();
  const Buffer written(4096);
  {
    auto writer = create(path, sized(mib));
    REQUIRE(writer.has_value());
    written.fill(0x5a);
    REQUIRE(write_bytes(**writer, *executor, 0, written).has_value());
  }
  FileOptions options = sized(0);
  options.read_only = true;
  REQUIRE(::chmod(path.c_str(), S_IRUSR) == 0);
  {
    auto first = open(path, options);
    auto second = open(path, options);
    REQUIRE((first.has_value() && second.has_value()));
    REQUIRE(::chmod(path.c_str(), S_IRUSR | S_IWUSR) == 0);
    REQUIRE(code_of(open(path)) == code_of(ErrorCode::busy));
    const Buffer read(4096);
    REQUIRE(read_bytes(**second, *executor, 0, read).has_value());
    REQUIRE(read.holds(0x5a));
    written.fill(0x11);
    REQUIRE(code_of(write_bytes(**first, *executor, 0, written)) == code_of(ErrorCode::io_error));
    REQUIRE(code_of(grow(**first, *executor, 2 * mib)) == code_of(ErrorCode::io_error));
    REQUIRE(read_bytes(**first, *executor, 0, read).has_value());
    REQUIRE(read.holds(0x5a));
    REQUIRE(status_of(path).st_size == mib);
  }
  const auto writer = open(path);
  REQUIRE(writer.has_value());
  REQUIRE(code_of(open(path, options)) == code_of(ErrorCode::busy));
}

TEST_CASE("file segment: where O_DIRECT is refused the I/O is buffered and one notice says so",
          "[segment-local]") {
  // As tmpfs before Linux 6.6.
  static const segment::FileCalls no_direct{
      [](int directory, const char* path, int flags, mode_t mode) {
        if ((flags & O_DIRECT) != 0) {
          errno = EINVAL;
          return -1;
        }
        return segment::kernel_file_calls().open_at(directory, path, flags, mode);
      },
      segment::kernel_file_calls().fallocate};
  static int notice_count = 0;
  static std::string notice;
  const base::LogSink former =
      base::set_log_sink({[](void*, base::LogLevel, std::string_view line) noexcept {
                            ++notice_count;
                            notice = line;
                          },
                          nullptr});
  base::forget_log_limits();
  const Scratch scratch;
  FileOptions options = sized(mib);
  options.calls = &no_direct;
  const auto executor = make_executor();
  auto file = create(scratch.file("disk.seg"), options);
  REQUIRE(file.has_value());
  base::set_log_sink(former);
  // A refused io_uring has a notice of its own, and none comes before the first I/O.
  REQUIRE(notice_count == 1);
  REQUIRE(notice.find("refuses O_DIRECT") != std::string::npos);
  REQUIRE_FALSE((*file)->capabilities().direct);
  REQUIRE((*file)->capabilities().block_bytes == 512);
  const Buffer buffer(512);
  buffer.fill(0x7f);
  REQUIRE(write_bytes(**file, *executor, 512, buffer));
  REQUIRE(sync(**file, *executor));
  buffer.fill(0);
  REQUIRE(read_bytes(**file, *executor, 512, buffer));
  REQUIRE(buffer.holds(0x7f));
}

TEST_CASE("file segment: after a failed sync every later one is failed", "[segment-local]") {
  static std::atomic<bool> fails{false};
  static std::atomic<int> sync_count{0};
  static const runtime::IoCalls calls{runtime::kernel_io_calls().preadv,
                                      runtime::kernel_io_calls().pwritev,
                                      [](int fd) {
                                        ++sync_count;
                                        if (!fails) return ::fdatasync(fd);
                                        errno = EIO;
                                        return -1;
                                      },
                                      runtime::kernel_io_calls().fallocate};
  const Scratch scratch;
  const auto file = create(scratch.file("disk.seg"), sized(mib));
  REQUIRE(file.has_value());
  const auto executor =
      make_executor({.io_method = runtime::IoMethod::threads, .io_calls = &calls});
  REQUIRE(sync(**file, *executor));
  fails = true;
  // Of many at once none may succeed: they are covered by the same calls.
  std::deque<Counted> syncs;
  for (int count = 0; count < 20; ++count) {
    (*file)->submit(*executor, syncs.emplace_back(RequestKind::sync));
  }
  REQUIRE(run_until(*executor, [&] {
    return std::all_of(syncs.begin(), syncs.end(),
                       [](const Counted& each) { return each.done_count == 1; });
  }));
  for (const Counted& each : syncs) {
    REQUIRE(code_of(each.outcome) == code_of(ErrorCode::failed));
    REQUIRE(each.outcome.error().place.segment == 7);
  }
  REQUIRE(syncs.front().outcome.error().system_error == EIO);
  fails = false;
  const int former_count = sync_count;
  REQUIRE(code_of(sync(**file, *executor)) == code_of(ErrorCode::failed));
  REQUIRE(sync_count == former_count);
}

TEST_CASE("file segment: an error of the device names the segment and its errno",
          "[segment-local]") {
  static const runtime::IoCalls calls{[](int, const iovec*, int, off_t) -> ssize_t {
                                        errno = EIO;
                                        return -1;
                                      },
                                      [](int, const iovec*, int, off_t) -> ssize_t {
                                        errno = EDQUOT;
                                        return -1;
                                      },
                                      runtime::kernel_io_calls().fdatasync,
                                      [](int, int, off_t, off_t) {
                                        errno = EOPNOTSUPP;
                                        return -1;
                                      }};
  const Scratch scratch;
  const auto file = create(scratch.file("disk.seg"), sized(mib));
  const auto executor =
      make_executor({.io_method = runtime::IoMethod::threads, .io_calls = &calls});
  const Buffer buffer(4096);
  const Result<void> read = read_bytes(**file, *executor, 0, buffer);
  REQUIRE(code_of(read) == code_of(ErrorCode::io_error));
  REQUIRE(read.error().system_error == EIO);
  REQUIRE(read.error().place.segment == 7);
  REQUIRE(code_of(write_bytes(**file, *executor, 0, buffer)) == code_of(ErrorCode::no_space));
  // To discard is a hint.
  Counted discard(RequestKind::discard);
  discard.size = mib;
  REQUIRE(perform(**file, *executor, discard));
}

TEST_CASE("file segment: closing it while I/O is under way is a programmer's error",
          "[segment-local]") {
  REQUIRE(dies([] {
    const Scratch scratch;
    const auto executor = make_executor();
    auto file = create(scratch.file("disk.seg"), sized(mib));
    Counted request(RequestKind::sync);
    (*file)->submit(*executor, request);
    file->reset();
  }));
}

TEST_CASE("file segment: a block device is one after its foreign content was given up",
          "[segment-local]") {
  const Scratch scratch;
  const std::string image = scratch.file("image");
  put(image, std::string(8192, 'x'));
  REQUIRE(::truncate(image.c_str(), 16 * mib) == 0);
  // A loop device, which takes itself down with its last descriptor.
  const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  const int number = control < 0 ? -1 : ::ioctl(control, LOOP_CTL_GET_FREE);
  const std::string device = "/dev/loop" + std::to_string(number);
  const int loop = number < 0 ? -1 : ::open(device.c_str(), O_RDWR | O_CLOEXEC);
  const int backing = ::open(image.c_str(), O_RDWR | O_CLOEXEC);
  loop_config config{};
  config.fd = static_cast<std::uint32_t>(backing);
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  const bool attached = loop >= 0 && ::ioctl(loop, LOOP_CONFIGURE, &config) == 0;
  ::close(control);
  ::close(backing);
  if (!attached) {
    ::close(loop);
    WARN("no right to make a block device here");
    return;
  }
  {
    const auto executor = make_executor();
    FileOptions options = sized(0);  // all of it
    REQUIRE(code_of(create(device, options)) == code_of(ErrorCode::already_exists));
    options.force = true;
    const auto file = create(device, options);
    REQUIRE(file.has_value());
    REQUIRE((*file)->size() == 16 * mib);
    REQUIRE((*file)->capabilities().direct);
    REQUIRE(code_of(open(device)) == code_of(ErrorCode::busy));
    const Buffer buffer(mib);
    REQUIRE(read_bytes(**file, *executor, 0, buffer));
    REQUIRE(buffer.holds(0));
    buffer.fill(0x3c);
    REQUIRE(write_bytes(**file, *executor, 15 * mib, buffer));
    REQUIRE(sync(**file, *executor));
    REQUIRE(code_of(grow(**file, *executor, 17 * mib)) == code_of(ErrorCode::no_space));
    buffer.fill(0);
    REQUIRE(read_bytes(**file, *executor, 15 * mib, buffer));
    REQUIRE(buffer.holds(0x3c));
  }
  ::close(loop);
}

TEST_CASE("provisioning: a sparse segment of 1 TiB takes less than 16 MiB", "[provision]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  const auto executor = make_executor();
  const auto file = create(path, sized(std::uint64_t{1} << 40));
  REQUIRE(file.has_value());
  REQUIRE((*file)->size() == std::uint64_t{1} << 40);
  const Buffer buffer(mib);
  buffer.fill(1);
  REQUIRE(write_bytes(**file, *executor, (*file)->size() - mib, buffer));
  REQUIRE(write_bytes(**file, *executor, 0, buffer));
  REQUIRE(disk_usage(path) < 16 * mib);
  REQUIRE(disk_usage(path) >= 2 * mib);
  // What is discarded is given back.
  Counted discard(RequestKind::discard);
  discard.size = mib;
  REQUIRE(perform(**file, *executor, discard));
  REQUIRE(sync(**file, *executor));
  REQUIRE(disk_usage(path) < 2 * mib);
}

TEST_CASE("provisioning: a preallocated segment has all its space from the start and keeps it",
          "[provision]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  const auto executor = make_executor();
  FileOptions options = sized(64 * mib);
  options.preallocate = true;
  const auto file = create(path, options);
  REQUIRE(file.has_value());
  const auto takes = [&](std::uint64_t size) {
    return disk_usage(path) >= size && disk_usage(path) < size + mib;
  };
  REQUIRE(takes(64 * mib));
  REQUIRE(grow(**file, *executor, 96 * mib));
  REQUIRE(takes(96 * mib));
  Counted discard(RequestKind::discard);
  discard.size = 96 * mib;
  REQUIRE(perform(**file, *executor, discard));
  REQUIRE(takes(96 * mib));
}

TEST_CASE("provisioning: space that is not there is no_space at create and leaves nothing behind",
          "[provision]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  FileOptions options = sized(std::uint64_t{1} << 43);
  options.preallocate = true;
  REQUIRE(code_of(create(path, options)) == code_of(ErrorCode::no_space));
  REQUIRE(::access(path.c_str(), F_OK) != 0);
}

TEST_CASE("provisioning: a file system that cannot reserve is filled with zeroes", "[provision]") {
  static const segment::FileCalls no_fallocate{segment::kernel_file_calls().open_at,
                                               [](int, int, off_t, off_t) {
                                                 errno = EOPNOTSUPP;
                                                 return -1;
                                               }};
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  FileOptions options = sized(4 * mib);
  options.preallocate = true;
  options.calls = &no_fallocate;
  const auto file = create(path, options);
  REQUIRE(file.has_value());
  REQUIRE(disk_usage(path) >= 4 * mib);
}

TEST_CASE("growth: a full device is no_space and growing the device cures it", "[grow]") {
  const Scratch scratch;
  const std::string directory = scratch.path();
  const int status = in_child([&] {
    if (!mount_small(directory)) return not_here;
    const std::string path = directory + "/disk.seg";
    const auto executor = make_executor();
    FileOptions options = sized(4 * mib);
    FileOptions all = options;
    all.preallocate = true;
    if (code_of(create(path, all)) != code_of(ErrorCode::no_space)) return 1;
    auto file = create(path, options);
    if (!file.has_value()) return 2;
    const Buffer buffer(mib / 2);
    buffer.fill(0x66);
    if (!write_bytes(**file, *executor, 0, buffer)) return 3;
    const Result<void> full = write_bytes(**file, *executor, mib, Buffer(mib));
    if (code_of(full) != code_of(ErrorCode::no_space)) return 4;
    // What was there is there, and goes on being.
    buffer.fill(0);
    if (!read_bytes(**file, *executor, 0, buffer) || !buffer.holds(0x66)) return 5;
    if (::mount("none", directory.c_str(), nullptr, MS_REMOUNT, "size=8m") != 0) return 6;
    if (!write_bytes(**file, *executor, mib, Buffer(mib))) return 7;
    if (!sync(**file, *executor)) return 8;
    if (!grow(**file, *executor, 6 * mib)) return 9;
    return 0;
  });
  if (status == not_here) {
    WARN("no right to mount a small file system here");
    return;
  }
  REQUIRE(status == 0);
}

TEST_CASE("growth: a limit on file sizes is no_space after the part that fits", "[grow]") {
  const Scratch scratch;
  const std::string path = scratch.file("disk.seg");
  const int status = in_child([&] {
    const auto executor = make_executor();
    FileOptions options = sized(mib);
    auto file = create(path, options);
    if (!file.has_value()) return 1;
    static_cast<void>(std::signal(SIGXFSZ, SIG_IGN));
    const rlimit limit{2 * mib, 2 * mib};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    if (!grow(**file, *executor, 2 * mib)) return 3;
    if (code_of(grow(**file, *executor, 4 * mib)) != code_of(ErrorCode::no_space)) return 4;
    if ((*file)->size() != 2 * mib) return 5;
    if (!write_bytes(**file, *executor, mib, Buffer(mib))) return 6;
    return 0;
  });
  REQUIRE(status == 0);
}
