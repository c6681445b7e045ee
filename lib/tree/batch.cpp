// Many lookups side by side: each step of one brings closer what its next step reads, and the steps
// of the others pass the time. (A miss of the processor's cache that depends on the one before
// costs about 500 ns on a virtual machine of 2026, one of many under way about 46.)
#include <array>
#include <cstring>

#include "tree/path.hpp"

namespace firn::tree {
namespace {

constexpr std::size_t lanes_max = 32;
// Warm buffers hold as much.
constexpr std::size_t values_bytes_max = 64 * 1024;

enum class Stage : std::uint8_t { arrive, slots, entries, ended };

}  // namespace

// One lookup, on its way from the root.
struct Tree::Lane {
  Stage stage = Stage::arrive;
  unsigned level = 0;  // of the page, below the root
  PageSlot page;
  PageWord word;
  PageSlot parent;
  PageWord parent_word;
  NodeReader node;
};

// The page's head is near. False: no further, and perhaps because the page is not there.
bool Tree::arrive(Lane& lane, bool at_root, PageSlot& missing) noexcept {
  buffer::Descriptor& descriptor = pool_.descriptor(lane.page);
  lane.word = descriptor.state.load();
  // The child's word is taken before the parent is known to have led here.
  if (!at_root && !lane.parent_word.validates(pool_.descriptor(lane.parent).state.load())) {
    return false;
  }
  if (!lane.word.readable()) {
    if (!lane.word.exclusive()) missing = lane.page;
    return false;
  }
  lane.node = NodeReader(pool_.resolve(lane.page), bytes_of(lane.page));
  const bool opened = at_root ? lane.node.open_root(shape_.table, by_bytes())
                              : lane.node.open(lane.level, shape_.table, by_bytes());
  if (!opened || (at_root && lane.node.level() == 0)) return false;
  pool_.touch(descriptor);
  return true;
}

// The entries of an inner node are near. False: it makes no sense now.
bool Tree::go_down(Lane& lane, Bytes key) noexcept {
  const NodeReader::Found found = lane.node.find(key, nullptr);
  const PageSlot child = lane.node.child(found.index + (found.equal ? 1 : 0));
  if (lane.node.bad() || !pool_.known(child)) return false;
  __builtin_prefetch(&pool_.descriptor(child));
  prefetch_node(pool_.resolve(child));
  lane.parent = lane.page;
  lane.parent_word = lane.word;
  lane.page = child;
  lane.level = lane.node.level() - 1;
  return true;
}

// The entries of a leaf are near. What is copied counts once the leaf's word has been validated.
void Tree::read_leaf(Lane& lane, Bytes key, Glimpse& glimpse, Buffer& values) noexcept {
  glimpse.start = {lane.parent, lane.parent_word, lane.page, 0};
  const NodeReader::Found found = lane.node.find(key, nullptr);
  const ValuePlace place = found.equal ? lane.node.value(found.index) : ValuePlace();
  if (lane.node.bad() || place.apart) return;
  const std::size_t offset = values.size();
  if (found.equal) {
    if (offset + place.size > values_bytes_max) return;
    auto room = values.extend(place.size);
    if (!room.has_value()) return;
    if (!lane.node.copy(*room, place.offset, place.size)) return;
  }
  if (!pool_.descriptor(lane.page).state.validate(lane.word)) return;
  glimpse.outcome = found.equal ? Glimpse::Outcome::found : Glimpse::Outcome::absent;
  glimpse.offset = static_cast<std::uint32_t>(offset);
  glimpse.size = place.size;
}

void Tree::glimpse(runtime::ExecutorCore& executor, std::span<const Bytes> keys,
                   std::span<Glimpse> glimpses, Buffer& values) noexcept {
  FIRN_ASSERT(keys.size() <= lanes_max && glimpses.size() >= keys.size());
  if (reads_latched(0)) return;
  std::array<Lane, lanes_max> lanes;
  std::array<PageSlot, lanes_max> missing;
  std::size_t missing_count = 0;
  std::size_t going = keys.size();
  for (std::size_t index = 0; index < keys.size(); ++index) lanes[index].page = shape_.root;
  for (unsigned depth = 0; depth <= level_max && going > 0; ++depth) {
    for (const Stage stage : {Stage::arrive, Stage::slots, Stage::entries}) {
      for (std::size_t index = 0; index < keys.size(); ++index) {
        Lane& lane = lanes[index];
        if (lane.stage != stage) continue;
        bool goes_on = true;
        switch (stage) {
          case Stage::arrive: {
            PageSlot absent;
            goes_on = arrive(lane, depth == 0, absent);
            if (absent != PageSlot()) missing[missing_count++] = absent;
            if (goes_on) lane.node.prefetch_slots(keys[index]);
            lane.stage = Stage::slots;
            break;
          }
          case Stage::slots:
            lane.node.prefetch_entries(keys[index]);
            lane.stage = Stage::entries;
            break;
          default:
            goes_on = lane.node.level() > 0;
            if (goes_on) {
              goes_on = go_down(lane, keys[index]);
            } else {
              read_leaf(lane, keys[index], glimpses[index], values);
            }
            lane.stage = Stage::arrive;
            break;
        }
        if (goes_on) continue;
        lane.stage = Stage::ended;
        --going;
      }
    }
  }
  if (missing_count > 0) pool_.prefetch(executor, {missing.data(), missing_count});
}

}  // namespace firn::tree
