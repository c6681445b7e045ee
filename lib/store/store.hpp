// The page store: where each page's image lies, and checkpoints.
//
// An image is never overwritten while a published checkpoint may name it: it is written to a new
// place, and the old one is used again two publications later (store/space.hpp). The mapping, an
// array in memory, says for each page where its newest image lies and which checksum it must have.
// A checkpoint makes the mapping of one moment durable: a log block with the changes since the last
// one (or, now and then, the whole mapping), a manifest that lists these, and last a superblock
// that names the manifest.
//
// Numbers. Changes happen under the current number, N. `begin_checkpoint` makes the current number
// N + 1 and from then on N is being written: the buffer manager writes every image that was last
// changed under N, and `publish(N)` ends it. One checkpoint at a time. A page's images are written
// in the order of their numbers.
//
// Segments. Segment 0 holds superblocks, manifests and mapping, and pages. Further ones hold pages
// only; they are added and removed while the store is open, which lasts from the next publication
// on. Pages in a volatile segment are left out of checkpoints: they do not exist after reopening.
//
// Moves. An image can be copied to another place (`clean_segment`, `drain_segment`) without the
// page's latch: its bytes stay as they are. A move is recorded under the lowest number whose
// publication has not begun, since images of a page are recorded in the order of their numbers; so
// only images of that number or below are moved, which those in a closed chunk soon are.
//
// Shared between threads. What is written to a page's entry needs its io bit or exclusive latch
// (the caller's business) or is a move; entries are changed, and space and lists of changes looked
// at, under one mutex, held for short and never across I/O. Reads take no mutex.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <firn/result.hpp>

#include "base/spin.hpp"
#include "format/page_header.hpp"
#include "format/page_id.hpp"
#include "segment/backend.hpp"
#include "store/location.hpp"
#include "store/mapping.hpp"
#include "store/segment_record.hpp"
#include "store/space.hpp"

namespace firn::store {

using format::PageId;

class Store;

/// Reads the image of `page` into `data`, which has room for the whole class and is aligned to 4096
/// bytes. When `done` is called the outcome is success, and what follows the image in its last 4096
/// bytes is zero, or `corrupt` / `io_error` with segment and page, and `data` holds nothing of use.
/// What lies behind is not touched: a page that is half used needs half of the memory.
struct PageRead {
  PageId page;
  std::byte* data = nullptr;
  void (*done)(PageRead&) noexcept = nullptr;  ///< on the executor's thread, from its tick
  void* context = nullptr;
  segment::IoClass io_class = segment::IoClass::read;
  Result<void> outcome;
  std::uint32_t image_bytes = 0;  ///< read from the device

  segment::Request request;  // the store's own
  Store* store = nullptr;
  runtime::ExecutorCore* executor = nullptr;
  MappingEntry entry;
};

/// Writes an image: `data` begins with a PageHeader whose length, kind, table and level are set;
/// the store fills in the rest, rounds the length up to granules (the bytes up to there are the
/// caller's to zero), and writes to a new place. When `done` is called with success, the mapping
/// names the image. On failure the mapping is as before. A device that refuses one place is given
/// another, a bounded number of times. Where there is no room, it waits until some was made or
/// could not be. `data` is aligned to 4096 bytes, has room for the whole class and stays put until
/// then.
struct PageWrite {
  PageId page;
  std::byte* data = nullptr;
  std::uint64_t number = 0;  ///< under which the image was last changed
  Group group = Group::leaves;
  /// Where it should go. If that is full, or takes no images any more: to another segment that is
  /// as persistent.
  std::uint8_t segment = 0;
  Claim claim = Claim::ordinary;
  void (*done)(PageWrite&) noexcept = nullptr;
  void* context = nullptr;
  segment::IoClass io_class = segment::IoClass::write_back;
  Result<void> outcome;

  segment::Request request;  // the store's own
  Location location;
  Store* store = nullptr;
  runtime::ExecutorCore* executor = nullptr;
  std::uint64_t checksum = 0;
  std::uint8_t attempts = 0;
  PageWrite* next_waiting = nullptr;
};

/// Whoever can make segment 0 larger. Outlives the store.
class RoomMaker {
 public:
  virtual ~RoomMaker() = default;
  /// A write waits for room. Any thread, for each such write; called back by `Store::room_made`.
  /// Must get on without any write of the store.
  virtual void make_room() noexcept = 0;
};

struct StoreOptions {
  std::uint32_t chunk_bytes = 1U << 20;
  /// Bytes of the mapping log, relative to the mapping, at which the mapping is written anew.
  std::uint32_t fold_percent = 50;
  /// But not for less than this.
  std::uint32_t log_bytes_min = 64 * 1024;
  /// Opening a file whose mapping takes more memory than this is `no_memory`.
  std::uint64_t mapping_bytes_max = ~std::uint64_t{0};
  /// Opens further segments and hears of those that are gone; outlives the store. Without one, a
  /// domain with further segments does not open.
  SegmentSource* source = nullptr;
  /// Without one, a write that finds no room fails at once.
  RoomMaker* room_maker = nullptr;
};

/// What a segment does: takes images, only loses them, or waits until no superblock names it.
enum class SegmentState : std::uint8_t { active, draining, leaving };

/// A segment to be added.
struct NewSegment {
  std::string_view name;  ///< of no other segment; 1 to 255 bytes
  std::string_view path;  ///< for `SegmentSource::open_segment`; up to 4095 bytes
  SegmentKind kind = SegmentKind::file;
  std::uint32_t chunk_bytes = 1U << 20;
};

struct SegmentStatus {
  SegmentRecord record;
  SegmentState state = SegmentState::active;
  std::uint64_t images = 0;  ///< of pages as they are now
  std::uint64_t live_bytes = 0;
  std::uint64_t pending_bytes = 0;  ///< given up, and named by a superblock
  std::uint64_t free_bytes = 0;
};

/// What a pass of a cleaner did.
struct MoveReport {
  std::uint64_t moved_images = 0;
  std::uint64_t moved_bytes = 0;
  std::uint64_t left_images = 0;  ///< changed meanwhile, or being written
};

struct StoreStatistics {
  std::uint64_t number = 0;  ///< current
  std::uint64_t published_number = 0;
  std::uint64_t open_count = 0;
  std::uint64_t pages = 0;        ///< that have an image
  std::uint64_t image_bytes = 0;  ///< of them, in granules
  std::uint64_t page_reads = 0;   ///< since opening, like the rest
  std::uint64_t page_read_bytes = 0;
  std::uint64_t page_writes = 0;
  std::uint64_t page_write_bytes = 0;
  std::uint64_t meta_write_bytes = 0;  ///< log blocks, snapshots, manifests, superblocks
  std::uint64_t moved_images = 0;
  std::uint64_t moved_bytes = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t folds = 0;
  std::uint64_t syncs = 0;
  std::uint64_t damaged_superblocks = 0;  ///< copies found damaged at opening, then renewed
  std::uint64_t memory_bytes = 0;         ///< of mapping and space maps
};

/// What a checkpoint carries for the layers above, opaque here (root page ids and the like).
using Payload = std::array<std::byte, 256>;

class Store {
 public:
  /// Makes a store in segment 0, whose former content is forgotten, and publishes checkpoint 1.
  /// `domain_id` is random and not 0. Fiber.
  static Result<std::unique_ptr<Store>> create(runtime::ExecutorCore& executor,
                                               segment::Backend& segment,
                                               const StoreOptions& options,
                                               std::uint64_t domain_id) noexcept;
  /// Reads the newest superblock, manifest, mapping; then publishes a checkpoint of its own, which
  /// repairs damaged superblock copies and begins a new open count. Errors: `corrupt` naming what,
  /// `unsupported_format`, `not_found` where no domain is, `io_error`. Fiber.
  static Result<std::unique_ptr<Store>> open(runtime::ExecutorCore& executor,
                                             segment::Backend& segment,
                                             const StoreOptions& options) noexcept;
  /// The same without a write, for checks: nothing may be changed afterwards. Fiber.
  static Result<std::unique_ptr<Store>> open_read_only(runtime::ExecutorCore& executor,
                                                       segment::Backend& segment,
                                                       const StoreOptions& options) noexcept;
  ~Store();

  /// A page id that nobody uses. `no_memory` when the class is full.
  Result<PageId> allocate_page(unsigned size_class) noexcept;
  /// Gives up pages and their images under `number`, all or none (`no_memory`). The id of a page
  /// that has an image is used again after number + 1 is published; that of one that has none,
  /// which no checkpoint can name, at once. Their exclusive latches are held and no I/O is under
  /// way.
  Result<void> free_pages(std::span<const PageId> pages, std::uint64_t number) noexcept;
  Result<void> free_page(PageId page, std::uint64_t number) noexcept {
    return free_pages({&page, 1}, number);
  }
  [[nodiscard]] MappingEntry entry(PageId page) const noexcept;

  /// Both never block and complete from the executor's tick.
  void read(runtime::ExecutorCore& executor, PageRead& read) noexcept;
  void write(runtime::ExecutorCore& executor, PageWrite& write) noexcept;

  [[nodiscard]] std::uint64_t number() const noexcept {
    return number_.load(std::memory_order_seq_cst);
  }
  [[nodiscard]] std::uint64_t published_number() const noexcept {
    return published_.load(std::memory_order_acquire);
  }
  /// Makes the current number one larger; returns the number that is to be written and published
  /// now.
  std::uint64_t begin_checkpoint() noexcept;
  /// Makes checkpoint `number` durable. All images last changed under it are written. A failure
  /// leaves the former checkpoint in force. `no_space` and `no_memory` may come before anything was
  /// changed: then the same number can be published later. After any other failure the store has
  /// `failed()`: nothing is written any more. Fiber.
  Result<void> publish(runtime::ExecutorCore& executor, std::uint64_t number,
                       const Payload& payload) noexcept;
  /// What the checkpoint that was opened, or was published last, carries.
  [[nodiscard]] Payload payload() const noexcept;

  /// Adds chunks up to the backend's size after it has grown. Fiber.
  Result<void> take_growth(std::uint8_t segment = 0) noexcept;
  /// The room maker has done what it could: writes that waited for it look for a place again, and
  /// may ask again; unless `made`, they fail with `no_space`. Any thread.
  void room_made(bool made) noexcept;
  /// Whether some wait for it.
  [[nodiscard]] bool writes_wait() const noexcept;

  /// A number for a segment that is to be added: that of none, also in the published checkpoints.
  [[nodiscard]] Result<std::uint8_t> free_segment_number() const noexcept;
  /// Takes in a segment whose content is forgotten, under `backend`'s number. From here on images
  /// go there; after a crash it is part of the store if a checkpoint has been published since.
  /// `already_exists` where number or name is taken, `invalid_argument`, `no_space` (at least 4
  /// chunks), `io_error`. Fiber.
  Result<void> add_segment(runtime::ExecutorCore& executor,
                           std::unique_ptr<segment::Backend> backend,
                           const NewSegment& added) noexcept;
  /// Takes an empty segment out: `busy` with their number while images lie in it, also such as only
  /// a published checkpoint names. Two publications later no superblock names it any more and the
  /// source hears that it is gone. `not_found`; `invalid_argument` for segment 0.
  Result<void> remove_segment(std::uint8_t segment) noexcept;
  /// From here on images go elsewhere, and those that are there are moved to other persistent
  /// segments. What is left was changed meanwhile: call again. `busy`: a checkpoint that began
  /// before is to be published first. `no_space`: the others are full. Fiber.
  Result<MoveReport> drain_segment(runtime::ExecutorCore& executor, std::uint8_t segment) noexcept;
  /// Empties up to `chunks` of the emptiest chunks of a segment, none more than `live_percent_max`
  /// live: what `no_space` asks for where much is available. The room comes back two publications
  /// later. `busy` as above. Fiber.
  Result<MoveReport> clean_segment(runtime::ExecutorCore& executor, std::uint8_t segment,
                                   std::uint32_t chunks, std::uint32_t live_percent_max) noexcept;
  /// All segments, segment 0 first, which has no name. Allocates.
  [[nodiscard]] Result<std::vector<SegmentStatus>> segments() const noexcept;

  [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t domain_id() const noexcept { return domain_id_; }
  [[nodiscard]] StoreStatistics statistics() const noexcept;
  /// Of a segment that is there.
  [[nodiscard]] SpaceStatistics space_statistics(std::uint8_t segment = 0) const noexcept;
  /// What pages may still take, without a look at every chunk.
  [[nodiscard]] std::uint64_t available_bytes() const noexcept;
  /// Pages that have an image, in order of id, in pieces: fills `out` from `after` on; returns how
  /// many.
  std::size_t list_pages(PageId after, std::span<PageId> out) const noexcept;
  /// Asserts that mapping, space and id lists agree: each granule is free or named, never both.
  void check_well_formed() const noexcept;

  // Shared by the store's own files.
  struct Impl;
  struct Segment;

 private:
  Store(segment::Backend& segment, const StoreOptions& options) noexcept;
  static Result<std::unique_ptr<Store>> make(segment::Backend& segment,
                                             const StoreOptions& options) noexcept;

  Result<void> make_room_to_free(std::span<const PageId> pages, std::uint64_t number) noexcept;
  Segment* begin_read(PageRead& read) noexcept;
  void submit_read(PageRead& read) noexcept;
  void finish_read(PageRead& read) noexcept;
  void place_and_submit(PageWrite& write) noexcept;
  [[nodiscard]] bool wait_for_room(PageWrite& write, const Error& error) noexcept;
  void finish_write(PageWrite& write) noexcept;
  void record_write(PageWrite& write) noexcept;
  Result<std::unique_ptr<Segment>> make_segment(runtime::ExecutorCore& executor,
                                                std::unique_ptr<segment::Backend> backend,
                                                SegmentRecord record) noexcept;
  void release_segments(std::uint64_t published) noexcept;
  Result<std::vector<std::uint32_t>> find_victims(runtime::ExecutorCore& executor,
                                                  const Segment& segment, std::uint32_t most,
                                                  std::uint32_t live_percent_max) noexcept;
  Result<MoveReport> clean(runtime::ExecutorCore& executor, Segment& segment, std::uint32_t chunks,
                           std::uint32_t live_percent_max) noexcept;
  friend class Publication;
  friend class Opening;
  friend class Mover;

  Mapping mapping_;
  std::atomic<std::uint64_t> number_{1};
  std::atomic<std::uint64_t> published_{0};
  std::atomic<bool> failed_{false};
  std::uint64_t domain_id_ = 0;
  std::unique_ptr<Impl> impl_;
};

}  // namespace firn::store
