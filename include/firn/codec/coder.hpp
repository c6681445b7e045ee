// Encoder and Decoder: what codecs write to and read from. Both keep their first failure, so a
// codec writes its fields one after the other and is asked once, at the end.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include <firn/buffer.hpp>
#include <firn/bytes.hpp>
#include <firn/result.hpp>

namespace firn {

/// Appends encoded bytes to a buffer. After its first failure it writes nothing more and `status()`
/// tells the failure; the buffer then holds a part of the encoding, which the caller drops.
class Encoder {
 public:
  explicit Encoder(Buffer& out) noexcept : out_(out) {}
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  void put(Bytes bytes) noexcept {
    if (!status_) return;
    if (const Result<void> appended = out_.append(bytes); !appended) status_ = appended;
  }
  void put_byte(std::uint8_t value) noexcept {
    const std::byte byte{value};
    put({&byte, 1});
  }
  template <std::unsigned_integral U>
  void put_little_endian(U value) noexcept {
    std::array<std::byte, sizeof(U)> bytes;
    for (std::size_t i = 0; i < sizeof(U); ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
    put({bytes.data(), sizeof(U)});
  }
  template <std::unsigned_integral U>
  void put_big_endian(U value) noexcept {
    std::array<std::byte, sizeof(U)> bytes;
    for (std::size_t i = 0; i < sizeof(U); ++i) {
      bytes[sizeof(U) - 1 - i] = static_cast<std::byte>(value >> (8 * i));
    }
    put({bytes.data(), sizeof(U)});
  }
  /// Seven bits to a byte, lowest first; the top bit says that more follow. At most 10 bytes.
  void put_varint(std::uint64_t value) noexcept {
    std::array<std::byte, 10> bytes;
    std::size_t count = 0;
    for (; value >= 0x80; value >>= 7) bytes[count++] = static_cast<std::byte>(value | 0x80);
    bytes[count++] = static_cast<std::byte>(value);
    put({bytes.data(), count});
  }

  /// Refuses the value: a codec calls it for what has no encoding. Only the first failure is kept.
  void fail(ErrorCode code, const char* detail) noexcept {
    if (status_) status_ = firn::fail(code, detail);
  }
  [[nodiscard]] Result<void> status() const noexcept { return status_; }

 private:
  Buffer& out_;
  Result<void> status_;
};

/// Reads encoded bytes, which may be anything: nothing is read beyond their end. Each `take`
/// returns whether it succeeded; after the first failure all of them fail and leave their result
/// alone.
class Decoder {
 public:
  explicit constexpr Decoder(Bytes bytes) noexcept : rest_(bytes), size_(bytes.size()) {}
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// The bytes not taken yet; none after a failure.
  [[nodiscard]] Bytes rest() const noexcept { return rest_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }
  [[nodiscard]] bool failed() const noexcept { return failure_ != nullptr; }

  /// The next `count` bytes as a view of the input.
  [[nodiscard]] bool take(std::size_t count, Bytes& out) noexcept {
    if (failed()) return false;
    if (count > rest_.size()) return fail("a field ends early, at byte {}");
    out = rest_.first(count);
    rest_ = rest_.subview(count);
    return true;
  }
  [[nodiscard]] bool take_rest(Bytes& out) noexcept { return take(rest_.size(), out); }
  [[nodiscard]] bool take_byte(std::uint8_t& out) noexcept { return take_little_endian(out); }
  template <std::unsigned_integral U>
  [[nodiscard]] bool take_little_endian(U& out) noexcept {
    Bytes bytes;
    if (!take(sizeof(U), bytes)) return false;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(U); ++i) {
      value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
    }
    out = static_cast<U>(value);
    return true;
  }
  template <std::unsigned_integral U>
  [[nodiscard]] bool take_big_endian(U& out) noexcept {
    Bytes bytes;
    if (!take(sizeof(U), bytes)) return false;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(U); ++i) {
      value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
    }
    out = static_cast<U>(value);
    return true;
  }
  /// Takes only the shortest form of a number, so that equal numbers have equal bytes.
  [[nodiscard]] bool take_varint(std::uint64_t& out) noexcept {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      std::uint8_t byte = 0;
      if (!take_byte(byte)) return false;
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (shift == 63 && byte > 1) return fail("a number is above 64 bits, at byte {}");
      if (byte >= 0x80) continue;
      if (byte == 0 && shift != 0) return fail("a number is not in its shortest form, at byte {}");
      out = value;
      return true;
    }
    return fail("a number is above 64 bits, at byte {}");
  }
  /// A varint length and that many bytes, as a view of the input.
  [[nodiscard]] bool take_sized(Bytes& out) noexcept {
    std::uint64_t size = 0;
    if (!take_varint(size)) return false;
    if (size > rest_.size()) return fail("a length is beyond the end, at byte {}");
    return take(static_cast<std::size_t>(size), out);
  }

  /// Refuses the input and returns false. `detail` has static life; a `{}` in it stands for the
  /// offset. Only the first failure is kept.
  bool fail(const char* detail) noexcept {
    if (failed()) return false;
    failure_ = detail;
    failed_at_ = size_ - rest_.size();
    rest_ = {};
    return false;
  }

  /// Whether all was well and all was taken. Errors: corrupt.
  [[nodiscard]] Result<void> finish() noexcept {
    if (!failed() && !rest_.empty()) fail("bytes are left over, from byte {}");
    if (failed()) return firn::fail(ErrorCode::corrupt, failure_, failed_at_);
    return {};
  }

 private:
  Bytes rest_;
  std::size_t size_;
  std::size_t failed_at_ = 0;
  const char* failure_ = nullptr;
};

}  // namespace firn
