"""Schedules that have ended: the next step raises their error, and nothing else does."""

import pytest

import fusedstep as fs
from cases import every_rule
from optimizers import NAMES, everything, numbers, same_everywhere

RATES = [0.1, 0.05]


def listed(step):
    return RATES[step]


def ended(rule):
    opt = fs.create(rule, numbers(1, "float32"), lr=listed)
    for seed in (2, 3):
        opt.step(numbers(seed, "float32"))
    return opt


@every_rule
def test_a_step_raises_the_error(rule):
    opt = ended(rule)
    before = everything(opt)
    with pytest.raises(IndexError):
        opt.step(numbers(4, "float32"))
    assert everything(opt) == before


@every_rule
def test_it_can_be_saved_and_read(rule):
    opt = ended(rule)
    saved = opt.state_dict()
    assert saved["groups"][0]["lr"] == opt.lr == opt.groups[0].lr == RATES[-1]

    for lr in (listed, 0.05):
        other = fs.create(rule, {n: a.copy() for n, a in opt.params.items()}, lr=lr)
        if rule == "rprop" and lr is not listed:
            continue  # its rate is fixed at construction
        other.load_state_dict(saved)
        assert same_everywhere(other, opt)
        assert other.lr == 0.05 if lr is not listed else other.step_count == 2


@every_rule
def test_it_can_be_changed(rule):
    opt = ended(rule)
    opt.groups[0].update({"weight_decay": 0.01})
    with pytest.raises(IndexError):
        opt.step(numbers(4, "float32"))
    if rule != "rprop":  # whose rate is fixed at construction
        opt.lr = 0.02
        assert opt.lr == 0.02
        opt.step(numbers(4, "float32"))


def test_a_schedule_that_has_none_for_the_next_step_is_refused_when_set():
    opt = fs.SGD(numbers(1, "float32"), lr=0.1)
    for seed in (2, 3):
        opt.step(numbers(seed, "float32"))
    with pytest.raises(IndexError):
        opt.lr = listed
    assert opt.lr == 0.1


def test_rates_of_many_groups_are_set_together_or_not_at_all():
    params = numbers(1, "float32")
    broken = []

    def second(step):
        return broken[step] if broken else 0.5

    rates = [lambda step: 0.1 * (step + 1), second, 0.3]
    opt = fs.SGD([{"params": {n: params[n]}, "lr": lr} for n, lr in zip(NAMES, rates, strict=True)])
    opt.step(numbers(2, "float32"))
    broken[:] = [0.1, "no number"]
    saved = opt.state_dict()
    with pytest.raises(TypeError, match="at step 1"):
        opt.step(numbers(3, "float32"))
    assert [group["lr"] for group in saved["groups"]] == [0.2, 0.5, 0.3]
    opt.groups[1]["lr"] = 0.4
    opt.step(numbers(3, "float32"))
    assert [group["lr"] for group in opt.state_dict()["groups"]] == [pytest.approx(0.3), 0.4, 0.3]
