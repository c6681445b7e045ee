// The registry of the segment contract: one entry per backend and way of doing its I/O. A new
// backend joins by one line in `segment_variants`.
#pragma once

#include <unistd.h>
#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "segment/file.hpp"
#include "segment/memory.hpp"
#include "segment/simulated.hpp"
#include "segment/support.hpp"
#include "support/scratch.hpp"

namespace firn::test {

/// An open, empty segment under test and all that it needs.
class SegmentUnderTest {
 public:
  virtual ~SegmentUnderTest() = default;
  virtual segment::Backend& backend() = 0;
  /// Of the executors that use it.
  virtual runtime::ExecutorSeam seam() { return {}; }
  /// Whether misuse stops the process instead of being `invalid_argument`.
};

struct SegmentVariant {
  const char* name;
  /// A segment of `size` bytes that can grow to eight times that; null where this machine cannot.
  std::unique_ptr<SegmentUnderTest> (*open)(std::uint64_t size);
};

template <runtime::IoMethod method>
class FileUnderTest final : public SegmentUnderTest {
 public:
  FileUnderTest(const std::filesystem::path& base, const segment::FileOptions& options)
      : scratch_(base) {
    auto file = segment::FileBackend::create(scratch_.file("segment").c_str(), options);
    INFO((file.has_value() ? std::string() : file.error().message()));
    REQUIRE(file.has_value());
    file_ = *std::move(file);
  }
  segment::Backend& backend() override { return *file_; }
  runtime::ExecutorSeam seam() override { return {.io_method = method}; }

 private:
  Scratch scratch_;
  std::unique_ptr<segment::FileBackend> file_;
};

class MemoryUnderTest final : public SegmentUnderTest {
 public:
  explicit MemoryUnderTest(std::uint64_t size) {
    auto memory =
        segment::MemoryBackend::create({.id = 7, .size_bytes = size, .size_bytes_max = 8 * size});
    REQUIRE(memory.has_value());
    memory_ = *std::move(memory);
  }
  segment::Backend& backend() override { return *memory_; }

 private:
  std::unique_ptr<segment::MemoryBackend> memory_;
};

class SimulatedUnderTest final : public SegmentUnderTest {
 public:
  explicit SimulatedUnderTest(std::uint64_t size) {
    segment::SimulatedOptions options;
    options.id = 7;
    backend_ = segment::make_simulated_backend(size, options);
  }
  segment::Backend& backend() override { return *backend_; }

 private:
  std::unique_ptr<segment::Backend> backend_;
};

inline segment::FileOptions seven(std::uint64_t size) {
  segment::FileOptions options;
  options.id = 7;
  options.size_bytes = size;
  return options;
}

inline std::unique_ptr<SegmentUnderTest> open_uring(std::uint64_t size) {
  if (!uring_granted()) return nullptr;
  return std::make_unique<FileUnderTest<runtime::IoMethod::uring>>("", seven(size));
}
inline std::unique_ptr<SegmentUnderTest> open_threads(std::uint64_t size) {
  return std::make_unique<FileUnderTest<runtime::IoMethod::threads>>("", seven(size));
}
inline std::unique_ptr<SegmentUnderTest> open_preallocated(std::uint64_t size) {
  segment::FileOptions options = seven(size);
  options.preallocate = true;
  return std::make_unique<FileUnderTest<runtime::IoMethod::automatic>>("", options);
}
inline std::unique_ptr<SegmentUnderTest> open_buffered(std::uint64_t size) {
  const char* const base = "/dev/shm";
  if (::access(base, W_OK) != 0) return nullptr;
  segment::FileOptions options = seven(size);
  options.direct = false;
  return std::make_unique<FileUnderTest<runtime::IoMethod::automatic>>(base, options);
}
inline std::unique_ptr<SegmentUnderTest> open_memory(std::uint64_t size) {
  return std::make_unique<MemoryUnderTest>(size);
}
inline std::unique_ptr<SegmentUnderTest> open_simulated(std::uint64_t size) {
  return std::make_unique<SimulatedUnderTest>(size);
}

inline const std::vector<SegmentVariant>& segment_variants() {
  static const std::vector<SegmentVariant> variants = {
      {"file, io_uring", open_uring},
      {"file, helper threads", open_threads},
      {"file, preallocated", open_preallocated},
      {"file on tmpfs, buffered", open_buffered},
      {"memory", open_memory},
      {"simulated", open_simulated},
  };
  return variants;
}

}  // namespace firn::test
