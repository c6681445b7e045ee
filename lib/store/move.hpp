// Images to other places, without their pages' latches: cleaning of chunks, draining of segments.
// Lives on the stack of the fiber that moves.
//   1. A chunk or a segment is closed: nothing new is placed in it. Its images are of the number
//      that is current then, or below.
//   2. Once moves are recorded under that number (store.hpp), the mapping is searched for what lies
//      there.
//   3. Each image is read, verified and written elsewhere as it is.
//   4. The page's entry is changed if it is still the one of 2; else the copy is given up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "store/aligned_block.hpp"
#include "store/store_impl.hpp"

namespace firn::store {

class Mover {
 public:
  /// Moves what lies in `segment`: in these chunks of it, in ascending order, or, if none are
  /// named, all.
  Mover(Store& store, runtime::ExecutorCore& executor, Store::Segment& segment,
        std::span<const std::uint32_t> chunks) noexcept
      : store_(store),
        impl_(*store.impl_),
        executor_(executor),
        segment_(segment),
        chunks_(chunks) {}

  Result<MoveReport> run() noexcept;

 private:
  static constexpr std::size_t batch_max = 16;
  static constexpr std::size_t batch_bytes_max = std::size_t{1} << 20;

  struct Item {
    PageId page;
    MappingEntry entry;
    std::optional<AlignedBlock> block;
    Location target;
    std::uint64_t checksum = 0;
    bool ready = false;  // read and verified, then placed
  };

  [[nodiscard]] bool concerns(Location location) const noexcept;
  Result<void> collect_and_move() noexcept;
  Result<void> move_batch() noexcept;
  Result<void> read_batch() noexcept;
  Result<void> place_batch() noexcept;
  Result<void> write_batch() noexcept;
  void record(Item& item, bool written) noexcept;

  Store& store_;
  Store::Impl& impl_;
  runtime::ExecutorCore& executor_;
  Store::Segment& segment_;
  const std::span<const std::uint32_t> chunks_;
  std::array<Item, batch_max> items_;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
  MoveReport report_;
};

}  // namespace firn::store
