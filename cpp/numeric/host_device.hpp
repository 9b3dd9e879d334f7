// What a rule may use: correctly rounded arithmetic that host and device share.
// The only file that knows whether nvcc is reading.
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

// A NaN on either side stays a NaN, in SIMD body and tail alike, which neither std::max nor
// maxps promises.
template <class T>
FUSEDSTEP_HD T maximum(T a, T b) {
  return ((a > b) | (a != a)) ? a : b;
}

template <class T>
FUSEDSTEP_HD T clamp(T x, T low, T high) {
  return x < low ? low : x > high ? high : x;  // a NaN stays
}

// -1, 0 or 1; a zero and a NaN stay what they are.
template <class T>
FUSEDSTEP_HD T sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
}

// base^n by squaring: libm's pow differs in the last bit from one platform to the next.
FUSEDSTEP_HD double power(double base, std::int64_t n) {
  double result = 1.0;
  for (; n > 0; n >>= 1, base *= base)
    if (n & 1) result *= base;
  return result;
}

// 1 + base + ... + base^(n-1) by doubling, without the cancellation of (1 - base^n) / (1 - base).
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
