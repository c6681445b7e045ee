// Opening of segment files: who may own them, how they are locked, what they can do.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include <firn/result.hpp>

#include "segment/file.hpp"

namespace firn::segment {

/// The descriptor in the result is the caller's.
Result<OpenFile> create_file(const char* path, const FileOptions& options) noexcept;
Result<OpenFile> open_file(const char* path, const FileOptions& options) noexcept;

/// Takes space for [from, to) of a file, and its size with it. 0 or an errno; then the size is
/// `from` as before.
[[nodiscard]] int preallocate_file(const FileCalls& calls, int fd, std::uint64_t from,
                                   std::uint64_t to) noexcept;
/// Bytes of a block device, 0 if it does not tell.
[[nodiscard]] std::uint64_t device_bytes(int fd) noexcept;

/// `busy`, naming the process that holds an open-file-description lock on this file where /proc
/// tells. For error messages: it may be gone by then.
[[nodiscard]] Failure fail_locked(dev_t device, ino_t inode, std::uint32_t id) noexcept;

}  // namespace firn::segment
