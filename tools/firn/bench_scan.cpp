// Reading a table from its first pair to its last with a cursor, out of a database that was just
// opened.
#include "load.hpp"

namespace firn::cli {
namespace {

Result<void> run_scan(const BenchOptions& options, const Emit& emit) {
  DataFile file(options);
  FIRN_TRY(file.open_filled());
  file.begin();
  std::uint64_t count = 0;
  {
    auto cursor = file.table().cursor();
    while (true) {
      FIRN_TRY_ASSIGN(const bool at_pair, cursor.next().wait());
      if (!at_pair) break;
      if (!is_record_of(count, Bytes(cursor.record()))) {
        return fail(ErrorCode::corrupt, "pair {} has another record", count);
      }
      ++count;
      file.look();
    }
  }
  file.end();
  if (count != file.pair_count()) {
    return fail(ErrorCode::corrupt, "the cursor has seen {} pairs", count);
  }
  const double bytes = static_cast<double>(file.user_bytes());
  file.emit(emit, "scan", "pairs", count, {}, {{"user_bytes_per_second", bytes / file.seconds()}});
  return file.close();
}

}  // namespace

const Bench scan_bench = {"scan", "a cursor over a whole table, none of it in memory", run_scan};

}  // namespace firn::cli
