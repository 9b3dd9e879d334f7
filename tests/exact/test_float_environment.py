"""The same bits in whatever floating-point environment the caller's thread is, which stays as it is."""

import ctypes
import ctypes.util
import platform
import struct
from contextlib import contextmanager

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, LAYERWISE, RULES
from optimizers import image, richest

# Where fenv_t keeps the word of modes (glibc's and musl's), and what is set in it.
WORDS = {
    "x86_64": (28, {"flush to zero": 0x8040, "upwards": 0x4000, "towards zero": 0xE040}),
    "aarch64": (0, {"flush to zero": 1 << 24, "upwards": 1 << 22, "towards zero": 0x1C00000}),
}
AT, MODES = WORDS.get(platform.machine(), (0, {"unknown": 0}))
LIBM = ctypes.util.find_library("m")
pytestmark = pytest.mark.skipif(
    platform.machine() not in WORDS or not LIBM or platform.system() != "Linux",
    reason="knows the layout of fenv_t on Linux for x86-64 and aarch64",
)
FLAGS = 0x3F if platform.machine() == "x86_64" else 0  # of what has happened, in the same word


def environment():
    buffer = ctypes.create_string_buffer(64)
    ctypes.CDLL(LIBM).fegetenv(buffer)
    return buffer


def word_of(buffer):
    return struct.unpack_from("I", buffer, AT)[0]


@contextmanager
def floating(mode):
    """The thread computes in this mode, and must still do so at the end of the block."""
    before, changed = environment(), environment()
    fesetenv = ctypes.CDLL(LIBM).fesetenv
    struct.pack_into("I", changed, AT, word_of(changed) | mode)
    fesetenv(changed)
    try:
        yield
        after = word_of(environment())
    finally:
        fesetenv(before)
    assert (after ^ word_of(changed)) & ~FLAGS == 0


@contextmanager
def nothing():
    yield


def run(rule, dtype, threads, around):
    """Where an optimizer is after some steps of each kind."""
    rng, tiny = np.random.default_rng(1), np.finfo(dtype).tiny
    shape = (2_003, 50)
    params, *grads = (
        {"plain": rng.standard_normal(shape).astype(dtype), "small": rng.standard_normal(shape)}
        for _ in range(4)
    )
    for tree in (params, *grads):
        tree["small"] = (tree["small"] * tiny).astype(dtype)
    policy = {"max_grad_norm": 0.7, "ema_decay": 0.9, **richest(rule)}
    opt = fs.create(rule, params, **policy)
    alone = fs.create(rule, params["plain"][:9].copy(), **richest(rule))
    with fs.num_threads(threads):
        for call in (
            lambda: opt.step(grads[0], grad_scale=3.0),
            lambda: opt.step_mean(grads[1:], weights=[1.0, 3.0]),
            lambda: (
                rule in LAYERWISE or opt.step_rows("small", np.arange(99), grads[0]["small"][:99])
            ),
            lambda: opt.step(grads[1]),
            lambda: alone.step(grads[0]["small"][:9]),
        ):
            with around():
                result = call()
    states = [{name: image(array)[-1] for name, array in o.items()} for o in opt.state.values()]
    arrays = [*opt.params.values(), *opt.ema.values(), *alone.params.values()]
    return states, [array.tobytes() for array in arrays], result


@pytest.mark.each_value_once  # 0.3 s a case
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_fault_17_bits_do_not_depend_on_the_mode(rule, dtype):
    expected = run(rule, dtype, 1, nothing)
    for mode in MODES.values():
        for threads in (1, 2, 3):
            assert run(rule, dtype, threads, lambda mode=mode: floating(mode)) == expected


def test_the_modes_are_other_modes():
    """Or the test above would show nothing."""
    for name, mode in MODES.items():
        with floating(mode):
            small = np.full(9, 1e-39, "float32") * np.float32(0.5)
            third = np.ones(9) / np.full(9, 3.0)
        assert (small[0] == 0) == ("up" not in name)
        assert (third[0] == 1 / 3) == ("up" not in name)
