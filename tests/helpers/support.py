"""Which options go with which calls and rules: writes docs/support.md when run as a script.

The first table is FEATURES, the second is read off the registry. test_support.py tries every cell.
"""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

from fusedstep._definition import registry
from fusedstep._options import Switch
from fusedstep._pipeline import GROUP_OPTIONS
from fusedstep.optimizer import Optimizer

COMMITTED = Path(__file__).parents[2] / "docs" / "support.md"

# The ways to make a step.
FACES = ("step", "step_mean", "step_sum", "step_rows", "functional")
ONE_EACH = ("step", "step_mean", "step_rows", "functional")  # step_sum shares step_mean's column
DENSE = FACES[:3]
METHODS = FACES[:4]
IN_FORMULA = "in its formula"
COMMON = ("lr", "weight_decay", "maximize")  # options that every rule has


class Feature(NamedTuple):
    """One row of the first table: an option, an argument of the call, or a way to use it."""

    says: str
    faces: tuple[str, ...]
    by_group: bool = False
    dtypes: tuple[str, ...] = ("float32", "float64")
    kind: str = "option"


FEATURES = {
    "lr": Feature("a number", FACES, by_group=True),
    "lr, a schedule": Feature(
        "a function of the completed steps; `step_rows` advances it with `advance=True` only",
        METHODS,
        by_group=True,
    ),
    "weight_decay": Feature("see the next table", FACES, by_group=True),
    "maximize": Feature("negates the gradients", FACES, by_group=True),
    "max_grad_norm": Feature("clips by norm", FACES, by_group=True),
    "max_grad_value": Feature("clips by value", FACES, by_group=True),
    "clip_per_group": Feature("clips each group by its own norm", METHODS),
    "skip_nonfinite": Feature("skips the step on NaN or infinity", METHODS),
    "error_if_nonfinite": Feature("raises FloatingPointError on NaN or infinity", METHODS),
    "ema_decay": Feature("averages in `opt.ema`, in the same sweep", METHODS),
    "ema_bias_correction": Feature("averages start at 0 and are corrected when read", METHODS),
    "working_copy": Feature("a bfloat16 copy, in the same sweep", METHODS, dtypes=("float32",)),
    "state": Feature("arrays that the caller owns, updated in place", METHODS),
    "decay_mask": Feature(
        "the parameters that `weight_decay` is for; divides a group into two",
        METHODS,
        by_group=True,
    ),
    "grad_scale": Feature("argument of the call: divides the gradients", METHODS, kind="argument"),
    "zero_grads": Feature("argument of the call: zeroes the gradients", DENSE, kind="argument"),
    "allow_empty": Feature(
        "argument of the call: allows a step without any gradient", DENSE, kind="argument"
    ),
    "advance": Feature(
        "argument of the call: the rows are the whole step, and schedules go on",
        ("step_rows",),
        kind="argument",
    ),
    "one_step": Feature(
        "one step, with one norm, of rows and of other parameters' gradients",
        ("step", "step_rows"),
        kind="use",
    ),
    "bind": Feature("gradients are checked once", ("step",), kind="use"),
    "some of the parameters": Feature(
        "the others stay unchanged, counters too", METHODS, kind="use"
    ),
    "freeze": Feature("unchanged, even if gradients are passed", METHODS, kind="use"),
    "add_group": Feature("adds parameters later", METHODS, kind="use"),
    "state_dict": Feature("the same bits after `load_state_dict`", METHODS, kind="use"),
}


# How arrays are stored: the options, what they do, and the parameters that they are for.
STORAGE = {
    "state_dtype": ('how state is stored: "float32", "bfloat16", "8bit"', "all but float64"),
    "min_8bit_size": ('arrays of fewer elements keep float32 state with "8bit"', "all but float64"),
    "rounding": ("how a parameter is rounded", "bfloat16, float16"),
    "master": ("keeps the bits that a parameter loses in its `correction`", "bfloat16, float16"),
    "master_bits": ("those of a parameter and its correction together", "bfloat16, float16"),
    "seed": ("of stochastic rounding; of the whole optimizer", "bfloat16, float16"),
}


class State(NamedTuple):
    """A buffer of a rule, and the sets of options any of which brings it with it."""

    name: str
    needs: tuple[frozenset[str], ...]

    def is_there(self, values):
        """Whether a parameter has it under these options."""
        return any(all(values[option] for option in options) for options in self.needs)


def states(cls):
    """The buffers of a rule in the order of its docstring."""
    flags = cls.info.flags
    found = {}
    # Few flags first, so that what adds to a set that suffices is left out.
    for count in range(len(flags) + 1):
        for chosen in itertools.combinations(range(len(flags)), count):
            options = frozenset(flags[i] for i in chosen)
            for name in cls.info.states[sum(1 << i for i in chosen)]:
                needs = found.setdefault(name, [])
                if not any(enough <= options for enough in needs):
                    needs.append(options)
    order = cls.info.states[-1]
    return [State(name, tuple(found[name])) for name in sorted(found, key=order.index)]


def own_options(cls):
    """The options that are the rule's own, with their defaults."""
    common = {*COMMON, *GROUP_OPTIONS}
    return {name: o.default for name, o in cls.options.items() if name not in common}


def state_dtypes(cls):
    """The values of `state_dtype` that a rule takes, with all the state that it can have."""
    contents = {c for variant in cls.info.contents for c in variant}
    taken = ["float32"]
    if contents - {"exact"} and not cls.info.rowwise:
        taken.append("bfloat16")
        if contents & {"average", "square"}:
            taken.append("8bit")
    return taken


def is_coupled(cls, values):
    """Whether weight decay under these options is added to the gradient, outside of the rule."""
    options = cls.definition.group_options({**values, "weight_decay": 0.5}, 0.5)
    return options.coupled_weight_decay != 0.0


def decay(cls):
    """Coupled or decoupled, and the option that makes it the other."""
    defaults = {name: option.default for name, option in cls.options.items()}
    own = "decoupled" if "decoupled" in cls.__doc__ else IN_FORMULA
    words = (own, "coupled")
    text = words[is_coupled(cls, defaults)]
    for name, option in cls.options.items():
        other = {**defaults, name: not option.default}
        if isinstance(option.kind, Switch) and is_coupled(cls, other) != is_coupled(cls, defaults):
            text += f"; {words[is_coupled(cls, other)]} with `{name}`"
    return text


def starts_from_lr(cls):
    """Whether the learning rate is where state starts, and is fixed from then on."""
    values = {name: option.default for name, option in cls.options.items()}
    starts = [cls.initial_state({**values, "lr": lr}) for lr in (0.25, 0.5)]
    return starts[0] != starts[1]


def takes_rows(cls):
    """Whether its rows can be stepped one by one; not where a step needs a whole layer."""
    return not getattr(cls.info, "layerwise", False)


def own_methods(cls):
    """What its objects can do that those of no other rule can."""
    return [
        name
        for name in dir(cls)
        if name[0] != "_" and not hasattr(Optimizer, name) and callable(getattr(cls, name))
    ]


# The text ----------------------------------------------------------------------------------------

HEAD = """\
---
hide: [toc]
---

# Supported options by rule and call

Generated by `tests/helpers/support.py`; `tests/api/test_support.py` tries every cell. CUDA arrays support the same
([cuda.md](cuda.md)): `tests/cuda/test_exact.py`. The order of these operations in a step is documented in
`fusedstep.Optimizer`.

## Options and calls

All rules support float32, float64, bfloat16 and float16, also mixed; other dtypes raise a TypeError. Gradients
have the dtype of their parameter; of one that is not float64 they may also be float32, bfloat16 or float16. State
has the shape of its parameter, or one number per row if the last table says so, and is float32, of float64
parameters float64. "By group" means that a group `{"params": ..., ...}` may set it. `functional` is
`fusedstep.functional.<rule>`: one array, no optimizer. "No" is a TypeError.
"""
ROWS = """
`step_rows` is lazy: rows that are not named stay unchanged, with their state and their average.
`ema_bias_correction` corrects by the parameter's counter, so averages of rows that were not named in every
step read too small; without it, averages start at the initial rows. The second table has the rules
that do not support `step_rows`.
"""
STORED = """
## How arrays are stored

These options ([low-precision.md](low-precision.md)) go with all of the above but `functional`. They are fixed at
construction, and by group, but for `seed`. A parameter that they are not for is a TypeError. `step_rows` of an array
with 8-bit state takes rows of a multiple of 128 elements; others are a ValueError.
"""
RULES = """
## Rules

Weight decay: "coupled" is added to the gradient before the rule sees it, "decoupled" changes the parameter
directly and does not enter the state, "in its formula" is as the docstring's formula shows. State exists
always, or with the option named beside it; options are given with their defaults. Every rule also has
`maximize` and the options above. If `lr` is "fixed", the state is initialised from it: setting another
is a ValueError, and a schedule is read once, at step 0. `state_dtype` has what the rule takes; another is a
ValueError, also where the options leave no state that may lose bits.
"""


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _number(value):
    return re.sub(r"e([+-])0", r"e\1", repr(value))


def _needs(state):
    if frozenset() in state.needs:
        return f"`{state.name}`"
    sets = [" and ".join(f"`{option}`" for option in sorted(one)) for one in state.needs]
    return f"`{state.name}` with {' or '.join(sets)}"


def _feature_row(name, feature):
    label = re.sub(r"\w*_\w*|\blr\b|\bfreeze\b|\bbind\b|\bmaximize\b|\bstate\b", r"`\g<0>`", name)
    # What is no argument of anything cannot be refused.
    no = "–" if feature.kind == "use" else "no"
    faces = ["yes" if face in feature.faces else no for face in ONE_EACH]
    group = "yes" if feature.by_group else "no" if feature.kind == "option" else "–"
    dtypes = "both" if feature.dtypes == Feature("", ()).dtypes else ", ".join(feature.dtypes)
    return [label, feature.says, dtypes, *faces, group]


def _rule_row(rule, cls):
    options = cls.options
    own = [f"`{name}={_number(default)}`" for name, default in own_options(cls).items()]
    return [
        f"`{rule}`",
        f"`{cls.__name__}`",
        (", ".join(map(_needs, states(cls))) or "–") + ", one number per row" * cls.info.rowwise,
        f"`{_number(options['lr'].default)}`{', fixed' if starts_from_lr(cls) else ''}",
        ", ".join(own) or "–",
        f"{decay(cls)}; `{_number(options['weight_decay'].default)}`",
        "yes" if takes_rows(cls) else "no: ValueError",
        ", ".join(dtype for dtype in state_dtypes(cls) if dtype != "float32") or "–",
    ]


def generate():
    """The text of docs/support.md."""
    calls = ["`step`", "`step_mean`, `step_sum`", "`step_rows`", "`functional`", "by group"]
    features = [_feature_row(*item) for item in FEATURES.items()]
    head = ["rule", "class", "state", "`lr`", "own options", "`weight_decay`", "`step_rows`"]
    head.append("`state_dtype`")
    rules = [_rule_row(rule, registry[rule]) for rule in sorted(registry)]
    methods = [
        f"\n`{cls.__name__}` has additional methods: {', '.join(f'`{m}()`' for m in own)}.\n"
        for cls in registry.values()
        if (own := own_methods(cls))
    ]
    return "".join(
        [
            HEAD,
            _table(["", "", "dtype", *calls], features),
            ROWS,
            STORED,
            _table(["", "", "parameters"], [[f"`{n}`", *row] for n, row in STORAGE.items()]),
            RULES,
            _table(head, rules),
            *methods,
        ]
    )


if __name__ == "__main__":
    COMMITTED.write_text(generate())
