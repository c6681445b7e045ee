// Conformance: the script gives one transcript under every domain type and every way of running
// operations, and it is the one that is kept in conformance.golden. After a wanted change:
//   FIRN_GOLDEN=write firn_tests "[conformance]"
#include <fstream>
#include <sstream>

#include "contract/conformance_script.hpp"
#include "support/catch.hpp"

namespace firn::tests {

Transcript ConformanceScript::run() {
  using C = Capability;
  using S = ConformanceScript;
  section("opening", &S::opening, C::none, C::none);
  section("tables", &S::tables, C::none, C::none);
  section("pairs", &S::pairs, C::none, C::none);
  section("typed pairs", &S::typed_pairs, C::none, C::none);
  section("comparators", &S::comparators, C::ordered, C::none);
  section("cursors", &S::cursors, C::ordered, C::none);
  section("cursors and updates", &S::cursors_and_updates, C::ordered, C::none);
  section("wrong cursors", &S::wrong_cursors, C::ordered, C::none);
  section("unordered tables", &S::unordered_tables, C::none, C::none);
  section("sacks", &S::sacks, C::sacks, C::none);
  section("references", &S::references, C::sacks, C::none);
  section("catalogue", &S::catalogue, C::sacks, C::none);
  section("wrong arguments", &S::wrong_arguments, C::none, C::none);
  section("corrupt records", &S::corrupt_records, C::ordered, C::none);
  section("transactions", &S::transactions, C::none, C::none);
  section("notified transactions", &S::notified_transactions, C::notify, C::none);
  section("without abort", &S::without_abort, C::none, C::abort);
  section("without notify", &S::without_notify, C::none, C::notify);
  section("without segments", &S::without_segments, C::none, C::segments);
  section("without persistence", &S::without_persistence, C::none, C::persistent);
  section("posting", &S::posting, C::none, C::none);
  section("closing", &S::closing, C::none, C::none);
  return std::move(transcript_);
}

void ConformanceScript::section(const char* name, Section body, Capability needs,
                                Capability lacks) {
  const Capability has = factory_.capabilities();
  if (!includes(has, needs) || (lacks != Capability::none && includes(has, lacks))) return;
  path_ = factory_.path("conformance");
  factory_.remove(path_);
  domain_ = get([&] { return Domain::open(path_, factory_.options()); });
  text_.clear();
  (this->*body)();
  domain_ = Domain();
  factory_.remove(path_);
  transcript_[name] = std::move(text_);
}

void ConformanceScript::opening() {
  note(domain_.path() == path_ ? "at its path" : "elsewhere");
  note(domain_.type() == factory_.type ? "of its type" : "of another type");
  does("open again", [&] { return Domain::open(path_, factory_.options()); });
  DomainOptions small = factory_.options();
  small.memory_budget = 1_MiB - 1;
  does("open with a small budget", [&] { return Domain::open("", small); });
  DomainOptions demanding = factory_.options();
  demanding.required = static_cast<Capability>(~std::uint32_t{0});
  does("open demanding everything", [&] { return Domain::open("", demanding); });
  const DomainStatistics statistics = domain_.statistics();
  note(std::to_string(statistics.table_count) + " tables, " +
       std::to_string(statistics.pair_count) + " pairs, " +
       std::to_string(statistics.update_count) + " updates");
}

void ConformanceScript::tables() {
  const TableOptions options = factory_.table_options();
  auto first = takes("create a", [&] { return domain_.create_table<BytesType>("a", options); });
  does("create a again", [&] { return domain_.create_table<BytesType>("a", options); });
  does("create a as another", [&] { return domain_.create_table<Reversed>("a", options); });
  auto again = takes("open a", [&] { return domain_.open_table<BytesType>("a"); });
  note(again.id() == first.id() ? "same id" : "another id");
  does("open b", [&] { return domain_.open_table<BytesType>("b"); });
  does("open a as another", [&] { return domain_.open_table<Reversed>("a"); });
  does("destroy a, used", [&] { return domain_.destroy_table(std::move(again)); });
  does("put into a", [&] { return first.put("k", "v"); });
  does("destroy a", [&] { return domain_.destroy_table(std::move(first)); });
  does("open a", [&] { return domain_.open_table<BytesType>("a"); });
  auto second = takes("create a", [&] { return domain_.create_table<BytesType>("a", options); });
  does("lookup in the new a", [&] { return second.lookup("k"); });
  auto other = second;
  does("force a away", [&] { return domain_.destroy_table(std::move(other), Force::yes); });
  does("put into a destroyed table", [&] { return second.put("k", "v"); });
  does("lookup in it", [&] { return second.lookup("k"); });
  does("destroy it again", [&] { return domain_.destroy_table(std::move(second)); });
  auto longest = std::string(255, 'n');
  does("longest name", [&] { return domain_.create_table<BytesType>(longest, options); });
  does("longer name", [&] { return domain_.create_table<BytesType>(longest + "n", options); });
  does("no name", [&] { return domain_.create_table<BytesType>("", options); });
  does("open no name", [&] { return domain_.open_table<BytesType>(""); });
  TableOptions placed = options;
  placed.placement.leaves = "nowhere";
  does("unknown segment", [&] { return domain_.create_table<BytesType>("placed", placed); });
}

void ConformanceScript::pairs() {
  auto table = made<BytesType>("pairs");
  does("lookup", [&] { return table.lookup("k"); });
  does("insert", [&] { return table.insert("k", "one"); });
  does("insert again", [&] { return table.insert("k", "two"); });
  does("lookup", [&] { return table.lookup("k"); });
  does("put", [&] { return table.put("k", "a longer record than before"); });
  does("lookup", [&] { return table.lookup("k"); });
  does("put shorter", [&] { return table.put("k", "s"); });
  does("lookup", [&] { return table.lookup("k"); });
  does("update", [&] { return table.update("k", "updated"); });
  does("update nothing", [&] { return table.update("l", "updated"); });
  std::size_t seen = 0;
  const auto visit = [&seen](Bytes record) noexcept { seen = record.size(); };
  does("read", [&] { return table.read("k", visit); });
  note("read " + std::to_string(seen) + " bytes");
  does("read nothing", [&] { return table.read("l", visit); });
  does("erase", [&] { return table.erase("k"); });
  does("erase again", [&] { return table.erase("k"); });
  does("erase what is present", [&] { return table.erase("k", Expect::present); });
  does("lookup", [&] { return table.lookup("k"); });
  does("insert after erase", [&] { return table.insert("k", "again"); });
  does("erase what is present", [&] { return table.erase("k", Expect::present); });
  const std::string zeros(3, '\0');
  const std::string high(3, '\xff');
  const std::string longest(2048, 'x');
  for (const std::string& key : {std::string(), zeros, high, longest}) {
    does("put " + shown(key), [&] { return table.put(Bytes(key), Bytes(key)); });
    does("lookup", [&] { return table.lookup(Bytes(key)); });
  }
  const std::string large(1'000'000, 'L');
  does("put 1,000,000 bytes", [&] { return table.put("large", Bytes(large)); });
  does("lookup", [&] { return table.lookup("large"); });
  does("put empty", [&] { return table.put("large", ""); });
  does("lookup", [&] { return table.lookup("large"); });
}

void ConformanceScript::typed_pairs() {
  TableOptions options = factory_.table_options();
  if (includes(factory_.capabilities(), Capability::sacks))
    get([&] { return domain_.create_table<Note>("notes", options); });
  auto people = made<Person>("people");
  for (const char* name : {"Zoe", "Ann", ""}) {
    for (const std::uint32_t group : {2U, 1U}) {
      does("insert", [&] {
        return people.insert({group, name}, {.id = group, .city = "Ulm", .note = {}});
      });
    }
  }
  does("lookup", [&] { return people.lookup({1, "Zoe"}); });
  does("lookup nothing", [&] { return people.lookup({3, "Zoe"}); });
  does("update", [&] { return people.update({1, "Zoe"}, {.id = 9, .city = "Bern", .note = {}}); });
  does("lookup", [&] { return people.lookup({1, "Zoe"}); });
  if (includes(factory_.capabilities(), Capability::ordered)) {
    walk("all", people, {}, true);
    walk("group 1", people, {.lower = PersonKey{1, ""}, .upper = PersonKey{2, ""}}, false);
  }
  does("open with another record", [&] { return domain_.open_table<PersonWithoutCity>("people"); });
  does("open with another major", [&] { return domain_.open_table<PersonOfTomorrow>("people"); });
  does("open with another minor", [&] { return domain_.open_table<PersonOfLater>("people"); });
  does("open as a sack", [&] { return domain_.open_table<PersonSack>("people"); });
  auto measured = made<Measured>("measured");
  does("put a number", [&] { return measured.put(-0.5, 1); });
  does("put no number", [&] { return measured.put(std::numeric_limits<double>::quiet_NaN(), 1); });
}

void ConformanceScript::comparators() {
  auto table = made<Reversed>("reversed");
  for (const char* key : {"a", "c", "", "ab", "b"}) {
    does("put", [&] { return table.put(Bytes(std::string_view(key)), "r"); });
  }
  walk("forwards", table, {}, true);
  walk("backwards", table, {}, false);
  walk("from c to ab", table, {.lower = "c", .upper = "ab"}, true);
  walk("from ab to c", table, {.lower = "ab", .upper = "c"}, true);
  does("open without the comparator", [&] { return domain_.open_table<NotReversed>("reversed"); });
}

void ConformanceScript::cursors() {
  auto table = made<BytesType>("cursors");
  walk("empty, forwards", table, {}, true);
  walk("empty, backwards", table, {}, false);
  for (const char* key : {"b", "d", "f", "h"}) {
    does("put", [&] { return table.put(Bytes(std::string_view(key)), Bytes("r")); });
  }
  walk("all forwards", table, {}, true);
  walk("all backwards", table, {}, false);
  walk("from c", table, {.lower = "c"}, true);
  walk("from d", table, {.lower = "d"}, false);
  walk("before f", table, {.upper = "f"}, true);
  walk("before f, backwards", table, {.upper = "f"}, false);
  walk("b to h", table, {.lower = "b", .upper = "h"}, false);
  walk("d to d", table, {.lower = "d", .upper = "d"}, true);
  walk("i to z", table, {.lower = "i", .upper = "z"}, false);
  auto cursor = table.cursor();
  note("turning round at both ends");
  for (int step = 0; step < 5; ++step) move("next", cursor, true);
  move("next", cursor, true);
  for (int step = 0; step < 5; ++step) move("prev", cursor, false);
  move("prev", cursor, false);
  move("next", cursor, true);
  move("next", cursor, true);
  move("prev", cursor, false);
  note("seeking");
  for (const char* key : {"d", "e", "", "h", "i"}) seek(cursor, Bytes(std::string_view(key)));
  move("prev", cursor, false);
  auto bounded = table.cursor({.lower = "c", .upper = "g"});
  for (const char* key : {"a", "d", "g", "z"}) seek(bounded, Bytes(std::string_view(key)));
  move("prev", bounded, false);
  move("prev", bounded, false);
  move("prev", bounded, false);
  seek(bounded, Bytes("e"));
  move("next", bounded, true);
}

void ConformanceScript::cursors_and_updates() {
  auto table = made<BytesType>("moving");
  const auto refill = [&] {
    for (const char* key : {"a", "b", "c", "d", "e"}) {
      get([&] { return table.put(Bytes(std::string_view(key)), "r"); });
    }
  };
  refill();
  for (const bool forward : {true, false}) {
    note(forward ? "erase the current, forwards" : "erase the current, backwards");
    auto cursor = table.cursor();
    for (int step = 0; step < 6; ++step) {
      move("move", cursor, forward);
      if (!cursor.at_pair()) break;
      const std::string key(cursor.key().text());
      get([&] { return table.erase(Bytes(key)); });
    }
    refill();
  }
  auto cursor = table.cursor();
  seek(cursor, Bytes("c"));
  get([&] { return table.erase("c"); });
  get([&] { return table.erase("d"); });
  note("still " + shown(cursor.key()));
  move("next past the erased", cursor, true);
  get([&] { return table.put("d", "new"); });
  move("prev to the new", cursor, false);
  get([&] { return table.put("d", "newer"); });
  note("holds " + shown(cursor.record()));
  seek(cursor, Bytes("d"));
  get([&] { return table.put("dd", "between"); });
  move("next to the one between", cursor, true);
  move("next", cursor, true);
  move("next", cursor, true);
  get([&] { return table.put("z", "behind"); });
  move("next from the end", cursor, true);
  move("prev from the end", cursor, false);
}

void ConformanceScript::wrong_cursors() {
  auto table = made<BytesType>("wrong");
  get([&] { return table.put("k", "r"); });
  auto inverted = table.cursor({.lower = "b", .upper = "a"});
  say("status", inverted.status());
  move("next", inverted, true);
  seek(inverted, Bytes("a"));
  auto other = table;
  auto cursor = table.cursor();
  move("next", cursor, true);
  get([&] { return domain_.destroy_table(std::move(other), Force::yes); });
  move("next, destroyed", cursor, true);
  say("status", table.cursor().status());
}

void ConformanceScript::unordered_tables() {
  auto table = made<Unordered>("unordered");
  for (const char* key : {"b", "a", "c"}) {
    get([&] { return table.put(Bytes(std::string_view(key)), "r"); });
  }
  does("lookup", [&] { return table.lookup("a"); });
  std::vector<std::string> keys;
  auto cursor = table.cursor();
  while (get([&] { return cursor.next(); })) keys.emplace_back(cursor.key().text());
  std::sort(keys.begin(), keys.end());
  for (const std::string& key : keys) note("has " + key);
  move("prev", cursor, false);
  seek(cursor, Bytes("a"));
  say("bounds", table.cursor({.lower = "a"}).status());
}

void ConformanceScript::sacks() {
  auto notes = made<Note>("notes");
  const Address first = get([&] { return notes.insert({"first", {}}); });
  const Address second = get([&] { return notes.insert({"second", notes.ref(first)}); });
  note(first == second ? "one address" : "two addresses");
  note(first.is_null() || second.is_null() ? "a null address" : "no null address");
  does("lookup", [&] { return notes.lookup(first); });
  does("lookup", [&] { return notes.lookup(second); });
  does("lookup null", [&] { return notes.lookup(Address()); });
  does("update", [&] { return notes.update(first, {"updated", {}}); });
  does("lookup", [&] { return notes.lookup(first); });
  does("erase", [&] { return notes.erase(first, Expect::present); });
  does("erase again", [&] { return notes.erase(first, Expect::present); });
  does("lookup", [&] { return notes.lookup(first); });
  does("update", [&] { return notes.update(first, {"updated", {}}); });
  const Address third = get([&] { return notes.insert({"third", {}}); });
  note(third == first ? "the address again" : "a fresh address");
  does("lookup the old address", [&] { return notes.lookup(first); });
  std::vector<std::string> texts;
  auto cursor = notes.cursor();
  while (get([&] { return cursor.next(); })) texts.push_back(cursor.record().text);
  std::sort(texts.begin(), texts.end());
  for (const std::string& text : texts) note("has " + text);
}

void ConformanceScript::references() {
  const TableOptions options = factory_.table_options();
  does("referrer first", [&] { return domain_.create_table<Person>("people", options); });
  TableOptions declared = options;
  declared.references = {"nothing"};
  does("declares nothing", [&] { return domain_.create_table<Person>("people", declared); });
  auto notes = made<Note>("notes");
  auto plain = made<BytesType>("plain");
  declared.references = {"plain"};
  does("declares wrongly", [&] { return domain_.create_table<Person>("people", declared); });
  declared.references = {"notes"};
  auto people = takes("declares", [&] { return domain_.create_table<Person>("people", declared); });
  const Address address = get([&] { return notes.insert({"body", {}}); });
  get([&] { return people.put({1, "Ann"}, {.id = 1, .city = "", .note = notes.ref(address)}); });
  const auto found = get([&] { return people.lookup({1, "Ann"}); });
  does("follow", [&] { return domain_.follow(found->note); });
  does("follow null", [&] { return domain_.follow(Ref<Note>()); });
  const auto person = people.ref({1, "Ann"});
  does("follow a person", [&] { return domain_.follow(*person); });
  does("follow nobody", [&] { return domain_.follow(*people.ref({1, "Bob"})); });
  does("follow into another type", [&] {
    return domain_.follow(Ref<Note>::from_encoded(people.id(), found->note.encoded_key()));
  });
  get([&] { return notes.erase(address); });
  does("follow the erased", [&] { return domain_.follow(found->note); });
  const Address last = get([&] { return notes.insert({"next", {}}); });
  does("follow the erased again", [&] { return domain_.follow(found->note); });
  const Ref<Note> kept = notes.ref(last);
  does("follow the new", [&] { return domain_.follow(kept); });
  does("destroy the target", [&] { return domain_.destroy_table(std::move(notes)); });
  notes = get([&] { return domain_.open_table<Note>("notes"); });
  does("force it", [&] { return domain_.destroy_table(std::move(notes), Force::yes); });
  does("follow into the destroyed", [&] { return domain_.follow(kept); });
}

void ConformanceScript::catalogue() {
  auto notes = made<Note>("notes");
  auto people = made<Person>("people");
  auto reversed = made<Reversed>("reversed");
  get([&] { return notes.insert({"one", {}}); });
  auto list = takes("list", [&] { return domain_.tables(); });
  std::sort(list.begin(), list.end(),
            [](const TableInfo& left, const TableInfo& right) { return left.name < right.name; });
  for (const TableInfo& info : list) {
    note(info.name + ": " + info.type + " " + std::to_string(info.version_major) + "." +
         std::to_string(info.version_minor) + (info.sack ? " sack" : " table") + " (" +
         info.key_schema + ") -> (" + info.record_schema + ") by " + info.comparator + ", " +
         std::to_string(info.references.size()) + " references, " +
         std::to_string(info.pair_count) + " pairs");
  }
  note(domain_.statistics().table_count == 3 ? "three tables" : "a wrong number of tables");
}

void ConformanceScript::wrong_arguments() {
  auto table = made<BytesType>("limits");
  const std::string long_key(2049, 'k');
  does("put a long key", [&] { return table.put(Bytes(long_key), "r"); });
  does("insert a long key", [&] { return table.insert(Bytes(long_key), "r"); });
  does("erase a long key", [&] { return table.erase(Bytes(long_key)); });
  does("lookup a long key", [&] { return table.lookup(Bytes(long_key)); });
  // Refused by its size alone: the bytes are not looked at.
  const Bytes huge(table.name().empty() ? nullptr : Bytes("x").data(), (std::size_t{1} << 30) + 1);
  does("put a huge record", [&] { return table.put("k", huge); });
  const std::string other_path = factory_.path("conformance-other");
  factory_.remove(other_path);
  auto other = get([&] { return Domain::open(other_path, factory_.options()); });
  auto foreign =
      get([&] { return other.create_table<BytesType>("foreign", factory_.table_options()); });
  auto transaction = get([&] { return domain_.begin(); });
  does("another domain's transaction", [&] { return foreign.put(transaction, "k", "r"); });
  does("lookup in it", [&] { return foreign.lookup(transaction, "k"); });
  say("cursor in it", foreign.cursor(transaction).status());
  does("destroy another's table", [&] { return domain_.destroy_table(std::move(foreign)); });
}

void ConformanceScript::corrupt_records() {
  auto table = made<Refusing>("refusing");
  does("put", [&] { return table.put(1, 2); });
  does("lookup", [&] { return table.lookup(1); });
  does("lookup nothing", [&] { return table.lookup(2); });
  std::size_t size = 0;
  const auto visit = [&size](Bytes bytes) noexcept { size = bytes.size(); };
  does("read", [&] { return table.read(1, visit); });
  note(std::to_string(size) + " bytes");
  auto cursor = table.cursor();
  say("next", runner_.run([&] { return cursor.next(); }));
  say("status", cursor.status());
  note(std::to_string(cursor.raw_record().size()) + " bytes");
  does("follow", [&] { return domain_.follow(*table.ref(1)); });
}

void ConformanceScript::transactions() {
  auto table = made<BytesType>("transactions");
  auto transaction = takes("begin", [&] { return domain_.begin(); });
  does("put", [&] { return table.put(transaction, "k", "r"); });
  does("insert", [&] { return table.insert(transaction, "l", "r"); });
  does("lookup", [&] { return table.lookup(transaction, "k"); });
  does("update", [&] { return table.update(transaction, "l", "u"); });
  does("erase", [&] { return table.erase(transaction, "k"); });
  std::size_t size = 0;
  const auto visit = [&size](Bytes bytes) noexcept { size = bytes.size(); };
  does("read", [&] { return table.read(transaction, "l", visit); });
  does("close", [&] { return domain_.close(); });
  does("abort", [&] { return transaction.abort(); });
  does("persistent", [&] { return transaction.persistent(); });
  say("force", transaction.force());
  does("commit", [&] { return transaction.commit(); });
  does("commit again", [&] { return transaction.commit(); });
  does("put after commit", [&] { return table.put(transaction, "m", "r"); });
  say("cursor after commit", table.cursor(transaction).status());
  does("lookup outside", [&] { return table.lookup("l"); });
  does("lookup outside", [&] { return table.lookup("k"); });
  auto reader = get([&] { return domain_.begin({.read_only = true}); });
  does("put, read-only", [&] { return table.put(reader, "k", "r"); });
  does("erase, read-only", [&] { return table.erase(reader, "l"); });
  does("lookup, read-only", [&] { return table.lookup(reader, "l"); });
  does("commit", [&] { return reader.commit(); });
  Transaction empty;
  does("commit the empty handle", [&] { return empty.commit(); });
  does("abort the empty handle", [&] { return empty.abort(); });
  say("force the empty handle", empty.force());
  {
    auto dropped = get([&] { return domain_.begin(); });
  }
  does("close", [&] { return domain_.close(); });
}

void ConformanceScript::notified_transactions() {
  auto table = made<BytesType>("notified");
  auto transaction = get([&] { return domain_.begin({.notify = true}); });
  int count = 0;
  say("ask", transaction.on_persistent([&count](Result<Persisted>) noexcept { ++count; }));
  does("put", [&] { return table.put(transaction, "k", "r"); });
  does("persistent, too early", [&] { return transaction.persistent(); });
  does("commit", [&] { return transaction.commit(); });
  does("persistent", [&] { return transaction.persistent(); });
  note("told " + std::to_string(count) + " times");
  say("ask too late", transaction.on_persistent([](Result<Persisted>) noexcept {}));
  auto deaf = get([&] { return domain_.begin(); });
  say("ask without notify", deaf.on_persistent([](Result<Persisted>) noexcept {}));
}

void ConformanceScript::without_abort() {
  does("begin abortable", [&] { return domain_.begin({.abortable = true}); });
}
void ConformanceScript::without_notify() {
  does("begin notified", [&] { return domain_.begin({.notify = true}); });
}
void ConformanceScript::without_segments() {
  does("local", [&] { return domain_.create_segment("s", LocalSegment{.path = "x", .size = 1}); });
  does("memory", [&] { return domain_.create_segment("s", MemorySegment{.size = 1}); });
  does("remote", [&] { return domain_.create_segment("s", RemoteSegment{}); });
  does("no name", [&] { return domain_.create_segment("", MemorySegment{.size = 1}); });
  does("destroy", [&] { return domain_.destroy_segment("s"); });
}
void ConformanceScript::without_persistence() {
  does("create persistent", [&] { return domain_.create_table<BytesType>("p"); });
}

// These look at single states and so choose themselves how they run.
void ConformanceScript::posting() {
  auto table = made<BytesType>("posting");
  Executor executor = std::move(*Executor::create());
  auto operation = table.put("k", "r");
  say("post", operation.post(executor));
  while (!operation.done()) executor.tick(1_ms);
  say("post twice", operation.post(executor));
  say("post twice, to be called back", operation.post(executor, [](Result<void>&) noexcept {}));
  operation.cancel();
  say("cancelled when done", operation.result());
  auto fresh = table.put("l", "r");
  fresh.cancel();
  note(fresh.done() ? "done" : "not done");
  say("cancelled when ready", fresh.result());
  say("post after that", fresh.post(executor));
  does("lookup", [&] { return table.lookup("l"); });
}

void ConformanceScript::closing() {
  auto table = made<BytesType>("closing");
  get([&] { return table.put("k", "r"); });
  auto cursor = table.cursor();
  auto transaction = get([&] { return domain_.begin(); });
  does("close with a transaction", [&] { return domain_.close(); });
  does("commit", [&] { return transaction.commit(); });
  does("close", [&] { return domain_.close(); });
  does("close again", [&] { return domain_.close(); });
  does("lookup", [&] { return table.lookup("k"); });
  does("put", [&] { return table.put("k", "r"); });
  move("next", cursor, true);
  does("begin", [&] { return domain_.begin(); });
  does("list", [&] { return domain_.tables(); });
  does("open table", [&] { return domain_.open_table<BytesType>("closing"); });
  does("create", [&] { return domain_.create_table<BytesType>("x", factory_.table_options()); });
  does("destroy", [&] { return domain_.destroy_table(std::move(table)); });
  does("follow", [&] { return domain_.follow(Ref<BytesType>::from_encoded(1, "k")); });
  does("segment", [&] { return domain_.destroy_segment("s"); });
  say("force", transaction.force());
  domain_ = Domain();
  does("open it again", [&] { return Domain::open(path_, factory_.options()); });
}

namespace {

const std::string golden_path = std::string(FIRN_TESTS_DIRECTORY) + "/contract/conformance.golden";

// "## section", then its lines.
Transcript read_golden() {
  Transcript golden;
  std::ifstream file(golden_path);
  std::string line;
  std::string* text = nullptr;
  while (std::getline(file, line)) {
    if (line.starts_with("## ")) {
      text = &golden[line.substr(3)];
    } else if (text != nullptr) {
      *text += line + '\n';
    }
  }
  return golden;
}

void write_golden(const Transcript& golden) {
  std::ofstream file(golden_path);
  for (const auto& [name, text] : golden) file << "## " << name << '\n' << text;
}

}  // namespace

TEST_CASE("conformance: every domain type and every way of running gives the kept transcript",
          "[conformance]") {
  const std::vector<DomainFactory> factories = chosen_domains();
  INFO("FIRN_DOMAIN names a domain type of this build");
  REQUIRE(!factories.empty());
  Transcript golden = read_golden();
  const char* wish = std::getenv("FIRN_GOLDEN");
  if (wish != nullptr && std::string_view(wish) == "write") {
    golden.clear();
    for (const DomainFactory& factory : factories) {
      golden.merge(ConformanceScript(factory, Mode::blocking).run());
    }
    write_golden(golden);
  }
  for (const DomainFactory& factory : factories) {
    for (const Mode mode : every_mode) {
      INFO(factory.name() << ", " << name_of(mode));
      const Transcript transcript = ConformanceScript(factory, mode).run();
      REQUIRE(transcript.size() >= 15);
      for (const auto& [name, text] : transcript) {
        INFO("section " << name);
        CHECK(text == golden[name]);
      }
    }
  }
}

TEST_CASE("conformance: each section of the kept transcript is run by some domain type",
          "[conformance]") {
  if (std::getenv("FIRN_DOMAIN") != nullptr) return;
  Transcript unused = read_golden();
  for (const DomainFactory& factory : every_domain()) {
    for (const auto& [name, text] : ConformanceScript(factory, Mode::blocking).run()) {
      unused.erase(name);
    }
  }
  for (const auto& [name, text] : unused) UNSCOPED_INFO("nobody runs section " << name);
  CHECK(unused.empty());
}

}  // namespace firn::tests
