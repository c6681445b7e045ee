// How fast frames come and go: pages of one class are touched and released in batches of a given
// size, spread over many times more slots than are ever resident, as in a buffer pool under
// eviction. Times are the thread's own on its processor, since nothing here ever waits: what else
// the machine does counts as little as may be.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "buffer/memory.hpp"

namespace firn::benchmark {

/// Seconds that this thread has had a processor.
inline double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

struct EvictOptions {
  unsigned size_class = 0;
  std::uint32_t batch = 64;
  std::uint64_t resident_bytes = 64_MiB;  ///< the budget that is filled, then evicted
  std::uint64_t slots_by_resident = 10;   ///< data is so many times the budget
  std::uint32_t rounds = 4;
  std::uint64_t seed = 1;
};

struct EvictFigures {
  std::uint64_t pages = 0;
  std::uint64_t system_calls = 0;
  double fault_seconds = 0;    ///< populate and the first touch
  double release_seconds = 0;  ///< the sort of the batch included
  [[nodiscard]] double released_per_second() const {
    return static_cast<double>(pages) / release_seconds;
  }
  [[nodiscard]] double turned_over_per_second() const {
    return static_cast<double>(pages) / (fault_seconds + release_seconds);
  }
};

inline EvictFigures measure_evict(buffer::Memory& memory, const EvictOptions& options) {
  std::mt19937_64 random(options.seed);
  const std::uint64_t resident = options.resident_bytes / buffer::page_bytes(options.size_class);
  const std::uint64_t slots =
      std::min(resident * options.slots_by_resident, memory.slot_count(options.size_class));
  EvictFigures figures;
  const buffer::MemoryStatistics before = memory.statistics();
  std::vector<buffer::PageSlot> pages;
  for (std::uint64_t slot = 0; slot < slots; ++slot) pages.emplace_back(options.size_class, slot);
  for (std::uint32_t round = 0; round < options.rounds; ++round) {
    std::shuffle(pages.begin(), pages.end(), random);
    for (const bool evicting : {false, true}) {
      const double start = processor_seconds();
      for (std::uint64_t first = 0; first < resident; first += options.batch) {
        const std::span<buffer::PageSlot> batch(
            pages.data() + first, std::min<std::uint64_t>(options.batch, resident - first));
        if (evicting) {
          figures.pages += memory.release(batch).done;
          continue;
        }
        static_cast<void>(memory.populate(batch));
        for (const buffer::PageSlot page : batch) {
          std::byte* const bytes = memory.resolve(page);
          for (std::size_t at = 0; at < buffer::page_bytes(options.size_class);
               at += buffer::smallest_page_bytes) {
            *const_cast<volatile std::byte*>(bytes + at) = std::byte{1};
          }
        }
      }
      const double seconds = processor_seconds() - start;
      (evicting ? figures.release_seconds : figures.fault_seconds) += seconds;
      // Eviction meets pages in the order of the clock, not in that of the faults.
      if (!evicting) {
        std::shuffle(pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>(resident), random);
      }
    }
  }
  const buffer::MemoryStatistics after = memory.statistics();
  figures.system_calls = after.release_calls - before.release_calls;
  return figures;
}

}  // namespace firn::benchmark
