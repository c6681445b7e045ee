// Arrays that grow without a copy of what is in them, by one system call: for lists and maps as
// large as a store, that grow under its mutex.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include <firn/assertion.hpp>
#include <firn/result.hpp>

namespace firn::store {

/// An array of zeroes that costs no memory where it was never written to. One thread at a time;
/// move-only.
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
      memory =
          ::mremap(static_cast<void*>(data_), size_ * sizeof(T), size * sizeof(T), MREMAP_MAYMOVE);
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

/// A list in such an array. One thread at a time; move-only.
template <class T>
class GrowingList {
 public:
  /// Room for so many elements more. `no_memory`: as before.
  Result<void> make_room(std::size_t count = 1) noexcept {
    const std::size_t needed = size_ + count;
    if (needed <= array_.size()) return {};
    constexpr std::size_t least = 4096 / sizeof(T);
    return array_.grow(std::max({needed, 2 * array_.size(), least}));
  }
  /// There is room.
  void push_back(const T& value) noexcept {
    FIRN_ASSERT(size_ < array_.size());
    array_[size_++] = value;
  }
  void pop_back() noexcept { --size_; }
  void shrink(std::size_t size) noexcept { size_ = std::min(size_, size); }
  void clear() noexcept { size_ = 0; }

  [[nodiscard]] const T& back() const noexcept { return array_[size_ - 1]; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return array_.size(); }
  [[nodiscard]] const T& operator[](std::size_t index) const noexcept { return array_[index]; }
  [[nodiscard]] std::span<const T> view() const noexcept { return {array_.data(), size_}; }

 private:
  ZeroedArray<T> array_;
  std::size_t size_ = 0;
};

}  // namespace firn::store
