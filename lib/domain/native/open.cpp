// Opening a native domain: its executor, the file, the store, the pool, the catalogue, in this
// order; each is made by the first opening and found by later ones.
#include <algorithm>
#include <utility>

#include "base/allocation.hpp"
#include "base/log.hpp"
#include "base/planted.hpp"
#include "base/random.hpp"
#include "domain/native/job.hpp"
#include "domain/native/native.hpp"
#include "format/superblock.hpp"
#include "segment/fiber_io.hpp"
#include "store/aligned_block.hpp"

namespace firn::domain {
namespace {

constexpr std::uint64_t segment_bytes_first = 64ULL << 20;
constexpr std::size_t blank_bytes = 1 << 20;
// Memory for what is under way, out of small budgets: enough for a record of 64 KiB and its image.
constexpr std::uint64_t write_buffer_bytes_min = 128 * 1024;
constexpr std::uint64_t budget_per_read = 32 * 1024;
// Address space is reserved for so much data, at least; of 128 TiB each domain takes 36 times that.
constexpr std::uint64_t data_bytes_min = 32ULL << 30;

}  // namespace

buffer::PoolOptions pool_options(std::uint64_t budget, std::uint64_t segment_bytes) noexcept {
  buffer::PoolOptions pool;
  pool.memory_budget = budget;
  pool.memory_budget_max = budget;
  pool.write_buffer_bytes = std::clamp<std::uint64_t>(
      budget / 32, std::min(write_buffer_bytes_min, budget / 4), 64ULL << 20);
  pool.reads_max =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(budget / budget_per_read, 16, 4096));
  pool.memory.data_bytes = std::max({data_bytes_min, 256 * std::min(budget, data_bytes_min),
                                     8 * std::min(segment_bytes, 64 * data_bytes_min)});
  return pool;
}

// Files are opened, and domains recovered, on the domain's executor: only its thread may block.
class OpenJob final : public Job {
 public:
  // Adopts the domain.
  explicit OpenJob(NativeDomain* domain) noexcept : domain_(Reference<DomainCore>::adopt(domain)) {}
  [[nodiscard]] NativeDomain& domain() noexcept {
    return static_cast<NativeDomain&>(*domain_.get());
  }
  [[nodiscard]] Reference<DomainCore> take() noexcept { return std::move(domain_); }

 private:
  Result<void> work() noexcept override { return domain().open_engine(); }
  Reference<DomainCore> domain_;
};

Progress open_native_with(OperationBase& operation, Error& error, std::string_view path,
                          const DomainOptions& options, const NativeSeam& seam,
                          Reference<DomainCore>& out) noexcept {
  if (Job* const job = job_of(operation)) {
    if (!job->outcome().has_value()) return fail_with(error, fail(job->outcome().error()));
    out = static_cast<OpenJob*>(job)->take();
    return Progress::yes;
  }
  std::unique_ptr<OpenJob> job;
  auto made = base::guard_allocation(
      [&] { job = std::make_unique<OpenJob>(new NativeDomain(std::string(path), options, seam)); });
  if (made.has_value()) {
    made = job->domain().start_executor(OperationAccess::home(operation));
    if (!made.has_value()) job->domain().closed.store(true);
  }
  if (!made.has_value()) return fail_with(error, fail(made.error()));
  OpenJob& started = *job;
  OperationAccess::engine_state<JobState>(operation, std::move(job));
  started.start(operation, started.domain().background(), started.domain().job_count());
  return Progress::waiting;
}

Result<void> NativeDomain::start_executor(runtime::ExecutorCore& opener) noexcept {
  if (!options().background_thread) {
    background_ = &opener;
    return {};
  }
  FIRN_TRY_ASSIGN(thread_, runtime::ExecutorThread::start());
  background_ = &thread_->executor();
  return {};
}

Result<void> NativeDomain::open_engine() noexcept {
  keeper_.prepare();
  const auto open_all = [this]() noexcept -> Result<void> {
    FIRN_TRY(open_file());
    FIRN_TRY(open_store());
    FIRN_TRY(open_pool());
    FIRN_TRY(open_catalogue());
    return keeper_.start();
  };
  auto opened = open_all();
  if (!opened.has_value()) {
    closed.store(true);
    close_engine();
    keeper_.settle();
    end_executor();
    return opened;
  }
  const base::SpinGuard guard(statistics_lock_);
  engine_is_open_ = true;
  return {};
}

Result<void> NativeDomain::open_file() noexcept {
  segment_ = seam_.segment;
  if (segment_ != nullptr) return {};
  if (path().empty() || path().find('\0') != std::string::npos) {
    return fail(ErrorCode::invalid_argument, "a native domain's path is that of a file");
  }
  // Somebody else may make the file between the two.
  constexpr int attempts = 3;
  for (int attempt = 1;; ++attempt) {
    auto file = segment::FileBackend::open(path().c_str(), {});
    if (file.has_value() && (*file)->size() == 0) {
      file->reset();
      file = segment::FileBackend::create(path().c_str(), {.size_bytes = segment_bytes_first});
    } else if (!file.has_value() && file.error().code == ErrorCode::not_found) {
      file = segment::FileBackend::create(path().c_str(), {.size_bytes = segment_bytes_first});
    }
    if (file.has_value()) {
      file_ = *std::move(file);
      segment_ = file_.get();
      return {};
    }
    if (file.error().code != ErrorCode::already_exists || attempt == attempts) {
      return fail(file.error());
    }
  }
}

// Whether the segment begins with nothing but zeroes, far beyond where anything else would begin,
// or its making was cut short.
Result<bool> NativeDomain::segment_is_blank() noexcept {
  FIRN_TRY_ASSIGN(const auto block, store::AlignedBlock::make(blank_bytes));
  segment::Request request;
  request.set_buffer(block.data(), blank_bytes);
  FIRN_TRY(segment::await(*segment_, *background_, request));
  format::Superblock none;
  for (unsigned copy = 0; copy < 2; ++copy) {
    const Bytes place(block.data() + format::superblock_offset(0, copy), format::superblock_bytes);
    if (decode_superblock(place, none) == format::SuperblockState::being_made) return true;
  }
  return std::all_of(block.data(), block.data() + blank_bytes,
                     [](std::byte byte) { return byte == std::byte{0}; });
}

// A blank segment is a new one, or one whose making was cut short.
Result<void> NativeDomain::open_store() noexcept {
  store::StoreOptions options;
  options.room_maker = &grower_;
  auto opened = store::Store::open(*background_, *segment_, options);
  if (!opened.has_value() && opened.error().code == ErrorCode::not_found) {
    FIRN_TRY_ASSIGN(const bool blank, segment_is_blank());
    if (!blank) return fail(opened.error());
    const std::uint64_t id = seam_.domain_id != 0 ? seam_.domain_id : base::chance() | 1;
    opened = store::Store::create(*background_, *segment_, options, id);
  }
  if (!opened.has_value()) return fail(opened.error());
  store_ = *std::move(opened);
  return {};
}

Result<void> NativeDomain::open_pool() noexcept {
  auto made =
      buffer::Pool::create(*store_, pool_options(options().memory_budget, segment_->size()));
  if (!made.has_value()) return fail(made.error());
  pool_ = *std::move(made);
  tree::Tree::register_kinds(*pool_);
  return pool_->start_background(*background_);
}

Result<void> NativeDomain::open_catalogue() noexcept {
  buffer::PageSlot root;
  FIRN_TRY(decode_payload(store_->payload(), root));
  if (!root.valid()) return create_catalogue();
  if (!pool_->known(root)) {
    Failure failure = fail(ErrorCode::corrupt, "the catalogue's root is no page");
    failure.error.place.table = static_cast<std::uint32_t>(catalogue_table_id);
    return failure;
  }
  catalogue_.emplace(*pool_, root);
  return load_tables();
}

// With the first checkpoint it is there; without it the next opening makes it again.
Result<void> NativeDomain::create_catalogue() noexcept {
  tree::Shape shape = Catalogue::shape(buffer::PageSlot());
  FIRN_TRY(tree::Tree::create(*pool_, shape));
  catalogue_.emplace(*pool_, shape.root);
  FIRN_TRY(catalogue_->write_next_id(next_table_id_));
  return checkpoint_once();
}

Result<void> NativeDomain::load_tables() noexcept {
  const FiberGuard guard(catalogue_mutex_);  // what is swept waits until all is loaded
  std::uint64_t next_id = 0;
  FIRN_TRY(catalogue_->load(next_id, [this](CatalogueRow& row) noexcept -> Result<void> {
    const auto bad = [&row](const char* detail) noexcept {
      Failure failure = fail(ErrorCode::corrupt, detail, row.id);
      failure.error.place.table = static_cast<std::uint32_t>(catalogue_table_id);
      return failure;
    };
    if (!pool_->known(row.root) || (row.former_root.valid() && !pool_->known(row.former_root))) {
      return bad("the root of table {} is no page");
    }
    if (row.root == catalogue_->root() || row.former_root == catalogue_->root()) {
      return bad("the root of table {} is the catalogue's");
    }
    const auto has_its_name = [&row](const TableCore* table) noexcept {
      return !table->destroyed.load() && table->name() == row.name;
    };
    if (row.state == RowState::live && std::any_of(tables_.begin(), tables_.end(), has_its_name)) {
      return bad("table {} has the name of another one");
    }
    return base::guard_allocation([&] {
      const auto kept = std::make_shared<CatalogueRow>(std::move(row));
      tables_.reserve(tables_.size() + 1);
      tables_.push_back(new NativeTable(*this, kept, nullptr));
      tables_.back()->destroyed.store(kept->state == RowState::destroyed);
    });
  }));
  for (const TableCore* table : tables_) next_id = std::max(next_id, table->id() + 1);
  next_table_id_ = std::max(next_id, first_table_id);
  // Tables that nobody may see any more, and what volatile ones held, are freed in the background.
  for (std::size_t index = 0; index < tables_.size();) {
    auto& table = static_cast<NativeTable&>(*tables_[index]);
    const bool destroyed = table.row().state == RowState::destroyed;
    const bool is_volatile = table.row().persistence == Persistence::volatile_;
    if (!destroyed && is_volatile && !FIRN_PLANTED("native-volatile-kept")) {
      FIRN_TRY(empty_volatile(index));
    }
    auto& now = static_cast<NativeTable&>(*tables_[index]);
    if (destroyed || now.row().former_root.valid()) sweeper_.add(now);
    if (destroyed) {
      tables_.erase(tables_.begin() + static_cast<std::ptrdiff_t>(index));
      give_back(now);
    } else {
      ++index;
    }
  }
  return {};
}

// A new root takes the place of the old one, whose tree is freed later. One that still has a former
// root, since the last opening was cut short, is freed first; where a page of that one cannot be
// read, the rest of it is forgotten, since nobody wants what it holds.
Result<void> NativeDomain::empty_volatile(std::size_t index) noexcept {
  auto& table = static_cast<NativeTable&>(*tables_[index]);
  CatalogueRow row;
  FIRN_TRY(base::guard_allocation([&] { row = table.row(); }));
  if (row.former_root.valid()) {
    tree::Tree former(*pool_, shape_of(row, row.former_root));
    const buffer::PageSlot leaving = std::exchange(row.former_root, buffer::PageSlot());
    auto freed = former.clear();
    if (freed.has_value()) freed = catalogue_->write(row, {.leaving = {&leaving, 1}});
    if (!freed.has_value()) {
      static base::LogPlace place;
      place.log(base::LogLevel::warning, "the pages of a table that is gone are never freed",
                freed.error().system_error);
    }
  }
  row.former_root = row.root;
  row.root = buffer::PageSlot();
  row.pair_count = 0;
  NativeTable* fresh = nullptr;
  FIRN_TRY(base::guard_allocation([&] {
    fresh = new NativeTable(*this, std::make_shared<CatalogueRow>(std::move(row)), nullptr);
  }));
  const auto written =
      catalogue_->write_with_tree(fresh->row(), shape_of(fresh->row(), buffer::PageSlot()));
  if (!written.has_value()) {
    give_back(*fresh);
    return written;
  }
  fresh->take_root();
  tables_[index] = fresh;
  give_back(table);
  return {};
}

}  // namespace firn::domain

namespace firn::detail {

Progress open_native(OperationBase& operation, Error& error, std::string_view path,
                     const DomainOptions& options, Reference<DomainCore>& out) noexcept {
  return domain::open_native_with(operation, error, path, options, {}, out);
}

}  // namespace firn::detail
