"""The library equals the reference to the last bit: rule, option, dtype, instruction set, threads,
length and address.
"""

import numpy as np
import pytest

import fusedstep as fs
from cases import (
    CASE_IDS,
    CASES,
    DTYPES,
    LAYERWISE,
    RULES,
    aligned_empty,
    awkward_numbers,
    same_bits,
    settings,
)
from fusedstep import _core
from reference import Run
from whole_step import combine

STEPS = 3
CANARY = 12345.0


class Crowd:
    """Arrays of every length from 0 to 4 * lanes + 3 at every byte offset, in one buffer.

    Elementwise rules do not see where one array ends and the next begins, so that one reference
    over `at`, all their elements in a row, is the truth for all of them; what lies between is
    canaries.
    """

    def __init__(self, dtype):
        lanes = 64 // np.dtype(dtype).itemsize
        self.spans, at, start = [], [], 0
        for length in range(4 * lanes + 4):
            for offset in range(lanes):
                self.spans.append(slice(start + offset, start + offset + length))
                at.append(np.arange(start + offset, start + offset + length))
                start += -(-(offset + length + 1) // lanes) * lanes
        self.at, self.size, self.dtype = np.concatenate(at), start, dtype

    def scatter(self, values, shift=0):
        """The buffer with these elements, and its arrays."""
        buffer = aligned_empty(self.size, self.dtype, shift)
        buffer[:] = CANARY
        buffer[self.at] = values
        return buffer, [buffer[span] for span in self.spans]

    def parts(self):
        """Where each array lies in a row of all elements."""
        ends = np.cumsum([span.stop - span.start for span in self.spans])
        return [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    def expected(self, values):
        return self.scatter(values)[0]


CROWDS = {dtype: Crowd(dtype) for dtype in DTYPES}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)
def test_fault_13_18_19_every_length_and_offset(rule, options, dtype):
    crowd, rng = CROWDS[dtype], np.random.default_rng(1)
    start = rng.standard_normal(crowd.at.size).astype(dtype)
    grads = [awkward_numbers(rng, crowd.at.size, dtype) for _ in range(STEPS)]
    # One run over all, or one an array where the rule looks at whole arrays.
    parts = crowd.parts() if rule in LAYERWISE else [slice(None)]
    runs = [Run(rule, options, start[part]) for part in parts]
    for run, part in zip(runs, parts, strict=True):
        for grad in grads:
            run.step(grad[part])
    expected = crowd.expected(np.concatenate([run.param for run in runs]))
    states = {name: np.concatenate([run.state[name] for run in runs]) for name in runs[0].state}
    # Gradients need not share their parameter's phase.
    gradients = [crowd.scatter(grad, shift=np.dtype(dtype).itemsize)[1] for grad in grads]
    for isa, threads in settings():
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        buffer, arrays = crowd.scatter(start)
        opt = fs.create(rule, arrays, **options)
        for gradient in gradients:
            opt.step(gradient)
        assert same_bits(buffer, expected), (isa, threads)
        for name, state in states.items():
            ours = np.concatenate([buffers[name] for buffers in opt.state.values()])
            assert same_bits(ours, state), (isa, threads, name)


@pytest.mark.each_value_once  # 0.3 s a case
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_fault_18_19_large_arrays(rule, dtype):
    rng = np.random.default_rng(2)
    sizes = (1_000_003, 65_537, 4_099)
    start = [rng.standard_normal(size).astype(dtype) for size in sizes]
    grads = [awkward_numbers(rng, size, dtype) for size in sizes]
    runs = [Run(rule, {}, param) for param in start]
    for run, grad in zip(runs, grads, strict=True):
        for _ in range(STEPS):
            run.step(grad)
    for isa, threads in settings():
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        arrays = [param.copy() for param in start]
        opt = fs.create(rule, arrays)
        opt.bind(grads)
        for _ in range(STEPS):
            opt.step()
        for array, run in zip(arrays, runs, strict=True):
            assert same_bits(array, run.param), (isa, threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("how", "count"),
    [("mean", 8), ("mean", 1), ("weighted", 4), ("weighted", 7), ("sum", 3), ("sum", 9)],
)
def test_gradient_sets(rule, dtype, how, count):
    rng = np.random.default_rng(3)
    sizes = (0, 5, 30_011)
    weights = [1.0] * count if how == "mean" else list(range(count))
    divisor = 1.0 if how == "sum" else float(sum(weights))
    start = [rng.standard_normal(size).astype(dtype) for size in sizes]
    sets = [[awkward_numbers(rng, size, dtype) for size in sizes] for _ in range(count)]
    options = {"weight_decay": 0.01, "maximize": True}
    runs = [Run(rule, options, param) for param in start]
    with np.errstate(all="ignore"):
        for i, run in enumerate(runs):
            run.step(combine([grads[i] for grads in sets], weights, divisor))
    for isa, threads in settings():
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        arrays = [param.copy() for param in start]
        opt = fs.create(rule, arrays, **options)
        if how == "sum":
            opt.step_sum(sets, weights)
        else:
            opt.step_mean(sets, None if how == "mean" else weights)
        for array, run in zip(arrays, runs, strict=True):
            assert same_bits(array, run.param), (isa, threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_functional_is_the_same_rule(rule, dtype):
    rng = np.random.default_rng(4)
    param = rng.standard_normal(1_003).astype(dtype)
    run = Run(rule, {}, param)
    states = [state.copy() for state in run.state.values()]
    for step in range(1, STEPS + 1):
        grad = rng.standard_normal(param.size).astype(dtype)
        run.step(grad)
        getattr(fs.functional, rule)(param, grad, *states, step=step)
    assert same_bits(param, run.param)
    for ours, state in zip(states, run.state.values(), strict=True):
        assert same_bits(ours, state)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nadam_when_its_momentum_no_longer_rises(dtype):
    rng, options = np.random.default_rng(6), {"momentum_decay": 30.0}  # to beta1, in 34 steps
    param = rng.standard_normal(5).astype(dtype)
    run = Run("nadam", options, param)
    opt = fs.NAdam(param, **options)
    for _ in range(50):
        grad = rng.standard_normal(5).astype(dtype)
        run.step(grad)
        opt.step(grad)
        assert same_bits(param, run.param), opt.step_count


@pytest.mark.parametrize("beta1", [0.51, 0.69, 0.72, 0.99])
def test_warm_up_takes_logarithms_of_any_number(beta1):
    rng = np.random.default_rng(8)
    options = {"betas": (beta1, 0.999, (1.0 + beta1) / 2.0), "warmup_steps": 20}
    param = rng.standard_normal(50)
    run = Run("ademamix", options, param)
    opt = fs.AdEMAMix(param, **options)
    for _ in range(20):
        grad = rng.standard_normal(50)
        run.step(grad)
        opt.step(grad)
    assert same_bits(param, run.param)
    assert same_bits(opt.state["param"]["exp_avg_slow"], run.state["exp_avg_slow"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_centered_variance_does_not_fall_below_0(dtype):
    rng, options = np.random.default_rng(7), {"centered": True, "alpha": 0.5}
    param, grad = rng.standard_normal((2, 1_000)).astype(dtype)
    run = Run("rmsprop", options, param)
    opt = fs.RMSprop(param, **options)
    for _ in range(80):
        run.step(grad)
        opt.step(grad)
    variance = run.state["square_avg"] - run.state["grad_avg"] ** 2
    assert variance.min() < 0, "what the test is about"
    assert same_bits(param, run.param)
    assert np.all(np.isfinite(param))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", LAYERWISE)
def test_a_ratio_of_norms_where_one_is_0(rule, dtype):
    """A parameter of zeros moves all the same, and gradients of zeros divide nothing by 0."""
    ones, zeros = np.ones(7, dtype), np.zeros(7, dtype)
    for param, grads in [(zeros, [ones, ones]), (ones, [zeros, ones]), (zeros, [zeros, zeros])]:
        run, ours = Run(rule, {"weight_decay": 0.0}, param), param.copy()
        opt = fs.create(rule, ours, weight_decay=0.0)
        for grad in grads:
            run.step(grad)
            opt.step(grad)
        assert same_bits(ours, run.param)
        assert np.array_equal(ours, param) == (not np.any(grads))


@pytest.mark.parametrize("dtype", DTYPES)
def test_moving_average(dtype):
    rng = np.random.default_rng(5)
    values = {"a": np.zeros(100_003, dtype), "b": np.zeros((3, 5), dtype)}
    f = np.dtype(dtype).type
    for isa, threads in settings():
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        ema = fs.EMA(values, decay=0.9)
        expected = {name: np.zeros_like(value) for name, value in values.items()}
        for _ in range(STEPS):
            for name, value in values.items():
                value[...] = rng.standard_normal(value.shape)
                expected[name] = f(0.9) * expected[name] + f(1.0 - 0.9) * value
            ema.update()
        assert all(same_bits(ema[name], expected[name]) for name in values), (isa, threads)
