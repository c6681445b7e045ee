// Filling a table: puts in the order of the keys or in a random one, up to the close of the
// database.
#include "load.hpp"

namespace firn::cli {
namespace {

Result<void> run_fill(const BenchOptions& options, const Emit& emit) {
  DataFile file(options);
  FIRN_TRY(file.create());
  file.begin();
  FIRN_TRY(file.fill(options.order == "sequential"));
  FIRN_TRY(file.close());
  file.end();
  const double written = static_cast<double>(file.written_bytes());
  file.emit(emit, "fill", "puts", file.pair_count(), {},
            {{"order", options.order},
             {"in_flight", options.in_flight},
             {"written_per_user_byte", written / static_cast<double>(file.user_bytes())}});
  return {};
}

}  // namespace

const Bench fill_bench = {"fill", "putting pairs into an empty table, up to the close", run_fill};

}  // namespace firn::cli
