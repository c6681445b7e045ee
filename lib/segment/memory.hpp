// A segment in volatile memory: empty after every opening, zeroes where nothing was written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <firn/result.hpp>

#include "segment/backend.hpp"

namespace firn::segment {

struct MemoryOptions {
  std::uint32_t id = 0;
  std::uint64_t size_bytes = 0;
  /// How far it may grow: address space only, taken at once. 0: no further than `size_bytes`.
  std::uint64_t size_bytes_max = 0;
};

/// Shared between threads. Writes to the same bytes at the same time are the callers' to avoid, as
/// with every segment.
class MemoryBackend final : public Backend {
 public:
  static constexpr std::uint32_t block_bytes = 512;

  static Result<std::unique_ptr<MemoryBackend>> create(const MemoryOptions& options) noexcept;
  /// No request may be under way.
  ~MemoryBackend() override;

  [[nodiscard]] SegmentCapabilities capabilities() const noexcept override;
  [[nodiscard]] std::uint64_t size() const noexcept override {
    return size_bytes_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint32_t id() const noexcept override { return id_; }
  void submit(runtime::ExecutorCore& executor, Request& request) noexcept override;

 private:
  MemoryBackend(const MemoryOptions& options, std::byte* bytes) noexcept;

  [[nodiscard]] Result<void> perform(Request& request) noexcept;
  void transfer(Request& request) noexcept;
  void discard(std::uint64_t offset, std::uint64_t length) noexcept;
  [[nodiscard]] Result<void> grow(std::uint64_t size_bytes) noexcept;

  const std::uint32_t id_;
  const std::uint64_t size_bytes_max_;
  std::byte* const bytes_;
  std::atomic<std::uint64_t> size_bytes_;
  std::atomic<std::uint64_t> under_way_count_{0};
};

}  // namespace firn::segment
