// The buffer manager: which pages are in memory, and how they come and go.
//
// Every page has a descriptor with its state word (page_state.hpp) and an address (memory.hpp),
// resident or not. Whoever finds a page evicted begins its one read and parks; whoever changes a
// page says so first (begin_change); a cleaner writes dirty images back and evicts what was not
// used.
//
//   1. Nothing here blocks: a call that must wait parks the waiter, which starts again when it is
//      woken. Who waits holds no latch.
//   2. A page is published to readers only when its image was read, agrees with the mapping, and
//      has passed the validator of its kind. A failed read leaves it evicted, and everybody who
//      waited for it gets the error.
//   3. One transfer per page at a time; no latch spans one. Images of a page are written in the
//      order of their numbers.
//   4. The budget counts frames, descriptors, the pool's and the kernel's page tables, buffers and
//      the store's maps. Memory is counted before it is used and given back after it is released,
//      so the sum never exceeds it but for descriptors, tables and maps, which grow when they must;
//      the cleaner makes that good.
//   5. A page that was dirty when a checkpoint's number was fixed is written under that number: as
//      it is, or from a copy that the first change under the next number has made ("owed"). While a
//      page owes an image it is neither written otherwise, evicted nor freed.
//   6. An operation that needs several pages at once keeps only the last one that it waited for,
//   and
//      may find the others evicted again and again. One that has loaded many is favoured, one at a
//      time, and keeps what it waited for until it is done; so somebody always gets on.
//   7. The cleaner and the checkpoint need no frames, and their buffers are theirs alone, so they
//      go on however many operations wait.
//
// Shared between threads, but for create, destruction and what is marked as one thread's.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <firn/bytes.hpp>
#include <firn/result.hpp>

#include "buffer/arena.hpp"
#include "buffer/descriptors.hpp"
#include "buffer/frames.hpp"
#include "buffer/memory.hpp"
#include "buffer/touched.hpp"
#include "buffer/transfer.hpp"
#include "buffer/waiter.hpp"
#include "store/store.hpp"

namespace firn::buffer {

using format::PageKind;

/// What an access came to.
enum class Access : std::uint8_t {
  ready,   ///< latched
  again,   ///< something has changed: start again
  parked,  ///< the waiter runs again later; nothing of it may be touched now
  failed,  ///< the error says why
};

/// A page that is to be made.
struct NewPage {
  unsigned size_class = 0;
  format::PageHeader header;  ///< of its first bytes; id, domain and version are filled in
  PageSlot page;              ///< outcome
};

/// What the owner of a kind of pages knows about them.
struct KindHooks {
  /// Checks a page that came from the device; any bytes are possible. Null: anything is valid.
  Result<void> (*validate)(PageSlot page, Bytes content) noexcept = nullptr;
  /// Writes the image of a page into `image`, which has room for all of it, and returns its length,
  /// which the head there says too. Null: the first `length` bytes.
  std::uint32_t (*serialize)(const std::byte* page, std::byte* image) noexcept = nullptr;
  store::Group group = store::Group::leaves;
};

struct PoolOptions {
  std::uint64_t memory_budget = 64ULL << 20;  ///< bytes, of everything
  /// How far `set_budget` may raise it; 0: as far as this machine's memory.
  std::uint64_t memory_budget_max = 0;
  /// For images under way to the device, and for images owed to a checkpoint; 0: a 32nd and a 64th
  /// of the budget, at least 64 KiB. The largest page that can be created is what fits in the
  /// first.
  std::uint64_t write_buffer_bytes = 0;
  std::uint64_t copy_buffer_bytes = 0;
  std::uint32_t reads_max = 256;  ///< page reads under way
  MemoryOptions memory;
};

/// Since creation; each is exact, together they are no snapshot.
struct PoolStatistics {
  std::uint64_t budget_bytes = 0;
  std::uint64_t used_bytes = 0;   ///< of the budget
  std::uint64_t fixed_bytes = 0;  ///< of them: buffers and records
  std::uint64_t table_bytes = 0;  ///< of them: descriptors, frame table, the kernel's page tables
  std::uint64_t frame_bytes = 0;  ///< of them: pages
  std::uint64_t faults = 0;
  std::uint64_t fault_bytes = 0;
  std::uint64_t failed_faults = 0;
  std::uint64_t evictions = 0;
  std::uint64_t evicted_bytes = 0;
  std::uint64_t write_backs = 0;  ///< images written, the checkpoints' ones included
  std::uint64_t write_back_bytes = 0;
  std::uint64_t failed_write_backs = 0;
  std::uint64_t owed_copies = 0;   ///< images copied aside for a checkpoint
  std::uint64_t page_waits = 0;    ///< parked on a page
  std::uint64_t memory_waits = 0;  ///< parked for memory, a ticket or a read
  std::uint64_t checkpoints = 0;
};

class Pool {
 public:
  static constexpr std::size_t kind_count_max = 32;

  /// `no_memory`: the budget cannot hold what one operation needs, or address space is refused.
  static Result<std::unique_ptr<Pool>> create(store::Store& store,
                                              const PoolOptions& options) noexcept;
  /// Nothing is parked or under way, and the background work has stopped.
  ~Pool();

  /// Before the first page of the kind comes in. Kinds that nobody has registered, but for raw, do
  /// not pass.
  void register_kind(PageKind kind, const KindHooks& hooks) noexcept;

  /// Whether the bits of a page id, from wherever, mean a place in memory.
  [[nodiscard]] bool known(PageSlot page) const noexcept {
    return page.valid() && page.slot() < memory_->slot_count(page.size_class());
  }
  [[nodiscard]] Descriptor& descriptor(PageSlot page) const noexcept { return descriptors_[page]; }
  [[nodiscard]] std::byte* resolve(PageSlot page) const noexcept {
    FIRN_DEBUG_ASSERT(known(page));
    return reinterpret_cast<std::byte*>(page_bases_[page.size_class()] +
                                        (page.bits() << page_shift(page.size_class())));
  }
  /// The page was used: gives it another chance. A load where it is hot already.
  void touch(Descriptor& page) noexcept {
    if (page.heat.load(std::memory_order_relaxed) == 0) [[unlikely]]
      warm_up(page);
  }

  // Access (fault.cpp). `again`, from the first two: resident now; look at it again.
  /// For a page that optimistic_begin() refuses.
  Access fault_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept;
  /// Begins to load what is not resident, as far as there is room. On the executor's thread; the
  /// reads are the background executor's, where there is one: nobody waits for them, and the
  /// caller's may not be ticked again.
  void prefetch(runtime::ExecutorCore& executor, std::span<const PageSlot> pages) noexcept;
  Access shared_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept;
  Access exclusive_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept;
  void release_shared(PageSlot page) noexcept {
    if (descriptor(page).state.release_share()) wake(descriptor(page));
  }
  void release_exclusive(PageSlot page) noexcept {
    if (descriptor(page).state.release_exclusive()) wake(descriptor(page));
  }
  /// Wakes who is parked on the page: after a call of its state word that asked for it.
  void wake(Descriptor& page) noexcept;
  /// A keep count from the tickets; false: none left, or the page is latched or free.
  [[nodiscard]] bool try_keep(PageSlot page) noexcept;
  void release_keep(PageSlot page) noexcept;

  /// The largest class a page can be created in.
  [[nodiscard]] unsigned page_class_max() const noexcept;

  // Change (change.cpp).
  /// New pages with heads, latched exclusively, all or none. Nothing may be latched before; others
  /// may be afterwards, and waited for, until waiter.done(): so many pages are never held like this
  /// that nobody could load another. They become dirty by begin_change; who does not want one frees
  /// it.
  Access create_or_park(Waiter& waiter, std::span<NewPage> pages, Error& error) noexcept;
  Access create_or_park(Waiter& waiter, unsigned size_class, const format::PageHeader& header,
                        PageSlot& page, Error& error) noexcept;
  /// All pages that an operation changes and frees are latched exclusively; nothing is changed yet.
  /// True: `number` is the number of all these changes, and old images are safe. False: nothing was
  /// done; release the latches and call settle_or_park.
  [[nodiscard]] bool begin_change(std::span<const PageSlot> changed,
                                  std::span<const PageSlot> freed, std::uint64_t& number) noexcept;
  /// Sees to it that begin_change is not refused again for the same reason. Called again when the
  /// waiter is woken, until it says `again`; only then are the pages latched once more, since each
  /// release of a latch wakes everybody who waits for the page.
  Access settle_or_park(Waiter& waiter, std::span<const PageSlot> changed,
                        std::span<const PageSlot> freed, Error& error) noexcept;
  /// Some of begin_change's `freed`, all or none. Their latches are gone on success only.
  Result<void> free_pages(std::span<const PageSlot> pages, std::uint64_t number) noexcept;
  Result<void> free_page(PageSlot page, std::uint64_t number) noexcept {
    return free_pages({&page, 1}, number);
  }

  // Background (cleaner.cpp, checkpoint.cpp).
  /// The executor's thread. The pool starts no threads: whoever ticks the executor cleans.
  Result<void> start_background(runtime::ExecutorCore& executor) noexcept;
  /// Any thread: the background work ends in later ticks of its executor.
  void end_background() noexcept;
  /// Whether it has ended, and nothing is being written any more.
  [[nodiscard]] bool background_ended() noexcept;
  /// The executor's thread, outside of its tick: ends it, and ticks until it has.
  void stop_background() noexcept;
  /// Writes what was changed up to now, and publishes it. Nobody is stopped. `busy` while another
  /// one runs. After a failure of writing, the next call goes on with the same number. Fiber of
  /// `executor`.
  Result<void> checkpoint(runtime::ExecutorCore& executor, const store::Payload& payload) noexcept;
  /// Evicts down to it, at once as far as pages are clean. `no_memory`: too small.
  Result<void> set_budget(std::uint64_t bytes) noexcept;
  /// Evicts up to `bytes` of clean pages, and returns how many. For tests and tools.
  std::uint64_t evict(std::uint64_t bytes, std::uint32_t visits_max) noexcept;

  [[nodiscard]] store::Store& store() noexcept { return store_; }
  [[nodiscard]] const Memory& memory() const noexcept { return *memory_; }
  [[nodiscard]] PoolStatistics statistics() const noexcept;
  /// Operations that have a waiter: they are under way, and use the pool once more.
  [[nodiscard]] std::uint64_t waiting_operations() const noexcept {
    return waiting_operations_.load();
  }
  /// Whether reads or writes are under way that only ticks of other executors than the background
  /// one can end.
  [[nodiscard]] bool requests_elsewhere() const noexcept { return requests_elsewhere_.load() > 0; }
  /// Asserts that frames, descriptors and budget agree. Nothing is under way.
  void check_well_formed() const noexcept;

 private:
  friend class Waiter;
  class Cleaner;
  struct Prefetch;
  struct Counters {
    std::atomic<std::uint64_t> faults{0}, fault_bytes{0}, failed_faults{0}, evictions{0},
        evicted_bytes{0}, write_backs{0}, write_back_bytes{0}, failed_write_backs{0},
        owed_copies{0}, page_waits{0}, memory_waits{0}, checkpoints{0};
  };
  enum class Write : std::uint8_t { begun, nothing, no_room };
  enum class Visit : std::uint8_t { nothing, left, no_room };
  enum class Adopted : std::uint8_t { now_evicted, changed, no_image };

  // Writes that fail one after another before operations that wait for some are told.
  static constexpr std::uint64_t failed_row_max = 16;

  Pool(store::Store& store, const PoolOptions& options) noexcept;
  Result<void> open() noexcept;
  Result<void> register_memory() noexcept;

  // fault.cpp, hold.cpp
  Access latch_or_park(Waiter& waiter, PageSlot page, Want want, Error& error) noexcept;
  bool take_outcome(Waiter& waiter, PageSlot page, Error& error) noexcept;
  void give_back(Waiter& waiter) noexcept;
  void let_go(Waiter& waiter) noexcept;
  void give_back_granted(Waiter& waiter) noexcept;
  void drop_keeps(Waiter& waiter) noexcept;
  void drop_held(Waiter& waiter) noexcept;
  void leave_fault(Waiter& waiter) noexcept;
  [[nodiscard]] std::uint64_t share_of(const Waiter& waiter) const noexcept;
  [[nodiscard]] std::uint64_t bytes_max_of(const Waiter& waiter) const noexcept;
  Access keep_or_park(Waiter& waiter, PageSlot page, Error& error) noexcept;
  Access memory_or_park(Waiter& waiter, std::uint64_t bytes) noexcept;
  bool park(Waiter& waiter, PageSlot page, Want want) noexcept;
  void park_again(Waiter& waiter) noexcept;
  [[nodiscard]] bool reserve(std::uint64_t bytes, bool urgent) noexcept;
  [[nodiscard]] bool confirm_keep(Descriptor& page, std::uint64_t bytes) noexcept;
  void drop_keep(PageSlot page) noexcept;
  void move_on(Waiter& waiter, std::uint64_t bytes) noexcept;
  void favour(Waiter& waiter) noexcept;
  Adopted adopt(PageSlot page) noexcept;
  void start_read(runtime::ExecutorCore& executor, PageSlot page, Waiter* waiter,
                  bool scan) noexcept;
  void end_read(FaultRecord& record) noexcept;
  [[nodiscard]] Result<void> admit(const FaultRecord& record) noexcept;
  void leave(FaultRecord& record) noexcept;
  void prefetch_here(runtime::ExecutorCore& executor, std::span<const PageSlot> pages) noexcept;
  void warm_up(Descriptor& page) noexcept;
  [[nodiscard]] static std::uint16_t heat_of(const Frame& frame) noexcept;
  std::uint32_t take_frame(PageSlot page) noexcept;
  void make_present(PageSlot page) noexcept;
  void charge_descriptor(PageSlot page) noexcept;
  void charge_table(PageSlot page) noexcept;
  void charge(std::uint64_t bytes) noexcept;

  // evict.cpp
  [[nodiscard]] std::size_t retire(std::span<PageSlot> batch, std::uint32_t in_use) noexcept;
  std::uint64_t give_up_memory(std::span<PageSlot> pages) noexcept;

  // change.cpp
  Result<void> name_pages(std::span<NewPage> pages) noexcept;
  void create(const NewPage& wanted) noexcept;
  [[nodiscard]] bool old_image_unwritten(PageSlot page, std::uint64_t number) const noexcept;
  [[nodiscard]] bool save_owed(PageSlot page) noexcept;
  void drop_owed(PageSlot page) noexcept;
  void retire_freed(PageSlot page) noexcept;
  std::uint32_t make_image(PageSlot page, std::byte* image) const noexcept;
  [[nodiscard]] Frame& frame_of(PageSlot page) const noexcept {
    return frames_[descriptor(page).frame.load(std::memory_order_relaxed)];
  }

  // write_back.cpp
  Write start_write(runtime::ExecutorCore& executor, PageSlot page,
                    segment::IoClass io_class) noexcept;
  void end_write(WriteRecord& record) noexcept;
  WriteRecord* take_write(unsigned size_class) noexcept;
  void give_write(WriteRecord& record) noexcept;

  // checkpoint.cpp
  Result<void> write_until(runtime::ExecutorCore& executor, std::uint64_t number) noexcept;
  void wait_for_write(Waiter& waiter) noexcept;
  Visit visit_for_checkpoint(runtime::ExecutorCore& executor, std::uint32_t index,
                             std::uint64_t number) noexcept;

  // cleaner.cpp, pool.cpp
  [[nodiscard]] bool is_background(const runtime::ExecutorCore& executor) const noexcept;
  void kick() noexcept;
  [[nodiscard]] bool under_pressure() const noexcept;
  [[nodiscard]] std::uint64_t low_bytes() const noexcept;
  void refresh_store_bytes() noexcept;
  [[nodiscard]] std::uint64_t smallest_budget() const noexcept;
  [[nodiscard]] std::uint64_t overhead_bytes() const noexcept;
  [[nodiscard]] std::uint64_t frame_limit() const noexcept;
  void spread_budget() noexcept;
  void rouse_stale() noexcept;

  // Constant after create().
  store::Store& store_;
  PoolOptions options_;
  std::unique_ptr<Memory> memory_;
  std::array<std::uintptr_t, size_class_count> page_bases_{};  // Memory::folded_base
  DescriptorTable descriptors_;
  FrameTable frames_;
  std::array<TouchedParts, size_class_count> tables_;  // the kernel's page tables, by 2 MiB
  std::array<KindHooks, kind_count_max> hooks_{};
  std::array<bool, kind_count_max> registered_{};
  std::uint64_t fixed_bytes_ = 0;
  const std::byte* faulting_memory_ = nullptr;  // where evicted pages fault

  // The budget, and what else there is a limited number of.
  Quota bytes_;
  Quota creations_{true};  // bytes of new pages whose makers may still wait for others
  Quota tickets_{true};    // bytes of pages with a keep count
  Quota reads_;
  std::atomic<std::uint64_t> frame_bytes_{0};
  std::atomic<std::uint64_t> other_bytes_{0};  // descriptors, frame table, page tables
  std::atomic<std::uint64_t> store_bytes_{0};
  std::atomic<unsigned> class_max_{0};  // largest class of a page so far

  std::atomic<bool> favour_given_{false};
  std::atomic<std::uint64_t> waiting_operations_{0};
  std::atomic<std::uint64_t> requests_elsewhere_{0};  // lowered by the last act of their ends

  std::unique_ptr<Prefetch[]> prefetches_;
  std::atomic<std::uint32_t> prefetches_under_way_{0};

  std::unique_ptr<FaultRecord[]> faults_;
  base::SpinLock faults_lock_;
  FaultRecord* faults_free_ = nullptr;  // under faults_lock_

  // Under the lock of `write_queue_`.
  WaitQueue write_queue_;
  Arena write_arena_;
  std::unique_ptr<WriteRecord[]> writes_;
  WriteRecord* writes_free_ = nullptr;
  std::uint64_t writes_under_way_ = 0;
  std::uint64_t writes_ended_ = 0;
  Error write_error_;                    // of the last write that failed
  std::uint64_t writes_failed_row_ = 0;  // since the last one that did not

  base::SpinLock copy_lock_;
  Arena copy_arena_;  // under copy_lock_

  std::atomic<std::uint64_t> hand_{0};  // of the clock: next frame to look at
  std::atomic<int> release_error_{0};   // errno of the last release, or 0
  std::atomic<bool> work_pending_{false};
  std::unique_ptr<Cleaner> cleaner_;
  std::atomic<bool> checkpoint_running_{false};
  std::uint64_t unfinished_number_ = 0;          // the checkpointer's: not yet published, or 0
  std::atomic<std::uint64_t> former_number_{0};  // planted bug only

  mutable Counters counters_;
};

}  // namespace firn::buffer
