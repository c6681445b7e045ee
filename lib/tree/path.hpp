// What the files of the tree share: the way from the root to a leaf, and pages latched together.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "tree/tree.hpp"

namespace firn::tree {

/// What a descent looks for: the leaf that holds `key`, or the one before it, or an end.
struct Seek {
  Target target = Target::at_or_after;
  Bytes key;
  /// The leaf is all that is wanted: after a wait the path may begin at its parent.
  bool leaf_only = false;
};

/// The pages of a descent with the words under which they were read: proof of what was found as
/// long as they validate.
struct Tree::Path {
  struct Step {
    PageSlot page;
    PageWord word;
    std::uint32_t index = 0;  ///< of the child that was taken
  };
  // Left as they are: a descent writes each before anybody reads it.
  Path() noexcept {}
  union {
    std::array<Step, level_max + 1> steps;
  };
  unsigned leaf = 0;  ///< the index of the leaf's step
};

/// A leaf that is being read: optimistically, or under a shared latch.
struct Tree::Leaf {
  NodeReader node{nullptr, 0};
  PageSlot page;
  PageWord word;
  bool latched = false;
};

inline std::size_t bytes_of(PageSlot page) noexcept {
  return buffer::page_bytes(page.size_class());
}

/// The lines of a node that a search looks at whatever it looks for; the slots of a small leaf.
inline void prefetch_node(const std::byte* page) noexcept {
  constexpr std::uint32_t line = 64;
  for (std::uint32_t offset = 0; offset < slots_at + 3 * line; offset += line) {
    __builtin_prefetch(page + offset);
  }
}

/// A short look at a page without waiting: optimistic, or, in builds that read so, under a share.
class Glance {
 public:
  Glance(buffer::Pool& pool, PageSlot page) noexcept
      : Glance(pool, page, pool.descriptor(page).state.load()) {}
  /// Only if nothing changed since `seen`.
  Glance(buffer::Pool& pool, PageSlot page, PageWord seen) noexcept
      : pool_(pool), page_(page), word_(seen), began_(seen.readable()) {
    if (!buffer::shared_reads || !began_) return;
    began_ = shared_ = pool_.descriptor(page).state.try_share(seen);
  }
  ~Glance() {
    if (shared_) pool_.release_shared(page_);
  }
  Glance(const Glance&) = delete;
  Glance& operator=(const Glance&) = delete;

  [[nodiscard]] bool began() const noexcept { return began_; }
  [[nodiscard]] PageWord word() const noexcept { return word_; }
  /// Whether what was read so far is one state of the page.
  [[nodiscard]] bool holds() const noexcept {
    return began_ && (shared_ || pool_.descriptor(page_).state.validate(word_));
  }

 private:
  buffer::Pool& pool_;
  const PageSlot page_;
  const PageWord word_;
  bool began_;
  bool shared_ = false;
};

/// A share of a page's latch, unless the page has changed since `seen`.
class Shared {
 public:
  Shared(buffer::Pool& pool, PageSlot page, PageWord seen) noexcept
      : pool_(pool),
        page_(page),
        held_(seen.readable() && pool.descriptor(page).state.try_share(seen)) {}
  ~Shared() {
    if (held_) pool_.release_shared(page_);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  [[nodiscard]] bool held() const noexcept { return held_; }

 private:
  buffer::Pool& pool_;
  const PageSlot page_;
  const bool held_;
};

/// What an access of the pool means for a walk: a page that is resident now is looked at again.
template <class Walk>
[[nodiscard]] constexpr Walk walk_after(buffer::Access access, Walk when_ready) noexcept {
  switch (access) {
    case buffer::Access::parked:
      return Walk::parked;
    case buffer::Access::failed:
      return Walk::failed;
    case buffer::Access::again:
      return Walk::again;
    case buffer::Access::ready:
      break;
  }
  return when_ready;
}

/// Pages under the exclusive latch; gives back what is still held.
class Latched {
 public:
  explicit Latched(buffer::Pool& pool) noexcept : pool_(pool) {}
  ~Latched() { release(); }
  Latched(const Latched&) = delete;
  Latched& operator=(const Latched&) = delete;

  /// Only if nothing changed since `seen`.
  [[nodiscard]] bool take(PageSlot page, PageWord seen) noexcept {
    if (!seen.readable() || !pool_.descriptor(page).state.try_exclusive(seen)) return false;
    adopt(page);
    return true;
  }
  /// As it is now.
  [[nodiscard]] bool take_now(PageSlot page) noexcept {
    return take(page, pool_.descriptor(page).state.load());
  }
  void adopt(PageSlot page) noexcept { pages_[count_++] = page; }
  /// It was freed.
  void forget(PageSlot page) noexcept {
    for (std::size_t index = 0; index < count_; ++index) {
      if (pages_[index] == page) pages_[index] = PageSlot();
    }
  }
  /// Releases all. Whether nobody else has changed `page` before or after: then `seen` is its word
  /// now, and what was read under it still holds.
  [[nodiscard]] bool release_and_look(PageSlot page, PageWord& seen) noexcept {
    const std::uint64_t version = pool_.descriptor(page).state.load().version();
    release();
    seen = pool_.descriptor(page).state.load();
    return seen.readable() && seen.version() == version + 1;
  }
  void release() noexcept {
    while (count_ > 0) {
      const PageSlot page = pages_[--count_];
      if (page != PageSlot()) pool_.release_exclusive(page);
    }
  }

 private:
  buffer::Pool& pool_;
  std::array<PageSlot, 16> pages_;
  std::size_t count_ = 0;
};

inline Failure corrupt(PageSlot page, const char* what) noexcept {
  Failure failure = fail(ErrorCode::corrupt, what);
  failure.error.place.page = page.bits();
  return failure;
}

}  // namespace firn::tree
