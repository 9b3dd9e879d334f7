"""The arithmetic of a step's scalars, in double: powers, logarithms and exponentials without libm."""

import math

import numpy as np

LN2_HIGH, LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")


def power(base, n):
    result = 1.0
    while n:
        result, base, n = result * base if n & 1 else result, base * base, n >> 1
    return result


def power_sum(base, n):
    result, terms = 0.0, 1.0
    while n:
        result = terms + base * result if n & 1 else result
        terms, base, n = terms * (1.0 + base), base * base, n >> 1
    return result


def natural_log(x):
    if x == 0.0:
        return -math.inf
    m, e = math.frexp(x)
    if m < float.fromhex("0x1.6a09e667f3bcdp-1"):
        m, e = m * 2.0, e - 1
    s, series = (m - 1.0) / (m + 1.0), 0.0
    for k in range(23, 1, -2):
        series = (series + 1.0 / k) * (s * s)
    return e * LN2_HIGH + 2.0 * (s + (s * series + e * LN2_LOW * 0.5))


def exponential(x):
    x = min(max(x, -800.0), 800.0)
    k = math.floor(x / float.fromhex("0x1.62e42fefa39efp-1") + 0.5)
    r, series = (x - k * LN2_HIGH) - k * LN2_LOW, 1.0
    for n in range(16, 0, -1):
        series = 1.0 + series * r / n
    return float(np.ldexp(series, k))


def real_power(base, exponent):
    return 1.0 if exponent == 0.0 else exponential(exponent * natural_log(base))
