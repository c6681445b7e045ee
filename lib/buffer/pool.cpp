// Creation, the budget, statistics and checks of the pool.
#include "buffer/pool.hpp"

#include <unistd.h>

#include <algorithm>
#include <new>

#include "base/allocation.hpp"
#include "base/planted.hpp"
#include "buffer/cleaner.hpp"
#include "buffer/fault_handler.hpp"
#include "buffer/prefetch.hpp"

namespace firn::buffer {
namespace {

constexpr std::uint64_t buffer_bytes_min = 64 * 1024;
constexpr std::uint64_t buffer_bytes_max = 64ULL << 20;
// Writes under way; there are not more buffers of the smallest class than that in most pools.
constexpr std::uint32_t writes_max = 256;
// Beside those that anybody may begin.
constexpr std::uint32_t urgent_reads = 2;
// Pages that must fit, or no operation gets anywhere.
constexpr std::uint64_t frame_count_min = 8;
// Of the memory for frames, what only urgent waiters take: less than the cleaner keeps free, so
// that operations seldom have to evict themselves.
constexpr std::uint64_t reserve_part = 256;

std::uint64_t buffer_bytes(std::uint64_t asked, std::uint64_t budget, std::uint64_t part) noexcept {
  if (asked != 0) return asked;
  return std::clamp(budget / part, buffer_bytes_min, buffer_bytes_max);
}

}  // namespace

Pool::Pool(store::Store& store, const PoolOptions& options) noexcept
    : store_(store), options_(options) {}

Pool::~Pool() {
  FIRN_ASSERT(cleaner_ == nullptr);
  FIRN_ASSERT(writes_under_way_ == 0);
  FIRN_ASSERT(reads_.used() == 0);
  if (faulting_memory_ != nullptr) unregister_faulting_memory(faulting_memory_);
}

// Late optimistic readers of evicted pages recover from their faults.
Result<void> Pool::register_memory() noexcept {
  if (memory_->stale_read() != StaleRead::fault) return {};
  const std::byte* first = memory_->resolve(PageSlot(0, 0));
  const std::byte* end = first;
  for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
    const std::byte* region = memory_->resolve(PageSlot(size_class, 0));
    first = std::min(first, region);
    end = std::max(end, region + memory_->slot_count(size_class) * page_bytes(size_class));
  }
  FIRN_TRY(register_faulting_memory(first, static_cast<std::size_t>(end - first)));
  faulting_memory_ = first;
  return {};
}

Result<std::unique_ptr<Pool>> Pool::create(store::Store& store,
                                           const PoolOptions& options) noexcept {
  std::unique_ptr<Pool> pool(new (std::nothrow) Pool(store, options));
  if (pool == nullptr) return fail(ErrorCode::no_memory);
  FIRN_TRY(pool->open());
  return pool;
}

Result<void> Pool::open() noexcept {
  if (options_.memory_budget_max == 0) {
    options_.memory_budget_max = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                                 static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  options_.memory_budget_max = std::max(options_.memory_budget_max, options_.memory_budget);
  options_.reads_max = std::max(options_.reads_max, 1U);
  FIRN_TRY_ASSIGN(memory_, Memory::reserve(options_.memory));
  FIRN_TRY(register_memory());
  FIRN_TRY(descriptors_.create(*memory_));
  FIRN_TRY(frames_.create(options_.memory_budget_max / smallest_page_bytes + frame_count_min));
  constexpr std::uint64_t table_bytes = 2_MiB;  // that one of the kernel's page tables maps
  for (unsigned size_class = 0; size_class < size_class_count; ++size_class) {
    const std::uint64_t bytes = memory_->slot_count(size_class) * page_bytes(size_class);
    FIRN_TRY(tables_[size_class].create(bytes / table_bytes + 1));
    page_bases_[size_class] = memory_->folded_base(size_class);
  }
  const std::uint64_t budget = options_.memory_budget;
  FIRN_TRY(write_arena_.create(buffer_bytes(options_.write_buffer_bytes, budget, 32)));
  FIRN_TRY(copy_arena_.create(buffer_bytes(options_.copy_buffer_bytes, budget, 64)));
  const auto write_count = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(writes_max, write_arena_.bytes() / smallest_page_bytes));
  const std::uint32_t read_count = options_.reads_max + urgent_reads;
  FIRN_TRY(base::guard_allocation([&] {
    faults_ = std::make_unique<FaultRecord[]>(read_count);
    writes_ = std::make_unique<WriteRecord[]>(write_count);
  }));
  for (std::uint32_t index = 0; index < read_count; ++index) {
    faults_[index].pool = this;
    faults_[index].next_free = faults_free_;
    faults_free_ = &faults_[index];
  }
  for (std::uint32_t index = 0; index < write_count; ++index) {
    writes_[index].pool = this;
    writes_[index].next_free = writes_free_;
    writes_free_ = &writes_[index];
  }
  reads_.set_limit(read_count);
  reads_.set_reserve(urgent_reads);
  registered_[static_cast<std::size_t>(PageKind::raw)] = true;

  fixed_bytes_ = sizeof(Pool) + copy_arena_.charge() + read_count * sizeof(FaultRecord) +
                 write_count * sizeof(WriteRecord);
  if (!FIRN_PLANTED("pool-buffers-uncharged")) fixed_bytes_ += write_arena_.charge();
  bytes_.force(fixed_bytes_);
  return set_budget(budget);
}

void Pool::register_kind(PageKind kind, const KindHooks& hooks) noexcept {
  const auto index = static_cast<std::size_t>(kind);
  FIRN_ASSERT(index < kind_count_max);
  hooks_[index] = hooks;
  registered_[index] = true;
}

std::uint64_t Pool::overhead_bytes() const noexcept {
  return fixed_bytes_ + other_bytes_.load(std::memory_order_relaxed) +
         store_bytes_.load(std::memory_order_relaxed);
}

std::uint64_t Pool::smallest_budget() const noexcept {
  const unsigned largest = class_max_.load(std::memory_order_relaxed);
  return overhead_bytes() +
         std::max<std::uint64_t>(frame_count_min * smallest_page_bytes, 4 * page_bytes(largest));
}

Result<void> Pool::set_budget(std::uint64_t bytes) noexcept {
  refresh_store_bytes();
  const std::uint64_t smallest = smallest_budget();
  if (bytes < smallest) {
    return fail(ErrorCode::no_memory, "the memory budget must be at least {} bytes here", smallest);
  }
  if (bytes > options_.memory_budget_max) {
    return fail(ErrorCode::invalid_argument, "the memory budget may be raised to {} bytes",
                options_.memory_budget_max);
  }
  bytes_.set_limit(bytes);
  spread_budget();
  // What is clean goes at once; the cleaner sees to the rest.
  constexpr std::uint64_t rounds_max = 16;
  for (std::uint64_t round = 0; round < rounds_max && bytes_.used() > bytes; ++round) {
    static_cast<void>(evict(bytes_.used() - bytes, frames_.end()));
  }
  if (bytes_.used() > bytes) kick();
  return {};
}

std::uint64_t Pool::frame_limit() const noexcept {
  const std::uint64_t limit = bytes_.limit();
  const std::uint64_t overhead = overhead_bytes();
  return limit > overhead ? limit - overhead : 0;
}

// What depends on how much there is for frames.
void Pool::spread_budget() noexcept {
  const std::uint64_t for_frames = frame_limit();
  creations_.set_limit(for_frames / 4);
  tickets_.set_limit(for_frames / 2);
  bytes_.set_reserve(for_frames / reserve_part / smallest_page_bytes * smallest_page_bytes);
}

// The store's maps grow with its pages; nobody can refuse them memory, so frames make room.
void Pool::refresh_store_bytes() noexcept {
  const std::uint64_t now = store_.statistics().memory_bytes;
  const std::uint64_t before = store_bytes_.exchange(now);
  if (now > before) bytes_.force(now - before);
  if (now < before) bytes_.give(before - now);
  if (now != before) spread_budget();
}

// Those who would not wait, or not with what they hold, if they came now. Somebody else has brought
// in the page that they keep, and nobody can evict it before they have looked; or less is left for
// frames than when they began.
void Pool::rouse_stale() noexcept {
  spread_budget();
  const auto keeps_what_is_there = [this](const Waiter& waiter) noexcept {
    return waiter.kept_.valid() && descriptors_[waiter.kept_].state.load().readable();
  };
  reads_.rouse(keeps_what_is_there);
  bytes_.rouse([&](const Waiter& waiter) noexcept {
    return keeps_what_is_there(waiter) || waiter.wanted_ > bytes_max_of(waiter) ||
           (waiter.urgent() && waiter.held_bytes_ + waiter.wanted_ > share_of(waiter));
  });
}

PoolStatistics Pool::statistics() const noexcept {
  PoolStatistics figures;
  figures.budget_bytes = bytes_.limit();
  figures.used_bytes = bytes_.used();
  figures.fixed_bytes = fixed_bytes_;
  figures.table_bytes = other_bytes_.load(std::memory_order_relaxed);
  figures.frame_bytes = frame_bytes_.load(std::memory_order_relaxed);
  figures.faults = counters_.faults.load(std::memory_order_relaxed);
  figures.fault_bytes = counters_.fault_bytes.load(std::memory_order_relaxed);
  figures.failed_faults = counters_.failed_faults.load(std::memory_order_relaxed);
  figures.evictions = counters_.evictions.load(std::memory_order_relaxed);
  figures.evicted_bytes = counters_.evicted_bytes.load(std::memory_order_relaxed);
  figures.write_backs = counters_.write_backs.load(std::memory_order_relaxed);
  figures.write_back_bytes = counters_.write_back_bytes.load(std::memory_order_relaxed);
  figures.failed_write_backs = counters_.failed_write_backs.load(std::memory_order_relaxed);
  figures.owed_copies = counters_.owed_copies.load(std::memory_order_relaxed);
  figures.page_waits = counters_.page_waits.load(std::memory_order_relaxed);
  figures.memory_waits = counters_.memory_waits.load(std::memory_order_relaxed);
  figures.checkpoints = counters_.checkpoints.load(std::memory_order_relaxed);
  return figures;
}

void Pool::check_well_formed() const noexcept {
  std::uint64_t frame_bytes = 0;
  std::uint64_t owed_units = 0;
  for (std::uint32_t index = 1; index < frames_.end(); ++index) {
    const Frame& frame = frames_[index];
    const PageSlot page = PageSlot::from_bits(frame.page.load());
    if (!page.valid()) continue;
    frame_bytes += page_bytes(page.size_class());
    const Descriptor& descriptor = descriptors_[page];
    const PageWord word = descriptor.state.load();
    FIRN_ASSERT(descriptor.frame.load() == index);
    FIRN_ASSERT(word.readable() && word.share_count() == 0 && !word.io() && !word.append());
    if (frame.owed.load() != 0) {
      FIRN_ASSERT(word.dirty());
      owed_units += std::uint64_t{1} << page.size_class();
    }
  }
  FIRN_ASSERT(frame_bytes == frame_bytes_.load());
  FIRN_ASSERT(bytes_.used() == overhead_bytes() + frame_bytes);
  FIRN_ASSERT(creations_.used() == 0 && tickets_.used() == 0 && reads_.used() == 0);
  FIRN_ASSERT(copy_arena_.bytes() - copy_arena_.free_bytes() == owed_units * smallest_page_bytes);
  FIRN_ASSERT(write_arena_.free_bytes() == write_arena_.bytes());
  copy_arena_.check_well_formed();
  write_arena_.check_well_formed();
}

}  // namespace firn::buffer
