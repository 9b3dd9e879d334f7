"""How numbers lose the bits that a narrow format cannot hold."""

import numpy as np

WORD = np.uint64(0xFFFFFFFF)


def words(numbers):
    """Integers modulo 2^32."""
    return (np.asarray(numbers, np.uint64) & WORD).astype(np.uint32)


def drop(codes, bits, uniform=None):
    """Codes without their lowest bits: to nearest, ties to even, or up as often as those bits say.

    `uniform` are 32-bit numbers, of which only the upper `bits` decide.
    """
    codes, bits = np.asarray(codes, np.uint64), np.uint64(bits)
    if not bits:
        return codes
    lower = codes & ((np.uint64(1) << bits) - np.uint64(1))
    upper, half = codes >> bits, np.uint64(1) << (bits - np.uint64(1))
    if uniform is None:
        up = (lower > half) | ((lower == half) & (upper % np.uint64(2) == 1))
    else:
        up = lower + (np.asarray(uniform, np.uint64) >> (np.uint64(32) - bits)) >= half + half
    return upper + up


def weyl(step, elements):
    """What states are rounded with: multiples of two irrational numbers, modulo 1."""
    elements = np.asarray(elements, np.uint64)
    return words(np.uint64(step * 0x9E3779B9 % 2**32) + (elements & WORD) * np.uint64(0xC13FA9A9))


def philox(counter, key):
    """Philox4x32-10 of Salmon et al. 2011: four words of a counter, and two of a key."""
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = (int(word) for word in key)
    for _ in range(10):
        a, b = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (b >> np.uint64(32)) ^ c1 ^ np.uint64(k0), b & WORD
        c2, c3 = (a >> np.uint64(32)) ^ c3 ^ np.uint64(k1), a & WORD
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [word.astype(np.uint32) for word in (c0, c1, c2, c3)]


def random_blocks(seed, step, tensor, blocks):
    """16 random bits, in the upper half of a word, for the 128 elements of each block.

    16 counters serve a block: each word of theirs is for two elements that follow each other.
    """
    number = np.asarray(blocks, np.int64)[:, None] * 16 + np.arange(16)
    counter = (number % 2**32, number >> 32, tensor, step % 2**32)
    made = np.stack(philox(counter, (seed % 2**32, seed // 2**32)), axis=1)
    halves = np.stack([made << np.uint32(16), made & np.uint32(0xFFFF0000)], axis=3)
    return halves.reshape(len(number), 128)


def random_bits(seed, step, tensor, elements):
    """Those of any elements."""
    blocks, at = np.unique(elements // 128, return_inverse=True)
    return random_blocks(seed, step, tensor, blocks)[at.reshape(elements.shape), elements % 128]
