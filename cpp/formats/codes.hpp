// The codes of the narrow formats, and what they stand for. Each codec maps magnitudes to integers
// in order ("extended" codes, with bits to spare), of which the format keeps the upper bits: to
// round is to add and to shift. Written for one number or a register of them (words.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "rounding.hpp"
#include "words.hpp"

namespace fusedstep {

// The upper half of a float32.
struct Bfloat16Codec {
  static constexpr int kSpare = 16;  // bits of an extended code that the format drops

  template <class U>
  FUSEDSTEP_HD static U extend(Float<U> number) {
    const U bits = Words<U>::as_bits(number), nan = bits * 0u + 0x7fc00000u;
    return number != number ? nan : bits;
  }
  template <class U>
  FUSEDSTEP_HD static Float<U> value(U extended) {
    return Words<U>::as_float(extended);
  }
  template <int At = 0, class U>
  FUSEDSTEP_HD static Float<U> decode(U word) {
    return Words<U>::as_float((word << (kSpare - At)) & 0xffff0000u);
  }
};

// IEEE 754's binary16. Above 2^-14 its codes are those of float32 but for the bias of the exponent;
// below, multiples of 2^-24.
struct Float16Codec {
  static constexpr int kSpare = 13;
  static constexpr std::uint32_t kBias = 112u << 23, kSubnormal = 1u << 23,
                                 kInfinity = 0x7c00u << 13;
  static constexpr std::uint32_t kSign = 0x8000u << kSpare;

  template <class U>
  FUSEDSTEP_HD static U extend(Float<U> number) {
    using W = Words<U>;
    const U bits = W::as_bits(number), magnitude = bits & 0x7fffffffu;
    const U inexact = magnitude * 0u + 1u, infinity = magnitude * 0u + kInfinity,
            nan = magnitude * 0u + (kInfinity | 0x00400000u), none = magnitude * 0u;
    const U normal = magnitude - kBias;
    // In steps of 2^-37; the last bit says whether there was more.
    const U small = magnitude < kBias + kSubnormal ? magnitude : none;
    const Float<U> steps = W::as_float(small) * 0x1p37f;
    const U count = W::to_integer(steps);
    const U subnormal = count | (W::to_float(count) != steps ? inexact : none);
    U code = magnitude < kBias + kSubnormal ? subnormal : normal;
    code = magnitude > kBias + kInfinity ? infinity : code;
    code = code | ((bits >> 3) & kSign);
    return magnitude > 0x7f800000u ? nan : code;  // without the sign, which devices choose freely
  }
  template <class U>
  FUSEDSTEP_HD static Float<U> value(U extended) {
    using W = Words<U>;
    const U code = extended & (kSign - 1u), high = code * 0u + 2u * kBias, low = code * 0u + kBias;
    const U normal = code + (code >= kInfinity ? high : low);
    const U small = code < kSubnormal ? code : code * 0u;
    const U subnormal = W::as_bits(W::to_float(small) * 0x1p-37f);
    return W::as_float((code < kSubnormal ? subnormal : normal) | ((extended & kSign) << 3));
  }
  template <class U>
  FUSEDSTEP_HD static Float<U> decode(U word) {
    return value<U>(word << kSpare);
  }
};

// The code of a 16-bit format, with the spare bits, whatever they are; and without them.
template <class Codec, class U, class Round>
FUSEDSTEP_HD U encode_extended(Float<U> number, Round round) {
  const U code = Codec::template extend<U>(number);
  return code + round(code, Codec::kSpare);
}
template <class Codec, class U, class Round>
FUSEDSTEP_HD U encode(Float<U> number, Round round) {
  return encode_extended<Codec, U>(number, round) >> Codec::kSpare;
}

FUSEDSTEP_HD std::uint16_t bfloat16_bits(float number) {
  return std::uint16_t(encode<Bfloat16Codec, std::uint32_t>(number, ToNearest{}));
}

// What Kahan's rounding keeps of a number that was stored: nothing where one of them is not finite.
template <class U>
FUSEDSTEP_HD Float<U> compensation(Float<U> number, Float<U> stored) {
  const Float<U> rest = number - stored, none = Words<U>::as_float(Words<U>::as_bits(rest) * 0u);
  return rest - rest == none ? rest : none;
}

// A number in two parts: a code of a 16-bit format and a correction of `Bits` bits, 16 or 8, in
// units of what follows the code's last bit. With 16 bits of correction nothing is lost of a number
// that bfloat16's exponents, or float16's, can hold.
template <class Codec, int Bits>
struct SplitCodec {
  // Spare bits that the correction does not hold.
  static constexpr int kLost = Bits < Codec::kSpare ? Codec::kSpare - Bits : 0;
  static constexpr int kHeld = Codec::kSpare - kLost;

  template <class U>
  struct Parts {
    U code, correction;
  };

  // To nearest, half away from 0: the correction's sign says where the code came from.
  template <class U, class Round>
  FUSEDSTEP_HD static Parts<U> split(Float<U> number, Round round) {
    U code = Codec::template extend<U>(number);
    if constexpr (kLost != 0) code = (code + round(code, kLost)) >> kLost;
    const U correction = kHeld == Bits ? code : sign_extended<kHeld>(code);
    return {(code + (1u << (kHeld - 1))) >> kHeld, correction};  // in its lowest bits
  }
  // The correction's sign is extended to all of its word.
  template <class U>
  FUSEDSTEP_HD static Float<U> join(U code, U correction) {
    return Codec::template value<U>(((code << kHeld) + correction) << kLost);
  }
};

// 8-bit codes of numbers in a block of kBlock, which have one power of 2 as their scale. A code is
// a float without sign: a few bits of exponent and three of mantissa, minus the code of 0. So codes
// are spaced evenly near 0 and in proportion to the number further out (as the mu-law of
// telephony), and to decode one takes a shift, a subtraction and a multiplication.
constexpr std::size_t kBlock = 128;
constexpr int kMantissaShift = 20;

// The scale is the power of 2 by which the largest magnitude of the block, given by its bits, is
// less than 1.8671875, so that rounding up cannot exceed the greatest code. It is at least 2^-115,
// so that the least code is a float32: 2^-149. 0 for a block of zeros. NaN if the block has a NaN,
// an infinity or a number for which 2^127 is too little, and then all of it is NaN.
FUSEDSTEP_HD float block_scale(std::uint32_t largest) {
  using W = Words<std::uint32_t>;
  if (largest == 0u) return 0.0f;
  if (largest >= 0x7f6f0000u) return W::as_float(0x7fc00000u);
  const std::uint32_t exponent = (largest + 0x110000u) >> 23, least = 12u;
  return W::as_float((exponent > least ? exponent : least) << 23);
}
// 1 / scale. 0 for scales of 0 and NaN: then all codes are 0.
FUSEDSTEP_HD float inverse_scale(float scale) {
  using W = Words<std::uint32_t>;
  const std::uint32_t bits = W::as_bits(scale);
  if (bits == 0u || bits > 0x7f000000u) return 0.0f;
  return W::as_float(bits == 0x7f000000u ? 0x00400000u : 0x7f000000u - bits);
}

// Codes are read from, and made at, the bits of a word from `At` on; what the others are does not
// matter, or is left undefined.

// What is added to an extended code before its spare bits are dropped, so that it is rounded at
// random. Without the code of 0 of unsigned numbers, which has no bits in the place of the code.
constexpr std::uint32_t kUnsignedZero = 96u << 23;  // 2^-31
template <class U>
FUSEDSTEP_HD U block_offset(U uniform) {
  return (uniform >> (32 - kMantissaShift)) - kUnsignedZero;
}

// 1 bit of sign, 4 of exponent: magnitudes from 2^-18 of the scale.
struct Signed8Codec {
  static constexpr std::uint32_t kZero = 112u << 23;  // 2^-15, the code of 0

  template <class U>
  FUSEDSTEP_HD static U magnitude(Float<U> number) {
    return Words<U>::as_bits(number) & 0x7fffffffu;
  }
  template <class U, int At = 0>
  FUSEDSTEP_HD static U encode(Float<U> number, float inverse, U offset) {
    using W = Words<U>;
    const U bits = W::as_bits(number);
    const U code = W::as_bits(W::as_float(bits & 0x7fffffffu) * inverse + 0x1p-15f);
    const U magnitude = (code + offset) >> (kMantissaShift - At);
    const U sign = bits >> (24 - At);
    return ((magnitude ^ sign) & (0x7fu << At)) ^ sign;  // the sign's bit, the magnitude's others
  }
  template <int At = 0, class U>
  FUSEDSTEP_HD static Float<U> decode(U word, float scale) {
    using W = Words<U>;
    const U zero = ((word << (24 - At)) & 0x80000000u) | kZero;
    const U code = ((word << (kMantissaShift - At)) & 0x07f00000u) | zero;
    return (W::as_float(code) - W::as_float(zero)) * scale;
  }
};

// 5 bits of exponent: numbers >= 0, from 2^-34 of the scale. Rules divide by what is stored so, and
// nothing that is not in a block of zeros becomes 0.
struct Unsigned8Codec {
  template <class U>
  FUSEDSTEP_HD static U magnitude(Float<U> number) {
    return Words<U>::as_bits(number);
  }
  template <class U, int At = 0>
  FUSEDSTEP_HD static U encode(Float<U> number, float inverse, U offset) {
    const U code = Words<U>::as_bits(number * inverse + 0x1p-31f);
    const U result = (code + offset) >> (kMantissaShift - At);
    const U least = code * 0u + (1u << At);
    return result > least ? result : least;
  }
  template <int At = 0, class U>
  FUSEDSTEP_HD static Float<U> decode(U word, float scale) {
    const U code = ((word << (kMantissaShift - At)) & 0x0ff00000u) | kUnsignedZero;
    return (Words<U>::as_float(code) - 0x1p-31f) * scale;
  }
};

}  // namespace fusedstep
