// What every backend of segments must do (lib/segment/backend.hpp), however it does its I/O.
#include <array>
#include <atomic>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include <firn/fiber.hpp>

#include "contract/segment_variants.hpp"
#include "segment/fiber_io.hpp"
#include "support/dies.hpp"

namespace {

using namespace firn;
using namespace firn::test;

constexpr std::uint64_t mib = 1 << 20;
constexpr std::size_t page = 4096;

// Runs `body(segment, executor)` for each backend of the registry that this machine has.
template <class Body>
void for_each_variant(std::uint64_t size, Body body) {
  for (const SegmentVariant& variant : segment_variants()) {
    DYNAMIC_SECTION(variant.name) {
      const std::unique_ptr<SegmentUnderTest> segment = variant.open(size);
      if (segment == nullptr) {
        WARN(variant.name << ": not on this machine");
        continue;
      }
      const auto executor = make_executor(segment->seam());
      body(*segment, *executor);
    }
  }
}

// A page's content that tells its number and round.
void stamp(std::byte* bytes, std::uint64_t number, std::uint64_t round = 0) {
  for (std::size_t offset = 0; offset < page; offset += 16) {
    std::memcpy(bytes + offset, &number, 8);
    std::memcpy(bytes + offset + 8, &round, 8);
  }
}
bool is_stamped(const std::byte* bytes, std::uint64_t number, std::uint64_t round = 0) {
  std::array<std::byte, page> expected;
  stamp(expected.data(), number, round);
  return std::memcmp(bytes, expected.data(), page) == 0;
}

}  // namespace

TEST_CASE("segment: bytes that were never written read as zeroes", "[segment-backends]") {
  for_each_variant(4 * mib, [](SegmentUnderTest& segment, ExecutorCore& executor) {
    segment::Backend& backend = segment.backend();
    REQUIRE(backend.size() == 4 * mib);
    REQUIRE(backend.id() == 7);
    const Buffer buffer(mib);
    for (std::uint64_t offset = 0; offset < 4 * mib; offset += mib) {
      buffer.fill(0xee);
      REQUIRE(read_bytes(backend, executor, offset, buffer));
      REQUIRE(buffer.holds(0));
    }
    // Beside what was written, too.
    buffer.fill(0x11);
    REQUIRE(write_bytes(backend, executor, mib, buffer));
    REQUIRE(read_bytes(backend, executor, 2 * mib, buffer));
    REQUIRE(buffer.holds(0));
    REQUIRE(read_bytes(backend, executor, 0, buffer));
    REQUIRE(buffer.holds(0));
    REQUIRE(read_bytes(backend, executor, mib, buffer));
    REQUIRE(buffer.holds(0x11));
  });
}

TEST_CASE("segment: vectors are one run of bytes however they are cut", "[segment-backends]") {
  for_each_variant(4 * mib, [](SegmentUnderTest& segment, ExecutorCore& executor) {
    segment::Backend& backend = segment.backend();
    const Buffer written(36 * page);
    for (std::size_t index = 0; index < 36; ++index) stamp(written.data(index * page), index);
    // 1 + 2 + ... + 8 pages, and back in vectors of 8 to 1.
    Counted write(RequestKind::write, 5 * page);
    Counted read(RequestKind::read, 5 * page);
    const Buffer back(36 * page);
    std::size_t write_at = 0;
    std::size_t read_at = 0;
    for (std::size_t index = 0; index < Request::vector_count_max; ++index) {
      write.vectors[index] = {written.data(write_at), (index + 1) * page};
      read.vectors[index] = {back.data(read_at), (8 - index) * page};
      write_at += (index + 1) * page;
      read_at += (8 - index) * page;
    }
    write.vector_count = read.vector_count = Request::vector_count_max;
    REQUIRE(write.length() == 36 * page);
    REQUIRE(perform(backend, executor, write));
    REQUIRE(perform(backend, executor, read));
    REQUIRE(std::memcmp(written.data(), back.data(), written.size()) == 0);
    // The vectors are the caller's, as it made them.
    REQUIRE(write.vectors[0].iov_base == written.data());
    REQUIRE(write.length() == 36 * page);
  });
}

TEST_CASE("segment: of thousands in flight each is done once and holds its own bytes",
          "[segment-backends]") {
  constexpr std::size_t count = 3000;  // more than the kernel is given at a time
  for_each_variant(count * page, [](SegmentUnderTest& segment, ExecutorCore& executor) {
    segment::Backend& backend = segment.backend();
    const Buffer bytes(count * page);
    for (const RequestKind kind : {RequestKind::write, RequestKind::read}) {
      std::deque<Counted> requests;
      for (std::size_t index = 0; index < count; ++index) {
        Counted& request = requests.emplace_back(kind, index * page);
        request.set_buffer(bytes.data(index * page), page);
        if (kind == RequestKind::write) stamp(bytes.data(index * page), index);
      }
      if (kind == RequestKind::read) bytes.fill(0);
      std::mt19937_64 random(1);
      std::vector<std::size_t> order(count);
      for (std::size_t index = 0; index < count; ++index) order[index] = index;
      std::shuffle(order.begin(), order.end(), random);
      for (const std::size_t index : order) backend.submit(executor, requests[index]);
      for (const Counted& request : requests) REQUIRE(request.done_count == 0);
      REQUIRE(run_until(executor, [&] {
        return std::all_of(requests.begin(), requests.end(),
                           [](const Counted& each) { return each.done_count > 0; });
      }));
      for (std::size_t index = 0; index < count; ++index) {
        REQUIRE(requests[index].done_count == 1);
        REQUIRE(requests[index].outcome);
        REQUIRE(is_stamped(bytes.data(index * page), index));
      }
    }
  });
}

TEST_CASE("segment: a request may be submitted again from its done", "[segment-backends]") {
  for_each_variant(mib, [](SegmentUnderTest& segment, ExecutorCore& executor) {
    struct Repeated : Request {
      segment::Backend* backend = nullptr;
      ExecutorCore* executor = nullptr;
      int left = 200;
      bool inside_submit = false;
      bool called_inside = false;
    } repeated;
    const Buffer buffer(page);
    repeated.backend = &segment.backend();
    repeated.executor = &executor;
    repeated.kind = RequestKind::write;
    repeated.set_buffer(buffer.data(), page);
    repeated.done = [](Request& request) noexcept {
      auto& self = static_cast<Repeated&>(request);
      if (self.inside_submit) self.called_inside = true;
      if (--self.left == 0) return;
      self.inside_submit = true;
      self.backend->submit(*self.executor, self);
      self.inside_submit = false;
    };
    repeated.backend->submit(executor, repeated);
    REQUIRE(run_until(executor, [&] { return repeated.left == 0; }));
    REQUIRE_FALSE(repeated.called_inside);
    REQUIRE(repeated.outcome);
  });
}

TEST_CASE("segment: syncs that overlap with writes and each other all end", "[segment-backends]") {
  for_each_variant(4 * mib, [](SegmentUnderTest& segment, ExecutorCore& executor) {
    segment::Backend& backend = segment.backend();
    const Buffer buffer(page);
    stamp(buffer.data(), 1);
    std::deque<Counted> requests;
    for (std::size_t index = 0; index < 300; ++index) {
      Counted& request = index % 3 == 0
                             ? requests.emplace_back(RequestKind::sync)
                             : requests.emplace_back(RequestKind::write, index * page, buffer);
      backend.submit(executor, request);
    }
    REQUIRE(run_until(executor, [&] {
      return std::all_of(requests.begin(), requests.end(),
                         [](const Counted& each) { return each.done_count == 1; });
    }));
    for (const Counted& request : requests) REQUIRE(request.outcome);
    // In order: a sync after its writes.
    REQUIRE(write_bytes(backend, executor, 0, buffer));
    REQUIRE(sync(backend, executor));
  });
}

TEST_CASE("segment: grows while reads and writes run and loses none of them",
          "[segment-backends][grow]") {
  for_each_variant(mib, [](SegmentUnderTest& segment, ExecutorCore& executor) {
    segment::Backend& backend = segment.backend();
    constexpr std::size_t pages = 256;
    const Buffer bytes(pages * page);
    std::deque<Counted> writes;
    std::deque<Counted> grows;
    for (std::size_t index = 0; index < pages; ++index) {
      stamp(bytes.data(index * page), index);
      Counted& write = writes.emplace_back(RequestKind::write, index * page);
      write.set_buffer(bytes.data(index * page), page);
      backend.submit(executor, write);
      if (index % 32 == 0) {
        // Larger and smaller ones cross; none shrinks.
        Counted& grow = grows.emplace_back(RequestKind::grow);
        grow.size = (8 - (index / 32 * 5) % 8) * mib;
        backend.submit(executor, grow);
      }
    }
    std::uint64_t former = 0;
    REQUIRE(run_until(executor, [&] {
      const std::uint64_t now = backend.size();
      if (now < former) return true;
      former = now;
      const auto is_done = [](const Counted& each) { return each.done_count == 1; };
      return std::all_of(writes.begin(), writes.end(), is_done) &&
             std::all_of(grows.begin(), grows.end(), is_done);
    }));
    for (const Counted& grow : grows) REQUIRE(grow.outcome);
    for (const Counted& write : writes) REQUIRE(write.outcome);
    REQUIRE(backend.size() == 8 * mib);
    const Buffer back(mib);
    REQUIRE(read_bytes(backend, executor, 0, back));
    for (std::size_t index = 0; index < pages; ++index) {
      REQUIRE(is_stamped(back.data(index * page), index));
    }
    for (std::uint64_t offset = mib; offset < 8 * mib; offset += mib) {
      REQUIRE(read_bytes(backend, executor, offset, back));
      REQUIRE(back.holds(0));
    }
    back.fill(0x22);
    REQUIRE(write_bytes(backend, executor, 7 * mib, back));
    REQUIRE(sync(backend, executor));
    back.fill(0);
    REQUIRE(read_bytes(backend, executor, 7 * mib, back));
    REQUIRE(back.holds(0x22));
  });
}

TEST_CASE("segment: what is unaligned or out of bounds is refused and changes nothing",
          "[segment-backends]") {
  for_each_variant(mib, [](SegmentUnderTest& segment, ExecutorCore& executor) {
    segment::Backend& backend = segment.backend();
    const std::uint32_t block = backend.capabilities().block_bytes;
    REQUIRE(block >= 512);
    REQUIRE(page % block == 0);
    REQUIRE(backend.capabilities().atomic_bytes >= 512);
    const Buffer buffer(2 * page);
    buffer.fill(0x33);
    const auto refused = [&](RequestKind kind, std::uint64_t offset, std::byte* data,
                             std::size_t length) {
      Counted request(kind, offset);
      request.set_buffer(data, length);
      request.size = length;
      const Result<void> outcome = perform(backend, executor, request);
      REQUIRE(code_of(outcome) == code_of(ErrorCode::invalid_argument));
      REQUIRE(outcome.error().place.segment == 7);
      REQUIRE(request.done_count == 1);
    };
    for (const RequestKind kind : {RequestKind::read, RequestKind::write}) {
      refused(kind, 1, buffer.data(), page);
      refused(kind, block / 2, buffer.data(), page);
      refused(kind, 0, buffer.data(), page - 1);
      refused(kind, 0, buffer.data(1), page);
      refused(kind, mib, buffer.data(), page);
      refused(kind, mib - page, buffer.data(), 2 * page);
      refused(kind, 0, buffer.data(), 0);
      refused(kind, ~std::uint64_t{0} - page + 1, buffer.data(), page);
    }
    refused(RequestKind::discard, 3, buffer.data(), page);
    refused(RequestKind::discard, mib, buffer.data(), page);
    refused(RequestKind::grow, 0, buffer.data(), mib + 1);
    REQUIRE(backend.size() == mib);
    REQUIRE(read_bytes(backend, executor, 0, buffer));
    REQUIRE(buffer.holds(0));
  });
}

TEST_CASE("segment: discarding spares what lies beside", "[segment-backends]") {
  for_each_variant(mib, [](SegmentUnderTest& segment, ExecutorCore& executor) {
    segment::Backend& backend = segment.backend();
    const Buffer all(mib);
    all.fill(0x44);
    REQUIRE(write_bytes(backend, executor, 0, all));
    Counted discard(RequestKind::discard, 16 * page);
    discard.size = 64 * page;
    REQUIRE(perform(backend, executor, discard));
    REQUIRE(read_bytes(backend, executor, 0, all));
    const auto is_kept = [](std::byte byte) { return byte == std::byte{0x44}; };
    REQUIRE(std::all_of(all.data(), all.data(16 * page), is_kept));
    REQUIRE(std::all_of(all.data(80 * page), all.data(mib), is_kept));
    REQUIRE(write_bytes(backend, executor, 16 * page, Buffer(64 * page)));
    // Nothing at all, and everything.
    Counted nothing(RequestKind::discard, page);
    REQUIRE(perform(backend, executor, nothing));
    Counted everything(RequestKind::discard, 0);
    everything.size = mib;
    REQUIRE(perform(backend, executor, everything));
    all.fill(0x55);
    REQUIRE(write_bytes(backend, executor, 0, all));
    all.fill(0);
    REQUIRE(read_bytes(backend, executor, 0, all));
    REQUIRE(all.holds(0x55));
  });
}

TEST_CASE("segment: two threads share it and each request ends on its own", "[segment-backends]") {
  for_each_variant(8 * mib, [](SegmentUnderTest& segment, ExecutorCore&) {
    segment::Backend& backend = segment.backend();
    std::atomic<int> failure_count{0};
    const auto work = [&](std::uint64_t first_page) {
      const auto executor = make_executor(segment.seam());
      const auto self = std::this_thread::get_id();
      struct Own : Counted {
        std::thread::id thread;
        bool elsewhere = false;
        using Counted::Counted;
      };
      constexpr std::size_t count = 64;
      const Buffer bytes(count * page);
      for (std::uint64_t round = 0; round < 10; ++round) {
        std::deque<Own> requests;
        for (std::size_t index = 0; index < count; ++index) {
          Own& request = requests.emplace_back(
              round % 2 == 0 ? RequestKind::write : RequestKind::read, (first_page + index) * page);
          request.set_buffer(bytes.data(index * page), page);
          if (round % 2 == 0) stamp(bytes.data(index * page), first_page + index, round);
          if (index % 16 == 15) {
            request.kind = RequestKind::sync;
            request.vector_count = 0;
          }
          request.thread = self;
          request.done = [](Request& done) noexcept {
            auto& own = static_cast<Own&>(done);
            own.elsewhere = own.thread != std::this_thread::get_id();
            ++own.done_count;
          };
          backend.submit(*executor, request);
        }
        const bool ended = run_until(*executor, [&] {
          return std::all_of(requests.begin(), requests.end(),
                             [](const Own& each) { return each.done_count == 1; });
        });
        if (!ended) failure_count += 1000;
        for (std::size_t index = 0; index < count; ++index) {
          if (!requests[index].outcome || requests[index].elsewhere) ++failure_count;
          if (requests[index].kind == RequestKind::read &&
              !is_stamped(bytes.data(index * page), first_page + index, round - 1)) {
            ++failure_count;
          }
        }
      }
    };
    std::thread other(work, 1024);
    work(0);
    other.join();
    REQUIRE(failure_count == 0);
  });
}

TEST_CASE("segment: fibers wait for their I/O without their thread", "[segment-backends]") {
  for_each_variant(mib, [](SegmentUnderTest& segment, ExecutorCore& core) {
    segment::Backend& backend = segment.backend();
    struct Work {
      segment::Backend* backend;
      ExecutorCore* core;
      std::uint64_t number;
      int* ended_count;
      int* failure_count;
      bool out_of_bounds_fails;
    };
    int ended_count = 0;
    int failure_count = 0;
    constexpr int fiber_count = 16;
    std::deque<Work> works;
    for (std::uint64_t number = 0; number < fiber_count; ++number) {
      works.push_back({&backend, &core, number, &ended_count, &failure_count, true});
      auto fiber = core.fibers().prepare(core, sizeof(Work*), alignof(Work*));
      REQUIRE(fiber.has_value());
      *static_cast<Work**>((*fiber)->memory) = &works.back();
      runtime::FiberPool::start(**fiber, [](void* memory) noexcept {
        Work& own = **static_cast<Work**>(memory);
        const Buffer bytes(4 * page);
        std::array<Request, 4> requests;
        for (std::size_t index = 0; index < requests.size(); ++index) {
          stamp(bytes.data(index * page), own.number, index);
          requests[index].kind = RequestKind::write;
          requests[index].offset = (own.number * 4 + index) * page;
          requests[index].set_buffer(bytes.data(index * page), page);
        }
        if (!await_all(*own.backend, *own.core, requests)) ++*own.failure_count;
        bytes.fill(0);
        Request read;
        read.offset = own.number * 4 * page;
        read.set_buffer(bytes.data(), bytes.size());
        if (!await(*own.backend, *own.core, read)) ++*own.failure_count;
        for (std::size_t index = 0; index < requests.size(); ++index) {
          if (!is_stamped(bytes.data(index * page), own.number, index)) ++*own.failure_count;
        }
        if (own.out_of_bounds_fails) {
          read.offset = mib;
          if (await(*own.backend, *own.core, read)) ++*own.failure_count;
        }
        ++*own.ended_count;
      });
    }
    REQUIRE(run_until(core, [&] { return ended_count == fiber_count; }));
    REQUIRE(failure_count == 0);
  });
}
