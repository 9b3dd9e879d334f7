"""Rounding at random, through the library: right on average, and small updates add up."""

import math

import ml_dtypes
import numpy as np
import pytest

import fusedstep as fs

COUNT, NOTICED, LIMIT = 20_480_000, 1 / 1000, 5.2  # test_rounding.py computes the power
SHARES = (1 / 1024, 1 / 3, 0.5, 0.9)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_a_bias_of_a_thousandth_of_a_spacing_would_be_seen(dtype):
    """False alarms: one in a million; a bias of that size is missed once in a thousand times."""
    spacing = float(np.finfo(dtype).eps if dtype is np.float16 else ml_dtypes.finfo(dtype).eps)
    for share in SHARES:
        param = np.ones(COUNT, dtype)
        gradient = np.full(COUNT, -share * spacing, np.float32)
        fs.SGD(param, lr=1.0, rounding="stochastic", seed=5).step(gradient)
        exact = (np.float32(1) - gradient[0] - 1) / spacing  # of the update that float32 makes
        up = np.count_nonzero(param.view(np.uint16) != np.ones(1, dtype).view(np.uint16)[0])
        assert abs(up / COUNT - exact) < LIMIT * math.sqrt(exact * (1 - exact) / COUNT)


@pytest.mark.parametrize(
    ("how", "low", "high"),
    [
        ({}, 0.0, 0.0),
        ({"rounding": "stochastic"}, 0.98, 1.02),
        ({"rounding": "kahan"}, 1.0, 1.0),
        ({"master": "split"}, 1.0, 1.0),
        ({"master": "split", "master_bits": 24}, 1.0, 1.0),
    ],
    ids=str,
)
def test_updates_too_small_for_the_format_add_up(how, low, high):
    """256 steps of 1/256 of bfloat16's spacing, which is lost to nearest."""
    param = np.ones(65_536, ml_dtypes.bfloat16)
    opt = fs.SGD({"w": param}, lr=1.0, **how)
    gradient = np.full(param.size, -(2.0**-15), np.float32)
    for _ in range(256):
        opt.step({"w": gradient})
    moved = np.mean(opt.master("w"), dtype=np.float64) - 1
    assert low <= moved * 2**7 <= high
