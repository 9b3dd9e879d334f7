"""A learning rate that is set is the next step's, whatever it replaces; or it is refused."""

import threading

import numpy as np
import pytest

import fusedstep as fs
from cases import RULES, every_rule, same_bits
from fusedstep._definition import registry
from optimizers import numbers, refused, richest, same_everywhere

CHANGEABLE = [rule for rule in RULES if "lr" in registry[rule].info.scalars]


@pytest.mark.parametrize("rule", CHANGEABLE)
@pytest.mark.parametrize("first", [0.5, lambda step: 0.5 - 0.1 * step], ids=["number", "schedule"])
def test_rates_that_are_set(rule, first):
    opt = fs.create(rule, numbers(1, "float32"), **{**richest(rule), "lr": first})
    control = fs.create(rule, numbers(1, "float32"), **{**richest(rule), "lr": 0.5})
    for one in (opt, control):
        one.step(numbers(2, "float32"))
    opt.lr = 0.25
    opt.groups[0]["lr"] = 0.125
    assert (opt.lr, opt.groups[0]["lr"], opt.state_dict()["groups"][0]["lr"]) == (0.125,) * 3
    saved = control.state_dict()
    saved["groups"][0]["lr"] = 0.125
    control.load_state_dict(saved)
    for one in (opt, control):
        one.step(numbers(3, "float32"))
    assert same_everywhere(opt, control)


def test_each_group_has_its_own():
    opt = fs.SGD([{"params": np.ones(1)}, {"params": np.ones(1)}], lr=1.0)
    opt.groups[1]["lr"] = 2.0
    opt.step([np.ones(1), np.ones(1)])
    assert [float(p[0]) for p in opt.params.values()] == [0.0, -1.0]
    opt.lr = 0.5
    assert [group["lr"] for group in opt.groups] == [0.5, 0.5]


def test_each_group_has_its_own_schedule():
    rising, falling = (lambda step: 1.0 + step), (lambda step: 4.0 - step)
    rates = [rising, falling, rising]
    opt = fs.SGD([{"params": np.zeros(1), "lr": lr} for lr in rates])
    for steps in ([-1.0, -4.0, -1.0], [-3.0, -7.0, -3.0]):
        opt.step([np.ones(1)] * 3)
        assert [float(p[0]) for p in opt.params.values()] == steps


def test_a_number_in_place_of_a_schedule_needs_nothing_to_advance():
    opt = fs.SGD({"w": np.zeros((2, 1))}, lr=fs.schedules.Constant(1.0))
    opt.lr = 0.5
    for _ in range(2):
        opt.step_rows("w", [0], np.ones((1, 1)))
    assert opt.params["w"].tolist() == [[-1.0], [0.0]]


BAD = {
    "negative": (-1.0, ValueError, "lr: expected"),
    "infinite": (float("inf"), ValueError, "lr: expected"),
    "a word": ("fast", TypeError, "lr: expected"),
    "too large for float32": (1e300, ValueError, "lr"),
}


@pytest.mark.parametrize(("value", "error", "words"), BAD.values(), ids=BAD)
@every_rule
def test_rates_that_are_none(rule, value, error, words):
    opt = fs.create(rule, numbers(1, "float32"), **richest(rule))
    with refused(opt, error, words):
        opt.lr = value
    with refused(opt, error, words):
        opt.groups[0]["lr"] = value


def test_a_rate_is_set_while_another_thread_steps():
    """It waits its turn, as every call that is no step."""
    size = 1 << 20
    opt = fs.SGD(np.ones(size), lr=1.0)
    grad, done = np.zeros(size), threading.Event()

    def steps():
        while not done.is_set():
            opt.step(grad)

    thread = threading.Thread(target=steps)
    thread.start()
    try:
        for k in range(1, 200):
            opt.lr = float(k)
    finally:
        done.set()
        thread.join()
    opt.step(np.ones(size))
    assert same_bits(opt.params["param"], np.full(size, 1.0 - 199.0))
