// What the comparison asks of an engine: one adapter each implements it, and one program is linked
// of each adapter and the same workloads.
//
// An Engine is shared by all threads; a Session belongs to the thread that asked for it. What fails
// ends the program: a run is one process, and the driver shows its last line as the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "pairs.hpp"

namespace comparison {

/// How much of what was written a crash may take.
enum class Durability : std::uint8_t {
  none,   ///< without a log where the engine can do without: what came after the last checkpoint
  async,  ///< with a log that is written, not synced: what the machine, not the process, loses
  sync,   ///< nothing that was committed
};

struct Settings {
  std::string directory;           ///< its own, and there
  std::uint64_t budget_bytes = 0;  ///< of memory: caches and buffers together
  bool in_memory = true;           ///< the budget is well above the data
  Durability durability = Durability::none;
  unsigned threads_max = 1;  ///< sessions that are open at a time
  PairShape shape;
  std::uint64_t pair_count = 0;
};

/// Puts that loads give to engines in one batch, where an engine takes batches.
inline constexpr unsigned load_batch_pairs = 1000;

class Session {
 public:
  Session() = default;
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Shows the value of a key; false when there is none.
  virtual bool get(std::string_view key, ValueCheck& check) = 0;
  /// Inserts or replaces.
  virtual void put(std::string_view key, std::string_view value) = 0;
  /// Shows up to `count` pairs from the first at or after `key` on; how many there were.
  virtual std::uint64_t scan(std::string_view key, std::uint64_t count, PairCheck& check) = 0;

  /// A put of a load; `finish_load` after the last one. Here engines use batches.
  virtual void load(std::string_view key, std::string_view value) { put(key, value); }
  virtual void finish_load() {}

  /// One update in a transaction of its own, durable as the settings say.
  virtual void transact(std::string_view key, std::string_view value) { put(key, value); }

  /// Lookups, so many under way at a time on this thread, until the source has no more.
  virtual void get_in_flight(unsigned depth, LookupSource& source);
};

class Engine {
 public:
  Engine() = default;
  virtual ~Engine() = default;  ///< closes it
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] virtual std::unique_ptr<Session> session() = 0;
  /// Writes what is owed: afterwards everything that was put is in the engine's files, where it
  /// would be after a close.
  virtual void flush() = 0;
  /// Whether threads of its own may still be writing after a flush.
  [[nodiscard]] virtual bool works_behind() const { return false; }
};

/// Opens what is in the directory, or makes it. Each adapter defines these two.
[[nodiscard]] std::unique_ptr<Engine> open_engine(const Settings& settings);
[[nodiscard]] std::string engine_version();

/// Say why and end the program.
[[noreturn]] void stop(std::string_view what, std::string_view why = {});
[[noreturn]] void stop_unsupported(std::string_view what);
inline void expect(bool holds, std::string_view what, std::string_view why = {}) {
  if (!holds) [[unlikely]] {
    stop(what, why);
  }
}

inline void Session::get_in_flight(unsigned, LookupSource&) {
  stop_unsupported("lookups in flight");
}

}  // namespace comparison
