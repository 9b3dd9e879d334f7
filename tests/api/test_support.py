"""Every cell of docs/support.md, tried."""

import difflib
import inspect

import numpy as np
import pytest

import fusedstep as fs
import support
from cases import DTYPES, RULES, option_sets, same_bits, state_shape
from fusedstep._definition import registry
from fusedstep._formats import STORAGE_OPTIONS
from fusedstep._pipeline import Pipeline
from optimizers import refused, richest, states_of
from support import FACES, FEATURES, STORAGE
from support_proofs import PROOFS
from ways_to_step import SHAPE, Functional, act, gradients, make, parts, run, same, start

# A legal value of what may be refused.
EXAMPLES = {
    "lr": 0.125,
    "lr, a schedule": fs.schedules.Exponential(0.125, 0.5),
    "weight_decay": 0.25,
    "maximize": True,
    "max_grad_norm": 0.5,
    "max_grad_value": 0.5,
    "clip_per_group": True,
    "skip_nonfinite": True,
    "error_if_nonfinite": True,
    "ema_decay": 0.75,
    "ema_bias_correction": True,
    "working_copy": {},
    "state": {"w": {}},
    "decay_mask": ["w"],
    "grad_scale": 3.0,
    "zero_grads": True,
    "allow_empty": True,
    "advance": True,
}


@pytest.mark.skipif(not support.COMMITTED.exists(), reason="the documents are not here")
def test_the_table_is_current():
    committed = support.COMMITTED.read_text().splitlines()
    difference = "\n".join(
        difflib.unified_diff(committed, support.generate().splitlines(), lineterm="")
    )
    assert not difference, (
        f"run `python tests/helpers/support.py` and commit the result:\n{difference}"
    )


def test_the_first_table_has_all_that_can_be_asked_for():
    asked = {*support.COMMON, *Pipeline.__annotations__} - {*STORAGE}
    for call in ("step", "step_mean", "step_sum", "step_rows"):
        parameters = inspect.signature(getattr(fs.Optimizer, call)).parameters.values()
        asked |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    named = {name for name, feature in FEATURES.items() if feature.kind != "use"}
    assert named == asked | {"lr, a schedule"} == set(EXAMPLES)
    assert set(FEATURES) == set(PROOFS)
    assert {*STORAGE} == {*STORAGE_OPTIONS, "seed"}


# The first table ---------------------------------------------------------------------------------


def refuse(name, rule, face, dtype):
    """What a cell that says no stands for: a TypeError, and nothing has moved."""
    feature, option = FEATURES[name], name.partition(",")[0]
    value, grad = {option: EXAMPLES[name]}, start(dtype, 1)
    if face == "functional":
        one = Functional(rule, dtype)
        before = [part.copy() for part in (one.params["w"], *one.states.values())]
        with pytest.raises(TypeError):
            one.step(grad, **value)
        assert same(before, [one.params["w"], *one.states.values()])
    elif feature.kind == "argument":
        opt = make(rule, dtype)
        with refused(opt, TypeError, option, untouched=[grad]):
            act(opt, face, grad, **value)
    else:
        pytest.fail(f"{name}: what a constructor takes, every method takes")


def is_taken(option, rule, face):
    """Whether a signature has it."""
    if face == "functional":
        return option in inspect.signature(getattr(fs.functional, rule)).parameters
    owner = getattr(fs.Optimizer, face)
    return option in {
        *registry[rule].options,
        *Pipeline.__annotations__,
        *inspect.signature(owner).parameters,
    }


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", FEATURES)
def test_every_way_to_step(name, rule):
    feature = FEATURES[name]
    for face in FACES:
        if face == "step_rows" and not support.takes_rows(registry[rule]):
            continue  # refused whole: below
        for dtype in DTYPES:
            if face not in feature.faces:
                if feature.kind != "use":
                    refuse(name, rule, face, dtype)
            elif dtype in feature.dtypes:
                assert feature.kind == "use" or is_taken(name.partition(",")[0], rule, face)
                PROOFS[name](rule, face, dtype)
            else:
                example = {name: {"w": np.zeros(SHAPE, np.uint16)}}
                with pytest.raises(TypeError, match=f"'w': expected a {feature.dtypes[0]}"):
                    make(rule, dtype, **example)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", [n for n, f in FEATURES.items() if f.kind == "option"])
def test_by_group(name, rule):
    option, value = name.partition(",")[0], EXAMPLES[name]
    groups = [{"params": {"v": start("float64")}}, {"params": {"w": start("float64")}}]
    groups[1][option] = value
    if not FEATURES[name].by_group:
        with pytest.raises(TypeError, match=option):
            fs.create(rule, groups, **richest(rule))
        return
    opt, grad = fs.create(rule, groups, **richest(rule)), start("float64", 1)
    kept = option in opt.groups[1]  # but for the mask, of which nothing is kept
    assert not kept or opt.groups[1][option] == value
    opt.step({"w": grad})
    alone = make(rule, "float64", **{option: value})
    alone.step({"w": grad})
    assert same(parts(opt), parts(alone))
    # The first group has what it had without.
    plain = make(rule, "float64")
    assert not kept or opt.groups[0][option] == plain.groups[0][option]
    opt.step({"v": grad})
    if option != "lr" or not callable(value):
        plain.step({"w": grad})
        assert same(parts(opt, "v"), parts(plain))


def test_a_corrected_average_of_rows_named_rarely_is_too_small():
    w = np.ones((2, 3))
    opt = fs.SGD({"w": w}, lr=0.0, ema_decay=0.5, ema_bias_correction=True)
    for rows in ([0, 1], [0]):
        opt.step_rows("w", np.array(rows), np.ones((len(rows), 3)))
    assert np.all(opt.ema["w"][0] == 1.0)
    assert np.all(opt.ema["w"][1] < 0.7)


# The second table --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_dtypes(rule):
    for dtype in ("uint16", "longdouble", "int32", "int64", "bool", "complex64", "object"):
        expected = "'w': expected dtype float32, float64, bfloat16 or float16"
        with pytest.raises(TypeError, match=expected):
            fs.create(rule, {"w": np.zeros(SHAPE, dtype)})
    both = {dtype: start(dtype) for dtype in DTYPES}
    opt = fs.create(rule, both, **richest(rule))
    opt.step({dtype: start(dtype, 1) for dtype in DTYPES})
    for dtype in DTYPES:
        assert same(parts(opt, dtype), run(rule, "step", [start(dtype, 1)], dtype))
        param, *states = parts(opt, dtype)
        assert (param.dtype, param.shape) == (dtype, SHAPE)
        own = state_shape(rule, SHAPE)
        assert all((state.dtype, state.shape) == (dtype, own) for state in states)


@pytest.mark.parametrize("rule", RULES)
def test_state_dtypes(rule):
    taken = support.state_dtypes(registry[rule])
    for dtype in STORAGE_OPTIONS["state_dtype"].kind.values:
        param = {"w": np.zeros((64, 128), np.float32)}
        if dtype in taken:
            opt = fs.create(rule, param, **{**richest(rule), "state_dtype": dtype})
            widths = {a.itemsize for n, a in opt.state["w"].items() if n != "step"}
            assert {"float32": 4, "bfloat16": 2, "8bit": 1}[dtype] in widths | {4}
        else:
            with pytest.raises(ValueError, match=r"^state_dtype: expected 'float32'"):
                fs.create(rule, param, **{**richest(rule), "state_dtype": dtype})
        if dtype != "float32":
            state = [np.zeros(state_shape(rule, SHAPE)) for _ in states_of(rule, {})]
            function = getattr(fs.functional, rule)
            with pytest.raises(TypeError, match=r"^state_dtype: expected 'float32' in a function"):
                function(np.zeros(SHAPE), np.zeros(SHAPE), *state, step=1, state_dtype=dtype)


@pytest.mark.parametrize("rule", RULES)
def test_states(rule):
    for options in option_sets(rule):
        there = [s.name for s in support.states(registry[rule]) if s.is_there(options)]
        assert states_of(rule, options) == there


def another(option):
    """Legal values that are not the default."""
    default = option.default
    numbers = np.ravel(default).tolist()
    tuples = [tuple(x / 2 for x in numbers), tuple((x + 1) / 2 for x in numbers)]
    for value in (True, False, 0.5, 2.0, *tuples):
        try:
            if option.check(value) != default:
                yield option.check(value)
        except (TypeError, ValueError):
            continue


@pytest.mark.parametrize("rule", RULES)
def test_own_options(rule):
    """Each can be given, and does something beside the right others."""
    cls, grads = registry[rule], gradients("float64", steps=8)
    for name, default in support.own_options(cls).items():
        assert cls.options[name].default == default == fs.create(rule, np.zeros(1)).groups[0][name]
        values = list(another(cls.options[name]))
        assert values, name

        def matters(value, options, name=name):
            other = {**options, name: value}
            try:
                results = [run(rule, "step", grads, "float64", **o) for o in (options, other)]
            except ValueError:  # these do not go together
                return False
            # Parameter and state; some only change which state there is, so as many as both have.
            return not all(map(same_bits, *results))

        assert any(matters(v, o) for v in values for o in option_sets(rule)), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_rows(rule, dtype):
    opt, indices = make(rule, dtype, ema_decay=0.75), np.array([7, 2, 7])
    rows, before = start(dtype, 1)[:3].copy(), [part.copy() for part in parts(make(rule, dtype))]
    if not support.takes_rows(registry[rule]):
        with refused(opt, ValueError, "expected an element-wise rule", rule, untouched=[rows]):
            opt.step_rows("w", indices, rows)
        assert opt.step({"w": start(dtype, 1)}).applied
        return
    assert opt.step_rows("w", indices, rows).applied
    for part, old in zip([*parts(opt), opt.ema["w"]], [*before, before[0]], strict=True):
        moved = np.flatnonzero(np.any((part != old).reshape(len(part), -1), axis=1))
        assert set(moved) <= {2, 7}
    assert np.all(np.any(opt.params["w"] != before[0], axis=1)[[2, 7]])
    assert (opt.state["w"]["step"], opt.step_count) == (1, 0)


@pytest.mark.parametrize("rule", [r for r in RULES if support.own_methods(registry[r])])
def test_own_methods(rule):
    opt = make(rule, "float64")
    for name in support.own_methods(registry[rule]):
        assert getattr(opt, name)() is None
