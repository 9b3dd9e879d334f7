// bfloat16: the upper half of a float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "numeric/host_device.hpp"

namespace fusedstep {

// Rounds to nearest even; NaN stays NaN.
FUSEDSTEP_HD std::uint16_t bfloat16_bits(float number) {
  std::uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  // Signed compare: SIMD has no unsigned one before AVX-512.
  const bool nan = static_cast<std::int32_t>(bits & 0x7fffffffu) > 0x7f800000;
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t quiet = (bits >> 16) | 0x40u;
  const std::uint32_t result = nan ? quiet : rounded;
  return static_cast<std::uint16_t>(result);
}

}  // namespace fusedstep
