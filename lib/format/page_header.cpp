#include "format/page_header.hpp"

#include <algorithm>
#include <cstring>

#include "base/planted.hpp"
#include "format/checksum.hpp"

namespace firn::format {
namespace {

constexpr std::size_t checksum_end = sizeof(PageHeader::checksum);

std::uint64_t checksum_of_image(Bytes image, std::uint64_t domain) noexcept {
  return checksum(image.subview(checksum_end), domain);
}

}  // namespace

void seal_image(std::byte* image, std::size_t size, std::uint64_t domain) noexcept {
  const std::uint64_t sum = checksum_of_image({image, size}, domain);
  std::memcpy(image, &sum, sizeof sum);
}

const char* describe(ImageFault fault) noexcept {
  switch (fault) {
    case ImageFault::none:
      return "the image is whole";
    case ImageFault::zeroes:
      return "the image is all zeroes";
    case ImageFault::checksum:
      return "the image's checksum does not match its bytes";
    case ImageFault::foreign_domain:
      return "the image belongs to another domain";
    case ImageFault::other_page:
      return "the image is that of page {}";
    case ImageFault::stale:
      return "the image is an older one of the page: a write was lost";
    case ImageFault::length:
      return "the image's length makes no sense";
  }
  return "the image is damaged";
}

ImageFault check_image(Bytes image, PageId page, std::uint64_t domain,
                       std::uint64_t expected_checksum) noexcept {
  if (image.size() < sizeof(PageHeader)) return ImageFault::length;
  PageHeader header;
  std::memcpy(&header, image.data(), sizeof header);
  const std::uint64_t sum = checksum_of_image(image, domain);
  if (FIRN_PLANTED("page-checksum-skipped")) return ImageFault::none;
  if (sum != header.checksum) {
    const bool zero =
        std::all_of(image.begin(), image.end(), [](std::byte byte) { return byte == std::byte{}; });
    if (zero) return ImageFault::zeroes;
    if (header.domain != domain && checksum_of_image(image, header.domain) == header.checksum) {
      return ImageFault::foreign_domain;
    }
    return ImageFault::checksum;
  }
  if (header.domain != domain) return ImageFault::foreign_domain;
  if (header.page_id != page.bits()) return ImageFault::other_page;
  if (sum != expected_checksum && !FIRN_PLANTED("page-expected-version-ignored")) {
    return ImageFault::stale;
  }
  if (header.length < sizeof(PageHeader)) return ImageFault::length;
  if (header.length > image.size() && !FIRN_PLANTED("short-image-accepted")) {
    return ImageFault::length;
  }
  return ImageFault::none;
}

}  // namespace firn::format
