#include "domain/native/sweeper.hpp"

#include "base/allocation.hpp"
#include "base/log.hpp"
#include "domain/native/native.hpp"

namespace firn::domain {

// A forked child has what its parent's fiber still had to do.
Sweeper::~Sweeper() { FIRN_ASSERT(waiting_.empty() || !domain_.of_this_process()); }

void Sweeper::add(NativeTable& table) noexcept {
  if (ending_) return;
  if (!base::guard_allocation([&] { waiting_.emplace_back(table); }).has_value()) return;
  if (running_) return;
  running_ = spawn(
                 domain_.background(),
                 [](void* context) noexcept { static_cast<Sweeper*>(context)->run(); }, this)
                 .has_value();
  if (!running_) waiting_.clear();
}

void Sweeper::run() noexcept {
  while (!waiting_.empty() && !ending_) {
    const BorrowedTable table = std::move(waiting_.front());
    waiting_.pop_front();
    if (const auto swept = sweep(static_cast<NativeTable&>(*table.get())); !swept.has_value()) {
      static base::LogPlace place;
      place.log(base::LogLevel::warning,
                "the pages of a table that is gone are not freed before the next opening",
                swept.error().system_error);
    }
  }
  waiting_.clear();
  running_ = false;
}

Result<void> Sweeper::sweep(NativeTable& table) noexcept {
  bool destroyed = false;
  buffer::PageSlot roots[2];
  {
    // While a destroy is under way the row may say so and be a live one's again afterwards.
    const FiberGuard guard(domain_.catalogue_mutex());
    destroyed = table.row().state == RowState::destroyed;
    roots[0] = table.row().former_root;
    roots[1] = table.row().root;
  }
  for (const buffer::PageSlot root : roots) {
    if (!root.valid() || (root == table.row().root && !destroyed)) continue;
    tree::Tree tree(domain_.pool(), shape_of(table.row(), root));
    FIRN_TRY(tree.clear());
    const FiberGuard guard(domain_.catalogue_mutex());
    const tree::Companions companions{.leaving = {&root, 1}};
    if (root == table.row().root) {
      FIRN_TRY(domain_.catalogue().erase(table.id(), companions));
    } else {
      CatalogueRow& row = table.row();
      row.former_root = buffer::PageSlot();
      const auto written = domain_.catalogue().write(row, companions);
      if (!written.has_value()) row.former_root = root;
      FIRN_TRY(written);
    }
    domain_.keeper().note_change();
  }
  return {};
}

}  // namespace firn::domain
