// The one accessor of page bytes that are read optimistically, and its counterpart for writers.
//
//   release            memcpy; the fences are in PageState::validate() and
//   PageState::try_exclusive() ThreadSanitizer    relaxed atomic words on both sides, no fences
//   faulting memory    loads listed in a fix-up table: a SIGSEGV or SIGBUS inside a registered
//   range makes
//                      the copy return false (fault_handler.hpp)
//
// Faulting memory is registered only where an evicted page is unmapped (exmap, guard pages). A copy
// that returned true still has to be validated; one that returned false has told nothing but that.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "buffer/page_state.hpp"

namespace firn::buffer {

/// Build switch FIRN_SHARED_READS: readers take shared latches where they would read
/// optimistically, so that ThreadSanitizer sees races that atomic words hide.
#ifdef FIRN_SHARED_READS
inline constexpr bool shared_reads = true;
#else
inline constexpr bool shared_reads = false;
#endif

#if defined(FIRN_THREAD_SANITIZER) && !defined(FIRN_SHARED_READS)
#define FIRN_ATOMIC_PAGE_BYTES 1
#endif

namespace detail {
/// Set for good when the first range of faulting memory is registered.
inline std::atomic<bool> memory_may_fault{false};
/// Copies by listed loads of 8, 4, 2 and 1 bytes; false if one of them faulted.
[[nodiscard]] bool copy_with_fixup(void* destination, const void* source,
                                   std::size_t size) noexcept;

#ifdef FIRN_ATOMIC_PAGE_BYTES
// The builtins instead of std::atomic_ref: page bytes have no type of their own, and an atomic_ref
// to uint64_t would alias them wrongly.
using AliasedWord [[gnu::may_alias]] = std::uint64_t;

[[nodiscard]] inline bool word_aligned(const void* address) noexcept {
  return reinterpret_cast<std::uintptr_t>(address) % sizeof(AliasedWord) == 0;
}
inline void load_words(void* destination, const void* source, std::size_t size) noexcept {
  auto* to = static_cast<std::uint8_t*>(destination);
  auto* from = static_cast<const std::uint8_t*>(source);
  while (size > 0) {
    if (size >= sizeof(AliasedWord) && word_aligned(from)) {
      const std::uint64_t word =
          __atomic_load_n(reinterpret_cast<const AliasedWord*>(from), __ATOMIC_RELAXED);
      std::memcpy(to, &word, sizeof(word));
      from += sizeof(word), to += sizeof(word), size -= sizeof(word);
    } else {
      *to = __atomic_load_n(from, __ATOMIC_RELAXED);
      ++from, ++to, --size;
    }
  }
}
inline void store_words(void* destination, const void* source, std::size_t size) noexcept {
  auto* to = static_cast<std::uint8_t*>(destination);
  auto* from = static_cast<const std::uint8_t*>(source);
  while (size > 0) {
    if (size >= sizeof(AliasedWord) && word_aligned(to)) {
      std::uint64_t word;
      std::memcpy(&word, from, sizeof(word));
      __atomic_store_n(reinterpret_cast<AliasedWord*>(to), word, __ATOMIC_RELAXED);
      from += sizeof(word), to += sizeof(word), size -= sizeof(word);
    } else {
      __atomic_store_n(to, *from, __ATOMIC_RELAXED);
      ++from, ++to, --size;
    }
  }
}
#endif
}  // namespace detail

/// Copies `size` bytes of a page that others may be writing, evicting or reusing. False: the memory
/// is not there; restart as after a failed validation.
[[nodiscard]] inline bool copy_optimistic(void* destination, const void* source,
                                          std::size_t size) noexcept {
  if (size == 0) return true;  // either may be null
  if (detail::memory_may_fault.load(std::memory_order_relaxed)) [[unlikely]] {
    return detail::copy_with_fixup(destination, source, size);
  }
#ifdef FIRN_ATOMIC_PAGE_BYTES
  detail::load_words(destination, source, size);
#else
  std::memcpy(destination, source, size);
#endif
  return true;
}

template <class T>
requires(std::is_trivially_copyable_v<T>)
    [[nodiscard]] bool load_optimistic(T& value, const void* source) noexcept {
  return copy_optimistic(&value, source, sizeof(T));
}

/// Stores into a page that optimistic readers may be copying: under the exclusive latch, the append
/// bit or while it is being loaded.
inline void store_page(void* destination, const void* source, std::size_t size) noexcept {
  if (size == 0) return;  // either may be null
#ifdef FIRN_ATOMIC_PAGE_BYTES
  detail::store_words(destination, source, size);
#else
  std::memcpy(destination, source, size);
#endif
}

}  // namespace firn::buffer
