// Owned bytes that grow: where keys and records are encoded before they go into a table.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include <firn/bytes.hpp>
#include <firn/result.hpp>

namespace firn {

/// A growing run of bytes, used by one thread at a time. Its memory is given back only when it is
/// destroyed or moved from, so a buffer that is reused soon allocates no more. Views into it hold
/// until it grows.
class Buffer {
 public:
  Buffer() noexcept = default;
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer moved(std::move(other));
    std::swap(data_, moved.data_);
    std::swap(size_, moved.size_);
    std::swap(capacity_, moved.capacity_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  [[nodiscard]] std::byte* data() noexcept { return data_; }
  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] Bytes view() const noexcept { return {data_, size_}; }

  /// Makes room for `capacity` bytes in all. Errors: no_memory, and nothing has changed.
  [[nodiscard]] Result<void> reserve(std::size_t capacity) noexcept {
    if (capacity <= capacity_) return {};
    void* grown = capacity > capacity_max ? nullptr : std::realloc(data_, capacity);
    if (grown == nullptr) {
      return fail(ErrorCode::no_memory, "a buffer cannot grow to {} bytes", capacity);
    }
    data_ = static_cast<std::byte*>(grown);
    capacity_ = capacity;
    return {};
  }

  /// Adds `count` bytes at the end and returns where they are; the caller fills them.
  /// Errors: no_memory, and nothing has changed.
  [[nodiscard]] Result<std::byte*> extend(std::size_t count) noexcept {
    if (count > capacity_ - size_) FIRN_TRY(grow_for(count));
    std::byte* place = data_ + size_;
    size_ += count;
    return place;
  }

  /// Adds a copy of `bytes`, which must not lie in this buffer. Errors: no_memory, and nothing has
  /// changed.
  [[nodiscard]] Result<void> append(Bytes bytes) noexcept {
    if (bytes.empty()) return {};
    FIRN_TRY_ASSIGN(std::byte * place, extend(bytes.size()));
    std::memcpy(place, bytes.data(), bytes.size());
    return {};
  }

  /// Forgets the bytes from `size` on; `size` is at most `size()`.
  void truncate(std::size_t size) noexcept {
    FIRN_ASSERT(size <= size_);
    size_ = size;
  }
  /// Forgets the bytes and keeps the memory.
  void clear() noexcept { size_ = 0; }

 private:
  // No object is larger than half the address space; a quarter keeps the sums below from
  // overflowing.
  static constexpr std::size_t capacity_max = std::numeric_limits<std::size_t>::max() / 4;

  // Memory grows by half at least, so that a byte is copied about twice however it is appended.
  Result<void> grow_for(std::size_t count) noexcept {
    constexpr std::size_t capacity_first = 64;
    if (count > capacity_max - size_) {
      return fail(ErrorCode::no_memory, "a buffer cannot grow by {} bytes", count);
    }
    const std::size_t needed = size_ + count;
    return reserve(std::max({needed, capacity_ + capacity_ / 2, capacity_first}));
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace firn
