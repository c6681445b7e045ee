// Each request of page histories, and each allocation of the store, failing in turn. Allowed are
// the right answer, a clean error, and a failed store; what is published stays.
//   firn_failures [--seed N] [--points N] [--seconds N]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>

#include "crash/harness.hpp"
#include "crash/page_history.hpp"
#include "support/fault_injector.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FIRN_TEST_ALLOCATIONS
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef FIRN_TEST_ALLOCATIONS  // sanitizers bring their own allocator
#endif
#endif
#endif

namespace {

// Allocations fail inside calls of the store only: on its fiber while `armed`, and in `done`.
struct Allocations {
  bool armed = false;
  bool in_backend = false;
  bool in_done = false;
  std::uint64_t seen = 0;
  std::uint64_t first = 0;  // the first to fail; 0: none
  bool lasting = false;
  std::uint64_t failed = 0;

  bool refuse() noexcept {
    if (!armed || in_backend) return false;
    if (!in_done && firn::runtime::current_fiber() == nullptr) return false;
    ++seen;
    if (first == 0 || seen < first || (seen > first && !lasting)) return false;
    ++failed;
    return true;
  }
};
Allocations allocations;

}  // namespace

#ifdef FIRN_TEST_ALLOCATIONS
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
// `operator new` of libstdc++ ends in one of these.
void* malloc(std::size_t size) { return allocations.refuse() ? nullptr : __libc_malloc(size); }
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return allocations.refuse() ? nullptr : __libc_memalign(alignment, size);
}
}
#endif

namespace {

using namespace firn;
using namespace firn::test;

// Opens what a history has left. With `faulty` the device still fails.
std::string judge(runtime::ExecutorCore& core, segment::Backend& backend,
                  const std::vector<Content>& contents, Bounds& bounds, bool faulty) {
  auto opened = Store::open(core, backend, history_options);
  if (!opened.has_value()) {
    const Error& error = opened.error();
    if (!bounds.published.has_value() && is_no_domain(error)) return {};
    if (!bounds.honest && (error.code == ErrorCode::corrupt || !bounds.strict)) return {};
    if (faulty && error.code != ErrorCode::corrupt && error.code != ErrorCode::not_found) return {};
    return "does not open: " + error.message();
  }
  Store& store = **opened;
  const std::uint64_t content = content_of(store.payload());
  if (content > bounds.begun || content >= contents.size()) return "a checkpoint not begun";
  if (bounds.strict && bounds.published.has_value() && content < *bounds.published) {
    return "an older checkpoint than one that was published";
  }
  store.check_well_formed();
  if (store.statistics().pages != contents[content].size()) return "another number of pages";
  for (const auto& [page, generation] : contents[content]) {
    const auto read = read_page(store, core, page);
    if (read.has_value()) {
      if (*read != generation) return "a wrong read";
      continue;
    }
    const Error& error = read.error();
    if (error.place.page != page.bits()) return "names no page: " + error.message();
    if (!bounds.honest && error.code == ErrorCode::corrupt) continue;
    if (!faulty || error.code == ErrorCode::corrupt) return "does not read: " + error.message();
  }
  // The opening has published it.
  if (!bounds.published.has_value() || content > *bounds.published) bounds.published = content;
  return {};
}

// Writes every page anew, publishes, and finds that.
std::string work_on(runtime::ExecutorCore& core, segment::Backend& backend,
                    const std::vector<Content>& contents) {
  Content content;
  {
    auto opened = Store::open(core, backend, history_options);
    if (!opened.has_value()) return "takes no second opening: " + opened.error().message();
    content = contents[content_of((*opened)->payload())];
    for (auto& [page, generation] : content) {
      generation += 1'000'000;
      const auto written = write_page(**opened, core, page, generation, (*opened)->number());
      if (!written.has_value()) return "takes no write: " + written.error().message();
    }
    const std::uint64_t number = (*opened)->begin_checkpoint();
    const auto published = (*opened)->publish(core, number, payload_of(0));
    if (!published.has_value()) return "publishes nothing: " + published.error().message();
    (*opened)->check_well_formed();
  }
  auto opened = Store::open(core, backend, history_options);
  if (!opened.has_value()) return "what it published does not open: " + opened.error().message();
  return differs_from(**opened, core, content);
}

// One history on a device with these faults.
struct Requests {
  std::uint64_t seed = 1;
  std::string wrong;

  std::uint64_t operator()(std::span<const segment::FaultRule> rules, const FailurePoint* point) {
    if (!wrong.empty()) return 0;
    Bounds bounds;
    bounds.honest = point == nullptr || is_honest(point->kind);
    bounds.strict =
        bounds.honest || (!point->lasting && point->kind != segment::FaultKind::misdirected_write);
    segment::SimulatedDevice device(history_bytes);
    std::vector<Content> contents;
    std::uint64_t faults = 0;
    {
      SimulatedExecutor executor(seed);
      segment::SimulatedOptions options = device_options(seed);
      options.faults.assign(rules.begin(), rules.end());
      segment::SimulatedBackend backend(device, options);
      PageHistory history(backend, executor,
                          {.seed = seed,
                           .checkpoints = 4,
                           .changes = 6,
                           .tolerant = true,
                           .honest = bounds.honest});
      std::string found;
      const auto work = [&]() noexcept {
        const Result<void> ran = history.run();
        if (point == nullptr && !ran.has_value()) found = ran.error().message();
        Store* store = history.store();
        if (store != nullptr && store->failed()) {
          const auto refused = store->allocate_page(0);
          if (refused.has_value() &&
              write_page(*store, executor.core(), *refused, 1, store->number()).has_value()) {
            found = "a failed store takes a write";
          }
        } else if (store != nullptr) {
          store->check_well_formed();
          if (!ran.has_value() && ran.error().code != ErrorCode::no_space) {
            found = "a store that is not failed, and ends with " + ran.error().message();
          }
        }
        history.close();
        bounds.begun = history.begun();
        bounds.published = history.published();
        contents = history.contents();
        if (found.empty()) {
          found = judge(executor.core(), backend, contents, bounds, true);
        }
      };
      unsigned stuck = 0;
      const bool ended = executor.run(work, [&] {
        backend.release_hung();
        return ++stuck < 10'000;
      });
      if (found.empty()) found = history.violation();
      if (!ended) found = "got stuck";
      faults = backend.faults().size();
      if (!found.empty()) {
        wrong = found;
        return faults;
      }
    }
    device.drop_pending();
    SimulatedExecutor executor(seed);
    segment::SimulatedBackend backend(device, device_options(seed));
    const bool ended = executor.run([&]() noexcept {
      wrong = judge(executor.core(), backend, contents, bounds, false);
      if (wrong.empty() && bounds.honest && bounds.published.has_value()) {
        wrong = work_on(executor.core(), backend, contents);
      }
    });
    if (!ended) wrong = "reopening got stuck";
    if (!wrong.empty()) wrong = "after healing: " + wrong;
    return faults;
  }
};

#ifdef FIRN_TEST_ALLOCATIONS

// Lets the simulated device have its memory.
class RoomyBackend final : public segment::Backend {
 public:
  explicit RoomyBackend(segment::Backend& inner) : inner_(inner) { current_ = this; }
  [[nodiscard]] segment::SegmentCapabilities capabilities() const noexcept override {
    return inner_.capabilities();
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return inner_.size(); }
  [[nodiscard]] std::uint32_t id() const noexcept override { return inner_.id(); }
  void submit(runtime::ExecutorCore& executor, segment::Request& request) noexcept override {
    allocations.in_backend = true;
    done_[&request] = request.done;
    request.done = [](segment::Request& finished) noexcept {
      const auto done = current_->done_[&finished];
      allocations.in_done = true;
      done(finished);
      allocations.in_done = false;
    };
    inner_.submit(executor, request);
    allocations.in_backend = false;
  }

 private:
  inline static RoomyBackend* current_ = nullptr;
  segment::Backend& inner_;
  std::unordered_map<segment::Request*, void (*)(segment::Request&) noexcept> done_;
};

template <class Call>
auto armed(Call call) {
  allocations.armed = true;
  auto outcome = call();
  allocations.armed = false;
  return outcome;
}

// A page store by a script, each of its calls with an allocation that may fail.
class Script {
 public:
  Script(std::uint64_t seed, runtime::ExecutorCore& core, segment::Backend& backend)
      : random_(seed), core_(core), backend_(backend) {}

  Bounds bounds;
  std::vector<Content> contents{Content{}};
  std::string wrong;

  void run() {
    auto made =
        armed([&] { return Store::create(core_, backend_, history_options, history_domain_id); });
    if (!made.has_value()) return expect_no_memory(made.error(), nullptr);
    bounds.published = 0;
    work(**made);
    (*made)->check_well_formed();
    made->reset();
    auto opened = armed([&] { return Store::open(core_, backend_, history_options); });
    if (!opened.has_value()) return expect_no_memory(opened.error(), nullptr);
    now_ = contents[content_of((*opened)->payload())];
    work(**opened);
    (*opened)->check_well_formed();
  }

 private:
  void expect_no_memory(const Error& error, const Store* store) {
    const bool failed = store != nullptr && store->failed() && error.code == ErrorCode::failed;
    if (error.code != ErrorCode::no_memory && !failed && wrong.empty()) wrong = error.message();
  }

  void work(Store& store) {
    for (unsigned round = 0; round < 4 && wrong.empty() && !store.failed(); ++round) {
      for (unsigned change = 0; change < 6; ++change) change_something(store);
      const std::uint64_t number = store.begin_checkpoint();
      contents.push_back(now_);
      bounds.begun = contents.size() - 1;
      // These belong to the next one.
      for (unsigned change = 0; change < 2; ++change) change_something(store);
      for (unsigned attempt = 0; attempt < 3 && !store.failed(); ++attempt) {
        const auto published =
            armed([&] { return store.publish(core_, number, payload_of(bounds.begun)); });
        if (published.has_value()) {
          bounds.published = bounds.begun;
          break;
        }
        expect_no_memory(published.error(), &store);
        if (attempt == 2) return;
      }
    }
  }

  void change_something(Store& store) {
    if (now_.size() < 4 || random_.one_in(3)) {
      const auto size_class = static_cast<unsigned>(random_.below(3));
      const auto page = armed([&] { return store.allocate_page(size_class); });
      if (!page.has_value()) return expect_no_memory(page.error(), &store);
      return write(store, *page);
    }
    auto chosen = now_.begin();
    std::advance(chosen, static_cast<long>(random_.below(now_.size())));
    if (!random_.one_in(4)) return write(store, chosen->first);
    const auto freed = armed([&] { return store.free_page(chosen->first, store.number()); });
    if (!freed.has_value()) return expect_no_memory(freed.error(), &store);
    now_.erase(chosen);
  }

  void write(Store& store, PageId page) {
    auto block = store::AlignedBlock::make(format::page_bytes(page.size_class()));
    const std::uint64_t generation = ++generation_;
    fill_page(block->data(), page, generation);
    store::PageWrite write;
    write.page = page;
    write.data = block->data();
    write.number = store.number();
    write.context = runtime::current_fiber();
    write.done = &firn::test::detail::wake<store::PageWrite>;
    armed([&] {
      store.write(core_, write);
      runtime::FiberContext::suspend();
      return 0;
    });
    if (!write.outcome.has_value()) return expect_no_memory(write.outcome.error(), &store);
    now_[page] = generation;
    const auto read = read_page(store, core_, page);
    if (!read.has_value() || *read != generation) wrong = "a write that is not read";
  }

  base::Random random_;
  runtime::ExecutorCore& core_;
  segment::Backend& backend_;
  Content now_;
  std::uint64_t generation_ = 0;
};

// The script with its `first`-th allocation failing; how many did.
std::uint64_t fail_allocation(std::uint64_t seed, std::uint64_t first, bool lasting,
                              std::string& wrong) {
  segment::SimulatedDevice device(history_bytes);
  Bounds bounds;
  std::vector<Content> contents;
  allocations = {};
  allocations.first = first;
  allocations.lasting = lasting;
  {
    SimulatedExecutor executor(seed);
    segment::SimulatedBackend inner(device, {});
    RoomyBackend backend(inner);
    Script script(seed, executor.core(), backend);
    const bool ended = executor.run([&]() noexcept { script.run(); });
    wrong = ended ? script.wrong : "got stuck";
    bounds = script.bounds;
    contents = script.contents;
  }
  const std::uint64_t failed = allocations.failed;
  allocations = {};
  if (!wrong.empty()) return failed;
  device.drop_pending();
  SimulatedExecutor executor(seed);
  segment::SimulatedBackend backend(device, {});
  const bool ended = executor.run([&]() noexcept {
    wrong = judge(executor.core(), backend, contents, bounds, false);
    if (wrong.empty() && bounds.published.has_value()) {
      wrong = work_on(executor.core(), backend, contents);
    }
  });
  if (!ended) wrong = "reopening got stuck";
  return failed;
}

#endif

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t first_seed = number_after(argc, argv, "--seed", 1);
  const std::uint64_t wanted = number_after(argc, argv, "--points", 10'000);
  const std::chrono::seconds seconds(number_after(argc, argv, "--seconds", 3600));
  std::printf("seed %llu\n", static_cast<unsigned long long>(first_seed));
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t points = 0;
  std::uint64_t allocation_points = 0;
  std::uint64_t histories = 0;
  for (std::uint64_t seed = first_seed; points + allocation_points < wanted; ++seed, ++histories) {
    if (std::chrono::steady_clock::now() - start > seconds) break;
    Requests requests;
    requests.seed = seed;
    std::string at;
    const FailureCounts counts = for_each_failure_point(
        {}, [&](std::span<const segment::FaultRule> rules, const FailurePoint* point) {
          const bool was_good = requests.wrong.empty();
          const std::uint64_t faults = requests(rules, point);
          if (was_good && !requests.wrong.empty()) {
            at = point == nullptr ? "without a failure" : point->describe();
          }
          return requests.wrong.empty() ? faults : 0;
        });
    points += counts.points;
    if (!requests.wrong.empty()) {
      std::printf("history %llu, %s: %s\n", static_cast<unsigned long long>(seed), at.c_str(),
                  requests.wrong.c_str());
      return 1;
    }
#ifdef FIRN_TEST_ALLOCATIONS
    for (const bool lasting : {false, true}) {
      for (std::uint64_t nth = 1;; ++nth) {
        std::string wrong;
        const std::uint64_t failed = fail_allocation(seed, nth, lasting, wrong);
        if (!wrong.empty()) {
          std::printf("script %llu, allocation %llu%s: %s\n", static_cast<unsigned long long>(seed),
                      static_cast<unsigned long long>(nth), lasting ? " and all after it" : "",
                      wrong.c_str());
          return 1;
        }
        if (failed == 0) break;
        ++allocation_points;
      }
    }
#endif
  }
  std::printf(
      "%llu failures of requests and %llu of allocations in %llu histories: answers, errors or a "
      "failed store, and what was published is there\n",
      static_cast<unsigned long long>(points), static_cast<unsigned long long>(allocation_points),
      static_cast<unsigned long long>(histories));
  return points + allocation_points >= wanted ? 0 : 2;
}
