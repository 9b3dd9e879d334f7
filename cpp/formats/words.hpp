// 32-bit words and the floats of the same bits: one at a time here, or as many as a register holds
// (lanes.hpp). Codecs are written once, for both.
#pragma once

#include <cstdint>
#include <cstring>

#include "numeric/host_device.hpp"

namespace fusedstep {

// Of a multiplication.
template <class U>
struct Product {
  U low, high;
};

// For a type U of one or several 32-bit words: Float and Signed, of the same bits, and conversions.
template <class U>
struct Words;

template <>
struct Words<std::uint32_t> {
  using Float = float;
  using Signed = std::int32_t;
  FUSEDSTEP_HD static float as_float(std::uint32_t bits) {
    float number;
    std::memcpy(&number, &bits, sizeof bits);
    return number;
  }
  FUSEDSTEP_HD static std::uint32_t as_bits(float number) {
    std::uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    return bits;
  }
  FUSEDSTEP_HD static Product<std::uint32_t> multiply(std::uint32_t a, std::uint32_t b) {
    const std::uint64_t product = std::uint64_t(a) * b;
    return {std::uint32_t(product), std::uint32_t(product >> 32)};
  }
  // By value; both less than 2^31.
  FUSEDSTEP_HD static float to_float(std::uint32_t number) {
    return static_cast<float>(static_cast<std::int32_t>(number));
  }
  FUSEDSTEP_HD static std::uint32_t to_integer(float number) {
    return static_cast<std::uint32_t>(static_cast<std::int32_t>(number));
  }
};

template <class U>
using Float = typename Words<U>::Float;

// The signed numbers of `Bits` bits that start at bit `At` of each word.
template <int Bits, int At = 0, class U>
FUSEDSTEP_HD U sign_extended(U word) {
  using Signed = typename Words<U>::Signed;
  return U(Signed(word << (32 - Bits - At)) >> (32 - Bits));
}

}  // namespace fusedstep
