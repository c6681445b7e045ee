// Segments in volatile memory.
#include "segment/memory.hpp"

#include <fstream>
#include <string>

#include "base/sanitizer.hpp"
#include "segment/support.hpp"
#include "support/dies.hpp"

namespace {

using namespace firn;
using namespace firn::test;
using segment::MemoryBackend;

constexpr std::uint64_t mib = 1 << 20;

std::unique_ptr<MemoryBackend> create(std::uint64_t size, std::uint64_t size_max = 0) {
  auto memory = MemoryBackend::create({.id = 3, .size_bytes = size, .size_bytes_max = size_max});
  REQUIRE(memory.has_value());
  return *std::move(memory);
}

std::uint64_t resident_bytes() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * 4096;
}

}  // namespace

TEST_CASE("memory segment: is local memory that nothing outlives", "[segment-memory]") {
  const auto memory = create(mib);
  REQUIRE(memory->capabilities().is_volatile);
  REQUIRE(memory->capabilities().durable_on_completion);
  REQUIRE(memory->size() == mib);
  REQUIRE(memory->id() == 3);
  const auto executor = make_executor();
  const Buffer buffer(mib);
  buffer.fill(0x12);
  REQUIRE(write_bytes(*memory, *executor, 0, buffer));
  REQUIRE(sync(*memory, *executor));
  const auto other = create(mib);
  REQUIRE(read_bytes(*other, *executor, 0, buffer));
  REQUIRE(buffer.holds(0));
}

TEST_CASE("memory segment: takes memory when it is written and gives it back when discarded",
          "[segment-memory]") {
  if (FIRN_TSAN) return;  // its own memory grows with ours
  const std::uint64_t before = resident_bytes();
  const auto memory = create(std::uint64_t{1} << 36);
  const auto executor = make_executor();
  const Buffer buffer(16 * mib);
  const std::uint64_t with_buffer = resident_bytes();
  REQUIRE(with_buffer < before + 24 * mib);
  for (std::uint64_t offset = 0; offset < 64 * mib; offset += 16 * mib) {
    REQUIRE(write_bytes(*memory, *executor, (std::uint64_t{1} << 35) + offset, buffer));
  }
  REQUIRE(resident_bytes() > with_buffer + 56 * mib);
  Counted discard(RequestKind::discard, std::uint64_t{1} << 35);
  discard.size = 64 * mib;
  REQUIRE(perform(*memory, *executor, discard));
  REQUIRE(resident_bytes() < with_buffer + 8 * mib);
}

TEST_CASE("memory segment: what was discarded reads as zeroes to the byte", "[segment-memory]") {
  const auto memory = create(mib);
  const auto executor = make_executor();
  const Buffer all(mib);
  for (const auto& [offset, size] : {std::pair<std::uint64_t, std::uint64_t>{512, 512},
                                     {4096 - 512, 1024},
                                     {512, 65536},
                                     {8192, 8192},
                                     {mib - 512, 512}}) {
    all.fill(0x77);
    REQUIRE(write_bytes(*memory, *executor, 0, all));
    Counted discard(RequestKind::discard, offset);
    discard.size = size;
    REQUIRE(perform(*memory, *executor, discard));
    REQUIRE(read_bytes(*memory, *executor, 0, all));
    for (std::uint64_t index = 0; index < mib; index += 256) {
      const bool gone = index >= offset && index < offset + size;
      REQUIRE(all.data()[index] == (gone ? std::byte{0} : std::byte{0x77}));
    }
  }
}

TEST_CASE("memory segment: grows up to its maximum and then is no_space",
          "[segment-memory][grow]") {
  const auto memory = create(mib, 4 * mib);
  const auto executor = make_executor();
  REQUIRE(grow(*memory, *executor, 3 * mib));
  REQUIRE(memory->size() == 3 * mib);
  REQUIRE(grow(*memory, *executor, mib));
  REQUIRE(memory->size() == 3 * mib);
  REQUIRE(code_of(grow(*memory, *executor, 5 * mib)) == code_of(ErrorCode::no_space));
  REQUIRE(memory->size() == 3 * mib);
  const Buffer buffer(mib);
  REQUIRE(write_bytes(*memory, *executor, 2 * mib, buffer));
  REQUIRE(code_of(MemoryBackend::create({.size_bytes = 1000})) ==
          code_of(ErrorCode::invalid_argument));
}

TEST_CASE("memory segment: ending it while requests are under way is a programmer's error",
          "[segment-memory]") {
  REQUIRE(dies([] {
    const auto executor = make_executor();
    auto memory = create(mib);
    Counted request(RequestKind::sync);
    memory->submit(*executor, request);
    memory.reset();
  }));
}
