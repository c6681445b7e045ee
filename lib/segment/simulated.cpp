#include "segment/simulated.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include <firn/assertion.hpp>

namespace firn::segment {
namespace {

constexpr unsigned bit_of(RequestKind kind) noexcept { return 1u << static_cast<unsigned>(kind); }
constexpr unsigned reads = bit_of(RequestKind::read);
constexpr unsigned writes = bit_of(RequestKind::write);
constexpr unsigned syncs = bit_of(RequestKind::sync);
constexpr unsigned discards = bit_of(RequestKind::discard);
constexpr unsigned grows = bit_of(RequestKind::grow);
constexpr unsigned all = reads | writes | syncs | discards | grows;

struct FaultText {
  FaultKind kind;
  std::string_view name;
  unsigned strikes;
};

constexpr FaultText fault_texts[] = {
    {FaultKind::io_error, "io_error", all},
    {FaultKind::no_space, "no_space", writes | grows},
    {FaultKind::cancelled, "cancelled", all},
    {FaultKind::short_transfer, "short_transfer", reads | writes},
    {FaultKind::failed_sync, "failed_sync", syncs},
    {FaultKind::torn_write, "torn_write", writes},
    {FaultKind::lost_write, "lost_write", writes},
    {FaultKind::misdirected_write, "misdirected_write", writes},
    {FaultKind::bit_flip_at_rest, "bit_flip_at_rest", writes},
    {FaultKind::bit_flip_on_read, "bit_flip_on_read", reads},
    {FaultKind::misdirected_read, "misdirected_read", reads},
    {FaultKind::stale_read, "stale_read", reads},
    {FaultKind::late, "late", all},
    {FaultKind::no_completion, "no_completion", all},
};
static_assert(std::size(fault_texts) == fault_kind_count);

// A place on the medium other than `offset`, aligned as it is.
std::uint64_t elsewhere(base::Random& random, std::uint64_t offset, std::uint64_t length,
                        std::uint64_t size, std::uint64_t block_bytes) noexcept {
  const std::uint64_t unit = std::max<std::uint64_t>(block_bytes, length);
  const std::uint64_t places = size / unit;
  if (places < 2) return offset;
  const std::uint64_t place = random.below(places - 1);
  return (place >= offset / unit ? place + 1 : place) * unit;
}

}  // namespace

std::string_view name_of(FaultKind kind) noexcept {
  return fault_texts[static_cast<unsigned>(kind)].name;
}
bool strikes(FaultKind kind, RequestKind request) noexcept {
  return (fault_texts[static_cast<unsigned>(kind)].strikes & bit_of(request)) != 0;
}

SimulatedBackend::SimulatedBackend(SimulatedDevice& device, SimulatedOptions options)
    : options_(std::move(options)), device_(device), random_(options_.seed) {
  FIRN_ASSERT(!device.open_);
  FIRN_ASSERT(options_.latency_min <= options_.latency_max);
  FIRN_ASSERT(options_.capabilities.block_bytes % sector_bytes == 0);
  FIRN_ASSERT(options_.capabilities.atomic_bytes % sector_bytes == 0);
  device.open_ = true;
  for (const FaultRule& rule : options_.faults) inject(rule);
}

SimulatedBackend::~SimulatedBackend() {
  for (const auto& lane : lanes_) {
    if (lane->armed) {
      FIRN_ASSERT(lane->heap_index != runtime::Timer::not_scheduled);  // not about to run
      lane->home->unschedule(*lane);
    }
  }
  device_.open_ = false;
}

std::uint64_t SimulatedBackend::size() const noexcept {
  const std::lock_guard lock(mutex_);
  return device_.content_.size();
}

void SimulatedBackend::inject(FaultRule rule) {
  const std::lock_guard lock(mutex_);
  rules_.push_back({.rule = rule, .seen = 0});
  if (rule.kind == FaultKind::stale_read) device_.keeps_former_ = true;
}

void SimulatedBackend::heal() {
  const std::lock_guard lock(mutex_);
  rules_.clear();
}

Error SimulatedBackend::error(ErrorCode code, int system_error) const noexcept {
  Place place;
  place.segment = options_.id;
  return fail_system(code, system_error, "the simulated device refused", place).error;
}

const FaultRule* SimulatedBackend::draw_fault(const Request& request) {
  const FaultRule* found = nullptr;
  for (Rule& rule : rules_) {
    const FaultRule& wanted = rule.rule;
    if (!strikes(wanted.kind, request.kind)) continue;
    if (request.offset < wanted.offset_min || request.offset > wanted.offset_max) continue;
    const std::uint64_t number = ++rule.seen;
    // The chance is drawn for each candidate, so that one rule does not shift the next one's.
    const bool chosen = wanted.one_in <= 1 || random_.one_in(wanted.one_in);
    if (!chosen || found != nullptr || number < wanted.first) continue;
    if (number - wanted.first < wanted.count) found = &wanted;
  }
  return found;
}

bool SimulatedBackend::fits(const Request& request, Flight& flight) const noexcept {
  const SectorImage& content = device_.content_;
  if (request.kind == RequestKind::grow) {
    return !options_.preallocate || request.size <= options_.capacity_bytes;
  }
  if (request.kind != RequestKind::write || options_.preallocate) return true;
  if (options_.capacity_bytes == ~std::uint64_t{0}) return true;
  constexpr std::uint64_t block = SectorImage::block_bytes;
  const std::uint64_t end = request.offset + request.length();
  for (std::uint64_t at = request.offset / block * block; at < end; at += block) {
    if (content.sector_data(at / sector_bytes) == nullptr) flight.reserved_bytes += block;
  }
  if (content.used_bytes() + reserved_bytes_ + flight.reserved_bytes <= options_.capacity_bytes) {
    return true;
  }
  flight.reserved_bytes = 0;
  return false;
}

// In the order of submission.
bool SimulatedBackend::appends(const Request& request) {
  if (!options_.capabilities.append_only || request.kind != RequestKind::write) return true;
  const std::uint64_t chunk = request.offset / options_.append_chunk_bytes;
  const bool front = request.offset % options_.append_chunk_bytes == 0;
  const auto known = append_ends_.find(chunk);
  if (!front && (known == append_ends_.end() || request.offset < known->second)) return false;
  append_ends_[chunk] = request.offset + request.length();
  return true;
}

// What a write that is not as it seems really does.
void SimulatedBackend::corrupt(DeviceCall& call, std::vector<std::byte>& data, FaultKind fault) {
  const auto sectors = static_cast<std::size_t>(call.size / sector_bytes);
  switch (fault) {
    case FaultKind::io_error:
    case FaultKind::torn_write:
      call.reach = SectorSet(sectors, false);
      for (std::size_t index = 0; index < sectors; ++index)
        call.reach.put(index, random_.one_in(2));
      break;
    case FaultKind::short_transfer:
      call.reach = SectorSet(sectors, false);
      for (std::size_t left = random_.below(sectors); left > 0; --left)
        call.reach.put(left - 1, true);
      break;
    case FaultKind::no_space:
    case FaultKind::cancelled:
    case FaultKind::lost_write:
      call.idle = true;
      break;
    case FaultKind::misdirected_write:
      call.offset = elsewhere(random_, call.offset, call.size, device_.content_.size(),
                              options_.capabilities.block_bytes);
      break;
    case FaultKind::bit_flip_at_rest:
      data[random_.below(data.size())] ^= std::byte{1} << random_.below(8);
      break;
    default:
      break;
  }
}

void SimulatedBackend::start(Flight& flight) {
  const Request& request = *flight.request;
  DeviceCall call;
  call.kind = request.kind;
  call.offset = call.asked_offset = request.offset;
  call.size = request.size;
  if (request.kind == RequestKind::read || request.kind == RequestKind::write) {
    call.size = request.length();
  }
  std::vector<std::byte> data;
  if (request.kind == RequestKind::write) {
    data.reserve(call.size);
    for (std::size_t index = 0; index < request.vector_count; ++index) {
      const auto* bytes = static_cast<const std::byte*>(request.vectors[index].iov_base);
      data.insert(data.end(), bytes, bytes + request.vectors[index].iov_len);
    }
    if (flight.has_fault) corrupt(call, data, flight.fault);
    call.data = std::make_shared<const Payload>(std::move(data));
  } else if (request.kind == RequestKind::discard) {
    call.idle = random_.one_in(2);  // a hint, which devices follow or not
  }
  const bool refuses = flight.has_fault && (flight.fault == FaultKind::io_error ||
                                            flight.fault == FaultKind::no_space ||
                                            flight.fault == FaultKind::cancelled);
  if (refuses && request.kind != RequestKind::write) call.idle = true;
  flight.number = device_.submit(std::move(call));
  flight.has_device_call = true;
}

SimulatedBackend::Lane& SimulatedBackend::lane_of(runtime::ExecutorCore& executor) {
  for (const auto& lane : lanes_) {
    if (lane->home == &executor) return *lane;
  }
  Lane& lane = *lanes_.emplace_back(std::make_unique<Lane>());
  lane.home = &executor;
  lane.backend = this;
  lane.run = [](runtime::Runnable& runnable) noexcept {
    Lane& self = static_cast<Lane&>(static_cast<runtime::Timer&>(runnable));
    self.backend->deliver(self);
  };
  return lane;
}

// A simulated device that cannot allocate ends the process: its memory is the test's, not the
// engine's.
void SimulatedBackend::submit(runtime::ExecutorCore& executor, Request& request) noexcept {
  const std::lock_guard lock(mutex_);
  FIRN_ASSERT(request.done != nullptr);
  ++request_count_;
  ++under_way_count_;
  Lane& lane = lane_of(executor);
  Flight flight;
  flight.request = &request;
  const auto spread =
      static_cast<std::uint64_t>((options_.latency_max - options_.latency_min).count());
  flight.due = executor.now() + options_.latency_min +
               std::chrono::nanoseconds(static_cast<std::int64_t>(random_.below(spread + 1)));
  const std::uint64_t turn = random_.next();
  flight.turn = options_.reorder ? turn : request_count_;
  const Result<void> checked =
      check_request(request, options_.capabilities, device_.content_.size(), options_.id);
  if (!checked.has_value()) {
    flight.refused = true;
    flight.refusal = checked.error();
  } else if (off_) {
    flight.refused = true;
    flight.refusal = error(ErrorCode::io_error, ENODEV);
  } else if (!appends(request)) {
    flight.refused = true;
    flight.refusal = error(ErrorCode::io_error, EINVAL);
  } else if (!fits(request, flight)) {
    flight.refused = true;
    flight.refusal = error(ErrorCode::no_space, ENOSPC);
  } else {
    if (const FaultRule* rule = draw_fault(request)) {
      flight.has_fault = true;
      flight.fault = rule->kind;
      if (rule->kind == FaultKind::late) flight.due += rule->delay;
      faults_.push_back({.kind = rule->kind,
                         .request = request.kind,
                         .number = request_count_,
                         .offset = request.offset});
    }
    reserved_bytes_ += flight.reserved_bytes;
    start(flight);
  }
  const bool hangs = flight.has_fault && flight.fault == FaultKind::no_completion;
  (hangs ? lane.hung : lane.flights).push_back(flight);
  if (!hangs) arm(lane, flight.due);
}

// Has the lane's timer fire at `due` at the latest; one that is about to run sets itself again.
void SimulatedBackend::arm(Lane& lane, base::TimePoint due) noexcept {
  const bool in_heap = lane.heap_index != runtime::Timer::not_scheduled;
  if (lane.armed && (!in_heap || lane.due <= due)) return;
  lane.armed = true;
  if (!lane.home->schedule(lane, due).has_value()) lane.home->enqueue(lane);
}

void SimulatedBackend::arm(Lane& lane) noexcept {
  if (lane.flights.empty()) return;
  base::TimePoint due = lane.flights.front().due;
  for (const Flight& flight : lane.flights) due = std::min(due, flight.due);
  arm(lane, due);
}

void SimulatedBackend::deliver(Lane& lane) noexcept {
  std::vector<Flight> due;
  {
    const std::lock_guard lock(mutex_);
    lane.armed = false;
    const base::TimePoint now = lane.home->now();
    const auto later = std::partition(lane.flights.begin(), lane.flights.end(),
                                      [now](const Flight& flight) { return flight.due > now; });
    due.assign(later, lane.flights.end());
    lane.flights.erase(later, lane.flights.end());
    std::sort(due.begin(), due.end(), [](const Flight& left, const Flight& right) {
      return left.due != right.due ? left.due < right.due : left.turn < right.turn;
    });
  }
  for (Flight& flight : due) {
    {
      const std::lock_guard lock(mutex_);
      finish(flight);
    }
    flight.request->done(*flight.request);
  }
  const std::lock_guard lock(mutex_);
  arm(lane);
}

void SimulatedBackend::read(const Flight& flight) noexcept {
  Request& request = *flight.request;
  const SectorImage* image = &device_.content_;
  std::uint64_t offset = request.offset;
  std::uint64_t left = request.length();
  if (flight.has_fault) {
    if (flight.fault == FaultKind::stale_read) image = &device_.former_;
    if (flight.fault == FaultKind::misdirected_read) {
      offset = elsewhere(random_, offset, left, image->size(), options_.capabilities.block_bytes);
    }
    if (flight.fault == FaultKind::short_transfer) left = random_.below(left);
  }
  const std::uint64_t flipped =
      flight.has_fault && flight.fault == FaultKind::bit_flip_on_read ? random_.below(left) : left;
  std::uint64_t at = 0;
  for (std::size_t index = 0; index < request.vector_count && at < left; ++index) {
    auto* bytes = static_cast<std::byte*>(request.vectors[index].iov_base);
    const std::uint64_t count = std::min<std::uint64_t>(request.vectors[index].iov_len, left - at);
    image->read(offset + at, {bytes, count});
    if (flipped >= at && flipped < at + count)
      bytes[flipped - at] ^= std::byte{1} << random_.below(8);
    at += count;
  }
}

void SimulatedBackend::finish(Flight& flight) noexcept {
  Request& request = *flight.request;
  --under_way_count_;
  reserved_bytes_ -= flight.reserved_bytes;
  Result<void> outcome;
  if (flight.refused) {
    outcome = fail(flight.refusal);
  } else if (off_) {
    outcome = fail(error(ErrorCode::io_error, ENODEV));
    flight.has_device_call = false;  // stays under way for the medium
  } else if (flight.has_fault) {
    switch (flight.fault) {
      case FaultKind::io_error:
      case FaultKind::short_transfer:
      case FaultKind::failed_sync:
        outcome = fail(error(ErrorCode::io_error, EIO));
        break;
      case FaultKind::no_space:
        outcome = fail(error(ErrorCode::no_space, ENOSPC));
        break;
      case FaultKind::cancelled:
        outcome = fail(error(ErrorCode::io_error, ECANCELED));
        break;
      default:
        break;
    }
  }
  if (request.kind == RequestKind::sync && flight.has_device_call) {
    if (sync_failed_) outcome = fail(error(ErrorCode::failed, 0));
    if (!outcome.has_value()) {
      if (!sync_failed_) device_.lose_covered(flight.number, random_);
      sync_failed_ = true;
    }
  }
  if (flight.has_device_call) {
    const bool transfers = outcome.has_value() || flight.fault == FaultKind::short_transfer;
    if (request.kind == RequestKind::read && transfers) read(flight);
    device_.complete(
        flight.number, !outcome.has_value(),
        options_.capabilities.durable_on_completion && request.kind != RequestKind::sync);
  }
  request.transferred = outcome.has_value() ? request.length() : 0;
  request.outcome = outcome;
}

void SimulatedBackend::release_hung() {
  const std::lock_guard lock(mutex_);
  for (const auto& lane : lanes_) {
    lane->flights.insert(lane->flights.end(), lane->hung.begin(), lane->hung.end());
    lane->hung.clear();
    arm(*lane);
  }
}

void SimulatedBackend::power_off() {
  const std::lock_guard lock(mutex_);
  off_ = true;
  for (const auto& lane : lanes_) {
    lane->flights.insert(lane->flights.end(), lane->hung.begin(), lane->hung.end());
    lane->hung.clear();
    for (Flight& flight : lane->flights) flight.due = lane->home->now();
    arm(*lane);
  }
}

namespace {

class OwningBackend final : public Backend {
 public:
  OwningBackend(std::uint64_t size_bytes, SimulatedOptions options)
      : device_(size_bytes), backend_(device_, std::move(options)) {}

  [[nodiscard]] SegmentCapabilities capabilities() const noexcept override {
    return backend_.capabilities();
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return backend_.size(); }
  [[nodiscard]] std::uint32_t id() const noexcept override { return backend_.id(); }
  void submit(runtime::ExecutorCore& executor, Request& request) noexcept override {
    backend_.submit(executor, request);
  }

 private:
  SimulatedDevice device_;
  SimulatedBackend backend_;
};

}  // namespace

std::unique_ptr<Backend> make_simulated_backend(std::uint64_t size_bytes,
                                                SimulatedOptions options) {
  return std::make_unique<OwningBackend>(size_bytes, std::move(options));
}

}  // namespace firn::segment
