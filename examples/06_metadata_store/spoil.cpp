#include "spoil.hpp"

namespace mdfs {
namespace {

bool spoil_inode(Inode& inode, std::string_view what) {
  if (what == "mode") {
    inode.mode ^= 1;
  } else if (what == "time") {
    ++inode.modified_ns;
  } else if (what == "names") {
    ++inode.names;
  } else if (what == "parent") {
    inode.name += '~';
  } else if (what == "body") {
    inode.body = {};
  } else {
    return false;
  }
  return true;
}

}  // namespace

firn::Result<void> spoil(MetadataStore& store, std::string_view what, std::uint64_t seed) {
  // Only a file of several names has them counted by the comparison.
  std::uint64_t id = 0;
  if (what == "names") {
    auto origin = store.origins().cursor(store.origin_range());
    FIRN_TRY_ASSIGN(const bool any, origin.next().wait());
    if (!any) return firn::fail(firn::ErrorCode::not_found, "no file has several names");
    FIRN_TRY_ASSIGN(id, origin.record().key());
  } else {
    auto last = store.inodes().cursor(store.inode_range());
    FIRN_TRY_ASSIGN(const bool any, last.prev().wait());
    if (!any || last.key() == store.root_id()) {
      return firn::fail(firn::ErrorCode::not_found, "there is no entry to spoil");
    }
    id = store.root_id() + 1 + seed % (last.key() - store.root_id());
  }
  FIRN_TRY_ASSIGN(auto inode, store.inodes().lookup(id).wait());
  if (!inode) return firn::fail(firn::ErrorCode::not_found, "no inode {}", id);
  if (what == "name") {
    FIRN_TRY_ASSIGN(const std::uint64_t parent, inode->parent.key());
    return store.dirents().erase({parent, inode->name}, firn::Expect::present).wait();
  }
  if (!spoil_inode(*inode, what)) {
    return firn::fail(firn::ErrorCode::invalid_argument,
                      "spoil mode, time, names, name, parent or body");
  }
  return store.inodes().update(id, std::move(*inode)).wait();
}

}  // namespace mdfs
