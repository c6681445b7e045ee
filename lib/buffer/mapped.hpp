// A piece of anonymous memory that costs nothing where it was never touched and reads as zeroes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <firn/result.hpp>

namespace firn::buffer {

class Mapped {
 public:
  Mapped() noexcept = default;
  ~Mapped() { unmap(); }
  Mapped(Mapped&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapped& operator=(Mapped&& other) noexcept {
    if (this != &other) {
      unmap();
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }

  /// Address space only, unless `present`: then its frames are there afterwards.
  static Result<Mapped> map(std::uint64_t bytes, bool present) noexcept;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  void unmap() noexcept;

  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace firn::buffer
