"""How arrays are stored: combinations that are refused, in which words, and what there is to read."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._formats import STORAGE_OPTIONS, check_together
from optimizers import everything, refused

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: peers)")
BFLOAT16 = ml_dtypes.bfloat16


def zeros(dtype, shape=(40, 128)):
    return np.zeros(shape, dtype)


BAD = {
    "8bit of float64": (
        lambda: fs.Adam({"w": zeros("float64")}, state_dtype="8bit"),
        (
            "parameter 'w': expected dtype float32, bfloat16 or float16 with state_dtype='8bit', got "
            "float64: put it into a group of its own"
        ),
    ),
    "bfloat16 of float64": (
        lambda: fs.Adam([zeros("float32"), zeros("float64", 3)], state_dtype="bfloat16"),
        (
            "parameter '1': expected dtype float32, bfloat16 or float16 with state_dtype='bfloat16', "
            "got float64: put it into a group of its own"
        ),
    ),
    "8bit of integers": (
        lambda: fs.Adam({"w": zeros("int32")}, state_dtype="8bit"),
        "parameter 'w': expected dtype float32, float64, bfloat16 or float16, got int32",
    ),
    "no state": (
        lambda: fs.SGD(zeros("float32"), state_dtype="8bit"),
        "state_dtype: expected 'float32', since SGD has no state with these options, got '8bit'",
    ),
    "state that may lose nothing": (
        lambda: fs.ASGD(zeros("float32"), state_dtype="bfloat16"),
        "state_dtype: expected 'float32', since no state of ASGD may lose bits, got 'bfloat16'",
    ),
    "differences": (
        lambda: fs.RMSprop(zeros("float32"), centered=True, state_dtype="8bit"),
        "state_dtype: expected 'float32', since no state of RMSprop may lose bits, got '8bit'",
    ),
    "one number a row": (
        lambda: fs.RowwiseAdagrad(zeros("float32"), state_dtype="8bit"),
        (
            "state_dtype: expected 'float32', since the states of RowwiseAdagrad have one number per "
            "row, got '8bit'"
        ),
    ),
    "a state_dtype that is none": (
        lambda: fs.Adam(zeros("float32"), state_dtype="int8"),
        "state_dtype: expected 'float32', 'bfloat16' or '8bit', got 'int8'",
    ),
    "a size below 0": (
        lambda: fs.Adam(zeros("float32"), state_dtype="8bit", min_8bit_size=-1),
        "min_8bit_size: expected an integer >= 0, got -1",
    ),
    "Kahan of float32": (
        lambda: fs.Adam({"a": zeros(BFLOAT16), "b": zeros("float32")}, rounding="kahan"),
        (
            "parameter 'b': expected dtype bfloat16 or float16 with rounding='kahan', got float32: put "
            "it into a group of its own"
        ),
    ),
    "stochastic of float64": (
        lambda: fs.SGD({"w": zeros("float64")}, rounding="stochastic"),
        (
            "parameter 'w': expected dtype bfloat16 or float16 with rounding='stochastic', got float64: "
            "put it into a group of its own"
        ),
    ),
    "split of float32": (
        lambda: fs.Adam({"w": zeros("float32")}, master="split"),
        (
            "parameter 'w': expected dtype bfloat16 or float16 with master='split', got float32: put it "
            "into a group of its own"
        ),
    ),
    "a rounding that is none": (
        lambda: fs.Adam(zeros(BFLOAT16), rounding="up"),
        "rounding: expected 'nearest', 'stochastic' or 'kahan', got 'up'",
    ),
    "a master that is none": (
        lambda: fs.Adam(zeros(BFLOAT16), master="float32"),
        "master: expected None or 'split', got 'float32'",
    ),
    "both": (
        lambda: fs.Adam(zeros(BFLOAT16), master="split", rounding="kahan"),
        "rounding: expected 'nearest' with master, which loses nothing, got 'kahan'",
    ),
    "bits without master": (
        lambda: fs.Adam(zeros(BFLOAT16), master_bits=24),
        "master_bits: expected master='split' with it, got 24 without",
    ),
    "other bits": (
        lambda: fs.Adam(zeros(BFLOAT16), master="split", master_bits=16),
        "master_bits: expected 32 or 24, got 16",
    ),
    "a seed below 0": (
        lambda: fs.Adam(zeros(BFLOAT16), rounding="stochastic", seed=-1),
        f"seed: expected an integer from 0 to {2**64 - 1}, got -1",
    ),
    "a seed in a group": (
        lambda: fs.Adam([{"params": zeros(BFLOAT16), "seed": 1}]),
        "Adam: got 'seed' (of the whole optimizer: Adam(params, seed=...)); expected options among",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_combinations(bad):
    make, words = BAD[bad]
    with pytest.raises((TypeError, ValueError), match="^" + re.escape(words)) as caught:
        make()
    is_of_array = words.startswith("parameter") or "whole optimizer" in words
    assert caught.type is (TypeError if is_of_array else ValueError)


def test_8_bits_are_refused_where_no_state_can_do_with_them():
    """Every rule of today has a state that can, or none that may lose bits."""
    info = SimpleNamespace(rowwise=False, contents=[["number", "exact"]])
    values = dict(fs.Adam(zeros("float32")).groups[0])
    check_together(values | {"state_dtype": "bfloat16"}, "Rule", info, 0)
    with pytest.raises(ValueError, match="8 bits are too few for any state of Rule, got '8bit'"):
        check_together(values | {"state_dtype": "8bit"}, "Rule", info, 0)


def test_a_group_that_is_added_is_refused_whole():
    opt = fs.Adam({"w": zeros(BFLOAT16)}, rounding="kahan")
    with refused(opt, TypeError, "parameter 'v': expected dtype bfloat16 or float16"):
        opt.add_group({"params": {"u": zeros(BFLOAT16), "v": zeros("float32")}})
    opt.add_group({"params": {"v": zeros("float32")}, "rounding": "nearest"})
    assert [group["rounding"] for group in opt.groups] == ["kahan", "nearest"]


OTHERS = {
    "state_dtype": "bfloat16",
    "min_8bit_size": 5,
    "rounding": "kahan",
    "master": "split",
    "master_bits": 24,
}


@pytest.mark.parametrize("name", STORAGE_OPTIONS)
def test_they_are_fixed_at_construction(name):
    opt = fs.Adam(zeros(BFLOAT16), master="split")
    opt.groups[0][name] = opt.groups[0][name]
    other = fs.Adam(zeros(BFLOAT16), **{name: None}) if name == "master" else opt
    new = OTHERS[name]
    if name == "rounding":
        other = fs.Adam(zeros(BFLOAT16))
    before = everything(other)
    expected = f"{name}: expected {other.groups[0][name]!r} as at construction, since it decides"
    with pytest.raises(ValueError, match="^" + re.escape(expected)):
        other.groups[0][name] = new
    assert everything(other) == before


# What there is then -------------------------------------------------------------------------------

F32, U16, U8, I16, I8 = (np.dtype(name) for name in ("float32", "uint16", "uint8", "int16", "int8"))


@pytest.mark.parametrize(
    ("options", "arrays", "each"),
    [
        ({}, {"exp_avg": F32, "exp_avg_sq": F32}, 8),
        ({"state_dtype": "bfloat16"}, {"exp_avg": U16, "exp_avg_sq": U16}, 4),
        (
            {"state_dtype": "8bit"},
            {"exp_avg": U8, "exp_avg_scale": F32, "exp_avg_sq": U8, "exp_avg_sq_scale": F32},
            2 + 8 / 128,
        ),
        (
            {"rounding": "kahan"},
            {"exp_avg": F32, "exp_avg_sq": F32, "compensation": U16},
            10,
        ),
        ({"rounding": "stochastic"}, {"exp_avg": F32, "exp_avg_sq": F32}, 8),
        ({"master": "split"}, {"exp_avg": F32, "exp_avg_sq": F32, "correction": I16}, 10),
        (
            {"master": "split", "master_bits": 24, "ema_decay": 0.5},
            {"exp_avg": F32, "exp_avg_sq": F32, "correction": I8, "ema": F32},
            13,
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [BFLOAT16, np.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("order", "CF")
def test_arrays_and_their_bytes(options, arrays, each, dtype, order):
    shape = (64, 128)
    opt = fs.AdamW({"w": np.zeros(shape, dtype, order=order)}, **options)
    state = {name: array for name, array in opt.state["w"].items() if name != "step"}
    assert {name: array.dtype for name, array in state.items()} == arrays
    for name, array in state.items():
        assert array.shape == ((64,) if name.endswith("_scale") else shape)
        assert array.flags.f_contiguous if order == "F" else array.flags.c_contiguous
        assert array.ctypes.data % array.itemsize == 0
        assert not array.any() or name == "ema"
    assert opt.state_bytes == each * 64 * 128 == sum(array.nbytes for array in state.values())


def test_small_arrays_keep_their_state():
    params = {"small": zeros("float32", 4095), "large": zeros("float32", 4096)}
    opt = fs.Adam(params, state_dtype="8bit")
    assert [opt.state[name]["exp_avg"].dtype for name in params] == [F32, U8]
    opt = fs.Adam(params, state_dtype="8bit", min_8bit_size=0)
    assert [opt.state[name]["exp_avg"].dtype for name in params] == [U8, U8]
    assert opt.state["small"]["exp_avg_scale"].shape == (32,)  # the last of 127 elements
    opt = fs.Adam(params, state_dtype="bfloat16")
    assert [opt.state[name]["exp_avg"].dtype for name in params] == [U16, U16]
    opt = fs.Adam({"none": zeros("float32", 0)}, state_dtype="8bit", min_8bit_size=0)
    assert opt.state["none"]["exp_avg_scale"].shape == (0,)
    assert opt.step({"none": zeros("float32", 0)})


def test_a_state_is_as_narrow_as_it_may_be():
    adan = fs.Adan(zeros("float32"), state_dtype="8bit").state["param"]
    assert {U8, U16, F32} >= {array.dtype for name, array in adan.items() if name != "step"}
    assert adan["pre_grad"].dtype == U16
    free = fs.ScheduleFreeAdamW(zeros(BFLOAT16), state_dtype="8bit").state["param"]
    assert (free["z"].dtype, free["exp_avg_sq"].dtype) == (F32, U8)


@pytest.mark.parametrize("state_dtype", ["float32", "bfloat16", "8bit"])
def test_state_that_does_not_start_at_0(state_dtype):
    opt = fs.Adagrad(zeros("float32"), initial_accumulator_value=0.125, state_dtype=state_dtype)
    assert np.all(opt.decoded_state("param")["sum"] == 0.125)
    w = np.linspace(-1, 1, 5000, dtype=np.float32).astype(BFLOAT16)
    assert np.array_equal(fs.ScheduleFreeAdamW(w).state["param"]["z"], w.astype(np.float32))
    assert np.array_equal(fs.SGD(w, ema_decay=0.5).ema["param"], w.astype(np.float32))


def test_functions_have_native_state():
    w, g = zeros(BFLOAT16, 3), np.ones(3, np.float32)
    with pytest.raises(
        TypeError, match=r"^state_dtype: expected 'float32' in a function, whose st"
    ):
        fs.functional.momentum(w, g, zeros(U16, 3), step=1, state_dtype="bfloat16")
    with pytest.raises(
        TypeError, match=r"expected dtype float32 beside .* of bfloat16, got uint16"
    ):
        fs.functional.momentum(w, g, zeros(U16, 3), step=1)
    with pytest.raises(TypeError, match=r"expected dtype float32 beside .* bfloat16, got bfloat16"):
        fs.functional.momentum(w, g, zeros(BFLOAT16, 3), step=1)
    buffer = zeros("float32", 3)
    fs.functional.momentum(w, g, buffer, step=1, lr=1.0, beta=0.5)
    assert buffer.tolist() == [0.5] * 3
    assert w.tolist() == [-0.5] * 3


# Rows ---------------------------------------------------------------------------------------------


def test_rows_that_share_scales():
    rows = np.ones((2, 100), np.float32)
    opt = fs.Adam({"w": zeros("float32", (50, 100))}, state_dtype="8bit")
    with refused(
        opt,
        ValueError,
        "step_rows of 'w': expected rows of a multiple of 128 elements, since so many of its 8-bit "
        "state share a scale, got 100: use state_dtype='bfloat16'",
    ):
        opt.step_rows("w", [0, 3], rows)
    for fine in (
        fs.Adam({"w": zeros("float32", (50, 100))}, state_dtype="bfloat16"),
        fs.Adam({"w": zeros("float32", (40, 100))}, state_dtype="8bit"),  # small: float32
    ):
        assert fine.step_rows("w", [0, 3], rows)
    opt = fs.Adam({"w": zeros("float32", (50, 256))}, state_dtype="8bit")
    opt.step_rows("w", [0, 3], np.ones((2, 256), np.float32))
    touched = np.flatnonzero(opt.state["w"]["exp_avg_scale"])
    assert touched.tolist() == [0, 1, 6, 7]
