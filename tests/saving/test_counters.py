"""Counters are exact up to their end, and a resumed run has the bits of one that was never stopped."""

import math
import pickle

import numpy as np
import pytest

import fusedstep as fs
from cases import ROWWISE, every_case, every_dtype, every_rule, same_bits
from optimizers import (
    NAMES,
    numbers,
    refused,
    richest,
    running,
    same_everywhere,
)

TOP = 2**63 - 1


COUNTS = [2**8, 2**24, 2**31, 2**53 + 1, 2**63 - 2]


def at_count(opt, step_count, steps):
    saved = opt.state_dict()
    saved["step_count"] = step_count
    for own, step in zip(saved["state"].values(), steps, strict=True):
        own["step"] = step
    opt.load_state_dict(saved)


@every_rule
@every_dtype
@pytest.mark.parametrize("count", COUNTS)
def test_fault_15_counters_are_exact(rule, dtype, count):
    opt, control = running(rule, dtype), running(rule, dtype)
    at_count(opt, count, [count, 1, count])
    control.load_state_dict(opt.state_dict())
    assert [own["step"] for own in opt.state.values()] == [count, 1, count]
    opt.step({**numbers(4, dtype), "last": None})
    assert [own["step"] for own in opt.state.values()] == [count + 1, 2, count]
    assert opt.step_count == count + 1

    for name in ("first", "middle"):
        states = [array for key, array in control.state[name].items() if key != "step"]
        step = control.state[name]["step"] + 1
        function = getattr(fs.functional, rule)
        function(control.params[name], numbers(4, dtype)[name], *states, step=step, **richest(rule))
        assert same_bits(opt.params[name], control.params[name])


@every_dtype
@pytest.mark.parametrize("rule", ["adam", "adamw"])
@pytest.mark.parametrize("count", COUNTS)
def test_bias_corrections_are_right_at_large_counts(rule, dtype, count):
    # 1 - beta near 1 / t, so that no power is near 0 or 1; a power of 2, so that beta is exact
    rest = 2.0 ** -min(math.frexp(count)[1], 53)
    options = {"lr": 0.5, "betas": (1 - 2 * rest, 1 - rest), "eps": 0.0, "weight_decay": 0.0}
    param, grad, m, v = (np.full(3, value, dtype) for value in (1, 0.5, 0.25, 0.125))
    getattr(fs.functional, rule)(param, grad, m, v, step=count + 1, **options)
    c1, c2 = (-math.expm1((count + 1) * math.log1p(-x)) for x in (2 * rest, rest))
    m = (1 - 2 * rest) * 0.25 + 2 * rest * 0.5
    v = (1 - rest) * 0.125 + rest * 0.5 * 0.5
    assert param == pytest.approx(np.full(3, 1 - 0.5 * (m / c1) / math.sqrt(v / c2)), rel=2e-6)


@every_rule
@pytest.mark.parametrize("name", [*NAMES, "step_count"])
def test_fault_15_counters_at_their_end(rule, name):
    opt, good = running(rule, "float32"), numbers(4, "float32")
    opt.bind(good)
    at_count(opt, TOP if name == "step_count" else 5, [TOP if n == name else 5 for n in NAMES])
    what = name if name == "step_count" else f"parameter '{name}'"
    for call in (opt.step, lambda: opt.step(good), lambda: opt.step_mean([good, good])):
        with refused(opt, OverflowError, what, "2**63 - 1"):
            call()
    if name != "step_count":
        opt.step({**good, name: None})
        assert opt.state[name]["step"] == TOP
    for step in (TOP + 1, 0, -1):
        with pytest.raises(ValueError, match=rf"step: expected .*, got {step}"):
            fs.functional.sgd(np.ones(1), np.ones(1), step=step)


@every_case
@every_dtype
def test_fault_16_30_resumed_is_straight(rule, options, dtype):
    ordered = np.ascontiguousarray if rule in ROWWISE else np.asfortranarray

    def start():
        params = {n: ordered(a) for n, a in numbers(1, dtype).items()}
        return fs.create(rule, params, **options)

    def steps(opt, seeds):
        for seed in seeds:
            opt.step({n: ordered(a) for n, a in numbers(seed, dtype).items()})

    straight, first, second = start(), start(), start()
    steps(straight, range(2, 8))
    steps(first, range(2, 5))
    saved = first.state_dict()
    for name, param in first.params.items():
        second.params[name][...] = param
    kept = pickle.dumps(saved)
    steps(first, range(5, 8))  # as if nothing had been saved, and without moving what was
    assert same_everywhere(first, straight)
    second.load_state_dict(saved)
    steps(second, range(5, 8))
    assert same_everywhere(second, straight)
    assert pickle.dumps(saved) == kept
