// make_database FILE [--pairs N] [--spoil root|row] [--hold]: writes a native domain that tests of
// tools can look at: tables of several kinds with N pairs each, closed at the end. --spoil makes a
// catalogue that lies: `root` gives the table "words" the root of "numbers", `row` forgets "words".
// With --hold it keeps the domain open until its standard input ends.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include <firn/firn.hpp>

#include "domain/native/native.hpp"

namespace {

using namespace firn;

struct Settings {
  const char* path = nullptr;
  std::uint64_t pairs = 100;
  std::string_view spoil;
  bool hold = false;
};

struct WordsType : TableType<std::string, std::string> {
  static constexpr std::string_view name = "test.words";
};
struct NumbersType : TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.numbers";
  static constexpr Hints hints{.record_size_typical = 100};
};
struct Name {
  std::uint64_t parent = 0;
  std::string name;
};
struct Entry {
  Ref<NumbersType> target;
  std::uint32_t links = 0;
};
struct EntriesType : TableType<Name, Entry> {
  static constexpr std::string_view name = "test.entries";
  static constexpr TypeVersion version{2, 1};
  using KeyCodec = OrderedFields<&Name::parent, &Name::name>;
  using RecordCodec = Fields<&Entry::target, &Entry::links>;
};
struct BodiesType : SackType<std::string> {
  static constexpr std::string_view name = "test.bodies";
};
struct Backwards {
  static constexpr std::string_view id = "test.backwards";
  static std::strong_ordering compare(Bytes left, Bytes right) noexcept { return right <=> left; }
};
struct BackwardsType : TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.backwards";
  using Comparator = Backwards;
};

template <class T>
T must(Result<T> result) {
  if (result.has_value()) {
    if constexpr (std::is_void_v<T>) {
      return;
    } else {
      return *std::move(result);
    }
  }
  std::fprintf(stderr, "make_database: %s\n", result.error().message().c_str());
  std::exit(1);
}

Settings parse(int count, char** arguments) {
  Settings settings;
  for (int index = 1; index < count; ++index) {
    const std::string_view name = arguments[index];
    if (name == "--hold") {
      settings.hold = true;
    } else if (name.substr(0, 2) != "--") {
      settings.path = arguments[index];
    } else if (++index < count) {
      if (name == "--pairs") settings.pairs = std::strtoull(arguments[index], nullptr, 10);
      if (name == "--spoil") settings.spoil = arguments[index];
    }
  }
  if (settings.path != nullptr) return settings;
  std::fprintf(stderr, "usage: make_database FILE [--pairs N] [--spoil root|row] [--hold]\n");
  std::exit(2);
}

void fill(Domain& domain, std::uint64_t pairs) {
  auto words = must(domain.create_table<WordsType>("words").wait());
  auto numbers = must(domain.create_table<NumbersType>("numbers").wait());
  auto entries = must(domain.create_table<EntriesType>("entries").wait());
  auto bodies = must(domain.create_table<BodiesType>("bodies").wait());
  auto backwards = must(domain.create_table<BackwardsType>("backwards").wait());
  auto scratch = must(
      domain.create_table<WordsType>("scratch", {.persistence = Persistence::volatile_}).wait());
  for (std::uint64_t number = 0; number < pairs; ++number) {
    const std::string text = std::to_string(number);
    must(words.put("word " + text, "meaning " + text).wait());
    // Some of them apart from their leaf.
    must(numbers.put(number, std::string(number % 50 == 7 ? 3000 : 20, 'n')).wait());
    must(entries.put({number / 10, text}, {must(numbers.ref(number)), 1}).wait());
    static_cast<void>(must(bodies.insert("body " + text).wait()));
    must(backwards.put(number, text).wait());
    must(scratch.put(text, text).wait());
  }
}

// Lets the background executor run `work` on a fiber.
template <class Work>
void on_background(domain::NativeDomain& native, Work work) {
  struct Call : runtime::Runnable {
    explicit Call(Work& wanted) noexcept : work(wanted) {}
    Work& work;
    std::atomic<bool> done{false};
  } call(work);
  call.home = &native.background();
  call.run = [](runtime::Runnable& runnable) noexcept {
    const auto spawned = domain::spawn(
        *runnable.home,
        [](void* context) noexcept {
          auto& its = *static_cast<Call*>(context);
          its.work();
          its.done.store(true);
        },
        static_cast<Call*>(&runnable));
    if (!spawned.has_value()) std::abort();
  };
  native.background().send(call);
  while (!call.done.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void spoil(Domain& domain, std::string_view how) {
  auto& native = static_cast<domain::NativeDomain&>(*domain.core());
  const auto row_of = [](auto& table) -> domain::CatalogueRow& {
    return static_cast<domain::NativeTable&>(*table.core()).row();
  };
  must(domain.checkpoint().wait());  // with the counts of pairs, which are not written again
  auto words = must(domain.open_table<WordsType>("words").wait());
  auto numbers = must(domain.open_table<NumbersType>("numbers").wait());
  domain::CatalogueRow row = row_of(words);
  row.root = row_of(numbers).root;
  on_background(native, [&]() noexcept {
    must(how == "root" ? native.catalogue().write(row) : native.catalogue().erase(row.id));
    native.keeper().note_change();
  });
}

}  // namespace

int main(int count, char** arguments) {
  const Settings settings = parse(count, arguments);
  auto domain = must(Domain::open(settings.path).wait());
  fill(domain, settings.pairs);
  if (!settings.spoil.empty()) spoil(domain, settings.spoil);
  if (settings.hold) {
    std::puts("open");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
    }
  }
  must(domain.close().wait());
  return 0;
}
