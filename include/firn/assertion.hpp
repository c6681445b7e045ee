// Assertions: a programmer's error stops the process with its place; it is never a Result.
// FIRN_ASSERT is cheap and stays on in release builds; FIRN_DEBUG_ASSERT may be slow and is on in
// debug and sanitizer builds only (FIRN_DEBUG defined). One condition each, without side effects.
#pragma once

#include <firn/export.hpp>

namespace firn::detail {
[[noreturn]] FIRN_API void assertion_failed(const char* expression, const char* file,
                                            int line) noexcept;
}  // namespace firn::detail

#define FIRN_ASSERT(expression)                       \
  (__builtin_expect(static_cast<bool>(expression), 1) \
       ? static_cast<void>(0)                         \
       : ::firn::detail::assertion_failed(#expression, __FILE__, __LINE__))

#ifdef FIRN_DEBUG
#define FIRN_DEBUG_ASSERT(expression) FIRN_ASSERT(expression)
#else
#define FIRN_DEBUG_ASSERT(expression) static_cast<void>(sizeof(static_cast<bool>(expression)))
#endif
