"""Codes of moments, in NumPy: ours, those of the literature, and plain minifloats.

A codec has a function for averages and one for squares. They take numbers and 32-bit uniform ones,
for the codes that are rounded with them, and return what is read back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

Store = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Codec:
    name: str
    average: Store
    square: Store
    bytes: float  # of a number, with its share of the scale


def by_group(size: int, store: Callable[..., np.ndarray]) -> Store:
    """A code of groups: rows of a table, filled up with zeros."""

    def stored(numbers: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        rows = -(-numbers.size // size)
        table, words = np.zeros(rows * size, np.float32), np.zeros(rows * size, np.uint32)
        table[: numbers.size], words[: numbers.size] = numbers, uniform
        result = store(table.reshape(rows, size), words.reshape(rows, size))
        return result.reshape(-1)[: numbers.size].astype(np.float32)

    return stored


def largest(rows: np.ndarray) -> np.ndarray:
    """The largest magnitude of each, 1 for zeros."""
    most = np.max(np.abs(rows), axis=1, keepdims=True)
    return np.where(most > 0, most, np.float32(1))


# Ours: floats of four bits, minus the least ----------------------------------------------------------


def offset_float(least: int, *, is_fair: bool) -> Callable[..., np.ndarray]:
    """Exponents from `least`, three bits of mantissa, a scale that is a power of 2."""
    zero = np.float32(2.0**least)
    dropped = np.uint32((1 << 20) - 1)

    def store(rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        exponent = np.frexp(largest(rows) * np.float64(128 / 239))[1]
        scale = np.ldexp(np.float32(1), exponent).astype(np.float32)
        codes = (np.abs(rows) / scale + zero).view(np.uint32)
        up = uniform >> 12 if is_fair else ((codes >> 20) & np.uint32(1)) + (dropped >> 1)
        codes = (codes + up) & ~dropped
        if least < -15:  # squares: nothing becomes 0
            codes = np.maximum(codes, zero.view(np.uint32) + np.uint32(1 << 20))
        return np.copysign((codes.view(np.float32) - zero) * scale, rows)

    return store


def ours(block: int, *, is_fair: bool) -> Codec:
    return Codec(
        f"ours, {block}, {'Weyl' if is_fair else 'nearest'}",
        by_group(block, offset_float(-15, is_fair=is_fair)),
        by_group(block, offset_float(-31, is_fair=is_fair)),
        1 + 4 / block,
    )


# Dettmers et al. 2021 --------------------------------------------------------------------------------


def dynamic_code(*, is_signed: bool) -> np.ndarray:
    """Their dynamic tree: decades from 10^-6, each with twice as many numbers as the one below."""
    code = [0.0, 1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1, (1 << (decade + (not is_signed))) + 1)
        means = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)
        code += [*means, *(-means if is_signed else [])]
    return np.sort(np.array(code, np.float32))


def dynamic(*, is_signed: bool) -> Callable[..., np.ndarray]:
    code = dynamic_code(is_signed=is_signed)
    edges = (code[:-1] + code[1:]) / 2

    def store(rows: np.ndarray, _: np.ndarray) -> np.ndarray:
        scale = largest(rows)
        return code[np.searchsorted(edges, rows / scale)] * scale

    return store


DETTMERS = Codec(
    "Dettmers 2021, 256",
    by_group(256, dynamic(is_signed=True)),
    by_group(256, dynamic(is_signed=False)),
    1 + 4 / 256,
)


# FlashOptim ------------------------------------------------------------------------------------------


def half(scale: np.ndarray) -> np.ndarray:
    """A scale in float16, but not 0 for what is not."""
    return np.maximum(scale, np.float32(2.0**-24)).astype(np.float16).astype(np.float32)


def companded_average(rows: np.ndarray, _: np.ndarray) -> np.ndarray:
    scale = half(largest(rows))
    part = np.clip(rows / scale, -1, 1)
    code = np.rint(2 * part / (1 + np.abs(part)) * 127) / 127
    return code / (2 - np.abs(code)) * scale


def companded_square(rows: np.ndarray, _: np.ndarray) -> np.ndarray:
    root = np.sqrt(rows)
    scale = half(largest(root))
    return (np.rint(np.clip(root / scale, 0, 1) * 255) / 255 * scale) ** 2


def flash(group: int) -> Codec:
    average, square = by_group(group, companded_average), by_group(group, companded_square)
    return Codec(f"FlashOptim, {group}", average, square, 1 + 2 / group)


# Minifloats ------------------------------------------------------------------------------------------


def minifloat(dtype: type, greatest: float) -> Callable[..., np.ndarray]:
    def store(rows: np.ndarray, _: np.ndarray) -> np.ndarray:
        scale = largest(rows) / np.float32(greatest)
        return (rows / scale).astype(dtype).astype(np.float32) * scale

    return store


FLOAT8 = Codec(
    "float8 (e4m3, e5m2), 128",
    by_group(128, minifloat(ml_dtypes.float8_e4m3fn, 448)),
    by_group(128, minifloat(ml_dtypes.float8_e5m2, 57344)),
    1 + 4 / 128,
)


def rounded_root(codec: Codec) -> Codec:
    """The same with squares in the domain of their roots, which a step computes anyway."""

    def square(numbers: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return codec.average(np.sqrt(numbers), uniform) ** 2

    return replace(codec, name=f"{codec.name}, roots", square=square)


def bfloat16(numbers: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    bits = numbers.view(np.uint32) + (uniform >> 16)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


CODECS = [
    DETTMERS,
    flash(32),
    flash(128),
    FLOAT8,
    rounded_root(FLOAT8),
    ours(128, is_fair=False),
    ours(128, is_fair=True),
    ours(256, is_fair=True),
    Codec("bfloat16, Weyl", bfloat16, bfloat16, 2),
]
