#include "store.hpp"

#include <algorithm>

#include "queries.hpp"

namespace mdfs {

template <class Type>
firn::Result<firn::Table<Type>> MetadataStore::open_table(std::string_view name) {
  const bool keeps = firn::includes(domain_.capabilities(), firn::Capability::persistent);
  const firn::TableOptions options{.persistence = keeps ? firn::Persistence::persistent
                                                        : firn::Persistence::volatile_};
  auto created = domain_.create_table<Type>(name, options).wait();
  if (created || created.error().code != firn::ErrorCode::already_exists) return created;
  return domain_.open_table<Type>(name).wait();
}

firn::Result<MetadataStore> MetadataStore::open(std::string_view path,
                                                const firn::DomainOptions& options) {
  firn::DomainOptions wanted = options;
  wanted.required = wanted.required | firn::Capability::ordered | firn::Capability::sacks;
  FIRN_TRY_ASSIGN(auto executor, firn::Executor::create());
  FIRN_TRY_ASSIGN(auto domain, firn::Domain::open(path, wanted).wait());
  MetadataStore store(std::move(executor), std::move(domain));
  // A table may point into those that exist when it is created: bodies first.
  FIRN_TRY_ASSIGN(store.bodies_, store.open_table<BodyType>("bodies"));
  FIRN_TRY_ASSIGN(store.inodes_, store.open_table<InodeType>("inodes"));
  FIRN_TRY_ASSIGN(store.dirents_, store.open_table<DirentType>("dirents"));
  FIRN_TRY_ASSIGN(store.origins_, store.open_table<OriginType>("origins"));
  auto last = store.inodes_.cursor();
  FIRN_TRY_ASSIGN(const bool any, last.prev().wait());
  if (any) store.tree_count_ = last.key() >> tree_shift;
  FIRN_TRY(store.select_tree(1));
  return store;
}

firn::Result<void> MetadataStore::select_tree(std::uint64_t tree) {
  tree_ = tree;
  next_id_ = root_id();
  auto last = inodes_.cursor(inode_range());
  FIRN_TRY_ASSIGN(const bool any, last.prev().wait());
  if (any) next_id_ = last.key() + 1;
  return {};
}

firn::Result<void> MetadataStore::close() {
  bodies_ = {};
  inodes_ = {};
  dirents_ = {};
  origins_ = {};
  return domain_.close().wait();
}

// In the coroutines keys and records have names of their own: g++ 12 copies an aggregate written as
// {…} inside a co_await expression byte by byte, which a string does not survive.

firn::Task<firn::Result<void>> MetadataStore::add(std::uint64_t id, NewEntry entry) {
  auto body = co_await bodies_.insert(std::move(entry.body));
  if (!body) co_return firn::fail(body.error());
  entry.inode.names = 1;
  entry.inode.name = entry.name;
  entry.inode.body = bodies_.ref(*body);
  if (entry.parent != 0) {
    auto parent = inodes_.ref(entry.parent);
    if (!parent) co_return firn::fail(parent.error());
    entry.inode.parent = std::move(*parent);
  }
  // The inode before the name: who finds the name finds the inode.
  auto inserted = co_await inodes_.insert(id, std::move(entry.inode));
  if (!inserted || entry.parent == 0) co_return inserted;
  auto inode = inodes_.ref(id);
  if (!inode) co_return firn::fail(inode.error());
  DirentKey name{entry.parent, std::move(entry.name)};
  Dirent dirent{std::move(*inode)};
  co_return co_await dirents_.insert(std::move(name), std::move(dirent));
}

firn::Task<firn::Result<void>> MetadataStore::add_link(NewEntry entry) {
  const OriginKey origin{tree_, entry.inode.device, entry.inode.number};
  auto known = co_await origins_.lookup(origin);
  if (!known) co_return firn::fail(known.error());
  if (!known->has_value()) {
    const std::uint64_t id = new_id();
    auto added = co_await add(id, std::move(entry));
    if (!added) co_return added;
    auto inode = inodes_.ref(id);
    if (!inode) co_return firn::fail(inode.error());
    co_return co_await origins_.insert(origin, std::move(*inode));
  }
  auto id = (*known)->key();
  if (!id) co_return firn::fail(id.error());
  auto inode = co_await domain_.follow(**known);
  if (!inode) co_return firn::fail(inode.error());
  if (!inode->has_value()) {
    co_return firn::fail(firn::ErrorCode::corrupt, "an origin leads to no inode");
  }
  ++(*inode)->names;
  auto counted = co_await inodes_.update(*id, std::move(**inode));
  if (!counted) co_return counted;
  DirentKey name{entry.parent, std::move(entry.name)};
  Dirent dirent{std::move(**known)};
  co_return co_await dirents_.insert(std::move(name), std::move(dirent));
}

firn::Result<bool> MetadataStore::refresh(const Entry& known, const NewEntry& found, bool renames) {
  bool changed = false;
  Inode inode = known.inode;
  if (renames && !found.inode.same_attributes(inode)) {
    inode.name = found.name;
    FIRN_TRY_ASSIGN(inode.parent, inodes_.ref(found.parent));
  }
  if (!found.inode.same_attributes(inode)) {
    inode.take_attributes(found.inode);
    FIRN_TRY(inodes_.update(known.id, inode).wait());
    changed = true;
  }
  FIRN_TRY_ASSIGN(auto body, domain_.follow(inode.body).wait());
  if (!body) return firn::fail(firn::ErrorCode::corrupt, "inode {} has no body", known.id);
  Body now = found.body;
  now.name_checksum = body->name_checksum;
  if (now == *body) return changed;
  FIRN_TRY_ASSIGN(const firn::Address address, inode.body.key());
  FIRN_TRY(bodies_.update(address, std::move(now)).wait());
  return true;
}

firn::Result<bool> MetadataStore::refresh_named(const NewEntry& found) {
  FIRN_TRY_ASSIGN(const auto dirent, dirents_.lookup({found.parent, found.name}).wait());
  if (!dirent) return firn::fail(firn::ErrorCode::not_found, "the entry is not there");
  FIRN_TRY_ASSIGN(const std::uint64_t id, dirent->inode.key());
  FIRN_TRY_ASSIGN(auto inode, inodes_.lookup(id).wait());
  if (!inode) return firn::fail(firn::ErrorCode::corrupt, "an entry leads to no inode");
  return refresh({found.name, id, std::move(*inode)}, found, true);
}

firn::Result<std::uint64_t> MetadataStore::remove(std::uint64_t parent, Entry entry) {
  struct Name {
    std::uint64_t parent;
    Entry entry;
  };
  std::uint64_t count = 0;
  std::vector<Name> pending;
  pending.push_back({parent, std::move(entry)});
  while (!pending.empty()) {
    Name at = std::move(pending.back());
    pending.pop_back();
    FIRN_TRY_ASSIGN(auto below, mdfs::list(*this, at.entry));
    if (at.entry.inode.kind == Kind::directory) {
      for (Entry& child : below) pending.push_back({at.entry.id, std::move(child)});
    }
    FIRN_TRY(dirents_.erase({at.parent, at.entry.name}).wait());
    FIRN_TRY(forget_name(std::move(at.entry)));
    ++count;
  }
  return count;
}

firn::Result<void> MetadataStore::forget_name(Entry entry) {
  FIRN_TRY_ASSIGN(auto inode, inodes_.lookup(entry.id).wait());
  if (!inode) return firn::fail(firn::ErrorCode::corrupt, "an entry leads to no inode");
  if (--inode->names > 0) return inodes_.update(entry.id, std::move(*inode)).wait();
  FIRN_TRY_ASSIGN(const firn::Address body, inode->body.key());
  FIRN_TRY(bodies_.erase(body).wait());
  const OriginKey origin{tree_, inode->device, inode->number};
  FIRN_TRY_ASSIGN(const auto known, origins_.lookup(origin).wait());
  if (known) {
    FIRN_TRY_ASSIGN(const std::uint64_t id, known->key());
    if (id == entry.id) FIRN_TRY(origins_.erase(origin).wait());
  }
  return inodes_.erase(entry.id).wait();
}

firn::Result<void> MetadataStore::set_contents(std::uint64_t id, Contents contents) {
  FIRN_TRY_ASSIGN(auto inode, inodes_.lookup(id).wait());
  if (!inode) return firn::fail(firn::ErrorCode::not_found, "no inode {}", id);
  if (inode->contents == contents) return {};
  inode->contents = contents;
  return inodes_.update(id, std::move(*inode)).wait();
}

firn::Task<firn::Result<std::optional<Entry>>> MetadataStore::resolve(std::string path) {
  using Answer = firn::Result<std::optional<Entry>>;
  auto root = co_await inodes_.lookup(root_id());
  if (!root) co_return firn::fail(root.error());
  if (!root->has_value()) co_return Answer(std::nullopt);
  Entry at{"", root_id(), std::move(**root)};
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == ".") continue;
    firn::Ref<InodeType> next;
    if (name == "..") {
      next = at.inode.parent;
      if (next.is_null()) continue;
    } else {
      DirentKey key{at.id, name};
      auto dirent = co_await dirents_.lookup(std::move(key));
      if (!dirent) co_return firn::fail(dirent.error());
      if (!dirent->has_value()) co_return Answer(std::nullopt);
      next = std::move((*dirent)->inode);
    }
    auto id = next.key();
    if (!id) co_return firn::fail(id.error());
    auto inode = co_await domain_.follow(std::move(next));
    if (!inode) co_return firn::fail(inode.error());
    if (!inode->has_value()) {
      co_return firn::fail(firn::ErrorCode::corrupt, "an entry leads to no inode");
    }
    at = Entry{std::move(name), *id, std::move(**inode)};
  }
  co_return Answer(std::move(at));
}

firn::Result<Entry> MetadataStore::find(std::string_view path) {
  FIRN_TRY_ASSIGN(const std::string root, root_path());
  if (path.starts_with('/')) {
    const std::string_view prefix = root == "/" ? std::string_view() : std::string_view(root);
    if (!path.starts_with(prefix) || (path.size() > prefix.size() && path[prefix.size()] != '/')) {
      return firn::fail(firn::ErrorCode::invalid_argument,
                        "the path is not in the indexed directory");
    }
    path.remove_prefix(prefix.size());
  }
  FIRN_TRY_ASSIGN(auto found, run(resolve(std::string(path))));
  if (!found) return firn::fail(firn::ErrorCode::not_found, "the index has no such path");
  return std::move(*found);
}

firn::Result<std::string> MetadataStore::root_path() {
  FIRN_TRY_ASSIGN(auto root, inodes_.lookup(root_id()).wait());
  if (!root) return firn::fail(firn::ErrorCode::not_found, "nothing is indexed");
  return std::move(root->name);
}

firn::Result<std::string> MetadataStore::path_of(const Inode& inode) {
  std::vector<std::string> names{inode.name};
  firn::Ref<InodeType> parent = inode.parent;
  while (!parent.is_null()) {
    FIRN_TRY_ASSIGN(auto above, domain_.follow(parent).wait());
    if (!above) return firn::fail(firn::ErrorCode::corrupt, "a parent is missing");
    names.push_back(std::move(above->name));
    parent = std::move(above->parent);
  }
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (!path.empty() && path.back() != '/') path += '/';
    path += *name;
  }
  return path;
}

// On a fiber: reads as if it blocked.
firn::Result<void> MetadataStore::list(std::uint64_t directory,
                                       const std::function<void(const Entry&)>& take) noexcept {
  auto cursor = dirents_.cursor(range_of(directory));
  while (true) {
    FIRN_TRY_ASSIGN(const bool at_entry, firn::fiber::await(cursor.next()));
    if (!at_entry) return {};
    const firn::Ref<InodeType>& reference = cursor.record().inode;
    FIRN_TRY_ASSIGN(const std::uint64_t id, reference.key());
    FIRN_TRY_ASSIGN(auto inode, firn::fiber::await(domain_.follow(reference)));
    if (!inode) return firn::fail(firn::ErrorCode::corrupt, "an entry leads to no inode");
    take(Entry{cursor.key().name, id, std::move(*inode)});
  }
}

firn::Result<void> MetadataStore::descend(std::uint64_t directory, const Visitor& visitor) {
  // A fiber takes directories until none is left; the fibers of one executor share a thread, so
  // these variables need no lock.
  constexpr std::size_t fiber_count_max = 64;
  struct Directory {
    std::uint64_t id;
    std::string path;
  };
  std::vector<Directory> pending{{directory, ""}};
  std::size_t fiber_count = 0;
  firn::Result<void> outcome;
  const auto work = [&]() noexcept {
    while (!pending.empty() && outcome) {
      const Directory at = std::move(pending.back());
      pending.pop_back();
      auto listed = list(at.id, [&](const Entry& entry) {
        std::string path = at.path.empty() ? entry.name : at.path + '/' + entry.name;
        visitor(path, entry);
        if (entry.inode.kind == Kind::directory) pending.push_back({entry.id, std::move(path)});
      });
      if (!listed && outcome) outcome = listed;
    }
    --fiber_count;
  };
  while (fiber_count > 0 || (!pending.empty() && outcome)) {
    while (outcome && fiber_count < std::min(pending.size(), fiber_count_max)) {
      if (auto spawned = firn::fiber::spawn(executor_, work); !spawned) {
        if (fiber_count == 0) return spawned;
        break;  // the fibers that there are do it
      }
      ++fiber_count;
    }
    tick();
  }
  return outcome;
}

}  // namespace mdfs
