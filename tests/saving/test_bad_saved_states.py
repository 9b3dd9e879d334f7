"""Saved states that must be refused, and nothing of them loaded."""

import copy
import math
import operator

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, RULES, every_rule
from optimizers import refused, richest, running, states_of


def at(saved, path):
    for key in path:
        saved = saved[key]
    return saved


def replace(*path):
    """A function that puts the last argument at the path of the others."""
    *path, key, value = path
    return lambda saved: operator.setitem(at(saved, path), key, value)


def remove(*path):
    *path, key = path
    return lambda saved: operator.delitem(at(saved, path), key)


# How the saved state of running("adam", "float32") can be spoilt, and what must be said of it.
SAVED_WRONG = {
    "format": (replace("format", 99), "format: expected 1, got 99"),
    "rule": (replace("rule", "lion"), "rule: expected 'adam', got 'lion'"),
    "step_count": (replace("step_count", -1), "step_count: expected an integer", "got -1"),
    "step_count True": (replace("step_count", True), "step_count: expected", "got True"),
    "step_count too large": (replace("step_count", 2**63), f"2**63 - 1, got {2**63}"),
    "no parameter": (remove("state", "middle"), "parameter 'middle': missing"),
    "another parameter": (replace("state", "v", {}), "parameter 'v': unexpected"),
    "no state": (remove("state", "last", "exp_avg"), "parameter 'last': state 'exp_avg' missing"),
    "another state": (
        replace("state", "first", "sum", np.zeros((3, 5))),
        "parameter 'first': state 'sum' unexpected",
    ),
    "no counter": (remove("state", "last", "step"), "parameter 'last': state 'step' missing"),
    "counter": (
        replace("state", "last", "step", -5),
        "parameter 'last': step: expected",
        "got -5",
    ),
    "shape": (
        replace("state", "last", "exp_avg_sq", np.zeros((5, 3), "float32")),
        "parameter 'last': state 'exp_avg_sq': expected shape (3, 5), got (5, 3)",
    ),
    "dtype": (
        replace("state", "middle", "exp_avg", np.zeros((3, 5))),
        "parameter 'middle': state 'exp_avg': expected dtype float32, got float64",
    ),
    "byte order": (
        replace(
            "state", "middle", "exp_avg_sq", np.zeros((3, 5), np.dtype("f4").newbyteorder("S"))
        ),
        "parameter 'middle': state 'exp_avg_sq': expected dtype float32, got",
    ),
    "list": (
        replace("state", "first", "exp_avg_sq", [[0.0] * 5] * 3),
        "parameter 'first': state 'exp_avg_sq': expected an array, got list",
    ),
    "too many groups": (lambda saved: saved["groups"].append({}), "groups: expected 1, got 2"),
    "group": (replace("groups", 0, "params", ["first", "w"]), "group 0: expected the parameters"),
    "no option": (remove("groups", 0, "eps"), "group 0: option 'eps' missing"),
    "another option": (replace("groups", 0, "mu", 1), "group 0: option 'mu' unexpected"),
    "bad option": (replace("groups", 0, "eps", -1), "group 0: eps: expected", "got -1"),
    "other state": (replace("groups", 0, "amsgrad", False), "group 0: amsgrad cannot be changed"),
    "no groups": (replace("groups", None), "groups: expected", "got"),
    "group a list": (replace("groups", 0, [1]), "group 0: expected", "got"),
    "no mapping of state": (replace("state", None), "state: expected", "got"),
    "no mapping of a state": (replace("state", "first", 3), "parameter 'first': expected", "got"),
}


# Saved states ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"), [(c, w) for c, *w in SAVED_WRONG.values()], ids=SAVED_WRONG
)
def test_saved_state_that_does_not_fit(change, words):
    opt, saved = running("adam", "float32"), running("adam", "float32").state_dict()
    for own in saved["state"].values():
        own["exp_avg"] += 1
    fits = copy.deepcopy(saved)
    change(saved)
    with refused(opt, ValueError, *words):
        opt.load_state_dict(saved)
    opt.load_state_dict(fits)
    assert (opt.state["last"]["exp_avg"] == fits["state"]["last"]["exp_avg"]).all()


def test_every_difference_is_listed_at_once():
    opt, saved = running("adam", "float32"), running("adam", "float32").state_dict()
    listed = ("format", "rule", "step_count", "no state", "another state", "another parameter")
    listed += (
        "counter",
        "shape",
        "dtype",
        "byte order",
        "list",
        "group",
        "no option",
        "other state",
    )
    words = []
    for name in listed:
        change, *expected = SAVED_WRONG[name]
        change(saved)
        words += expected
    with refused(opt, ValueError, *words):
        opt.load_state_dict(saved)


@pytest.mark.parametrize("key", ["format", "rule", "step_count", "groups", "state"])
def test_saved_state_without_a_key(key):
    opt, saved = running("adam", "float32"), running("adam", "float32").state_dict()
    del saved[key]
    with refused(opt, ValueError, f"state_dict: missing keys: {key}"):
        opt.load_state_dict(saved)
    with refused(opt, TypeError, "state_dict: expected a mapping, got list"):
        opt.load_state_dict([saved])


@every_rule
@pytest.mark.parametrize("other", RULES)
def test_saved_state_of_another_rule_or_dtype(rule, other):
    for dtype in DTYPES:
        opt, saved = running(rule, "float32"), running(other, dtype).state_dict()
        if other == rule and (dtype == "float32" or not states_of(rule, richest(rule))):
            opt.load_state_dict(saved)
            continue
        words = [f"rule: expected '{rule}', got '{other}'"] if other != rule else ["float64"]
        with refused(opt, ValueError, *words):
            opt.load_state_dict(saved)


def test_nothing_is_loaded_where_the_schedule_or_a_lock_refuses():
    opt, saved = running("adam", "float32"), running("adam", "float32").state_dict()
    for own in saved["state"].values():
        own["exp_avg"] += 1
    saved["step_count"] = 100
    opt.lr = lambda step: 0.1 if step < 50 else math.nan
    with refused(opt, ValueError, "lr", "schedule", "step 100", "got nan"):
        opt.load_state_dict(saved)
    opt.lr = 0.1
    opt.state["last"]["exp_avg"].setflags(write=False)
    with refused(opt, ValueError, "exp_avg of 'last'", "got a read-only one"):
        opt.load_state_dict(saved)
    assert opt.step_count == 2


@pytest.mark.parametrize("key", ["decay", "step_count", "state"])
def test_saved_average_without_a_key(key):
    average = fs.EMA({"w": np.ones(2)})
    saved = average.state_dict()
    del saved[key]
    with pytest.raises(ValueError, match=key):
        average.load_state_dict(saved)
