// An array of zeroes that costs no memory where it was never written to, and grows without a copy.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include <firn/result.hpp>

namespace firn::store {

/// One thread at a time; move-only.
template <class T>
class ZeroedArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  ZeroedArray() noexcept = default;
  ZeroedArray(ZeroedArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  ZeroedArray& operator=(ZeroedArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~ZeroedArray() {
    if (data_ != nullptr) ::munmap(static_cast<void*>(data_), size_ * sizeof(T));
  }

  /// `no_memory`: as before. What is added is all zero bytes.
  Result<void> grow(std::size_t size) noexcept {
    if (size <= size_) return {};
    void* memory = MAP_FAILED;
    if (data_ == nullptr) {
      memory = ::mmap(nullptr, size * sizeof(T), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    } else {
      memory = ::mremap(static_cast<void*>(data_), size_ * sizeof(T), size * sizeof(T),
                        MREMAP_MAYMOVE);
    }
    if (memory == MAP_FAILED) {
      return fail_system(ErrorCode::no_memory, errno, "no address space for a segment's map");
    }
    data_ = static_cast<T*>(memory);
    size_ = size;
    return {};
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] T& operator[](std::size_t index) noexcept { return data_[index]; }
  [[nodiscard]] const T& operator[](std::size_t index) const noexcept { return data_[index]; }
  operator std::span<T>() noexcept { return {data_, size_}; }
  operator std::span<const T>() const noexcept { return {data_, size_}; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace firn::store
