#include "segment/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace firn::segment {
namespace {

// Freed and zeroed in whole pages by the kernel.
constexpr std::uint64_t page_bytes = 4096;

}  // namespace

Result<std::unique_ptr<MemoryBackend>> MemoryBackend::create(
    const MemoryOptions& options) noexcept {
  MemoryOptions checked = options;
  checked.size_bytes_max = std::max(options.size_bytes, options.size_bytes_max);
  if (options.size_bytes % block_bytes != 0 || checked.size_bytes_max > segment_size_bytes_max) {
    return fail(ErrorCode::invalid_argument,
                "a segment's size is a multiple of {} bytes and below 2^60", block_bytes);
  }
  checked.size_bytes_max = (checked.size_bytes_max + page_bytes - 1) / page_bytes * page_bytes;
  checked.size_bytes_max = std::max(checked.size_bytes_max, page_bytes);
  void* const bytes = ::mmap(nullptr, checked.size_bytes_max, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bytes == MAP_FAILED) {
    return fail_system(ErrorCode::no_memory, errno, "address space of a memory segment",
                       place_in(options.id));
  }
  // The content stays out of core files, which would otherwise be as large.
  static_cast<void>(::madvise(bytes, checked.size_bytes_max, MADV_DONTDUMP));
  std::unique_ptr<MemoryBackend> backend(
      new (std::nothrow) MemoryBackend(checked, static_cast<std::byte*>(bytes)));
  if (backend == nullptr) {
    static_cast<void>(::munmap(bytes, checked.size_bytes_max));
    return fail(ErrorCode::no_memory, "no memory for a segment");
  }
  return backend;
}

MemoryBackend::MemoryBackend(const MemoryOptions& options, std::byte* bytes) noexcept
    : id_(options.id),
      size_bytes_max_(options.size_bytes_max),
      bytes_(bytes),
      size_bytes_(options.size_bytes) {}

MemoryBackend::~MemoryBackend() {
  FIRN_ASSERT(under_way_count_.load(std::memory_order_acquire) == 0);
  static_cast<void>(::munmap(bytes_, size_bytes_max_));
}

SegmentCapabilities MemoryBackend::capabilities() const noexcept {
  SegmentCapabilities capabilities;
  capabilities.block_bytes = block_bytes;
  capabilities.is_volatile = true;
  capabilities.durable_on_completion = true;  // as durable as it will ever be
  return capabilities;
}

void MemoryBackend::submit(runtime::ExecutorCore& executor, Request& request) noexcept {
  under_way_count_.fetch_add(1, std::memory_order_relaxed);
  request.backend_context = this;
  request.link.request = &request;
  request.link.home = &executor;
  request.link.run = [](runtime::Runnable& runnable) noexcept {
    auto& own = *static_cast<Request::Link&>(runnable).request;
    auto& self = *static_cast<MemoryBackend*>(own.backend_context);
    own.outcome = self.perform(own);
    self.under_way_count_.fetch_sub(1, std::memory_order_release);
    own.done(own);
  };
  executor.enqueue(request.link);
}

Result<void> MemoryBackend::perform(Request& request) noexcept {
  FIRN_TRY(check_request(request, capabilities(), size(), id_));
  switch (request.kind) {
    case RequestKind::read:
    case RequestKind::write:
      transfer(request);
      break;
    case RequestKind::sync:
      break;
    case RequestKind::discard:
      discard(request.offset, request.size);
      break;
    case RequestKind::grow:
      return grow(request.size);
  }
  return {};
}

void MemoryBackend::transfer(Request& request) noexcept {
  std::byte* place = bytes_ + request.offset;
  for (std::size_t index = 0; index < request.vector_count; ++index) {
    const iovec& vector = request.vectors[index];
    if (request.kind == RequestKind::read) {
      std::memcpy(vector.iov_base, place, vector.iov_len);
    } else {
      std::memcpy(place, vector.iov_base, vector.iov_len);
    }
    place += vector.iov_len;
  }
}

void MemoryBackend::discard(std::uint64_t offset, std::uint64_t length) noexcept {
  const std::uint64_t end = offset + length;
  const std::uint64_t first_page =
      std::min(end, (offset + page_bytes - 1) / page_bytes * page_bytes);
  const std::uint64_t last_page = std::max(first_page, end / page_bytes * page_bytes);
  std::memset(bytes_ + offset, 0, first_page - offset);
  if (last_page > first_page &&
      ::madvise(bytes_ + first_page, last_page - first_page, MADV_DONTNEED) != 0) {
    std::memset(bytes_ + first_page, 0, last_page - first_page);
  }
  if (end > last_page) std::memset(bytes_ + last_page, 0, end - last_page);
}

Result<void> MemoryBackend::grow(std::uint64_t size_bytes) noexcept {
  if (size_bytes > size_bytes_max_) {
    return fail_system(ErrorCode::no_space, 0, "a memory segment grows up to its maximum",
                       place_in(id_));
  }
  std::uint64_t former = size();
  while (former < size_bytes && !size_bytes_.compare_exchange_weak(former, size_bytes)) {
  }
  return {};
}

}  // namespace firn::segment
