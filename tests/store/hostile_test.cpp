// Superblocks and manifests whose checksums are right and whose content is not: opening ends, in
// bounded time and memory, and whatever opens can be used.
#include <cstring>
#include <functional>
#include <set>

#include "format/superblock.hpp"
#include "segment/fiber_io.hpp"
#include "segment/simulated.hpp"
#include "store/manifest.hpp"
#include "store/page_io.hpp"
#include "support/catch.hpp"
#include "support/on_fiber.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using format::Superblock;
using store::ManifestHead;
using store::Store;

constexpr std::uint64_t domain_id = 0x1234;

/// A domain of `page_count` pages whose newest superblock and manifest can be rewritten.
class Forged {
 public:
  explicit Forged(int page_count = 3) {
    SimulatedExecutor executor(1);
    segment::SimulatedBackend backend(device_, {});
    REQUIRE(executor.run([&]() noexcept {
      auto made = Store::create(executor.core(), backend, {}, domain_id);
      REQUIRE(made.has_value());
      Store& store = **made;
      for (int index = 0; index < page_count; ++index) {
        const PageId page = *store.allocate_page(0);
        REQUIRE(write_page(store, executor.core(), page, 1, store.number()).has_value());
      }
      REQUIRE(store.publish(executor.core(), store.begin_checkpoint(), {}).has_value());
    }));
  }

  /// Lets `change` loose on both and writes them with checksums that are right.
  void forge(const std::function<void(Superblock&, ManifestHead&, std::byte* list)>& change) {
    std::vector<std::byte> block(format::superblock_bytes);
    device_.content().read(format::superblock_offset(0, 0), block);
    Superblock superblock;
    REQUIRE(format::decode_superblock({block.data(), block.size()}, superblock) ==
            format::SuperblockState::valid);
    REQUIRE(superblock.number == 2);
    const store::Extent extent = store::Location::from_bits(superblock.manifest_location).extent();
    const std::uint64_t place = std::uint64_t{extent.chunk} * superblock.chunk_bytes +
                                std::uint64_t{extent.granule} * superblock.granule_bytes;
    std::vector<std::byte> manifest(std::size_t{extent.count} * superblock.granule_bytes);
    device_.content().read(place, manifest);
    ManifestHead head;
    std::memcpy(&head, manifest.data(), sizeof head);
    change(superblock, head, manifest.data() + sizeof head);
    std::memcpy(manifest.data(), &head, sizeof head);
    format::seal_image(manifest.data(), manifest.size(), domain_id);
    std::memcpy(&superblock.manifest_checksum, manifest.data(), sizeof(std::uint64_t));
    device_.overwrite(place, manifest);
    format::encode_superblock(superblock, block.data());
    for (unsigned copy = 0; copy < 2; ++copy) {
      device_.overwrite(format::superblock_offset(superblock.number % 2, copy), block);
    }
  }

  store::StoreOptions options;

  void grow_to(std::uint64_t bytes) {
    segment::SimulatedBackend backend(device_, {});
    SimulatedExecutor executor(3);
    segment::Request request;
    request.kind = segment::RequestKind::grow;
    request.size = bytes;
    REQUIRE(executor.run([&]() noexcept {
      REQUIRE(segment::await(backend, executor.core(), request).has_value());
    }));
  }

  void open(
      const std::function<void(Result<std::unique_ptr<Store>>&, runtime::ExecutorCore&)>& look) {
    SimulatedExecutor executor(2);
    segment::SimulatedBackend backend(device_, {});
    REQUIRE(executor.run([&]() noexcept {
      auto opened = Store::open(executor.core(), backend, options);
      look(opened, executor.core());
    }));
  }

 private:
  segment::SimulatedDevice device_{64_MiB};
};

}  // namespace

TEST_CASE("store: a file that counts a billion pages costs no more than those it has", "[store]") {
  Forged forged;
  forged.forge([](Superblock&, ManifestHead& head, std::byte*) {
    head.next_slot.fill(store::Mapping::slot_max + 1);
  });
  forged.open([](auto& opened, runtime::ExecutorCore& core) {
    REQUIRE(opened.has_value());
    Store& store = **opened;
    store.check_well_formed();
    REQUIRE(store.statistics().pages == 3);
    REQUIRE(store.statistics().memory_bytes < 1_MiB);
    std::set<PageId> ids{PageId(0, 1), PageId(0, 2), PageId(0, 3)};
    for (int index = 0; index < 100; ++index) {
      const auto page = store.allocate_page(index % 2 == 0 ? 0 : 8);
      REQUIRE(page.has_value());
      REQUIRE(ids.insert(*page).second);
      REQUIRE(write_page(store, core, *page, 7, store.number()).has_value());
    }
    REQUIRE(store.publish(core, store.begin_checkpoint(), {}).has_value());
    store.check_well_formed();
    std::vector<PageId> listed(200);
    REQUIRE(store.list_pages(PageId(), listed) == ids.size());
  });
}

TEST_CASE("store: ids that are free at opening are used once each before new ones", "[store]") {
  segment::SimulatedDevice device(64_MiB);
  SimulatedExecutor executor(1);
  segment::SimulatedBackend backend(device, {});
  REQUIRE(executor.run([&]() noexcept {
    runtime::ExecutorCore& core = executor.core();
    auto store = Store::create(core, backend, {}, domain_id);
    REQUIRE(store.has_value());
    std::set<PageId> used;
    for (int index = 0; index < 20; ++index) {
      const PageId page = *(*store)->allocate_page(0);
      if (index % 3 == 0) continue;  // never written
      REQUIRE(write_page(**store, core, page, 1, (*store)->number()).has_value());
      used.insert(page);
    }
    REQUIRE((*store)->publish(core, (*store)->begin_checkpoint(), {}).has_value());
    store->reset();
    store = Store::open(core, backend, {});
    REQUIRE(store.has_value());
    for (int index = 0; index < 7; ++index) {
      const PageId page = *(*store)->allocate_page(0);
      REQUIRE(page.slot() <= 20);
      REQUIRE(used.insert(page).second);
    }
    REQUIRE((*store)->allocate_page(0)->slot() == 21);
  }));
}

TEST_CASE("store: a list that names one extent many times is corrupt", "[store]") {
  Forged forged;
  forged.forge([](Superblock&, ManifestHead& head, std::byte* list) {
    for (std::uint64_t index = 1; index < 20; ++index) {
      std::memcpy(list + index * sizeof(store::ExtentReference), list,
                  sizeof(store::ExtentReference));
    }
    head.reference_count = 20;
  });
  forged.open([](auto& opened, runtime::ExecutorCore&) {
    REQUIRE(opened.error().code == ErrorCode::corrupt);
  });
}

TEST_CASE("store: a checkpoint's number that leaves no next one is corrupt", "[store]") {
  Forged forged;
  forged.forge([](Superblock& superblock, ManifestHead& head, std::byte*) {
    superblock.number = head.number = ~std::uint64_t{0};
  });
  forged.open([](auto& opened, runtime::ExecutorCore&) {
    REQUIRE(opened.error().code == ErrorCode::corrupt);
  });
}

TEST_CASE("store: an open count that leaves no next one is corrupt", "[store]") {
  for (const std::uint64_t count :
       {std::uint64_t{0}, (std::uint64_t{1} << 24) - 1, ~std::uint64_t{0}}) {
    Forged forged;
    forged.forge(
        [&](Superblock& superblock, ManifestHead&, std::byte*) { superblock.open_count = count; });
    forged.open([](auto& opened, runtime::ExecutorCore&) {
      REQUIRE(opened.error().code == ErrorCode::corrupt);
    });
  }
}

TEST_CASE("store: a manifest of another length than its place is corrupt", "[store]") {
  Forged forged;
  forged.forge(
      [&](Superblock& superblock, ManifestHead&, std::byte*) { superblock.manifest_bytes += 512; });
  forged.open([](auto& opened, runtime::ExecutorCore&) {
    REQUIRE(opened.error().code == ErrorCode::corrupt);
  });
}

TEST_CASE("store: a segment of sixteen million chunks costs what is in it", "[store]") {
  Forged forged;
  forged.grow_to(16_TiB + 5_TiB);
  forged.open([](auto& opened, runtime::ExecutorCore& core) {
    REQUIRE(opened.has_value());
    Store& store = **opened;
    store.check_well_formed();
    REQUIRE(store.space_statistics().chunks == store::Location::chunk_count_max);
    REQUIRE(store.statistics().memory_bytes < 1_MiB);
    const PageId page = *store.allocate_page(0);
    REQUIRE(write_page(store, core, page, 7, store.number()).has_value());
    REQUIRE(store.publish(core, store.begin_checkpoint(), {}).has_value());
  });
}

TEST_CASE("store: pages whose ids lie far apart take no more memory than is allowed", "[store]") {
  Forged forged;
  forged.forge([](Superblock&, ManifestHead& head, std::byte*) {
    head.next_slot.fill(store::Mapping::slot_max + 1);
  });
  std::vector<PageId> pages;
  forged.open([&](auto& opened, runtime::ExecutorCore& core) {
    Store& store = **opened;
    for (int index = 0; index < 3000; ++index) pages.push_back(*store.allocate_page(8));
    for (std::size_t index = 0; index < pages.size(); index += 256) {
      REQUIRE(write_page(store, core, pages[index], 1, store.number()).has_value());
    }
    REQUIRE(store.publish(core, store.begin_checkpoint(), {}).has_value());
  });
  forged.options.mapping_bytes_max = 8 * 4096;
  forged.open([](auto& opened, runtime::ExecutorCore&) {
    REQUIRE(opened.error().code == ErrorCode::no_memory);
    REQUIRE(opened.error().value == 8 * 4096);
  });
  forged.options.mapping_bytes_max = 20 * 4096;
  forged.open([](auto& opened, runtime::ExecutorCore&) { REQUIRE(opened.has_value()); });
}

TEST_CASE("store: a list of segments that makes no sense is corrupt", "[store]") {
  store::SegmentRecord record;
  record.id = 3;
  record.name = "three";
  record.path = "/a/path";
  record.size_bytes = 64_MiB;
  const auto decode = [](auto change, std::vector<store::SegmentRecord> records) {
    ManifestHead head;
    head.page.kind = format::PageKind::manifest;
    std::vector<std::byte> entries;
    for (const auto& one : records) store::encode_segment_entry(one, one.size_bytes, entries);
    head.segment_count = static_cast<std::uint32_t>(records.size());
    head.segment_bytes = static_cast<std::uint32_t>(entries.size());
    store::SegmentEntryHead entry;
    std::memcpy(&entry, entries.data(), sizeof entry);
    change(head, entry);
    std::memcpy(entries.data(), &entry, sizeof entry);
    std::vector<std::byte> image(sizeof head + entries.size());
    std::memcpy(image.data(), &head, sizeof head);
    std::memcpy(image.data() + sizeof head, entries.data(), entries.size());
    store::Manifest manifest;
    const auto decoded = store::decode_manifest({image.data(), image.size()}, manifest);
    if (decoded.has_value()) {
      REQUIRE(manifest.segments.size() == records.size());
      REQUIRE(manifest.segments.back().name == records.back().name);
      REQUIRE(manifest.segments.back().path == records.back().path);
    }
    return decoded.has_value();
  };
  using Head = ManifestHead;
  using Entry = store::SegmentEntryHead;
  store::SegmentRecord other = record;
  other.id = 4;
  other.name = "four";
  REQUIRE(decode([](Head&, Entry&) {}, {record}));
  REQUIRE(decode([](Head&, Entry&) {}, {record, other}));
  REQUIRE(!decode([](Head&, Entry&) {}, {other, record}));
  other.name = "three";
  REQUIRE(!decode([](Head&, Entry&) {}, {record, other}));
  REQUIRE(!decode([](Head& head, Entry&) { ++head.segment_count; }, {record}));
  REQUIRE(!decode([](Head& head, Entry&) { head.segment_count = 0; }, {record}));
  REQUIRE(!decode([](Head& head, Entry&) { head.segment_count = 256; }, {record}));
  REQUIRE(!decode([](Head& head, Entry&) { head.segment_bytes += 8; }, {record}));
  REQUIRE(!decode([](Head& head, Entry&) { head.segment_bytes -= 8; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.id = 0; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.kind = 0; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.kind = 5; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.flags = 4; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.name_bytes = 0; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.name_bytes = 255; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.path_bytes = 65535; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.granule_bytes = 256; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.granule_bytes = 8192; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.chunk_bytes = 3 << 16; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.chunk_bytes = 1 << 27; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.size_bytes += 512; }, {record}));
  REQUIRE(!decode([](Head&, Entry& entry) { entry.size_bytes = 1_TiB * 32; }, {record}));
}

TEST_CASE("store: a page id that is none is corrupt to read", "[store]") {
  Forged forged;
  forged.open([](auto& opened, runtime::ExecutorCore& core) {
    REQUIRE(opened.has_value());
    for (const std::uint64_t bits : {~std::uint64_t{0}, std::uint64_t{9} << 44 | 1}) {
      store::PageRead read;
      auto block = *store::AlignedBlock::make(4096);
      read.page = PageId::from_bits(bits);
      read.data = block.data();
      read.context = runtime::current_fiber();
      read.done = &firn::test::detail::wake<store::PageRead>;
      (*opened)->read(core, read);
      runtime::FiberContext::suspend();
      REQUIRE(read.outcome.error().code == ErrorCode::corrupt);
    }
  });
}

TEST_CASE("store: chunks that are no power of two are an invalid argument", "[store]") {
  for (const std::uint32_t chunk_bytes : {0U, 3U << 20}) {
    segment::SimulatedDevice device(64_MiB);
    SimulatedExecutor executor(1);
    segment::SimulatedBackend backend(device, {});
    REQUIRE(executor.run([&]() noexcept {
      const auto made =
          Store::create(executor.core(), backend, {.chunk_bytes = chunk_bytes}, domain_id);
      REQUIRE(made.error().code == ErrorCode::invalid_argument);
    }));
  }
}
