// What a caller chooses when a domain is opened or an object in it is created. Each structure is
// meant for designated initialisers and is checked as a whole by the call that takes it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <firn/bytes.hpp>
#include <firn/export.hpp>
#include <firn/result.hpp>

namespace firn {

/// The engine behind a domain.
enum class DomainType : std::uint8_t {
  native,  ///< trees on the pages of a file: persistent, larger than memory
  light,   ///< maps in memory; transaction calls are ignored
  db5,     ///< Berkeley DB 5.3: planned, `unsupported` today
  rvm,     ///< recoverable virtual memory: planned, `unsupported` today
};
[[nodiscard]] FIRN_API std::string_view name_of(DomainType type) noexcept;

/// What a domain type may or may not be able to do. A set of them is made with `|`.
enum class Capability : std::uint32_t {
  none = 0,
  ordered = 1u << 0,             ///< cursors by key order, bounds, seek
  sacks = 1u << 1,               ///< tables whose keys Firn assigns
  persistent = 1u << 2,          ///< tables that survive the process
  atomic = 1u << 3,              ///< transactions are all or nothing after a failure
  abort = 1u << 4,               ///< transactions that can be given up
  notify = 1u << 5,              ///< persistence notification
  segments = 1u << 6,            ///< segments created by name
  remote_segments = 1u << 7,     ///< segments on other machines
  larger_than_memory = 1u << 8,  ///< data beyond the memory budget
  upsert = 1u << 9,              ///< blind deltas folded by the type's merge function
  range_erase = 1u << 10,        ///< a key range erased by one message
  snapshots = 1u << 11,          ///< frozen views
};
[[nodiscard]] constexpr Capability operator|(Capability left, Capability right) noexcept {
  return static_cast<Capability>(static_cast<std::uint32_t>(left) |
                                 static_cast<std::uint32_t>(right));
}
[[nodiscard]] constexpr Capability operator&(Capability left, Capability right) noexcept {
  return static_cast<Capability>(static_cast<std::uint32_t>(left) &
                                 static_cast<std::uint32_t>(right));
}
/// Whether `set` has all of `wanted`.
[[nodiscard]] constexpr bool includes(Capability set, Capability wanted) noexcept {
  return (set & wanted) == wanted;
}
/// The name of one capability, for example "range_erase".
[[nodiscard]] FIRN_API std::string_view name_of(Capability capability) noexcept;
/// What domains of `type` can do.
[[nodiscard]] FIRN_API Capability capabilities_of(DomainType type) noexcept;

struct DomainOptions {
  DomainType type = DomainType::native;
  /// Bytes. Everything the domain keeps in memory is charged to it; at least 1 MiB.
  std::uint64_t memory_budget = 256_MiB;
  /// Opening fails with `unsupported`, naming the first one missing.
  Capability required = Capability::none;

  // Of native domains.
  /// Whether the domain has a thread for what goes on behind calls: writing pages back,
  /// checkpoints, opening and closing. Without it the executor that opens the domain does that:
  /// its owner ticks it all the time, outlives the domain with it, and closes or drops the domain
  /// there. Calls on files may then block it.
  bool background_thread = true;
  /// A checkpoint is made after so many bytes of pages were written (four times the memory budget,
  /// if that is less), and so long after a change, at the latest.
  std::uint64_t checkpoint_bytes = 64_MiB;
  std::chrono::milliseconds checkpoint_interval = std::chrono::seconds(30);
};

/// Sets one option by its name, for example ("memory_budget", "64MiB"), as the command line and
/// configuration files do. An unknown name is `invalid_argument` and names the nearest known one.
[[nodiscard]] FIRN_API Result<void> set_option(DomainOptions& options, std::string_view name,
                                               std::string_view value) noexcept;
/// The options of the environment: FIRN_MEMORY_BUDGET and so on, over `base`. A variable that
/// begins with FIRN_ and is not known is `invalid_argument`; the message names the nearest one.
[[nodiscard]] FIRN_API Result<DomainOptions> options_from_environment(
    DomainOptions base = {}) noexcept;

/// Whether a table outlives the process.
enum class Persistence : std::uint8_t { persistent, volatile_ };

/// Where a table's pages go, by segment names; empty means wherever Firn likes.
struct Placement {
  std::string inner = {};
  std::string leaves = {};
  std::string values = {};
};

struct TableOptions {
  Persistence persistence = Persistence::persistent;
  Placement placement = {};
  /// The tables that this table's references may point into. Empty: every table, at the time of the
  /// create, of the type a reference field names, and the table itself. Naming a table that does
  /// not exist or has another type is `invalid_argument`.
  std::vector<std::string> references = {};
};

/// Whether an operation insists on what it finds.
enum class Expect : std::uint8_t { any, present };

/// Whether an object is destroyed although others still use it.
enum class Force : std::uint8_t { no, yes };

struct TransactionOptions {
  bool abortable = false;  ///< `abort` may be called; needs the capability
  bool notify = false;     ///< `on_persistent` and `persistent` may be called
  bool read_only = false;  ///< updates in it are `invalid_state`
};

/// A segment in a local file or on a block device.
struct LocalSegment {
  std::string path;
  std::uint64_t size = 0;  ///< bytes; rounded up to whole chunks
  bool sparse = true;      ///< false: all space is taken now, or `no_space`
};
/// A segment in this process's memory, within the budget; empty after every opening.
struct MemorySegment {
  std::uint64_t size = 0;  ///< bytes
};
/// A segment on memory nodes.
struct RemoteSegment {
  std::vector<std::string> nodes;  ///< "host:port"
  std::uint8_t copies = 1;         ///< 1 to 3
  std::uint64_t size = 0;          ///< bytes
};

}  // namespace firn
