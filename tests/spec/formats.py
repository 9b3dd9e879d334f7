"""The narrow formats: what their codes stand for, and how numbers become codes.

A format has the numbers it can hold in order, each with a code. The position of a number between
two of them, in so many bits, follows the code ("extended" codes); to round is to drop those bits.
"""

import numpy as np

from rounding import drop

BLOCK = 128  # elements that share a scale


def exponents(sizes, least):
    """Of the power of 2 that is the greatest within each number >= 0, but at least `least`."""
    return np.maximum(np.where(sizes > 0, np.frexp(sizes)[1] - 1, least), least)


class Bfloat16:
    """The upper half of a float32."""

    name, spare = "bfloat16", 16

    @staticmethod
    def extended(numbers):
        return np.where(np.isnan(numbers), np.uint32(0x7FC00000), numbers.view(np.uint32))

    @staticmethod
    def number(extended):
        return extended.astype(np.uint32).view(np.float32)


class Float16:
    """IEEE 754's binary16, whose next code is infinity's from 65,520 on."""

    name, spare = "float16", 13

    @staticmethod
    def extended(numbers):
        size = np.minimum(np.abs(numbers.astype(np.float64)), 2.0**16)
        number = np.where(np.isnan(size), 0.0, size)
        exponent = exponents(number, -14)
        steps = np.ldexp(number, 23 - exponent)  # of float16's spacing / 2^13
        whole = np.floor(steps)
        # Exponents count from -14, whose numbers of less than 2^-14 have no leading 1.
        code = (exponent + 14).astype(np.uint32) * np.uint32(2**23) + whole.astype(np.uint32)
        code |= whole != steps  # so that no tie comes from what is not one
        code |= np.where(np.signbit(numbers), np.uint32(0x8000 << 13), np.uint32(0))
        return np.where(np.isnan(size), np.uint32(0x7E00 << 13), code)

    @staticmethod
    def number(extended):
        extended = extended.astype(np.int64)
        size = extended % 2**28
        exponent = np.maximum(size >> 23, 1)
        number = np.ldexp((size - (exponent - 1) * 2**23).astype(np.float64), exponent - 38)
        infinity = 0x7C00 << 13
        number = np.where(size < infinity, number, np.where(size == infinity, np.inf, np.nan))
        return np.where(extended >> 28, -number, number).astype(np.float32)


def encode(codec, numbers, uniform=None):
    return drop(codec.extended(numbers), codec.spare, uniform).astype(np.uint16)


def decode(codec, codes):
    return codec.number(codes.astype(np.uint32) << np.uint32(codec.spare))


# A code and a correction -------------------------------------------------------------------------


def lost(codec, bits):
    """How many bits of an extended code a correction of so many bits has no room for."""
    return max(codec.spare - bits, 0)


def split(codec, bits, numbers, uniform):
    """A code, to nearest, and the correction: a signed integer of 16 or 8 bits."""
    code = drop(codec.extended(numbers), lost(codec, bits), uniform).astype(np.int64)
    held = codec.spare - lost(codec, bits)
    upper = (code + 2 ** (held - 1)) >> held  # half away from 0: corrections are < half
    return upper.astype(np.uint16), (code - (upper << held)).astype(f"i{bits // 8}")


def join(codec, bits, codes, corrections):
    dropped = lost(codec, bits)
    whole = (codes.astype(np.int64) << (codec.spare - dropped)) + corrections
    return codec.number(whole << dropped)


# Blocks of 8-bit codes ---------------------------------------------------------------------------


class Signed8:
    """A sign; the rest counts evenly spaced numbers near 0, eight for each power of 2 further out."""

    name, least_exponent = "signed8", -15

    @staticmethod
    def encode(scaled, uniform):
        sign = np.where(np.signbit(scaled), 0x80, 0)
        return position(np.abs(scaled), Signed8.least_exponent, uniform) | sign


class Unsigned8:
    """The same for numbers >= 0 in twice as many powers of 2, and nothing becomes 0."""

    name, least_exponent = "unsigned8", -31

    @staticmethod
    def encode(scaled, uniform):
        return np.maximum(position(scaled, Unsigned8.least_exponent, uniform), 1)


def position(scaled, least_exponent, uniform):
    """Which of the levels numbers round to: these are the floats of four bits from 2^k, minus 2^k."""
    number = scaled + np.float32(2.0**least_exponent)
    fraction, exponent = np.frexp(number.astype(np.float64))
    eighths = (exponent - 1 - least_exponent) * 8 + (fraction * 16 - 8)
    return drop((eighths * 2**20).astype(np.uint64), 20, uniform).astype(np.int64)


def levels(codec):
    """What the codes stand for, before their scale."""
    code = np.arange(8 * -codec.least_exponent + 8)
    floats = np.ldexp(1 + code % 8 / 8, code // 8 + codec.least_exponent)
    sizes = floats.astype(np.float32) - np.float32(2.0**codec.least_exponent)
    return np.concatenate([sizes, 0 - sizes])[:256]


LEVELS = {codec: levels(codec) for codec in (Signed8, Unsigned8)}


def scales_of(blocks):
    """One scale a row: the power of 2 by which the largest is less than 239/128; 0 for zeros."""
    largest = np.max(np.abs(blocks), axis=1, initial=0).astype(np.float64)
    ok = largest < 239 / 128 * 2.0**127
    exponent = exponents(np.where(ok, largest, 0), -116)
    exponent += (largest >= np.ldexp(239 / 128, exponent)) | (exponent < -115)
    scales = np.where(ok, np.ldexp(1.0, exponent), np.nan)
    return np.where(largest == 0, 0, scales).astype(np.float32)


def in_blocks(numbers):
    """Rows of 128, filled up with zeros."""
    blocks = np.zeros((-(-numbers.size // BLOCK), BLOCK), numbers.dtype)
    blocks.reshape(-1)[: numbers.size] = numbers
    return blocks


def encode_blocks(codec, numbers, uniform=None):
    """The codes of flat numbers, and the scales."""
    blocks = in_blocks(numbers)
    scales = scales_of(blocks)
    plain = (scales > 0)[:, None]  # neither zeros nor NaN
    inverse = 1 / np.where(plain, scales[:, None], np.float32(1))
    scaled = np.where(plain, blocks, np.float32(0)) * inverse
    codes = codec.encode(scaled, None if uniform is None else in_blocks(uniform))
    codes = np.where(plain, codes, 0).astype(np.uint8)
    return codes.reshape(-1)[: numbers.size], scales


def decode_blocks(codec, codes, scales):
    with np.errstate(invalid="ignore"):
        return LEVELS[codec][codes] * np.repeat(scales, BLOCK)[: codes.size]
