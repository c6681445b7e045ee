#include "segment/file_open.hpp"

#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "base/log.hpp"

namespace firn::segment {
namespace {

constexpr std::uint32_t smallest_block_bytes = 512;
constexpr std::uint32_t usual_block_bytes = 4096;
// Where the content of a device begins that somebody else may own: partition tables and the
// superblocks of file systems lie within it.
constexpr std::size_t content_probe_bytes = 1 << 20;
constexpr std::size_t name_bytes_max = 255;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  [[nodiscard]] int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct AlignedFree {
  void operator()(void* memory) const noexcept { std::free(memory); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedFree>;

AlignedBytes zeroed_bytes(std::size_t size) noexcept {
  AlignedBytes bytes(static_cast<std::byte*>(std::aligned_alloc(usual_block_bytes, size)));
  if (bytes != nullptr) std::memset(bytes.get(), 0, size);
  return bytes;
}

int open_at(int directory, const char* path, int flags, mode_t mode) noexcept {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_NO_SYMLINKS;
  long fd = 0;
  do {
    fd = ::syscall(SYS_openat2, directory, path, &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  // Kernels before 5.6, and filters that know no openat2: the last component at least.
  if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
    fd = ::openat(directory, path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
  }
  return static_cast<int>(fd);
}

/// A path as an open directory and a name in it.
struct Where {
  Descriptor directory;
  const char* name = nullptr;
};

class Opener {
 public:
  Opener(const char* path, const FileOptions& options) noexcept
      : path_(path),
        options_(options),
        calls_(options.calls != nullptr ? *options.calls : kernel_file_calls()) {}

  Result<OpenFile> create() noexcept;
  Result<OpenFile> open() noexcept;

 private:
  Result<void> find() noexcept;
  Result<void> open_existing() noexcept;
  Result<void> open_new() noexcept;
  [[nodiscard]] int open_direct_or_not(const char* path, int flags) noexcept;
  Result<void> check_owner(const struct stat& status) const noexcept;
  Result<void> lock() noexcept;
  Result<void> inspect() noexcept;
  Result<void> refuse_content() noexcept;
  Result<void> provision() noexcept;
  Result<void> publish() noexcept;
  OpenFile taken() noexcept;

  [[nodiscard]] Failure failed(int error, const char* detail) const noexcept {
    return fail_io(error, detail, options_.id);
  }
  [[nodiscard]] Failure refused(const char* detail, int error = 0) const noexcept {
    return fail_system(ErrorCode::invalid_argument, error, detail, place_in(options_.id));
  }

  const char* const path_;
  const FileOptions& options_;
  const FileCalls& calls_;
  Where where_;
  Descriptor fd_;
  OpenFile file_;
  bool unnamed_ = false;  // made by O_TMPFILE: gone with its descriptor unless published
  bool named_ = false;    // made under its name: taken away again if something fails
};

Result<void> Opener::find() noexcept {
  const char* const slash = std::strrchr(path_, '/');
  where_.name = slash == nullptr ? path_ : slash + 1;
  if (*where_.name == '\0' || std::strlen(where_.name) > name_bytes_max ||
      std::strcmp(where_.name, ".") == 0 || std::strcmp(where_.name, "..") == 0) {
    return refused("a segment's path ends with a file name");
  }
  std::array<char, PATH_MAX> parent{'.'};
  if (slash != nullptr) {
    const auto length = std::max<std::size_t>(static_cast<std::size_t>(slash - path_), 1);
    if (length >= parent.size()) return refused("the path of a segment is too long");
    std::memcpy(parent.data(), path_, length);
  }
  // The user's own path may lead through links; one below a domain's directory may not.
  constexpr int flags = O_RDONLY | O_DIRECTORY;
  const int fd = options_.directory == AT_FDCWD
                     ? ::open(parent.data(), flags | O_CLOEXEC)
                     : calls_.open_at(options_.directory, parent.data(), flags, 0);
  if (fd < 0) {
    return fail_system(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io_error, errno,
                       "the directory of a segment", place_in(options_.id));
  }
  where_.directory = Descriptor(fd);
  return {};
}

int Opener::open_direct_or_not(const char* path, int flags) noexcept {
  static base::LogPlace place;
  file_.direct = options_.direct;
  int fd = calls_.open_at(where_.directory.get(), path, flags | (options_.direct ? O_DIRECT : 0),
                          S_IRUSR | S_IWUSR);
  if (fd < 0 && errno == EINVAL && options_.direct) {
    file_.direct = false;
    fd = calls_.open_at(where_.directory.get(), path, flags, S_IRUSR | S_IWUSR);
    if (fd >= 0) {
      place.log(base::LogLevel::warning,
                "a segment's file system refuses O_DIRECT, its I/O goes through the page cache");
    }
  }
  return fd;
}

Result<void> Opener::check_owner(const struct stat& status) const noexcept {
  if (S_ISBLK(status.st_mode)) return {};
  if (!S_ISREG(status.st_mode)) return refused("not a regular file or block device");
  if (status.st_uid != ::geteuid()) return refused("the file belongs to another user");
  if (status.st_nlink > 1) return refused("the file has several names");
  return {};
}

Result<void> Opener::open_existing() noexcept {
  struct stat status {};
  // Before the opening, which could wake a device or wait for a pipe's other end.
  if (::fstatat(where_.directory.get(), where_.name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno != ENOENT) return failed(errno, "the segment's file");
    return fail_system(ErrorCode::not_found, errno, "the segment's file", place_in(options_.id));
  }
  FIRN_TRY(check_owner(status));
  const int access = options_.read_only ? O_RDONLY : O_RDWR;
  const int exclusive = S_ISBLK(status.st_mode) ? O_EXCL : 0;  // of a device: not mounted, not ours
  fd_ = Descriptor(open_direct_or_not(where_.name, access | exclusive));
  if (fd_.get() < 0) {
    if (errno == ELOOP) return refused("a symbolic link", errno);
    if (errno == EBUSY) {
      return fail_system(ErrorCode::busy, errno, "the device is mounted or in use",
                         place_in(options_.id));
    }
    return failed(errno, "open");
  }
  if (::fstat(fd_.get(), &status) != 0) return failed(errno, "fstat");
  FIRN_TRY(check_owner(status));
  file_.is_device = S_ISBLK(status.st_mode);
  FIRN_TRY(lock());
  // Who held the lock until now may have taken the file's name away: what is written to it is lost.
  if (::fstat(fd_.get(), &status) != 0) return failed(errno, "fstat");
  if (!file_.is_device && status.st_nlink == 0) {
    return fail_system(ErrorCode::not_found, ENOENT, "the segment's file", place_in(options_.id));
  }
  return inspect();
}

// Belongs to the open file description: closes with it, and conflicts with a second opening by the
// same process as well.
Result<void> Opener::lock() noexcept {
  struct flock range {};
  range.l_type = options_.read_only ? F_RDLCK : F_WRLCK;
  range.l_whence = SEEK_SET;
  if (::fcntl(fd_.get(), F_OFD_SETLK, &range) == 0) return {};
  if (errno != EAGAIN && errno != EACCES) return failed(errno, "the lock of the segment's file");
  struct stat status {};
  static_cast<void>(::fstat(fd_.get(), &status));
  return fail_locked(status.st_dev, status.st_ino, options_.id);
}

Result<void> Opener::inspect() noexcept {
  file_.block_bytes = smallest_block_bytes;
  if (file_.is_device) {
    file_.size_bytes = device_bytes(fd_.get());
    int logical = 0;
    if (file_.direct && ::ioctl(fd_.get(), BLKSSZGET, &logical) == 0 && logical > 0) {
      file_.block_bytes = static_cast<std::uint32_t>(logical);
    }
    return {};
  }
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) return failed(errno, "fstat");
  file_.size_bytes = static_cast<std::uint64_t>(status.st_size);
  if (!file_.direct) return {};
#ifdef STATX_DIOALIGN
  struct statx extended {};
  if (::statx(fd_.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &extended) == 0 &&
      (extended.stx_mask & STATX_DIOALIGN) != 0 && extended.stx_dio_offset_align != 0) {
    file_.block_bytes =
        std::max({smallest_block_bytes, extended.stx_dio_offset_align, extended.stx_dio_mem_align});
    return {};
  }
#endif
  // The kernel does not tell: does it take the smallest?
  const AlignedBytes bytes = zeroed_bytes(usual_block_bytes);
  if (bytes == nullptr) return fail(ErrorCode::no_memory, "no memory for a block");
  if (::pread(fd_.get(), bytes.get(), smallest_block_bytes, 0) < 0) {
    file_.block_bytes = usual_block_bytes;
  }
  return {};
}

Result<void> Opener::refuse_content() noexcept {
  bool found = file_.size_bytes > 0;
  if (file_.is_device) {
    const AlignedBytes bytes = zeroed_bytes(content_probe_bytes);
    if (bytes == nullptr) return fail(ErrorCode::no_memory, "no memory for a look at a device");
    const ssize_t size = ::pread(fd_.get(), bytes.get(), content_probe_bytes, 0);
    if (size < 0) return failed(errno, "pread");
    found = std::any_of(bytes.get(), bytes.get() + size,
                        [](std::byte byte) { return byte != std::byte{0}; });
  }
  if (!found) return {};
  return fail_system(ErrorCode::already_exists, 0, "there is something already",
                     place_in(options_.id));
}

// Unnamed until it is complete, so that a crash leaves no half-made segment.
Result<void> Opener::open_new() noexcept {
  fd_ = Descriptor(open_direct_or_not(".", O_RDWR | O_TMPFILE));
  unnamed_ = fd_.get() >= 0;
  if (fd_.get() < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
    fd_ = Descriptor(open_direct_or_not(where_.name, O_RDWR | O_CREAT | O_EXCL));
    named_ = fd_.get() >= 0;
  }
  if (fd_.get() < 0) {
    if (errno == EEXIST) {
      return fail_system(ErrorCode::already_exists, errno, "open", place_in(options_.id));
    }
    return failed(errno, "a new segment's file");
  }
  if (::fchmod(fd_.get(), S_IRUSR | S_IWUSR) != 0) return failed(errno, "fchmod");
  FIRN_TRY(lock());
  return inspect();
}

Result<void> Opener::provision() noexcept {
  if (options_.size_bytes % file_.block_bytes != 0 ||
      options_.size_bytes > segment_size_bytes_max) {
    Failure failure = refused("a segment's size is a multiple of {} bytes and below 2^60");
    failure.error.value = file_.block_bytes;
    return failure;
  }
  if (file_.is_device) {
    if (options_.size_bytes > file_.size_bytes) return failed(ENOSPC, "the device is smaller");
    if (options_.size_bytes != 0) file_.size_bytes = options_.size_bytes;
    // Zeroes, as in a new file; devices do that by themselves, or the kernel writes them.
    if (::fallocate(fd_.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
                    static_cast<off_t>(file_.size_bytes)) != 0) {
      return failed(errno, "zeroing the device");
    }
  } else {
    int error = 0;
    if (::ftruncate(fd_.get(), 0) != 0) return failed(errno, "ftruncate");
    if (options_.preallocate) {
      error = preallocate_file(calls_, fd_.get(), 0, options_.size_bytes);
    } else if (::ftruncate(fd_.get(), static_cast<off_t>(options_.size_bytes)) != 0) {
      error = errno;
    }
    if (error != 0) return failed(error, "the space of a new segment");
    file_.size_bytes = options_.size_bytes;
  }
  if (::fsync(fd_.get()) != 0) return failed(errno, "fsync");
  return {};
}

Result<void> Opener::publish() noexcept {
  if (unnamed_) {
    std::array<char, 64> own{};
    std::snprintf(own.data(), own.size(), "/proc/self/fd/%d", fd_.get());
    if (::linkat(AT_FDCWD, own.data(), where_.directory.get(), where_.name, AT_SYMLINK_FOLLOW) !=
        0) {
      if (errno == EEXIST) {
        return fail_system(ErrorCode::already_exists, errno, "linkat", place_in(options_.id));
      }
      return failed(errno, "naming a new segment's file");
    }
    named_ = true;
  }
  // A file whose name a power cut may take away is not there.
  if (::fsync(where_.directory.get()) != 0) return failed(errno, "fsync of the directory");
  return {};
}

OpenFile Opener::taken() noexcept {
  file_.fd = fd_.release();
  return file_;
}

Result<OpenFile> Opener::create() noexcept {
  FIRN_ASSERT(!options_.read_only);
  FIRN_TRY(find());
  const auto make = [this]() noexcept -> Result<void> {
    const Result<void> opened = open_existing();
    if (opened.has_value()) {
      if (!options_.force) FIRN_TRY(refuse_content());
      // An empty file may have been made with any rights.
      if (!file_.is_device && ::fchmod(fd_.get(), S_IRUSR | S_IWUSR) != 0) {
        return failed(errno, "fchmod");
      }
    } else if (opened.error().code == ErrorCode::not_found) {
      FIRN_TRY(open_new());
    } else {
      return opened;
    }
    FIRN_TRY(provision());
    return publish();
  };
  const Result<void> made = make();
  if (!made.has_value()) {
    if (named_) static_cast<void>(::unlinkat(where_.directory.get(), where_.name, 0));
    return fail(made.error());
  }
  return taken();
}

Result<OpenFile> Opener::open() noexcept {
  FIRN_TRY(find());
  FIRN_TRY(open_existing());
  // A last block that was cut off was never synced.
  file_.size_bytes -= file_.size_bytes % file_.block_bytes;
  return taken();
}

}  // namespace

const FileCalls& kernel_file_calls() noexcept {
  static constexpr FileCalls calls{&open_at, &::fallocate};
  return calls;
}

Result<OpenFile> create_file(const char* path, const FileOptions& options) noexcept {
  return Opener(path, options).create();
}
Result<OpenFile> open_file(const char* path, const FileOptions& options) noexcept {
  return Opener(path, options).open();
}

std::uint64_t device_bytes(int fd) noexcept {
  std::uint64_t bytes = 0;
  return ::ioctl(fd, BLKGETSIZE64, &bytes) == 0 ? bytes : 0;
}

int preallocate_file(const FileCalls& calls, int fd, std::uint64_t from,
                     std::uint64_t to) noexcept {
  if (to == from) return 0;
  int error = 0;
  do {
    const int result =
        calls.fallocate(fd, 0, static_cast<off_t>(from), static_cast<off_t>(to - from));
    error = result == 0 ? 0 : errno;
  } while (error == EINTR);
  if (error == EOPNOTSUPP) {
    // A file system that cannot reserve takes space by writing.
    const std::size_t piece = content_probe_bytes;
    const AlignedBytes bytes = zeroed_bytes(piece);
    error = bytes == nullptr ? ENOMEM : 0;
    for (std::uint64_t offset = from; error == 0 && offset < to;) {
      const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(piece, to - offset));
      const ssize_t written = ::pwrite(fd, bytes.get(), length, static_cast<off_t>(offset));
      if (written <= 0 && errno != EINTR) error = written < 0 ? errno : EIO;
      if (written > 0) offset += static_cast<std::uint64_t>(written);
    }
  }
  // What was taken in part is given back.
  if (error != 0) [[maybe_unused]]
    const int cut = ::ftruncate(fd, static_cast<off_t>(from));
  return error;
}

}  // namespace firn::segment
