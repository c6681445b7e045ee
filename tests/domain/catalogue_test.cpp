// The catalogue of native domains: what a later opening finds, and what becomes of the pages of
// tables that are gone.
#include <fstream>
#include <thread>

#include "support/native.hpp"

using namespace firn::test;
using firn::Buffer;
using firn::Bytes;
using firn::Domain;
using firn::Force;
using firn::Persistence;
using firn::domain::CatalogueRow;

namespace {

constexpr std::uint64_t many = 3000;

void fill(firn::Table<WordType>& words, std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t key = from; key < to; ++key) {
    const auto put = words.put(key, std::string(50 + key % 100, 'w')).wait();
    if (!put.has_value()) FAIL(put.error().message());
  }
}

// Pages that have an image, and those that have none yet.
std::uint64_t pages_of(Domain& domain) {
  checkpoint(domain);
  return native_of(domain).store().statistics().pages;
}

firn::TableInfo info_of(Domain& domain, std::string_view name) {
  const auto tables = domain.tables().wait().value();
  for (const firn::TableInfo& info : tables) {
    if (info.name == name) return info;
  }
  FAIL("no such table");
  return {};
}

CatalogueRow some_row() {
  CatalogueRow row;
  row.id = 77;
  row.name = "people";
  row.type = firn::describe<LinkType>();
  row.references = {2, 5, 77};
  row.placement.leaves = "ssd";
  row.leaf_class = 2;
  row.inline_max = 4000;
  row.root = firn::buffer::PageSlot(1, 12);
  row.former_root = firn::buffer::PageSlot(2, 9);
  row.persistence = Persistence::volatile_;
  row.pair_count = 123456;
  row.address_limit = 4097;
  return row;
}

}  // namespace

TEST_CASE("catalogue: a later opening finds tables with their types and references and pairs",
          "[catalogue]") {
  NativeFile file;
  std::uint64_t note_id = 0;
  firn::Address address;
  {
    Domain domain = file.open();
    auto notes = create_persistent<NoteType>(domain, "notes");
    auto words = create_persistent<WordType>(domain, "words");
    auto links = create_persistent<LinkType>(domain, "links");
    note_id = notes.id();
    address = notes.insert("a note").wait().value();
    fill(words, 0, many);
    Link link;
    link.note = notes.ref(address);
    link.word = words.ref(17).value();
    REQUIRE(links.put("first", link).wait());
    close(domain);
  }
  Domain domain = file.open();
  REQUIRE(domain.tables().wait().value().size() == 3);
  const auto info = info_of(domain, "links");
  CHECK(info.type == "test.link");
  CHECK(info.record_schema == firn::describe<LinkType>().record_schema);
  CHECK(info.references.size() == 3);
  CHECK(info.pair_count == 1);
  CHECK(info_of(domain, "words").pair_count == many);
  CHECK(domain.statistics().pair_count == many + 2);
  CHECK(error_of(domain.open_table<NumberType>("words").wait()) == "wrong_type");
  auto links = open<LinkType>(domain, "links");
  const auto link = found(links, "first");
  REQUIRE(link.has_value());
  CHECK(link->note.table() == note_id);
  CHECK(domain.follow(link->note).wait().value() == "a note");
  CHECK(domain.follow(link->word).wait().value() == std::string(67, 'w'));
  auto words = open<WordType>(domain, "words");
  CHECK(contents(words).size() == many);
}

TEST_CASE("catalogue: a crash leaves the last checkpoint exactly", "[catalogue]") {
  NativeFile file;
  Domain domain = file.open();
  auto words = create_persistent<WordType>(domain, "words");
  fill(words, 0, many);
  checkpoint(domain);
  const auto kept = contents(words);
  fill(words, many / 2, 2 * many);
  for (std::uint64_t key = 0; key < many; key += 3) REQUIRE(words.erase(key).wait());
  auto late = create_persistent<WordType>(domain, "late");
  Domain crashed = open_at(file.crashed());
  auto found_words = open<WordType>(crashed, "words");
  CHECK(contents(found_words) == kept);
  CHECK(error_of(crashed.open_table<WordType>("late").wait()) == "not_found");
  CHECK(crashed.tables().wait().value().size() == 1);
}

TEST_CASE("catalogue: a table that a checkpoint names has its pages", "[catalogue]") {
  NativeFile file;
  Domain domain = file.open();
  for (int number = 0; number < 20; ++number) {
    const std::string name = "table" + std::to_string(number);
    auto words = create_persistent<WordType>(domain, name);
    checkpoint(domain);
    Domain crashed = open_at(file.crashed());
    auto again = open<WordType>(crashed, name);
    CHECK(contents(again).empty());
    REQUIRE(again.put(1, "one").wait());
  }
}

TEST_CASE("catalogue: the pages of a destroyed table are used again", "[catalogue]") {
  NativeFile file;
  Domain domain = file.open();
  auto kept = create_persistent<WordType>(domain, "kept");
  fill(kept, 0, 100);
  const std::uint64_t before = pages_of(domain);
  for (int round = 0; round < 3; ++round) {
    auto words = create_persistent<WordType>(domain, "words");
    fill(words, 0, many);
    CHECK(pages_of(domain) > before + 20);
    REQUIRE(domain.destroy_table(std::move(words)).wait());
    CHECK(error_of(domain.open_table<WordType>("words").wait()) == "not_found");
    CHECK(comes_about(domain, [&] { return pages_of(domain) == before; }));
  }
  CHECK(contents(kept).size() == 100);
}

TEST_CASE("catalogue: a crash after a table was destroyed loses no space", "[catalogue]") {
  NativeFile file;
  std::string copy;
  std::uint64_t before = 0;
  {
    Domain domain = file.open();
    before = pages_of(domain);
    auto words = create_persistent<WordType>(domain, "words");
    fill(words, 0, many);
    checkpoint(domain);
    auto handle = words;
    REQUIRE(domain.destroy_table(std::move(handle), Force::yes).wait());
    checkpoint(domain);
    copy = file.crashed();
    CHECK(error_of(words.lookup(1).wait()) == "invalid_state");
  }
  Domain crashed = open_at(copy);
  CHECK(crashed.tables().wait().value().empty());
  CHECK(comes_about(crashed, [&] { return pages_of(crashed) == before; }));
}

TEST_CASE("catalogue: volatile tables are there after every opening and empty", "[catalogue]") {
  NativeFile file;
  std::uint64_t pages = 0;
  {
    Domain domain = file.open();
    auto scratch = create_persistent<WordType>(domain, "scratch", volatile_table());
    auto words = create_persistent<WordType>(domain, "words");
    REQUIRE(words.put(1, "one").wait());
    pages = pages_of(domain);
    fill(scratch, 0, many);
    close(domain);
  }
  for (int round = 0; round < 3; ++round) {
    Domain domain = file.open();
    auto scratch = open<WordType>(domain, "scratch");
    CHECK(contents(scratch).empty());
    CHECK(info_of(domain, "scratch").pair_count == 0);
    CHECK(info_of(domain, "scratch").persistence == Persistence::volatile_);
    CHECK(found(open<WordType>(domain, "words"), 1) == "one");
    CHECK(comes_about(domain, [&] { return pages_of(domain) == pages; }));
    fill(scratch, 0, 100);
    if (round == 1) continue;  // dropped, not closed
    close(domain);
  }
}

TEST_CASE("catalogue: a damaged page of what a volatile table held hinders no opening",
          "[catalogue]") {
  NativeFile file;
  const std::string mark = "a record to be damaged";
  {
    Domain domain = file.open();
    auto scratch = create_persistent<WordType>(domain, "scratch", volatile_table());
    for (std::uint64_t key = 0; key < many; ++key) REQUIRE(scratch.put(key, mark).wait());
    close(domain);
  }
  std::fstream bytes(file.path(), std::ios::binary | std::ios::in | std::ios::out);
  std::string content(std::istreambuf_iterator<char>(bytes), {});
  std::size_t damaged = 0;
  for (std::size_t at = content.find(mark); at != std::string::npos; at = content.find(mark, at)) {
    content[at] = 'x';
    ++damaged;
  }
  REQUIRE(damaged >= many);
  bytes.seekp(0);
  bytes.write(content.data(), static_cast<std::streamsize>(content.size()));
  bytes.close();
  for (int round = 0; round < 3; ++round) {
    Domain domain = file.open();
    auto scratch = open<WordType>(domain, "scratch");
    CHECK(contents(scratch).empty());
    REQUIRE(scratch.put(1, "one").wait());
    close(domain);
  }
}

TEST_CASE("catalogue: the number of a table is never used again", "[catalogue]") {
  NativeFile file;
  std::uint64_t last = 0;
  for (int round = 0; round < 4; ++round) {
    Domain domain = file.open();
    for (int table = 0; table < 3; ++table) {
      auto words = create_persistent<WordType>(domain, "words");
      CHECK(words.id() > last);
      last = words.id();
      REQUIRE(domain.destroy_table(std::move(words)).wait());
    }
    close(domain);
  }
}

TEST_CASE("catalogue: no crash lets a sack hand out an address twice", "[catalogue]") {
  NativeFile file;
  Domain domain = file.open();
  auto notes = create_persistent<NoteType>(domain, "notes");
  std::string copy;
  std::uint64_t largest = 0;
  for (int insert = 0; insert < 5000; ++insert) {
    largest = std::max(largest, notes.insert("note").wait().value().number);
  }
  CHECK(largest == 5000);
  checkpoint(domain);
  Domain crashed = open_at(file.crashed());
  auto again = open<NoteType>(crashed, "notes");
  for (int insert = 0; insert < 100; ++insert) {
    const auto address = again.insert("another").wait();
    REQUIRE(error_of(address) == "");
    CHECK(address->number > largest);
  }
  CHECK(contents(again).size() == 5100);
}

TEST_CASE("catalogue: a comparator comes with the first opening of its table", "[catalogue]") {
  NativeFile file;
  std::uint64_t id = 0;
  {
    Domain domain = file.open();
    auto words = create_persistent<CaseBlindType>(domain, "words");
    id = words.id();
    for (const char* word : {"b", "A", "c", "D"})
      CHECK(error_of(words.put(word, word).wait()) == "");
    close(domain);
  }
  Domain domain = file.open();
  const auto ref = firn::Ref<CaseBlindType>::make(id, "a").value();
  CHECK(error_of(domain.follow(ref).wait()) == "invalid_state");
  CHECK(info_of(domain, "words").pair_count == 4);
  auto words = open<CaseBlindType>(domain, "words");
  CHECK(words.id() == id);
  CHECK(found(words, "a") == "A");
  CHECK(domain.follow(ref).wait().value() == "A");
  auto cursor = words.cursor();
  std::string order;
  while (cursor.next().wait().value()) order += cursor.key();
  CHECK(order == "AbcD");
  REQUIRE(words.put("a", "x").wait());
  CHECK(domain.statistics().pair_count == 4);
}

TEST_CASE("catalogue: a row comes back as it was written", "[catalogue]") {
  const CatalogueRow row = some_row();
  Buffer value;
  REQUIRE(encode_row(row, value).has_value());
  const auto key = firn::domain::key_of_row(row.id);
  CatalogueRow decoded;
  REQUIRE(decode_row(Bytes(key.data(), key.size()), value.view(), decoded).has_value());
  CHECK(decoded.id == row.id);
  CHECK(decoded.name == row.name);
  CHECK(decoded.type.name == row.type.name);
  CHECK(decoded.type.record_schema == row.type.record_schema);
  CHECK(decoded.type.references == row.type.references);
  CHECK(decoded.type.hints == row.type.hints);
  CHECK(decoded.references == row.references);
  CHECK(decoded.placement.leaves == row.placement.leaves);
  CHECK(decoded.root == row.root);
  CHECK(decoded.former_root == row.former_root);
  CHECK(decoded.pair_count == row.pair_count);
  CHECK(decoded.address_limit == row.address_limit);
}

TEST_CASE("catalogue: bytes that are no row are corrupt and name the catalogue", "[catalogue]") {
  const CatalogueRow row = some_row();
  Buffer value;
  REQUIRE(encode_row(row, value).has_value());
  const auto key = firn::domain::key_of_row(row.id);
  const auto decode = [&](Bytes bytes) {
    CatalogueRow decoded;
    const auto result = decode_row(Bytes(key.data(), key.size()), bytes, decoded);
    if (!result.has_value() && result.error().code == firn::ErrorCode::corrupt) {
      CHECK(result.error().place.table == firn::domain::catalogue_table_id);
    }
    return result.has_value();
  };
  for (std::size_t size = 0; size < value.size(); ++size) CHECK(!decode(value.view().first(size)));
  std::string text(value.view().text());
  std::size_t refused = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (const int flip : {1, 0x80, 0xff}) {
      std::string damaged = text;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      refused += decode(Bytes(std::string_view(damaged))) ? 0 : 1;
    }
  }
  CHECK(refused > 0);
  CHECK(!decode(Bytes(std::string_view(text + "x"))));
  CatalogueRow decoded;
  CHECK(error_of(decode_row(Bytes("short"), value.view(), decoded)) == "corrupt");
  text[0] = 9;
  CHECK(error_of(decode_row(Bytes(key.data(), key.size()), Bytes(std::string_view(text)),
                            decoded)) == "unsupported_format");
}

TEST_CASE("catalogue: rows whose numbers make no sense are corrupt", "[catalogue]") {
  const auto decoded = [](const CatalogueRow& row) {
    Buffer value;
    REQUIRE(encode_row(row, value).has_value());
    const auto key = firn::domain::key_of_row(row.id);
    CatalogueRow out;
    return decode_row(Bytes(key.data(), key.size()), value.view(), out);
  };
  REQUIRE(error_of(decoded(some_row())) == "");
  const auto refused = [&](auto&& change) {
    CatalogueRow row = some_row();
    change(row);
    CHECK(error_of(decoded(row)) == "corrupt");
  };
  refused([](CatalogueRow& row) { row.id = 0; });
  refused([](CatalogueRow& row) { row.id = firn::domain::catalogue_table_id; });
  refused([](CatalogueRow& row) { row.id = ~std::uint64_t{0}; });
  refused([](CatalogueRow& row) { row.former_root = row.root; });
  refused([](CatalogueRow& row) { row.persistence = Persistence::persistent; });
  refused([](CatalogueRow& row) { row.address_limit = ~std::uint64_t{0} - 5; });
  for (const std::uint64_t next_id : {std::uint64_t{1}, ~std::uint64_t{0}}) {
    Buffer value;
    REQUIRE(firn::domain::encode_next_id(next_id, value).has_value());
    std::uint64_t out = 0;
    CHECK(error_of(firn::domain::decode_next_id(value.view(), out)) == "corrupt");
  }
}

TEST_CASE("catalogue: a payload that names no catalogue is told", "[catalogue]") {
  firn::buffer::PageSlot root;
  firn::store::Payload payload{};
  REQUIRE(firn::domain::decode_payload(payload, root).has_value());
  CHECK(!root.valid());
  payload = firn::domain::encode_payload(firn::buffer::PageSlot(2, 5));
  REQUIRE(firn::domain::decode_payload(payload, root).has_value());
  CHECK(root == firn::buffer::PageSlot(2, 5));
  payload[0] = std::byte{7};
  CHECK(error_of(firn::domain::decode_payload(payload, root)) == "unsupported_format");
  payload = firn::domain::encode_payload(firn::buffer::PageSlot());
  CHECK(error_of(firn::domain::decode_payload(payload, root)) == "corrupt");
}
