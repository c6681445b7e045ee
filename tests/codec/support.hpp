// What the codec tests share: encoding in one call, and values at random.
#pragma once

#include <firn/codec.hpp>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace codec_test {

using Random = std::mt19937_64;
inline constexpr std::uint64_t seed = 20261120;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool under_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool under_sanitizer = true;
#else
inline constexpr bool under_sanitizer = false;
#endif
#else
inline constexpr bool under_sanitizer = false;
#endif

// The bytes of `value`, which has an encoding.
template <class Codec, class T>
std::string encoded(const T& value) {
  firn::Buffer buffer;
  firn::Encoder encoder(buffer);
  Codec::encode(value, encoder).value();
  return std::string(buffer.view().text());
}

template <class Codec, class T>
firn::Result<void> decode(std::string_view bytes, T& out) {
  return Codec::decode(firn::Bytes(bytes), out);
}

// Bytes that make escapes, ends and prefixes likely.
inline std::string random_text(Random& random, std::size_t size_max = 6) {
  static constexpr char alphabet[] = {'\0', '\1', 'a', 'b', '\x7f', '\x80', '\xfe', '\xff'};
  std::string text(random() % (size_max + 1), ' ');
  for (char& letter : text) letter = alphabet[random() % sizeof(alphabet)];
  return text;
}

// Small ones, extreme ones and any.
template <class T>
T random_integer(Random& random) {
  switch (random() % 4) {
    case 0:
      return static_cast<T>(random() % 3);
    case 1:
      return static_cast<T>(std::numeric_limits<T>::max() - static_cast<T>(random() % 2));
    case 2:
      return static_cast<T>(std::numeric_limits<T>::min() + static_cast<T>(random() % 2));
    default:
      return static_cast<T>(random());
  }
}

template <class T>
T random_float(Random& random) {
  static constexpr T special[] = {T{0},
                                  -T{0},
                                  T{1},
                                  -T{1},
                                  std::numeric_limits<T>::infinity(),
                                  -std::numeric_limits<T>::infinity(),
                                  std::numeric_limits<T>::denorm_min(),
                                  -std::numeric_limits<T>::denorm_min(),
                                  std::numeric_limits<T>::max(),
                                  std::numeric_limits<T>::lowest()};
  if (random() % 2 == 0) return special[random() % std::size(special)];
  for (;;) {
    const auto bits = static_cast<firn::detail::BitsOf<T>>(random());
    const T value = std::bit_cast<T>(bits);
    if (value == value) return value;
  }
}

}  // namespace codec_test
