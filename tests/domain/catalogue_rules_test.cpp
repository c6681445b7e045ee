// The rules of catalogues, on lists of tables without an engine.
#include "domain/catalogue_rules.hpp"

#include <firn/firn.hpp>

#include <memory>

#include "domain/open_names.hpp"
#include "support/light.hpp"

using namespace firn::test;
using namespace firn::domain;
using firn::Bytes;
using firn::Capability;
using firn::DomainType;
using firn::Error;
using firn::Force;
using firn::OperationBase;
using firn::TypeDescription;

namespace {

constexpr auto everything = static_cast<Capability>(~0u);

// A domain and a table that do nothing.
class NoDomain final : public DomainCore {
 public:
  explicit NoDomain(DomainType type = DomainType::native, std::string path = "")
      : DomainCore(type, std::move(path), {}) {}
  Progress close(OperationBase&, Error&) noexcept override { return Progress::yes; }
  void abandon() noexcept override {}
  Progress create_table(OperationBase&, Error&, std::string_view, const TypeDescription&,
                        const firn::TableOptions&, Reference<TableCore>&) noexcept override {
    return Progress::no;
  }
  Progress open_table(OperationBase&, Error&, std::string_view, const TypeDescription&,
                      Reference<TableCore>&) noexcept override {
    return Progress::no;
  }
  Progress destroy_table(OperationBase&, Error&, TableCore&, Force) noexcept override {
    return Progress::no;
  }
  Progress list_tables(OperationBase&, Error&, std::vector<firn::TableInfo>&) noexcept override {
    return Progress::no;
  }
  Progress find_table(OperationBase&, Error&, std::uint64_t, BorrowedTable&) noexcept override {
    return Progress::no;
  }
  Progress begin(OperationBase&, Error&, const firn::TransactionOptions&,
                 TransactionCore*&) noexcept override {
    return Progress::no;
  }
  [[nodiscard]] firn::DomainStatistics statistics() const noexcept override { return {}; }
};

class NoTable final : public TableCore {
 public:
  NoTable(NoDomain& domain, std::uint64_t id, std::string name, TypeDescription type,
          std::vector<std::uint64_t> references)
      : TableCore(domain, id, std::move(name), std::move(type), firn::Persistence::volatile_,
                  std::move(references)) {}
  Progress lookup(OperationBase&, Error&, TransactionCore*, Bytes, RecordSink) noexcept override {
    return Progress::no;
  }
  Progress write(OperationBase&, Error&, TransactionCore*, WriteKind, Bytes,
                 Bytes) noexcept override {
    return Progress::no;
  }
  Progress insert_into_sack(OperationBase&, Error&, TransactionCore*, firn::Address&,
                            Bytes) noexcept override {
    return Progress::no;
  }
  Progress move_cursor(OperationBase&, Error&, CursorState&, Move, Bytes) noexcept override {
    return Progress::no;
  }
  [[nodiscard]] std::uint64_t pair_count() const noexcept override { return 0; }
};

// A catalogue: borrows its tables, as a domain's does.
struct Catalogue {
  NoDomain domain;
  std::vector<TableCore*> tables;

  template <class Type>
  TableCore& add(std::string name, std::vector<std::uint64_t> references = {}) {
    tables.push_back(new NoTable(domain, tables.size() + 1, std::move(name), firn::describe<Type>(),
                                 std::move(references)));
    return *tables.back();
  }
  ~Catalogue() {
    for (TableCore* table : tables) give_back(*table);
  }
};

template <class Type>
firn::Result<void> check(Capability offered, const firn::TableOptions& options = {}) {
  return check_capabilities(offered, firn::describe<Type>(), options);
}

std::vector<std::uint64_t> ids_of(const firn::Result<std::vector<std::uint64_t>>& resolved) {
  REQUIRE(error_of(resolved) == "");
  return *resolved;
}

}  // namespace

TEST_CASE("catalogue: what a table needs and the domain type lacks is unsupported and named",
          "[table-create]") {
  const auto without = [](Capability one) {
    return static_cast<Capability>(static_cast<std::uint32_t>(everything) &
                                   ~static_cast<std::uint32_t>(one));
  };
  CHECK(error_of(check<NoteType>(everything)) == "");
  const auto sack = check<NoteType>(without(Capability::sacks));
  CHECK(error_of(sack) == "unsupported");
  CHECK(sack.error().message().find("'sacks'") != std::string::npos);
  CHECK(error_of(check<WordType>(without(Capability::sacks))) == "");
  const auto ordered = check<WordType>(without(Capability::ordered));
  CHECK(error_of(ordered) == "unsupported");
  CHECK(ordered.error().message().find("'ordered'") != std::string::npos);
  CHECK(error_of(check<UnorderedType>(without(Capability::ordered))) == "");
  const auto persistent = check<WordType>(without(Capability::persistent));
  CHECK(error_of(persistent) == "unsupported");
  CHECK(persistent.error().message().find("'persistent'") != std::string::npos);
  CHECK(error_of(check<WordType>(without(Capability::persistent), volatile_table())) == "");
}

TEST_CASE("catalogue: segments named where there can be none are not_found", "[table-create]") {
  for (auto part : {&firn::Placement::inner, &firn::Placement::leaves, &firn::Placement::values}) {
    firn::TableOptions options;
    options.placement.*part = "disk";
    CHECK(error_of(check<WordType>(everything, options)) == "");
    CHECK(error_of(check<WordType>(Capability::ordered | Capability::persistent, options)) ==
          "not_found");
  }
}

TEST_CASE("catalogue: types are the same if all that open compares is", "[table-open]") {
  const TypeDescription word = firn::describe<WordType>();
  CHECK(same_type(word, word));
  const auto changed = [&word](auto change) {
    TypeDescription other = word;
    change(other);
    return other;
  };
  CHECK_FALSE(same_type(word, changed([](TypeDescription& type) { type.name = "other"; })));
  CHECK_FALSE(same_type(word, changed([](TypeDescription& type) { ++type.version.major; })));
  CHECK_FALSE(same_type(word, changed([](TypeDescription& type) { type.sack = true; })));
  CHECK_FALSE(same_type(word, changed([](TypeDescription& type) { type.key_schema += "x"; })));
  CHECK_FALSE(same_type(word, changed([](TypeDescription& type) { type.record_schema += "x"; })));
  CHECK_FALSE(same_type(word, changed([](TypeDescription& type) { type.comparator = "other"; })));
  CHECK(same_type(word, changed([](TypeDescription& type) { ++type.version.minor; })));
  CHECK(same_type(word, changed([](TypeDescription& type) { type.hints.write_heavy = true; })));
}

TEST_CASE("catalogue: tables are found by name and number", "[table-open]") {
  Catalogue all;
  TableCore& words = all.add<WordType>("words");
  CHECK(find_by_name(all.tables, "words") == &words);
  CHECK(find_by_name(all.tables, "word") == nullptr);
  CHECK(find_by_id(all.tables, 1) == &words);
  CHECK(find_by_id(all.tables, 2) == nullptr);
  CHECK(error_of(check_free(all.tables, "words")) == "already_exists");
  CHECK(error_of(check_free(all.tables, "other")) == "");
  CHECK(find_to_open(all.tables, "words", firn::describe<WordType>()).value() == &words);
  CHECK(error_of(find_to_open(all.tables, "other", firn::describe<WordType>())) == "not_found");
  const auto wrong = find_to_open(all.tables, "words", firn::describe<NoteType>());
  CHECK(error_of(wrong) == "wrong_type");
  CHECK(wrong.error().value == 1);
}

TEST_CASE("catalogue: references lead into what is named or else into every table of the type",
          "[reference]") {
  Catalogue all;
  all.add<WordType>("words");
  all.add<NoteType>("notes");
  all.add<NoteType>("more notes");
  const TypeDescription link = firn::describe<LinkType>();
  const auto resolve = [&](std::vector<std::string> names) {
    firn::TableOptions options;
    options.references = std::move(names);
    return resolve_references(all.tables, link, options, "links", 9);
  };
  using Ids = std::vector<std::uint64_t>;
  CHECK(ids_of(resolve({})) == Ids{1, 2, 3, 9});
  CHECK(ids_of(resolve({"more notes", "words"})) == Ids{1, 3, 9});
  CHECK(ids_of(resolve({"words", "links", "notes"})) == Ids{1, 2, 9});
  CHECK(ids_of(resolve({"words", "words", "notes"})) == Ids{1, 2, 9});
  CHECK(error_of(resolve({"words"})) == "invalid_argument");
  CHECK(error_of(resolve({"words", "nothing"})) == "invalid_argument");
}

TEST_CASE("catalogue: a table may name itself only if its fields refer to its type",
          "[reference]") {
  Catalogue all;
  firn::TableOptions options;
  options.references = {"words"};
  CHECK(error_of(resolve_references(all.tables, firn::describe<WordType>(), options, "words", 1)) ==
        "invalid_argument");
  CHECK(ids_of(resolve_references(all.tables, firn::describe<WordType>(), {}, "words", 1)).empty());
}

TEST_CASE("catalogue: a table in use or referred to is destroyed by force only",
          "[table-destroy]") {
  Catalogue all;
  TableCore& notes = all.add<NoteType>("notes");
  all.add<LinkType>("links", {1, 2});
  const auto given_up = Reference<TableCore>::share(notes);
  const auto referred = check_destroy(all.tables, notes, Force::no);
  CHECK(error_of(referred) == "busy");
  CHECK(referred.error().value == 2);
  const auto unreferred = Tables(all.tables).first(1);
  CHECK(error_of(check_destroy(unreferred, notes, Force::no)) == "");
  {
    const auto other = given_up;
    const auto used = check_destroy(unreferred, notes, Force::no);
    CHECK(error_of(used) == "busy");
    CHECK(used.error().value == 1);
    CHECK(error_of(check_destroy(all.tables, notes, Force::yes)) == "");
  }
  {
    const BorrowedTable borrowed(notes);  // a step's own reference is nobody's use
    CHECK(error_of(check_destroy(unreferred, notes, Force::no)) == "");
  }
  const auto own = Reference<TableCore>::share(*all.tables[1]);
  CHECK(error_of(check_destroy(all.tables, *all.tables[1], Force::no)) == "");
  notes.destroyed = true;
  CHECK(error_of(check_destroy(all.tables, notes, Force::yes)) == "invalid_state");
}

TEST_CASE("catalogue: a name is taken once for each domain type", "[domain]") {
  NoDomain first(DomainType::native, "store");
  NoDomain second(DomainType::native, "store");
  NoDomain third(DomainType::rvm, "store");
  NoDomain nameless[2];
  REQUIRE(error_of(take_name(first)) == "");
  CHECK(error_of(take_name(second)) == "busy");
  CHECK(error_of(take_name(third)) == "");
  for (NoDomain& domain : nameless) CHECK(error_of(take_name(domain)) == "");
  free_name(second);  // it has none
  CHECK(error_of(take_name(second)) == "busy");
  free_name(first);
  CHECK(error_of(take_name(second)) == "");
  for (NoDomain* domain : {&second, &third, &nameless[0], &nameless[1]}) free_name(*domain);
  CHECK(error_of(take_name(first)) == "");
  free_name(first);
}
