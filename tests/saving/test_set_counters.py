"""Counters are set by themselves."""

import numpy as np
import pytest

import fusedstep as fs
from cases import every_dtype, every_rule
from optimizers import NAMES, numbers, refused, richest, running, same_everywhere

TOP = 2**63 - 1


@every_rule
@every_dtype
def test_counters_are_all_that_a_copy_of_the_arrays_lacks(rule, dtype):
    opt = running(rule, dtype)
    params = {name: array.copy() for name, array in opt.params.items()}
    other = fs.create(rule, params, **richest(rule))
    for name in NAMES:
        for key, array in opt.state[name].items():
            if key != "step":
                other.state[name][key][...] = array
    other.set_counters(2, steps={name: own["step"] for name, own in opt.state.items()})
    for one in (opt, other):
        one.step(numbers(4, dtype))
    assert same_everywhere(opt, other)


def test_each_can_be_set_alone():
    opt = fs.Adam({"a": np.ones(3), "b": np.ones(3)}, lr=lambda step: 1.0 + step)
    opt.set_counters(step_count=5)
    assert (opt.step_count, opt.lr, [own["step"] for own in opt.state.values()]) == (5, 6.0, [0, 0])
    opt.set_counters(steps={"b": 3})
    assert (opt.step_count, [own["step"] for own in opt.state.values()]) == (5, [0, 3])
    opt.set_counters(steps=TOP)
    assert [own["step"] for own in opt.state.values()] == [TOP, TOP]
    with pytest.raises(OverflowError):
        opt.step([np.ones(3), np.ones(3)])


def rate(step):
    return 1.0 if step < 100 else -1.0


BAD = {
    "nothing": ({}, TypeError, "set_counters: expected step_count or steps, got neither"),
    "negative": ({"step_count": -1}, ValueError, "step_count: expected an integer"),
    "a float": ({"step_count": 1.0}, TypeError, "step_count: expected an integer"),
    "too many": ({"step_count": TOP + 1}, ValueError, "step_count: expected an integer"),
    "a negative one": ({"steps": {"first": 1, "last": -1}}, ValueError, "steps of 'last'"),
    "no number": ({"steps": "many"}, TypeError, "steps: expected an integer"),
    "another name": ({"step_count": 1, "steps": {"w": 1}}, ValueError, "steps: ", "'w'"),
    "no rate there": ({"step_count": 100}, ValueError, "lr (of the schedule, at step 100)"),
}


@pytest.mark.parametrize(
    ("given", "error", "words"), [(g, e, w) for g, e, *w in BAD.values()], ids=BAD
)
def test_counters_that_do_not_fit(given, error, words):
    opt = fs.Adam(numbers(1, "float32"), lr=rate)
    with refused(opt, error, *words):
        opt.set_counters(**given)
