"""Rounding is right on average: exactly, in the long run, and in a test that would notice."""

import math

import numpy as np
import pytest

from formats import Bfloat16, Unsigned8, decode, decode_blocks, encode, encode_blocks
from rounding import drop, philox, random_bits, random_blocks, weyl, words

# Philox4x32-10 in the known answers of Random123: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox(counter, key, result):
    read = [[int(word, 16) for word in part.split()] for part in (counter, key, result)]
    assert [int(word) for word in philox(*read[:2])] == read[2]


def test_random_bits_use_each_half_word_of_their_counters_once():
    bits = random_bits(7 + 2**40, 3, 5, np.arange(256, 384)) >> np.uint32(16)
    counter = (np.arange(32, 48), 0, 5, 3)
    made = np.concatenate(philox(counter, (7, 2**8)))
    halves = np.concatenate([made & np.uint32(0xFFFF), made >> np.uint32(16)])
    assert sorted(bits.tolist()) == sorted(halves.tolist())


def test_random_bits_depend_on_all_that_they_should():
    elements = np.arange(1000)
    plain = random_bits(1, 1, 0, elements)
    others = [(2, 1, 0), (1 + 2**32, 1, 0), (1, 2, 0), (1, 1, 1)]
    for other in others:
        assert np.mean(random_bits(*other, elements) == plain) < 0.01
    assert np.mean(random_bits(1, 1, 0, elements + 128) == plain) < 0.01
    assert np.array_equal(random_bits(1, 1, 0, elements[::-1]), plain[::-1])


# At random ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [3, 8, 10])
def test_every_uniform_number_once_makes_no_error_at_all(bits):
    codes = np.repeat(np.arange(3 << bits), 1 << bits)
    uniform = np.tile(np.arange(1 << bits, dtype=np.uint64) << np.uint64(32 - bits), 3 << bits)
    dropped = drop(codes, bits, uniform).reshape(-1, 1 << bits)
    assert np.array_equal(dropped.sum(axis=1), np.arange(3 << bits))


COUNT, NOTICED = 20_480_000, 1 / 1000  # samples, and of a spacing
LIMIT = 5.2  # standard deviations: all positions together are right but once in a million times


def test_power():
    deviation = 0.5 / math.sqrt(COUNT)
    assert math.erfc((NOTICED / deviation - LIMIT) / math.sqrt(2)) / 2 < 1 / 1000
    assert len(POSITIONS) * math.erfc(LIMIT / math.sqrt(2)) < 1e-6


POSITIONS = (0x0042, 0x5555, 0x8000, 0xFFBE)


def test_stochastic_rounding_is_unbiased():
    """A bias of a thousandth of a spacing would be found, but once in a thousand times."""
    ups = np.zeros(len(POSITIONS))
    for start in range(0, COUNT // 128, 20_000):
        made = random_blocks(11, 1, 0, np.arange(start, start + 20_000)) >> np.uint32(16)
        ups += [np.count_nonzero(made + np.uint32(one) >= 2**16) for one in POSITIONS]
    share = np.array(POSITIONS) / 2**16
    assert np.all(np.abs(ups / COUNT - share) < LIMIT * np.sqrt(share * (1 - share) / COUNT))


# Over time -------------------------------------------------------------------------------------


def spread(uniform):
    """By how many, at most, the count in any interval differs from what is due."""
    n = uniform.size
    off = np.arange(n) / n - np.sort(uniform) / 2**32
    return n * (off.max() - off.min()) + 1


@pytest.mark.parametrize("n", [1, 2, 3, 10, 34, 100, 999, 10_000, 300_000])
def test_weyl_rounds_up_as_often_as_is_due(n):
    """In any n steps in a row, and, less so, over any n elements."""
    steps = words([step * 0x9E3779B9 for step in range(n)])
    assert weyl(n, 5) == words(n * 0x9E3779B9 + 5 * 0xC13FA9A9)
    assert spread(steps) <= 1 + 0.5 * math.log2(n)
    assert spread(weyl(3, np.arange(n))) <= 1 + math.log2(n)


def as_unsigned8(numbers, uniform):
    return decode_blocks(Unsigned8, *encode_blocks(Unsigned8, numbers, uniform))


def as_bfloat16(numbers, uniform):
    return decode(Bfloat16, encode(Bfloat16, numbers, uniform))


WAYS = {"rises": (0.1, 1.0), "stays": (1.0, 1.0), "falls": (1.0, 0.1)}
COUNTED = 512


def roots_after(way, store):
    """sqrt(exp_avg_sq) to float32's where it is stored to nearest, and with the dither of states.

    The gradients are normal, with a deviation of the first for 2,000 steps, of the second then.
    """
    rng, f = np.random.default_rng(5), np.float32
    exact, near, fair = (np.zeros(COUNTED, f) for _ in range(3))
    for step in range(1, 4001):
        square = (rng.standard_normal(COUNTED) * WAYS[way][step > 2000]).astype(f) ** 2
        exact, near, fair = (f(0.999) * v + f(0.001) * square for v in (exact, near, fair))
        near, fair = store(near, None), store(fair, weyl(step, np.arange(COUNTED)))
    return np.sqrt(near / exact), np.sqrt(fair / exact)


# A step changes the average by less than 1/1000 of it; codes are 1/16 to 1/8 of a number apart,
# bfloat16's 1/256 to 1/128. An average that falls is behind what is due by no more than it was.
@pytest.mark.parametrize(
    ("store", "way", "low", "high", "deviation"),
    [
        (as_unsigned8, "rises", 0.97, 1.01, 0.10),
        (as_unsigned8, "stays", 0.97, 1.01, 0.10),
        (as_unsigned8, "falls", 0.88, 1.01, 0.12),
        (as_bfloat16, "rises", 0.995, 1.005, 0.02),
        (as_bfloat16, "stays", 0.995, 1.005, 0.02),
        (as_bfloat16, "falls", 0.995, 1.005, 0.03),
    ],
)
def test_a_moving_average_follows(store, way, low, high, deviation):
    near, fair = roots_after(way, store)
    assert low < np.mean(fair) < high
    assert np.std(fair) < deviation
    assert abs(np.mean(near) - 1) > 0.05  # stuck
