// What went wrong: a code, an errno and a place. Small and trivially copyable; its text is made
// when it is printed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <firn/export.hpp>

namespace firn {

/// Every way a call can fail. The numbers are part of the interface and are never reused; what
/// follows from each, and what to do, stands in docs/errors.md under the code's name.
enum class ErrorCode : std::uint16_t {
  invalid_argument = 1,    ///< an argument makes no sense: mend the call
  too_large = 2,           ///< key, record or name above its limit
  unsupported = 3,         ///< the domain type lacks a capability
  unsupported_format = 4,  ///< the file needs a feature that this build does not know
  wrong_type = 5,          ///< type, codec, comparator or major version differ from the catalogue
  wrong_domain = 6,        ///< a handle of another domain
  invalid_state = 7,       ///< closed handle or transaction, operation posted twice
  already_exists = 8,      ///< something of that key or name is there
  not_found = 9,           ///< the expected key or name is not there
  conflict = 10,           ///< snapshot isolation lost the race: begin again
  busy = 11,               ///< the object is in use
  no_space = 12,           ///< the segments are full; nothing was changed
  no_memory = 13,          ///< the memory budget does not suffice; nothing was changed
  timed_out = 14,          ///< the caller's deadline passed
  cancelled = 15,          ///< the caller cancelled
  io_error = 16,           ///< a device refused
  corrupt = 17,            ///< bytes fail their checksum, validation or decoding
  wrong_key = 18,          ///< the encryption key is not the one the domain was written with
  failed = 19,             ///< a sync failed: reopen the domain
  fenced = 20,             ///< another owner has taken the lease
};

/// The code's name as written above, for example "not_found".
[[nodiscard]] FIRN_API std::string_view name_of(ErrorCode code) noexcept;
/// One sentence that says what the user can do about errors of this code.
[[nodiscard]] FIRN_API std::string_view next_step_for(ErrorCode code) noexcept;

/// Where it went wrong. A field that does not apply is `none`.
struct Place {
  static constexpr std::uint64_t none = ~std::uint64_t{0};
  std::uint64_t page = none;
  std::uint64_t table = none;
  std::uint32_t segment = static_cast<std::uint32_t>(none);
  friend bool operator==(const Place&, const Place&) = default;
};

/// One failure. `detail` is text with static life; a `{}` in it stands for `value`, a `{s}` for
/// `subject`, which has static life as well (an option's or a capability's name).
struct Error {
  ErrorCode code = ErrorCode::invalid_argument;
  int system_error = 0;  ///< errno of the system call that failed, or 0
  Place place = {};
  const char* detail = nullptr;
  const char* subject = nullptr;
  std::uint64_t value = 0;

  /// "not_found: table 3: <detail>: No such file or directory; <next step>". Allocates.
  [[nodiscard]] FIRN_API std::string message() const;
};
static_assert(std::is_trivially_copyable_v<Error>);
static_assert(sizeof(Error) <= 64);

/// What `fail` returns: converts to any `Result<T>` as its error.
struct Failure {
  Error error;
};

/// The only way to make an error: `return fail(ErrorCode::not_found, "no table of that name");`
[[nodiscard]] constexpr Failure fail(ErrorCode code, const char* detail = nullptr,
                                     std::uint64_t value = 0,
                                     const char* subject = nullptr) noexcept {
  return Failure{Error{.code = code, .detail = detail, .subject = subject, .value = value}};
}
[[nodiscard]] constexpr Failure fail(const Error& error) noexcept { return Failure{error}; }
/// The error of a system call: `fail_system(ErrorCode::io_error, errno, "pwrite")`.
[[nodiscard]] constexpr Failure fail_system(ErrorCode code, int system_error, const char* detail,
                                            Place place = {}) noexcept {
  return Failure{
      Error{.code = code, .system_error = system_error, .place = place, .detail = detail}};
}

}  // namespace firn
