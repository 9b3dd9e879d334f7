// The arrays of a tensor as the loops in registers (fused.hpp) read and write them: two registers
// of elements at a time, block by block. Internal linkage, compiled once per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "lanes.hpp"
#include "narrow_arrays.hpp"
#include "tensor.hpp"

namespace fusedstep {
namespace {

// Two registers of elements. In order, or, where all arrays have 16 or 8 bits an element, paired:
// those with even numbers and those with odd ones, which are the halves of words, so that widening
// and narrowing need no shuffles.
template <class Lanes>
struct Two {
  Lanes first, second;
};

// Where in its word the code of a second register starts.
template <class Code, bool Paired>
constexpr int kSecond = Paired ? 8 * int(sizeof(Code)) : 0;

// The words of codes, the second of which start at bit kSecond.
template <bool Paired>
FUSEDSTEP_HD Two<WordLanes> read_codes(const std::uint16_t* from) {
  if constexpr (!Paired) return {widen(from), widen(from + kWidth)};
  const WordLanes words = load_lanes<WordLanes>(from);
  return {words, words};
}
template <bool Paired>
FUSEDSTEP_HD Two<WordLanes> read_codes(const std::uint8_t* from) {
  if constexpr (!Paired) return {widen(from), widen(from + kWidth)};
  std::uint16_t pairs[kWidth];
  std::memcpy(pairs, from, sizeof pairs);
  const WordLanes words = widen(pairs);
  return {words, words};
}

// Two codes of the same word; there may be anything in the other's place.
template <int Bits>
FUSEDSTEP_HD WordLanes joined(Two<WordLanes> codes) {
  constexpr std::uint32_t kFirst = (1u << Bits) - 1u;
  return ((codes.first ^ codes.second) & kFirst) ^ codes.second;
}

// Words as read_codes() gives them, with nothing above the codes.
template <bool Paired>
FUSEDSTEP_HD void write_codes(std::uint16_t* to, Two<WordLanes> codes) {
  if constexpr (Paired)
    store_lanes(to, joined<16>(codes));
  else
    narrow(to, codes.first, codes.second);
}
template <bool Paired>
FUSEDSTEP_HD void write_codes(std::uint8_t* to, Two<WordLanes> codes) {
  if constexpr (Paired) {
    std::uint16_t pairs[kWidth];
    narrow(pairs, joined<8>(codes));
    std::memcpy(to, pairs, sizeof pairs);
  } else {
    narrow(to, codes.first);
    narrow(to + kWidth, codes.second);
  }
}
// Four registers of elements.
template <bool Paired>
FUSEDSTEP_HD void write_codes(std::uint8_t* to, Two<WordLanes> codes, Two<WordLanes> more) {
  if constexpr (Paired) {
    std::uint16_t pairs[2 * kWidth];
    narrow(pairs, joined<8>(codes), joined<8>(more));
    std::memcpy(to, pairs, sizeof pairs);
  } else {
    narrow(to, codes.first, codes.second, more.first, more.second);
  }
}

using TwoWords = Two<WordLanes>;
using TwoFloats = Two<FloatLanes>;
constexpr std::size_t kTwice = 2 * kWidth;
constexpr std::uint32_t kWeylTwice = std::uint32_t(kTwice) * kWeylElement;
static_assert(kBlock % (2 * kTwice) == 0 && kBlock == kRandomBlock);

// What the elements of a block are rounded with.
struct Rounds {
  TwoWords weyl;
  const std::uint32_t* words;  // random, of the block
};

// Fetches the block that is six blocks ahead. A block takes longer to compute than to read, and the
// processor reads on by itself only as far as it computes on: from memory, steps took up to 1.16
// times as long without.
template <class T>
FUSEDSTEP_HD void fetch_ahead(const T* at) {
  constexpr std::size_t kLine = 64, kBytes = kBlock * sizeof(T), kBlocks = 6;
  const auto ahead = reinterpret_cast<std::uintptr_t>(at) + kBlocks * kBytes;  // or behind the end
  for (std::size_t byte = 0; byte < kBytes; byte += kLine)
    __builtin_prefetch(reinterpret_cast<const void*>(ahead + byte));
}

// Each array of a tensor has one of the following: where its elements are. `i` is an element of the
// block that comes next; next_block() goes on to the one after it.

struct FloatStream {
  static constexpr bool kPairs = false;
  float* at;

  FloatStream(const Array& array, std::size_t first) : at(elements<float>(array, first)) {}
  template <bool>
  FUSEDSTEP_HD TwoFloats read(std::size_t i) const {
    return {load_lanes<FloatLanes>(at + i), load_lanes<FloatLanes>(at + i + kWidth)};
  }
  template <bool>
  FUSEDSTEP_HD void write(std::size_t i, TwoFloats numbers, const Rounds&, float* = nullptr) {
    store_lanes(at + i, numbers.first);
    store_lanes(at + i + kWidth, numbers.second);
  }
  template <bool>
  FUSEDSTEP_HD void finish(const std::uint32_t*, const float*) {}
  FUSEDSTEP_HD void start_block() { fetch_ahead(at); }
  FUSEDSTEP_HD void next_block() { at += kBlock; }
};

template <bool Paired>
FUSEDSTEP_HD TwoFloats decode_two(TwoWords words) {
  return {Bfloat16Codec::decode(words.first),
          Bfloat16Codec::decode<kSecond<std::uint16_t, Paired>>(words.second)};
}
template <bool Paired, class Round>
FUSEDSTEP_HD TwoWords encode_two(TwoFloats numbers, Two<Round> round) {
  const WordLanes second = encode_extended<Bfloat16Codec, WordLanes>(numbers.second, round.second);
  return {encode_extended<Bfloat16Codec, WordLanes>(numbers.first, round.first) >> 16,
          Paired ? second : second >> 16};
}

// A state of bfloat16.
struct Bfloat16Stream {
  static constexpr bool kPairs = true;
  std::uint16_t* at;

  Bfloat16Stream(const Array& array, std::size_t first)
      : at(codes_of<std::uint16_t>(array, first)) {}
  template <bool Paired>
  FUSEDSTEP_HD TwoFloats read(std::size_t i) const {
    return decode_two<Paired>(read_codes<Paired>(at + i));
  }
  template <bool Paired>
  FUSEDSTEP_HD void write(std::size_t i, TwoFloats numbers, const Rounds& rounds, float*) {
    using Round = Randomly<WordLanes>;
    write_codes<Paired>(
        at + i, encode_two<Paired>(numbers, Two<Round>{{rounds.weyl.first}, {rounds.weyl.second}}));
  }
  template <bool>
  FUSEDSTEP_HD void finish(const std::uint32_t*, const float*) {}
  FUSEDSTEP_HD void start_block() { fetch_ahead(at); }
  FUSEDSTEP_HD void next_block() { at += kBlock; }
};

// A state of 8 bits. What is written waits in L1 until the scale of the block is known.
template <class Codec>
struct BlockStream {
  static constexpr bool kPairs = true;
  std::uint8_t* at;
  float* scale;
  float current;
  WordLanes most = {};

  BlockStream(const Array& array, std::size_t first)
      : at(codes_of<std::uint8_t>(array, first)), scale(array.scales + first / kBlock) {}
  template <bool Paired>
  FUSEDSTEP_HD TwoFloats read(std::size_t i) const {
    const TwoWords codes = read_codes<Paired>(at + i);
    return {Codec::decode(codes.first, current),
            Codec::template decode<kSecond<std::uint8_t, Paired>>(codes.second, current)};
  }
  template <bool>
  FUSEDSTEP_HD void write(std::size_t i, TwoFloats numbers, const Rounds&, float* waiting) {
    store_lanes(waiting + i, numbers.first);
    store_lanes(waiting + i + kWidth, numbers.second);
    take(numbers.first);
    take(numbers.second);
  }
  FUSEDSTEP_HD void take(FloatLanes numbers) {
    const WordLanes magnitude = Codec::template magnitude<WordLanes>(numbers);
    most = magnitude > most ? magnitude : most;
  }
  template <bool Paired>
  FUSEDSTEP_HD void finish(const std::uint32_t* offsets, const float* waiting) {
    *scale = block_scale(greatest(most));
    most = WordLanes{};
    const float inverse = inverse_scale(*scale);
    if (inverse == 0.0f) {
      std::memset(at, 0, kBlock);
      return;
    }
    const auto codes = [&](std::size_t i) {
      const std::size_t k = i + kWidth;
      return TwoWords{
          Codec::template encode<WordLanes>(load_lanes<FloatLanes>(waiting + i), inverse,
                                            load_lanes<WordLanes>(offsets + i)),
          Codec::template encode<WordLanes, kSecond<std::uint8_t, Paired>>(
              load_lanes<FloatLanes>(waiting + k), inverse, load_lanes<WordLanes>(offsets + k))};
    };
#pragma GCC unroll 1
    for (std::size_t i = 0; i < kBlock; i += 2 * kTwice)
      write_codes<Paired>(at + i, codes(i), codes(i + kTwice));
  }
  FUSEDSTEP_HD void start_block() {
    current = *scale;
    fetch_ahead(at);
  }
  FUSEDSTEP_HD void next_block() {
    at += kBlock;
    ++scale;
  }
};

// A parameter of bfloat16, with a correction of `Bits` bits if it is split, or Kahan's of 16.
template <Rounding How, int Bits = 0>
struct ParamStream {
  static constexpr bool kPairs = true, kRandom = How == Rounding::stochastic;
  using Correction = std::conditional_t<Bits == 8, std::uint8_t, std::uint16_t>;
  using Split = SplitCodec<Bfloat16Codec, Bits>;
  static constexpr std::uint32_t kMask = Bits == 8 ? 0xffu : 0xffffu;
  std::uint16_t* at;
  Correction* correction;

  ParamStream(const TensorView& tensor, std::size_t first)
      : at(codes_of<std::uint16_t>(tensor.param, first)),
        correction(Bits != 0 ? codes_of<Correction>(tensor.correction, first) : nullptr) {}
  template <bool Paired>
  FUSEDSTEP_HD TwoFloats read(std::size_t i) const {
    const TwoWords codes = read_codes<Paired>(at + i);
    if constexpr (Bits == 0) {
      return decode_two<Paired>(codes);
    } else if constexpr (How == Rounding::kahan) {
      const TwoFloats param = decode_two<Paired>(codes);
      const TwoFloats rest = decode_two<Paired>(read_codes<Paired>(correction + i));
      return {param.first + rest.first, param.second + rest.second};
    } else {
      constexpr int kMore = kSecond<Correction, Paired>;
      const TwoWords more = read_codes<Paired>(correction + i);
      return {Split::join(codes.first, sign_extended<Bits>(more.first)),
              Split::join(codes.second >> kSecond<std::uint16_t, Paired>,
                          sign_extended<Bits, kMore>(more.second))};
    }
  }
  template <bool Paired>
  FUSEDSTEP_HD void write(std::size_t i, TwoFloats numbers, const Rounds& rounds) {
    using Round = Randomly<WordLanes>;
    if constexpr (How == Rounding::nearest) {
      write_codes<Paired>(at + i, encode_two<Paired>(numbers, Two<ToNearest>{}));
    } else if constexpr (How == Rounding::stochastic) {
      const auto* const uniform = reinterpret_cast<const std::uint16_t*>(rounds.words);
      const TwoWords bits = read_codes<Paired>(uniform + i);
      const WordLanes second = Paired ? bits.second : bits.second << 16;
      write_codes<Paired>(at + i,
                          encode_two<Paired>(numbers, Two<Round>{{bits.first << 16}, {second}}));
    } else if constexpr (How == Rounding::kahan) {
      const TwoWords codes = encode_two<Paired>(numbers, Two<ToNearest>{});
      const TwoFloats stored = decode_two<Paired>(codes);
      const TwoFloats rest{compensation<WordLanes>(numbers.first, stored.first),
                           compensation<WordLanes>(numbers.second, stored.second)};
      write_codes<Paired>(at + i, codes);
      write_codes<Paired>(correction + i, encode_two<Paired>(rest, Two<ToNearest>{}));
    } else {
      const auto first = Split::template split<WordLanes>(numbers.first, Round{rounds.weyl.first});
      const auto second =
          Split::template split<WordLanes>(numbers.second, Round{rounds.weyl.second});
      write_codes<Paired>(at + i, {first.code, second.code << kSecond<std::uint16_t, Paired>});
      write_codes<Paired>(
          correction + i,
          {first.correction & kMask, (second.correction & kMask) << kSecond<Correction, Paired>});
    }
  }
  FUSEDSTEP_HD void start_block() {
    fetch_ahead(at);
    if constexpr (Bits != 0) fetch_ahead(correction);
  }
  FUSEDSTEP_HD void next_block() {
    at += kBlock;
    correction += Bits != 0 ? kBlock : 0;
  }
};

struct FloatParam : FloatStream {
  static constexpr bool kRandom = false;
  FloatParam(const TensorView& tensor, std::size_t first) : FloatStream(tensor.param, first) {}
};

// Stands in for a state that a variant lacks.
struct NoStream {
  static constexpr bool kPairs = true;
  NoStream(const Array&, std::size_t) {}
  template <bool>
  FUSEDSTEP_HD TwoFloats read(std::size_t) const {
    return {FloatLanes{}, FloatLanes{}};
  }
  template <bool>
  FUSEDSTEP_HD void write(std::size_t, TwoFloats, const Rounds&, float*) {}
  template <bool>
  FUSEDSTEP_HD void finish(const std::uint32_t*, const float*) {}
  FUSEDSTEP_HD void start_block() {}
  FUSEDSTEP_HD void next_block() {}
};

}  // namespace
}  // namespace fusedstep
