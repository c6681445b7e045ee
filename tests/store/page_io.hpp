// Pages of the tests, and single reads and writes of them on fibers.
#pragma once

#include <cstring>
#include <memory>

#include "base/random.hpp"
#include "runtime/fiber.hpp"
#include "store/aligned_block.hpp"
#include "store/store.hpp"

namespace firn::test {

using format::PageId;

/// The content of `page` in its `generation`: every byte follows from the two.
inline std::uint32_t fill_page(std::byte* data, PageId page, std::uint64_t generation) {
  base::Random random(page.bits() * 1'000'003 + generation);
  const std::size_t whole = format::page_bytes(page.size_class());
  format::PageHeader header;
  header.kind = format::PageKind::raw;
  header.table = generation;  // so that a test can tell which generation an image is
  header.length = static_cast<std::uint32_t>(sizeof header + random.below(whole - sizeof header));
  std::memset(data, 0, whole);
  std::memcpy(data, &header, sizeof header);
  for (std::size_t at = sizeof header; at < header.length; ++at) {
    data[at] = static_cast<std::byte>(random.next());
  }
  return header.length;
}

/// Whether `data`, as read, is the page's content in the generation it says, and which that is.
inline bool check_page(const std::byte* data, PageId page, std::uint64_t& generation) {
  format::PageHeader header;
  std::memcpy(&header, data, sizeof header);
  generation = header.table;
  auto block = store::AlignedBlock::make(format::page_bytes(page.size_class()));
  const std::uint32_t length = fill_page(block->data(), page, generation);
  return header.length == length &&
         std::memcmp(data + sizeof header, block->data() + sizeof header,
                     format::page_bytes(page.size_class()) - sizeof header) == 0;
}

namespace detail {
template <class Access>
void wake(Access& access) noexcept {
  runtime::ExecutorCore::wake(*static_cast<runtime::Fiber*>(access.context));
}
}  // namespace detail

inline Result<void> write_page(store::Store& store, runtime::ExecutorCore& executor, PageId page,
                               std::uint64_t generation, std::uint64_t number,
                               std::uint8_t segment = 0) {
  FIRN_TRY_ASSIGN(auto block, store::AlignedBlock::make(format::page_bytes(page.size_class())));
  fill_page(block.data(), page, generation);
  store::PageWrite write;
  write.page = page;
  write.data = block.data();
  write.number = number;
  write.segment = segment;
  write.group = page.size_class() <= 2 ? store::Group::leaves : store::Group::runs;
  write.context = runtime::current_fiber();
  write.done = &detail::wake<store::PageWrite>;
  store.write(executor, write);
  runtime::FiberContext::suspend();
  return write.outcome;
}

/// The generation that was read; `corrupt` if the bytes are not what any generation has.
inline Result<std::uint64_t> read_page(store::Store& store, runtime::ExecutorCore& executor,
                                       PageId page) {
  FIRN_TRY_ASSIGN(auto block, store::AlignedBlock::make(format::page_bytes(page.size_class())));
  store::PageRead read;
  read.page = page;
  read.data = block.data();
  read.context = runtime::current_fiber();
  read.done = &detail::wake<store::PageRead>;
  store.read(executor, read);
  runtime::FiberContext::suspend();
  FIRN_TRY(read.outcome);
  std::uint64_t generation = 0;
  // A wrong answer without an error: no test may take it for one.
  FIRN_ASSERT(check_page(block.data(), page, generation));
  return generation;
}

}  // namespace firn::test
