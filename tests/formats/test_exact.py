"""Narrow parameters, gradients and states equal the reference to the last bit: rule, mode,
instruction set, threads, length.
"""

import numpy as np
import pytest

import fusedstep as fs
from cases import THREADS, awkward_numbers, same_bits, settings
from fusedstep import _core
from narrow import NarrowRun, decoded
from narrow_modes import (
    FORMATS,
    MODES,
    assert_equal,
    cast,
    grid,
    ids,
    name_of,
    numbers,
    plain,
    storage,
)

STEPS = 3
LENGTHS = (0, 1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 128, 129, 191, 255, 256, 257, 300)
CASES = list(grid())
# A rule with loops in registers, which take whole blocks, one without, and one of whole arrays.
EXAMPLES = list(grid(["adamw", "adagrad", "lamb"], plain))
every_mode = pytest.mark.parametrize("mode", MODES, ids=name_of)


def some_settings():
    """Every instruction set, with another number of threads each."""
    return zip(fs.available_isas(), THREADS[::-1], strict=False)


def check(rule, options, mode, sizes, settings, awkward=True, **group):
    """Steps over arrays of these sizes, whose gradients are of one format after the other."""
    rng = np.random.default_rng(len(sizes))
    start = {str(size): numbers(rng, size, mode["param"]) for size in sizes}
    how = storage(mode, **group)
    runs = {
        name: NarrowRun(rule, options, param, number, seed=11, **how)
        for number, (name, param) in enumerate(start.items())
    }
    batches = []
    for step in range(STEPS):
        make = awkward_numbers if awkward and step == STEPS - 1 else numbers
        batches.append(
            {
                name: cast(make(rng, param.size, np.float32), FORMATS[(number + step) % 3])
                for number, (name, param) in enumerate(start.items())
            }
        )
        for name, run in runs.items():
            run.step(decoded(batches[-1][name]))
    for isa, threads in settings:
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        params = {name: param.copy() for name, param in start.items()}
        opt = fs.create(rule, params, **{**options, **how}, seed=11)
        for batch in batches:
            opt.step(batch)
        assert_equal(opt, runs, isa, threads)


@pytest.mark.parametrize(("rule", "options", "mode"), CASES, ids=ids(CASES))
def test_every_rule(rule, options, mode):
    check(rule, options, mode, LENGTHS, some_settings())


@pytest.mark.each_value_once  # 1 s a case
@pytest.mark.parametrize(("rule", "options", "mode"), EXAMPLES, ids=ids(EXAMPLES))
def test_every_length(rule, options, mode):
    check(rule, options, mode, range(301), some_settings())


@pytest.mark.each_value_once
@pytest.mark.parametrize(("rule", "options", "mode"), EXAMPLES, ids=ids(EXAMPLES))
def test_large_arrays_on_many_threads(rule, options, mode):
    check(rule, options, mode, (70_001, 4_095, 4_096, 65_536), settings(), awkward=False)


@every_mode
def test_arrays_below_min_8bit_size_keep_their_state(mode):
    sizes = (4_095, 4_096, 4_097)
    check("adamw", {}, mode, sizes, some_settings(), min_8bit_size=4_096)
    check("adan", {}, mode, sizes, some_settings(), min_8bit_size=4_097)
    opt = fs.AdamW(
        {str(size): numbers(np.random, size, mode["param"]) for size in sizes}, state_dtype="8bit"
    )
    dtypes = [opt.state[str(size)]["exp_avg"].dtype for size in sizes]
    assert dtypes == [np.float32, np.uint8, np.uint8]


@every_mode
def test_elements_are_counted_in_the_order_of_memory(mode):
    rng = np.random.default_rng(3)
    start = np.asfortranarray(numbers(rng, (37, 41), mode["param"]))
    run = NarrowRun("adam", {}, start, seed=5, **storage(mode))
    param = start.copy(order="K")
    opt = fs.Adam(param, seed=5, **storage(mode))
    for _ in range(STEPS):
        grad = np.asfortranarray(numbers(rng, start.shape, "float32"))
        opt.step(grad)
        run.step(grad)
    assert_equal(opt, {"param": run})


@every_mode
def test_one_part_of_the_arrays_after_another(mode):
    """Steps count by array, and random numbers by its place in the optimizer."""
    rng = np.random.default_rng(4)
    start = {name: numbers(rng, 333, mode["param"]) for name in "abc"}
    runs = {
        name: NarrowRun("adamw", {}, param, number, seed=2**63 + 5, **storage(mode))
        for number, (name, param) in enumerate(start.items())
    }
    opt = fs.AdamW(
        {name: param.copy() for name, param in start.items()}, seed=2**63 + 5, **storage(mode)
    )
    for named in ("a", "abc", "bc", "c", "ab"):
        grads = {name: numbers(rng, 333, "bfloat16") if name in named else None for name in "abc"}
        opt.step(grads)
        for name in named:
            runs[name].step(decoded(grads[name]))
    assert_equal(opt, runs)


def test_the_seed_matters_and_nothing_else_does():
    rng = np.random.default_rng(5)
    start, grad = numbers(rng, 5_000, "bfloat16"), numbers(rng, 5_000, "float32")

    def after(**how):
        param = start.copy()
        opt = fs.SGD(param, lr=1e-3, rounding="stochastic", **how)
        opt.step(grad)
        return param.view(np.uint16)

    assert same_bits(after(seed=1), after(seed=1))
    assert same_bits(after(), after(seed=0))
    assert np.mean(after(seed=1) != after(seed=2)) > 0.1


def test_a_square_that_is_small_in_its_block_does_not_become_0():
    grad = np.full(4096, 1e-6, np.float32)
    grad[::128] = 1.0
    opt = fs.Adam({"w": np.zeros(4096, np.float32)}, state_dtype="8bit")
    opt.step({"w": grad})
    assert np.all(opt.decoded_state("w")["exp_avg_sq"] > 0)
