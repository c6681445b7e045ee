// Stored bytes may be anything. Under the address and undefined-behaviour sanitizers these tests
// also show that nothing is read beyond the input.
#include <firn/ref.hpp>

#include <cstdlib>
#include <memory>

#include "codec/support.hpp"
#include "support/catch.hpp"

using namespace codec_test;

namespace hostile_test {

constexpr int inputs_per_codec = 125'000;

struct TargetType;
enum class Kind : std::uint8_t {};

struct Record {
  std::uint32_t number = 0;
  bool flag = false;
  std::string text;
  std::optional<std::vector<std::byte>> maybe;
  std::array<std::string, 2> parts;
  double ratio = 0;
  firn::Ref<TargetType> target;
  firn::Address address;
};
struct TargetType : firn::TableType<std::string, Record> {
  static constexpr std::string_view name = "test.target";
  using RecordCodec =
      firn::Fields<&Record::number, &Record::flag, &Record::text, &Record::maybe, &Record::parts,
                   &Record::ratio, &Record::target, &Record::address>;
};

struct Key {
  std::string first;
  std::optional<std::string> second;
  float ratio = 0;
  Kind kind{};
  std::array<std::string, 2> parts;
  std::vector<std::uint8_t> last;
};
using KeyCodec = firn::OrderedFields<&Key::first, &Key::second, &Key::ratio, &Key::kind,
                                     &Key::parts, &Key::last>;

// Whatever is accepted is written again as the same bytes: the input lies in memory of just its
// size.
template <class Codec, class T>
bool feed(const std::string& input) {
  const std::unique_ptr<std::byte[]> exact(new std::byte[input.size()]);
  std::copy_n(firn::Bytes(input).data(), input.size(), exact.get());
  T out{};
  const auto result = Codec::decode(firn::Bytes(exact.get(), input.size()), out);
  if (result) return encoded<Codec>(out) == input;
  return result.error().code == firn::ErrorCode::corrupt;
}

void mutate(Random& random, std::string& bytes) {
  const auto any = [&] { return static_cast<char>(random()); };
  const std::size_t place = bytes.empty() ? 0 : random() % bytes.size();
  switch (random() % 6) {
    case 0:
      bytes.resize(place);
      break;
    case 1:
      bytes.insert(place, 1, any());
      break;
    case 2:
      bytes += random_text(random);
      break;
    case 3:
      bytes.insert(place, bytes.substr(random() % (bytes.size() + 1), 4));
      break;
    default:
      if (!bytes.empty())
        bytes[place] = random() % 2 == 0 ? any() : random_text(random, 1).c_str()[0];
  }
}

template <class Codec, class T>
void require_survives(const T& sample) {
  INFO("seed " << seed);
  Random random(seed);
  const std::string valid = encoded<Codec>(sample);
  REQUIRE((feed<Codec, T>(valid)));
  for (int round = 0; round < inputs_per_codec; ++round) {
    std::string input;
    if (random() % 4 == 0) {
      input = random_text(random, 40);
    } else {
      input = valid;
      for (std::uint64_t changes = random() % 4 + 1; changes > 0; --changes) mutate(random, input);
    }
    if (!feed<Codec, T>(input)) {
      FAIL("round " << round << ": " << Catch::Detail::stringify(input));
    }
  }
}

}  // namespace hostile_test

using namespace hostile_test;

TEST_CASE("hostile bytes: a record codec refuses them or writes them again", "[codec]") {
  Record sample;
  sample.text = "text";
  sample.maybe.emplace(3, std::byte{1});
  sample.parts = {"one", ""};
  sample.target = firn::Ref<TargetType>::make(300, "a key too long to lie inside").value();
  sample.address = {7, 1};
  require_survives<TargetType::RecordCodec>(sample);
  require_survives<TargetType::RecordCodec>(Record());
}

TEST_CASE("hostile bytes: a key codec refuses them or writes them again", "[codec]") {
  using namespace std::literals;
  require_survives<KeyCodec>(Key{"a\0b"s, "c\0"s, -1.5F, Kind{3}, {"\0\0"s, "d"}, {0, 255}});
  require_survives<KeyCodec>(Key());
}

TEST_CASE("hostile bytes: single values refuse them or write them again", "[codec]") {
  require_survives<firn::OrderedSingleField<double>>(1.0);
  require_survives<firn::OrderedSingleField<std::optional<std::string>>>(
      std::optional<std::string>("text"));
  require_survives<firn::SingleField<firn::Ref<TargetType>>>(
      firn::Ref<TargetType>::make(1, "k").value());
  require_survives<firn::SingleField<std::optional<std::array<bool, 3>>>>(
      std::optional<std::array<bool, 3>>{{true, false, true}});
}
