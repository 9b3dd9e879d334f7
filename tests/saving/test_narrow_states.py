"""Optimizers whose arrays are narrow resume to the bit, and load nothing that is stored otherwise."""

import io
import re

import numpy as np
import pytest

import fusedstep as fs
from optimizers import refused

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: peers)")
DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
SHAPE = (48, 128)
NARROW = [
    {},
    {"rounding": "stochastic", "seed": 7},
    {"rounding": "kahan"},
    {"master": "split"},
    {"master": "split", "master_bits": 24},
]
MODES = [
    (dtype, {"state_dtype": state_dtype, **options})
    for state_dtype in ("float32", "bfloat16", "8bit")
    for dtype in DTYPES
    for options in (NARROW if dtype != "float32" else NARROW[:1])
]


def numbers(seed, dtype, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32).astype(DTYPES[dtype])


def through_a_file(saved):
    """What comes back of arrays that np.savez has written."""
    file, state = io.BytesIO(), saved["state"]["w"]
    np.savez(file, **state)
    file.seek(0)
    loaded = {name: np.asarray(array) for name, array in np.load(file).items()}
    loaded["step"] = int(loaded["step"])
    return {**saved, "state": {"w": loaded}}


@pytest.mark.parametrize("rule", ["adamw", "lion", "adan", "lamb", "adagrad"])
@pytest.mark.parametrize(("dtype", "options"), MODES, ids=str)
def test_resume(rule, dtype, options):
    options = {"ema_decay": 0.5, **options}
    straight = fs.create(rule, {"w": numbers(1, dtype)}, **options)
    first = fs.create(rule, {"w": numbers(1, dtype)}, **options)
    grads = [numbers(seed, dtype) for seed in range(2, 8)]
    for grad in grads:
        straight.step({"w": grad})
    for grad in grads[:3]:
        first.step({"w": grad})
    second = fs.create(rule, {"w": first.params["w"].copy()}, **options)
    second.load_state_dict(through_a_file(first.state_dict()))
    for grad in grads[3:]:
        second.step({"w": grad})
    assert second.params["w"].tobytes() == straight.params["w"].tobytes()
    for name, array in straight.state["w"].items():
        assert np.array_equal(array, second.state["w"][name]), name


def test_another_seed_is_another_run():
    def run(seed):
        opt = fs.SGD({"w": numbers(1, "bfloat16")}, rounding="stochastic", seed=seed, lr=1e-3)
        opt.step({"w": numbers(2, "bfloat16")})
        return opt.params["w"].tobytes()

    assert run(0) == run(0) != run(1)
    assert run(2**64 - 1) != run(2**32 - 1)


OTHERS = [
    ({"state_dtype": "8bit"}, {}, "state_dtype: expected 'float32' as at construction"),
    ({}, {"state_dtype": "8bit"}, "state_dtype: expected '8bit' as at construction"),
    ({"state_dtype": "bfloat16"}, {}, "state 'exp_avg': expected dtype float32, got uint16"),
    ({"state_dtype": "8bit"}, {}, "state 'exp_avg_scale' unexpected"),
    ({}, {"state_dtype": "8bit"}, "state 'exp_avg_scale' missing"),
    ({"master": "split"}, {}, "state 'correction' unexpected"),
    ({}, {"master": "split"}, "state 'correction' missing"),
    ({"rounding": "kahan"}, {}, "state 'compensation' unexpected"),
    ({"rounding": "kahan"}, {}, "rounding: expected 'nearest' as at construction"),
    ({"rounding": "stochastic"}, {}, "rounding: expected 'nearest' as at construction"),
    (
        {"master": "split", "master_bits": 24},
        {"master": "split"},
        "state 'correction': expected dtype int16, got int8",
    ),
]


@pytest.mark.parametrize(("saved", "own", "words"), OTHERS)
def test_what_is_stored_otherwise_is_refused(saved, own, words):
    other = fs.AdamW({"w": numbers(1, "bfloat16")}, **saved)
    other.step({"w": numbers(2, "bfloat16")})
    opt = fs.AdamW({"w": numbers(1, "bfloat16")}, **own)
    opt.step({"w": numbers(2, "bfloat16")})
    with refused(opt, ValueError, "state_dict does not fit this AdamW", words):
        opt.load_state_dict(other.state_dict())


def test_scales_of_another_size():
    opt = fs.AdamW({"w": numbers(1, "float32")}, state_dtype="8bit")
    saved = opt.state_dict()
    saved["state"]["w"]["exp_avg_scale"] = np.zeros(47, np.float32)
    with refused(opt, ValueError, "state 'exp_avg_scale': expected shape (48,), got (47,)"):
        opt.load_state_dict(saved)
    saved["state"]["w"]["exp_avg_scale"] = np.zeros(48)
    with refused(opt, ValueError, "state 'exp_avg_scale': expected dtype float32, got float64"):
        opt.load_state_dict(saved)


def test_live_views_moved_along():
    """Codes go with their scales wherever they come from."""
    opt = fs.AdamW({"w": numbers(1, "float32")}, state_dtype="8bit")
    opt.step({"w": numbers(2, "float32")})
    before, saved = opt.decoded_state("w"), opt.state_dict()
    saved["state"]["w"] = dict(opt.state["w"])
    opt.load_state_dict(saved)
    assert all(
        np.array_equal(array, before[name]) for name, array in opt.decoded_state("w").items()
    )


def test_what_can_be_read():
    opt = fs.AdamW(
        {"w": numbers(1, "bfloat16"), "v": numbers(1, "bfloat16", 5)}, state_dtype="8bit"
    )
    assert [*opt.decoded_state("w")] == ["exp_avg", "exp_avg_sq"]
    for call in (opt.decoded_state, opt.master):
        with pytest.raises(KeyError, match=re.escape("no parameter is named 'u'; there are w, v")):
            call("u")
    decoded = opt.decoded_state("v")["exp_avg"]
    decoded += 1.0
    assert not opt.state["v"]["exp_avg"].any()
    w = np.zeros((3, 5), order="F")
    double = fs.AdamW({"w": w})
    assert double.master("w").dtype == double.decoded_state("w")["exp_avg"].dtype == np.float64
    assert double.master("w") is not w
    assert double.master("w").flags.f_contiguous


@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_of_8_bits_are_loaded_in_their_own_order_of_memory_alone(order):
    """Their scales would be those of other elements."""

    def over(order):
        opt = fs.Adam({"w": np.asarray(numbers(1, "float32"), order=order)}, state_dtype="8bit")
        opt.step({"w": np.asarray(numbers(2, "float32"), order=order)})
        return opt

    opt, same, other = over(order), over(order), over("CF"[order == "C"])
    with refused(
        other, ValueError, "exp_avg of 'w'", "8-bit numbers in a contiguous array in", "scales"
    ):
        other.load_state_dict(opt.state_dict())
    same.load_state_dict(opt.state_dict())
    for name, array in opt.decoded_state("w").items():
        assert np.array_equal(array, same.decoded_state("w")[name])
