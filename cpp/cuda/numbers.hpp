// Elements of arrays in any format that is computed in float32, one at a time. Formats are known at
// run time only: branches that all threads of a block take alike.
#pragma once

#include <cstdint>

#include "formats/codes.hpp"
#include "formats/format.hpp"
#include "formats/rounding.hpp"
#include "kernel/tensor.hpp"
#include "packs.hpp"

namespace fusedstep::cuda {

using Word = std::uint32_t;

// Element i of an array whose elements are of type T.
template <class T>
FUSEDSTEP_HD T& at(void* array, std::uint64_t i) {
  return *element(static_cast<T*>(array), i);
}

FUSEDSTEP_HD float load_number(void* array, Format format, std::uint64_t i) {
  if (format == Format::float32) return at<float>(array, i);
  const Word code = at<std::uint16_t>(array, i);
  return with_codec(format, [&](auto codec) { return codec.decode(code); });
}

FUSEDSTEP_HD void zero_number(void* array, Format format, std::uint64_t i) {
  if (format == Format::float32)
    at<float>(array, i) = 0.0f;
  else
    at<std::uint16_t>(array, i) = 0;
}

FUSEDSTEP_HD float load_state(const Array& array, std::uint64_t i) {
  switch (array.format) {
    case Format::signed8:
      return Signed8Codec::decode(Word(at<std::uint8_t>(array.data, i)),
                                  *element(array.scales, i / kBlock));
    case Format::unsigned8:
      return Unsigned8Codec::decode(Word(at<std::uint8_t>(array.data, i)),
                                    *element(array.scales, i / kBlock));
    default:
      return load_number(array.data, array.format, i);
  }
}

// `scale` is that of the element's block, for formats of 8 bits.
FUSEDSTEP_HD void store_state(const Array& array, std::uint64_t i, float number, float scale,
                              Word uniform) {
  switch (array.format) {
    case Format::signed8:
    case Format::unsigned8: {
      const float inverse = inverse_scale(scale);
      const Word offset = block_offset(uniform);
      const Word code = array.format == Format::signed8
                            ? Signed8Codec::encode<Word>(number, inverse, offset)
                            : Unsigned8Codec::encode<Word>(number, inverse, offset);
      at<std::uint8_t>(array.data, i) = std::uint8_t(inverse != 0.0f ? code : 0);
      return;
    }
    case Format::bfloat16:
      at<std::uint16_t>(array.data, i) =
          std::uint16_t(encode<Bfloat16Codec, Word>(number, Randomly<Word>{uniform}));
      return;
    default:
      at<float>(array.data, i) = number;
  }
}

// For a number that is to be stored with 8 bits: what block_scale() takes the maximum of.
FUSEDSTEP_HD Word magnitude_of(Format format, float number) {
  return format == Format::signed8 ? Signed8Codec::magnitude<Word>(number)
                                   : Unsigned8Codec::magnitude<Word>(number);
}

// A parameter, with what the optimizer holds of it besides.
class Parameter {
 public:
  FUSEDSTEP_HD explicit Parameter(const TensorView& tensor)
      : array_(tensor.param.data),
        correction_(tensor.correction.data),
        format_(tensor.param.format),
        rounding_(tensor.rounding),
        is_long_(tensor.correction.format == Format::correction16) {}

  FUSEDSTEP_HD bool is_random() const {
    return rounding_ == Rounding::stochastic && format_ != Format::float32;
  }

  FUSEDSTEP_HD float load(std::uint64_t i) const {
    if (format_ == Format::float32) return at<float>(array_, i);
    const Word code = at<std::uint16_t>(array_, i);
    return with_codec(format_, [&](auto codec) {
      using Codec = decltype(codec);
      switch (rounding_) {
        case Rounding::kahan:
          return Codec::decode(code) + Codec::decode(Word(at<std::uint16_t>(correction_, i)));
        case Rounding::split:
          return is_long_ ? SplitCodec<Codec, 16>::join(code, signed_at<std::int16_t>(i))
                          : SplitCodec<Codec, 8>::join(code, signed_at<std::int8_t>(i));
        default:
          return Codec::decode(code);
      }
    });
  }

  // Returns the parameter as it is stored. `uniform` for bits that are lost of what it holds
  // besides, `random` for stochastic rounding.
  FUSEDSTEP_HD float store(std::uint64_t i, float number, Word uniform, Word random) const {
    if (format_ == Format::float32) return at<float>(array_, i) = number;
    return with_codec(format_, [&](auto codec) {
      using Codec = decltype(codec);
      switch (rounding_) {
        case Rounding::stochastic:
          return store_code<Codec>(i, encode<Codec, Word>(number, Randomly<Word>{random}));
        case Rounding::kahan: {
          const float near = store_code<Codec>(i, encode<Codec, Word>(number, ToNearest{}));
          const Word code = encode<Codec, Word>(compensation<Word>(number, near), ToNearest{});
          at<std::uint16_t>(correction_, i) = std::uint16_t(code);
          return near + Codec::decode(code);
        }
        case Rounding::split:
          return is_long_ ? store_parts<Codec, 16, std::int16_t>(i, number, uniform)
                          : store_parts<Codec, 8, std::int8_t>(i, number, uniform);
        default:
          return store_code<Codec>(i, encode<Codec, Word>(number, ToNearest{}));
      }
    });
  }

 private:
  template <class Signed>
  FUSEDSTEP_HD Word signed_at(std::uint64_t i) const {
    return Word(std::int32_t(at<Signed>(correction_, i)));
  }

  template <class Codec>
  FUSEDSTEP_HD float store_code(std::uint64_t i, Word code) const {
    at<std::uint16_t>(array_, i) = std::uint16_t(code);
    return Codec::decode(code & 0xffffu);
  }

  template <class Codec, int Bits, class Signed>
  FUSEDSTEP_HD float store_parts(std::uint64_t i, float number, Word uniform) const {
    using Split = SplitCodec<Codec, Bits>;
    const auto parts = Split::template split<Word>(number, Randomly<Word>{uniform});
    const Word code = parts.code & 0xffffu;
    at<std::uint16_t>(array_, i) = std::uint16_t(code);
    const auto correction = Signed(std::int32_t(parts.correction));
    at<Signed>(correction_, i) = correction;
    return Split::join(code, Word(std::int32_t(correction)));
  }

  void *array_, *correction_;
  Format format_;
  Rounding rounding_;
  bool is_long_;
};

}  // namespace fusedstep::cuda
