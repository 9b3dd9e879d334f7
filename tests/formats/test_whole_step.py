"""What a step does around the rule, over narrow parameters, gradients and states."""

import math

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from fusedstep import _core
from narrow import NarrowRun, decoded
from narrow_modes import FORMATS, MODES, assert_equal, cast, grid, ids, name_of, numbers, storage
from optimizers import everything
from reductions import clip_factor, norm_of, squares
from row_steps import Rows, row_squares
from whole_step import World, bfloat16_bits, combine

SIZES = {"empty": 0, "small": 5, "block": 2_048, "more": 2_049, "large": 9_011}
CASES = list(grid())
EXAMPLES = list(grid(["adamw", "rmsprop", "lamb"]))
every_mode = pytest.mark.parametrize("mode", MODES, ids=name_of)
every_example = pytest.mark.parametrize(("rule", "options", "mode"), EXAMPLES, ids=ids(EXAMPLES))


def draw(rng, dtype):
    return {name: numbers(rng, size, dtype) for name, size in SIZES.items()}


def gradients(rng, turn=0):
    """One array after the other of another format."""
    return {
        name: numbers(rng, size, FORMATS[(turn + i) % 3])
        for i, (name, size) in enumerate(SIZES.items())
    }


@pytest.mark.parametrize(("rule", "options", "mode"), CASES, ids=ids(CASES))
def test_fault_13_everything_at_once(rule, options, mode):
    rng = np.random.default_rng(1)
    start, batches = draw(rng, mode["param"]), [gradients(rng, turn) for turn in range(3)]
    options = {**options, "max_grad_norm": 0.7, "max_grad_value": 0.01, "weight_decay": 0.01}
    world = World(rule, options, start, ema_decay=0.9, narrow=storage(mode))
    norms = [world.step(grads, 3.0)[0] for grads in batches]
    for isa, threads in zip(fs.available_isas(), (7, 2, 1), strict=False):
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        params = {name: param.copy() for name, param in start.items()}
        opt = fs.create(rule, params, **{**options, **storage(mode)}, ema_decay=0.9)
        for grads, norm in zip(batches, norms, strict=True):
            given = {name: grad.copy() for name, grad in grads.items()}
            result = opt.step(given, grad_scale=3.0, zero_grads=True)
            assert same_bits(np.array(result.grad_norm), np.array(norm)), (isa, threads)
            assert not any(np.any(grad) for grad in given.values())
        assert_equal(opt, world.runs, isa, threads)
        for name in start:
            assert same_bits(opt.ema[name], world.ema[name]), (isa, threads, name)


@every_example
def test_gradient_sets(rule, options, mode):
    rng = np.random.default_rng(2)
    start, sets = draw(rng, mode["param"]), [gradients(rng, turn) for turn in range(5)]
    weights = [0.5, 2.0, 0.0, 1.0, 3.0]
    world = World(rule, {**options, "max_grad_norm": 0.5}, start, narrow=storage(mode))
    means = {name: combine([s[name] for s in sets], weights, sum(weights)) for name in start}
    norm, _ = world.step(means, 3.0)
    opt = fs.create(rule, start, **{**options, **storage(mode), "max_grad_norm": 0.5})
    result = opt.step_mean(sets, weights, grad_scale=3.0)
    assert result == (True, norm)
    assert_equal(opt, world.runs)


@pytest.mark.parametrize("mode", [m for m in MODES if m["param"] == "float32"], ids=name_of)
def test_working_copies_are_of_parameters_in_float32(mode):
    rng = np.random.default_rng(3)
    start = draw(rng, "float32")
    world = World("adamw", {}, start, narrow=storage(mode))
    copies = {name: np.zeros(size, np.uint16) for name, size in SIZES.items()}
    opt = fs.AdamW(start, **storage(mode), working_copy=copies)
    for turn in range(2):
        grads = gradients(rng, turn)
        world.step(grads)
        opt.step(grads)
    assert_equal(opt, world.runs)
    for name, run in world.runs.items():
        assert np.array_equal(copies[name], bfloat16_bits(run.param))


@every_mode
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", FORMATS)
def test_fault_14_a_step_is_skipped_as_if_it_had_not_been(mode, bad, dtype):
    rng = np.random.default_rng(4)
    opt = fs.Adam(draw(rng, mode["param"]), **storage(mode), skip_nonfinite=True)
    opt.step(gradients(rng))
    grads = gradients(rng)
    grads["large"] = cast(decoded(grads["large"]), dtype)
    grads["large"][-1] = bad
    before = everything(opt)
    assert not opt.step(grads).applied
    assert everything(opt) == before


# Rows --------------------------------------------------------------------------------------------


def tables(mode):
    """Rows of whole blocks where they must be, and of any length."""
    return ((20, 128), (9, 256)) if mode["state"] == "8bit" else ((20, 33), (7, 130), (5, 1))


@every_mode
@pytest.mark.parametrize("rule", ["adamw", "adagrad", "nadam"])
def test_rows(rule, mode):
    rng = np.random.default_rng(5)
    for shape in tables(mode):
        start = numbers(rng, shape, mode["param"])
        options = {"max_grad_norm": 0.5}
        reference = Rows(rule, options, start, narrow=storage(mode))
        opt = fs.create(rule, {"w": start}, **options, **storage(mode), ema_decay=0.9)
        for dtype in FORMATS:
            indices = rng.integers(0, shape[0], 8)
            rows = numbers(rng, (8, shape[1]), dtype)
            norm = reference.step(indices, rows, 2.0)
            assert opt.step_rows("w", indices, rows, grad_scale=2.0).grad_norm == norm
        assert_equal(opt, {"w": reference.run})
        assert same_bits(opt.ema["w"], reference.ema)


@every_mode
def test_one_step_of_arrays_and_rows(mode):
    rng = np.random.default_rng(6)
    options = {"max_grad_norm": 0.5}
    start = {"w": numbers(rng, 1_000, mode["param"]), "t": numbers(rng, (20, 128), mode["param"])}
    dense = NarrowRun("adamw", options, start["w"], 0, **storage(mode))
    table = Rows("adamw", options, start["t"], narrow=storage(mode, number=1))
    opt = fs.AdamW(start, **options, **storage(mode))
    for dtype in FORMATS:
        grad = numbers(rng, 1_000, dtype)
        rows = rng.integers(0, 20, 8), numbers(rng, (8, 128), dtype)
        norm = norm_of([*squares([decoded(grad), None]), *row_squares(*rows)])
        dense.step(decoded(grad), 1.0, clip_factor(0.5, norm))
        table.step(*rows, norm=norm)
        with opt.one_step() as one:
            opt.step_rows("t", *rows)
            opt.step({"w": grad})
        assert one.result == (True, norm)
    assert_equal(opt, {"w": dense, "t": table.run})


def test_rows_that_are_no_whole_blocks_are_refused():
    table = np.zeros((50, 100), np.float32)
    opt = fs.Adam({"table": table}, state_dtype="8bit")
    before = everything(opt)
    with pytest.raises(ValueError, match=r"'table'.*multiple of 128.*100"):
        opt.step_rows("table", [1], np.ones((1, 100), np.float32))
    assert everything(opt) == before
