"""Optimizers over state that the caller owns."""

import numpy as np
import pytest

import fusedstep as fs
from cases import ROWWISE, every_dtype, every_rule, same_bits
from optimizers import (
    NAMES,
    locked,
    needs_dlpack,
    numbers,
    refused,
    richest,
    running,
    same_everywhere,
)


def copied(opt):
    return {name: array.copy("K") for name, array in opt.params.items()}


def arrays_of(opt, name):
    return {n: a.copy("K") for n, a in opt.state[name].items() if n != "step"}


@every_rule
@every_dtype
def test_an_optimizer_over_the_state_of_another(rule, dtype):
    opt = running(rule, dtype)
    lent = {name: {**arrays_of(opt, name), "step": opt.state[name]["step"]} for name in NAMES}
    other = fs.create(rule, copied(opt), state=lent, **richest(rule))
    other.set_counters(opt.step_count)
    assert same_everywhere(opt, other)
    for one in (opt, other):
        one.step(numbers(4, dtype))
    assert same_everywhere(opt, other)
    for name in NAMES:
        for key, array in other.state[name].items():
            assert key == "step" or array is lent[name][key]


MODES = {
    "16 bits": {"state_dtype": "bfloat16"},
    "8 bits": {"state_dtype": "8bit", "min_8bit_size": 0},
    "average": {"ema_decay": 0.9},
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_narrow_states_and_averages(mode):
    opt = fs.Adam(numbers(1, "float32"), **mode)
    opt.step(numbers(2, "float32"))
    lent = {name: {**arrays_of(opt, name), "step": 1} for name in NAMES}
    other = fs.Adam(copied(opt), state=lent, **mode)
    other.set_counters(1)
    for one in (opt, other):
        one.step(numbers(3, "float32"))
    assert same_everywhere(opt, other)


def test_what_is_not_lent_is_made():
    m = np.full(3, 0.5)
    opt = fs.Adam({"a": np.ones(3), "b": np.ones(2)}, state={"a": {"exp_avg": m}})
    assert opt.state["a"]["exp_avg"] is m
    assert opt.state["a"]["step"] == 0
    assert not np.any(opt.state["a"]["exp_avg_sq"])
    opt.step([np.ones(3), np.ones(2)])
    assert np.allclose(m, 0.9 * 0.5 + 0.1)


def test_a_group_with_state():
    opt = fs.Adam({"a": np.ones(3)})
    opt.step({"a": np.ones(3)})
    m = np.full(2, 0.5)
    opt.add_group({"params": {"b": np.ones(2)}}, state={"b": {"exp_avg": m, "step": 7}})
    assert [opt.state[name]["step"] for name in "ab"] == [1, 7]
    assert opt.state["b"]["exp_avg"] is m
    with refused(opt, ValueError, "state: ", "'a'"):
        opt.add_group({"params": {"c": np.ones(2)}}, state={"a": {"step": 7}})


BAD = {
    "no mapping": ([1], TypeError, "state: expected a mapping from parameter names"),
    "no arrays": ({"w": np.ones(3)}, TypeError, "state of 'w': expected a mapping of arrays"),
    "parameter": ({"v": {}}, ValueError, "state: ", "'v'"),
    "name": ({"w": {"exp_av": np.ones((2, 3))}}, ValueError, "state of 'w'", "'exp_av'", "exp_avg"),
    "None": ({"w": {"exp_avg": None}}, TypeError, "state of 'w'", "'exp_avg'", "None"),
    "list": ({"w": {"exp_avg": [1.0]}}, TypeError, "exp_avg of 'w': expected a NumPy array"),
    "dtype": ({"w": {"exp_avg": np.ones((2, 3), "f4")}}, TypeError, "exp_avg of 'w'", "float32"),
    "shape": ({"w": {"exp_avg": np.ones((3, 2))}}, ValueError, "exp_avg of 'w'", "(3, 2)"),
    "order": (
        {"w": {"exp_avg": np.ones((3, 2)).T}},
        ValueError,
        "exp_avg of 'w': expected a contiguous array in C order like its parameter",
    ),
    "read-only": ({"w": {"exp_avg": locked(np.ones((2, 3)))}}, ValueError, "exp_avg of 'w'"),
    "twice": (
        {"w": dict.fromkeys(("exp_avg", "exp_avg_sq"), np.ones((2, 3)))},
        ValueError,
        "exp_avg_sq of 'w': expected memory of its own",
    ),
    "counter": ({"w": {"step": -1}}, ValueError, "state of 'w': step: expected an integer"),
    "no counter": ({"w": {"step": 1.5}}, TypeError, "state of 'w': step: expected an integer"),
}


@pytest.mark.parametrize(
    ("state", "error", "words"), [(s, e, w) for s, e, *w in BAD.values()], ids=BAD
)
def test_state_that_does_not_fit(state, error, words):
    opt = fs.Adam({"u": np.ones(3)})
    params = {"w": np.ones((2, 3)), "x": np.ones(2)}
    for construct in (
        lambda: fs.Adam(params, state=state),
        lambda: opt.add_group({"params": params}, state=state),
    ):
        with refused(opt, error, *words, untouched=params.values()):
            construct()


def test_codes_come_with_their_scales():
    codes = np.zeros(256, np.uint8)
    options = {"state_dtype": "8bit", "min_8bit_size": 0}
    words = "expected 'exp_avg' and 'exp_avg_scale' together, got no 'exp_avg_scale'"
    with pytest.raises(ValueError, match=words):
        fs.Adam({"w": np.ones(256, "f4")}, state={"w": {"exp_avg": codes}}, **options)


@pytest.mark.parametrize("rule", ROWWISE)
def test_one_number_a_row(rule):
    (name,) = (n for n in fs.create(rule, np.ones((2, 3))).state["param"] if n != "step")
    own = np.full(2, 0.25)
    opt = fs.create(rule, {"w": np.ones((2, 3))}, state={"w": {name: own}})
    opt.step({"w": np.ones((2, 3))})
    assert np.all(own != 0.25)


def test_lent_state_that_is_moved_or_locked():
    m, w = np.zeros(3), np.ones(3)
    opt = fs.SGD({"w": w}, lr=1.0, momentum=0.9, state={"w": {"momentum_buffer": m}})
    opt.step({"w": np.ones(3)})
    m.setflags(write=False)
    with pytest.raises(ValueError, match="momentum_buffer of 'w': expected a writeable array"):
        opt.step({"w": np.ones(3)})
    m.setflags(write=True)
    m.resize(10_000, refcheck=False)
    with pytest.raises(fs.ArrayChangedError, match="momentum_buffer of 'w': expected the array as"):
        opt.step({"w": np.ones(3)})
    assert np.all(w == 0)


def test_numbers_that_numpy_does_not_know_come_as_their_bits():
    torch = pytest.importorskip("torch")
    lent = {"w": {"exp_avg": torch.zeros(5, dtype=torch.bfloat16)}}
    with pytest.raises(TypeError, match=r"'w': expected the bits of bfloat16, as uint16"):
        fs.Adam({"w": torch.ones(5)}, state_dtype="bfloat16", state=lent)


@needs_dlpack
def test_tensors():
    torch = pytest.importorskip("torch")
    for dtype, kind in ((torch.float32, "float32"), (torch.uint16, "bfloat16")):
        m, w = torch.zeros(5, dtype=dtype), torch.ones(5)
        opt = fs.Adam({"w": w}, state_dtype=kind, state={"w": {"exp_avg": m}})
        control = fs.Adam({"w": np.ones(5, "float32")}, state_dtype=kind)
        for one in (opt, control):
            one.step({"w": np.ones(5, "float32")})
        assert opt.state["w"]["exp_avg"] is m
        saved = opt.state_dict()
        assert same_bits(w.numpy(), control.params["w"])
        assert np.array_equal(
            saved["state"]["w"]["exp_avg"].view("u1"), control.state["w"]["exp_avg"].view("u1")
        )
        opt.load_state_dict(saved)
        assert [*opt.decoded_state("w")] == ["exp_avg", "exp_avg_sq"]
        m.data = torch.zeros(50, dtype=dtype)
        with pytest.raises(fs.ArrayChangedError, match="exp_avg of 'w'"):
            opt.step({"w": np.ones(5, "float32")})
