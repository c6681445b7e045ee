// Which sanitizer this build runs under: FIRN_ASAN and FIRN_TSAN are 1 or 0. GCC defines
// __SANITIZE_*__, clang 14 answers __has_feature.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIRN_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FIRN_TSAN 1
#endif
#endif

#if !defined(FIRN_ASAN) && defined(__SANITIZE_ADDRESS__)
#define FIRN_ASAN 1
#endif
#if !defined(FIRN_TSAN) && defined(__SANITIZE_THREAD__)
#define FIRN_TSAN 1
#endif

#ifndef FIRN_ASAN
#define FIRN_ASAN 0
#endif
#ifndef FIRN_TSAN
#define FIRN_TSAN 0
#endif

#if FIRN_ASAN
#include <sanitizer/lsan_interface.h>
#endif

namespace firn::base {

/// Leaves an object, and what it alone points to, to the end of the process: no leak.
inline void leak_on_purpose([[maybe_unused]] const void* object) noexcept {
#if FIRN_ASAN
  __lsan_ignore_object(object);
#endif
}

}  // namespace firn::base
