// The simulated device itself: what it keeps, what it loses, and how it lies.
#include "segment/simulated.hpp"

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/simulated_io.hpp"

namespace {

using namespace firn;
using namespace firn::segment;
using firn::test::SimulatedIo;

constexpr std::uint64_t device_bytes = 256 * 1024;

std::vector<std::byte> filled(std::size_t bytes, int value) {
  return std::vector<std::byte>(bytes, static_cast<std::byte>(value));
}

std::vector<std::byte> content(const SectorImage& image, std::uint64_t offset, std::size_t bytes) {
  std::vector<std::byte> read(bytes);
  image.read(offset, read);
  return read;
}

SimulatedOptions with_fault(FaultKind kind, std::uint64_t first = 1, std::uint64_t count = 1) {
  SimulatedOptions options;
  FaultRule rule;
  rule.kind = kind;
  rule.first = first;
  rule.count = count;
  options.faults = {rule};
  return options;
}

}  // namespace

TEST_CASE("simulated: images share what they have in common and hash by content", "[simulated]") {
  SectorImage image(device_bytes);
  const std::uint64_t empty = image.hash();
  image.write(4096, filled(1024, 7));
  SectorImage copy = image;
  REQUIRE(copy.hash() == image.hash());
  copy.write(4096, filled(512, 8));
  REQUIRE(copy.hash() != image.hash());
  REQUIRE(content(image, 4096, 512) == filled(512, 7));
  REQUIRE(content(copy, 4608, 512) == filled(512, 7));
  copy.write(4096, filled(512, 7));
  REQUIRE(copy.hash() == image.hash());
  copy.zero_sector(8);
  copy.zero_sector(9);
  REQUIRE(copy.hash() == empty);
  REQUIRE(copy.used_bytes() == 0);
  copy.write(0, filled(512, 0));
  REQUIRE(copy.hash() == empty);
  SectorImage moved(device_bytes);
  moved.write(8192, filled(1024, 7));
  REQUIRE(moved.hash() != image.hash());
}

TEST_CASE("simulated: a write is volatile until a sync submitted after it completed",
          "[simulated]") {
  SimulatedDevice device(device_bytes);
  SimulatedIo io;
  {
    SimulatedBackend backend(device, {});
    REQUIRE(io.write(backend, 0, filled(4096, 1)).has_value());
    std::vector<std::byte> read(4096);
    REQUIRE(io.read(backend, 0, read).has_value());
    REQUIRE(read == filled(4096, 1));
    REQUIRE(content(device.durable(), 0, 4096) == filled(4096, 0));
    REQUIRE(io.sync(backend).has_value());
    REQUIRE(content(device.durable(), 0, 4096) == filled(4096, 1));
    // Submitted together: the sync does not cover the write, whichever completes first; only the
    // former round's.
    for (int round = 0; round < 20; ++round) {
      io.start_write(backend, 4096, filled(4096, round));
      auto& sync = io.start_sync(backend);
      io.wait_all();
      REQUIRE(sync.outcome().has_value());
      REQUIRE(device.pending_count() == 1);
    }
    io.forget();
  }
  device.drop_pending();
  REQUIRE(content(device.content(), 4096, 4096) == filled(4096, 18));
  REQUIRE(content(device.content(), 0, 4096) == filled(4096, 1));
}

TEST_CASE("simulated: a device that is durable on completion needs no sync", "[simulated]") {
  SimulatedDevice device(device_bytes);
  SimulatedIo io;
  {
    SimulatedOptions options;
    options.capabilities.durable_on_completion = true;
    SimulatedBackend backend(device, options);
    REQUIRE(io.write(backend, 512, filled(512, 9)).has_value());
    REQUIRE(device.pending_count() == 0);
  }
  device.drop_pending();
  REQUIRE(content(device.content(), 512, 512) == filled(512, 9));
}

TEST_CASE("simulated: completions come in any order and at their time", "[simulated]") {
  std::vector<std::vector<int>> orders;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SimulatedDevice device(device_bytes);
    SimulatedIo io;
    SimulatedOptions options;
    options.seed = seed;
    options.latency_min = std::chrono::microseconds(10);
    options.latency_max = std::chrono::microseconds(90);
    SimulatedBackend backend(device, options);
    std::vector<test::TestRequest*> requests;
    for (int index = 0; index < 6; ++index) {
      requests.push_back(
          &io.start_write(backend, static_cast<std::uint64_t>(index) * 512, filled(512, index)));
    }
    std::vector<int> order;
    std::vector<bool> seen(6);
    while (io.go_on()) {
      for (int index = 0; index < 6; ++index) {
        const auto at = static_cast<std::size_t>(index);
        if (requests[at]->done && !seen[at]) order.push_back(index);
        seen[at] = requests[at]->done;
      }
    }
    REQUIRE(order.size() == 6);
    REQUIRE(io.clock().now().time_since_epoch() >= std::chrono::microseconds(10));
    REQUIRE(io.clock().now().time_since_epoch() <= std::chrono::microseconds(90));
    orders.push_back(order);
  }
  std::sort(orders.begin(), orders.end());
  REQUIRE(std::unique(orders.begin(), orders.end()) - orders.begin() >= 6);
}

TEST_CASE("simulated: growing and the limit of the capacity", "[simulated]") {
  SimulatedDevice device(8192);
  SimulatedIo io;
  SimulatedOptions options;
  options.capacity_bytes = 12288;
  SimulatedBackend backend(device, options);
  REQUIRE(backend.size() == 8192);
  REQUIRE(io.grow(backend, 65536).has_value());
  REQUIRE(backend.size() == 65536);
  for (const std::uint64_t offset : {0u, 8192u, 32768u}) {
    REQUIRE(io.write(backend, offset, filled(4096, 1)).has_value());
  }
  const Result<void> full = io.write(backend, 40960, filled(4096, 1));
  REQUIRE(!full.has_value());
  REQUIRE(full.error().code == ErrorCode::no_space);
  REQUIRE(full.error().system_error == ENOSPC);
  REQUIRE(io.write(backend, 8192, filled(4096, 2)).has_value());
  // A discard may free the space: it is a hint.
  bool freed = false;
  for (int round = 0; round < 50 && !freed; ++round) {
    REQUIRE(io.run(backend, RequestKind::discard, 8192, 4096).has_value());
    freed = device.content().used_bytes() == 8192;
  }
  REQUIRE(freed);
  REQUIRE(io.write(backend, 40960, filled(4096, 1)).has_value());
}

TEST_CASE("simulated: each kind of failure does what its name says", "[simulated]") {
  SimulatedIo io;
  const auto former = filled(4096, 1);
  const auto next = filled(4096, 2);
  std::vector<std::byte> read(4096);
  const auto kind = static_cast<FaultKind>(GENERATE(range(0u, fault_kind_count)));
  INFO("fault " << name_of(kind));
  for (std::uint64_t seed = 1; seed <= 16; ++seed) {
    SimulatedDevice device(device_bytes);
    SimulatedOptions options = with_fault(kind, strikes(kind, RequestKind::write) ? 2 : 1);
    options.seed = seed;
    SimulatedBackend backend(device, options);
    REQUIRE(io.write(backend, 8192, former).has_value());
    const auto elapsed = io.clock().now();
    const Result<void> wrote = io.write(backend, 8192, next);
    const auto now = content(device.content(), 8192, 4096);
    const auto sectors_of = [&](int value) {
      std::size_t count = 0;
      for (std::size_t at = 0; at < 4096; at += 512)
        count += now[at] == static_cast<std::byte>(value);
      return count;
    };
    if (strikes(kind, RequestKind::write)) {
      REQUIRE(backend.faults().size() == 1);
      REQUIRE(backend.faults()[0].number == 2);
    }
    switch (kind) {
      case FaultKind::io_error:
      case FaultKind::short_transfer:
        REQUIRE(wrote.error().code == ErrorCode::io_error);
        REQUIRE(wrote.error().system_error == EIO);
        REQUIRE(sectors_of(1) + sectors_of(2) == 8);
        if (kind == FaultKind::short_transfer) REQUIRE(sectors_of(1) > 0);
        break;
      case FaultKind::no_space:
        REQUIRE(wrote.error().code == ErrorCode::no_space);
        REQUIRE(now == former);
        break;
      case FaultKind::cancelled:
        REQUIRE(wrote.error().system_error == ECANCELED);
        REQUIRE(now == former);
        break;
      case FaultKind::torn_write:
        REQUIRE(wrote.has_value());
        REQUIRE(sectors_of(1) + sectors_of(2) == 8);
        break;
      case FaultKind::lost_write:
        REQUIRE(wrote.has_value());
        REQUIRE(now == former);
        break;
      case FaultKind::misdirected_write: {
        REQUIRE(wrote.has_value());
        REQUIRE(now == former);
        std::size_t places = 0;
        for (std::uint64_t at = 0; at < device_bytes; at += 4096) {
          places += content(device.content(), at, 4096) == next ? 1 : 0;
        }
        REQUIRE(places == 1);
        break;
      }
      case FaultKind::bit_flip_at_rest: {
        REQUIRE(wrote.has_value());
        REQUIRE(now != next);
        REQUIRE(sectors_of(2) >= 7);
        break;
      }
      case FaultKind::bit_flip_on_read:
      case FaultKind::misdirected_read:
      case FaultKind::stale_read:
        REQUIRE(wrote.has_value());
        REQUIRE(io.read(backend, 8192, read).has_value());
        REQUIRE(read != next);
        if (kind == FaultKind::stale_read) REQUIRE(read == former);
        REQUIRE(io.read(backend, 8192, read).has_value());
        REQUIRE(read == next);
        break;
      case FaultKind::failed_sync: {
        REQUIRE(io.sync(backend).error().system_error == EIO);
        REQUIRE(io.sync(backend).error().code == ErrorCode::failed);
        backend.heal();
        REQUIRE(io.sync(backend).error().code == ErrorCode::failed);
        REQUIRE(content(device.durable(), 8192, 4096) == filled(4096, 0));
        break;
      }
      case FaultKind::late:
        REQUIRE(wrote.has_value());
        REQUIRE(io.clock().now() >= elapsed + std::chrono::seconds(1));
        break;
      case FaultKind::no_completion: {
        REQUIRE(wrote.error().code == ErrorCode::timed_out);
        REQUIRE(now == former);
        REQUIRE(backend.under_way_count() == 1);
        backend.release_hung();
        io.wait_all();
        REQUIRE(backend.under_way_count() == 0);
        REQUIRE(content(device.content(), 8192, 4096) == next);
        break;
      }
    }
    io.wait_all();
    io.forget();
  }
}

TEST_CASE("simulated: switching off ends everything with an error and keeps what is durable",
          "[simulated]") {
  SimulatedDevice device(device_bytes);
  SimulatedIo io;
  {
    SimulatedOptions options = with_fault(FaultKind::no_completion, 3);
    SimulatedBackend backend(device, options);
    REQUIRE(io.write(backend, 0, filled(512, 1)).has_value());
    REQUIRE(io.sync(backend).has_value());
    auto& hung = io.start_write(backend, 512, filled(512, 1));
    io.wait_all();
    auto& waiting = io.start_write(backend, 1024, filled(512, 1));
    backend.power_off();
    io.wait_all();
    REQUIRE(hung.outcome().error().system_error == ENODEV);
    REQUIRE(waiting.outcome().error().system_error == ENODEV);
    REQUIRE(io.sync(backend).error().system_error == ENODEV);
  }
  REQUIRE(device.pending_count() == 2);
  base::Random random(3);
  device.cut_power(random);
  REQUIRE(content(device.content(), 0, 512) == filled(512, 1));
  REQUIRE(device.pending_count() == 0);
}

TEST_CASE("simulated: equal seeds give equal histories", "[simulated]") {
  const auto history = [](std::uint64_t seed) {
    SimulatedDevice device(device_bytes);
    Journal journal;
    SimulatedIo io(seed);
    SimulatedOptions options;
    options.seed = seed;
    options.latency_max = std::chrono::microseconds(100);
    for (const FaultKind kind : {FaultKind::torn_write, FaultKind::io_error, FaultKind::late,
                                 FaultKind::misdirected_write, FaultKind::bit_flip_at_rest}) {
      FaultRule rule;
      rule.kind = kind;
      rule.count = FaultRule::forever;
      rule.one_in = 20;
      options.faults.push_back(rule);
    }
    device.record(&journal, options.capabilities);
    SimulatedBackend backend(device, options);
    base::Random random(seed);
    for (int round = 0; round < 400; ++round) {
      const std::uint64_t offset = random.below(device_bytes / 4096) * 4096;
      io.start_write(backend, offset, filled(4096, round));
      if (random.one_in(4)) io.start_sync(backend);
      if (random.one_in(3)) io.go_on();
      journal.mark(1, random.below(9));
    }
    io.wait_all();
    return journal.hash() ^ device.content().hash();
  };
  std::vector<std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    hashes.push_back(history(seed));
    REQUIRE(history(seed) == hashes.back());
  }
  std::sort(hashes.begin(), hashes.end());
  REQUIRE(std::unique(hashes.begin(), hashes.end()) == hashes.end());
}

TEST_CASE("simulated: misuse is refused and reaches no device", "[simulated]") {
  SimulatedDevice device(device_bytes);
  Journal journal;
  device.record(&journal);
  SimulatedIo io;
  SimulatedBackend backend(device, {});
  const auto refused = [&](RequestKind kind, std::uint64_t offset, std::size_t length) {
    return io.run(backend, kind, offset, length).error().code == ErrorCode::invalid_argument;
  };
  REQUIRE(refused(RequestKind::write, 100, 512));
  REQUIRE(refused(RequestKind::write, 0, 100));
  REQUIRE(refused(RequestKind::write, 0, 0));
  REQUIRE(refused(RequestKind::write, device_bytes, 512));
  REQUIRE(refused(RequestKind::read, device_bytes - 512, 1024));
  REQUIRE(refused(RequestKind::read, ~std::uint64_t{511}, 1024));
  REQUIRE(refused(RequestKind::discard, 1, 512));
  REQUIRE(refused(RequestKind::grow, 0, 700));
  REQUIRE(journal.calls.empty());
}

TEST_CASE("simulated: a backend of the interface alone", "[simulated]") {
  SimulatedIo io;
  const std::unique_ptr<Backend> backend = make_simulated_backend(device_bytes);
  REQUIRE(backend->size() == device_bytes);
  REQUIRE(io.write(*backend, 4096, filled(512, 3)).has_value());
  std::vector<std::byte> read(1024);
  REQUIRE(io.read(*backend, 4096, read).has_value());
  REQUIRE(read[0] == std::byte{3});
  REQUIRE(read[512] == std::byte{0});
}
