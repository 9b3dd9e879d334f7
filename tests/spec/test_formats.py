"""What the specification of the narrow formats promises, and others' casts beside it."""

import ml_dtypes
import numpy as np
import pytest

from cases import same_bits
from formats import (
    BLOCK,
    LEVELS,
    Bfloat16,
    Float16,
    Signed8,
    Unsigned8,
    decode,
    decode_blocks,
    encode,
    encode_blocks,
    join,
    split,
)
from rounding import weyl

ALL_CODES = np.arange(2**16, dtype=np.uint16)
CODECS, EIGHT = (Bfloat16, Float16), (Signed8, Unsigned8)
every_codec = pytest.mark.parametrize("codec", CODECS)
every_block_codec = pytest.mark.parametrize("codec", EIGHT)
pytestmark = pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")


def elsewhere(codec):
    """The dtype that others make of it."""
    return np.dtype(np.float16 if codec is Float16 else ml_dtypes.bfloat16)


def every_kind(seed=0, count=300_000):
    """float32 of random bits, and what is next to and between numbers of 16-bit formats."""
    rng = np.random.default_rng(seed)
    codes = [decode(codec, ALL_CODES) for codec in CODECS]
    finite = [np.sort(code[np.isfinite(code)]) for code in codes]
    halves = [(low / 2 + high / 2) for low, high in ((f[:-1], f[1:]) for f in finite)]
    near = np.concatenate(
        [*codes, *halves, np.array([65519.996, 65520, 65536, 3.4e38], np.float32)]
    )
    beside = [np.nextafter(near, np.float32(way)) for way in (-np.inf, np.inf)]
    bits = rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    usual = (10 ** rng.uniform(-9, 5, count)).astype(np.float32) * rng.choice([-1, 1], count)
    return np.concatenate([near, *beside, bits, usual]).astype(np.float32)


def uniform(count, seed=1):
    words = np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)
    words[:2] = 0, 2**32 - 1
    return words


# 16 bits -----------------------------------------------------------------------------------------


@every_codec
def test_codes_are_those_of_others(codec):
    theirs = ALL_CODES.view(elsewhere(codec)).astype(np.float32)
    assert same_bits(decode(codec, ALL_CODES), theirs)


@every_codec
def test_to_nearest_is_the_cast_of_others(codec):
    numbers = every_kind()
    theirs = numbers.astype(elsewhere(codec))
    ours = encode(codec, numbers)
    nan = np.isnan(numbers)
    assert np.array_equal(ours[~nan], theirs.view(np.uint16)[~nan])
    assert np.all(ours[nan] == (0x7FC0 if codec is Bfloat16 else 0x7E00))


@every_codec
def test_codes_come_back(codec):
    numbers = decode(codec, ALL_CODES)
    known = ~np.isnan(numbers)
    for words in (None, uniform(2**16), np.full(2**16, 2**32 - 1, np.uint32)):
        assert np.array_equal(encode(codec, numbers, words)[known], ALL_CODES[known])


@every_codec
def test_at_random_a_number_becomes_one_of_its_neighbours(codec):
    numbers = every_kind()
    numbers = numbers[np.abs(numbers) < 60_000]
    spacings = [
        encode(codec, numbers, np.full(numbers.size, word, np.uint32)) for word in (0, -1 % 2**32)
    ]
    low, high = (decode(codec, codes) for codes in spacings)
    assert np.all((np.abs(low) <= np.abs(numbers)) & (np.abs(numbers) <= np.abs(high)))
    assert np.all(spacings[1] - spacings[0] == (low != numbers))
    some = encode(codec, numbers, uniform(numbers.size))
    assert np.all((some == spacings[0]) | (some == spacings[1]))


@every_codec
def test_over_all_random_numbers_there_is_no_error(codec):
    """The mean over them is the number itself, as far as float32 has bits between two codes."""
    rng = np.random.default_rng(2)
    words = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    for number in (10 ** rng.uniform(-4, 4, 20)).astype(np.float32):
        codes = encode(codec, np.full(2**16, number), words)
        assert np.mean(decode(codec, codes), dtype=np.float64) == number


@every_codec
def test_order_is_kept(codec):
    numbers = every_kind()
    numbers = np.sort(numbers[~np.isnan(numbers)])
    for word in (None, 0, 0x9E3779B9, 2**32 - 1):
        words = None if word is None else np.full(numbers.size, word, np.uint32)
        stored = decode(codec, encode(codec, numbers, words))
        assert np.all(stored[:-1] <= stored[1:])


# Two parts ---------------------------------------------------------------------------------------


def test_bfloat16_and_16_bits_are_a_float32():
    numbers = every_kind(count=2_000_000)
    codes, corrections = split(Bfloat16, 16, numbers, uniform(numbers.size))
    assert same_bits(join(Bfloat16, 16, codes, corrections), numbers)


def test_float16_and_16_bits_are_a_float32_where_float16_has_its_exponent():
    numbers = every_kind(count=2_000_000)
    whole = (np.abs(numbers) < 2.0**16) & (np.abs(numbers) >= 2.0**-14)
    whole |= (numbers == 0) | ~np.isfinite(numbers)
    numbers = numbers[whole]
    codes, corrections = split(Float16, 16, numbers, uniform(numbers.size))
    assert same_bits(join(Float16, 16, codes, corrections), numbers)


@every_codec
@pytest.mark.parametrize("bits", [16, 8])
def test_what_the_model_reads_is_to_nearest(codec, bits):
    numbers = every_kind()
    codes, corrections = split(codec, bits, numbers, uniform(numbers.size))
    joined = join(codec, bits, codes, corrections)
    read, nearest = decode(codec, codes), decode(codec, encode(codec, joined))
    usual = np.isfinite(read) & np.isfinite(nearest)
    gaps = [np.abs(number[usual] - joined[usual].astype(np.float64)) for number in (read, nearest)]
    assert np.array_equal(*gaps)  # they differ in ties
    assert np.array_equal(np.isnan(read), np.isnan(numbers))


@every_codec
def test_24_bits_are_right_to_one_in_their_last_place(codec):
    """bfloat16 and 8 bits make 16 bits of significand, float16 and 8 bits 19."""
    rng = np.random.default_rng(3)
    numbers = (10 ** rng.uniform(-4, 4, 100_000)).astype(np.float32) * rng.choice([-1, 1], 100_000)
    numbers = numbers.astype(np.float32)
    joined = join(codec, 8, *split(codec, 8, numbers, uniform(numbers.size)))
    place = np.ldexp(1.0, np.frexp(numbers)[1] - (16 if codec is Bfloat16 else 19))
    error = (joined.astype(np.float64) - numbers) / place
    assert np.max(np.abs(error)) < 1
    assert abs(np.mean(error)) < 5 / np.sqrt(numbers.size)
    again = join(codec, 8, *split(codec, 8, joined, uniform(numbers.size, seed=4)))
    assert same_bits(again, joined)


# Blocks of 8 bits ----------------------------------------------------------------------------------


@every_block_codec
@pytest.mark.parametrize("exponent", [-115, -60, 0, 100, 127])
def test_8_bit_codes_come_back(codec, exponent):
    """All but the second zero of signed codes, and the zero that squares do not become."""
    codes = np.concatenate([np.arange(256, dtype=np.uint8), np.full(256, 127, np.uint8)])
    codes = (
        codes.reshape(2, -1, BLOCK // 2).swapaxes(0, 1).reshape(-1)
    )  # the greatest in each block
    if codec is Unsigned8:
        codes[codes == 127] = 255
    scales = np.full(codes.size // BLOCK, 2.0**exponent, np.float32)
    numbers = decode_blocks(codec, codes, scales)
    expected = codes.copy()
    if codec is Signed8:
        expected[codes == 0x80] = 0
    else:
        expected[codes == 0] = 1
    # 1.875 would take the next scale; so the greatest that takes this one stands in for it.
    greatest = np.abs(numbers) > 1.86 * 2.0**exponent
    numbers[greatest] = np.copysign(np.float32(1.86 * 2.0**exponent), numbers[greatest])
    for words in (None, weyl(3, np.arange(codes.size))):
        made, scale = encode_blocks(codec, numbers, words)
        assert np.array_equal(scale, scales)
        assert np.array_equal(made[~greatest], expected[~greatest])


def test_levels():
    """The formulas of docs/low-precision.md, and their order."""
    for codec, bits, least in ((Signed8, 4, -15), (Unsigned8, 5, -31)):
        sizes = LEVELS[codec][: 2 ** (bits + 3)]
        exponent, mantissa = np.divmod(np.arange(sizes.size), 8)
        exact = (2.0**exponent * (1 + mantissa / 8) - 1) * 2.0**least
        assert np.array_equal(sizes, exact.astype(np.float32))
        assert np.all(np.diff(sizes) > 0)
    assert np.array_equal(LEVELS[Signed8][128:], -LEVELS[Signed8][:128])
    assert not np.signbit(LEVELS[Signed8][128])


def blocks_of_every_kind(codec):
    """Rows of a block each, with a name."""
    rng = np.random.default_rng(6)
    usual = rng.standard_normal(BLOCK)
    outlier = usual.copy()
    outlier[77] = 1e30
    blocks = {
        "usual": usual,
        "wide": usual * 10.0 ** rng.uniform(-9, 0, BLOCK),
        "outlier": outlier,
        "tiny": usual * 1e-37,
        "subnormal": usual * 1e-41,
        "least": np.full(BLOCK, 2.0**-149),
        "great": np.clip(usual * 1e38, -3.17e38, 3.17e38),
        "one": np.where(np.arange(BLOCK) == 5, 1.0, 0.0),
        "at the limit": np.full(BLOCK, np.nextafter(np.float32(239 / 128), np.float32(0))),
        "beyond": np.full(BLOCK, 239 / 128),
    }
    blocks = {name: block.astype(np.float32) for name, block in blocks.items()}
    return {n: np.abs(b) for n, b in blocks.items()} if codec is Unsigned8 else blocks


@every_block_codec
@pytest.mark.parametrize("word", [None, 0, 0x5A5A5A5A, 2**32 - 1])
def test_blocks(codec, word):
    words = None if word is None else np.full(BLOCK, word, np.uint32)
    spacing = -18 if codec is Signed8 else -34
    for name, block in blocks_of_every_kind(codec).items():
        codes, (scale,) = encode_blocks(codec, block, words)
        stored = decode_blocks(codec, codes, np.array([scale]))
        largest = np.max(np.abs(block))
        assert largest < 239 / 128 * scale, name
        assert largest >= 239 / 256 * scale or scale == 2.0**-115, name
        least = np.abs(block) / 8 + float(scale) * 2.0**spacing
        assert np.all(np.abs(stored - block.astype(np.float64)) <= least * 1.001), name
        assert np.all(np.abs(stored) <= 1.875 * float(scale)), name
        if codec is Unsigned8:
            assert np.all(stored > 0), name
        else:
            assert np.all(stored * np.sign(block) >= 0), name
        order = np.argsort(block)
        assert np.all(np.diff(stored[order]) >= 0), name
        again, (same,) = encode_blocks(codec, stored, words)
        if same == scale:  # what is stored once stays
            assert np.array_equal(again, np.where(stored == 0, 0, codes)), name


@every_block_codec
def test_zeros_stay_zeros(codec):
    for zero in (0.0, -0.0) if codec is Signed8 else (0.0,):
        codes, scales = encode_blocks(codec, np.full(BLOCK, zero, np.float32), uniform(BLOCK))
        assert not codes.any()
        assert not scales.any()
        assert not decode_blocks(codec, codes, scales).any()


@every_block_codec
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 239 / 128 * 2.0**127, np.finfo("f").max])
def test_what_is_not_finite_makes_its_block_nan(codec, bad):
    numbers = np.ones(3 * BLOCK, np.float32)
    numbers[BLOCK + 3] = bad
    codes, scales = encode_blocks(codec, numbers, uniform(numbers.size))
    assert np.isnan(scales).tolist() == [False, True, False]
    assert not codes[BLOCK : 2 * BLOCK].any()
    stored = decode_blocks(codec, codes, scales).reshape(3, BLOCK)
    assert np.all(np.isnan(stored[1]))
    assert np.allclose(stored[[0, 2]], 1, atol=1 / 8)


@every_block_codec
def test_a_tail_is_a_block_of_its_own(codec):
    numbers = np.abs(np.random.default_rng(7).standard_normal(3 * BLOCK)).astype(np.float32)
    words = uniform(numbers.size)
    for length in range(2 * BLOCK + 2):
        codes, scales = encode_blocks(codec, numbers[:length], words[:length])
        assert (codes.size, scales.size) == (length, -(-length // BLOCK))
        parts = [slice(at, min(at + BLOCK, length)) for at in range(0, length, BLOCK)]
        for part, scale in zip(parts, scales, strict=True):
            alone, (its,) = encode_blocks(codec, numbers[part], words[part])
            assert its == scale
            assert np.array_equal(alone, codes[part])


@every_block_codec
def test_over_all_random_numbers_blocks_have_no_error(codec):
    """20 bits of a random number count: over all 2^20 of them the mean is the number."""
    words = np.arange(2**20, dtype=np.uint32) << np.uint32(12)
    for number in (1.86, 1.7, 1.03, 0.97):
        numbers = np.full(words.size, number, np.float32)
        stored = decode_blocks(codec, *encode_blocks(codec, numbers, words))
        error = np.mean(stored, dtype=np.float64) - numbers[0]
        assert abs(error) < 1e-7  # half a spacing of float32, which the code of 0 costs
