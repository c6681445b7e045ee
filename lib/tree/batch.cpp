// Many descents side by side: the misses of the processor's cache of one overlap with those of the
// others (a miss that depends on the one before costs about 500 ns on a machine of 2026, one of
// many about 46), and pages that are not there are read together.
#include <array>

#include "tree/path.hpp"

namespace firn::tree {
namespace {

constexpr std::size_t lanes_max = 32;

// One descent, before it looks at `page`.
struct Lane {
  PageSlot page;
  PageSlot parent;
  PageWord parent_word;
  unsigned level = 0;  // of the page, below the root
  bool ended = false;
};

}  // namespace

void Tree::prepare_lookups(runtime::ExecutorCore& executor, std::span<const Bytes> keys,
                           std::span<Resumption> starts) noexcept {
  FIRN_ASSERT(keys.size() <= lanes_max && starts.size() >= keys.size());
  if (reads_latched(0)) return;
  std::array<Lane, lanes_max> lanes;
  std::array<PageSlot, lanes_max> missing;
  std::size_t missing_count = 0;
  std::size_t going = keys.size();
  for (std::size_t index = 0; index < keys.size(); ++index) lanes[index].page = shape_.root;
  for (unsigned depth = 0; depth <= level_max && going > 0; ++depth) {
    for (std::size_t index = 0; index < keys.size(); ++index) {
      Lane& lane = lanes[index];
      if (lane.ended) continue;
      lane.ended = true;
      --going;
      buffer::Descriptor& descriptor = pool_.descriptor(lane.page);
      const PageWord word = descriptor.state.load();
      const bool led_here =
          depth == 0 || lane.parent_word.validates(pool_.descriptor(lane.parent).state.load());
      if (!led_here) continue;
      if (!word.readable()) {
        if (!word.exclusive()) missing[missing_count++] = lane.page;
        continue;
      }
      NodeReader node(pool_.resolve(lane.page), bytes_of(lane.page));
      const bool opened = depth == 0 ? node.open_root(shape_.table, by_bytes())
                                     : node.open(lane.level, shape_.table, by_bytes());
      // A root that says it is a leaf is damage, which the lookup itself reports.
      if (!opened || (depth == 0 && node.level() == 0)) continue;
      pool_.touch(descriptor);
      const NodeReader::Found found = node.find(keys[index], nullptr);
      if (node.level() == 0) {
        const ValuePlace place = found.equal ? node.value(found.index) : ValuePlace();
        if (found.equal && !node.bad()) __builtin_prefetch(pool_.resolve(lane.page) + place.offset);
        starts[index] = {lane.parent, lane.parent_word, lane.page, 0};
        continue;
      }
      const PageSlot child = node.child(found.index + (found.equal ? 1 : 0));
      if (node.bad() || !pool_.known(child)) continue;
      __builtin_prefetch(&pool_.descriptor(child));
      prefetch_node(pool_.resolve(child));
      lane = {child, lane.page, word, node.level() - 1, false};
      ++going;
    }
  }
  if (missing_count > 0) pool_.prefetch(executor, {missing.data(), missing_count});
}

}  // namespace firn::tree
