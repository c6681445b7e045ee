// A pool reduced to its state words: few pages, fewer frames, a device in memory, a list of
// waiters; all that threads do to a page at once. What ought to be excluded is plain memory, so
// that ThreadSanitizer sees it when it is not; page bytes go through the accessor.
#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "buffer/descriptor.hpp"
#include "buffer/optimistic_read.hpp"
#include "support/catch.hpp"

namespace {

using namespace firn::buffer;

constexpr unsigned page_count = 6;
constexpr unsigned frame_count = 4;
constexpr unsigned thread_count = 4;
constexpr unsigned slot_count = 8;
using Image = std::array<std::uint64_t, 16>;  // all words equal: page in the upper half, generation

struct Waiter {
  std::mutex mutex;
  std::condition_variable changed;
  bool woken = false;
};

struct Page {
  Descriptor descriptor;
  Image device{};                  // owned by whoever set the io bit
  std::uint64_t write_count = 0;   // under X
  std::uint64_t append_count = 0;  // under the append bit or X
  std::atomic<unsigned> chain_count{0};
  std::array<std::atomic<unsigned>, slot_count> chain{};
  std::atomic<bool> reading{false};
  std::atomic<unsigned> evict_count{0};
  std::mutex list_mutex;
  std::vector<Waiter*> waiters;
};

struct MiniPool {
  std::array<Page, page_count> pages;
  std::array<Image, frame_count> frames{};
  std::mutex frames_mutex;
  std::vector<std::uint32_t> frames_free;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> fault_count{0}, evict_count{0}, park_count{0}, read_count{0},
      restart_count{0};
  std::atomic<const char*> failure{nullptr};

  MiniPool() {
    for (std::uint32_t frame = 0; frame < frame_count; ++frame) frames_free.push_back(frame);
    for (unsigned number = 0; number < page_count; ++number) {
      pages[number].device.fill(std::uint64_t{number} << 32);
      Descriptor& page = pages[number].descriptor;
      check(page.state.try_create(), "create");
      static_cast<void>(page.state.release_exclusive());
      check(page.begin_evict().began, "evict");
      static_cast<void>(page.state.finish_evict());
    }
  }
  void check(bool holds, const char* what) {
    if (holds) return;
    failure = what;
    stop = true;
  }
};

class Worker {
 public:
  Worker(MiniPool& pool, unsigned seed) : pool_(pool), random_(seed) {}

  // Rounds end with everybody waiting for everybody: within a round a forgotten waiter is soon
  // woken by somebody else's release, at its end it is not.
  void run(std::barrier<>& round_end) {
    while (!pool_.stop) {
      for (unsigned count = 0; count < 16; ++count) act();
      round_end.arrive_and_wait();
    }
    round_end.arrive_and_drop();
  }

 private:
  unsigned draw(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  void act() {
    const unsigned number = draw(page_count);
    switch (draw(16)) {
      case 0:
        evict(draw(page_count));
        break;
      case 1:
      case 2:
        write_back(number);
        break;
      case 3:
      case 4:
      case 5:
        until_done(number, Want::exclusive, [&] { return write(number); });
        break;
      case 6:
        until_done(number, Want::share, [&] { return upgrade(number); });
        break;
      case 7:
      case 8:
        until_done(number, Want::append, [&] { return append(number); });
        break;
      case 9:
        free_and_create(number);
        break;
      default:
        until_done(number, Want::read, [&] { return read(number); });
    }
  }

  // Lets others run in the middle of a section, or short sections would never meet.
  void hesitate() {
    if (draw(8) == 0) std::this_thread::yield();
  }
  void store(Image& frame, const Image& image) {
    constexpr std::size_t half = sizeof(Image) / 2;
    store_page(frame.data(), image.data(), half);
    hesitate();
    store_page(frame.data() + frame.size() / 2, image.data() + image.size() / 2, half);
  }
  bool copy(Image& image, const Image& frame) {
    constexpr std::size_t half = sizeof(Image) / 2;
    hesitate();
    if (!copy_optimistic(image.data(), frame.data(), half)) return false;
    hesitate();
    return copy_optimistic(image.data() + image.size() / 2, frame.data() + frame.size() / 2, half);
  }
  Image& frame_of(Page& page) {
    return pool_.frames[page.descriptor.frame.load(std::memory_order_relaxed)];
  }

  // The loop of an operation: act, or bring the page, or wait for it.
  template <class Act>
  void until_done(unsigned number, Want want, Act act) {
    Page& page = pool_.pages[number];
    bool kept = draw(4) == 0 && page.descriptor.try_keep();
    bool resident = false;   // the page was seen resident while it was kept
    unsigned evictions = 0;  // up to then
    const auto release_keep = [&] {
      if (kept && resident) pool_.check(evictions == page.evict_count, "a kept page was evicted");
      if (kept) page.descriptor.release_keep();
      kept = false;
      resident = false;
    };
    while (!pool_.stop) {
      const PageWord now = page.descriptor.state.load();
      if (kept && !resident && now.readable()) {
        resident = true;
        evictions = page.evict_count;
        hesitate();
      }
      if (now.free()) break;
      if (now.evicted()) {
        if (!kept) kept = page.descriptor.try_keep();
        if (kept) fault(page, number);
      } else if (now.blocks(want)) {
        release_keep();
        park(page, want);
      } else if (act()) {
        break;
      } else {
        pool_.restart_count.fetch_add(1, std::memory_order_relaxed);
      }
    }
    release_keep();
  }

  bool read(unsigned number) {
    Page& page = pool_.pages[number];
    PageState& state = page.descriptor.state;
    const auto seen = state.optimistic_begin();
    if (!seen) return false;
    if (shared_reads && !state.try_share(*seen)) return false;
    Image image;
    const bool there = copy(image, frame_of(page));
    const unsigned count = page.chain_count.load(std::memory_order_acquire);
    const unsigned slot = count == 0 ? 1 : page.chain[count - 1].load(std::memory_order_relaxed);
    const bool valid = there && state.validate(*seen);
    if (shared_reads && state.release_share()) wake(page);
    if (!valid) return false;
    pool_.check(
        std::all_of(image.begin(), image.end(), [&](auto word) { return word == image[0]; }),
        "a torn read validated");
    pool_.check(image[0] >> 32 == number, "a read of another page validated");
    pool_.check((image[0] & 0xffffffff) >= last_seen_[number], "a content went back");
    pool_.check(slot == 1, "a slot was read before it was written");
    last_seen_[number] = image[0] & 0xffffffff;
    pool_.read_count.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  void change(unsigned number) {
    Page& page = pool_.pages[number];
    page.descriptor.state.mark_dirty();
    ++page.write_count;
    Image image;
    image.fill(std::uint64_t{number} << 32 | page.write_count);
    store(frame_of(page), image);
    hesitate();
    if (draw(4) == 0) {
      for (auto& slot : page.chain) slot.store(0, std::memory_order_relaxed);
      page.chain_count.store(0, std::memory_order_relaxed);
      ++page.append_count;
    }
    if (page.descriptor.state.release_exclusive()) wake(page);
  }
  bool write(unsigned number) {
    PageState& state = pool_.pages[number].descriptor.state;
    if (!state.try_exclusive(state.load())) return false;
    change(number);
    return true;
  }
  bool upgrade(unsigned number) {
    Page& page = pool_.pages[number];
    if (!page.descriptor.state.try_share(page.descriptor.state.load())) return false;
    Image copy;
    std::memcpy(copy.data(), frame_of(page).data(), sizeof(copy));
    pool_.check(copy[0] == (std::uint64_t{number} << 32 | page.write_count),
                "a share saw a change");
    if (page.descriptor.state.try_upgrade()) {
      change(number);
    } else if (page.descriptor.state.release_share()) {
      wake(page);
    }
    return true;
  }
  bool append(unsigned number) {
    Page& page = pool_.pages[number];
    if (!page.descriptor.state.try_append(page.descriptor.state.load())) return false;
    ++page.append_count;
    const unsigned count = page.chain_count.load(std::memory_order_relaxed);
    hesitate();
    if (count < slot_count) {
      page.chain[count].store(1, std::memory_order_relaxed);
      page.chain_count.store(count + 1, std::memory_order_release);
    }
    if (page.descriptor.state.release_append()) wake(page);
    return true;
  }

  void write_back(unsigned number) {
    Page& page = pool_.pages[number];
    PageState& state = page.descriptor.state;
    const PageWord seen = state.load();
    if (!seen.readable() || !seen.dirty() || !state.try_share(seen)) return;
    const bool began = state.begin_write_back();
    Image image;
    hesitate();
    if (began) image = frame_of(page);
    if (state.release_share()) wake(page);
    if (!began) return;
    const bool success = draw(8) != 0;
    hesitate();
    if (success) page.device = image;
    if (state.finish_write_back(success)) wake(page);
  }

  void give_up_memory(Page& page) {
    const std::uint32_t frame = page.descriptor.frame.load(std::memory_order_relaxed);
    Image garbage;
    garbage.fill(~std::uint64_t{0});
    store(pool_.frames[frame], garbage);
    const std::lock_guard guard(pool_.frames_mutex);
    pool_.frames_free.push_back(frame);
  }
  void evict(unsigned number) {
    Page& page = pool_.pages[number];
    const auto [began, to_wake] = page.descriptor.begin_evict();
    if (to_wake) wake(page);
    if (!began) return;
    ++page.evict_count;
    hesitate();
    pool_.check((page.device[0] & 0xffffffff) == page.write_count, "a dirty page was dropped");
    give_up_memory(page);
    pool_.evict_count.fetch_add(1, std::memory_order_relaxed);
    if (page.descriptor.state.finish_evict()) wake(page);
  }
  bool take_frame(std::uint32_t& frame) {
    for (unsigned round = 0; !pool_.stop; ++round) {
      {
        const std::lock_guard guard(pool_.frames_mutex);
        if (!pool_.frames_free.empty()) {
          frame = pool_.frames_free.back();
          pool_.frames_free.pop_back();
          return true;
        }
      }
      const unsigned victim = draw(page_count);
      write_back(victim);
      evict(victim);
      if (round % 16 == 15) std::this_thread::yield();
      // Who waits for a frame must not sit on a page meanwhile, or all of them may be sat on.
      if (round == 64) return false;
    }
    return false;
  }
  void fault(Page& page, unsigned number) {
    std::uint32_t frame;
    const bool have = !page.descriptor.state.load().io() && take_frame(frame);
    if (have && page.descriptor.state.begin_fault()) {
      pool_.check(!page.reading.exchange(true), "two reads of one page");
      store(pool_.frames[frame], page.device);
      hesitate();
      page.descriptor.frame.store(frame, std::memory_order_relaxed);
      pool_.check(page.device[0] == (std::uint64_t{number} << 32 | page.write_count),
                  "a write lost");
      const bool success = draw(16) != 0;
      if (!success) give_up_memory(page);
      page.reading = false;
      pool_.fault_count.fetch_add(1, std::memory_order_relaxed);
      if (page.descriptor.state.finish_fault(success)) wake(page);
      return;
    }
    if (have) {
      const std::lock_guard guard(pool_.frames_mutex);
      pool_.frames_free.push_back(frame);
    }
    park(page, Want::read);
  }
  void free_and_create(unsigned number) {
    Page& page = pool_.pages[number];
    std::uint32_t frame;
    const auto [began, to_wake] = page.descriptor.begin_free();
    if (to_wake) wake(page);
    if (began) {
      give_up_memory(page);
      if (page.descriptor.state.finish_free()) wake(page);
    }
    if (!page.descriptor.state.load().free()) return;
    if (!take_frame(frame)) return;
    if (!page.descriptor.state.try_create()) {
      const std::lock_guard guard(pool_.frames_mutex);
      pool_.frames_free.push_back(frame);
      return;
    }
    page.descriptor.frame.store(frame, std::memory_order_relaxed);
    change(number);
  }

  void park(Page& page, Want want) {
    Waiter waiter;
    {
      const std::lock_guard guard(page.list_mutex);
      if (!page.descriptor.state.mark_waiting(want)) return;
      page.waiters.push_back(&waiter);
    }
    pool_.park_count.fetch_add(1, std::memory_order_relaxed);
    std::unique_lock lock(waiter.mutex);
    const bool woken =
        waiter.changed.wait_for(lock, std::chrono::seconds(10), [&] { return waiter.woken; });
    if (woken) return;
    std::fprintf(stderr, "latch stress: a waiter was forgotten\n");
    std::abort();
  }
  void wake(Page& page) {
    std::vector<Waiter*> woken;
    {
      const std::lock_guard guard(page.list_mutex);
      woken.swap(page.waiters);
      page.descriptor.state.clear_waiting();
    }
    for (Waiter* waiter : woken) {
      const std::lock_guard guard(waiter->mutex);
      waiter->woken = true;
      waiter->changed.notify_one();
    }
  }

  MiniPool& pool_;
  std::mt19937 random_;
  std::array<std::uint64_t, page_count> last_seen_{};
};

}  // namespace

TEST_CASE("latch: threads that read - write - append - evict and free at once see whole pages",
          "[latch]") {
  const char* wanted = std::getenv("FIRN_STRESS_SECONDS");
  const int seconds = wanted == nullptr ? 2 : std::atoi(wanted);
  const unsigned seed = std::random_device{}();
  MiniPool pool;
  std::deque<Worker> workers;
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < thread_count; ++index) workers.emplace_back(pool, seed + index);
  std::barrier<> round_end(thread_count);
  for (Worker& worker : workers) threads.emplace_back([&] { worker.run(round_end); });
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!pool.stop && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  pool.stop = true;
  for (std::thread& thread : threads) thread.join();
  const auto shown = [](const std::atomic<std::uint64_t>& count) {
    return static_cast<unsigned long long>(count.load());
  };
  std::printf(
      "latch stress: seed %u, %s reads: %llu valid, %llu restarts; %llu faults, %llu "
      "evictions, %llu parked\n",
      seed, shared_reads ? "shared" : "optimistic", shown(pool.read_count),
      shown(pool.restart_count), shown(pool.fault_count), shown(pool.evict_count),
      shown(pool.park_count));
  INFO("seed " << seed);
  CHECK(pool.failure.load() == nullptr);
  if (pool.failure.load() != nullptr) FAIL(pool.failure.load());
  CHECK(pool.read_count > 0);
  CHECK(pool.fault_count > 0);
  CHECK(pool.park_count > 0);
}
