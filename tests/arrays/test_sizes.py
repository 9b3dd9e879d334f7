"""Empty arrays, arrays without axes, and arrays of more elements than 32 bits count."""

import ctypes
import mmap
import os
import sys

import ml_dtypes
import numpy as np
import pytest

import fusedstep as fs
from cases import every_dtype, every_rule, same_bits
from formats import Bfloat16, decode, encode
from narrow import NarrowRun
from optimizers import numbers, richest
from rounding import random_bits


class VirtualArray:
    """A huge array in little memory: one small piece of memory, mapped over and over.

    The windows, ranges of bytes on page boundaries, have memory of their own.
    """

    PIECE = 1 << 21

    def __init__(self, size, dtype, windows, fill=None):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3
        self._libc.mmap.argtypes += [ctypes.c_long]
        self._libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        nbytes = size * np.dtype(dtype).itemsize
        self._length = -(-nbytes // self.PIECE) * self.PIECE
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
        self._address = self._map(None, self._length, private)
        if fill is not None:
            self._repeat(fill, dtype)
        elif hasattr(mmap, "MADV_HUGEPAGE"):  # fewer page faults, where the kernel likes
            self._libc.madvise(self._address, self._length, mmap.MADV_HUGEPAGE)
        for start, stop in windows:
            self._map(self._address + start, stop - start, private | 0x10)  # MAP_FIXED
        buffer = (ctypes.c_char * nbytes).from_address(self._address)
        self.array = np.frombuffer(buffer, dtype)
        rest = windows[-1][1] - nbytes
        self.beyond = np.frombuffer(
            (ctypes.c_char * rest).from_address(self._address + nbytes), "u1"
        )

    def _map(self, address, length, flags, fd=-1):
        access = mmap.PROT_READ | mmap.PROT_WRITE
        result = self._libc.mmap(address, length, access, flags, fd, 0)
        if result in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "mmap")
        return result

    def _repeat(self, fill, dtype):
        fd = os.memfd_create("fusedstep-test")
        try:
            os.write(fd, np.full(self.PIECE // np.dtype(dtype).itemsize, fill, dtype))
            for start in range(0, self._length, self.PIECE):
                self._map(self._address + start, self.PIECE, mmap.MAP_SHARED | 0x10, fd)
        finally:
            os.close(fd)

    def close(self):
        """Unmap; the array must not be used any more."""
        self._libc.munmap(self._address, self._length)


@every_rule
@every_dtype
@pytest.mark.parametrize("empty", [(0,), (0, 3), (3, 0), (2, 0, 2)], ids=str)
def test_fault_10_empty_arrays_and_arrays_without_axes(rule, dtype, empty):
    for at in [(), (0,), (1,), (2,), (3,), (0, 3), (0, 1, 2, 3)]:
        shapes = [empty if i in at else shape for i, shape in enumerate([(3, 5), (7,), (), (1, 2)])]
        arrays = [
            [numbers(seed + i, dtype, shape, "a")["a"] for i, shape in enumerate(shapes)]
            for seed in (10, 20, 30, 40)
        ]
        opt = fs.create(rule, [np.array(a) for a in arrays[0]], **richest(rule))
        opt.step([np.array(a) for a in arrays[1]])
        opt.bind([np.array(a) for a in arrays[2]])
        opt.step()
        opt.step_mean([[np.array(a) for a in grads] for grads in arrays[2:]])
        for i in range(4):
            alone = fs.create(rule, [np.array(arrays[0][i])], **richest(rule))
            for grads in arrays[1:3]:
                alone.step([np.array(grads[i])])
            alone.step_mean([[np.array(grads[i])] for grads in arrays[2:]])
            own, expected = dict(opt.state[str(i)]), dict(alone.state["0"])
            assert own.pop("step") == expected.pop("step") == 3
            assert same_bits(opt.params[str(i)].ravel(), alone.params["0"].ravel())
            assert all(same_bits(own[s].ravel(), expected[s].ravel()) for s in expected)


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create and MAP_FIXED are Linux's")
@pytest.mark.parametrize("threads", [1, 2])
def test_fault_11_more_elements_than_32_bits_count(threads):
    size, page, half = 2**32 + 37, 4096, 2**33
    windows = [(0, page), (half - page, half + page), (2 * half - page, 2 * half + page)]
    param = VirtualArray(size, "float32", windows, fill=1.0)
    grad = VirtualArray(size, "float32", windows)
    pieces = [slice(start // 4, min(stop // 4, size)) for start, stop in windows]
    rng, expected = np.random.default_rng(threads), []
    for piece in pieces:
        p, g = rng.standard_normal((2, piece.stop - piece.start)).astype("float32")
        param.array[piece], grad.array[piece] = p, g
        expected.append(p - np.float32(0.5) * g)
    with fs.num_threads(threads):
        fs.functional.sgd(param.array, grad.array, step=1, lr=0.5)
    assert all(same_bits(param.array[p], e) for p, e in zip(pieces, expected, strict=True))
    assert not param.beyond.any()
    assert (param.array[page // 4 : 2**20] == 1).all()
    param.close()
    grad.close()


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create and MAP_FIXED are Linux's")
def test_fault_11_random_bits_of_more_elements_than_32_bits_count():
    """Stochastic rounding goes by the number of an element."""
    size, page, half = 2**32 + 37, 4096, 2**32
    windows = [(0, page), (half - page, half + page), (2 * half - page, 2 * half + page)]
    param = VirtualArray(size, "uint16", windows, fill=0x3F80)
    grad = VirtualArray(size, "uint16", windows)
    rng, expected = np.random.default_rng(1), []
    pieces = [slice(start // 2, min(stop // 2, size)) for start, stop in windows]
    for piece in pieces:
        p, g = rng.standard_normal((2, piece.stop - piece.start)).astype("float32")
        param.array[piece], grad.array[piece] = encode(Bfloat16, p), encode(Bfloat16, g)
        exact = decode(Bfloat16, param.array[piece])
        exact = exact - np.float32(0.001) * decode(Bfloat16, grad.array[piece])
        elements = np.arange(piece.start, piece.stop, dtype=np.uint64)
        expected.append(encode(Bfloat16, exact, random_bits(7, 1, 0, elements)))
    numbers_of = ml_dtypes.bfloat16
    opt = fs.SGD({"w": param.array.view(numbers_of)}, lr=0.001, rounding="stochastic", seed=7)
    opt.step({"w": grad.array.view(numbers_of)})
    assert all(np.array_equal(param.array[p], e) for p, e in zip(pieces, expected, strict=True))
    assert not param.beyond.any()
    del opt
    param.close()
    grad.close()


@pytest.mark.long  # 9 GB of memory for the state
@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create and MAP_FIXED are Linux's")
def test_fault_11_more_blocks_of_8_bits_than_32_bits_count():
    size, page, half = 2**32 + 4 * 128, 4096, 2**32
    windows = [(0, page), (half - page, half + page), (2 * half - page, 2 * half + page)]
    param = VirtualArray(size, "uint16", windows, fill=0x3F80)
    grad = VirtualArray(size, "uint16", windows)
    pieces = [slice(start // 2, min(stop // 2, size)) for start, stop in windows]
    rng, runs = np.random.default_rng(1), []
    numbers_of = ml_dtypes.bfloat16
    for piece in pieces:
        for array in (param.array, grad.array):
            numbers = rng.standard_normal(piece.stop - piece.start).astype("float32")
            array[piece] = encode(Bfloat16, numbers)
        run = NarrowRun("adam", {}, param.array[piece].view(numbers_of), 0, "8bit", 0)
        run.elements = np.arange(piece.start, piece.stop, dtype=np.uint64)
        run.step(decode(Bfloat16, grad.array[piece]))
        runs.append(run)
    opt = fs.Adam({"w": param.array.view(numbers_of)}, state_dtype="8bit")
    opt.step({"w": grad.array.view(numbers_of)})
    for piece, run in zip(pieces, runs, strict=True):
        assert np.array_equal(param.array[piece], run.bits)
        blocks = slice(piece.start // 128, piece.stop // 128)
        for name, stored in run.stored().items():
            at = blocks if name.endswith("_scale") else piece
            assert same_bits(opt.state["w"][name][at], stored), name
    assert not param.beyond.any()
    del opt
    param.close()
    grad.close()
