// Random histories of trees on a simulated device: a catalogue and the tables it names, with
// operations, checkpoints, and tables that come and go, all under way at the same time on several
// executors. One thread; what each checkpoint must hold is taken down when its number is fixed.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/yield.hpp"
#include "buffer/pool.hpp"
#include "crash/tree_content.hpp"
#include "support/executors.hpp"
#include "tree/caller.hpp"
#include "tree/scratch.hpp"
#include "tree/tree_operation.hpp"

namespace firn::test {

inline buffer::PoolOptions tree_pool_options() {
  return {.memory_budget = 4_MiB,
          .memory_budget_max = 4_MiB,
          .write_buffer_bytes = 128 * 1024,
          .copy_buffer_bytes = 64 * 1024,
          .reads_max = 16,
          // Ids of pages that came to nothing are used again two publications later.
          .memory = {.kind = std::nullopt, .data_bytes = 64_MiB}};
}

/// Leaves so much of the budget for frames.
inline Result<void> shrink_to(buffer::Pool& pool, std::uint64_t frame_bytes) {
  Result<void> set;
  // The first call may find that the store's maps have grown.
  for (int attempt = 0; attempt < 2; ++attempt) {
    const buffer::PoolStatistics now = pool.statistics();
    set = pool.set_budget(now.used_bytes - now.frame_bytes + frame_bytes);
    if (set.has_value()) break;
  }
  return set;
}

/// Makes an empty catalogue. On a fiber.
inline Result<tree::Shape> create_catalogue(buffer::Pool& pool) {
  tree::Shape shape = catalogue_of({});
  FIRN_TRY(tree::Tree::create(pool, shape));
  return shape;
}

/// Keys and values by number: short and long ones, in order and at random.
struct TreeKeys {
  /// `tall`: such long ones that the root has hardly room for them, so that the tree grows.
  TreeKeys(std::uint64_t its_seed, bool tall) : seed(its_seed) {
    base::Random random(seed);
    count = 24 + random.below(60);
    style = tall ? 4 : static_cast<unsigned>(random.below(4));
    if (tall) count = 84;
    value_max = random.one_in(2) ? 700 : 200;
  }
  [[nodiscard]] std::string key(std::uint64_t number) const {
    base::Random random(seed * 1'000'003 + number);
    char digits[24];
    std::snprintf(digits, sizeof digits, "%06llu", static_cast<unsigned long long>(number));
    switch (style) {
      case 0:
        return "k" + std::string(digits);
      case 1:
        return std::string(450, static_cast<char>('a' + seed % 26)) + digits;
      case 2: {
        std::string key;
        for (std::uint64_t left = 1 + random.below(10); left > 0; --left) {
          key.push_back(static_cast<char>(random.below(256)));
        }
        return "r" + key + digits;
      }
      case 4:
        return std::string(1800, 't') + digits;
      default: {  // some are too long for the leaf class
        const std::size_t size = random.one_in(4) ? random.below(1900) : random.below(60);
        return std::string(1, static_cast<char>('b' + random.below(20))) + digits +
               std::string(size, 'l');
      }
    }
  }
  [[nodiscard]] std::string value(base::Random& random) const {
    std::size_t size = random.below(value_max);
    if (random.one_in(8)) size = 1000 + random.below(4000);
    if (random.one_in(60)) size = random.below(16'000);
    return std::string(size, static_cast<char>('a' + random.below(26)));
  }
  std::uint64_t seed;
  std::uint64_t count;
  unsigned style;
  std::size_t value_max;
};

class TreeHistory {
 public:
  struct Options {
    std::uint64_t seed = 1;
    unsigned operations = 150;
    unsigned per_checkpoint = 16;
    std::uint64_t frame_bytes = 512 * 1024;
    bool tall = false;  ///< one table grows until its root does
    /// What fails has changed nothing, and the history goes on as long as the store does.
    bool tolerant = false;
    bool honest = true;  ///< the device's failures: a read may fail, but nothing is `corrupt`
    std::function<void()> on_published = nullptr;
  };

  TreeHistory(segment::SimulatedBackend& backend, Executors& executors, const Options& options)
      : backend_(backend), executors_(executors), options_(options), random_(options.seed) {}
  ~TreeHistory() {
    if (pool_ == nullptr) return;
    pool_->end_background();
    wait([&] { return pool_->background_ended(); });
    pool_->stop_background();
  }
  TreeHistory(const TreeHistory&) = delete;
  TreeHistory& operator=(const TreeHistory&) = delete;

  /// Empty, or what no failure of the device excuses. Whoever is stuck cannot be destroyed: then
  /// the program ends.
  std::string run() {
    // As warm as after any other history, so that a seed repeats a run.
    FIRN_ASSERT(tree::scratch_of_this_thread()->value.reserve(format::page_bytes(4)).has_value());
    wait_on_fiber([&](runtime::ExecutorCore& core) { note(open(core)); });
    if (tables_.empty()) return violation_;
    Yielding yielding(*this);
    unsigned last = 0;
    for (unsigned turns = 0; started_ < options_.operations && violation_.empty(); ++turns) {
      land();
      go_on();
      if (started_ != last) turns = 0;
      last = started_;
      if (turns == turns_max) wait([&] { return idle(); });
    }
    ending_ = true;
    wait([&] { return idle(); });
    land();
    if (violation_.empty()) finish();
    return violation_;
  }

  [[nodiscard]] const std::vector<TreeContent>& contents() const { return contents_; }
  [[nodiscard]] std::uint64_t begun() const { return begun_; }
  [[nodiscard]] std::optional<std::uint64_t> published() const { return published_; }
  [[nodiscard]] const std::optional<Error>& first_error() const { return first_error_; }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  struct Table {
    tree::Shape shape;
    std::unique_ptr<tree::Tree> tree;
    TreeKeys keys;
    Pairs pairs;
    bool leaving = false;  // takes no more operations
    bool clearing = false;
    std::uint64_t phase = 0;
  };
  struct Flight {
    std::unique_ptr<TreeOperation> operation;
    std::uint64_t table = 0;
    bool expected = false;
    Choice choice;
  };
  // Makes or forgets a table: on a fiber, one at a time.
  struct TableChange {
    bool running = false;
    bool writing = false;  // the catalogue
    std::string key;
    Choice choice;
  };

  // At yield points, in the midst of steps, others run.
  struct Yielding {
    explicit Yielding(TreeHistory& history) {
      active = &history;
#ifdef FIRN_PLANTED_BUGS
      base::yield_hook.store([](const char*) noexcept { active->run_others(); });
#endif
    }
    ~Yielding() {
#ifdef FIRN_PLANTED_BUGS
      base::yield_hook.store(nullptr);
#endif
      active = nullptr;
    }
    static inline TreeHistory* active = nullptr;
  };

  void run_others() {
    if (yield_depth_ >= 2) return;
    ++yield_depth_;
    if (checkpoint_is_due() && random_.one_in(8)) start_checkpoint();
    while (random_.one_in(4) && executors_.tick_one()) {
    }
    --yield_depth_;
  }

  // --- time ---
  template <class Finished>
  void wait(Finished&& finished) {
    for (unsigned stuck = 0; !executors_.run(finished); ++stuck) {
      if (stuck == 10'000 || (stuck > 0 && !options_.tolerant)) {
        std::printf("history %llu got stuck\n", static_cast<unsigned long long>(options_.seed));
        std::fflush(stdout);
        std::_Exit(1);
      }
      backend_.release_hung();
    }
  }
  template <class Work>
  void wait_on_fiber(Work&& work) {
    bool done = false;
    start_fiber([&, done_at = &done](runtime::ExecutorCore& core) {
      work(core);
      *done_at = true;
    });
    wait([&] { return done; });
  }
  template <class Work>
  void start_fiber(Work work) {
    auto spawned = fiber::spawn(executors_.executor(0),
                                [this, work]() mutable noexcept { work(executors_.core(0)); });
    FIRN_ASSERT(spawned.has_value());
  }
  void let_time_pass(std::uint64_t ticks) {
    static_cast<void>(executors_.run([&] { return ticks-- == 0; }));
  }

  // --- what fails ---
  void violate(const std::string& what) {
    if (violation_.empty()) violation_ = what;
  }
  void note(const Result<void>& outcome) {
    if (!outcome.has_value()) note(outcome.error());
  }
  void note(const Error& error) {
    if (!first_error_.has_value()) first_error_ = error;
    if (!options_.tolerant) violate(error.message());
    if (options_.honest && error.code == ErrorCode::corrupt) violate(error.message());
    if (error.code == ErrorCode::invalid_state) violate(error.message());
  }
  void mark(std::uint64_t topic, std::uint64_t value) {
    if (segment::Journal* journal = backend_.device().journal()) journal->mark(topic, value);
  }

  // --- the world ---
  Result<void> open(runtime::ExecutorCore& core) {
    contents_.push_back({});
    mark(topic_begun, 0);
    FIRN_TRY_ASSIGN(store_, Store::create(core, backend_, tree_history_options, history_domain_id));
    mark(topic_published, 0);
    published_ = 0;
    FIRN_TRY_ASSIGN(pool_, buffer::Pool::create(*store_, tree_pool_options()));
    tree::Tree::register_kinds(*pool_);
    FIRN_TRY(pool_->start_background(executors_.core(executors_.count() - 1)));
    FIRN_TRY_ASSIGN(const tree::Shape shape, create_catalogue(*pool_));
    add_table(shape);
    return shrink_to(*pool_, options_.frame_bytes);
  }
  Table& add_table(const tree::Shape& shape) {
    Table table{.shape = shape,
                .tree = std::make_unique<tree::Tree>(*pool_, shape),
                .keys = TreeKeys(options_.seed * 31 + shape.table, shape.compare != nullptr),
                .pairs = {}};
    return tables_.insert_or_assign(shape.table, std::move(table)).first->second;
  }
  [[nodiscard]] Table& catalogue() { return tables_.at(catalogue_table); }
  [[nodiscard]] bool idle() const {
    return !change_.running && !checkpointing_ &&
           std::all_of(flights_.begin(), flights_.end(),
                       [](const Flight& flight) { return flight.operation->done(); });
  }

  void go_on() {
    const std::uint64_t what = random_.below(40);
    if (what < 24 && flights_.size() < 8) {
      start_operation();
    } else if (what < 26) {
      change_tables();
    } else if (checkpoint_is_due()) {
      start_checkpoint();
    } else {
      let_time_pass(random_.below(random_.one_in(4) ? 60 : 6));
    }
  }

  // --- operations ---
  void start_operation() {
    // Mostly of one table for a while, so that it grows and shrinks.
    auto chosen = tables_.find(1 + started_ / 50 % 3);
    if (options_.tall) chosen = tables_.find(1);
    if (chosen == tables_.end() || random_.one_in(options_.tall ? 10 : 3)) {
      chosen = tables_.begin();
      std::advance(chosen, static_cast<long>(random_.below(tables_.size())));
    }
    Table& table = chosen->second;
    if (table.leaving) return;
    // A row of keys in order, or any.
    const bool in_row = table.keys.style % 4 == 0 && random_.one_in(2);
    const std::uint64_t number =
        (in_row ? table.phase : random_.below(table.keys.count)) % table.keys.count;
    const std::string key = table.keys.key(number);
    for (const Flight& flight : flights_) {
      if (flight.table == chosen->first && flight.operation->key == key) return;
    }
    ++started_;
    ++table.phase;
    Flight& flight = flights_.emplace_back();
    flight.table = chosen->first;
    flight.operation = std::make_unique<TreeOperation>(*pool_, *table.tree);
    TreeOperation& its = *flight.operation;
    its.key = key;
    const auto known = table.pairs.find(key);
    const bool there = known != table.pairs.end();
    if (there) flight.choice.before = known->second;
    flight.choice.after = flight.choice.before;
    flight.expected = there;
    const bool shrinking = (table.phase / (options_.tall ? 100 : 40)) % 2 == 1;
    const std::uint64_t what = random_.below(12);
    if (what > 0) {
      its.deed = TreeDeed::write;
      its.value = table.keys.value(random_);
      its.kind = what < (shrinking ? 9u : 3u) ? Write::erase
                 : what == 9                  ? Write::update
                 : what == 10                 ? Write::insert
                                              : Write::put;
      if (its.kind == Write::put) flight.expected = true;
      if (its.kind == Write::insert) flight.expected = !there;
      if (flight.expected) {
        flight.choice.after.reset();
        if (its.kind != Write::erase) flight.choice.after = its.value;
      }
    }
    const std::size_t executor = random_.below(executors_.count());
    FIRN_ASSERT(its.post(executors_.executor(executor)).has_value());
  }

  // Takes in what operations that have ended did.
  void land() {
    std::erase_if(flights_, [&](Flight& flight) {
      TreeOperation& its = *flight.operation;
      if (!its.done()) return false;
      if (!its.result().has_value()) {
        note(its.result().error());
        return true;
      }
      if (*its.result() != flight.expected) violate("another answer for '" + its.key + "'");
      if (its.deed == TreeDeed::lookup && its.found != flight.choice.before) {
        violate("a wrong read of '" + its.key + "'");
      }
      if (its.deed == TreeDeed::write) {
        const int pairs = static_cast<int>(flight.choice.after.has_value()) -
                          static_cast<int>(flight.choice.before.has_value());
        if (its.pairs != pairs) violate("a wrong count of pairs");
        set(tables_.at(flight.table).pairs, its.key, flight.choice.after);
      }
      return true;
    });
  }
  static void set(Pairs& pairs, const std::string& key, const std::optional<std::string>& value) {
    if (value.has_value()) {
      pairs[key] = *value;
    } else {
      pairs.erase(key);
    }
  }

  // --- tables ---
  void change_tables() {
    if (change_.running) return;
    const std::uint64_t id = 1 + random_.below(options_.tall ? 1 : 3);
    const auto known = tables_.find(id);
    const bool create = known == tables_.end() || random_.one_in(8);
    if (!create && (options_.tall || !random_.one_in(3))) return;
    if (!create) {
      known->second.leaving = true;
      for (const Flight& flight : flights_) {
        if (flight.table == id) return;  // it is nobody's the next time
      }
    }
    change_ = {.running = true, .writing = false, .key = table_key(id), .choice = {}};
    start_fiber([this, id, create](runtime::ExecutorCore&) {
      create ? create_table(id) : forget_table(id);
      change_.running = false;
    });
  }

  // Writes the catalogue's entry, and says whether that came about.
  bool write_entry(Write kind, const std::string& value, const tree::Companions& companions) {
    Error error;
    int pairs = 0;
    change_.writing = true;
    const tree::Progress progress = tree::on_fiber(*pool_, [&](tree::Caller& caller) noexcept {
      return catalogue().tree->write(caller, error, kind, bytes_of(change_.key), bytes_of(value),
                                     pairs, companions);
    });
    change_.writing = false;
    if (progress == tree::Progress::failed) note(error);
    return progress == tree::Progress::yes;
  }

  void create_table(std::uint64_t id) {
    tree::Shape shape;
    shape.table = id;
    shape.leaf_class = static_cast<std::uint8_t>(random_.below(3));
    shape.inline_max = random_.one_in(3) ? 100 : 0;
    shape.compare = options_.tall || random_.one_in(2) ? &backwards : nullptr;
    const bool is_known = tables_.contains(id);
    if (is_known) change_.choice.before = catalogue().pairs.at(change_.key);
    change_.choice.after = change_.choice.before;
    struct Value {
      TableChange& change;
      tree::Shape shape;
      const bool is_known;
      std::string text;
    } value{change_, shape, is_known, entry_of(shape)};
    tree::NewTree joining{.shape = shape,
                          .value =
                              [](void* context, PageId root) noexcept {
                                auto& its = *static_cast<Value*>(context);
                                its.shape.root = root;
                                its.text = entry_of(its.shape);
                                if (!its.is_known) its.change.choice.after = its.text;
                                return bytes_of(its.text);
                              },
                          .context = &value};
    const std::string without_root = value.text;
    if (!write_entry(Write::insert, without_root, {.joining = &joining, .leaving = {}})) return;
    if (is_known) violate("a table twice");
    catalogue().pairs[change_.key] = value.text;
    add_table(value.shape);
  }

  void forget_table(std::uint64_t id) {
    Table& table = tables_.at(id);
    table.clearing = true;
    if (auto cleared = table.tree->clear(); !cleared.has_value()) return note(cleared.error());
    change_.choice.before = entry_of(table.shape);
    const tree::Companions companions{.joining = nullptr, .leaving = {&table.shape.root, 1}};
    if (!write_entry(Write::erase, {}, companions)) return;
    catalogue().pairs.erase(change_.key);
    tables_.erase(id);
  }

  // --- checkpoints ---
  [[nodiscard]] TreeContent content_now() {
    TreeContent content;
    for (const auto& [id, table] : tables_) {
      content[id] = {.pairs = table.pairs, .open = {}, .clearing = table.clearing};
    }
    for (const Flight& flight : flights_) {
      TableContent& table = content.at(flight.table);
      TreeOperation& its = *flight.operation;
      if (!its.done()) {
        table.open[its.key] = flight.choice;
      } else if (its.result().has_value()) {
        set(table.pairs, its.key, flight.choice.after);
      }
    }
    if (change_.writing) content.at(catalogue_table).open[change_.key] = change_.choice;
    return content;
  }

  [[nodiscard]] bool checkpoint_is_due() const {
    return started_ >= next_checkpoint_ && !checkpointing_ && !ending_;
  }
  void start_checkpoint() {
    checkpointing_ = true;
    next_checkpoint_ = started_ + options_.per_checkpoint / 2 +
                       static_cast<unsigned>(random_.below(options_.per_checkpoint));
    start_fiber([this](runtime::ExecutorCore& core) { checkpoint(core); });
  }
  void checkpoint(runtime::ExecutorCore& core) {
    // After a failure the next one goes on with the same number.
    if (!unfinished_) {
      unfinished_ = true;
      contents_.push_back(content_now());
      begun_ = contents_.size() - 1;
      mark(topic_begun, begun_);
    }
    const auto done = pool_->checkpoint(core, tree_payload(begun_, catalogue().shape.root));
    note(done);
    if (done.has_value()) {
      unfinished_ = false;
      published_ = begun_;
      mark(topic_published, begun_);
      if (options_.on_published) options_.on_published();
    }
    checkpointing_ = false;
  }

  // --- the end ---
  // One more checkpoint, and a look at the whole, while the pool is still there.
  void finish() {
    wait_on_fiber([&](runtime::ExecutorCore& core) {
      for (unsigned attempt = 0; attempt < 3 && !store_->failed(); ++attempt) {
        checkpoint(core);
        if (!unfinished_) break;
      }
      failed_ = store_->failed();
      for (auto& [id, table] : tables_) {
        if (!table.clearing) look_at(table);
      }
    });
    if (!violation_.empty()) return;
    pool_->end_background();
    wait([&] { return pool_->background_ended(); });
    pool_->stop_background();
    if (!options_.tolerant) {
      pool_->check_well_formed();
      store_->check_well_formed();
    }
  }

  void look_at(Table& table) {
    tree::Census census;
    if (auto counted = table.tree->census(census); !counted.has_value()) {
      return note(counted.error());
    }
    if (census.pairs != table.pairs.size()) violate("a census counts other pairs");
  }

  static constexpr unsigned turns_max = 10'000;  // without a new operation

  segment::SimulatedBackend& backend_;
  Executors& executors_;
  const Options options_;
  base::Random random_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<buffer::Pool> pool_;
  std::map<std::uint64_t, Table> tables_;
  std::vector<Flight> flights_;
  TableChange change_;
  std::vector<TreeContent> contents_;
  unsigned started_ = 0;
  unsigned next_checkpoint_ = 8;
  unsigned yield_depth_ = 0;
  bool checkpointing_ = false;
  bool ending_ = false;
  bool unfinished_ = false;
  bool failed_ = false;
  std::uint64_t begun_ = 0;
  std::optional<std::uint64_t> published_;
  std::string violation_;
  std::optional<Error> first_error_;
};

}  // namespace firn::test
