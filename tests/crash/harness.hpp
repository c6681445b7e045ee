// What the programs of this folder share: arguments, and what a history under failures must keep.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>

#include <firn/error.hpp>

namespace firn::test {

/// The number behind the argument `name`.
inline std::uint64_t number_after(int argc, char** argv, const char* name,
                                  std::uint64_t otherwise) {
  for (int index = 1; index + 1 < argc; ++index) {
    if (std::strcmp(argv[index], name) == 0) return std::strtoull(argv[index + 1], nullptr, 10);
  }
  return otherwise;
}

/// Between which checkpoints the one that is found must lie, on a device that failed.
struct Bounds {
  std::optional<std::uint64_t> published;
  std::uint64_t begun = 0;
  bool honest = true;
  bool strict = true;  // a lie about one request does not lose a checkpoint
};

inline bool is_no_domain(const Error& error) {
  return error.code == ErrorCode::not_found ||
         (error.code == ErrorCode::corrupt && error.place.page == Place::none);
}

}  // namespace firn::test
