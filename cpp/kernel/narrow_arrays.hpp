// Moves runs of elements between arrays of narrow formats and float32 numbers in L1. Included only
// by the drivers: internal linkage, compiled once per instruction set.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "formats/codes.hpp"
#include "formats/format.hpp"
#include "lanes.hpp"
#include "tensor.hpp"

namespace fusedstep {
namespace {

// Elements of a stage: less than a hundred cycles of each loop over it, so that the processor
// overlaps one loop with the next (2,048 took twice as long from memory, docs/decisions.md).
constexpr std::size_t kNarrowStage = 512;
// Room after each run of numbers in L1, which is read and written by whole registers.
constexpr std::size_t kRoom = kWidth;

// out[i] = decode(codes[i])
template <class Code, class Decode>
void decode_run(const Code* codes, std::size_t n, float* out, Decode decode) {
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store_lanes(out + i, decode(widen(codes + i)));
  if (i == n) return;
  Code rest[kWidth] = {};
  std::memcpy(rest, codes + i, (n - i) * sizeof(Code));
  store_lanes(out + i, decode(widen(rest)));
}

// codes[i] = encode(numbers[i], i)
template <class Code, class Encode>
void encode_run(Code* codes, std::size_t n, const float* numbers, Encode encode) {
  const auto at = [&](std::size_t i) { return encode(load_lanes<FloatLanes>(numbers + i), i); };
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) narrow(codes + i, at(i));
  if (i == n) return;
  Code rest[kWidth];
  narrow(rest, at(i));
  std::memcpy(codes + i, rest, (n - i) * sizeof(Code));
}

template <class Code>
Code* codes_of(const Array& array, std::size_t at) {
  return static_cast<Code*>(array.data) + at;
}

// The numbers of weyl() for elements from `at` on.
class Dither {
 public:
  Dither(const Draw& draw, std::size_t at) : first_(sequence(weyl(draw.step, at), kWeylElement)) {}
  Randomly<WordLanes> operator()(std::size_t i) const {
    return {first_ + std::uint32_t(i) * kWeylElement};
  }

 private:
  WordLanes first_;
};

// The random words of a block of elements.
inline void draw_words(const Draw& draw, std::size_t block, std::uint32_t* words) {
  for (std::uint32_t c = 0; c < kCounters; c += kWidth) {
    const auto four = random_words(draw, block, sequence(c, 1));
    for (std::size_t w = 0; w < 4; ++w) store_lanes(words + w * kCounters + c, four.word[w]);
  }
}

// 8-bit codes, block by block; `at` is the start of one.
template <class Codec>
void decode_blocks(const Array& array, std::size_t at, std::size_t n, float* out) {
  const std::uint8_t* const codes = codes_of<std::uint8_t>(array, at);
  for (std::size_t i = 0; i < n; i += kBlock) {
    const float scale = array.scales[(at + i) / kBlock];
    decode_run(codes + i, std::min(kBlock, n - i), out + i,
               [&](WordLanes code) { return Codec::decode(code, scale); });
  }
}

template <class Codec>
std::uint32_t greatest_magnitude(std::size_t n, const float* numbers) {
  WordLanes most = {};
  const auto take = [&](const float* some) {
    const WordLanes magnitude = Codec::template magnitude<WordLanes>(load_lanes<FloatLanes>(some));
    most = magnitude > most ? magnitude : most;
  };
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) take(numbers + i);
  if (i != n) {
    float rest[kWidth] = {};
    std::memcpy(rest, numbers + i, (n - i) * sizeof(float));
    take(rest);
  }
  return greatest(most);
}

template <class Codec>
void encode_blocks(const Array& array, std::size_t at, std::size_t n, const float* numbers,
                   const Dither& dither) {
  std::uint8_t* const codes = codes_of<std::uint8_t>(array, at);
  for (std::size_t i = 0, count; i < n; i += count) {
    count = std::min(kBlock, n - i);
    const float scale = block_scale(greatest_magnitude<Codec>(count, numbers + i));
    array.scales[(at + i) / kBlock] = scale;
    const float inverse = inverse_scale(scale);
    if (inverse == 0.0f)
      std::memset(codes + i, 0, count);
    else
      encode_run(codes + i, count, numbers + i, [&](FloatLanes x, std::size_t k) {
        return Codec::template encode<WordLanes>(x, inverse, block_offset(dither(i + k).uniform));
      });
  }
}

// The numbers of elements [at, at + n): where they are if they are stored so, else in `out`.
inline float* load_numbers(const Array& array, std::size_t at, std::size_t n, float* out) {
  switch (array.format) {
    case Format::bfloat16:
    case Format::float16:
      with_codec(array.format, [&](auto codec) {
        decode_run(codes_of<std::uint16_t>(array, at), n, out,
                   [&](WordLanes code) { return codec.decode(code); });
      });
      return out;
    case Format::signed8:
      decode_blocks<Signed8Codec>(array, at, n, out);
      return out;
    case Format::unsigned8:
      decode_blocks<Unsigned8Codec>(array, at, n, out);
      return out;
    default:
      return elements<float>(array, at);
  }
}

// Stores numbers of load_numbers(), of a state, in its format.
inline void store_state(const Array& array, std::size_t at, std::size_t n, const float* numbers,
                        const Draw& draw) {
  const Dither dither(draw, at);
  switch (array.format) {
    case Format::bfloat16:
      return encode_run(codes_of<std::uint16_t>(array, at), n, numbers,
                        [&](FloatLanes x, std::size_t i) {
                          return encode<Bfloat16Codec, WordLanes>(x, dither(i));
                        });
    case Format::signed8:
      return encode_blocks<Signed8Codec>(array, at, n, numbers, dither);
    case Format::unsigned8:
      return encode_blocks<Unsigned8Codec>(array, at, n, numbers, dither);
    default:
      return;  // where they are
  }
}

// Calls visit(split, code) for a parameter in two parts, passing types only.
template <class Codec, class Visit>
void with_split(const Array& correction, Visit visit) {
  if (correction.format == Format::correction16)
    visit(SplitCodec<Codec, 16>{}, std::uint16_t{});
  else
    visit(SplitCodec<Codec, 8>{}, std::uint8_t{});
}

// The parameter of a tensor with what the optimizer holds of it.
inline float* load_param(const TensorView& tensor, std::size_t at, std::size_t n, float* out) {
  float* const stored = load_numbers(tensor.param, at, n, out);
  if (!tensor.correction) return stored;
  const auto* const codes = codes_of<std::uint16_t>(tensor.param, at);
  with_codec(tensor.param.format, [&](auto codec) {
    using Codec = decltype(codec);
    if (tensor.rounding == Rounding::kahan) {
      alignas(64) float rest[kNarrowStage + kRoom];
      load_numbers(tensor.correction, at, n, rest);
#pragma omp simd
      for (std::size_t i = 0; i < n; ++i) out[i] = out[i] + rest[i];
      return;
    }
    with_split<Codec>(tensor.correction, [&](auto split, auto unit) {
      using Split = decltype(split);
      const auto* const corrections = codes_of<decltype(unit)>(tensor.correction, at);
      std::size_t i = 0;
      const auto join = [&](const auto* code, const auto* correction) {
        constexpr int kBits = 8 * sizeof *correction;
        store_lanes(out + i, Split::join(widen(code), sign_extended<kBits>(widen(correction))));
      };
      for (; i + kWidth <= n; i += kWidth) join(codes + i, corrections + i);
      if (i == n) return;
      std::uint16_t code[kWidth] = {};
      decltype(unit) correction[kWidth] = {};
      std::memcpy(code, codes + i, (n - i) * sizeof *code);
      std::memcpy(correction, corrections + i, (n - i) * sizeof *correction);
      join(code, correction);
    });
  });
  return out;
}

// Stores numbers of load_param(), of at most kNarrowStage elements.
inline void store_param(const TensorView& tensor, std::size_t at, std::size_t n, float* numbers,
                        const Draw& draw) {
  if (is_native(tensor.param.format)) return;
  auto* const codes = codes_of<std::uint16_t>(tensor.param, at);
  with_codec(tensor.param.format, [&](auto codec) {
    using Codec = decltype(codec);
    const auto to_nearest = [](FloatLanes x, std::size_t) {
      return encode<Codec, WordLanes>(x, ToNearest{});
    };
    switch (tensor.rounding) {
      case Rounding::nearest:
        return encode_run(codes, n, numbers, to_nearest);
      case Rounding::stochastic: {
        alignas(64) std::uint32_t words[(kNarrowStage + 2 * kRandomBlock) / 2];
        const std::size_t block = at / kRandomBlock, before = at % kRandomBlock;
        for (std::size_t k = 0; k * kRandomBlock < before + n; ++k)
          draw_words(draw, block + k, words + k * (kRandomBlock / 2));
        const auto* const uniform = reinterpret_cast<const unsigned char*>(words) + 2 * before;
        return encode_run(codes, n, numbers, [&](FloatLanes x, std::size_t i) {
          std::uint16_t bits[kWidth];
          std::memcpy(bits, uniform + 2 * i, sizeof bits);
          return encode<Codec, WordLanes>(x, Randomly<WordLanes>{widen(bits) << 16});
        });
      }
      case Rounding::kahan: {
        alignas(64) float rest[kNarrowStage + kRoom];
        encode_run(codes, n, numbers, to_nearest);
        load_numbers(tensor.param, at, n, rest);
#pragma omp simd
        for (std::size_t i = 0; i < n; ++i)
          rest[i] = compensation<std::uint32_t>(numbers[i], rest[i]);
        return encode_run(codes_of<std::uint16_t>(tensor.correction, at), n, rest, to_nearest);
      }
      case Rounding::split: {
        const Dither dither(draw, at);
        return with_split<Codec>(tensor.correction, [&](auto split, auto unit) {
          constexpr std::uint32_t kMask = (std::uint64_t{1} << (8 * sizeof unit)) - 1;
          alignas(64) std::uint32_t corrections[kNarrowStage + kRoom];
          encode_run(codes, n, numbers, [&](FloatLanes x, std::size_t i) {
            const auto parts = split.template split<WordLanes>(x, dither(i));
            store_lanes(corrections + i, parts.correction & kMask);
            return parts.code;
          });
          auto* const held = codes_of<decltype(unit)>(tensor.correction, at);
          std::copy_n(corrections, n, held);
        });
      }
    }
  });
}

}  // namespace
}  // namespace fusedstep
