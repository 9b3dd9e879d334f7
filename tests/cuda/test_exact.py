"""A step on a CUDA device equals the CPU's to the last bit: rule, option, dtype, mode, size and address.

With the CPU playing the device everywhere, and on a card with every library that is there.
"""

import numpy as np
import pytest

import fusedstep as fs
from cases import CASE_IDS, CASES, LAYERWISE, ROWWISE, awkward_numbers, same_bits
from cuda_libraries import Field, Pair

# Across the borders of packs, warps' blocks and chunks; "F" is in Fortran order where that may be.
SHAPES = {
    "float32": [(1,), (7,), (0,), (33, 5), (13, 9), (2049,), (4099,)],
    "float64": [(3,), (1030,), (11, 7), (0, 3), (6145,)],
}
TABLES = {"3": (33, 5), "9": (11, 7)}  # by name: those that step_rows is tried with
TURNED = 4
WHOLE = {
    "max_grad_norm": 0.5,
    "max_grad_value": 0.004,
    "skip_nonfinite": True,
    "ema_decay": 0.9,
    "copies": True,
}


def numbers(seed, rule="", finite=False):
    """A list of both dtypes, with awkward numbers in it."""
    rng = np.random.default_rng(seed)
    values = []
    for dtype, shapes in SHAPES.items():
        for shape in shapes:
            flat = awkward_numbers(rng, int(np.prod(shape)), dtype)
            if finite:
                flat[~np.isfinite(flat)] = 0.25
                flat[np.abs(flat) > 1e6] = -1e6
            turned = len(values) == TURNED and rule not in ROWWISE
            values.append(flat.reshape(shape, order="F" if turned else "C"))
    return values


GRADS = [numbers(seed) for seed in range(1, 5)]
FINITE = [numbers(seed, finite=True) for seed in range(1, 5)]


def of(grads, rule):
    """In the memory order of the parameters."""
    turned = np.asarray(grads[TURNED], order="C" if rule in ROWWISE else "F")
    return [*grads[:TURNED], turned, *grads[TURNED + 1 :]]


def rows_of(name, count, seed):
    """Indices, some of them twice, and a gradient for each."""
    rng, shape = np.random.default_rng(seed), TABLES[name]
    indices = rng.integers(0, shape[0], count)
    dtype = "float32" if shape in SHAPES["float32"] else "float64"
    return indices, rng.standard_normal((count, shape[1])).astype(dtype)


@pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)
def test_every_rule(library, rule, options):
    """One after the other all ways to make a step, on numbers of every kind."""
    pair = Pair(library, rule, numbers(0, rule, finite=True), **options)
    a, b, c, d = (of(grads, rule) for grads in GRADS)
    pair.step(of(FINITE[0], rule))
    pair.check()
    if rule not in LAYERWISE:
        pair.rows("3", *rows_of("3", 9, 1), grad_scale=3.0)
        pair.rows("9", *rows_of("9", 20, 2), indices_there=True)
    pair.combine("step_mean", [a, b, c], None)
    pair.step([grad if i % 3 else None for i, grad in enumerate(b)])
    pair.combine("step_sum", [c, d], [0.5, 2.0], grad_scale=4.0)
    pair.step(d)
    pair.check()


@pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)
def test_every_rule_in_the_whole_step(library, rule, options):
    """Unscaled, looked at, clipped, averaged, copied and zeroed."""
    pair = Pair(library, rule, numbers(0, rule, finite=True), **{**options, **WHOLE})
    a, b, c, d = (of(grads, rule) for grads in FINITE)
    pair.step(a, 8.0)
    pair.check()
    pair.step(b, np.array(3.0, np.float32), zero_grads=True)
    pair.combine("step_mean", [a, b, c, d], [1.0, 0.0, 2.5, 3.0], grad_scale=np.pi)
    pair.step(of(GRADS[0], rule), 8.0, zero_grads=True)  # not finite: nothing moves
    pair.check()
    if rule not in LAYERWISE:
        pair.rows("3", *rows_of("3", 9, 3), grad_scale=8.0)
        pair.rows("9", *rows_of("9", 2, 4))
    pair.step([grad if i % 4 else None for i, grad in enumerate(c)], np.array([5.0]))
    pair.step(d)
    pair.check()
    for name, average in pair.host.ema.items():
        assert same_bits(average, library.get(pair.device.ema[name])), name


def test_the_steps_that_are_compared_are_what_they_say(library):
    """Clipped, unclipped and called off: else the comparison above would be of less."""
    pair = Pair(library, "adamw", numbers(0, finite=True), **WHOLE)
    results = [pair.host.step(of(grads, "adamw")) for grads in (FINITE[0], GRADS[0])]
    assert [result.applied for result in results] == [True, False]
    assert results[0].grad_norm > 0.5
    before = [value.copy() for value in pair.values]
    pair.host.step(of(GRADS[0], "adamw"))
    assert all(map(same_bits, before, pair.values))


def test_groups_with_options_of_their_own(library):
    values = numbers(0, finite=True)
    groups = [
        {"lr": 0.1, "max_grad_norm": 0.01},
        {"lr": 0.2, "weight_decay": 0.3, "maximize": True, "max_grad_norm": 1e9},
        {"amsgrad": True, "max_grad_value": 0.1},
    ]
    params = Field(library, values)
    host = [v.copy(order="K") for v in values]

    def make(leaves):
        parts = [leaves[i::3] for i in range(3)]
        own = [{"params": part, **g} for part, g in zip(parts, groups, strict=True)]
        return fs.AdamW(own, clip_per_group=True, ema_decay=0.5)

    here, there = make(host), make(params.arrays)
    for grads in FINITE:
        given = Field(library, of(grads, "adamw"), seed=5).arrays
        expected = here.step([of(grads, "adamw")[i::3] for i in range(3)])
        got = there.step([given[i::3] for i in range(3)])
        assert library.get(got.grad_norm) == expected.grad_norm
        here.lr = there.lr = 0.05
    assert all(map(same_bits, host, params.read()))


@pytest.mark.parametrize("rule", ["adamw", *LAYERWISE])
def test_norms_of_long_arrays(library, rule):
    """So long that the sums of their blocks are summed in blocks again."""
    rng = np.random.default_rng(6)
    sizes = {"float32": (4_200_001, 1), "float64": (65_537, 0, 2048)}
    values, grads = (
        [rng.standard_normal(n).astype(dtype) for dtype, own in sizes.items() for n in own]
        for _ in range(2)
    )
    pair = Pair(library, rule, values, max_grad_norm=1.0)
    pair.step(grads)
    pair.check()


def test_many_small_arrays(library):
    rng = np.random.default_rng(7)
    values = [rng.standard_normal(n % 41).astype("f4") for n in range(2500)]
    pair = Pair(library, "adam", values, max_grad_norm=1.0, ema_decay=0.9)
    for _ in range(2):
        pair.step([rng.standard_normal(value.size).astype("f4") for value in values], 2.0)
    pair.check()


@pytest.mark.parametrize("sizes", [[1], [0], [0, 1, 0]])
def test_hardly_anything(library, sizes):
    values = [np.ones(size, np.float32) for size in sizes]
    pair = Pair(library, "adam", values, max_grad_norm=0.5, skip_nonfinite=True)
    pair.step(values)
    pair.step([None] * len(sizes), allow_empty=True)
    pair.check()


def test_what_is_not_finite_is_named(library):
    values = numbers(0, finite=True)
    pair = Pair(library, "adam", values, error_if_nonfinite=True)
    grads = of(FINITE[0], "adam")
    pair.step(grads)
    grads[6] = grads[6].copy()
    grads[6][-1] = np.inf
    there = Field(library, grads)
    for call in (lambda: pair.host.step(grads), lambda: pair.device.step(there.arrays)):
        with pytest.raises(FloatingPointError, match=r"^gradient of '6': expected finite numbers"):
            call()
    pair.check()


@pytest.mark.parametrize("rule", ["adamw", "rowwiseadagrad", "schedulefreeadamw"])
def test_saved_states_go_both_ways(library, rule):
    options = {"ema_decay": 0.9, "skip_nonfinite": True}
    pair = Pair(library, rule, numbers(0, rule, finite=True), **options)
    other = Pair(library, rule, numbers(0, rule, finite=True), **options)
    pair.step(of(FINITE[0], rule))
    saved = pair.device.state_dict()
    other.host.load_state_dict(saved)
    other.device.load_state_dict(pair.host.state_dict())
    for i, value in enumerate(pair.values):
        other.values[i][...] = value
    other.params.write(pair.values)
    for run in (pair, other):
        run.step(of(FINITE[1], rule))
        run.check()
    assert all(map(same_bits, pair.values, other.values))


def test_bound_gradients(library):
    pair = Pair(library, "adam", numbers(0, finite=True))
    here = [grad.copy(order="K") for grad in of(GRADS[0], "adam")]
    there = Field(library, here)
    pair.host.bind(here)
    pair.device.bind(there.arrays)
    for grads in GRADS:
        for own, grad in zip(here, grads, strict=True):
            own[...] = grad
        there.write(here)
        pair.host.step()
        pair.device.step()
    pair.check()
