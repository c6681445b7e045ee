#include "segment/backend.hpp"

#include <cerrno>

namespace firn::segment {
namespace {

Failure refuse(const char* detail, std::uint64_t value, std::uint32_t id) noexcept {
  Failure failure = fail(ErrorCode::invalid_argument, detail, value);
  failure.error.place = place_in(id);
  return failure;
}

Result<void> check_vectors(const Request& request, std::uint64_t block, std::uint32_t id) noexcept {
  if (request.vector_count == 0 || request.vector_count > Request::vector_count_max) {
    return refuse("a request has 1 to 8 vectors, this one {}", request.vector_count, id);
  }
  for (std::size_t index = 0; index < request.vector_count; ++index) {
    const iovec& vector = request.vectors[index];
    if (vector.iov_len == 0 || vector.iov_len % block != 0 ||
        reinterpret_cast<std::uintptr_t>(vector.iov_base) % block != 0) {
      return refuse("memory and length of a vector are multiples of {} bytes", block, id);
    }
  }
  return {};
}

}  // namespace

Result<void> check_request(const Request& request, const SegmentCapabilities& capabilities,
                           std::uint64_t size_bytes, std::uint32_t id) noexcept {
  const std::uint64_t block = capabilities.block_bytes;
  std::uint64_t length = request.size;
  switch (request.kind) {
    case RequestKind::sync:
      return {};
    case RequestKind::grow:
      if (request.size % block == 0 && request.size <= segment_size_bytes_max) return {};
      return refuse("a segment's size is a multiple of {} bytes and below 2^60", block, id);
    case RequestKind::discard:
      break;
    case RequestKind::read:
    case RequestKind::write:
      FIRN_TRY(check_vectors(request, block, id));
      length = request.length();
      break;
  }
  if (request.offset % block != 0 || length % block != 0) {
    return refuse("offset and length are multiples of {} bytes", block, id);
  }
  if (request.offset > size_bytes || length > size_bytes - request.offset) {
    return refuse("the segment ends at byte {}", size_bytes, id);
  }
  return {};
}

void finish_later(runtime::ExecutorCore& executor, Request& request,
                  const Result<void>& outcome) noexcept {
  request.outcome = outcome;
  request.link.request = &request;
  request.link.home = &executor;
  request.link.run = [](runtime::Runnable& runnable) noexcept {
    auto& finished = *static_cast<Request::Link&>(runnable).request;
    finished.done(finished);
  };
  executor.enqueue(request.link);
}

Failure fail_io(int system_error, const char* detail, std::uint32_t id) noexcept {
  const bool full = system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG;
  return fail_system(full ? ErrorCode::no_space : ErrorCode::io_error, system_error, detail,
                     place_in(id));
}

}  // namespace firn::segment
