// Further segments of the tests: simulated devices that a store reaches by their paths, "1" for the
// first one, and volatile ones in memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "segment/fiber_io.hpp"
#include "segment/memory.hpp"
#include "segment/simulated.hpp"
#include "store/aligned_block.hpp"
#include "store/store.hpp"

namespace firn::test {

class FurtherSegments final : public store::SegmentSource {
 public:
  struct Device {
    segment::SimulatedDevice* device = nullptr;
    segment::SimulatedOptions options;
    segment::SimulatedBackend* backend = nullptr;  // while a store has it
  };

  explicit FurtherSegments(runtime::ExecutorCore& executor) : executor_(executor) {}

  void add_device(segment::SimulatedDevice& device, const segment::SimulatedOptions& options) {
    devices_.push_back({.device = &device, .options = options, .backend = nullptr});
  }
  [[nodiscard]] std::size_t device_count() const { return devices_.size(); }
  [[nodiscard]] Device& device(std::size_t index) { return devices_[index]; }
  [[nodiscard]] const std::vector<std::uint8_t>& gone() const { return gone_; }
  /// The first content of what is gone is overwritten, as if somebody else had its place.
  bool destroys = false;

  std::unique_ptr<segment::Backend> make(std::size_t index, std::uint8_t id) {
    Device& its = devices_[index];
    segment::SimulatedOptions options = its.options;
    options.id = id;
    auto backend = std::make_unique<segment::SimulatedBackend>(*its.device, options);
    its.backend = backend.get();
    return backend;
  }
  static std::unique_ptr<segment::Backend> make_memory(std::uint64_t bytes, std::uint8_t id) {
    auto backend = segment::MemoryBackend::create({.id = id, .size_bytes = bytes});
    FIRN_ASSERT(backend.has_value());
    return *std::move(backend);
  }

  /// Adds device `index` to `store` under a number of its own.
  Result<std::uint8_t> add_to(store::Store& store, std::size_t index, std::string_view name,
                              std::uint32_t chunk_bytes) {
    FIRN_TRY_ASSIGN(const std::uint8_t id, store.free_segment_number());
    const std::string path = std::to_string(index + 1);
    FIRN_TRY(store.add_segment(executor_, make(index, id),
                               {.name = name,
                                .path = path,
                                .kind = store::SegmentKind::simulated,
                                .chunk_bytes = chunk_bytes}));
    return id;
  }
  Result<std::uint8_t> add_memory_to(store::Store& store, std::uint64_t bytes,
                                     std::string_view name, std::uint32_t chunk_bytes) {
    FIRN_TRY_ASSIGN(const std::uint8_t id, store.free_segment_number());
    FIRN_TRY(store.add_segment(executor_, make_memory(bytes, id),
                               {.name = name,
                                .path = "",
                                .kind = store::SegmentKind::memory,
                                .chunk_bytes = chunk_bytes}));
    return id;
  }

  Result<std::unique_ptr<segment::Backend>> open_segment(
      const store::SegmentRecord& record) noexcept override {
    if (record.kind == store::SegmentKind::memory) return make_memory(record.size_bytes, record.id);
    const std::size_t number = std::stoul(record.path);
    if (number == 0 || number > devices_.size() || devices_[number - 1].device == nullptr) {
      return fail(ErrorCode::not_found, "no device of that path");
    }
    return make(number - 1, record.id);
  }

  void segment_gone(const store::SegmentRecord& record) noexcept override {
    gone_.push_back(record.id);
    if (record.kind != store::SegmentKind::simulated) return;
    const std::size_t index = std::stoul(record.path) - 1;
    devices_[index].backend = nullptr;
    if (!destroys) return;
    const auto backend = make(index, record.id);
    devices_[index].backend = nullptr;
    auto block = *store::AlignedBlock::make(32 * 1024);
    segment::Request request;
    request.kind = segment::RequestKind::write;
    request.set_buffer(block.data(), 32 * 1024);
    static_cast<void>(segment::await(*backend, executor_, request));
  }

 private:
  runtime::ExecutorCore& executor_;
  std::vector<Device> devices_;
  std::vector<std::uint8_t> gone_;
};

}  // namespace firn::test
