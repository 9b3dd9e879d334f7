"""The ways to store parameters and state that tests enumerate, and what they ask of a rule."""

import itertools

import ml_dtypes
import numpy as np

from cases import ROWWISE, RULES, same_bits
from fusedstep._definition import registry
from optimizers import richest

FORMATS = ("float32", "bfloat16", "float16")
KEPT = {
    "nearest": {},
    "stochastic": {"rounding": "stochastic"},
    "kahan": {"rounding": "kahan"},
    "split32": {"master": "split"},
    "split24": {"master": "split", "master_bits": 24},
}
STATES = ("float32", "bfloat16", "8bit")

# How a parameter is stored, what is kept of what it loses, how the state is.
MODES = [
    {"param": param, "kept": kept, "state": state}
    for param, kept, state in itertools.product(FORMATS, KEPT, STATES)
    if param != "float32" or (kept == "nearest" and state != "float32")
]


def storage(mode, **others):
    """The options of a group in this mode, which are NarrowRun's too."""
    return {"state_dtype": mode["state"], "min_8bit_size": 0, **KEPT[mode["kept"]], **others}


def name_of(mode):
    return "-".join(mode.values())


def takes(rule, options, mode):
    """Whether the rule has a state that is stored narrower in this mode."""
    if mode["state"] == "float32":
        return True
    info, values = registry[rule].info, registry[rule].definition.check(options)
    variant = sum(bool(values[flag]) << i for i, flag in enumerate(info.flags))
    narrow = {"average", "square", *(["number"] if mode["state"] == "bfloat16" else [])}
    return rule not in ROWWISE and not narrow.isdisjoint(info.contents[variant])


def plain(_):
    """The options of a rule in grid(): its defaults."""
    return [{}]


def plain_and_rich(rule):
    """The defaults, and, where they are others, those with all the state that it can have."""
    rich, known = richest(rule), registry[rule].options
    return [{}, rich] if any(rich[name] != known[name].default for name in rich) else [{}]


def grid(rules=RULES, sets=plain_and_rich):
    """(rule, options, mode): every mode that the rule takes with each set of its options."""
    for rule in rules:
        for options, mode in itertools.product(sets(rule), MODES):
            if takes(rule, options, mode):
                yield rule, options, mode


def ids(cases):
    return [
        f"{rule}-{'rich' if options else 'plain'}-{name_of(mode)}" for rule, options, mode in cases
    ]


CASTS = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


def cast(numbers, dtype):
    with np.errstate(over="ignore", invalid="ignore"):
        return numbers.astype(CASTS.get(dtype, dtype))


def numbers(rng, shape, dtype):
    return cast(rng.standard_normal(shape).astype(np.float32), dtype)


def bits(array):
    """Narrow numbers as the integers that they are."""
    return array.view(np.uint16) if array.dtype.itemsize == 2 else array


def assert_equal(opt, runs, *where):
    """Parameters, and all that the optimizer holds of each but its average, to the last bit."""
    for name, run in runs.items():
        assert same_bits(bits(opt.params[name]), run.bits), (*where, name)
        held = {k: array for k, array in opt.state[name].items() if k not in ("step", "ema")}
        expected = run.stored()
        assert held.keys() == expected.keys(), (*where, name)
        for key, array in expected.items():
            assert same_bits(held[key], array), (*where, name, key)
