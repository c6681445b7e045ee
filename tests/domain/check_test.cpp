// Checks of native domains' files: every tree is walked, and every page has to belong to one.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include <firn/check.hpp>

#include "support/native.hpp"

using namespace firn::test;
using firn::CheckReport;
using firn::Domain;
using firn::ErrorCode;

namespace {

// Lets the background executor write the row of a table: with another root, or not at all any more.
template <class Work>
void on_background(Domain& domain, Work work) {
  struct Call : firn::runtime::Runnable {
    Work* work = nullptr;
    std::atomic<bool> done{false};
  } call;
  firn::domain::NativeDomain& native = native_of(domain);
  call.work = &work;
  call.home = &native.background();
  call.run = [](firn::runtime::Runnable& runnable) noexcept {
    const auto spawned = firn::domain::spawn(
        *runnable.home,
        [](void* context) noexcept {
          auto& its = *static_cast<Call*>(context);
          (*its.work)();
          its.done.store(true);
        },
        static_cast<Call*>(&runnable));
    FIRN_ASSERT(spawned.has_value());
  };
  native.background().send(call);
  while (!call.done.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  native.keeper().note_change();
}

firn::Table<WordType> filled(Domain& domain, std::string_view name, std::uint64_t count) {
  auto words = create_persistent<WordType>(domain, name);
  for (std::uint64_t key = 0; key < count; ++key) {
    REQUIRE(words.put(key, std::string(key % 10 == 3 ? 5000 : 50, 'r')).wait().has_value());
  }
  return words;
}

firn::domain::CatalogueRow& row_of(firn::Table<WordType>& table) {
  return static_cast<firn::domain::NativeTable&>(*table.core()).row();
}

CheckReport checked(const NativeFile& file) {
  auto report = firn::check_segment(file.path());
  if (!report.has_value()) FAIL(report.error().message());
  return *std::move(report);
}

}  // namespace

TEST_CASE("check: every table of a native domain is walked and counted", "[catalogue]") {
  NativeFile file;
  Domain domain = file.open();
  filled(domain, "many", 2000);
  filled(domain, "none", 0);
  close(domain);
  const CheckReport report = checked(file);
  CHECK(report.clean());
  REQUIRE(report.tables.size() == 2);
  CHECK(report.tables[0].name == "many");
  CHECK(report.tables[0].pairs == 2000);
  CHECK(report.tables[0].catalogued_pairs == 2000);
  CHECK(report.tables[1].pairs == 0);
  CHECK(report.unreachable_pages == 0);
}

TEST_CASE("check: a table with the root of another one is damage", "[catalogue]") {
  NativeFile file;
  Domain domain = file.open();
  auto first = filled(domain, "first", 10);
  auto second = filled(domain, "second", 10);
  checkpoint(domain);
  firn::domain::CatalogueRow row = row_of(first);
  row.root = row_of(second).root;
  on_background(domain, [&]() noexcept {
    FIRN_ASSERT(native_of(domain).catalogue().write(row).has_value());
  });
  close(domain);
  const CheckReport report = checked(file);
  CHECK_FALSE(report.clean());
  CHECK(report.damaged_pages == 0);
  CHECK(report.damaged_trees == 1);
  REQUIRE(report.damage.size() == 1);
  CHECK(report.damage[0].code == ErrorCode::corrupt);
  CHECK(report.damage[0].place.table == row.id);
  CHECK(report.damage[0].place.page == row.root.bits());
  REQUIRE(report.tables.size() == 2);
  CHECK_FALSE(report.tables[0].whole);
  CHECK(report.tables[1].whole);
}

TEST_CASE("check: pages of no table are told", "[catalogue]") {
  NativeFile file;
  Domain domain = file.open();
  auto kept = filled(domain, "kept", 100);
  auto lost = filled(domain, "lost", 100);
  checkpoint(domain);
  on_background(domain, [&, id = row_of(lost).id]() noexcept {
    FIRN_ASSERT(native_of(domain).catalogue().erase(id).has_value());
  });
  close(domain);
  const CheckReport report = checked(file);
  CHECK_FALSE(report.clean());
  CHECK(report.damaged_trees == 0);
  CHECK(report.tables.size() == 1);
  CHECK(report.unreachable_pages >= 12);  // a root, a leaf, and 10 values of 5,000 bytes
}
