"""What each row of the first table of docs/support.md says, proved for a rule, a way to step and a dtype."""

import math

import numpy as np

import fusedstep as fs
import support
from cases import option_sets, same_bits
from fusedstep._definition import registry
from optimizers import everything, refused, richest, same_everywhere
from reductions import clip_factor, grad_norm
from ways_to_step import SHAPE, STEPS, act, gradients, make, parts, run, same, start
from whole_step import bfloat16_bits

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
    stays = {"advance": False} if face == "step_rows" else {}
    opt, control = make(rule, dtype, lr=rate), make(rule, dtype, lr=0.125)
    if support.starts_from_lr(registry[rule]):
        with refused(opt, ValueError, "lr: expected"):
            opt.lr = 0.5
        grads = gradients(dtype)
        fixed, scheduled = (
            run(rule, face, grads, dtype, each=lambda: stays, lr=lr) for lr in (0.125, rate)
        )
        assert same(fixed, scheduled)
        return
    for k, grad in enumerate(gradients(dtype)):
        expected = rate(0 if face == "step_rows" else k)
        assert opt.lr == expected
        control.lr = expected
        act(opt, face, grad, **stays)
        act(control, face, grad)
    assert same_everywhere(opt, control)


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


@proves("state")
def state(rule, face, dtype):
    own = {n: a.copy() for n, a in make(rule, dtype).state["w"].items() if n != "step"}
    opt, grads = make(rule, dtype, state={"w": own}), gradients(dtype)
    for grad in grads:
        act(opt, face, grad)
    assert all(opt.state["w"][name] is own[name] for name in own)
    assert same(parts(opt), run(rule, face, grads, dtype))


@proves("decay_mask")
def decay_mask(rule, face, dtype):
    both, grads = {"v": start(dtype), "w": start(dtype)}, gradients(dtype)
    options = {**richest(rule), "weight_decay": 0.25, "decay_mask": ["w"]}
    opt = fs.create(rule, both, **options)
    for grad in grads:
        for name in both:
            act(opt, face, grad, name)
    assert same(parts(opt, "w"), run(rule, face, grads, dtype, weight_decay=0.25))
    assert same(parts(opt, "v"), run(rule, face, grads, dtype, weight_decay=0.0))


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


@proves("allow_empty")
def allow_empty(rule, face, dtype):
    opt = make(rule, dtype)
    before = [part.copy() for part in parts(opt)]
    none = {"step": {}}.get(face, [{}])
    with refused(opt, ValueError, "gradients: expected at least one, got none"):
        getattr(opt, face)(none)
    getattr(opt, face)(none, allow_empty=True)
    assert same(parts(opt), before)
    assert opt.step_count == 1


@proves("advance")
def advance(rule, face, dtype):
    opt, control = make(rule, dtype), make(rule, dtype)
    for k, grad in enumerate(gradients(dtype), 1):
        act(opt, face, grad, advance=True)
        act(control, face, grad)
        assert (opt.step_count, control.step_count) == (k, 0)
    assert same(parts(opt), parts(control))


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


@proves("one_step")
def one_step(rule, face, dtype):
    opt, grads = pair(rule, dtype), gradients(dtype)
    for grad in grads:
        with opt.one_step():
            assert not act(opt, face, grad)
            other = "step_rows" if face == "step" else "step"
            if other == "step" or support.takes_rows(registry[rule]):
                act(opt, other, grad, name="v")
    assert same(parts(opt), run(rule, face, grads, dtype))
    assert opt.step_count == STEPS


@proves("some of the parameters")
def some(rule, face, dtype):
    opt, grads = pair(rule, dtype), gradients(dtype)
    before = [part.copy() for part in parts(opt, "v")]
    for grad in grads:
        act(opt, face, grad)
    assert same(parts(opt), run(rule, face, grads, dtype))
    assert same(parts(opt, "v"), before)
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
