// The head of every page, in memory and on the device. Pages describe themselves: a scan of a
// segment finds out what each image is without the mapping. Little-endian; docs/format.md shows the
// picture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <firn/bytes.hpp>

#include "format/page_id.hpp"

namespace firn::format {

/// What a page is. The numbers are part of the format.
enum class PageKind : std::uint16_t {
  none = 0,
  raw = 1,  ///< bytes of the tests and of tools
  leaf = 2,
  inner = 3,
  run = 4,
  blob = 5,
  manifest = 16,  ///< of the store itself: not a page of the mapping
  snapshot = 17,
  mapping_log = 18,
};

struct PageHeader {
  std::uint64_t checksum =
      0;  ///< of the image's bytes after this field, seeded with the domain's id
  std::uint64_t page_id = 0;  ///< PageId::bits
  std::uint64_t version = 0;  ///< grows with every image the store ever writes: the newest one wins
  std::uint64_t domain = 0;   ///< the domain's id
  std::uint64_t table = 0;    ///< 0: of no table
  std::uint32_t length = 0;  ///< used bytes of the page, this head included; the rest is not stored
  PageKind kind = PageKind::none;
  std::uint8_t level = 0;    ///< 0: leaf
  std::uint8_t format = 1;   ///< of the page's layout
  std::uint32_t key_id = 0;  ///< of the encryption key; 0: not encrypted
  std::uint32_t reserved = 0;
  std::uint64_t reserved_too = 0;
};
static_assert(sizeof(PageHeader) == 72 - 8);
static_assert(offsetof(PageHeader, length) == 40 && offsetof(PageHeader, key_id) == 48);
static_assert(std::is_trivially_copyable_v<PageHeader>);

/// Fills in the checksum of an image of `image.size()` bytes that begins with a PageHeader.
void seal_image(std::byte* image, std::size_t size, std::uint64_t domain) noexcept;

/// What is wrong with an image, so that an error can say it.
enum class ImageFault : std::uint8_t {
  none,
  zeroes,          ///< all bytes are zero: never written, or trimmed by the device
  checksum,        ///< the bytes do not agree with their own checksum
  foreign_domain,  ///< a whole image of another domain
  other_page,      ///< a whole image of another page: misdirected or swapped
  stale,           ///< a whole image of this page, but not the one the mapping expects
  length,          ///< its length makes no sense for the page's class
};
[[nodiscard]] const char* describe(ImageFault fault) noexcept;

/// Checks an image as read from a device: against itself, against the page it should be, and
/// against the checksum that the mapping expects. Any bytes are safe.
[[nodiscard]] ImageFault check_image(Bytes image, PageId page, std::uint64_t domain,
                                     std::uint64_t expected_checksum) noexcept;

}  // namespace firn::format
