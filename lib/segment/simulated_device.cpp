// The medium of a simulated device and its history; the backend is in simulated.cpp.
#include <algorithm>
#include <utility>

#include <firn/assertion.hpp>

#include "segment/simulated.hpp"

namespace firn::segment {
namespace {

std::uint64_t mixed(std::uint64_t hash, std::uint64_t word) noexcept {
  return base::Random::mix(hash ^ base::Random::mix(word + 0x9e3779b97f4a7c15u));
}

}  // namespace

void land(const DeviceCall& call, const SectorSet* landed, SectorImage& image) {
  if (!call.changes_medium()) return;
  const std::uint64_t first = call.offset / sector_bytes;
  switch (call.kind) {
    case RequestKind::write:
      for (std::size_t index = 0; index < call.data->sector_count(); ++index) {
        if (!call.reaches(index) || (landed != nullptr && !landed->contains(index))) continue;
        image.write_sector(first + index, call.data->sector(index), call.data->hashes[index]);
      }
      break;
    case RequestKind::discard:
      for (std::uint64_t index = 0; index < call.size / sector_bytes; ++index) {
        if (landed == nullptr || landed->contains(index)) image.zero_sector(first + index);
      }
      break;
    case RequestKind::grow:
      image.resize(std::max(image.size(), call.size));
      break;
    case RequestKind::read:
    case RequestKind::sync:
      break;
  }
}

std::uint64_t Journal::hash() const noexcept {
  std::uint64_t hash = 0;
  for (const Device& device : devices) hash = mixed(hash, device.start.hash());
  for (const DeviceCall& call : calls) {
    hash = mixed(hash, static_cast<std::uint64_t>(call.kind) << 32 | call.device);
    hash = mixed(mixed(hash, call.offset), call.size);
    hash = mixed(hash, (call.failed ? 1u : 0u) | (call.idle ? 2u : 0u));
    for (std::size_t index = 0; call.data != nullptr && index < call.data->sector_count();
         ++index) {
      hash = mixed(hash, call.data->hashes[index] + (call.reaches(index) ? 1 : 0));
    }
  }
  for (const Event& event : events) {
    hash = mixed(mixed(hash, static_cast<std::uint64_t>(event.kind)), event.call);
    hash = mixed(mixed(hash, event.topic), event.value);
  }
  return hash;
}

std::size_t SimulatedDevice::pending_count() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(),
                    [](const Entry& entry) { return entry.call.changes_medium(); }));
}

void SimulatedDevice::note_submission(Entry& entry) {
  if (journal_ == nullptr) return;
  entry.journal_call = journal_->calls.size();
  journal_->calls.push_back(entry.call);
  DeviceCall& call = journal_->calls.back();
  call.device = journal_device_;
  call.submitted_at = journal_->events.size();
  call.completed_at = DeviceCall::never;
  journal_->events.push_back(
      {.kind = Journal::EventKind::submit, .call = entry.journal_call, .topic = 0, .value = 0});
}

std::uint64_t SimulatedDevice::submit(DeviceCall call) {
  Entry& entry = entries_.emplace_back();
  entry.call = std::move(call);
  entry.call.submitted_at = ++time_;
  entry.number = ++last_number_;
  note_submission(entry);
  return entry.number;
}

SimulatedDevice::Entry& SimulatedDevice::entry_of(std::uint64_t number) noexcept {
  const auto found = std::lower_bound(
      entries_.begin(), entries_.end(), number,
      [](const Entry& entry, std::uint64_t sought) { return entry.number < sought; });
  FIRN_ASSERT(found != entries_.end() && found->number == number);
  return *found;
}

void SimulatedDevice::keep_former(const DeviceCall& call) {
  for (std::uint64_t at = 0; at < call.size; at += sector_bytes) {
    const std::uint64_t sector = (call.offset + at) / sector_bytes;
    const std::byte* bytes = content_.sector_data(sector);
    if (bytes == nullptr) {
      former_.zero_sector(sector);
    } else {
      former_.write_sector(sector, bytes, content_.sector_hash(sector));
    }
  }
}

void SimulatedDevice::complete(std::uint64_t number, bool failed, bool durable_at_once) {
  Entry& entry = entry_of(number);
  entry.call.completed_at = ++time_;
  entry.call.failed = failed;
  if (journal_ != nullptr) {
    DeviceCall& call = journal_->calls[entry.journal_call];
    call.completed_at = journal_->events.size();
    call.failed = failed;
    journal_->events.push_back({.kind = Journal::EventKind::complete,
                                .call = entry.journal_call,
                                .topic = 0,
                                .value = failed});
  }
  if (keeps_former_ && entry.call.kind == RequestKind::write) keep_former(entry.call);
  land(entry.call, nullptr, content_);
  if (entry.call.kind == RequestKind::sync && !failed) make_durable(entry);
  if (durable_at_once) land(entry.call, nullptr, durable_);
  if (durable_at_once || !entry.call.changes_medium()) {
    std::erase_if(entries_, [number](const Entry& other) { return other.number == number; });
  }
}

void SimulatedDevice::make_durable(const Entry& sync) {
  const std::uint64_t until = sync.call.submitted_at;
  const auto covered = [until](const Entry& entry) { return entry.call.completed_at < until; };
  std::vector<const Entry*> order;
  for (const Entry& entry : entries_) {
    if (covered(entry)) order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(), [](const Entry* left, const Entry* right) {
    return left->call.completed_at < right->call.completed_at;
  });
  for (const Entry* entry : order) land(entry->call, nullptr, durable_);
  std::erase_if(entries_, covered);
}

void SimulatedDevice::lose_covered(std::uint64_t number, base::Random& random) {
  const std::uint64_t until = entry_of(number).call.submitted_at;
  for (Entry& entry : entries_) {
    if (entry.call.completed_at < until && random.one_in(2)) entry.call.idle = true;
  }
  std::erase_if(entries_, [](const Entry& entry) {
    return entry.call.idle && entry.call.completed_at != DeviceCall::never;
  });
}

void SimulatedDevice::cut_power(base::Random& random, std::uint32_t tear_bytes) {
  for (std::size_t left = entries_.size(); left > 1; --left) {
    std::swap(entries_[left - 1], entries_[random.below(left)]);
  }
  for (const Entry& entry : entries_) {
    if (!entry.call.changes_medium()) continue;
    const std::uint64_t fate = random.below(3);
    if (fate == 0) continue;
    SectorSet landed(static_cast<std::size_t>(entry.call.size / sector_bytes), true);
    const bool torn = fate == 2 && entry.call.kind != RequestKind::grow;
    const std::size_t unit = tear_bytes / sector_bytes;
    for (std::size_t at = 0; torn && at < landed.size(); at += unit) {
      const bool lands = random.one_in(2);
      for (std::size_t index = at; index < std::min(at + unit, landed.size()); ++index) {
        landed.put(index, lands);
      }
    }
    land(entry.call, torn ? &landed : nullptr, durable_);
  }
  settle();
}

void SimulatedDevice::drop_pending() { settle(); }

void SimulatedDevice::settle() {
  FIRN_ASSERT(!open_);  // a backend's requests would find their calls gone
  entries_.clear();
  durable_.cut_to_size();
  content_ = durable_;
}

void SimulatedDevice::flip_bit(std::uint64_t offset, unsigned bit) {
  durable_.flip_bit(offset, bit);
  content_.flip_bit(offset, bit);
}

void SimulatedDevice::overwrite(std::uint64_t offset, std::span<const std::byte> sectors) {
  durable_.write(offset, sectors);
  content_.write(offset, sectors);
}

void SimulatedDevice::record(Journal* journal, const SegmentCapabilities& capabilities) {
  journal_ = journal;
  if (journal == nullptr) return;
  journal_device_ = static_cast<std::uint32_t>(journal->devices.size());
  journal->devices.push_back(
      {.start = durable_,
       .tear_bytes = std::max<std::uint32_t>(capabilities.atomic_bytes, sector_bytes),
       .durable_on_completion = capabilities.durable_on_completion});
  // What is pending already becomes the beginning of the history.
  for (Entry& entry : entries_) {
    note_submission(entry);
    if (entry.call.completed_at == DeviceCall::never) continue;
    journal->calls.back().completed_at = journal->events.size();
    journal->events.push_back(
        {.kind = Journal::EventKind::complete, .call = entry.journal_call, .topic = 0, .value = 0});
  }
}

}  // namespace firn::segment
