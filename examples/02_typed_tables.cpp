// Tables of one's own types: keys and records made of fields, a sack, references between tables,
// cursors both ways, an order of one's own, and an error as text.
#include <algorithm>
#include <cstdio>
#include <string>

#include <firn/firn.hpp>

using namespace firn::literals;

namespace {

// A sack: Firn assigns the addresses of its records.
struct Cover {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
};
struct CoverType : firn::SackType<Cover> {
  static constexpr std::string_view name = "shop.cover";
  using RecordCodec = firn::Fields<&Cover::width, &Cover::height>;
};

// A keyed table. Keys sort by shelf, then by title; the record points into the sack.
struct BookKey {
  std::uint16_t shelf = 0;
  std::string title;
};
struct Book {
  std::uint32_t price_cents = 0;
  firn::Ref<CoverType> cover;
};
struct BookType : firn::TableType<BookKey, Book> {
  static constexpr std::string_view name = "shop.book";
  using KeyCodec = firn::OrderedFields<&BookKey::shelf, &BookKey::title>;
  using RecordCodec = firn::Fields<&Book::price_cents, &Book::cover>;
  static constexpr firn::Hints hints{.ordered = true, .record_size_typical = 20};
};

// Keys that differ only in the case of ASCII letters are one key. The id stands in the catalogue:
// to open the table with another comparator is an error.
struct CaseBlind {
  static constexpr std::string_view id = "shop.case-blind.1";
  static unsigned folded(std::byte byte) noexcept {
    const unsigned value = std::to_integer<unsigned>(byte);
    return value >= 'A' && value <= 'Z' ? value + ('a' - 'A') : value;
  }
  static std::strong_ordering compare(firn::Bytes left, firn::Bytes right) noexcept {
    const std::size_t shared = std::min(left.size(), right.size());
    for (std::size_t index = 0; index < shared; ++index) {
      const auto order = folded(left[index]) <=> folded(right[index]);
      if (order != 0) return order;
    }
    return left.size() <=> right.size();
  }
};
struct AuthorType : firn::TableType<std::string, firn::Ref<BookType>> {
  static constexpr std::string_view name = "shop.author";
  using Comparator = CaseBlind;
};
// The same without the comparator: not the type of the table below.
struct PlainAuthorType : firn::TableType<std::string, firn::Ref<BookType>> {
  static constexpr std::string_view name = "shop.author";
};

void print(const BookKey& key, const Book& book) {
  std::printf("  shelf %u: %-12s %u.%02u\n", key.shelf, key.title.c_str(), book.price_cents / 100,
              book.price_cents % 100);
}

// author -> book -> cover, along the references that the records hold.
firn::Result<void> print_by_author(firn::Domain& domain, firn::Table<AuthorType>& authors,
                                   std::string name) {
  FIRN_TRY_ASSIGN(auto reference, authors.lookup(name).wait());
  if (!reference) {
    std::printf("%s: no such author\n", name.c_str());
    return {};
  }
  FIRN_TRY_ASSIGN(auto key, reference->key());
  FIRN_TRY_ASSIGN(auto book, domain.follow(*reference).wait());
  if (!book) {
    std::printf("%s: \"%s\" is sold\n", name.c_str(), key.title.c_str());
    return {};
  }
  FIRN_TRY_ASSIGN(auto cover, domain.follow(book->cover).wait());
  std::printf("%s: \"%s\", cover %u x %u\n", name.c_str(), key.title.c_str(),
              cover ? cover->width : 0, cover ? cover->height : 0);
  return {};
}

firn::Result<void> run() {
  FIRN_TRY_ASSIGN(auto domain, firn::Domain::open("shop", {.type = firn::DomainType::light,
                                                           .memory_budget = 64_MiB})
                                   .wait());
  // Referenced tables come first: a table may point into those that exist when it is created.
  const firn::TableOptions in_memory{.persistence = firn::Persistence::volatile_};
  FIRN_TRY_ASSIGN(auto covers, domain.create_table<CoverType>("covers", in_memory).wait());
  FIRN_TRY_ASSIGN(auto books, domain.create_table<BookType>("books", in_memory).wait());
  FIRN_TRY_ASSIGN(auto authors, domain.create_table<AuthorType>("authors", in_memory).wait());

  FIRN_TRY_ASSIGN(auto small, covers.insert({.width = 110, .height = 180}).wait());
  FIRN_TRY_ASSIGN(auto large, covers.insert({.width = 210, .height = 297}).wait());
  FIRN_TRY(books.insert({2, "Walden"}, {1250, covers.ref(small)}).wait());
  FIRN_TRY(books.insert({1, "Emma"}, {990, covers.ref(small)}).wait());
  FIRN_TRY(books.insert({2, "Atlas"}, {4900, covers.ref(large)}).wait());
  FIRN_TRY(books.insert({3, "Ulysses"}, {1999, {}}).wait());
  FIRN_TRY_ASSIGN(auto walden, books.ref({2, "Walden"}));
  FIRN_TRY_ASSIGN(auto emma, books.ref({1, "Emma"}));
  FIRN_TRY(authors.insert("Thoreau", walden).wait());
  FIRN_TRY(authors.insert("Austen", emma).wait());

  std::puts("all books:");
  auto every = books.cursor();
  while (every.next().wait().value_or(false)) print(every.key(), every.record());
  FIRN_TRY(every.status());

  std::puts("shelf 2 only, backwards:");
  auto shelf = books.cursor({.lower = BookKey{2, ""}, .upper = BookKey{3, ""}});
  while (shelf.prev().wait().value_or(false)) print(shelf.key(), shelf.record());
  FIRN_TRY(shelf.status());

  FIRN_TRY(print_by_author(domain, authors, "THOREAU"));  // found: the order is blind to case
  FIRN_TRY(books.erase({1, "Emma"}).wait());
  FIRN_TRY(print_by_author(domain, authors, "austen"));  // its reference now finds nothing
  FIRN_TRY(print_by_author(domain, authors, "Homer"));

  // Errors are values; their text says what to do next.
  auto twice = authors.insert("AUSTEN", emma).wait();
  if (!twice) std::printf("insert: %s\n", twice.error().message().c_str());
  auto opened = domain.open_table<PlainAuthorType>("authors").wait();
  if (!opened) std::printf("open: %s\n", opened.error().message().c_str());
  return domain.close().wait();
}

}  // namespace

int main() {
  if (auto done = run(); !done.has_value()) {
    std::fprintf(stderr, "02_typed_tables: %s\n", done.error().message().c_str());
    return 1;
  }
  return 0;
}
