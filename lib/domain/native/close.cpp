// Checkpoints of a native domain, room in its segment, and its closing.
#include <algorithm>

#include "base/allocation.hpp"
#include "base/log.hpp"
#include "base/planted.hpp"
#include "domain/native/job.hpp"
#include "domain/native/native.hpp"
#include "segment/fiber_io.hpp"

namespace firn::domain {
namespace {

// A segment grows by a quarter, and by this at least, when less than this is free; with a large
// budget there may be more dirty pages than that.
constexpr std::uint64_t growth_bytes_min = 64ULL << 20;
constexpr std::uint64_t free_bytes_min = 32ULL << 20;
constexpr std::uint64_t free_bytes_max = 1ULL << 30;
constexpr auto look_again_time = std::chrono::milliseconds(1);

// What an operation that closes keeps: only that it has begun.
struct Closing {};

}  // namespace

// A checkpoint holds what was changed before it began. Who asks while one is being written needs
// another one, and shares it with everybody who asks until it begins.
Result<void> NativeDomain::checkpoint_on_fiber() noexcept {
  const std::uint64_t asked = ++checkpoints_asked_;
  const FiberGuard guard(checkpoint_mutex_);
  if (checkpoints_covered_ >= asked) return last_checkpoint_;
  checkpoints_covered_ = checkpoints_asked_;
  last_checkpoint_ = checkpoint_once();
  // For what does not wait for room as pages do. Twice what memory holds is room for all of it; a
  // device that refuses even then is full.
  const std::uint64_t size_max = segment_->size() + 2 * options().memory_budget + growth_bytes_min;
  const auto lacks_space = [this]() noexcept {
    return !last_checkpoint_.has_value() && last_checkpoint_.error().code == ErrorCode::no_space;
  };
  while (lacks_space() && segment_->size() < size_max && grow()) {
    last_checkpoint_ = checkpoint_once();
  }
  return last_checkpoint_;
}

Result<void> NativeDomain::checkpoint_once() noexcept {
  const store::Payload payload = encode_payload(catalogue_->root());
  keeper_.begin_checkpoint();
  write_pair_counts();
  Result<void> done;
  // The pool goes on with one that failed, which holds nothing that was changed after it began.
  if (checkpoint_unfinished_) done = pool_->checkpoint(*background_, payload);
  if (done.has_value()) done = pool_->checkpoint(*background_, payload);
  checkpoint_unfinished_ = !done.has_value();
  if (!done.has_value()) keeper_.note_change();
  return done;
}

// They are told, not relied on: a count that cannot be written now is written next time.
void NativeDomain::write_pair_counts() noexcept {
  const FiberGuard guard(catalogue_mutex_);
  std::vector<BorrowedTable> tables;
  const auto listed = base::guard_allocation([&] {
    // (The latch may not be held across waits.)
    with_tables([&](Tables all) {
      for (TableCore* table : all) tables.emplace_back(*table);
      return true;
    });
  });
  if (!listed.has_value()) return;
  for (const BorrowedTable& borrowed : tables) {
    auto& table = static_cast<NativeTable&>(*borrowed.get());
    CatalogueRow& row = table.row();
    const std::uint64_t count = table.pair_count();
    if (row.pair_count == count || row.persistence == Persistence::volatile_) continue;
    const std::uint64_t former = std::exchange(row.pair_count, count);
    if (!catalogue_->write(row).has_value()) row.pair_count = former;
  }
}

bool NativeDomain::lacks_room() const noexcept {
  const std::uint64_t wanted = std::clamp(options().memory_budget, free_bytes_min, free_bytes_max);
  return store_->writes_wait() || store_->available_bytes() < wanted;
}

bool NativeDomain::grow() noexcept {
  const std::uint64_t former = segment_->size();
  segment::Request request;
  request.kind = segment::RequestKind::grow;
  request.size =
      former + std::max(growth_bytes_min, former / 4 / growth_bytes_min * growth_bytes_min);
  Result<void> grown = segment::await(*segment_, *background_, request);
  if (grown.has_value()) grown = store_->take_growth();
  if (!grown.has_value()) {
    static base::LogPlace place;
    place.log(base::LogLevel::warning, "a domain's segment does not grow",
              grown.error().system_error);
  }
  return grown.has_value() && segment_->size() > former;
}

Progress NativeDomain::close(OperationBase& operation, Error& error) noexcept {
  const bool begun = OperationAccess::has_engine_state(operation);
  if (!begun) {
    const std::uint32_t open = open_transaction_count.load(std::memory_order_acquire);
    if (open > 0) return fail_with(error, fail(ErrorCode::busy, "{} transactions are open", open));
    const std::uint64_t waiting = pool_->waiting_operations() + job_count_.load();
    if (waiting > 0) {
      return fail_with(error, fail(ErrorCode::busy, "{} operations are under way", waiting));
    }
    if (closed.exchange(true)) {
      return fail_with(error, fail(ErrorCode::invalid_state, "the domain is closed"));
    }
    OperationAccess::engine_state<Closing>(operation);
    OperationAccess::commit(operation);
    keeper_.end();
  }
  const bool parked =
      runtime::park_operation(runtime::ParkingLot::shared(), &dismantled_, operation,
                              [this]() noexcept { return !dismantled_.load(); });
  if (parked) return Progress::waiting;
  return close_outcome_.has_value() ? Progress::yes
                                    : fail_with(error, fail(close_outcome_.error()));
}

// Waits until it is done, unless that needs what this thread has still to do.
void NativeDomain::abandon() noexcept {
  if (closed.exchange(true)) return;
  const bool hindered = pool_->waiting_operations() > 0 || pool_->requests_elsewhere();
  if (thread_ != nullptr && !hindered) {
    keeper_.end();
    thread_->join();
    return;
  }
  retain(*this);  // for the keeper, since nobody waits for a thread
  kept_by_keeper_ = true;
  runtime::ExecutorCore& executor = *background_;
  keeper_.end();
  // From here on the domain may be gone, if this thread is not the executor's.
  if (hindered) return;
  const runtime::Fiber* fiber = runtime::current_fiber();
  if (fiber != nullptr && fiber->home == &executor) {
    while (!dismantled_.load()) rest_for(executor, look_again_time);
  }
  if (executor.ticking()) return;
  while (!dismantled_.load()) {
    if (executor.tick(std::chrono::nanoseconds::zero()) == 0 && !dismantled_.load()) {
      executor.wait_for_work();
    }
  }
}

// Nobody enters any more: the domain is closed. Tables first: a step that leaves one may leave an
// operation that waits, or a job, behind.
bool NativeDomain::in_use() noexcept {
  const bool entered = with_tables([](Tables tables) noexcept {
    return std::any_of(tables.begin(), tables.end(), [](const TableCore* table) {
      return static_cast<const NativeTable*>(table)->in_use();
    });
  });
  return entered || job_count_.load() > 0 || pool_->waiting_operations() > 0;
}

void NativeDomain::dismantle() noexcept {
  sweeper_.end();
  while (in_use() || !sweeper_.ended()) rest_for(*background_, look_again_time);
  if (!FIRN_PLANTED("native-close-without-checkpoint")) close_outcome_ = checkpoint_on_fiber();
  if (store_->failed()) close_outcome_ = failed();
  {
    const base::SpinGuard guard(statistics_lock_);
    closed_statistics_ = statistics_of_engine();
    engine_is_open_ = false;
  }
  close_engine();
  keeper_.settle();
  end_executor();
  const bool kept = kept_by_keeper_;
  // From here on the domain may be gone.
  const void* const key = &dismantled_;
  dismantled_.store(true);
  runtime::ParkingLot::shared().unpark_all(key);
  if (kept) release(*this);
}

// What is there of it; nothing uses it any more.
void NativeDomain::close_engine() noexcept {
  std::vector<TableCore*> tables;
  change_tables([&] { tables.swap(tables_); });
  for (TableCore* table : tables) give_back(*table);
  sweeper_.end();
  while (!sweeper_.ended()) rest_for(*background_, look_again_time);
  if (pool_ != nullptr) {
    pool_->end_background();
    while (!pool_->background_ended() || !grower_.idle()) rest_for(*background_, look_again_time);
    let_others_run(*background_);  // an alarm of the cleaner may stand in the queue
    pool_->stop_background();
  }
  catalogue_.reset();
  pool_.reset();
  store_.reset();
  file_.reset();
}

void NativeDomain::end_executor() noexcept {
  if (thread_ != nullptr) thread_->end();
}

// A forked child has none of the threads, and the file is its parent's.
NativeDomain::~NativeDomain() {
  if (of_this_process()) {
    if (thread_ != nullptr) thread_->join();
    return;
  }
  static_cast<void>(thread_.release());
  static_cast<void>(file_.release());
  static_cast<void>(store_.release());
  static_cast<void>(pool_.release());
}

}  // namespace firn::domain
