// Random histories of a page store on a simulated device, and what each published checkpoint of
// them holds: what crash, failure and corruption tests judge by.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "segment/fiber_io.hpp"
#include "segment/simulated.hpp"
#include "store/further_segments.hpp"
#include "store/page_io.hpp"
#include "support/on_fiber.hpp"

namespace firn::test {

using store::Store;
using Content = std::map<PageId, std::uint64_t>;  // page -> generation

/// What a payload says: which content the checkpoint has.
inline store::Payload payload_of(std::uint64_t content) {
  store::Payload payload{};
  std::memcpy(payload.data(), &content, sizeof content);
  return payload;
}
inline std::uint64_t content_of(const store::Payload& payload) {
  std::uint64_t content = 0;
  std::memcpy(&content, payload.data(), sizeof content);
  return content;
}

inline constexpr std::uint64_t topic_begun = 1;
inline constexpr std::uint64_t topic_published = 2;
inline constexpr std::uint64_t history_domain_id = 0x6669726e;
/// Small chunks make many of them, and holes that are filled again.
inline constexpr store::StoreOptions history_options{
    .chunk_bytes = 32 * 1024, .fold_percent = 50, .log_bytes_min = 1024};
inline constexpr std::uint64_t history_bytes = 1_MiB;

inline segment::SimulatedOptions device_options(std::uint64_t seed) {
  segment::SimulatedOptions options;
  options.seed = seed;
  options.latency_max = std::chrono::microseconds(100);
  return options;
}

/// Devices besides that of segment 0. The last one takes only what is appended.
inline constexpr std::size_t further_device_count = 3;
inline constexpr std::uint64_t further_bytes = 512 * 1024;
inline constexpr std::uint32_t further_chunk_bytes = 32 * 1024;

inline void add_further_devices(FurtherSegments& further,
                                const std::vector<segment::SimulatedDevice*>& devices,
                                std::uint64_t seed) {
  for (std::size_t index = 0; index < devices.size(); ++index) {
    segment::SimulatedOptions options = device_options(seed + index);
    options.capabilities.append_only = index + 1 == further_device_count;
    options.append_chunk_bytes = further_chunk_bytes;
    further.add_device(*devices[index], options);
  }
}

class PageHistory {
 public:
  struct Options {
    std::uint64_t seed = 1;
    unsigned checkpoints = 6;
    unsigned changes = 8;  ///< between two checkpoints
    std::size_t pages_max = 12;
    bool grow = true;
    /// What fails is left at what it was, and the history goes on as long as the store does.
    bool tolerant = false;
    bool honest = true;  ///< the device's failures: a read may fail, but nothing is `corrupt`
    std::function<void()> on_published = nullptr;  ///< after each checkpoint
    /// Segments come and go on these devices and in memory, and images move between them.
    FurtherSegments* further = nullptr;
  };

  PageHistory(segment::SimulatedBackend& backend, SimulatedExecutor& executor,
              const Options& options)
      : backend_(backend), executor_(executor), options_(options), random_(options.seed) {}

  /// Makes a store and runs the history; what fails is returned, and ends it.
  Result<void> run() {
    const Result<void> ran = run_to_the_end();
    drain();
    if (ran.has_value()) return first_failure_;
    return ran;
  }

  /// The newest checkpoints that may and that must be found.
  [[nodiscard]] std::uint64_t begun() const { return begun_; }
  [[nodiscard]] std::optional<std::uint64_t> published() const { return published_; }
  /// What no failure of a device excuses; empty: nothing.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  void close() { store_.reset(); }

  [[nodiscard]] const std::vector<Content>& contents() const { return contents_; }
  [[nodiscard]] Store* store() { return store_.get(); }
  /// As of the last change, in memory.
  [[nodiscard]] const Content& now() const { return now_; }

 private:
  struct Flight {
    Flight(store::AlignedBlock its_block, PageHistory& its_history)
        : block(std::move(its_block)), history(&its_history) {}
    store::PageWrite write;
    store::AlignedBlock block;
    PageHistory* history;
    std::optional<std::uint64_t> former;  // generation, if the page had one
  };

  Result<void> run_to_the_end() {
    contents_.push_back({});
    mark(topic_begun, 0);
    store::StoreOptions store_options = history_options;
    store_options.source = options_.further;
    FIRN_TRY_ASSIGN(store_,
                    Store::create(executor_.core(), backend_, store_options, history_domain_id));
    mark(topic_published, 0);
    for (unsigned round = 0; round < options_.checkpoints; ++round) {
      for (unsigned change = 0; change < options_.changes; ++change) {
        FIRN_TRY(tolerated(change_something()));
      }
      if (options_.tolerant) FIRN_TRY(read_something());
      if (options_.grow && random_.one_in(4)) FIRN_TRY(tolerated(grow()));
      if (options_.further != nullptr) FIRN_TRY(change_segments());
      FIRN_TRY(checkpoint());
    }
    return {};
  }

  // A clean failure changes nothing, and the store can be used as before.
  Result<void> tolerated(Result<void> outcome) {
    if (outcome.has_value() || !options_.tolerant || store_->failed()) return outcome;
    if (outcome.error().code == ErrorCode::invalid_state) violation_ = outcome.error().message();
    return {};
  }

  Result<void> read_something() {
    drain();
    for (const auto& [page, generation] : now_) {
      if (!random_.one_in(3)) continue;
      const auto read = read_page(*store_, executor_.core(), page);
      if (read.has_value() && *read != generation) violation_ = "a wrong read";
      if (!read.has_value() && options_.honest && read.error().code == ErrorCode::corrupt) {
        violation_ = read.error().message();
      }
    }
    return {};
  }

  void mark(std::uint64_t topic, std::uint64_t value) {
    if (topic == topic_begun) begun_ = value;
    if (topic == topic_published) published_ = value;
    if (segment::Journal* journal = backend_.device().journal()) journal->mark(topic, value);
  }

  Result<void> change_something() {
    if (now_.size() < 3 || (now_.size() < options_.pages_max && random_.one_in(3))) {
      FIRN_TRY_ASSIGN(const PageId page, new_page(static_cast<unsigned>(random_.below(3))));
      return start_write(page);
    }
    auto chosen = now_.begin();
    std::advance(chosen, static_cast<long>(random_.below(now_.size())));
    const PageId page = chosen->first;
    wait_for(page);
    if (random_.one_in(5)) {
      return give_up(page);
    }
    return start_write(page);
  }

  // An id that was given up with an image comes back only when the checkpoint after that one is
  // published.
  Result<PageId> new_page(unsigned size_class) {
    FIRN_TRY_ASSIGN(const PageId page, store_->allocate_page(size_class));
    const auto given_up = given_up_.find(page);
    if (given_up != given_up_.end()) {
      if (store_->published_number() <= given_up->second) {
        return fail(ErrorCode::invalid_state, "page {} is used again too early", page.bits());
      }
      given_up_.erase(given_up);
    }
    return page;
  }

  Result<void> give_up(PageId page) {
    const bool has_image = !store_->entry(page).location.none();
    FIRN_TRY(store_->free_page(page, store_->number()));
    if (has_image) given_up_[page] = store_->number();
    now_.erase(page);
    volatile_.erase(page);
    return {};
  }

  // The write goes on while the history does; a page has one at a time.
  Result<void> start_write(PageId page) { return start_write(page, store_->number()); }
  Result<void> start_write(PageId page, std::uint64_t number) {
    auto block = store::AlignedBlock::make(format::page_bytes(page.size_class()));
    FIRN_TRY(block);
    auto flight = std::make_unique<Flight>(*std::move(block), *this);
    const std::uint64_t generation = ++generation_;
    fill_page(flight->block.data(), page, generation);
    if (const auto known = now_.find(page); known != now_.end()) flight->former = known->second;
    now_[page] = generation;
    store::PageWrite& write = flight->write;
    write.page = page;
    write.data = flight->block.data();
    write.number = number;
    write.context = flight.get();
    if (options_.further != nullptr) choose_segment(write);
    write.done = [](store::PageWrite& done) noexcept {
      static_cast<Flight*>(done.context)->history->finished(done);
    };
    Flight* raw = flight.get();
    flights_[page] = std::move(flight);
    store_->write(executor_.core(), raw->write);
    if (random_.one_in(2)) drain();
    return first_failure_;
  }

  void finished(store::PageWrite& write) {
    const PageId page = write.page;
    if (!write.outcome.has_value()) {
      if (!options_.tolerant && first_failure_.has_value()) {
        first_failure_ = fail(write.outcome.error());
      }
      if (const auto former = flights_[page]->former; former.has_value()) {
        now_[page] = *former;
      } else {
        now_.erase(page);
      }
    }
    flights_.erase(page);  // frees the write
    if (waiter_ != nullptr) {
      runtime::Fiber* woken = waiter_;
      waiter_ = nullptr;
      runtime::ExecutorCore::wake(*woken);
    }
  }

  // --- further segments ---
  void choose_segment(store::PageWrite& write) {
    const auto segments = store_->segments();
    FIRN_ASSERT(segments.has_value());
    const store::SegmentStatus& chosen = (*segments)[random_.below(segments->size())];
    const bool is_volatile = chosen.record.is_volatile;
    if (is_volatile && chosen.state != store::SegmentState::active) return remember(write, false);
    write.segment = chosen.record.id;
    remember(write, is_volatile);
  }
  void remember(const store::PageWrite& write, bool is_volatile) {
    if (is_volatile) {
      volatile_.insert(write.page);
    } else {
      volatile_.erase(write.page);
    }
  }
  /// What a checkpoint of now holds: pages that are in volatile segments are left out.
  [[nodiscard]] Content durable_now() const {
    Content content = now_;
    for (const PageId page : volatile_) content.erase(page);
    return content;
  }

  static Result<void> unless_busy(Result<void> outcome) {
    if (outcome.has_value()) return {};
    const ErrorCode code = outcome.error().code;
    // Not empty yet, or on its way out already, or where a checkpoint has begun, or full.
    const bool expected =
        code == ErrorCode::busy || code == ErrorCode::not_found || code == ErrorCode::no_space;
    return expected ? Result<void>() : outcome;
  }
  static Result<void> outcome_of(const Result<store::MoveReport>& moved) {
    if (!moved.has_value()) return fail(moved.error());
    return {};
  }

  Result<void> change_segments() {
    FurtherSegments& further = *options_.further;
    std::set<std::string> used;
    std::vector<std::uint8_t> numbers;
    const auto segments = store_->segments();
    FIRN_TRY(segments);
    for (const store::SegmentStatus& status : *segments) {
      used.insert(status.record.path);
      if (status.record.id != 0) numbers.push_back(status.record.id);
    }
    for (std::size_t index = 0; index < further.device_count(); ++index) {
      if (used.contains(std::to_string(index + 1)) || !random_.one_in(2)) continue;
      const std::string name = "device " + std::to_string(++generation_);
      const auto added = further.add_to(*store_, index, name, further_chunk_bytes);
      FIRN_TRY(added);
      break;
    }
    if (random_.one_in(4) && used.size() < 6) {
      const std::string name = "memory " + std::to_string(++generation_);
      const auto added = further.add_memory_to(*store_, further_bytes, name, further_chunk_bytes);
      FIRN_TRY(added);
    }
    return move_something(numbers);
  }

  Result<void> move_something(const std::vector<std::uint8_t>& numbers) {
    runtime::ExecutorCore& core = executor_.core();
    for (const std::uint8_t id : numbers) {
      switch (random_.below(4)) {
        case 0:
          FIRN_TRY(unless_busy(outcome_of(store_->clean_segment(core, id, 2, 90))));
          break;
        case 1:
          FIRN_TRY(unless_busy(outcome_of(store_->drain_segment(core, id))));
          FIRN_TRY(unless_busy(store_->remove_segment(id)));
          break;
        default:
          break;
      }
    }
    if (random_.one_in(3)) {
      FIRN_TRY(unless_busy(outcome_of(store_->clean_segment(core, 0, 2, 90))));
    }
    return first_failure_;
  }

  // Images go to other places between the beginning of a checkpoint and its last writes.
  Result<void> change_late(std::uint64_t number) {
    const auto segments = store_->segments();
    FIRN_TRY(segments);
    std::vector<std::uint8_t> numbers;
    for (const store::SegmentStatus& status : *segments) {
      if (status.record.id != 0) numbers.push_back(status.record.id);
    }
    FIRN_TRY(move_something(numbers));
    std::vector<PageId> pages;
    for (const auto& [page, generation] : now_) {
      if (random_.one_in(4)) pages.push_back(page);
    }
    for (const PageId page : pages) {
      wait_for(page);
      if (now_.contains(page)) FIRN_TRY(start_write(page, number));
    }
    drain();
    return first_failure_;
  }

  void suspend() {
    waiter_ = runtime::current_fiber();
    runtime::FiberContext::suspend();
  }
  void wait_for(PageId page) {
    while (flights_.contains(page)) suspend();
  }
  void drain() {
    while (!flights_.empty()) suspend();
  }

  Result<void> grow() {
    segment::Request request;
    request.kind = segment::RequestKind::grow;
    request.size = backend_.size() + 8 * history_options.chunk_bytes;
    FIRN_TRY(segment::await(backend_, executor_.core(), request));
    return store_->take_growth();
  }

  Result<void> checkpoint() {
    const std::uint64_t number = store_->begin_checkpoint();
    drain();  // every image of the number is written
    FIRN_TRY(first_failure_);
    if (options_.further != nullptr) FIRN_TRY(change_late(number));
    contents_.push_back(durable_now());
    const std::uint64_t content = contents_.size() - 1;
    mark(topic_begun, content);
    // Some changes already belong to the next checkpoint while this one is published.
    for (std::uint64_t early = random_.below(4); early > 0; --early) {
      FIRN_TRY(tolerated(change_something()));
    }
    Result<void> published = store_->publish(executor_.core(), number, payload_of(content));
    for (unsigned again = 0; again < 3 && !published.has_value() && !store_->failed(); ++again) {
      if (!options_.tolerant) return published;
      const ErrorCode code = published.error().code;
      if (code != ErrorCode::no_space && code != ErrorCode::no_memory) {
        violation_ = "a store that is not failed after " + published.error().message();
      }
      published = store_->publish(executor_.core(), number, payload_of(content));
    }
    FIRN_TRY(published);
    mark(topic_published, content);
    if (options_.on_published) options_.on_published();
    return {};
  }

  segment::SimulatedBackend& backend_;
  SimulatedExecutor& executor_;
  const Options options_;
  base::Random random_;
  std::unique_ptr<Store> store_;
  std::vector<Content> contents_;
  Content now_;
  std::set<PageId> volatile_;                 // of `now_`, those in volatile segments
  std::map<PageId, std::uint64_t> given_up_;  // under which number
  std::map<PageId, std::unique_ptr<Flight>> flights_;
  runtime::Fiber* waiter_ = nullptr;
  std::uint64_t begun_ = 0;
  std::optional<std::uint64_t> published_;
  std::string violation_;
  Result<void> first_failure_;
  std::uint64_t generation_ = 0;
};

/// Reads every page of `store` and says whether it holds exactly `content`; empty: it does.
inline std::string differs_from(Store& store, runtime::ExecutorCore& core, const Content& content) {
  if (store.statistics().pages != content.size()) {
    return "another number of pages: " + std::to_string(store.statistics().pages) + " for " +
           std::to_string(content.size());
  }
  for (const auto& [page, generation] : content) {
    const Result<std::uint64_t> read = read_page(store, core, page);
    if (!read.has_value()) return read.error().message();
    if (*read != generation) return "another generation of page " + std::to_string(page.bits());
  }
  return {};
}

}  // namespace firn::test
