// One publication of a checkpoint, from its places to its superblock. The checkpointer's own; lives
// on its fiber's stack.
#pragma once

#include <array>
#include <cstdlib>
#include <vector>

#include "store/aligned_block.hpp"
#include "store/manifest.hpp"
#include "store/mapped_allocator.hpp"
#include "store/store_impl.hpp"

namespace firn::store {

class Publication {
 public:
  Publication(Store& store, runtime::ExecutorCore& executor, std::uint64_t number) noexcept
      : store_(store), executor_(executor), number_(number) {}
  Result<void> run(const Payload& payload) noexcept;

 private:
  // One extent to write; the manifest is the last one.
  struct Piece {
    std::size_t bytes = 0;
    std::size_t change_count = 0;
    std::size_t given_up_count = 0;
    Location location;
  };

  Result<void> prepare();
  Result<void> place_pieces() noexcept;
  void take_pieces_back() noexcept;
  void give_pieces_back() noexcept;
  static bool changed_nothing(ErrorCode code) noexcept;
  void collect_segments();
  void collect_changes();
  void collect_snapshot();
  [[nodiscard]] bool layout(bool fold);
  void list_given_up();
  void give_up_former() noexcept;
  Result<void> write_extents();
  Result<void> write_piece(const Piece& piece, const AlignedBlock& block);
  /// What a checkpoint says of a page.
  [[nodiscard]] MappingChange durable(PageId page, MappingEntry entry) const noexcept;
  Result<void> sync_segments() noexcept;
  Result<void> sync_superblock() noexcept;
  Result<void> write_superblock(const Payload& payload) noexcept;
  void finish(const Payload& payload) noexcept;
  void release_given_up() noexcept;

  Store& store_;
  runtime::ExecutorCore& executor_;
  const std::uint64_t number_;
  bool fold_ = false;
  unsigned sync_count_ = 0;
  MappedVector<MappingChange> changes_;
  MappedVector<std::uint64_t> given_up_;  // locations
  std::vector<Piece> pieces_;
  std::vector<ExtentReference> references_;
  std::array<std::uint64_t, format::size_class_count> next_slot_{};
  std::vector<std::byte> segment_entries_;
  std::uint32_t segment_count_ = 0;
  std::array<bool, segment_count_max> is_volatile_{};
};

}  // namespace firn::store
