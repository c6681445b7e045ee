// What a metadata server keeps, as table types:
//
//   mdfs.dirent  (parent id, name)  ->  reference to the inode
//   mdfs.inode   inode id           ->  attributes, reference to the parent, reference to the body
//   mdfs.body    sack               ->  what lies behind the inode: blocks, a symlink's target
//   mdfs.origin  (tree, device, number)  ->  reference to the inode, for files of more than one
//   name
//
// A store may hold several indexed trees; the upper bits of an inode id say of which one it is.
// A directory's entries are neighbours, so listing it reads one range. No record holds a path:
// renaming a directory of a million files changes one dirent and one inode.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <firn/firn.hpp>

namespace mdfs {

enum class Kind : std::uint8_t { file, directory, symlink, block, character, pipe, socket };

/// Whether a directory's entries are in the tables.
enum class Contents : std::uint8_t { complete, unreadable, other_file_system };

struct Body {
  std::uint64_t size_bytes = 0;
  std::uint64_t blocks = 0;         ///< of 512 bytes, as stat counts them
  std::uint32_t name_checksum = 0;  ///< of the first name: the walk reads no file
  std::string target;               ///< of a symlink
  friend bool operator==(const Body&, const Body&) = default;
};
struct BodyType : firn::SackType<Body> {
  static constexpr std::string_view name = "mdfs.body";
  using RecordCodec =
      firn::Fields<&Body::size_bytes, &Body::blocks, &Body::name_checksum, &Body::target>;
};

struct InodeType;
struct Inode {
  Kind kind = Kind::file;
  Contents contents = Contents::complete;
  std::uint16_t mode = 0;  ///< permission bits, set-user-id and so on
  std::uint64_t size_bytes = 0;
  std::int64_t modified_ns = 0;  ///< since 1970
  std::uint32_t links = 0;       ///< as the origin counts them
  std::uint32_t names = 0;       ///< entries of this index that lead here
  std::uint32_t user = 0;
  std::uint32_t group = 0;
  std::uint64_t device = 0;     ///< of the origin
  std::uint64_t number = 0;     ///< the origin's inode number
  firn::Ref<InodeType> parent;  ///< null at the root
  std::string name;             ///< the first one, under `parent`; of the root its path
  firn::Ref<BodyType> body;

  /// What a walk finds out, all but the references, names and contents.
  [[nodiscard]] bool same_attributes(const Inode& other) const noexcept {
    return same_file(other) && mode == other.mode && size_bytes == other.size_bytes &&
           modified_ns == other.modified_ns && links == other.links && user == other.user &&
           group == other.group;
  }
  void take_attributes(const Inode& other) noexcept {
    kind = other.kind;
    mode = other.mode;
    size_bytes = other.size_bytes;
    modified_ns = other.modified_ns;
    links = other.links;
    user = other.user;
    group = other.group;
    device = other.device;
    number = other.number;
  }
  [[nodiscard]] bool same_file(const Inode& other) const noexcept {
    return kind == other.kind && device == other.device && number == other.number;
  }
};
struct InodeType : firn::TableType<std::uint64_t, Inode> {
  static constexpr std::string_view name = "mdfs.inode";
  using RecordCodec =
      firn::Fields<&Inode::kind, &Inode::contents, &Inode::mode, &Inode::size_bytes,
                   &Inode::modified_ns, &Inode::links, &Inode::names, &Inode::user, &Inode::group,
                   &Inode::device, &Inode::number, &Inode::parent, &Inode::name, &Inode::body>;
  static constexpr firn::Hints hints{.ordered = true, .record_size_typical = 112};
};

struct DirentKey {
  std::uint64_t parent = 0;
  std::string name;
};
struct Dirent {
  firn::Ref<InodeType> inode;
};
struct DirentType : firn::TableType<DirentKey, Dirent> {
  static constexpr std::string_view name = "mdfs.dirent";
  using KeyCodec = firn::OrderedFields<&DirentKey::parent, &DirentKey::name>;
  using RecordCodec = firn::Fields<&Dirent::inode>;
  static constexpr firn::Hints hints{.ordered = true, .record_size_typical = 10};
};

struct OriginKey {
  std::uint64_t tree = 0;
  std::uint64_t device = 0;
  std::uint64_t number = 0;
  friend auto operator<=>(const OriginKey&, const OriginKey&) = default;
};
struct OriginType : firn::TableType<OriginKey, firn::Ref<InodeType>> {
  static constexpr std::string_view name = "mdfs.origin";
  using KeyCodec = firn::OrderedFields<&OriginKey::tree, &OriginKey::device, &OriginKey::number>;
};

}  // namespace mdfs
