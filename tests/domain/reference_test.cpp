// References between tables, following them, and sacks, whose addresses they hold.
#include "support/calling_codec.hpp"
#include "support/light.hpp"

#include <limits>
#include <random>
#include <set>

using namespace firn::test;
using firn::Address;
using firn::Force;
using firn::Ref;

namespace {

struct Linked {
  firn::Domain domain = open_domain();
  firn::Table<WordType> words = create<WordType>(domain, "words");
  firn::Table<NoteType> notes = create<NoteType>(domain, "notes");
  firn::Table<LinkType> links = create<LinkType>(domain, "links");
};

template <class Type>
firn::Buffer encoded_key_of(const firn::KeyOf<Type>& key) {
  firn::Buffer buffer;
  REQUIRE(firn::encode_key<Type>(key, buffer));
  return buffer;
}

// WordType's name on types that differ from it in one thing each.
struct NewerWordType : WordType {
  static constexpr firn::TypeVersion version{1, 7};
};
struct NextWordType : WordType {
  static constexpr firn::TypeVersion version{2, 0};
};
struct OtherKeyWordType : firn::TableType<std::int64_t, std::string> {
  static constexpr std::string_view name = WordType::name;
};
struct OtherRecordWordType : firn::TableType<std::uint64_t, std::uint64_t> {
  static constexpr std::string_view name = WordType::name;
};
struct OtherOrderWordType : WordType {
  using Comparator = CaseBlind;
};

}  // namespace

TEST_CASE("reference: goes through records of one table to pairs of others", "[reference]") {
  Linked all;
  const Address address = all.notes.insert("note").wait().value();
  REQUIRE(all.words.insert(1, "one").wait());
  REQUIRE(all.links.insert("a", {all.notes.ref(address), all.words.ref(1).value(), {}}).wait());
  REQUIRE(all.links.insert("b", {{}, {}, all.links.ref("a").value()}).wait());
  const Link b = *found(all.links, "b");
  REQUIRE(b.note.is_null());
  const Link a = *all.domain.follow(b.next).wait().value();
  REQUIRE(a.note.table() == all.notes.id());
  REQUIRE(a.note.key().value() == address);
  REQUIRE(all.domain.follow(a.note).wait().value() == "note");
  REQUIRE(all.domain.follow(a.word).wait().value() == "one");
}

TEST_CASE("reference: may be made to a pair that does not exist yet", "[reference]") {
  Linked all;
  const auto ref = all.words.ref(9).value();
  REQUIRE(all.domain.follow(ref).wait().value() == std::nullopt);
  REQUIRE(all.words.insert(9, "nine").wait());
  REQUIRE(all.domain.follow(ref).wait().value() == "nine");
}

TEST_CASE("reference: to a key without an encoding is refused", "[reference]") {
  firn::Domain domain = open_domain();
  auto numbers = create<NumberType>(domain, "numbers");
  REQUIRE(error_of(numbers.ref(std::numeric_limits<double>::quiet_NaN())) == "invalid_argument");
}

TEST_CASE("reference: the catalogue lists the tables that references may point into",
          "[reference]") {
  Linked all;
  auto options = volatile_table();
  options.references = {"notes", "words"};
  auto more = all.domain.create_table<LinkType>("more", options).wait().value();
  const auto tables = all.domain.tables().wait().value();
  REQUIRE(tables[3].references ==
          std::vector<std::uint64_t>{all.words.id(), all.notes.id(), more.id()});
}

TEST_CASE("follow: leads from a reference to the record", "[follow]") {
  Linked all;
  REQUIRE(all.words.insert(1, "one").wait());
  REQUIRE(all.domain.follow(all.words.ref(1).value()).wait().value() == "one");
}

TEST_CASE("follow: within a transaction sees its updates", "[follow]") {
  Linked all;
  auto transaction = all.domain.begin().wait().value();
  REQUIRE(all.words.insert(transaction, 1, "one").wait());
  REQUIRE(all.domain.follow(transaction, all.words.ref(1).value()).wait().value() == "one");
  REQUIRE(transaction.commit().wait());
}

TEST_CASE("follow: a null reference is empty", "[follow]") {
  Linked all;
  REQUIRE(all.domain.follow(Ref<WordType>()).wait().value() == std::nullopt);
}

TEST_CASE("follow: a null reference on a closed domain is invalid_state all the same", "[follow]") {
  Linked all;
  REQUIRE(all.domain.close().wait());
  REQUIRE(error_of(all.domain.follow(Ref<WordType>()).wait()) == "invalid_state");
}

TEST_CASE("follow: an erased target is empty", "[follow]") {
  Linked all;
  const Address address = all.notes.insert("note").wait().value();
  const auto ref = all.notes.ref(address);
  REQUIRE(all.domain.follow(ref).wait().value() == "note");
  REQUIRE(all.notes.erase(address).wait());
  REQUIRE(all.domain.follow(ref).wait().value() == std::nullopt);
}

TEST_CASE("follow: an address with another generation is empty", "[follow]") {
  Linked all;
  Address address = all.notes.insert("note").wait().value();
  ++address.generation;
  REQUIRE(all.domain.follow(all.notes.ref(address)).wait().value() == std::nullopt);
}

TEST_CASE("follow: a destroyed target table is not_found", "[follow]") {
  Linked all;
  const Address address = all.notes.insert("note").wait().value();
  const auto ref = all.notes.ref(address);
  REQUIRE(all.domain.destroy_table(std::move(all.notes), Force::yes).wait());
  REQUIRE(error_of(all.domain.follow(ref).wait()) == "not_found");
  // The same name again is another table.
  auto again = create<NoteType>(all.domain, "notes");
  const auto followed = all.domain.follow(ref).wait();
  REQUIRE(error_of(followed) == "not_found");
  REQUIRE(followed.error().value == ref.table());
}

TEST_CASE("follow: a target table of another type is wrong_type", "[follow]") {
  Linked all;
  const auto ref = Ref<WordType>::make(all.notes.id(), 1).value();
  const auto followed = all.domain.follow(ref).wait();
  REQUIRE(error_of(followed) == "wrong_type");
  REQUIRE(followed.error().place.table == all.notes.id());
}

TEST_CASE("follow: compares types as open does", "[follow]") {
  Linked all;
  REQUIRE(all.words.insert(1, "one").wait());
  const firn::Buffer key = encoded_key_of<WordType>(1);
  const auto follow = [&](auto type) {
    using Type = decltype(type);
    const auto ref = Ref<Type>::from_encoded(all.words.id(), key.view());
    return error_of(all.domain.follow(ref).wait());
  };
  CHECK(follow(WordType()) == "");
  CHECK(follow(NewerWordType()) == "");
  CHECK(follow(NextWordType()) == "wrong_type");
  CHECK(follow(OtherKeyWordType()) == "wrong_type");
  CHECK(follow(OtherRecordWordType()) == "wrong_type");
  CHECK(follow(OtherOrderWordType()) == "wrong_type");
}

TEST_CASE("follow: does not keep its table from being destroyed meanwhile", "[follow]") {
  firn::Domain domain = open_domain();
  auto calling = create<CallingType>(domain, "calling");
  REQUIRE(calling.insert(1, "record").wait());
  const auto ref = calling.ref(1).value();
  std::string_view destroyed = "not called";
  CallingCodec::call = [&]() noexcept {
    destroyed = error_of(domain.destroy_table(std::move(calling)).wait());
  };
  REQUIRE(domain.follow(ref).wait().value() == "record");
  CallingCodec::call = nullptr;
  REQUIRE(destroyed == "");
  REQUIRE(error_of(domain.follow(ref).wait()) == "not_found");
}

TEST_CASE("follow: a key of no pair whatever its bytes is empty", "[follow]") {
  Linked all;
  REQUIRE(all.words.insert(1, "one").wait());
  for (const std::size_t size : {0u, 1u, 7u, 9u, 2048u, 5000u}) {
    const std::string key(size, '\x7f');
    const auto ref = Ref<WordType>::from_encoded(all.words.id(), firn::Bytes(key));
    REQUIRE(all.domain.follow(ref).wait().value() == std::nullopt);
  }
}

TEST_CASE("follow: a record that does not decode is corrupt with its table", "[follow]") {
  firn::Domain domain = open_domain();
  auto picky = create<PickyType>(domain, "picky");
  REQUIRE(picky.insert(1, "bad").wait());
  const auto followed = domain.follow(picky.ref(1).value()).wait();
  REQUIRE(error_of(followed) == "corrupt");
  REQUIRE(followed.error().place.table == picky.id());
}

TEST_CASE("follow: with a transaction of another domain is wrong_domain", "[follow]") {
  Linked all;
  firn::Domain other = open_domain();
  auto transaction = other.begin().wait().value();
  REQUIRE(error_of(all.domain.follow(transaction, all.words.ref(1).value()).wait()) ==
          "wrong_domain");
  REQUIRE(error_of(all.domain.follow(transaction, Ref<WordType>()).wait()) == "wrong_domain");
}

TEST_CASE("sack: assigns an address to each record", "[sack]") {
  firn::Domain domain = open_domain();
  auto notes = create<NoteType>(domain, "notes");
  const Address first = notes.insert("first").wait().value();
  const Address second = notes.insert("second").wait().value();
  REQUIRE_FALSE(first.is_null());
  REQUIRE(first != second);
  REQUIRE(found(notes, first) == "first");
  REQUIRE(found(notes, second) == "second");
  REQUIRE(found(notes, Address()) == std::nullopt);
}

TEST_CASE("sack: an address is never used again while the record lives", "[sack]") {
  firn::Domain domain = open_domain();
  auto notes = create<NoteType>(domain, "notes");
  std::map<Address, std::string> live;
  std::set<Address> given;
  std::mt19937_64 random(5);
  for (int step = 0; step < 20'000; ++step) {
    if (live.empty() || random() % 3 != 0) {
      const Address address = notes.insert(std::to_string(step)).wait().value();
      REQUIRE(given.insert(address).second);
      live[address] = std::to_string(step);
    } else {
      auto victim = live.lower_bound(Address{random() % (given.size() + 1), 0});
      if (victim == live.end()) victim = live.begin();
      REQUIRE(notes.erase(victim->first, firn::Expect::present).wait());
      live.erase(victim);
    }
  }
  REQUIRE(contents(notes) == live);
}

TEST_CASE("sack: an address stays its record's through updates of it and others", "[sack]") {
  firn::Domain domain = open_domain();
  auto notes = create<NoteType>(domain, "notes");
  const Address address = notes.insert("short").wait().value();
  for (std::size_t size = 1; size < 100'000; size *= 3) {
    REQUIRE(notes.update(address, std::string(size, 'r')).wait());
    REQUIRE(notes.insert("another").wait());
    REQUIRE(found(notes, address) == std::string(size, 'r'));
  }
}

TEST_CASE("sack: update and checked erase of an address that is gone are not_found", "[sack]") {
  firn::Domain domain = open_domain();
  auto notes = create<NoteType>(domain, "notes");
  const Address address = notes.insert("note").wait().value();
  REQUIRE(notes.erase(address).wait());
  REQUIRE(error_of(notes.update(address, "x").wait()) == "not_found");
  REQUIRE(error_of(notes.erase(address, firn::Expect::present).wait()) == "not_found");
  REQUIRE(error_of(notes.update(Address(), "x").wait()) == "not_found");
  REQUIRE(contents(notes).empty());
}

TEST_CASE("sack: cursors run in the order of addresses", "[sack]") {
  firn::Domain domain = open_domain();
  auto notes = create<NoteType>(domain, "notes");
  std::vector<Address> given;
  for (int i = 0; i < 300; ++i) given.push_back(notes.insert(std::to_string(i)).wait().value());
  auto cursor = notes.cursor({.lower = given[100], .upper = given[200]});
  for (std::size_t i = 100; i < 200; ++i) {
    REQUIRE(cursor.next().wait().value());
    REQUIRE(cursor.key() == given[i]);
  }
  REQUIRE_FALSE(cursor.next().wait().value());
}

TEST_CASE("sack: a refused insert adds nothing", "[sack]") {
  firn::Domain domain = open_light("", 1 << 20);
  auto notes = create<NoteType>(domain, "notes");
  const Address before = notes.insert("before").wait().value();
  REQUIRE(error_of(notes.insert(std::string(2 << 20, 'r')).wait()) == "no_memory");
  const Address after = notes.insert("after").wait().value();
  REQUIRE(before < after);
  REQUIRE(contents(notes).size() == 2);
}

TEST_CASE("sack: inserts of a transaction are found by it", "[sack]") {
  firn::Domain domain = open_domain();
  auto notes = create<NoteType>(domain, "notes");
  auto transaction = domain.begin().wait().value();
  const Address address = notes.insert(transaction, "note").wait().value();
  REQUIRE(notes.lookup(transaction, address).wait().value() == "note");
  REQUIRE(transaction.commit().wait());
}
