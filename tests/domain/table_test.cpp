// Tables in the catalogue: create, open, destroy.
#include "support/light.hpp"

#include <thread>

using namespace firn::test;
using firn::Force;

namespace {

// WordType but for one thing each.
struct OtherName : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.other";
};
struct OtherKind : firn::SackType<std::string> {
  static constexpr std::string_view name = "test.word";
};
struct OtherKey : firn::TableType<std::uint32_t, std::string> {
  static constexpr std::string_view name = "test.word";
};
struct OtherRecord : firn::TableType<std::uint64_t, std::uint64_t> {
  static constexpr std::string_view name = "test.word";
};
struct OtherComparator : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.word";
  using Comparator = CaseBlind;
};
struct OtherMajor : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.word";
  static constexpr firn::TypeVersion version{2, 0};
};
struct OtherMinor : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.word";
  static constexpr firn::TypeVersion version{1, 7};
};
struct OtherHints : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.word";
  static constexpr firn::Hints hints{.record_size_typical = 100, .write_heavy = true};
};

template <class Type>
std::string_view create_error(firn::Domain& domain, std::string_view name,
                              const firn::TableOptions& options = volatile_table()) {
  const auto count_before = domain.statistics().table_count;
  const auto made = domain.create_table<Type>(name, options).wait();
  if (!made.has_value()) REQUIRE(domain.statistics().table_count == count_before);
  return error_of(made);
}
template <class Type>
std::string_view open_error(firn::Domain& domain, std::string_view name) {
  return error_of(domain.open_table<Type>(name).wait());
}

}  // namespace

TEST_CASE("table create: makes a new empty table of a type", "[table-create]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.name() == "words");
  REQUIRE(words.id() != 0);
  REQUIRE(contents(words).empty());
  REQUIRE(domain.statistics().table_count == 1);
}

TEST_CASE("table create: the catalogue holds what the table was made with", "[table-create]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  auto links = create<LinkType>(domain, "links");
  REQUIRE(words.insert(1, "one").wait());
  const auto tables = domain.tables().wait().value();
  REQUIRE(tables.size() == 3);
  CHECK(tables[0].id == words.id());
  CHECK(tables[0].name == "words");
  CHECK(tables[0].type == "test.word");
  CHECK(tables[0].version_major == 1);
  CHECK(tables[0].persistence == domain_under_test().table_options().persistence);
  CHECK(tables[0].key_schema == "u64");
  CHECK(tables[0].record_schema == "string");
  CHECK(tables[0].pair_count == 1);
  CHECK_FALSE(tables[0].sack);
  CHECK(tables[1].sack);
  CHECK(tables[2].references == std::vector<std::uint64_t>{words.id(), notes.id(), links.id()});
}

TEST_CASE("table create: a name that is taken is already_exists", "[table-create]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(create_error<WordType>(domain, "words") == "already_exists");
  REQUIRE(create_error<NoteType>(domain, "words") == "already_exists");
  REQUIRE(create_error<WordType>(domain, "Words") == "");
  REQUIRE(found(words, 1) == "one");
}

TEST_CASE("table create: names have 1 to 255 bytes", "[table-create]") {
  firn::Domain domain = open_domain();
  REQUIRE(create_error<WordType>(domain, "") == "invalid_argument");
  REQUIRE(create_error<WordType>(domain, std::string(256, 'n')) == "too_large");
  REQUIRE(create_error<WordType>(domain, std::string(255, 'n')) == "");
  REQUIRE(create_error<WordType>(domain, std::string("a\0b", 3)) == "");
  REQUIRE(create_error<WordType>(domain, "a") == "");
}

TEST_CASE("table create: an unknown segment is not_found", "[table-create]") {
  firn::Domain domain = open_domain();
  for (auto part : {&firn::Placement::inner, &firn::Placement::leaves, &firn::Placement::values}) {
    auto options = volatile_table();
    options.placement.*part = "disk";
    REQUIRE(create_error<WordType>(domain, "words", options) == "not_found");
  }
}

TEST_CASE("table create: a persistent table is unsupported where nothing persists",
          "[table-create]") {
  firn::Domain domain = open_light();
  const auto made = domain.create_table<WordType>("words").wait();
  REQUIRE(error_of(made) == "unsupported");
  REQUIRE(made.error().message().find("'persistent'") != std::string::npos);
  REQUIRE(made.error().message().find("volatile") != std::string::npos);
  REQUIRE(error_of(domain.open_table<WordType>("words").wait()) == "not_found");
}

TEST_CASE("table create: a reference to an undeclared table is invalid_argument",
          "[table-create]") {
  firn::Domain domain = open_domain();
  REQUIRE(create_error<LinkType>(domain, "links") == "invalid_argument");
  auto words = create<WordType>(domain, "words");
  REQUIRE(create_error<LinkType>(domain, "links") == "invalid_argument");
  auto notes = create<NoteType>(domain, "notes");
  REQUIRE(create_error<LinkType>(domain, "links") == "");
}

TEST_CASE("table create: named references must exist and be of a type that is referred to",
          "[table-create]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  auto bytes = create<firn::BytesType>(domain, "bytes");
  const auto with = [](std::vector<std::string> names) {
    auto options = volatile_table();
    options.references = std::move(names);
    return options;
  };
  REQUIRE(create_error<LinkType>(domain, "l", with({"words", "gone"})) == "invalid_argument");
  REQUIRE(create_error<LinkType>(domain, "l", with({"words", "notes", "bytes"})) ==
          "invalid_argument");
  REQUIRE(create_error<LinkType>(domain, "l", with({"words"})) == "invalid_argument");
  REQUIRE(create_error<WordType>(domain, "l", with({"notes"})) == "invalid_argument");
  REQUIRE(create_error<LinkType>(domain, "l", with({"words", "notes", "words"})) == "");
}

TEST_CASE("table create: a table may name itself among its references", "[table-create]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  auto options = volatile_table();
  options.references = {"words", "links", "notes"};
  auto links = domain.create_table<LinkType>("links", options).wait().value();
  REQUIRE(domain.tables().wait().value().back().references ==
          std::vector<std::uint64_t>{words.id(), notes.id(), links.id()});
  REQUIRE(links.insert("a", {{}, {}, links.ref("a").value()}).wait());
  REQUIRE(domain.follow(links.ref("a").value()).wait().value().has_value());
}

TEST_CASE("table create: keeps the names it is given until it runs", "[table-create]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  std::string name = "links";
  std::string target = "a table whose name lies in memory of its own";
  auto far = create<WordType>(domain, target);
  auto options = volatile_table();
  options.references = {"notes", target};
  auto operation = domain.create_table<LinkType>(name, options);
  options.references.clear();
  name.assign(name.size(), 'x');
  target.assign(target.size(), 'x');
  REQUIRE(operation.wait());
  const auto tables = domain.tables().wait().value();
  REQUIRE(tables.back().name == "links");
  REQUIRE(tables.back().references ==
          std::vector<std::uint64_t>{notes.id(), far.id(), tables.back().id});
}

TEST_CASE("table create: segments are unsupported in a light domain", "[table-create]") {
  firn::Domain domain = open_domain();
  const auto memory = domain.create_segment("m", firn::MemorySegment{.size = 1 << 20}).wait();
  REQUIRE(error_of(memory) == "unsupported");
  REQUIRE(memory.error().message().find("segments") != std::string::npos);
  REQUIRE(error_of(domain.create_segment("l", firn::LocalSegment{.path = "x"}).wait()) ==
          "unsupported");
  REQUIRE(error_of(domain.create_segment("r", firn::RemoteSegment{}).wait()) == "unsupported");
  REQUIRE(error_of(domain.destroy_segment("m").wait()) == "unsupported");
  REQUIRE(error_of(domain.destroy_segment("").wait()) == "invalid_argument");
}

TEST_CASE("table open: finds the table by its name", "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto others = create<WordType>(domain, "others");
  REQUIRE(words.insert(1, "one").wait());
  auto opened = open<WordType>(domain, "words");
  REQUIRE(opened.id() == words.id());
  REQUIRE(found(opened, 1) == "one");
  REQUIRE(opened.insert(2, "two").wait());
  REQUIRE(found(words, 2) == "two");
  REQUIRE(open<WordType>(domain, "others").id() == others.id());
}

TEST_CASE("table open: handles are cheap and shared", "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  std::vector<firn::Table<WordType>> handles(1000, words);
  for (std::size_t i = 0; i < handles.size(); ++i) REQUIRE(handles[i].insert(i, "r").wait());
  handles.clear();
  REQUIRE(contents(words).size() == 1000);
}

TEST_CASE("table open: outlives every handle", "[table-open]") {
  firn::Domain domain = open_domain();
  REQUIRE(create<WordType>(domain, "words").insert(1, "one").wait());
  REQUIRE(found(open<WordType>(domain, "words"), 1) == "one");
}

TEST_CASE("table open: a missing table is not_found", "[table-open]") {
  firn::Domain domain = open_domain();
  REQUIRE(open_error<WordType>(domain, "words") == "not_found");
  REQUIRE(open_error<WordType>(domain, "") == "invalid_argument");
  REQUIRE(open_error<WordType>(domain, std::string(256, 'n')) == "too_large");
}

TEST_CASE("table open: another type name is wrong_type", "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(open_error<OtherName>(domain, "words") == "wrong_type");
}

TEST_CASE("table open: another kind is wrong_type", "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<OtherKind>(domain, "notes");
  REQUIRE(open_error<OtherKind>(domain, "words") == "wrong_type");
  REQUIRE(open_error<WordType>(domain, "notes") == "wrong_type");
}

TEST_CASE("table open: another key codec is wrong_type", "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(open_error<OtherKey>(domain, "words") == "wrong_type");
}

TEST_CASE("table open: another record codec is wrong_type", "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(open_error<OtherRecord>(domain, "words") == "wrong_type");
}

TEST_CASE("table open: another comparator is wrong_type", "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(open_error<OtherComparator>(domain, "words") == "wrong_type");
}

TEST_CASE("table open: another major version is wrong_type and another minor one is not",
          "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(open_error<OtherMajor>(domain, "words") == "wrong_type");
  REQUIRE(open_error<OtherMinor>(domain, "words") == "");
}

TEST_CASE("table open: other hints are no other type", "[table-open]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(open_error<OtherHints>(domain, "words") == "");
}

TEST_CASE("table destroy: the catalogue row goes at once", "[table-destroy]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.insert(1, "one").wait());
  const auto used = domain.statistics().memory_used;
  REQUIRE(domain.destroy_table(std::move(words)).wait());
  REQUIRE(open_error<WordType>(domain, "words") == "not_found");
  REQUIRE(domain.tables().wait().value().empty());
  REQUIRE(domain.statistics().table_count == 0);
  REQUIRE(domain.statistics().pair_count == 0);
  // Its memory may follow in the background; that it does not is for the test's time limit to tell.
  while (domain.statistics().memory_used >= used) std::this_thread::yield();
}

TEST_CASE("table destroy: other open handles make it busy", "[table-destroy]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto other = open<WordType>(domain, "words");
  const auto answer = domain.destroy_table(std::move(words)).wait();
  REQUIRE(error_of(answer) == "busy");
  REQUIRE(answer.error().message().find("1 other") != std::string::npos);
  REQUIRE(other.insert(1, "one").wait());
  REQUIRE(domain.destroy_table(std::move(other)).wait());
}

TEST_CASE("table destroy: an open cursor makes it busy", "[table-destroy]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  REQUIRE(words.insert(1, "one").wait());
  {
    auto cursor = words.cursor();
    REQUIRE(cursor.next().wait().value());
    auto copy = words;
    words = {};
    REQUIRE(error_of(domain.destroy_table(std::move(copy)).wait()) == "busy");
    REQUIRE_FALSE(cursor.next().wait().value());
  }
  REQUIRE(domain.destroy_table(open<WordType>(domain, "words")).wait());
}

TEST_CASE("table destroy: references from other tables make it busy", "[table-destroy]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  auto links = create<LinkType>(domain, "links");
  const auto answer = domain.destroy_table(std::move(notes)).wait();
  REQUIRE(error_of(answer) == "busy");
  REQUIRE(answer.error().value == links.id());
  // Its own references are no hindrance.
  REQUIRE(domain.destroy_table(std::move(links)).wait());
  REQUIRE(domain.destroy_table(open<NoteType>(domain, "notes")).wait());
}

TEST_CASE("table destroy: force overrules handles and references", "[table-destroy]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto notes = create<NoteType>(domain, "notes");
  auto links = create<LinkType>(domain, "links");
  auto second = notes;
  REQUIRE(domain.destroy_table(std::move(notes), Force::yes).wait());
  REQUIRE(open_error<NoteType>(domain, "notes") == "not_found");
}

TEST_CASE("table destroy: old handles are invalid_state", "[table-destroy]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto old = words;
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(domain.destroy_table(std::move(words), Force::yes).wait());
  REQUIRE(error_of(old.lookup(1).wait()) == "invalid_state");
  REQUIRE(error_of(old.insert(2, "two").wait()) == "invalid_state");
  REQUIRE(error_of(old.put(1, "two").wait()) == "invalid_state");
  REQUIRE(error_of(old.update(1, "two").wait()) == "invalid_state");
  REQUIRE(error_of(old.erase(1).wait()) == "invalid_state");
  REQUIRE(error_of(old.read(1, [](firn::Bytes) noexcept {}).wait()) == "invalid_state");
  auto cursor = old.cursor();
  REQUIRE(error_of(cursor.status()) == "invalid_state");
  REQUIRE(error_of(cursor.next().wait()) == "invalid_state");
  REQUIRE(error_of(domain.destroy_table(std::move(old), Force::yes).wait()) == "invalid_state");
}

TEST_CASE("table destroy: ids are never used again and names are", "[table-destroy]") {
  firn::Domain domain = open_domain();
  auto words = create<WordType>(domain, "words");
  auto old = words;
  const std::uint64_t id = words.id();
  REQUIRE(words.insert(1, "one").wait());
  REQUIRE(domain.destroy_table(std::move(words), Force::yes).wait());
  auto again = create<WordType>(domain, "words");
  REQUIRE(again.id() > id);
  REQUIRE(contents(again).empty());
  REQUIRE(again.insert(1, "uno").wait());
  REQUIRE(error_of(old.lookup(1).wait()) == "invalid_state");
}

TEST_CASE("table destroy: memory goes back with the last handle", "[table-destroy]") {
  firn::Domain domain = open_light();
  const std::uint64_t empty = domain.statistics().memory_used;
  auto words = create<WordType>(domain, "words");
  for (std::uint64_t key = 0; key < 100; ++key) REQUIRE(words.insert(key, "record").wait());
  auto old = words;
  REQUIRE(domain.destroy_table(std::move(words), Force::yes).wait());
  old = {};
  REQUIRE(domain.statistics().memory_used == empty);
}
