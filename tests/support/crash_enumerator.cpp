#include "support/crash_enumerator.hpp"

#include <algorithm>
#include <numeric>
#include <unordered_set>

#include <fmt/format.h>
#include <firn/assertion.hpp>

#include "base/random.hpp"

namespace firn::test {
namespace {

using base::Random;
using segment::DeviceCall;
using segment::Journal;
using segment::RequestKind;
using segment::sector_bytes;
using segment::SectorImage;
using segment::SectorSet;

// Prefixes, suffixes and holes of a write with more units than this are drawn at random.
constexpr std::size_t unit_count_exhaustive = 16;
// Writes pending since former cuts of which one more tear is tried in the company of all others.
constexpr std::size_t older_tear_count = 8;

class Enumeration {
 public:
  Enumeration(const Journal& journal, const CrashOptions& options, const CrashVisit& visit)
      : journal_(journal), options_(options), visit_(visit) {
    for (const Journal::Device& device : journal.devices) {
      bases_.push_back(device.start);
      factors_.push_back(Random::mix(factors_.size() + 77) | 1);
    }
  }

  CrashCounts run() {
    enumerate(0);
    for (std::uint64_t cut = 1; cut <= journal_.events.size() && !counts_.stopped; ++cut) {
      happen(cut - 1);
      enumerate(cut);
    }
    return counts_;
  }

 private:
  struct Pending {
    std::uint64_t call = 0;
    const DeviceCall* what = nullptr;
    bool fresh = true;      // not yet there at the former cut
    bool overlaps = false;  // some other pending one
    std::uint64_t delta = 0;
    std::vector<std::uint64_t> sector_deltas;  // what each sector changes in the hash if it lands
  };

  // --- the history ---

  void happen(std::uint64_t at) {
    const Journal::Event& event = journal_.events[at];
    if (event.kind == Journal::EventKind::mark) {
      const auto found = std::find_if(marks_.begin(), marks_.end(),
                                      [&](const auto& mark) { return mark.first == event.topic; });
      if (found == marks_.end()) {
        marks_.emplace_back(event.topic, event.value);
      } else {
        found->second = event.value;
      }
      ++mark_count_;
      for (Pending& pending : pending_) pending.fresh = true;
      changed_ = true;
      return;
    }
    const DeviceCall& call = journal_.calls[event.call];
    if (event.kind == Journal::EventKind::submit) {
      if (!call.changes_medium()) return;
      pending_.push_back({.call = event.call, .what = &call, .delta = 0, .sector_deltas = {}});
      changed_ = true;
    } else if (call.kind == RequestKind::sync) {
      if (!call.failed) {
        settle([&](const DeviceCall& other) {
          return other.device == call.device && other.completed_at < call.submitted_at;
        });
      }
    } else if (journal_.devices[call.device].durable_on_completion) {
      settle([&](const DeviceCall& other) { return &other == &call; });
    }
  }

  // What fits becomes durable, in the order in which it completed.
  template <class Fits>
  void settle(Fits&& fits) {
    std::vector<const DeviceCall*> durable;
    for (const Pending& pending : pending_) {
      if (fits(*pending.what)) durable.push_back(pending.what);
    }
    if (durable.empty()) return;
    std::sort(durable.begin(), durable.end(), [](const DeviceCall* left, const DeviceCall* right) {
      return left->completed_at < right->completed_at;
    });
    for (const DeviceCall* call : durable) segment::land(*call, nullptr, bases_[call->device]);
    std::erase_if(pending_, [&](const Pending& pending) { return fits(*pending.what); });
    for (Pending& pending : pending_) pending.fresh = true;
    changed_ = true;
  }

  // --- the states of one cut ---

  void enumerate(std::uint64_t cut) {
    ++counts_.cuts;
    counts_.pending_max = std::max(counts_.pending_max, pending_.size());
    if (!changed_) return;
    changed_ = false;
    cut_ = cut;
    random_ = Random(options_.seed ^ Random::mix(cut + 1));
    prepare();
    const std::size_t count = pending_.size();
    if (count <= options_.exhaustive_max) {
      for (std::uint64_t subset = 0; subset < 1ull << count; ++subset) {
        try_subset([subset](std::size_t index) { return (subset >> index & 1) != 0; });
      }
    } else {
      for (std::size_t until = 0; until <= count; ++until) {
        try_subset([until](std::size_t index) { return index < until; });
      }
      for (std::size_t one = 0; one < count; ++one) {
        try_subset([one](std::size_t index) { return index == one; });
        try_subset([one](std::size_t index) { return index != one; });
      }
    }
    if (options_.tears) {
      for (std::size_t index = 0; index < count; ++index) {
        if (pending_[index].fresh) try_tears(index);
      }
      for (std::size_t left = count == 0 ? 0 : older_tear_count; left > 0; --left) {
        const std::size_t index = random_.below(count);
        if (can_tear(index)) try_tear(index, random_tear(index), 1);
      }
    }
    if (count > 1) {
      for (std::size_t left = options_.random_state_count; left > 0; --left) try_random();
    }
    for (Pending& pending : pending_) pending.fresh = false;
  }

  // The hash of each state without overlaps follows from what every single sector changes.
  void prepare() {
    base_hash_ = combined(bases_);
    sizes_change_ = false;
    calls_.clear();
    for (Pending& pending : pending_) {
      const DeviceCall& call = *pending.what;
      calls_.push_back(pending.call);
      pending.overlaps = false;
      pending.delta = 0;
      pending.sector_deltas.clear();
      if (call.kind == RequestKind::grow) {
        sizes_change_ = true;
        continue;
      }
      const SectorImage& base = bases_[call.device];
      const std::uint64_t first = call.offset / sector_bytes;
      const std::size_t sectors = static_cast<std::size_t>(call.size / sector_bytes);
      for (std::size_t index = 0; index < sectors; ++index) {
        const std::uint64_t hash = call.data == nullptr ? 0 : call.data->hashes[index];
        const std::uint64_t delta =
            !call.reaches(index)
                ? 0
                : factors_[call.device] *
                      (segment::hash_term(first + index, hash) -
                       segment::hash_term(first + index, base.sector_hash(first + index)));
        pending.sector_deltas.push_back(delta);
        pending.delta += delta;
      }
    }
    mark_overlaps();
  }

  void mark_overlaps() {
    std::vector<std::size_t> order(pending_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::erase_if(
        order, [&](std::size_t index) { return pending_[index].what->kind == RequestKind::grow; });
    const auto key = [&](std::size_t index) {
      return std::pair(pending_[index].what->device, pending_[index].what->offset);
    };
    std::sort(order.begin(), order.end(),
              [&](std::size_t left, std::size_t right) { return key(left) < key(right); });
    std::uint64_t end = 0;
    for (std::size_t at = 0, longest = 0; at < order.size(); ++at) {
      Pending& pending = pending_[order[at]];
      const bool same_device =
          at > 0 && pending_[order[longest]].what->device == pending.what->device;
      if (same_device && pending.what->offset < end) {
        pending.overlaps = true;
        pending_[order[longest]].overlaps = true;
      }
      const std::uint64_t own_end = pending.what->offset + pending.what->size;
      if (!same_device || own_end > end) {
        end = own_end;
        longest = at;
      }
    }
  }

  [[nodiscard]] std::uint64_t combined(const std::vector<SectorImage>& images) const noexcept {
    std::uint64_t hash = 0;
    for (std::size_t device = 0; device < images.size(); ++device) {
      hash += factors_[device] *
              (images[device].sum() + segment::hash_term(~0ull, images[device].size()));
    }
    return hash;
  }

  template <class Lands>
  void try_subset(Lands&& lands) {
    landings_.clear();
    for (std::size_t index = 0; index < pending_.size(); ++index) {
      if (lands(index)) add(index);
    }
    try_orders();
  }

  void add(std::size_t index, const SectorSet* torn = nullptr) {
    Landing& landing = landings_.emplace_back();
    landing.call = index;  // made the number of a call in `try_landings`
    if (torn == nullptr) return;
    landing.torn = true;
    landing.sectors = *torn;
  }

  // `landings_`, in each order that can matter.
  void try_orders() {
    const auto overlapping = std::stable_partition(
        landings_.begin(), landings_.end(),
        [&](const Landing& landing) { return !pending_[landing.call].overlaps; });
    const std::size_t count = static_cast<std::size_t>(landings_.end() - overlapping);
    if (count < 2) return try_landings();
    std::size_t orders = 1;
    for (std::size_t factor = 2; factor <= count && orders <= options_.order_max; ++factor) {
      orders *= factor;
    }
    const auto before = [](const Landing& left, const Landing& right) {
      return left.call < right.call;
    };
    if (orders <= options_.order_max) {
      std::sort(overlapping, landings_.end(), before);
      const std::size_t first = static_cast<std::size_t>(overlapping - landings_.begin());
      bool more = true;
      while (more && !counts_.stopped) {
        try_landings();
        more = std::next_permutation(landings_.begin() + static_cast<std::ptrdiff_t>(first),
                                     landings_.end(), before);
      }
    } else {
      try_landings();
      for (std::size_t left = options_.order_max; left > 1; --left) {
        for (std::size_t rest = count; rest > 1; --rest) {
          std::swap(*(landings_.end() - static_cast<std::ptrdiff_t>(rest)),
                    *(landings_.end() - static_cast<std::ptrdiff_t>(random_.below(rest) + 1)));
        }
        try_landings();
      }
    }
  }

  // Units in which write `index` can tear, and the unit of one of its sectors.
  [[nodiscard]] std::uint64_t unit_of(std::size_t index, std::size_t sector) const noexcept {
    const DeviceCall& call = *pending_[index].what;
    const std::uint64_t unit_sectors = journal_.devices[call.device].tear_bytes / sector_bytes;
    const std::uint64_t first = call.offset / sector_bytes;
    return (first + sector) / unit_sectors - first / unit_sectors;
  }
  [[nodiscard]] std::size_t unit_count(std::size_t index) const noexcept {
    const DeviceCall& call = *pending_[index].what;
    if (call.size == 0) return 0;
    return unit_of(index, static_cast<std::size_t>(call.size / sector_bytes) - 1) + 1;
  }
  [[nodiscard]] bool can_tear(std::size_t index) const noexcept {
    return pending_[index].what->kind == RequestKind::write && unit_count(index) > 1;
  }
  template <class Lands>
  SectorSet tear(std::size_t index, Lands&& lands) const {
    SectorSet set(static_cast<std::size_t>(pending_[index].what->size / sector_bytes), false);
    for (std::size_t sector = 0; sector < set.size(); ++sector) {
      set.put(sector, lands(unit_of(index, sector)));
    }
    return set;
  }
  SectorSet random_tear(std::size_t index) {
    std::vector<bool> units(unit_count(index));
    for (std::size_t unit = 0; unit < units.size(); ++unit) units[unit] = random_.one_in(2);
    return tear(index, [&](std::uint64_t unit) { return units[unit]; });
  }

  void try_tears(std::size_t index) {
    if (!can_tear(index)) return;
    const std::size_t units = unit_count(index);
    const auto in_company = [&](const SectorSet& sectors) {
      for (unsigned others = 0; others < 3; ++others) try_tear(index, sectors, others);
    };
    const bool all = units <= unit_count_exhaustive;
    for (std::size_t at = 1; at < (all ? units : unit_count_exhaustive); ++at) {
      const std::size_t edge = all ? at : 1 + random_.below(units - 1);
      in_company(tear(index, [edge](std::uint64_t unit) { return unit < edge; }));
      in_company(tear(index, [edge](std::uint64_t unit) { return unit >= edge; }));
      in_company(tear(index, [edge](std::uint64_t unit) { return unit != edge; }));
    }
    in_company(tear(index, [](std::uint64_t unit) { return unit % 2 == 0; }));
    in_company(tear(index, [](std::uint64_t unit) { return unit % 2 == 1; }));
    for (std::size_t left = options_.random_tear_count; left > 0; --left) {
      in_company(random_tear(index));
    }
  }

  // The others: 0 missing, 1 landed, 2 those submitted earlier landed.
  void try_tear(std::size_t torn, const SectorSet& sectors, unsigned others) {
    landings_.clear();
    for (std::size_t index = 0; index < pending_.size(); ++index) {
      if (index == torn) {
        add(index, &sectors);
      } else if (others == 1 || (others == 2 && index < torn)) {
        add(index);
      }
    }
    try_orders();
  }

  void try_random() {
    landings_.clear();
    for (std::size_t index = 0; index < pending_.size(); ++index) {
      const std::uint64_t fate = random_.below(3);
      if (fate == 0) continue;
      if (fate == 2 && options_.tears && can_tear(index)) {
        const SectorSet sectors = random_tear(index);
        add(index, &sectors);
      } else {
        add(index);
      }
    }
    for (std::size_t left = landings_.size(); left > 1; --left) {
      std::swap(landings_[left - 1], landings_[random_.below(left)]);
    }
    try_landings();
  }

  // --- one state ---

  void try_landings() {
    if (counts_.stopped) return;
    ++counts_.candidates;
    std::uint64_t hash = base_hash_;
    std::size_t overlapping = 0;
    for (const Landing& landing : landings_) {
      const Pending& pending = pending_[landing.call];
      overlapping += pending.overlaps ? 1 : 0;
      if (!landing.torn) {
        hash += pending.delta;
        continue;
      }
      for (std::size_t sector = 0; sector < landing.sectors.size(); ++sector) {
        if (landing.sectors.contains(sector)) hash += pending.sector_deltas[sector];
      }
    }
    const bool by_sum = overlapping < 2 && !sizes_change_;
    std::vector<SectorImage> images;
    if (!by_sum) {
      images = compose();
      hash = combined(images);
    }
    if (!seen_.insert(hash ^ Random::mix(mark_count_ + 1)).second) return;
    const std::uint64_t index = counts_.states++;
    if (!options_.only.empty()) {
      if (index != options_.only.front()) return;
    } else if (options_.one_in > 1 &&
               Random::mix(options_.seed ^ Random::mix(index)) % options_.one_in != 0) {
      return;
    }
    if (by_sum) {
      images = compose();
      FIRN_ASSERT(combined(images) == hash);
    }
    for (Landing& landing : landings_) landing.call = pending_[landing.call].call;
    CrashState state;
    state.journal = &journal_;
    state.seed = options_.seed;
    state.index = index;
    state.cut = cut_;
    state.pending = calls_;
    state.landings = landings_;
    state.marks = marks_;
    CrashImage image(images);
    ++counts_.visited;
    if (!visit_(image, state)) counts_.stopped = true;
    // The caller may go on with another order of the same landings.
    for (Landing& landing : landings_) {
      const auto at = std::lower_bound(calls_.begin(), calls_.end(), landing.call);
      landing.call = static_cast<std::uint64_t>(at - calls_.begin());
    }
  }

  [[nodiscard]] std::vector<SectorImage> compose() const {
    std::vector<SectorImage> images = bases_;
    for (const Landing& landing : landings_) {
      const DeviceCall& call = *pending_[landing.call].what;
      segment::land(call, landing.torn ? &landing.sectors : nullptr, images[call.device]);
    }
    if (sizes_change_) {
      for (SectorImage& image : images) image.cut_to_size();
    }
    return images;
  }

  const Journal& journal_;
  const CrashOptions& options_;
  const CrashVisit& visit_;
  CrashCounts counts_;

  std::vector<SectorImage> bases_;  // what is durable for certain
  std::vector<std::uint64_t> factors_;
  std::vector<Pending> pending_;
  std::vector<std::uint64_t> calls_;  // theirs, ascending
  std::vector<std::pair<std::uint64_t, std::uint64_t>> marks_;
  std::uint64_t mark_count_ = 0;
  bool changed_ = true;

  std::uint64_t cut_ = 0;
  Random random_{0};
  std::uint64_t base_hash_ = 0;
  bool sizes_change_ = false;
  std::vector<Landing> landings_;
  std::unordered_set<std::uint64_t> seen_;
};

const char* name_of(RequestKind kind) noexcept {
  switch (kind) {
    case RequestKind::read:
      return "read";
    case RequestKind::write:
      return "write";
    case RequestKind::sync:
      return "sync";
    case RequestKind::discard:
      return "discard";
    case RequestKind::grow:
      return "grow";
  }
  return "";
}

}  // namespace

std::string CrashState::describe() const {
  std::string text = fmt::format("seed {}, state {}: cut after {} of {} events, {} pending", seed,
                                 index, cut, journal->events.size(), pending.size());
  for (const auto& [topic, value] : marks) text += fmt::format(", mark {} = {}", topic, value);
  for (const std::uint64_t number : pending) {
    const segment::DeviceCall& call = journal->calls[number];
    const auto landing =
        std::find_if(landings.begin(), landings.end(),
                     [number](const Landing& candidate) { return candidate.call == number; });
    text += fmt::format("\n  {} {} of device {}, {} bytes at {}{}: ", name_of(call.kind), number,
                        call.device, call.size, call.offset,
                        call.completed_at < cut ? "" : " (unfinished)");
    if (landing == landings.end()) {
      text += "lost";
      continue;
    }
    text += fmt::format("landed as number {}", landing - landings.begin());
    if (!landing->torn) continue;
    text += ", sectors ";
    for (std::size_t sector = 0; sector < landing->sectors.size(); ++sector) {
      text += landing->sectors.contains(sector) ? '1' : '0';
    }
  }
  return text;
}

std::string describe(const CrashPath& path) {
  std::string text = "only = {";
  for (const CrashState* state : path) text += fmt::format(" {}", state->index);
  text += " }";
  for (const CrashState* state : path) text += fmt::format("\n{}", state->describe());
  return text;
}

CrashCounts enumerate_crashes(const Journal& journal, const CrashOptions& options,
                              const CrashVisit& visit) {
  return Enumeration(journal, options, visit).run();
}

namespace {

bool crash(const Journal& journal, const CrashOptions& options, unsigned depth, CrashPath& path,
           std::vector<CrashCounts>& counts, const CrashRecover& recover) {
  const CrashVisit visit = [&](CrashImage& image, const CrashState& state) {
    path.push_back(&state);
    Journal inside;
    bool go_on = true;
    for (std::size_t index = 0; index < image.device_count() && depth > 1; ++index) {
      segment::SegmentCapabilities capabilities;
      capabilities.atomic_bytes = journal.devices[index].tear_bytes;
      capabilities.durable_on_completion = journal.devices[index].durable_on_completion;
      image.device(index).record(&inside, capabilities);
    }
    go_on = recover(image, path);
    if (go_on && depth > 1) {
      CrashOptions nested = options;
      nested.one_in = options.nested_one_in;
      if (!nested.only.empty()) nested.only.erase(nested.only.begin());
      // A path that ends here asks for this state alone.
      if (options.only.empty() || !nested.only.empty()) {
        nested.seed = Random::mix(options.seed ^ state.index);
        go_on = crash(inside, nested, depth - 1, path, counts, recover);
      }
    }
    path.pop_back();
    return go_on;
  };
  const std::size_t level = path.size();
  const CrashCounts found = enumerate_crashes(journal, options, visit);
  counts[level].add(found);
  return !found.stopped;
}

}  // namespace

std::vector<CrashCounts> for_each_crash(const Journal& journal, const CrashOptions& options,
                                        unsigned depth, const CrashRecover& recover) {
  std::vector<CrashCounts> counts(depth);
  CrashPath path;
  crash(journal, options, depth, path, counts, recover);
  return counts;
}

}  // namespace firn::test
