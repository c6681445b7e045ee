// A device for tests, as bad as real ones are: a volatile cache, completions in any order and time,
// and the failures that a seed or a rule asks for. Nothing in it depends on addresses, threads or
// the machine's clock, so equal seeds give equal histories.
//
//   1. A request takes effect when it completes, in the order of completions.
//   2. A finished write stays in the cache until a sync that was submitted after it finished.
//   3. `done` comes from a timer of the executor, so the executor's `deadline` is when to go on.
//   4. Misuse (alignment, what lies beyond the size) is `invalid_argument` and reaches no device.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include <firn/result.hpp>

#include "base/random.hpp"
#include "segment/backend.hpp"
#include "segment/device_journal.hpp"
#include "segment/sector_image.hpp"

namespace firn::segment {

/// How a device fails. What it strikes: r reads, w writes, s syncs, d discards, g grows.
enum class FaultKind : std::uint8_t {
  io_error,           ///< rwsdg: EIO; of a write, any of its sectors may have landed
  no_space,           ///< wg: ENOSPC
  cancelled,          ///< rwsdg: ECANCELED, nothing done
  short_transfer,     ///< rw: the first part is transferred, then EIO
  failed_sync,        ///< s: EIO; part of what it should have covered never becomes durable
  torn_write,         ///< w: reports success, some sectors land
  lost_write,         ///< w: reports success, nothing lands
  misdirected_write,  ///< w: reports success, lands elsewhere
  bit_flip_at_rest,   ///< w: reports success, lands with one bit changed
  bit_flip_on_read,   ///< r: one bit of the answer is changed, the medium is not
  misdirected_read,   ///< r: the answer is from elsewhere
  stale_read,         ///< r: the answer is what was there before the last write
  late,               ///< rwsdg: completes after the rule's delay
  no_completion,      ///< rwsdg: stays under way until `release_hung`
};
constexpr unsigned fault_kind_count = 14;
[[nodiscard]] std::string_view name_of(FaultKind kind) noexcept;
[[nodiscard]] bool strikes(FaultKind kind, RequestKind request) noexcept;

/// Which requests a failure strikes, counted among those it can strike.
struct FaultRule {
  static constexpr std::uint64_t forever = ~std::uint64_t{0};

  FaultKind kind = FaultKind::io_error;
  std::uint64_t first = 1;       ///< from the first-th such request
  std::uint64_t count = 1;       ///< so many of them, or `forever`
  std::uint64_t one_in = 1;      ///< each of these with this chance
  std::uint64_t offset_min = 0;  ///< only requests that begin in [offset_min, offset_max]
  std::uint64_t offset_max = ~std::uint64_t{0};
  std::chrono::nanoseconds delay = std::chrono::seconds(1);  ///< of `late`
};

struct Fault {
  FaultKind kind = FaultKind::io_error;
  RequestKind request = RequestKind::read;
  std::uint64_t number = 0;  ///< of the request, from 1
  std::uint64_t offset = 0;
};

struct SimulatedOptions {
  std::uint32_t id = 0;
  std::uint64_t seed = 1;
  SegmentCapabilities capabilities;  ///< `atomic_bytes`: the unit of tearing
  /// Of an append-only device: a write that begins neither at a chunk's front nor behind all that
  /// was written to the chunk since then is refused (EINVAL). Where writing goes on is forgotten
  /// with the backend.
  std::uint32_t append_chunk_bytes = 1U << 20;
  /// Bytes in blocks of 4 KiB that can hold something; a write that needs more is `no_space`, and
  /// so is growing beyond it when `preallocate`.
  std::uint64_t capacity_bytes = ~std::uint64_t{0};
  bool preallocate = false;
  std::chrono::nanoseconds latency_min{0};
  std::chrono::nanoseconds latency_max{0};
  bool reorder = true;  ///< what is due at the same time completes in any order
  std::vector<FaultRule> faults;
};

/// The medium and its volatile cache: survives its backends. One thread at a time; while a backend
/// is open on it, through that backend or between ticks.
class SimulatedDevice {
 public:
  explicit SimulatedDevice(std::uint64_t size_bytes = 0)
      : SimulatedDevice(SectorImage(size_bytes)) {}
  explicit SimulatedDevice(SectorImage image) : durable_(image), content_(std::move(image)) {}
  SimulatedDevice(const SimulatedDevice&) = delete;
  SimulatedDevice& operator=(const SimulatedDevice&) = delete;

  /// What a power cut leaves for certain.
  [[nodiscard]] const SectorImage& durable() const noexcept { return durable_; }
  /// What reads see.
  [[nodiscard]] const SectorImage& content() const noexcept { return content_; }
  /// How many writes, discards and grows a power cut may undo.
  [[nodiscard]] std::size_t pending_count() const noexcept;

  /// Power cut: each pending write is kept, dropped or torn, in any order, as `random` says.
  void cut_power(base::Random& random, std::uint32_t tear_bytes = sector_bytes);
  /// The harshest power cut: only what is durable is left.
  void drop_pending();

  /// Damage at rest.
  void flip_bit(std::uint64_t offset, unsigned bit);
  void overwrite(std::uint64_t offset, std::span<const std::byte> sectors);

  /// From here on, every call goes into `journal`, as the next of its devices; null: no more.
  void record(Journal* journal, const SegmentCapabilities& capabilities = {});
  [[nodiscard]] Journal* journal() const noexcept { return journal_; }

 private:
  friend class SimulatedBackend;

  // A call that is under way, or that has changed the content and is not durable.
  struct Entry {
    DeviceCall call;
    std::uint64_t number = 0;
    std::uint64_t journal_call = 0;
  };

  std::uint64_t submit(DeviceCall call);
  void complete(std::uint64_t number, bool failed, bool durable_at_once);
  // The sync `number` has failed: what it covers may never become durable.
  void lose_covered(std::uint64_t number, base::Random& random);
  [[nodiscard]] Entry& entry_of(std::uint64_t number) noexcept;
  void make_durable(const Entry& sync);
  void keep_former(const DeviceCall& call);
  void note_submission(Entry& entry);
  void settle();

  SectorImage durable_;
  SectorImage content_;
  SectorImage former_;  // each sector as it was before its last write; for stale reads
  bool keeps_former_ = false;
  std::vector<Entry> entries_;  // in the order of submission
  std::uint64_t last_number_ = 0;
  std::uint64_t time_ = 0;
  Journal* journal_ = nullptr;
  std::uint32_t journal_device_ = 0;
  bool open_ = false;
};

/// Shared between threads; equal histories need one thread.
class SimulatedBackend final : public Backend {
 public:
  SimulatedBackend(SimulatedDevice& device, SimulatedOptions options);
  /// On the thread of its executors; requests still under way are never done.
  ~SimulatedBackend() override;

  [[nodiscard]] SegmentCapabilities capabilities() const noexcept override {
    return options_.capabilities;
  }
  [[nodiscard]] std::uint64_t size() const noexcept override;
  [[nodiscard]] std::uint32_t id() const noexcept override { return options_.id; }
  void submit(runtime::ExecutorCore& executor, Request& request) noexcept override;

  [[nodiscard]] SimulatedDevice& device() noexcept { return device_; }
  /// One more rule, counting from now.
  void inject(FaultRule rule);
  void heal();
  /// Completes what hangs.
  void release_hung();
  /// Everything under way, and everything from now on, ends with ENODEV and does nothing more.
  void power_off();

  [[nodiscard]] std::uint64_t request_count() const noexcept { return request_count_; }
  [[nodiscard]] std::uint64_t under_way_count() const noexcept { return under_way_count_; }
  [[nodiscard]] const std::vector<Fault>& faults() const noexcept { return faults_; }

 private:
  struct Rule {
    FaultRule rule;
    std::uint64_t seen = 0;
  };
  struct Flight {
    Request* request = nullptr;
    base::TimePoint due{};
    std::uint64_t turn = 0;  // among those due at the same time
    std::uint64_t number = 0;
    std::uint64_t reserved_bytes = 0;
    bool has_fault = false;
    FaultKind fault = FaultKind::io_error;
    bool has_device_call = false;
    Error refusal;  // why nothing is done, if `refused`
    bool refused = false;
  };
  struct Lane : runtime::Timer {
    SimulatedBackend* backend = nullptr;
    bool armed = false;
    std::vector<Flight> flights;
    std::vector<Flight> hung;
  };

  Lane& lane_of(runtime::ExecutorCore& executor);
  void arm(Lane& lane) noexcept;
  void arm(Lane& lane, base::TimePoint due) noexcept;
  void deliver(Lane& lane) noexcept;
  void finish(Flight& flight) noexcept;
  void read(const Flight& flight) noexcept;
  [[nodiscard]] const FaultRule* draw_fault(const Request& request);
  void start(Flight& flight);
  void corrupt(DeviceCall& call, std::vector<std::byte>& data, FaultKind fault);
  [[nodiscard]] bool fits(const Request& request, Flight& flight) const noexcept;
  [[nodiscard]] bool appends(const Request& request);
  [[nodiscard]] Error error(ErrorCode code, int system_error) const noexcept;

  const SimulatedOptions options_;
  SimulatedDevice& device_;

  // All below, and the device, while it is open.
  mutable std::mutex mutex_;
  base::Random random_;
  std::vector<Rule> rules_;
  std::vector<Fault> faults_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::map<std::uint64_t, std::uint64_t> append_ends_;  // by chunk; append-only devices
  std::uint64_t request_count_ = 0;
  std::uint64_t under_way_count_ = 0;
  std::uint64_t reserved_bytes_ = 0;
  bool sync_failed_ = false;
  bool off_ = false;
};

/// A backend with a device of its own, for suites that need no more than the interface.
[[nodiscard]] std::unique_ptr<Backend> make_simulated_backend(std::uint64_t size_bytes,
                                                              SimulatedOptions options = {});

}  // namespace firn::segment
