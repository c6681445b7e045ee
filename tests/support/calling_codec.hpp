// A codec that calls somebody while it decodes a record: what users' codecs may do.
#pragma once

#include <functional>

#include "support/light.hpp"

namespace firn::test {

struct CallingCodec {
  static constexpr std::string_view id = "test.calling.1";
  static Result<void> encode(const std::string& value, Encoder& encoder) noexcept {
    encoder.put(Bytes(value));
    return encoder.status();
  }
  static Result<void> decode(Bytes bytes, std::string& out) noexcept {
    if (call) call();
    detail::assign_to(out, bytes);
    return {};
  }
  static inline thread_local std::function<void()> call;
};
struct CallingType : TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.calling";
  using RecordCodec = CallingCodec;
};

}  // namespace firn::test
