#include "buffer/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>

#include <firn/assertion.hpp>

#include "base/allocation.hpp"

namespace firn::buffer {

Result<Mapped> Mapped::map(std::uint64_t bytes, bool present) noexcept {
  Mapped mapped;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) return fail_system(ErrorCode::no_memory, errno, "mmap");
  mapped.data_ = static_cast<std::byte*>(memory);
  mapped.bytes_ = bytes;
  // A huge page would make whole what was meant to be touched here and there.
  static_cast<void>(::madvise(memory, bytes, MADV_NOHUGEPAGE));
  if (present) std::memset(memory, 0, bytes);
  return mapped;
}

void Mapped::unmap() noexcept {
  if (data_ != nullptr) static_cast<void>(::munmap(data_, bytes_));
}

Result<void> Arena::create(std::uint64_t bytes) noexcept {
  constexpr std::uint64_t largest = page_bytes(size_class_count - 1);
  const std::uint64_t rounded = bytes >= largest
                                    ? (bytes + largest - 1) / largest * largest
                                    : std::bit_ceil(std::max<std::uint64_t>(bytes, unit));
  top_ = static_cast<unsigned>(std::countr_zero(std::min(rounded, largest) / unit));
  FIRN_TRY_ASSIGN(memory_, Mapped::map(rounded, true));
  FIRN_TRY(base::guard_allocation([&] { units_.resize(rounded / unit); }));
  heads_.fill(none);
  const auto step = std::uint32_t{1} << top_;
  for (std::uint32_t block = 0; block < units_.size(); block += step) push(block, top_);
  free_units_ = units_.size();
  return {};
}

void Arena::push(std::uint32_t block, unsigned order) noexcept {
  Unit& entry = units_[block];
  entry = {.next = heads_[order], .previous = none, .free_order = static_cast<std::uint8_t>(order)};
  if (entry.next != none) units_[entry.next].previous = block;
  heads_[order] = block;
}

void Arena::remove(std::uint32_t block) noexcept {
  Unit& entry = units_[block];
  (entry.previous == none ? heads_[entry.free_order] : units_[entry.previous].next) = entry.next;
  if (entry.next != none) units_[entry.next].previous = entry.previous;
  entry.free_order = not_free;
}

std::byte* Arena::allocate(unsigned size_class) noexcept {
  unsigned order = size_class;
  while (order <= top_ && heads_[order] == none) ++order;
  if (order > top_) return nullptr;
  const std::uint32_t block = heads_[order];
  remove(block);
  while (order > size_class) {
    --order;
    push(block + (std::uint32_t{1} << order), order);
  }
  free_units_ -= std::uint64_t{1} << size_class;
  return memory_.data() + block * unit;
}

void Arena::free(std::byte* address, unsigned size_class) noexcept {
  std::uint32_t block = number_of(address) - 1;
  FIRN_ASSERT(block < units_.size() && units_[block].free_order == not_free);
  free_units_ += std::uint64_t{1} << size_class;
  unsigned order = size_class;
  for (; order < top_; ++order) {
    const std::uint32_t buddy = block ^ (std::uint32_t{1} << order);
    if (units_[buddy].free_order != order) break;
    remove(buddy);
    block &= ~(std::uint32_t{1} << order);
  }
  push(block, order);
}

void Arena::check_well_formed() const noexcept {
  std::uint64_t units = 0;
  for (unsigned order = 0; order <= top_; ++order) {
    for (std::uint32_t block = heads_[order]; block != none; block = units_[block].next) {
      FIRN_ASSERT(units_[block].free_order == order);
      FIRN_ASSERT(block % (std::uint32_t{1} << order) == 0);
      units += std::uint64_t{1} << order;
    }
  }
  FIRN_ASSERT(units == free_units_);
}

}  // namespace firn::buffer
