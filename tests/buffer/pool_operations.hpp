// Operations on pages for the tests of the pool: each reads, changes, makes or frees pages whose
// content follows from page and generation.
#pragma once

#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include <firn/operation.hpp>

#include "base/yield.hpp"
#include "buffer/optimistic_read.hpp"
#include "buffer/pool.hpp"
#include "store/page_io.hpp"

namespace firn::test {

using buffer::Access;
using buffer::PageSlot;
using buffer::Pool;

/// What the pages should hold. One thread, or under the exclusive latch of the page.
struct PageModel {
  struct Entry {
    PageSlot page;
    std::uint64_t generation = 0;
    bool exists = false;
  };
  std::vector<Entry> entries;
  std::uint64_t last_generation = 0;
  std::uint64_t reads = 0, changes = 0, frees = 0, creations = 0, errors = 0, restarts = 0;
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

enum class PageDeed : std::uint8_t { read, change, change_two, create, free };

class PageOperation final : public Operation<int> {
 public:
  PageOperation(Pool& pool, PageModel& model, PageDeed deed, std::size_t first, std::size_t second,
                unsigned size_class)
      : waiter_(pool, *this),
        pool_(pool),
        model_(model),
        deed_(deed),
        first_(first),
        second_(second),
        size_class_(size_class) {}

 private:
  using Progress = firn::detail::Progress;

  Progress step() noexcept override {
    const Progress progress = act();
    if (progress != Progress::waiting) waiter_.done();
    return progress;
  }
  void settle(Progress progress) noexcept override {
    if (progress == Progress::failed) return settle_with(fail(error_));
    settle_with(Result<int>(0));
  }

  Progress act() noexcept {
    switch (deed_) {
      case PageDeed::read:
        return read();
      case PageDeed::change:
      case PageDeed::change_two:
        return change();
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

  // After a change was refused: until it may be allowed, and without a latch, whose release would
  // wake the others who wait for the same.
  std::optional<Progress> settle() noexcept {
    while (unsettled_count_ > 0) {
      const std::span<const PageSlot> pages(unsettled_.data(), unsettled_count_);
      const bool freeing = deed_ == PageDeed::free;
      const Access access = pool_.settle_or_park(waiter_, freeing ? pages.first(0) : pages,
                                                 freeing ? pages : pages.first(0), error_);
      if (access == Access::parked) return Progress::waiting;
      if (access == Access::failed) return Progress::failed;
      unsettled_count_ = 0;
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

  Progress change() noexcept {
    std::array<std::size_t, 2> entries = {first_, second_};
    const std::size_t count = deed_ == PageDeed::change_two && first_ != second_ ? 2 : 1;
    const std::span<const std::size_t> wanted(entries.data(), count);
    while (true) {
      if (auto progress = settle()) return *progress;
      if (auto progress = latch_all(wanted)) return *progress;
      std::array<PageSlot, 2> pages;
      for (std::size_t index = 0; index < count; ++index) {
        check_content(model_.entries[entries[index]]);
        pages[index] = model_.entries[entries[index]].page;
      }
      yield();
      std::uint64_t number = 0;
      const std::span<const PageSlot> changed(pages.data(), count);
      if (!pool_.begin_change(changed, {}, number)) {
        for (const PageSlot page : changed) pool_.release_exclusive(page);
        unsettled_ = pages;
        unsettled_count_ = count;
        continue;
      }
      for (std::size_t index = 0; index < count; ++index) {
        model_.entries[entries[index]].generation = ++model_.last_generation;
      }
      for (std::size_t index = 0; index < count; ++index) {
        write_content(pages[index], model_.entries[entries[index]].generation);
      }
      for (const PageSlot page : changed) pool_.release_exclusive(page);
      ++model_.changes;
      return Progress::yes;
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
      const std::array<std::size_t, 1> wanted = {first_};
      if (auto progress = settle()) return *progress;
      if (auto progress = latch_all(wanted)) return *progress;
      PageModel::Entry& entry = model_.entries[first_];
      const PageSlot page = entry.page;
      std::uint64_t number = 0;
      const std::span<const PageSlot> freed(&page, 1);
      waiter_.done();
      if (!pool_.begin_change({}, freed, number)) {
        pool_.release_exclusive(page);
        unsettled_[0] = page;
        unsettled_count_ = 1;
        continue;
      }
      entry.exists = false;
      model_.check(pool_.free_page(page, number).has_value(), "a page cannot be freed");
      ++model_.frees;
      return Progress::yes;
    }
  }

  buffer::Waiter waiter_;
  Pool& pool_;
  PageModel& model_;
  const PageDeed deed_;
  const std::size_t first_;
  const std::size_t second_;
  const unsigned size_class_;
  std::array<PageSlot, 2> unsettled_;
  std::size_t unsettled_count_ = 0;
};

}  // namespace firn::test
