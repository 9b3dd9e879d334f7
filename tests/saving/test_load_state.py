"""Saved states that are not plain copies: what they hold when load_state_dict is called is loaded."""

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, same_bits
from optimizers import NAMES, numbers, refused, running

BUFFERS = ("exp_avg", "exp_avg_sq")


def live(opt):
    """A state_dict of views of the optimizer's own memory."""
    saved = opt.state_dict()
    for name, own in opt.state.items():
        saved["state"][name] |= own
    return saved


def states(opt):
    return {(name, key): opt.state[name][key].copy() for name in NAMES for key in BUFFERS}


@pytest.mark.parametrize("dtype", DTYPES)
def test_views_of_the_live_state(dtype):
    opt = running("adam", dtype)
    before = states(opt)
    opt.load_state_dict(live(opt))
    assert all(same_bits(array, before[at]) for at, array in states(opt).items())

    saved = live(opt)
    for own in saved["state"].values():  # swapped
        own["exp_avg"], own["exp_avg_sq"] = own["exp_avg_sq"], own["exp_avg"]
    opt.load_state_dict(saved)
    other = dict(zip(BUFFERS, BUFFERS[::-1], strict=True))
    assert all(
        same_bits(array, before[name, other[key]]) for (name, key), array in states(opt).items()
    )

    before, saved = states(opt), live(opt)
    first, *rest = (saved["state"][name] for name in NAMES)
    kept = dict(first)
    for own, following in zip((first, *rest), (*rest, kept), strict=True):  # moved along
        own |= following
    opt.load_state_dict(saved)
    following = dict(zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True))
    assert all(
        same_bits(array, before[following[name], key]) for (name, key), array in states(opt).items()
    )


def test_views_of_a_part_turned_round():
    opt = fs.Momentum(np.zeros(7), beta=0.0)
    opt.step(np.arange(7.0))
    saved = live(opt)
    saved["state"]["param"]["momentum_buffer"] = saved["state"]["param"]["momentum_buffer"][::-1]
    opt.load_state_dict(saved)
    assert (opt.state["param"]["momentum_buffer"] == np.arange(7.0)[::-1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_strides_into_any_order(dtype, order):
    param = np.zeros((3, 5), dtype, order=order)
    opt = fs.Momentum(param)
    value = numbers(1, dtype)["first"]
    for given in (value, np.asfortranarray(value), np.repeat(value, 2, axis=1)[:, ::2]):
        saved = opt.state_dict()
        saved["state"]["param"]["momentum_buffer"] = given
        opt.load_state_dict(saved)
        assert same_bits(opt.state["param"]["momentum_buffer"], value)


def test_averages_that_are_views_of_each_other():
    ema = fs.EMA({"a": np.ones(3), "b": np.zeros(3)}, decay=0.5)
    ema.update()
    saved = ema.state_dict()
    saved["state"]["a"]["average"], saved["state"]["b"]["average"] = ema["b"], ema["a"]
    ema.load_state_dict(saved)
    assert (ema["a"] == 0).all()
    assert (ema["b"] == 0.5).all()


def test_what_is_no_number_and_no_name():
    opt = running("adam", "float32")
    for key in ("format", "rule", "step_count"):
        saved = opt.state_dict()
        saved[key] = np.arange(3)
        with refused(opt, ValueError, f"{key}: expected"):
            opt.load_state_dict(saved)
    saved = opt.state_dict()
    saved["state"]["first"] |= {3: 1, "x": 2, None: 3}
    with refused(opt, ValueError, "state 3 unexpected", "state 'x' unexpected", "state None unex"):
        opt.load_state_dict(saved)
    ema = fs.EMA(np.ones(3))
    with pytest.raises(ValueError, match="decay: expected"):
        ema.load_state_dict({**ema.state_dict(), "decay": np.arange(3)})


def test_an_average_takes_a_switch():
    with pytest.raises(TypeError, match="bias_correction: expected True or False, got 'yes'"):
        fs.EMA(np.ones(3), bias_correction="yes")


def test_the_state_says_what_it_has():
    opt = fs.Adam({"w": np.ones(3)})
    assert repr(opt.state) == "State({'w': ['exp_avg', 'exp_avg_sq']})"


def test_master_of_a_parameter_that_is_its_own():
    w = np.ones(3)
    opt = fs.Adam({"w": w}, ema_decay=0.5)
    master = opt.master("w")
    assert master is not w
    assert (master == w).all()
    opt.step({"w": np.ones(3)})
    with opt.ema.swapped_in(), pytest.raises(RuntimeError, match=r"cannot read master\(\)"):
        opt.master("w")
