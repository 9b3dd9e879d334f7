// The arithmetic available to rules: correctly rounded, shared by host and device. The only file
// that checks for nvcc.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define FUSEDSTEP_HD __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define FUSEDSTEP_HD __forceinline
#else
#define FUSEDSTEP_HD inline __attribute__((always_inline))
#endif

namespace fusedstep {

template <class T>
FUSEDSTEP_HD T square_root(T x) {
  return std::sqrt(x);
}

template <class T>
FUSEDSTEP_HD T absolute(T x) {
  return std::abs(x);
}

// Propagates a NaN from either argument, in SIMD body and tail alike; neither std::max nor maxps
// guarantees that.
template <class T>
FUSEDSTEP_HD T maximum(T a, T b) {
  return ((a > b) | (a != a)) ? a : b;
}

template <class T>
FUSEDSTEP_HD T clamp(T x, T low, T high) {
  return x < low ? low : x > high ? high : x;  // NaN stays NaN
}

// -1, 0 or 1; zeros and NaNs are returned unchanged.
template <class T>
FUSEDSTEP_HD T sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
}

// base^n by repeated squaring: the last bit of libm's pow differs between platforms.
FUSEDSTEP_HD double power(double base, std::int64_t n) {
  double result = 1.0;
  for (; n > 0; n >>= 1, base *= base)
    if (n & 1) result *= base;
  return result;
}

// 1 + base + ... + base^(n-1) by doubling, avoiding the cancellation in (1 - base^n) / (1 - base).
FUSEDSTEP_HD double power_sum(double base, std::int64_t n) {
  double result = 0.0;
  for (double terms = 1.0; n > 0; n >>= 1) {
    if (n & 1) result = terms + base * result;
    terms = terms * (1.0 + base);
    base = base * base;
  }
  return result;
}

}  // namespace fusedstep
