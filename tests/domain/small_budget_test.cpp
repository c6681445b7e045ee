// Native domains whose maps leave hardly anything for pages: what is asked for comes about or is
// refused with no_memory, and nobody waits for ever.
#include "support/native.hpp"

using namespace firn::test;
using firn::Domain;

namespace {

struct LargeType : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.large";
  static constexpr firn::Hints hints{.record_size_typical = 4096};  // leaves of 64 KiB
};

// Leaves so much of the budget for pages; false: less than the pool takes.
bool leave_for_frames(Domain& domain, std::uint64_t bytes) {
  firn::buffer::Pool& pool = native_of(domain).pool();
  const firn::buffer::PoolStatistics now = pool.statistics();
  return pool.set_budget(now.used_bytes - now.frame_bytes + bytes).has_value();
}

}  // namespace

TEST_CASE("catalogue: with hardly any memory a table is created or refused with no_memory",
          "[catalogue]") {
  NativeFile file;
  Domain domain = file.open();
  std::uint64_t made = 0;
  std::uint64_t refused = 0;
  std::uint64_t made_small = 0;
  std::uint64_t budgets = 0;
  for (std::uint64_t frame_kib = 40; frame_kib <= 400; frame_kib += 12) {
    checkpoint(domain);
    if (!leave_for_frames(domain, frame_kib * 1024)) continue;
    ++budgets;
    INFO(frame_kib << " KiB for frames");
    const std::string name = std::to_string(frame_kib);
    const auto count = [&](const auto& outcome) {
      if (!outcome.has_value()) REQUIRE(error_of(outcome) == "no_memory");
      ++(outcome.has_value() ? made : refused);
      return outcome.has_value();
    };
    count(domain.create_table<LargeType>("large " + name).wait());
    if (count(domain.create_table<WordType>(name).wait())) ++made_small;
  }
  CHECK(budgets > 20);
  CHECK(made_small + 3 > budgets);
  CHECK(made > made_small);
  CHECK(refused > 0);
  REQUIRE(native_of(domain).pool().set_budget(NativeFile::small().memory_budget).has_value());
  CHECK(domain.tables().wait().value().size() == made);
  CHECK(error_of(domain.create_table<LargeType>("last").wait()) == "");
  close(domain);
}
