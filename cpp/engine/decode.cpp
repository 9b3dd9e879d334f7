#include "decode.hpp"

#include <cstdint>

#include "formats/codes.hpp"
#include "numeric/float_environment.hpp"

namespace fusedstep {
namespace {

using Word = std::uint32_t;

template <class T>
const T* items(const Array& array) {
  return static_cast<const T*>(array.data);
}

template <class Codec>
void decode_blocks(const Array& from, std::size_t size, float* to) {
  for (std::size_t i = 0; i < size; ++i)
    to[i] = Codec::decode(Word{items<std::uint8_t>(from)[i]}, from.scales[i / kBlock]);
}

template <class Codec, class Correction, int Bits>
void join(const Array& from, const Array& correction, std::size_t size, float* to) {
  for (std::size_t i = 0; i < size; ++i)
    to[i] = SplitCodec<Codec, Bits>::template join<Word>(
        items<std::uint16_t>(from)[i],
        static_cast<Word>(std::int32_t{items<Correction>(correction)[i]}));
}

template <class Codec>
void decode_numbers(const Array& from, const Array& correction, std::size_t size, float* to) {
  if (correction && correction.format == Format::correction16)
    return join<Codec, std::int16_t, 16>(from, correction, size, to);
  if (correction && correction.format == Format::correction8)
    return join<Codec, std::int8_t, 8>(from, correction, size, to);
  const auto value = [](const Array& array, std::size_t i) {
    return Codec::decode(Word{items<std::uint16_t>(array)[i]});
  };
  for (std::size_t i = 0; i < size; ++i) {
    to[i] = value(from, i);
    if (correction) to[i] += value(correction, i);  // what Kahan's compensation is
  }
}

}  // namespace

void decode(const Array& from, const Array& correction, std::size_t size, float* to) {
  const FloatEnvironment ours;
  switch (from.format) {
    case Format::bfloat16:
    case Format::float16:
      return with_codec(from.format, [&](auto codec) {
        decode_numbers<decltype(codec)>(from, correction, size, to);
      });
    case Format::signed8:
      return decode_blocks<Signed8Codec>(from, size, to);
    case Format::unsigned8:
      return decode_blocks<Unsigned8Codec>(from, size, to);
    default:
      for (std::size_t i = 0; i < size; ++i) to[i] = items<float>(from)[i];
  }
}

}  // namespace fusedstep
