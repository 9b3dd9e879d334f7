"""Every cell of docs/support.md, tried."""

import difflib
import inspect
import math

import numpy as np
import pytest

import fusedstep as fs
import support
from cases import DTYPES, RULES, option_sets, same_bits, state_shape
from fusedstep._pipeline import Pipeline
from fusedstep.optimizer import registry
from helpers_memory import everything, refused, richest, same_everywhere, states_of
from reference import bfloat16_bits, clip_factor, grad_norm
from support import FACES, FEATURES

SHAPE = (40, 25)
STEPS = 3
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
    "grad_scale": 3.0,
    "zero_grads": True,
}


@pytest.mark.skipif(not support.COMMITTED.exists(), reason="the documents are not here")
def test_the_table_is_current():
    committed = support.COMMITTED.read_text().splitlines()
    difference = "\n".join(
        difflib.unified_diff(committed, support.generate().splitlines(), lineterm="")
    )
    assert not difference, f"run `python tests/support.py` and commit the result:\n{difference}"


def test_the_first_table_has_all_that_can_be_asked_for():
    asked = {*support.COMMON, *Pipeline.__annotations__}
    for call in ("step", "step_mean", "step_sum", "step_rows"):
        parameters = inspect.signature(getattr(fs.Optimizer, call)).parameters.values()
        asked |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    named = {name for name, feature in FEATURES.items() if feature.kind != "use"}
    assert named == asked | {"lr, a schedule"} == set(EXAMPLES)
    assert set(FEATURES) == set(PROOFS)


# Steps by any of the ways ------------------------------------------------------------------------


def start(dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(dtype)


def gradients(dtype, steps=STEPS):
    return [start(dtype, seed) for seed in range(1, steps + 1)]


def make(rule, dtype, **options):
    """An optimizer over one array, with all the state that the rule can have."""
    return fs.create(rule, {"w": start(dtype)}, **{**richest(rule), **options})


def act(opt, face, grad, name="w", **call):
    """One step over one parameter, by one of the ways; the same numbers by each."""
    if face == "step_rows":
        return opt.step_rows(name, np.arange(len(grad)), grad, **call)
    if face == "step":
        return opt.step({name: grad}, **call)
    weights = [1.0, 1.0] if face == "step_mean" else [1.0, 0.0]
    sets = [{name: grad}, {name: grad.copy()}]
    if call.get("zero_grads"):
        result = getattr(opt, face)(sets, weights, **call)
        assert not np.any(sets[1][name])
        return result
    return getattr(opt, face)(sets, weights, **call)


class Functional:
    """The function of a rule behind the face of an optimizer over one array."""

    def __init__(self, rule, dtype, **options):
        self.options = {**richest(rule), **options}
        fresh = make(rule, dtype, **options)  # for where its state starts
        self.function, self.t = getattr(fs.functional, rule), 0
        self.params = {"w": start(dtype)}
        self.states = {k: v.copy() for k, v in fresh.state["w"].items() if k != "step"}

    def step(self, grad, **options):
        self.t += 1
        self.function(
            self.params["w"],
            grad,
            *self.states.values(),
            step=self.t,
            **{**self.options, **options},
        )


def run(rule, face, grads, dtype, each=dict, **options):
    """Parameter and state after these steps; `each` gives what a call takes beside."""
    if face == "functional":
        one = Functional(rule, dtype, **options)
        for grad in grads:
            one.step(grad, **each())
        return [one.params["w"], *one.states.values()]
    opt = make(rule, dtype, **options)
    for grad in grads:
        assert act(opt, face, grad, **each()).applied
    return parts(opt)


def parts(opt, name="w"):
    """Parameter and state, without the average."""
    own = {k: v for k, v in opt.state[name].items() if k not in ("step", "ema")}
    return [opt.params[name], *own.values()]


def same(some, others):
    return all(same_bits(a, b) for a, b in zip(some, others, strict=True))


PROOFS = {}


def proves(name):
    return lambda proof: PROOFS.setdefault(name, proof)


# Options: steps with it are steps without it on gradients that were prepared by hand -------------


@proves("lr")
def lr(rule, face, dtype):
    grads = gradients(dtype)
    fast, slow = (run(rule, face, grads, dtype, lr=rate) for rate in (0.125, 0.0625))
    assert not same_bits(fast[0], slow[0])


@proves("lr, a schedule")
def schedule(rule, face, dtype):
    rate = fs.schedules.Exponential(0.125, 0.5)
    opt, twin = make(rule, dtype, lr=rate), make(rule, dtype, lr=0.125)
    if support.starts_from_lr(registry[rule]):
        with refused(opt, ValueError, "lr: expected"):
            opt.lr = 0.5
        grads = gradients(dtype)
        fixed, scheduled = (run(rule, face, grads, dtype, lr=lr) for lr in (0.125, rate))
        assert same(fixed, scheduled)
        return
    for k, grad in enumerate(gradients(dtype)):
        expected = rate(0 if face == "step_rows" else k)
        assert opt.lr == expected
        twin.lr = expected
        act(opt, face, grad)
        act(twin, face, grad)
    assert same_everywhere(opt, twin)


@proves("weight_decay")
def weight_decay(rule, face, dtype):
    text, cls = support.decay(registry[rule]), registry[rule]
    grad, rate = start(dtype, 1), np.dtype(dtype).type(0.25)
    for options in option_sets(rule):
        values = {**options, "weight_decay": 0.0}
        plain = run(rule, face, [grad], dtype, **values)
        decayed = run(rule, face, [grad], dtype, **{**values, "weight_decay": 0.25})
        assert not same_bits(plain[0], decayed[0])
        other = [
            name
            for name in cls.options
            if f"coupled with `{name}`" in text and values[name] != cls.options[name].default
        ]
        kind = text.split("; ")[len(other)].removesuffix(f" with `{other[0]}`" if other else "")
        assert kind in ("coupled", "decoupled", support.IN_FORMULA)
        assert (kind == "coupled") == support.is_coupled(cls, values)
        if kind == "coupled":
            sign = -1 if values["maximize"] else 1  # negated first
            by_hand = sign * (sign * grad + rate * start(dtype))
            assert same(run(rule, face, [by_hand], dtype, **values), decayed)
        elif kind == "decoupled":
            first = make(rule, dtype, **values).state["w"].values()
            of_weights = [np.array_equal(state, start(dtype)) for state in first][1:]
            for held, a, b in zip(of_weights, plain[1:], decayed[1:], strict=True):
                assert held or same_bits(a, b)


@proves("maximize")
def maximize(rule, face, dtype):
    grads = gradients(dtype)
    negated = run(rule, face, [-g for g in grads], dtype, maximize=False)
    assert same(run(rule, face, grads, dtype, maximize=True), negated)


@proves("max_grad_norm")
def max_grad_norm(rule, face, dtype):
    grad, f = start(dtype, 1), np.dtype(dtype).type
    norm = grad_norm([*grad] if face == "step_rows" else [grad])
    clipped = run(rule, face, [grad], dtype, max_grad_norm=0.5)
    assert same(clipped, run(rule, face, [grad * f(clip_factor(0.5, norm))], dtype))
    if face != "functional":
        assert act(make(rule, dtype, max_grad_norm=math.inf), face, grad).grad_norm == norm


@proves("max_grad_value")
def max_grad_value(rule, face, dtype):
    grads = gradients(dtype)
    clipped = run(rule, face, grads, dtype, max_grad_value=0.5)
    assert same(clipped, run(rule, face, [np.clip(g, -0.5, 0.5) for g in grads], dtype))


@proves("clip_per_group")
def clip_per_group(rule, face, dtype):
    grad, f = start(dtype, 1), np.dtype(dtype).type
    norm = grad_norm([*grad] if face == "step_rows" else [grad])
    opt = fs.create(
        rule,
        [{"params": {"w": start(dtype)}}, {"params": {"v": start(dtype)}}],
        **{**richest(rule), "max_grad_norm": 0.5, "clip_per_group": True},
    )
    if face == "step_rows":
        act(opt, face, grad)
    else:
        both = {"w": grad, "v": grad * 4}
        opt.step(both) if face == "step" else opt.step_mean([both])
    assert same(parts(opt), run(rule, face, [grad * f(clip_factor(0.5, norm))], dtype))


def spoilt(dtype, bad):
    grad = start(dtype, 9)
    grad[7, 3] = bad
    return grad


@proves("skip_nonfinite")
def skip_nonfinite(rule, face, dtype):
    opt = make(rule, dtype, skip_nonfinite=True)
    for bad in (math.nan, math.inf):
        before = everything(opt)
        assert not act(opt, face, spoilt(dtype, bad)).applied
        assert everything(opt) == before
        assert act(opt, face, start(dtype, 1)).applied


@proves("error_if_nonfinite")
def error_if_nonfinite(rule, face, dtype):
    opt = make(rule, dtype, error_if_nonfinite=True)
    for bad in (math.nan, -math.inf):
        with refused(opt, FloatingPointError, "'w'"):
            act(opt, face, spoilt(dtype, bad))
        assert act(opt, face, start(dtype, 1)).applied


@proves("ema_decay")
def ema_decay(rule, face, dtype):
    opt, f, grads = make(rule, dtype, ema_decay=0.75), np.dtype(dtype).type, gradients(dtype)
    average = start(dtype)
    for grad in grads:
        act(opt, face, grad)
        average = f(0.75) * average + f(0.25) * opt.params["w"]
    assert same_bits(opt.ema["w"], average)
    assert same(parts(opt), run(rule, face, grads, dtype))


@proves("ema_bias_correction")
def ema_bias_correction(rule, face, dtype):
    opt = make(rule, dtype, ema_decay=0.75, ema_bias_correction=True)
    f, average = np.dtype(dtype).type, np.zeros(SHAPE, dtype)
    for t, grad in enumerate(gradients(dtype), 1):
        act(opt, face, grad)
        average = f(0.75) * average + f(0.25) * opt.params["w"]
        assert same_bits(opt.ema["w"], average / f(1.0 - 0.75**t))


@proves("working_copy")
def working_copy(rule, face, dtype):
    copy, grads = np.zeros(SHAPE, np.uint16), gradients(dtype)
    opt = make(rule, dtype, working_copy={"w": copy})
    for grad in grads:
        act(opt, face, grad)
        assert np.array_equal(copy, bfloat16_bits(opt.params["w"]))
    assert same(parts(opt), run(rule, face, grads, dtype))


# Arguments of the call ---------------------------------------------------------------------------


@proves("grad_scale")
def grad_scale(rule, face, dtype):
    grads, f = gradients(dtype), np.dtype(dtype).type
    for scale in (3.0, 1024.0):
        scaled = run(rule, face, grads, dtype, each=lambda s=scale: {"grad_scale": s})
        assert same(scaled, run(rule, face, [g / f(scale) for g in grads], dtype))


@proves("zero_grads")
def zero_grads(rule, face, dtype):
    grads = gradients(dtype)
    plain = run(rule, face, [g.copy() for g in grads], dtype)
    assert same(run(rule, face, grads, dtype, each=lambda: {"zero_grads": True}), plain)
    assert not any(np.any(g) for g in grads)


# Ways to use it ----------------------------------------------------------------------------------


def pair(rule, dtype, **options):
    """An optimizer over two arrays."""
    return fs.create(
        rule, {"w": start(dtype), "v": start(dtype, 5)}, **{**richest(rule), **options}
    )


@proves("bind")
def bind(rule, face, dtype):
    assert face == "step"
    opt, grads = make(rule, dtype), gradients(dtype)
    bound = np.zeros_like(grads[0])
    opt.bind({"w": bound})
    for grad in grads:
        bound[...] = grad
        opt.step()
    assert same(parts(opt), run(rule, face, grads, dtype))


@proves("some of the parameters")
def some(rule, face, dtype):
    opt, grads = pair(rule, dtype), gradients(dtype)
    resting = [part.copy() for part in parts(opt, "v")]
    for grad in grads:
        act(opt, face, grad)
    assert same(parts(opt), run(rule, face, grads, dtype))
    assert same(parts(opt, "v"), resting)
    assert [opt.state[name]["step"] for name in "wv"] == [STEPS, 0]
    assert opt.step_count == (0 if face == "step_rows" else STEPS)


@proves("freeze")
def freeze(rule, face, dtype):
    opt, grads = make(rule, dtype), gradients(dtype)
    opt.freeze("w")
    before = parts(opt)[0].copy(), opt.state["w"]["step"]
    assert act(opt, face, grads[0]).applied
    assert same_bits(opt.params["w"], before[0])
    assert opt.state["w"]["step"] == before[1]
    opt.unfreeze("w")
    for grad in grads:
        act(opt, face, grad)
    assert same(parts(opt), run(rule, face, grads, dtype))


@proves("add_group")
def add_group(rule, face, dtype):
    opt, grads = fs.create(rule, {"v": start(dtype, 5)}, **richest(rule)), gradients(dtype)
    opt.add_group({"params": {"w": start(dtype)}, "lr": 0.0625})
    for grad in grads:
        act(opt, face, grad)
    assert same(parts(opt), run(rule, face, grads, dtype, lr=0.0625))


@proves("state_dict")
def state_dict(rule, face, dtype):
    straight, first, grads = make(rule, dtype), make(rule, dtype), gradients(dtype)
    for grad in grads:
        act(straight, face, grad)
    act(first, face, grads[0])
    params = {"w": first.params["w"].copy()}
    second = fs.create(rule, params, **richest(rule))
    second.load_state_dict(first.state_dict())
    for grad in grads[1:]:
        act(second, face, grad)
    assert same_everywhere(straight, second)


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
    assert opt.groups[1][option] == value
    opt.step({"w": grad})
    alone = make(rule, "float64", **{option: value})
    alone.step({"w": grad})
    assert same(parts(opt), parts(alone))
    # The first group has what it had without.
    plain = make(rule, "float64")
    assert opt.groups[0][option] == plain.groups[0][option]
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
    for dtype in ("float16", "longdouble", "int32", "int64", "bool", "complex64", "object"):
        with pytest.raises(TypeError, match="'w': expected dtype float32 or float64"):
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
        getattr(opt, name)()
