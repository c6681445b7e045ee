// What a checkpoint consists of besides the images: a manifest that lists mapping extents, each
// with its checksum, and the segments besides segment 0. A mapping extent holds changes; applied in
// the list's order they give the mapping. The last ones also hold what the checkpoint gave up,
// which must not be used again before the next one.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <firn/bytes.hpp>
#include <firn/result.hpp>

#include "format/page_header.hpp"
#include "store/location.hpp"
#include "store/mapping.hpp"
#include "store/segment_record.hpp"

namespace firn::store {

/// A place with the checksum that its image must have.
struct ExtentReference {
  std::uint64_t location = 0;
  std::uint64_t checksum = 0;
};
static_assert(sizeof(ExtentReference) == 16);

/// One change of the mapping; a location of 0 says that the page is gone.
struct MappingChange {
  std::uint64_t page = 0;
  std::uint64_t location = 0;
  std::uint64_t checksum = 0;
};
static_assert(sizeof(MappingChange) == 24);

struct ManifestHead {
  format::PageHeader page;
  std::uint64_t number = 0;
  std::uint64_t reference_count = 0;  ///< ExtentReferences that follow
  std::array<std::uint64_t, format::size_class_count> next_slot{};  ///< first never used, per class
  std::uint32_t segment_count = 0;  ///< segment entries behind the references
  std::uint32_t segment_bytes = 0;  ///< of all of them
};
static_assert(sizeof(ManifestHead) == 64 + 16 + 72 + 8);

struct MappingHead {
  format::PageHeader page;
  std::uint64_t number = 0;
  std::uint32_t change_count = 0;    ///< MappingChanges that follow
  std::uint32_t given_up_count = 0;  ///< then locations given up, 8 bytes each
};
static_assert(sizeof(MappingHead) == 64 + 16);

struct Manifest {
  std::uint64_t number = 0;
  std::array<std::uint64_t, format::size_class_count> next_slot{};
  std::vector<ExtentReference> references;
  std::vector<SegmentRecord> segments;  ///< in the order of their numbers, 0 not among them
};

/// Any bytes are safe: counts are checked against the image's size, and the segments' numbers,
/// names and sizes make sense. Allocates.
[[nodiscard]] Result<void> decode_manifest(Bytes image, Manifest& out) noexcept;

struct MappingExtent {
  std::uint64_t number = 0;
  std::vector<MappingChange> changes;
  std::vector<std::uint64_t> given_up;
};
[[nodiscard]] Result<void> decode_mapping_extent(Bytes image, MappingExtent& out) noexcept;

}  // namespace firn::store
