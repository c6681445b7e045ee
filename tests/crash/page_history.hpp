// Random histories of a page store on a simulated device, and what each published checkpoint of
// them holds: what crash, failure and corruption tests judge by.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "segment/fiber_io.hpp"
#include "segment/simulated.hpp"
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
    FIRN_TRY_ASSIGN(store_,
                    Store::create(executor_.core(), backend_, history_options, history_domain_id));
    mark(topic_published, 0);
    for (unsigned round = 0; round < options_.checkpoints; ++round) {
      for (unsigned change = 0; change < options_.changes; ++change) {
        FIRN_TRY(tolerated(change_something()));
      }
      if (options_.tolerant) FIRN_TRY(read_something());
      if (options_.grow && random_.one_in(4)) FIRN_TRY(tolerated(grow()));
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

  // An id that was given up comes back only when the checkpoint after that one is published.
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
    FIRN_TRY(store_->free_page(page, store_->number()));
    given_up_[page] = store_->number();
    now_.erase(page);
    return {};
  }

  // The write goes on while the history does; a page has one at a time.
  Result<void> start_write(PageId page) {
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
    write.number = store_->number();
    write.context = flight.get();
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
    contents_.push_back(now_);
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
