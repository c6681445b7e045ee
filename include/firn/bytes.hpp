// A view of bytes that somebody else owns, ordered as the default comparator orders keys: unsigned
// bytes, the shorter of two equal prefixes first.
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace firn {

/// A non-owning view of `size()` bytes. Converts from text and from spans of bytes; whoever passes
/// one keeps the bytes alive for as long as the call's documentation says.
class Bytes {
 public:
  constexpr Bytes() noexcept = default;
  constexpr Bytes(const std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}
  constexpr Bytes(std::span<const std::byte> bytes) noexcept
      : data_(bytes.data()), size_(bytes.size()) {}
  Bytes(std::string_view text) noexcept
      : data_(reinterpret_cast<const std::byte*>(text.data())), size_(text.size()) {}
  /// The text up to its first zero, which a full array need not have. Bytes that may be zero are
  /// passed as a `std::string_view` or with their size.
  template <std::size_t N>
  Bytes(const char (&text)[N]) noexcept : Bytes(std::string_view(text, size_of_text(text, N))) {}

  [[nodiscard]] constexpr const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] constexpr const std::byte* begin() const noexcept { return data_; }
  [[nodiscard]] constexpr const std::byte* end() const noexcept { return data_ + size_; }
  [[nodiscard]] constexpr std::byte operator[](std::size_t index) const noexcept {
    return data_[index];
  }
  /// The bytes from `offset` on; `offset` is at most `size()`.
  [[nodiscard]] constexpr Bytes subview(std::size_t offset) const noexcept {
    return {data_ + offset, size_ - offset};
  }
  [[nodiscard]] constexpr Bytes first(std::size_t count) const noexcept { return {data_, count}; }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(data_), size_};
  }

  friend std::strong_ordering operator<=>(Bytes left, Bytes right) noexcept {
    const std::size_t shared = std::min(left.size_, right.size_);
    const int difference = shared == 0 ? 0 : std::memcmp(left.data_, right.data_, shared);
    if (difference != 0) return difference <=> 0;
    return left.size_ <=> right.size_;
  }
  friend bool operator==(Bytes left, Bytes right) noexcept {
    return left.size_ == right.size_ &&
           (left.size_ == 0 || std::memcmp(left.data_, right.data_, left.size_) == 0);
  }

 private:
  static std::size_t size_of_text(const char* text, std::size_t size_max) noexcept {
    const void* end = std::memchr(text, 0, size_max);
    return end == nullptr ? size_max
                          : static_cast<std::size_t>(static_cast<const char*>(end) - text);
  }

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

inline namespace literals {
/// Sizes in bytes: `4_GiB`.
constexpr std::uint64_t operator""_KiB(unsigned long long count) noexcept { return count << 10; }
constexpr std::uint64_t operator""_MiB(unsigned long long count) noexcept { return count << 20; }
constexpr std::uint64_t operator""_GiB(unsigned long long count) noexcept { return count << 30; }
constexpr std::uint64_t operator""_TiB(unsigned long long count) noexcept { return count << 40; }
}  // namespace literals

}  // namespace firn
