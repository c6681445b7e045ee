// The metadata store: the tables of types.hpp behind the deeds that a metadata server needs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "resident.hpp"
#include "types.hpp"

namespace mdfs {

/// A directory entry and where its reference leads.
struct Entry {
  std::string name;
  std::uint64_t id = 0;
  Inode inode;
};

/// What a walk found out about one entry. A `parent` of 0 makes it the root.
struct NewEntry {
  std::uint64_t parent = 0;
  std::string name;
  Inode inode;  ///< without the references, which the store fills in
  Body body;
};

/// Used by one thread at a time; what it waits for is waited for on its executor.
class MetadataStore {
 public:
  /// Opens the domain, makes the tables that are not there and opens the others.
  [[nodiscard]] static firn::Result<MetadataStore> open(std::string_view path,
                                                        const firn::DomainOptions& options);

  /// Which of the trees the calls below are about, counted from 1; one more than there are is new.
  [[nodiscard]] firn::Result<void> select_tree(std::uint64_t tree);
  [[nodiscard]] std::uint64_t tree() const noexcept { return tree_; }
  [[nodiscard]] std::uint64_t tree_count() const noexcept { return tree_count_; }
  [[nodiscard]] std::uint64_t root_id() const noexcept { return (tree_ << tree_shift) + 1; }
  /// All inodes of the tree.
  [[nodiscard]] firn::Range<std::uint64_t> inode_range() const noexcept {
    return {.lower = tree_ << tree_shift, .upper = (tree_ + 1) << tree_shift};
  }
  [[nodiscard]] firn::Range<DirentKey> dirent_range() const {
    return {.lower = DirentKey{tree_ << tree_shift, ""},
            .upper = DirentKey{(tree_ + 1) << tree_shift, ""}};
  }
  [[nodiscard]] firn::Range<OriginKey> origin_range() const noexcept {
    return {.lower = OriginKey{tree_, 0, 0}, .upper = OriginKey{tree_ + 1, 0, 0}};
  }

  /// A number for the next inode.
  [[nodiscard]] std::uint64_t new_id() noexcept {
    if (tree_count_ < tree_) tree_count_ = tree_;
    return next_id_++;
  }
  /// Adds an entry whose inode has no other name: `id` is new.
  [[nodiscard]] firn::Task<firn::Result<void>> add(std::uint64_t id, NewEntry entry);
  /// Adds an entry that may be a further name of an inode. One at a time: it counts the names.
  [[nodiscard]] firn::Task<firn::Result<void>> add_link(NewEntry entry);
  /// Brings an inode up to date with what a walk found; with `renames` its first name too. Whether
  /// anything was different.
  [[nodiscard]] firn::Result<bool> refresh(const Entry& known, const NewEntry& found, bool renames);
  /// The same for the inode of the name that was found.
  [[nodiscard]] firn::Result<bool> refresh_named(const NewEntry& found);
  /// Removes an entry, all below it, and what has no name any more. How many entries that were.
  [[nodiscard]] firn::Result<std::uint64_t> remove(std::uint64_t parent, Entry entry);
  /// Notes whether a directory's entries are missing.
  [[nodiscard]] firn::Result<void> set_contents(std::uint64_t id, Contents contents);

  /// The inode of a path relative to the root; empty if there is none. "..", as in a shell, leads
  /// to the parent, which for the root is itself; symlinks are not followed.
  [[nodiscard]] firn::Task<firn::Result<std::optional<Entry>>> resolve(std::string path);
  /// Resolves a path as the user writes it: absolute below the indexed directory, or relative to
  /// it. Blocks. `not_found` if there is none, `invalid_argument` if it lies outside.
  [[nodiscard]] firn::Result<Entry> find(std::string_view path);
  [[nodiscard]] firn::Result<std::string> root_path();

  /// Where an inode lies, by its parents: absolute, by its first name.
  [[nodiscard]] firn::Result<std::string> path_of(const Inode& inode);

  /// The entries of a directory, in the order of their names.
  [[nodiscard]] static firn::Range<DirentKey> range_of(std::uint64_t directory) {
    return {.lower = DirentKey{directory, ""}, .upper = DirentKey{directory + 1, ""}};
  }

  /// Visits every entry below a directory, many directories at a time, each on a fiber of its own;
  /// within a directory in order. `path` of the visitor is relative to the directory.
  using Visitor = std::function<void(const std::string& path, const Entry& entry)>;
  [[nodiscard]] firn::Result<void> descend(std::uint64_t directory, const Visitor& visitor);

  /// Runs a coroutine to its end on this thread.
  template <class T>
  T run(firn::Task<T> task) {
    task.start(executor_);
    while (!task.done()) tick();
    return task.result();
  }
  /// Lets what is under way go on; waits if nothing can.
  void tick() noexcept {
    using namespace firn::literals;
    Resident::look();
    if (executor_.tick(1_ms) == 0) executor_.wait_for_work();
  }

  [[nodiscard]] firn::Executor& executor() noexcept { return executor_; }
  [[nodiscard]] firn::Domain& domain() noexcept { return domain_; }
  [[nodiscard]] firn::Table<InodeType>& inodes() noexcept { return inodes_; }
  [[nodiscard]] firn::Table<DirentType>& dirents() noexcept { return dirents_; }
  [[nodiscard]] firn::Table<OriginType>& origins() noexcept { return origins_; }
  /// Gives the tables back and closes the domain.
  [[nodiscard]] firn::Result<void> close();

 private:
  static constexpr unsigned tree_shift = 40;

  MetadataStore(firn::Executor executor, firn::Domain domain) noexcept
      : executor_(std::move(executor)), domain_(std::move(domain)) {}
  template <class Type>
  firn::Result<firn::Table<Type>> open_table(std::string_view name);
  firn::Result<void> forget_name(Entry entry);
  firn::Result<void> list(std::uint64_t directory,
                          const std::function<void(const Entry&)>& take) noexcept;

  firn::Executor executor_;
  firn::Domain domain_;
  firn::Table<BodyType> bodies_;
  firn::Table<InodeType> inodes_;
  firn::Table<DirentType> dirents_;
  firn::Table<OriginType> origins_;
  std::uint64_t tree_ = 1;
  std::uint64_t tree_count_ = 0;
  std::uint64_t next_id_ = 0;
};

}  // namespace mdfs
