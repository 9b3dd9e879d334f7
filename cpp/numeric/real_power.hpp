// Powers with a real exponent, for the scalars of a step: the last bit of libm's pow, exp and log
// differs between platforms. Only + - * / in a fixed order and exact scalings, so that the
// reference can reproduce them; the relative error is a few 2^-53.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.hpp"

namespace fusedstep {

// ln 2 in two parts; the high part has enough trailing zeros for exact products with exponents.
constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;

// Natural logarithm of x >= 0. With x = 2^e * m, m in [sqrt(1/2), sqrt(2)) and s = (m - 1) / (m +
// 1): ln x = e * ln 2 + 2 * (s + s^3/3 + s^5/5 + ...).
FUSEDSTEP_HD double natural_log(double x) {
  if (x == 0.0) return -HUGE_VAL;
  int e = 0;
  double m = std::frexp(x, &e);
  if (m < 0x1.6a09e667f3bcdp-1) {
    m = m * 2.0;
    e = e - 1;
  }
  const double s = (m - 1.0) / (m + 1.0), square = s * s;
  double series = 0.0;
  for (int k = 23; k > 1; k -= 2) series = (series + 1.0 / k) * square;
  const double tail = s * series + double(e) * kLn2Low * 0.5;
  return double(e) * kLn2High + 2.0 * (s + tail);
}

// e^x. With x = k * ln 2 + r, |r| <= ln 2 / 2: e^x = 2^k * (1 + r + r^2/2! + ...).
FUSEDSTEP_HD double exponential(double x) {
  x = x > 800.0 ? 800.0 : x < -800.0 ? -800.0 : x;  // beyond: infinity or 0
  const double k = std::floor(x / 0x1.62e42fefa39efp-1 + 0.5);
  const double r = (x - k * kLn2High) - k * kLn2Low;
  double series = 1.0;
  for (int n = 16; n > 0; --n) series = 1.0 + series * r / n;
  return std::ldexp(series, int(k));
}

// base^exponent for base >= 0.
FUSEDSTEP_HD double real_power(double base, double exponent) {
  return exponent == 0.0 ? 1.0 : exponential(exponent * natural_log(base));
}

}  // namespace fusedstep
