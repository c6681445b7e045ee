#include "store/manifest.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/allocation.hpp"
#include "format/segment_head.hpp"

namespace firn::store {
namespace {

// `count` elements of a trivially copyable type from `offset` of the image on; false if they are
// not all there. `offset` moves behind them.
template <class T>
bool take(Bytes image, std::size_t& offset, std::uint64_t count, std::vector<T>& out) {
  if (count > (image.size() - offset) / sizeof(T)) return false;
  out.resize(count);
  if (count > 0) std::memcpy(out.data(), image.data() + offset, count * sizeof(T));
  offset += count * sizeof(T);
  return true;
}

// The entry at the front of `rest`, which moves behind it; false if it makes no sense.
bool take_segment(Bytes& rest, SegmentRecord& out) {
  SegmentEntryHead head;
  if (rest.size() < sizeof head) return false;
  std::memcpy(&head, rest.data(), sizeof head);
  const std::size_t name_end = sizeof head + head.name_bytes;
  const std::size_t text_end = name_end + head.path_bytes;
  const std::size_t end = (text_end + 7) / 8 * 8;
  if (end > rest.size()) return false;
  const bool sane =
      head.id != 0 && head.name_bytes > 0 && head.path_bytes <= segment_path_bytes_max &&
      head.reserved == 0 && head.kind >= static_cast<std::uint8_t>(SegmentKind::file) &&
      head.kind <= static_cast<std::uint8_t>(SegmentKind::simulated) &&
      head.flags <= (SegmentEntryHead::flag_volatile | SegmentEntryHead::flag_append_only) &&
      std::has_single_bit(head.granule_bytes) && head.granule_bytes >= 512 &&
      head.granule_bytes <= 4096 && std::has_single_bit(head.chunk_bytes) &&
      head.chunk_bytes >= 64 * head.granule_bytes && head.chunk_bytes <= 64U << 20 &&
      head.size_bytes % head.chunk_bytes == 0 &&
      head.size_bytes / head.chunk_bytes <= Location::chunk_count_max;
  if (!sane) return false;
  const auto* text = reinterpret_cast<const char*>(rest.data());
  out.id = head.id;
  out.kind = static_cast<SegmentKind>(head.kind);
  out.is_volatile = (head.flags & SegmentEntryHead::flag_volatile) != 0;
  out.append_only = (head.flags & SegmentEntryHead::flag_append_only) != 0;
  out.granule_bytes = head.granule_bytes;
  out.chunk_bytes = head.chunk_bytes;
  out.size_bytes = head.size_bytes;
  out.identity = head.identity;
  out.name.assign(text + sizeof head, head.name_bytes);
  out.path.assign(text + name_end, head.path_bytes);
  rest = rest.subview(end);
  return out.path.find('\0') == std::string::npos;
}

// All of them, in ascending order, each name once.
bool take_segments(Bytes rest, std::uint32_t count, std::vector<SegmentRecord>& out) {
  if (count >= segment_count_max) return false;
  for (std::uint32_t index = 0; index < count; ++index) {
    SegmentRecord record;
    if (!take_segment(rest, record)) return false;
    if (!out.empty() && record.id <= out.back().id) return false;
    const bool known = std::any_of(out.begin(), out.end(), [&](const SegmentRecord& other) {
      return other.name == record.name;
    });
    if (known) return false;
    out.push_back(std::move(record));
  }
  return rest.size() == 0;
}

}  // namespace

std::size_t segment_entry_bytes(const SegmentRecord& record) noexcept {
  return (sizeof(SegmentEntryHead) + record.name.size() + record.path.size() + 7) / 8 * 8;
}

void encode_segment_entry(const SegmentRecord& record, std::uint64_t size_bytes,
                          std::vector<std::byte>& out) {
  FIRN_ASSERT(!record.name.empty() && record.name.size() <= format::segment_name_bytes_max);
  FIRN_ASSERT(record.path.size() <= segment_path_bytes_max);
  const std::size_t begin = out.size();
  out.resize(begin + segment_entry_bytes(record));
  SegmentEntryHead head;
  head.id = record.id;
  head.kind = static_cast<std::uint8_t>(record.kind);
  head.flags =
      static_cast<std::uint8_t>((record.is_volatile ? SegmentEntryHead::flag_volatile : 0) |
                                (record.append_only ? SegmentEntryHead::flag_append_only : 0));
  head.name_bytes = static_cast<std::uint8_t>(record.name.size());
  head.path_bytes = static_cast<std::uint16_t>(record.path.size());
  head.granule_bytes = record.granule_bytes;
  head.chunk_bytes = record.chunk_bytes;
  head.size_bytes = size_bytes;
  head.identity = record.identity;
  std::byte* at = out.data() + begin;
  std::memcpy(at, &head, sizeof head);
  std::memcpy(at + sizeof head, record.name.data(), record.name.size());
  std::memcpy(at + sizeof head + record.name.size(), record.path.data(), record.path.size());
}

Result<void> decode_manifest(Bytes image, Manifest& out) noexcept {
  ManifestHead head;
  if (image.size() < sizeof head) return fail(ErrorCode::corrupt, "the manifest is cut short");
  std::memcpy(&head, image.data(), sizeof head);
  if (head.page.kind != format::PageKind::manifest) {
    return fail(ErrorCode::corrupt, "what should be the manifest is something else");
  }
  out.number = head.number;
  out.next_slot = head.next_slot;
  bool whole = false;
  std::size_t offset = sizeof head;
  FIRN_TRY(base::guard_allocation(
      [&] { whole = take(image, offset, head.reference_count, out.references); }));
  if (whole) whole = head.segment_bytes <= image.size() - offset;
  if (!whole) return fail(ErrorCode::corrupt, "the manifest's counts do not fit its size");
  FIRN_TRY(base::guard_allocation([&] {
    const Bytes entries(image.data() + offset, head.segment_bytes);
    whole = take_segments(entries, head.segment_count, out.segments);
  }));
  if (!whole) return fail(ErrorCode::corrupt, "the manifest's list of segments makes no sense");
  return {};
}

Result<void> decode_mapping_extent(Bytes image, MappingExtent& out) noexcept {
  MappingHead head;
  if (image.size() < sizeof head) return fail(ErrorCode::corrupt, "a mapping extent is cut short");
  std::memcpy(&head, image.data(), sizeof head);
  if (head.page.kind != format::PageKind::mapping_log &&
      head.page.kind != format::PageKind::snapshot) {
    return fail(ErrorCode::corrupt, "what should be a mapping extent is something else");
  }
  out.number = head.number;
  bool whole = false;
  std::size_t offset = sizeof head;
  FIRN_TRY(base::guard_allocation([&] {
    whole = take(image, offset, head.change_count, out.changes) &&
            take(image, offset, head.given_up_count, out.given_up);
  }));
  if (!whole) return fail(ErrorCode::corrupt, "a mapping extent's counts do not fit its size");
  return {};
}

}  // namespace firn::store
