// The 64-bit checksum of everything that reaches a device: XXH3 of Debian's libxxhash, seeded with
// where the bytes belong, so that bytes of another domain or place do not pass.
#pragma once

#include <cstddef>
#include <cstdint>

#include <firn/bytes.hpp>

namespace firn::format {

[[nodiscard]] std::uint64_t checksum(Bytes bytes, std::uint64_t seed) noexcept;

}  // namespace firn::format
