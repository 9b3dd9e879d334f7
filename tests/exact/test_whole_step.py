"""The whole step in one call: unscale, clip, decay, update, average, copy out, zero."""

import itertools
import math

import numpy as np
import pytest

import fusedstep as fs
from cases import CASE_IDS, CASES, DTYPES, RULES, same_bits, settings
from fusedstep import _core
from optimizers import numbers, refused
from whole_step import World, bfloat16_bits, combine, draw, same_bfloat16

SCALES = (1.0, 3.0, 1024.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)
def test_everything_at_once(rule, options, dtype):
    rng = np.random.default_rng(1)
    start = draw(rng, dtype)
    grads = [draw(rng, dtype), draw(rng, dtype, awkward=True)]
    options = {**options, "max_grad_norm": 0.7, "max_grad_value": 0.01}
    world = World(rule, options, start, ema_decay=0.9)
    norms = [world.step(g, scale)[0] for g, scale in zip(grads, SCALES[1:], strict=True)]
    for isa, threads in settings():
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        arrays = {name: param.copy() for name, param in start.items()}
        copies = {name: np.zeros(param.shape, np.uint16) for name, param in start.items()}
        own = {"working_copy": copies} if dtype == "float32" else {}
        opt = fs.create(rule, arrays, **options, ema_decay=0.9, **own)
        for grad, scale, norm in zip(grads, SCALES[1:], norms, strict=True):
            given_grads = {name: g.copy() for name, g in grad.items()}
            result = opt.step(given_grads, grad_scale=scale, zero_grads=True)
            assert result.applied
            assert same_bits(np.array(result.grad_norm), np.array(norm)), (isa, threads)
            assert not any(np.any(g) for g in given_grads.values())
        for name, run in world.runs.items():
            assert same_bits(arrays[name], run.param), (isa, threads, name)
            assert same_bits(opt.ema[name], world.ema[name]), (isa, threads, name)
            for state, value in run.state.items():
                assert same_bits(opt.state[name][state], value), (isa, threads, name, state)
            if own:
                assert same_bfloat16(copies[name], bfloat16_bits(run.param)), (isa, threads, name)


@pytest.mark.each_value_once  # 0.3 s a case
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_fault_18_clipping_on_any_number_of_threads(rule, dtype):
    rng = np.random.default_rng(9)
    sizes = {"a": 400_003, "b": 7, "c": 65_537}
    start, *grads = (
        {name: rng.standard_normal(size).astype(dtype) for name, size in sizes.items()}
        for _ in range(3)
    )
    options = {"max_grad_norm": 0.7, "weight_decay": 0.01}
    world = World(rule, options, start)
    norms = [world.step(grad)[0] for grad in grads]
    for threads in (1, 2, 3, 7, 64):
        fs.set_num_threads(threads)
        arrays = {name: param.copy() for name, param in start.items()}
        opt = fs.create(rule, arrays, **options)
        assert [opt.step(grad).grad_norm for grad in grads] == norms, threads
        for name, run in world.runs.items():
            assert same_bits(arrays[name], run.param), (threads, name)
            for state, value in run.state.items():
                assert same_bits(opt.state[name][state], value), (threads, name, state)


CHOICES = {
    "grad_scale": (1.0, 3.0, 0.25),
    "max_grad_norm": (None, 0.5, 1e9, math.inf),
    "max_grad_value": (None, 0.3),
    "weight_decay": (0.0, 0.1),
    "maximize": (False, True),
    "ema_decay": (None, 0.5),
    "zero_grads": (False, True),
}


@pytest.mark.parametrize(
    "options",
    [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())],
    ids=lambda options: str(tuple(options.values())),
)
def test_options_go_together(options):
    given_options = dict(options)
    rng = np.random.default_rng(2)
    start, grads = draw(rng, "float32"), draw(rng, "float32")
    call = {name: given_options.pop(name) for name in ("grad_scale", "zero_grads")}
    ema_decay = given_options.pop("ema_decay")
    world = World("adamw", given_options, start, ema_decay)
    norm, _ = world.step(grads, call["grad_scale"])
    arrays = {name: param.copy() for name, param in start.items()}
    opt = fs.AdamW(arrays, **given_options, ema_decay=ema_decay)
    passed = {name: g.copy() for name, g in grads.items()}
    result = opt.step(passed, **call)
    assert result == (True, None if given_options["max_grad_norm"] is None else norm)
    for name, run in world.runs.items():
        assert same_bits(arrays[name], run.param)
        assert ema_decay is None or same_bits(opt.ema[name], world.ema[name])
        assert same_bits(
            passed[name], np.zeros_like(grads[name]) if call["zero_grads"] else grads[name]
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_sets_pass_through_the_pipeline(dtype):
    rng = np.random.default_rng(3)
    start, sets = draw(rng, dtype), [draw(rng, dtype) for _ in range(5)]
    weights = [0.5, 2.0, 0.0, 1.0, 3.0]
    options = {"max_grad_norm": 0.5, "weight_decay": 0.01}
    world = World("adam", options, start)
    means = {name: combine([s[name] for s in sets], weights, sum(weights)) for name in start}
    norm, _ = world.step(means, 3.0)
    arrays = {name: param.copy() for name, param in start.items()}
    opt = fs.Adam(arrays, **options)
    result = opt.step_mean(sets, weights, grad_scale=3.0, zero_grads=True)
    assert result == (True, norm)
    for name, run in world.runs.items():
        assert same_bits(arrays[name], run.param)
        assert not any(np.any(s[name]) for s in sets)


# NaN and infinity --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_fault_14_a_step_is_skipped_as_if_it_had_not_been(rule, dtype, bad):
    rng = np.random.default_rng(7)
    start, grads = draw(rng, dtype), [draw(rng, dtype) for _ in range(3)]
    grads[1]["large"][-1] = bad
    options = {"max_grad_norm": 1.0}
    world = World(rule, options, start, 0.9, skip_nonfinite=True)
    opt = fs.create(rule, start, **options, ema_decay=0.9, skip_nonfinite=True)
    for grad, applied in zip(grads, (True, False, True), strict=True):
        before = {name: g.copy() for name, g in grad.items()}
        norm, same = world.step(grad)
        result = opt.step(grad, zero_grads=True)
        assert result.applied is applied is same
        assert same_bits(np.array(result.grad_norm), np.array(norm))
        assert applied or all(same_bits(grad[name], before[name]) for name in grad)
    assert opt.step_count == 2
    for name, run in world.runs.items():
        assert same_bits(start[name], run.param)
        assert same_bits(opt.ema[name], world.ema[name])
        assert opt.state[name]["step"] == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_fault_14_a_step_is_refused_where_that_is_asked_for(rule, dtype, bad):
    opt = fs.create(rule, numbers(1, dtype), ema_decay=0.9, error_if_nonfinite=True)
    opt.step(numbers(2, dtype))
    grads = numbers(3, dtype)
    grads["last"][-1, -1] = bad
    words = ["gradient of 'last'", "error_if_nonfinite"]
    with refused(opt, FloatingPointError, *words, untouched=grads.values()):
        opt.step(grads, zero_grads=True)
    grads["last"][-1, -1] = 0.0
    assert opt.step(grads).applied


def test_unscaling_is_what_is_looked_at():
    w = np.ones(2, np.float32)
    opt = fs.SGD(w, skip_nonfinite=True)
    assert not opt.step(np.full(2, 3e38, np.float32), grad_scale=0.5).applied
    assert opt.step(np.full(2, 3e38, np.float32), grad_scale=2.0).applied


def test_without_a_policy_nan_stays_where_it_is():
    w = np.ones(10)
    grad = np.ones(10)
    grad[3] = math.nan
    assert fs.SGD(w, max_grad_value=1.0).step(grad) == (True, None)
    assert np.flatnonzero(np.isnan(w)).tolist() == [3]
