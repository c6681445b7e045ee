// What a domain tells about itself: numbers since it was opened, and the schema from its catalogue.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <firn/options.hpp>

namespace firn {

struct DomainStatistics {
  std::uint64_t memory_budget = 0;  ///< bytes
  std::uint64_t memory_used = 0;    ///< bytes charged to the budget now
  std::uint64_t table_count = 0;
  /// Pairs in all tables. After a crash a native domain begins with the counts of the last
  /// checkpoint, from which changes that were made while it was written may be missing.
  std::uint64_t pair_count = 0;
  std::uint64_t lookup_count = 0;  ///< lookups that ended, found or not
  std::uint64_t update_count = 0;  ///< inserts, puts, updates and erases that changed something
  std::uint64_t move_count = 0;    ///< cursor moves that ended

  // Of domains with segments of their own; 0 elsewhere.
  std::uint64_t page_reads = 0;  ///< from devices
  std::uint64_t page_read_bytes = 0;
  std::uint64_t page_writes = 0;
  std::uint64_t page_write_bytes = 0;
  std::uint64_t other_write_bytes = 0;  ///< of checkpoints: page mapping, superblocks
  std::uint64_t page_faults = 0;        ///< pages that were asked for and not in memory
  std::uint64_t page_evictions = 0;
  std::uint64_t checkpoints = 0;    ///< published, that of the opening included
  std::uint64_t segment_bytes = 0;  ///< size of the segments
  std::uint64_t stored_bytes = 0;   ///< of them: images of pages, as last written
};

/// One row of the catalogue.
struct TableInfo {
  std::uint64_t id = 0;  ///< never used again in the domain
  std::string name;
  std::string type;
  std::uint16_t version_major = 0;
  std::uint16_t version_minor = 0;
  bool sack = false;
  Persistence persistence = Persistence::persistent;
  std::string key_schema;                 ///< "parent:u64,name:string"
  std::string record_schema;              ///< "id:u64,body:ref(mdfs.body)"
  std::string comparator;                 ///< its catalogued id
  std::vector<std::uint64_t> references;  ///< ids of the tables that its references may point into
  std::uint64_t pair_count = 0;           ///< as in DomainStatistics
  std::uint64_t leaf_size = 0;  ///< bytes of a leaf page, chosen by the type's hints; 0: no pages
};

}  // namespace firn
