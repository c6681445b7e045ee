// Writing images: copied under a share, written from the copy, so that no latch spans the I/O.
#include <cstring>

#include "base/planted.hpp"
#include "buffer/pool.hpp"

namespace firn::buffer {

// Begins to write the page's image, or the older one that it owes, if it is dirty and not being
// written. Both ways take the io bit, which makes the images of a page follow one another.
Pool::Write Pool::start_write(runtime::ExecutorCore& executor, PageSlot page,
                              segment::IoClass io_class) noexcept {
  Descriptor& descriptor = descriptors_[page];
  const PageWord seen = descriptor.state.load();
  if (!seen.readable() || !seen.dirty() || seen.io()) return Write::nothing;
  WriteRecord* record = take_write(page.size_class());
  if (record == nullptr) return Write::no_room;
  if (!descriptor.state.try_share(seen)) {
    give_write(*record);
    return Write::nothing;
  }
  if (!descriptor.state.begin_write_back()) {
    if (descriptor.state.release_share()) wake(descriptor);
    give_write(*record);
    return Write::nothing;
  }
  Frame& frame = frames_[descriptor.frame.load(std::memory_order_relaxed)];
  const std::uint64_t stamp = frame.stamp.load(std::memory_order_relaxed);
  const std::uint32_t owed = frame.owed.load(std::memory_order_relaxed);
  store::PageWrite& write = record->write;
  record->page = page;
  record->owed = owed;
  if (owed != 0) {
    // Dirty comes back when it is written: the page itself is newer.
    write.data = copy_arena_.block_of(owed);
    write.number = stamp - 1;
  } else {
    write.data = record->block;
    write.number = stamp;
    make_image(page, record->block);
  }
  const auto kind = static_cast<std::size_t>(frame.kind.load(std::memory_order_relaxed));
  if (descriptor.state.release_share()) wake(descriptor);
  write.page = page;
  write.group = hooks_[kind].group;
  write.claim =
      io_class == segment::IoClass::checkpoint ? store::Claim::background : store::Claim::ordinary;
  write.io_class = io_class;
  write.context = record;
  write.done = [](store::PageWrite& finished) noexcept {
    auto& self = *static_cast<WriteRecord*>(finished.context);
    self.pool->end_write(self);
  };
  write.outcome = {};
  if (FIRN_PLANTED("pool-dirty-dropped") && owed == 0) {
    if (descriptor.state.finish_write_back(true)) wake(descriptor);
    give_write(*record);
    return Write::begun;
  }
  record->released_early = FIRN_PLANTED("pool-evict-during-io") && owed == 0;
  if (record->released_early && descriptor.state.finish_write_back(true)) wake(descriptor);
  record->elsewhere = !is_background(executor);
  if (record->elsewhere) requests_elsewhere_.fetch_add(1);
  store_.write(executor, write);
  return Write::begun;
}

void Pool::end_write(WriteRecord& record) noexcept {
  const bool success = record.write.outcome.has_value();
  Descriptor& descriptor = descriptors_[record.page];
  bool clean = success;
  if (record.owed != 0) {
    clean = false;
    if (success) {
      // Still under io: the page stays where it is.
      frames_[descriptor.frame.load(std::memory_order_relaxed)].owed.store(
          0, std::memory_order_release);
      const base::SpinGuard guard(copy_lock_);
      copy_arena_.free(copy_arena_.block_of(record.owed), record.page.size_class());
    }
  }
  if (!record.released_early && descriptor.state.finish_write_back(clean)) wake(descriptor);
  if (success) {
    counters_.write_backs.fetch_add(1, std::memory_order_relaxed);
    counters_.write_back_bytes.fetch_add(record.write.request.length(), std::memory_order_relaxed);
  } else {
    counters_.failed_write_backs.fetch_add(1, std::memory_order_relaxed);
  }
  if (!success) {
    write_queue_.with_lock([&]() noexcept {
      write_error_ = record.write.outcome.error();
      ++writes_failed_row_;
    });
  } else {
    write_queue_.with_lock([&]() noexcept { writes_failed_row_ = 0; });
  }
  const bool elsewhere = record.elsewhere;
  give_write(record);
  if (success && under_pressure()) kick();
  if (elsewhere) requests_elsewhere_.fetch_sub(1);
}

// A record with a block for a page of the class, or null.
WriteRecord* Pool::take_write(unsigned size_class) noexcept {
  return write_queue_.with_lock([&]() noexcept -> WriteRecord* {
    WriteRecord* record = writes_free_;
    if (record == nullptr) return nullptr;
    std::byte* block = write_arena_.allocate(size_class);
    if (block == nullptr) return nullptr;
    writes_free_ = record->next_free;
    record->block = block;
    record->block_class = size_class;
    ++writes_under_way_;
    return record;
  });
}

void Pool::give_write(WriteRecord& record) noexcept {
  write_queue_.give([&]() noexcept {
    write_arena_.free(record.block, record.block_class);
    record.next_free = writes_free_;
    writes_free_ = &record;
    --writes_under_way_;
    ++writes_ended_;
  });
}

// The image of a page that nobody changes now; returns its length.
std::uint32_t Pool::make_image(PageSlot page, std::byte* image) const noexcept {
  const std::byte* content = resolve(page);
  format::PageHeader header;
  std::memcpy(&header, content, sizeof header);
  const auto kind = static_cast<std::size_t>(header.kind);
  FIRN_ASSERT(kind < kind_count_max && registered_[kind]);
  const std::size_t most = page_bytes(page.size_class());
  std::uint32_t length = header.length;
  FIRN_ASSERT(length >= sizeof header && length <= most);
  if (hooks_[kind].serialize != nullptr) {
    length = hooks_[kind].serialize(content, image);
    FIRN_ASSERT(length >= sizeof header && length <= most);
  } else {
    std::memcpy(image, content, length);
  }
  // Granules are 512 bytes or larger, by powers of two; what follows the used bytes is not kept.
  std::memset(image + length, 0, most - length);
  return length;
}

}  // namespace firn::buffer
