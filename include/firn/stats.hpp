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
  std::uint64_t pair_count = 0;    ///< pairs in all tables
  std::uint64_t lookup_count = 0;  ///< lookups that ended, found or not
  std::uint64_t update_count = 0;  ///< inserts, puts, updates and erases that changed something
  std::uint64_t move_count = 0;    ///< cursor moves that ended
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
  std::uint64_t pair_count = 0;
};

}  // namespace firn
