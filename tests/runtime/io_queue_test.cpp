// The I/O queue itself, once on io_uring and once on helper threads; ctest runs it a second time
// where the kernel refuses io_uring.
#include "runtime/io_queue.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "base/sanitizer.hpp"
#include "segment/support.hpp"
#include "support/dies.hpp"
#include "support/scratch.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using runtime::IoKind;
using runtime::IoMethod;
using runtime::IoQueue;

constexpr std::size_t page = 4096;

struct CountedIo : runtime::IoRequest {
  int done_count = 0;
  iovec vector{};

  CountedIo(IoKind its_kind, int its_fd, std::byte* data = nullptr, std::size_t size = 0,
            std::uint64_t its_offset = 0) {
    kind = its_kind;
    fd = its_fd;
    offset = its_offset;
    vector = {data, size};
    vectors = &vector;
    vector_count = 1;
    done = [](runtime::IoRequest& request) noexcept {
      ++static_cast<CountedIo&>(request).done_count;
    };
  }
};

int open_new(const Scratch& scratch, int flags = 0) {
  const int fd = ::open(scratch.file("data").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
  REQUIRE(fd >= 0);
  return fd;
}

IoQueue& queue_of(ExecutorCore& executor) {
  const Result<IoQueue*> queue = executor.io();
  REQUIRE(queue.has_value());
  return **queue;
}

int run(ExecutorCore& executor, CountedIo& request) {
  queue_of(executor).submit(request);
  REQUIRE(request.done_count == 0);
  REQUIRE(run_until(executor, [&] { return request.done_count > 0; }));
  REQUIRE(request.done_count == 1);
  return request.error;
}

std::vector<IoMethod> methods() {
  if (uring_granted()) return {IoMethod::uring, IoMethod::threads};
  return {IoMethod::automatic};
}

// What the kernel does now and then: a little at a time, and interrupted in between.
std::atomic<int> interruption_count{0};
ssize_t short_preadv(int fd, const iovec* vectors, int, off_t offset) {
  if (interruption_count.fetch_add(1) % 3 == 0) {
    errno = offset % 2 == 0 ? EINTR : EAGAIN;
    return -1;
  }
  return ::pread(fd, vectors->iov_base, std::min<std::size_t>(vectors->iov_len, 777), offset);
}
ssize_t short_pwritev(int fd, const iovec* vectors, int, off_t offset) {
  if (interruption_count.fetch_add(1) % 3 == 0) {
    errno = EINTR;
    return -1;
  }
  return ::pwrite(fd, vectors->iov_base, std::min<std::size_t>(vectors->iov_len, 1000), offset);
}
int failing_fdatasync(int) {
  errno = EIO;
  return -1;
}
int busy_fallocate(int, int, off_t, off_t) {
  errno = EAGAIN;
  return -1;
}
constexpr runtime::IoCalls bad_calls{short_preadv, short_pwritev, failing_fdatasync,
                                     busy_fallocate};

}  // namespace

TEST_CASE("io queue: takes io_uring where it is granted and helper threads where it is refused",
          "[uring]") {
  const auto automatic = make_executor();
  const bool granted = uring_granted();
  REQUIRE(queue_of(*automatic).method() == (granted ? IoMethod::uring : IoMethod::threads));
  REQUIRE(automatic->io().value() == automatic->io().value());
  const auto threads = make_executor({.io_method = IoMethod::threads});
  REQUIRE(queue_of(*threads).method() == IoMethod::threads);
}

TEST_CASE("io queue: says once that io_uring is refused", "[uring]") {
  if (uring_granted()) return;  // the second run of this label is where it is refused
  static std::vector<std::string> lines;
  lines.clear();
  const base::LogSink former =
      base::set_log_sink({[](void*, base::LogLevel level, std::string_view line) noexcept {
                            if (level == base::LogLevel::warning) lines.emplace_back(line);
                          },
                          nullptr});
  base::forget_log_limits();
  for (int count = 0; count < 8; ++count) {
    const auto executor = make_executor();
    REQUIRE(queue_of(*executor).method() == IoMethod::threads);
  }
  base::set_log_sink(former);
  REQUIRE(lines.size() == 1);
  REQUIRE(lines[0].find("io_uring is refused here") == 0);
  // Containers refuse it in two ways.
  const bool says_why = lines[0].find(std::strerror(EPERM)) != std::string::npos ||
                        lines[0].find(std::strerror(ENOSYS)) != std::string::npos;
  REQUIRE(says_why);
}

TEST_CASE("io queue: each operation does what it says", "[uring]") {
  for (const IoMethod method : methods()) {
    const Scratch scratch;
    const int fd = open_new(scratch, O_DIRECT);
    const auto executor = make_executor({.io_method = method});
    const Buffer buffer(8 * page);
    buffer.fill(0x5a);
    CountedIo allocate(IoKind::allocate, fd);
    allocate.length = 64 * page;
    REQUIRE(run(*executor, allocate) == 0);
    REQUIRE(::lseek(fd, 0, SEEK_END) == 64 * page);
    CountedIo write(IoKind::write, fd, buffer.data(), buffer.size(), 3 * page);
    REQUIRE(run(*executor, write) == 0);
    CountedIo sync(IoKind::sync, fd);
    REQUIRE(run(*executor, sync) == 0);
    buffer.fill(0);
    CountedIo read(IoKind::read, fd, buffer.data(), buffer.size(), 3 * page);
    REQUIRE(run(*executor, read) == 0);
    REQUIRE(buffer.holds(0x5a));
    static std::thread::id helper;
    CountedIo call(IoKind::call, fd);
    call.call = [](runtime::IoRequest& own) noexcept {
      helper = std::this_thread::get_id();
      return ::ftruncate(own.fd, 4 * page) == 0 ? 0 : errno;
    };
    REQUIRE(run(*executor, call) == 0);
    REQUIRE(helper != std::this_thread::get_id());
    REQUIRE(::lseek(fd, 0, SEEK_END) == 4 * page);
    // The file ends inside: its beginning comes, and then ENODATA.
    CountedIo beyond(IoKind::read, fd, buffer.data(), buffer.size(), 2 * page);
    REQUIRE(run(*executor, beyond) == ENODATA);
    REQUIRE(beyond.vector.iov_base == buffer.data());
    REQUIRE(beyond.vector.iov_len == buffer.size());
    ::close(fd);
  }
}

TEST_CASE("io queue: reports the device's errors", "[uring]") {
  for (const IoMethod method : methods()) {
    const Scratch scratch;
    const auto executor = make_executor({.io_method = method});
    const Buffer buffer(page);
    const int closed = 1 << 20;  // no such descriptor
    for (const IoKind kind : {IoKind::read, IoKind::write, IoKind::sync, IoKind::allocate}) {
      CountedIo request(kind, closed, buffer.data(), page);
      request.length = page;
      REQUIRE(run(*executor, request) == EBADF);
    }
    const int full = ::open("/dev/full", O_RDWR | O_CLOEXEC);
    REQUIRE(full >= 0);
    CountedIo write(IoKind::write, full, buffer.data(), page);
    REQUIRE(run(*executor, write) == ENOSPC);
    const int directory = ::open(scratch.path().c_str(), O_RDONLY | O_CLOEXEC);
    CountedIo read(IoKind::read, directory, buffer.data(), page);
    REQUIRE(run(*executor, read) == EISDIR);
    ::close(full);
    ::close(directory);
  }
}

TEST_CASE("io queue: short and interrupted transfers go on where they stopped", "[uring]") {
  const Scratch scratch;
  const int fd = open_new(scratch);
  const auto executor = make_executor({.io_method = IoMethod::threads, .io_calls = &bad_calls});
  const Buffer written(4 * page);
  for (std::size_t index = 0; index < written.size(); ++index) {
    written.data()[index] = static_cast<std::byte>(index % 251);
  }
  std::array<iovec, 3> vectors{{{written.data(), 100},
                                {written.data(100), page},
                                {written.data(100 + page), 3 * page - 100}}};
  CountedIo write(IoKind::write, fd);
  write.vectors = vectors.data();
  write.vector_count = 3;
  REQUIRE(run(*executor, write) == 0);
  REQUIRE(write.transferred == written.size());
  REQUIRE(vectors[1].iov_base == written.data(100));
  REQUIRE(vectors[1].iov_len == page);
  const Buffer back(4 * page);
  CountedIo read(IoKind::read, fd, back.data(), back.size());
  REQUIRE(run(*executor, read) == 0);
  REQUIRE(std::memcmp(written.data(), back.data(), back.size()) == 0);
  // Errors stay errors, and trying again has an end.
  CountedIo sync(IoKind::sync, fd);
  REQUIRE(run(*executor, sync) == EIO);
  CountedIo allocate(IoKind::allocate, fd);
  REQUIRE(run(*executor, allocate) == EAGAIN);
  ::close(fd);
}

TEST_CASE("io queue: a short read from the ring goes on where it stopped", "[uring]") {
  if (!uring_granted()) return;
  const auto executor = make_executor({.io_method = IoMethod::uring});
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  std::array<char, 300> bytes{};
  std::array<iovec, 2> vectors{{{bytes.data(), 120}, {bytes.data() + 120, 180}}};
  CountedIo read(IoKind::read, ends[0]);
  read.vectors = vectors.data();
  read.vector_count = 2;
  queue_of(*executor).submit(read);
  int written_count = 0;
  // A pipe gives what it has; each piece comes while the loop sleeps on the executor's descriptor.
  std::thread writer([&] {
    for (int piece = 0; piece < 10; ++piece) {
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      const std::string text(30, static_cast<char>('a' + piece));
      if (::write(ends[1], text.data(), text.size()) == 30) ++written_count;
    }
  });
  const bool ended = run_until(*executor, [&] { return read.done_count > 0; });
  writer.join();
  REQUIRE(written_count == 10);
  REQUIRE(ended);
  REQUIRE(read.error == 0);
  for (std::size_t index = 0; index < bytes.size(); ++index) {
    REQUIRE(bytes[index] == static_cast<char>('a' + index / 30));
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("io queue: a completion wakes the thread that sleeps on the descriptor", "[uring]") {
  for (const IoMethod method : methods()) {
    const Scratch scratch;
    const int fd = open_new(scratch);
    REQUIRE(::ftruncate(fd, page) == 0);
    const auto executor = make_executor({.io_method = method});
    const Buffer buffer(page);
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    for (int round = 0; round < 200; ++round) {
      // A call that ends only when the sleeper has surely gone to sleep.
      CountedIo call(IoKind::call, ends[0]);
      call.call = [](runtime::IoRequest& own) noexcept {
        char byte = 0;
        return ::read(own.fd, &byte, 1) == 1 ? 0 : errno;
      };
      CountedIo read(IoKind::read, fd, buffer.data(), page);
      queue_of(*executor).submit(call);
      queue_of(*executor).submit(read);
      REQUIRE(run_until(*executor, [&] { return read.done_count == 1; }));
      REQUIRE(::write(ends[1], "x", 1) == 1);
      REQUIRE(run_until(*executor, [&] { return call.done_count == 1; }));
    }
    // And then nothing keeps it awake: at most a wake that was under way, which a tick takes.
    pollfd descriptor{executor->fd(), POLLIN, 0};
    int wake_count = 0;
    while (::poll(&descriptor, 1, 20) == 1) {
      REQUIRE(++wake_count < 100);
      executor->tick({});
    }
    ::close(fd);
    ::close(ends[0]);
    ::close(ends[1]);
  }
}

TEST_CASE("io queue: an executor without requests may move to another thread", "[uring]") {
  for (const IoMethod method : methods()) {
    const Scratch scratch;
    const int fd = open_new(scratch);
    const auto executor = make_executor({.io_method = method});
    const Buffer buffer(page);
    int failure_count = 0;
    const auto work = [&] {
      CountedIo write(IoKind::write, fd, buffer.data(), page);
      queue_of(*executor).submit(write);
      if (!run_until(*executor, [&] { return write.done_count > 0; }) || write.error != 0) {
        ++failure_count;
      }
    };
    work();
    for (int count = 0; count < 3; ++count) std::thread(work).join();
    work();
    REQUIRE(failure_count == 0);
    ::close(fd);
  }
}

TEST_CASE("io queue: a forked child leaves its parent's I/O and helper threads alone", "[uring]") {
  const Scratch scratch;
  const int fd = open_new(scratch);
  REQUIRE(::pwrite(fd, "firn", 4, 0) == 4);
  const IoMethod method = GENERATE(from_range(methods()));
  auto executor = make_executor({.io_method = method});
  // A helper thread stands in the midst of a request when the process forks.
  static std::atomic<bool> inside{false};
  static std::atomic<bool> go_on{false};
  inside = go_on = false;
  CountedIo slow(IoKind::call, fd);
  slow.call = [](runtime::IoRequest&) noexcept {
    inside = true;
    while (!go_on) std::this_thread::yield();
    return 0;
  };
  queue_of(*executor).submit(slow);
  executor->tick({});
  while (!inside) std::this_thread::yield();
  const int status = status_of_child([&] {
    ::alarm(20);  // for what waits for its parent
    executor.reset();
    if (FIRN_TSAN) return;  // it ends forked children that start threads
    const auto own = make_executor({.io_method = method});
    std::byte data[4];
    CountedIo read(IoKind::read, fd, data, sizeof data);
    CountedIo call(IoKind::call, fd);
    call.call = [](runtime::IoRequest&) noexcept { return 0; };
    own->io().value()->submit(read);
    own->io().value()->submit(call);
    if (!run_until(*own, [&] { return read.done_count + call.done_count == 2; })) ::_exit(1);
    if (read.error != 0 || std::memcmp(data, "firn", 4) != 0) ::_exit(2);
  });
  CHECK(status == 0);
  go_on = true;
  REQUIRE(run_until(*executor, [&] { return slow.done_count == 1; }));
  ::close(fd);
}

TEST_CASE("io queue: ending an executor whose I/O is under way is a programmer's error",
          "[uring]") {
  for (const IoMethod method : methods()) {
    REQUIRE(dies([method] {
      auto executor = make_executor({.io_method = method});
      std::array<int, 2> ends{};
      if (::pipe(ends.data()) != 0) return;
      CountedIo call(IoKind::call, ends[0]);
      call.call = [](runtime::IoRequest& own) noexcept {
        char byte = 0;
        return ::read(own.fd, &byte, 1) == 1 ? 0 : errno;
      };
      queue_of(*executor).submit(call);
      executor->tick({});
      executor.reset();
    }));
  }
}
