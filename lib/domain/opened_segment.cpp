#include "domain/opened_segment.hpp"

#include <array>
#include <string>

#include "base/allocation.hpp"
#include "segment/fiber_io.hpp"
#include "store/aligned_block.hpp"

namespace firn::domain {
namespace {

constexpr std::uint64_t mapping_bytes_least = std::uint64_t{256} << 20;

}  // namespace

Result<void> OpenedSegment::open(std::string_view path) noexcept {
  if (runtime::current_fiber() != nullptr) {
    return fail(ErrorCode::invalid_state, "a check blocks: call it outside of fibers");
  }
  if (path.find('\0') != std::string_view::npos) {
    return fail(ErrorCode::invalid_argument, "the path holds a zero byte");
  }
  std::string name;
  FIRN_TRY(base::guard_allocation([&] { name = path; }));
  FIRN_TRY_ASSIGN(file_, segment::FileBackend::open(name.c_str(), {.read_only = true}));
  FIRN_TRY_ASSIGN(auto* const core, runtime::ExecutorCore::create());
  executor_.reset(core);
  return on_fiber([this]() noexcept -> Result<void> {
    FIRN_TRY(look_for_superblock());
    store::StoreOptions options;
    // A whole mapping takes half a percent of the pages; ids that lie far apart take more.
    options.mapping_bytes_max = mapping_bytes_least + file_->size() / 8;
    FIRN_TRY_ASSIGN(store_, store::Store::open_read_only(*executor_, *file_, options));
    return {};
  });
}

// Tells what was never Firn's from what is damaged, which the store cannot: to it, four blocks
// without a whole superblock are damage.
Result<void> OpenedSegment::look_for_superblock() noexcept {
  Failure none = fail(ErrorCode::not_found, "no Firn segment: there is no superblock in it");
  none.error.place = segment::place_in(file_->id());
  if (file_->size() < format::superblock_area_bytes) {
    none.error.detail = "no Firn segment: it ends after {} bytes";
    none.error.value = file_->size();
    return none;
  }
  FIRN_TRY_ASSIGN(const auto area, store::AlignedBlock::make(format::superblock_area_bytes));
  std::array<segment::Request, 4> requests;
  for (unsigned index = 0; index < requests.size(); ++index) {
    requests[index].offset = format::superblock_offset(index / 2, index % 2);
    requests[index].set_buffer(area.data() + requests[index].offset, format::superblock_bytes);
  }
  static_cast<void>(segment::await_all(*file_, *executor_, requests));
  bool anything = false;
  for (const segment::Request& request : requests) {
    if (!request.outcome.has_value()) {
      anything = true;  // perhaps one is there: the store says what follows
      continue;
    }
    const Bytes block(area.data() + request.offset, format::superblock_bytes);
    format::Superblock found;
    const format::SuperblockState state = format::decode_superblock(block, found);
    // Damage to the magic itself is left to its three copies.
    anything = anything || found.magic == format::Superblock::magic_text;
    if (state == format::SuperblockState::valid && found.number > superblock_.number) {
      superblock_ = found;
    }
  }
  if (!anything) return none;
  return {};
}

}  // namespace firn::domain
