// Operations on pages for the tests of the pool: each reads, changes, makes or frees pages whose
// content follows from page and generation.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/yield.hpp"
#include "buffer/pool_operation.hpp"
#include "store/aligned_block.hpp"
#include "store/page_io.hpp"

namespace firn::test {

/// What the pages should hold. One thread, or under the exclusive latch of the page.
struct PageModel {
  struct Entry {
    PageSlot page;
    std::uint64_t generation = 0;
    bool exists = false;
  };
  std::vector<Entry> entries;
  std::uint64_t last_generation = 0;
  std::uint64_t reads = 0, changes = 0, frees = 0, creations = 0, splits = 0, errors = 0,
                restarts = 0;
  bool may_fail = false;  // the device does
  const char* wrong = nullptr;

  void failed(const Error& error, const char* what) {
    if (!may_fail && wrong == nullptr) std::fprintf(stderr, "%s\n", error.message().c_str());
    check(may_fail, what);
  }
  void check(bool holds, const char* what) {
    if (!holds && wrong == nullptr) wrong = what;
  }
};

/// `change_two` and `change_five`: the two given, and those between and behind them. `split`: makes
/// two pages, then latches the two given as well, changes them and gives up the new ones.
enum class PageDeed : std::uint8_t { read, change, change_two, change_five, split, create, free };

class PageOperation final : public PoolOperation {
 public:
  PageOperation(Pool& pool, PageModel& model, PageDeed deed, std::size_t first, std::size_t second,
                unsigned size_class)
      : PoolOperation(pool),
        model_(model),
        deed_(deed),
        first_(first),
        second_(second),
        size_class_(size_class) {}

 private:
  Progress act() noexcept override {
    switch (deed_) {
      case PageDeed::read:
        return read();
      case PageDeed::change:
      case PageDeed::change_two:
      case PageDeed::change_five:
        return change();
      case PageDeed::split:
        return split();
      case PageDeed::create:
        return create();
      case PageDeed::free:
        return free();
    }
    return Progress::no;
  }

  // What an access that is not `ready` means for the operation; nothing: start again.
  std::optional<Progress> handle(Access access, const Error& error,
                                 const PageModel::Entry& entry) noexcept {
    if (access == Access::parked) return Progress::waiting;
    if (access != Access::failed) {
      ++model_.restarts;
      return std::nullopt;
    }
    if (!entry.exists) return Progress::no;  // it was freed meanwhile
    ++model_.errors;
    model_.failed(error, "an access failed");
    return Progress::failed;
  }

  Progress read() noexcept {
    while (true) {
      const PageModel::Entry& entry = model_.entries[first_];
      if (!entry.exists) return Progress::no;
      const PageSlot page = entry.page;
      auto& descriptor = pool_.descriptor(page);
      const auto seen = descriptor.state.optimistic_begin();
      if (!seen.has_value()) {
        Error error;
        const Access access = pool_.fault_or_park(waiter_, page, error);
        if (access == Access::parked) return Progress::waiting;
        if (auto progress = handle_failure(access, error, entry)) return *progress;
        continue;
      }
      pool_.touch(descriptor);
      const std::size_t bytes = buffer::page_bytes(page.size_class());
      auto copy = store::AlignedBlock::make(bytes);
      const bool there = buffer::copy_optimistic(copy->data(), pool_.resolve(page), bytes / 2) &&
                         yield() &&
                         buffer::copy_optimistic(copy->data() + bytes / 2,
                                                 pool_.resolve(page) + bytes / 2, bytes / 2);
      if (!there || !descriptor.state.validate(*seen)) {
        ++model_.restarts;
        continue;
      }
      std::uint64_t generation = 0;
      model_.check(check_page(copy->data(), page, generation), "a read gave mixed bytes");
      model_.check(generation == entry.generation, "a read gave another generation");
      ++model_.reads;
      return Progress::yes;
    }
  }
  std::optional<Progress> handle_failure(Access access, const Error& error,
                                         const PageModel::Entry& entry) noexcept {
    if (access == Access::failed) error_ = error;
    return handle(access, error, entry);
  }

  static bool yield() noexcept {
    FIRN_YIELD("test");
    return true;
  }

  // Latches the pages of `entries` exclusively, all or none.
  std::optional<Progress> latch_all(std::span<const std::size_t> entries) noexcept {
    std::size_t held = 0;
    while (held < entries.size()) {
      const PageModel::Entry& entry = model_.entries[entries[held]];
      const PageSlot page = entry.page;
      if (held > 0 && entry.exists) {
        auto& state = pool_.descriptor(page).state;
        const buffer::PageWord word = state.load();
        if (word.available(buffer::Want::exclusive) && state.try_exclusive(word)) {
          ++held;
          continue;
        }
      }
      // Waiting for one means to let go of the others.
      for (; held > 0; --held) {
        pool_.release_exclusive(model_.entries[entries[held - 1]].page);
      }
      if (!entry.exists) return Progress::no;
      Error error;
      const Access access = pool_.exclusive_or_park(waiter_, page, error);
      if (access == Access::parked) return Progress::waiting;
      if (access != Access::ready) {
        if (auto progress = handle_failure(access, error, entry)) return progress;
        continue;
      }
      if (page != entry.page || !entry.exists) {
        pool_.release_exclusive(page);
        continue;
      }
      if (page == model_.entries[entries[0]].page) {
        held = 1;
      } else {
        pool_.release_exclusive(page);  // it is in memory now; from the first one again
      }
    }
    for (const std::size_t index : entries) {
      if (model_.entries[index].exists) continue;
      for (const std::size_t one : entries) pool_.release_exclusive(model_.entries[one].page);
      return Progress::no;
    }
    return std::nullopt;
  }

  void check_content(const PageModel::Entry& entry) noexcept {
    std::uint64_t generation = 0;
    model_.check(check_page(pool_.resolve(entry.page), entry.page, generation),
                 "a latched page has mixed bytes");
    model_.check(generation == entry.generation, "a latched page has another generation");
  }
  void write_content(PageSlot page, std::uint64_t generation) noexcept {
    const std::size_t bytes = buffer::page_bytes(page.size_class());
    auto content = store::AlignedBlock::make(bytes);
    fill_page(content->data(), page, generation);
    buffer::store_page(pool_.resolve(page), content->data(), bytes / 2);
    yield();
    buffer::store_page(pool_.resolve(page) + bytes / 2, content->data() + bytes / 2, bytes / 2);
  }

  // The entries that the operation changes, each once.
  std::span<const std::size_t> wanted() noexcept {
    const std::size_t most = deed_ == PageDeed::change ? 1 : deed_ == PageDeed::change_five ? 5 : 2;
    std::size_t count = 0;
    for (std::size_t offset = 0; count < most && offset < 2 * most; ++offset) {
      const std::size_t entry =
          offset == 0 ? first_ : (second_ + offset - 1) % model_.entries.size();
      const auto end = wanted_.begin() + static_cast<std::ptrdiff_t>(count);
      if (std::find(wanted_.begin(), end, entry) == end) wanted_[count++] = entry;
      if (offset + 1 == most && most <= 2) break;  // perhaps only one
    }
    return {wanted_.data(), count};
  }

  Progress change() noexcept {
    const std::span<const std::size_t> entries = wanted();
    while (true) {
      if (auto progress = settle_change()) return *progress;
      if (auto progress = latch_all(entries)) return *progress;
      const KnownPages pages = known_pages(entries);
      std::uint64_t number = 0;
      if (!pool_.begin_change(pages.span(), {}, number)) {
        refused(pages.span(), {});
        continue;
      }
      write_and_release(entries);
      return Progress::yes;
    }
  }

  struct KnownPages {
    std::array<PageSlot, page_count_max> pages;
    std::size_t count = 0;
    [[nodiscard]] std::span<const PageSlot> span() const noexcept { return {pages.data(), count}; }
  };
  // Of entries that are latched.
  KnownPages known_pages(std::span<const std::size_t> entries) noexcept {
    KnownPages known;
    for (const std::size_t index : entries) {
      check_content(model_.entries[index]);
      known.pages[known.count++] = model_.entries[index].page;
    }
    yield();
    return known;
  }
  void write_and_release(std::span<const std::size_t> entries) noexcept {
    for (const std::size_t index : entries) {
      model_.entries[index].generation = ++model_.last_generation;
    }
    for (const std::size_t index : entries) {
      write_content(model_.entries[index].page, model_.entries[index].generation);
    }
    for (const std::size_t index : entries) pool_.release_exclusive(model_.entries[index].page);
    ++model_.changes;
  }

  // As a node is split: new pages first, then those that are known, which may have to be loaded
  // and waited for; then one change of all.
  Progress split() noexcept {
    while (true) {
      if (const auto progress = settle_change()) {
        if (*progress == Progress::failed) give_up_new();
        return *progress;
      }
      if (!made_) {
        for (buffer::NewPage& wanted : new_pages_) {
          wanted.size_class = size_class_;
          wanted.header.kind = format::PageKind::raw;
        }
        const Access access = pool_.create_or_park(waiter_, new_pages_, error_);
        if (access == Access::parked) return Progress::waiting;
        if (access != Access::ready) {
          model_.failed(error_, "a creation failed");
          return Progress::failed;
        }
        made_ = true;
      }
      const std::span<const std::size_t> entries = wanted();
      if (const auto progress = latch_all(entries)) {
        if (*progress != Progress::waiting) give_up_new();
        return *progress;
      }
      if (!split_latched(entries)) continue;
      made_ = false;
      return Progress::yes;
    }
  }
  // Entries without a page get the new ones; those that nobody needs are freed.
  bool split_latched(std::span<const std::size_t> entries) noexcept {
    const KnownPages known = known_pages(entries);
    KnownPages changed = known;
    std::array<std::size_t, 2> takers{};
    std::size_t taken = 0;
    for (std::size_t index = 0; index < model_.entries.size() && taken < takers.size(); ++index) {
      if (model_.entries[index].exists) continue;
      changed.pages[changed.count++] = new_pages_[taken].page;
      takers[taken++] = index;
    }
    KnownPages freed;
    for (std::size_t rest = taken; rest < new_pages_.size(); ++rest) {
      freed.pages[freed.count++] = new_pages_[rest].page;
    }
    std::uint64_t number = 0;
    if (!pool_.begin_change(changed.span(), freed.span(), number)) {
      refused(known.span(), {});
      return false;
    }
    std::array<std::size_t, page_count_max> all{};
    std::copy(entries.begin(), entries.end(), all.begin());
    for (std::size_t place = 0; place < taken; ++place) {
      all[entries.size() + place] = takers[place];
      model_.entries[takers[place]] = {.page = new_pages_[place].page, .exists = true};
    }
    model_.creations += taken;
    write_and_release({all.data(), entries.size() + taken});
    for (const PageSlot page : freed.span()) {
      model_.check(pool_.free_page(page, number).has_value(), "a new page cannot be freed");
    }
    ++model_.splits;
    return true;
  }
  void give_up_new() noexcept {
    if (!made_) return;
    made_ = false;
    const std::array<PageSlot, 2> pages = {new_pages_[0].page, new_pages_[1].page};
    std::uint64_t number = 0;
    model_.check(pool_.begin_change({}, pages, number), "a new page owes nothing");
    for (const PageSlot page : pages) {
      model_.check(pool_.free_page(page, number).has_value(), "a new page cannot be freed");
    }
  }

  Progress create() noexcept {
    PageModel::Entry& entry = model_.entries[first_];
    if (entry.exists) return Progress::no;
    format::PageHeader header;
    header.kind = format::PageKind::raw;
    PageSlot page;
    Error error;
    const Access access = pool_.create_or_park(waiter_, size_class_, header, page, error);
    if (access == Access::parked) return Progress::waiting;
    if (access != Access::ready) {
      error_ = error;
      model_.failed(error, "a creation failed");
      return Progress::failed;
    }
    const bool wanted = !entry.exists;
    std::uint64_t number = 0;
    const std::span<const PageSlot> one(&page, 1);
    const bool begun =
        pool_.begin_change(wanted ? one : one.first(0), wanted ? one.first(0) : one, number);
    model_.check(begun, "a new page owes nothing");
    if (wanted) {
      entry = {.page = page, .generation = ++model_.last_generation, .exists = true};
      write_content(page, entry.generation);
      pool_.release_exclusive(page);
      ++model_.creations;
    } else {
      model_.check(pool_.free_page(page, number).has_value(), "a new page cannot be freed");
    }
    return Progress::yes;
  }

  Progress free() noexcept {
    while (true) {
      const std::array<std::size_t, 1> entries = {first_};
      if (auto progress = settle_change()) return *progress;
      if (auto progress = latch_all(entries)) return *progress;
      PageModel::Entry& entry = model_.entries[first_];
      const PageSlot page = entry.page;
      std::uint64_t number = 0;
      waiter_.done();
      if (!pool_.begin_change({}, {&page, 1}, number)) {
        refused({}, {&page, 1});
        continue;
      }
      entry.exists = false;
      model_.check(pool_.free_page(page, number).has_value(), "a page cannot be freed");
      ++model_.frees;
      return Progress::yes;
    }
  }

  PageModel& model_;
  const PageDeed deed_;
  const std::size_t first_;
  const std::size_t second_;
  const unsigned size_class_;
  std::array<std::size_t, page_count_max> wanted_{};
  std::array<buffer::NewPage, 2> new_pages_;
  bool made_ = false;  // the new pages, and they are latched
};

}  // namespace firn::test
