#include "store/manifest.hpp"

#include <cstring>

#include "base/allocation.hpp"

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

}  // namespace

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
  if (!whole) return fail(ErrorCode::corrupt, "the manifest's counts do not fit its size");
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
