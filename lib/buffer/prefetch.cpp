#include "buffer/prefetch.hpp"

#include <algorithm>

#include "buffer/cleaner.hpp"

namespace firn::buffer {

void Pool::prefetch(runtime::ExecutorCore& executor, std::span<const PageSlot> pages) noexcept {
  if (cleaner_ == nullptr || &cleaner_->executor() == &executor) {
    return prefetch_here(executor, pages);
  }
  const auto resident = [this](PageSlot page) noexcept {
    return !known(page) || descriptors_[page].state.load().readable();
  };
  if (std::all_of(pages.begin(), pages.end(), resident)) return;
  for (std::uint32_t index = 0; index < prefetch_count; ++index) {
    Prefetch& prefetch = prefetches_[index];
    if (prefetch.taken.load(std::memory_order_relaxed) || prefetch.taken.exchange(true)) continue;
    prefetches_under_way_.fetch_add(1);
    prefetch.pool = this;
    prefetch.count = static_cast<std::uint32_t>(std::min(pages.size(), Prefetch::pages_max));
    std::copy_n(pages.begin(), prefetch.count, prefetch.pages.begin());
    prefetch.home = &cleaner_->executor();
    prefetch.run = [](runtime::Runnable& runnable) noexcept {
      auto& self = static_cast<Prefetch&>(runnable);
      Pool& pool = *self.pool;
      pool.prefetch_here(*self.home, {self.pages.data(), self.count});
      self.taken.store(false);
      pool.prefetches_under_way_.fetch_sub(1);
    };
    prefetch.home->send(prefetch);
    return;
  }
}

}  // namespace firn::buffer
