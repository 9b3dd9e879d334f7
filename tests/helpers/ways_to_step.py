"""One optimizer stepped by each of the ways to make a step: the same numbers by each."""

import numpy as np

import fusedstep as fs
from cases import same_bits
from optimizers import richest

SHAPE = (40, 25)
STEPS = 3


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
