"""What the tests enumerate, read off the registry: a new rule is covered without a line here."""

import itertools

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._definition import registry
from fusedstep._options import Number, Switch

DTYPES = ("float32", "float64")
THREADS = (1, 2, 3, 7)


def _choices(option):
    """Values of an option that make a difference in kind: off and on, zero and not."""
    if isinstance(option.kind, Switch):
        return (False, True)
    if isinstance(option.kind, Number) and option.name == "weight_decay":
        return (0.0, 0.01)
    if option.name == "warmup_steps":
        return (0.0, 7.0)
    if option.name == "t0":
        return (0.0, option.default)
    if isinstance(option.kind, Number) and option.default == 0.0:
        return (0.0, 0.3)
    return (option.default,)


def option_sets(rule):
    """Every combination of them that the rule accepts.

    `weight_decay` and `maximize` belong to every rule: they go through each combination of the
    others together, and one by one with the defaults.
    """
    options = registry[rule].options
    common = {"weight_decay", "maximize"}
    combinations = itertools.product(*(_choices(option) for option in options.values()))
    accepted = []
    for values in combinations:
        candidate = dict(zip(options, values, strict=True))
        plain = all(v == options[n].default for n, v in candidate.items() if n not in common)
        if not plain and (candidate["weight_decay"] > 0) != candidate["maximize"]:
            continue
        try:
            registry[rule].definition.check(candidate)
        except ValueError:
            continue
        accepted.append(candidate)
    return accepted


def label(rule, options):
    """A test's name: the options that are not the defaults."""
    known = registry[rule].options
    different = [f"{n}={v:g}" for n, v in options.items() if v != known[n].default]
    return "-".join([rule, *different])


RULES = fs.available()
# Rules whose steps depend on norms over a whole array: the others do not see where one ends.
LAYERWISE = [rule for rule in RULES if registry[rule].info.layerwise]
# Rules whose states are one number a row: an array of one axis has rows of one number.
ROWWISE = [rule for rule in RULES if registry[rule].info.rowwise]
CASES = [(rule, options) for rule in RULES for options in option_sets(rule)]
CASE_IDS = [label(rule, options) for rule, options in CASES]

every_rule = pytest.mark.parametrize("rule", RULES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_case = pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)


def settings():
    """Every instruction set with every number of threads."""
    for isa in fs.available_isas():
        for threads in THREADS:
            yield isa, threads


def state_shape(rule, shape):
    """The shape of the states that a parameter of this shape has."""
    return ((*shape, 1)[0],) if rule in ROWWISE else shape


def same_bits(a, b):
    """Equal to the last bit; NaNs by position."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bits = f"u{a.dtype.itemsize}"
    nan = np.isnan(a)
    equal = np.ascontiguousarray(a).view(bits) == np.ascontiguousarray(b).view(bits)
    return bool(np.array_equal(nan, np.isnan(b)) and np.all(equal | nan))


def awkward_numbers(rng, size, dtype):
    """Ordinary numbers, with zeros, subnormals, huge, infinite and NaN values among them."""
    info = np.finfo(dtype)
    special = [
        0.0,
        -0.0,
        info.smallest_subnormal,
        -info.tiny / 3,
        info.max,
        np.inf,
        -np.inf,
        np.nan,
    ]
    numbers = rng.standard_normal(size).astype(dtype)
    at = rng.random(size) < 0.02
    numbers[at] = rng.choice(np.array(special, dtype), at.sum())
    return numbers


def aligned_empty(size, dtype, offset=0):
    """An array whose address is `offset` modulo 64."""
    nbytes = size * np.dtype(dtype).itemsize
    raw = np.empty(nbytes + 128, np.uint8)
    start = (-raw.ctypes.data) % 64 + offset
    return raw[start : start + nbytes].view(dtype)
