"""The schedule that is told a metric: against torch's, saved and resumed, in an optimizer."""

import copy
import json
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedstep as fs
from fusedstep.schedules import Linear, Plateau

METRICS = st.lists(st.floats(0.01, 100) | st.sampled_from([1.0, 2.0, math.inf]), max_size=60)


def by_torch(metrics, **options):
    torch = pytest.importorskip("torch", reason="torch's ReduceLROnPlateau is the truth here")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **options)
    rates = []
    for metric in metrics:
        scheduler.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@given(
    metrics=METRICS,
    options=st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["min", "max"]),
            "factor": st.sampled_from([0.5, 0.1]),
            "patience": st.integers(0, 3),
            "threshold": st.sampled_from([0.0, 1e-4, 0.5]),
            "threshold_mode": st.sampled_from(["rel", "abs"]),
            "cooldown": st.integers(0, 3),
            "min_lr": st.sampled_from([0.0, 0.01]),
        }
    ),
)
def test_reduces_when_torch_does(metrics, options):
    schedule = Plateau(0.3, **options)
    rates = []
    for metric in metrics:
        schedule.update(metric)
        rates.append(schedule(7))
    assert rates == pytest.approx(by_torch(metrics, **options), rel=1e-12)


def test_patience_threshold_and_cooldown_by_hand():
    schedule = Plateau(1.0, factor=0.5, patience=1, cooldown=2)
    #          first, worse, worse:  cooldown,  worse,  worse:  cooldown
    metrics = [1.0, 1.0, 0.99995, 1.0, 1.0, 1.0, 1.0, 1.0]
    reduced = [schedule.update(metric) for metric in metrics]
    assert reduced == [False, False, True, False, False, False, True, False]
    assert schedule(0) == 0.25


def test_a_relative_threshold_is_right_for_negative_metrics():
    schedule = Plateau(1.0, factor=0.5, patience=0, threshold=0.1)
    assert not schedule.update(-10.0)
    assert schedule.update(-10.9)  # not better by a tenth; torch counts even -9.1 as better
    assert not schedule.update(-11.1)


def test_nan_is_no_improvement():
    schedule = Plateau(1.0, patience=1)
    metrics = [math.nan, math.nan, 3.0, math.nan, 2.0]
    assert [schedule.update(metric) for metric in metrics] == [False, True, False, False, False]
    assert schedule.state_dict()["best"] == 2.0


def test_a_schedule_is_reduced_and_rises_not_above_itself():
    schedule = Plateau(Linear(1.0, 100, warmup_steps=10), factor=0.5, patience=0, min_lr=0.2)
    schedule.update(1.0)
    schedule.update(1.0)
    assert [schedule(step) for step in (0, 1, 10, 55, 100)] == [0.0, 0.1, 0.5, 0.25, 0.0]


def test_is_saved_and_resumed():
    schedule = Plateau(0.3, patience=1, cooldown=1)
    assert schedule.state_dict() == {"best": None, "num_bad": 0, "cooldown": 0, "reductions": 0}
    for metric in (2.0, 2.0, np.float32(3.0), np.array(2.5)):
        schedule.update(metric)
    saved = json.loads(json.dumps(schedule.state_dict()))
    resumed = Plateau(0.3, patience=1, cooldown=1)
    resumed.load_state_dict(saved)
    others = [
        resumed,
        copy.copy(schedule),
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),
    ]
    for metric in (2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0):
        reduced = schedule.update(metric)
        assert [other.update(metric) for other in others] == [reduced] * len(others)
        assert {other(5) for other in others} == {schedule(5)}
    assert schedule(0) < 0.01


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (None, TypeError, "state_dict: expected a mapping, got NoneType"),
        ({"best": "x"}, TypeError, r"state_dict\['best'\]: expected a number, got 'x'"),
        ({"num_bad": -1}, ValueError, r"state_dict\['num_bad'\]: .* >= 0, got -1"),
        ({"reductions": 1.0}, TypeError, r"state_dict\['reductions'\]: .* got 1.0"),
    ],
)
def test_refuses_what_is_no_state(change, error, message):
    schedule = Plateau(0.3, patience=0)
    schedule.update(1.0)
    before = schedule.state_dict()
    with pytest.raises(error, match=f"^Plateau: {message}"):
        schedule.load_state_dict(change and before | change)
    with pytest.raises(ValueError, match=r"^Plateau: state_dict: missing keys: cooldown, red"):
        schedule.load_state_dict({"best": 1.0, "num_bad": 0})
    assert schedule.state_dict() == before


def test_refuses_what_is_no_metric():
    schedule = Plateau(0.3)
    for wrong in ("1", None, np.ones(2), True):
        with pytest.raises(TypeError, match=r"^Plateau: metric: expected a number, got"):
            schedule.update(wrong)
    assert schedule.state_dict()["best"] is None


def test_an_optimizer_follows_it():
    w = np.zeros(1)
    schedule = Plateau(1.0, factor=0.5, patience=0)
    opt = fs.SGD(w, lr=schedule)
    moved = []
    for loss in (1.0, 1.0, 0.5):
        before = w[0]
        opt.step(np.ones(1))
        moved.append(before - w[0])
        schedule.update(loss)
    assert moved == [1.0, 1.0, 0.5]
    assert opt.lr == opt.state_dict()["groups"][0]["lr"] == 0.5
    other = fs.SGD(w, lr=schedule)
    other.load_state_dict(opt.state_dict())
    assert other.lr == 0.5
