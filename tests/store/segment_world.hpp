// A store in segment 0 with simulated devices for three more segments, and what it should hold.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "store/further_segments.hpp"
#include "store/page_io.hpp"
#include "support/catch.hpp"
#include "support/on_fiber.hpp"

namespace firn::test {

using store::Store;

inline constexpr std::uint64_t world_domain_id = 0x1234;
inline constexpr std::uint32_t world_chunk_bytes = 32 * 1024;
inline constexpr std::uint64_t world_device_bytes = 1_MiB;

/// A store in segment 0 and devices for three more.
class SegmentWorld {
 public:
  explicit SegmentWorld(segment::SegmentCapabilities capabilities = {}) {
    for (segment::SimulatedDevice& device : devices_) {
      segment::SimulatedOptions options;
      options.capabilities = capabilities;
      options.append_chunk_bytes = world_chunk_bytes;
      further.add_device(device, options);
    }
    options_.chunk_bytes = world_chunk_bytes;
    options_.source = &further;
  }

  template <class Work>
  void run(Work work) {
    REQUIRE(executor_.run([&]() noexcept { work(); }));
  }
  [[nodiscard]] runtime::ExecutorCore& core() { return executor_.core(); }

  Store& create(std::uint64_t domain = world_domain_id) {
    auto made = Store::create(core(), zero_, options_, domain);
    REQUIRE(made.has_value());
    store_ = *std::move(made);
    return *store_;
  }
  Result<void> reopen() {
    store_.reset();
    auto opened = Store::open(core(), zero_, options_);
    if (!opened.has_value()) return fail(opened.error());
    store_ = *std::move(opened);
    return {};
  }
  void close() { store_.reset(); }
  [[nodiscard]] Store& store() { return *store_; }
  [[nodiscard]] segment::SimulatedDevice& device(std::size_t index) { return devices_[index]; }

  std::uint8_t add(std::size_t index, const char* name) {
    const auto id = further.add_to(*store_, index, name, world_chunk_bytes);
    if (!id.has_value()) FAIL(id.error().message());
    return *id;
  }
  PageId write_new(std::uint64_t generation, std::uint8_t segment, unsigned size_class = 0) {
    const PageId page = *store_->allocate_page(size_class);
    write(page, generation, segment);
    return page;
  }
  void write(PageId page, std::uint64_t generation, std::uint8_t segment) {
    const auto written = write_page(*store_, core(), page, generation, store_->number(), segment);
    if (!written.has_value()) FAIL(written.error().message());
    expected[page] = generation;
  }
  void publish(unsigned times = 1) {
    for (unsigned time = 0; time < times; ++time) {
      const auto published = store_->publish(core(), store_->begin_checkpoint(), {});
      if (!published.has_value()) FAIL(published.error().message());
      store_->check_well_formed();
    }
  }
  std::uint8_t segment_of(PageId page) { return store_->entry(page).location.segment(); }
  store::SegmentStatus status(std::uint8_t id) {
    const auto segments = store_->segments();
    for (const store::SegmentStatus& one : *segments) {
      if (one.record.id == id) return one;
    }
    return {};
  }
  void check() {
    store_->check_well_formed();
    REQUIRE(store_->statistics().pages == expected.size());
    for (const auto& [page, generation] : expected) {
      const auto read = read_page(*store_, core(), page);
      if (!read.has_value()) FAIL(read.error().message());
      REQUIRE(*read == generation);
    }
  }

  std::map<PageId, std::uint64_t> expected;

 private:
  SimulatedExecutor executor_{1};
  segment::SimulatedDevice zero_device_{world_device_bytes};
  segment::SimulatedDevice devices_[3] = {segment::SimulatedDevice{world_device_bytes},
                                          segment::SimulatedDevice{world_device_bytes},
                                          segment::SimulatedDevice{world_device_bytes}};
  segment::SimulatedBackend zero_{zero_device_, {}};
  store::StoreOptions options_;

 public:
  FurtherSegments further{executor_.core()};

 private:
  std::unique_ptr<Store> store_;
};

inline void let_others_run(runtime::ExecutorCore& core) {
  core.enqueue(*runtime::current_fiber());
  runtime::FiberContext::suspend();
}

inline int code_of(const Result<void>& outcome) {
  return outcome.has_value() ? 0 : static_cast<int>(outcome.error().code);
}
inline int code_of(ErrorCode code) { return static_cast<int>(code); }

}  // namespace firn::test
