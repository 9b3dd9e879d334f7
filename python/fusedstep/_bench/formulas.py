"""Rules as the textbooks write them, in NumPy: every operation allocates its result.

What they have in common with the library is the name of a rule and the values of its options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["FORMULAS"]

Array = Any  # of NumPy; the options are as untyped
State = dict[str, Any]
Options = Mapping[str, Any]

# From parameter, gradient, state, options, and the number of the step to what is subtracted.
Formula = Callable[[Array, Array, State, Options, int], Array]


def _average(s: State, name: str, beta: float, value: Array) -> Array:
    s[name] = average = beta * s.get(name, 0.0) + (1 - beta) * value
    return average


def _length(x: Array) -> float:
    return float(np.sqrt(np.sum(x * x)))


def sgd(_p: Array, g: Array, _s: State, o: Options, _t: int) -> Array:
    return o["lr"] * g


def momentum(_p: Array, g: Array, s: State, o: Options, _t: int) -> Array:
    return o["lr"] * _average(s, "m", o["beta"], g)


def adagrad(_p: Array, g: Array, s: State, o: Options, _t: int) -> Array:
    s["sum"] = s.get("sum", 0.0) + g * g
    return o["lr"] * g / (np.sqrt(s["sum"]) + o["eps"])


def rmsprop(_p: Array, g: Array, s: State, o: Options, _t: int) -> Array:
    return o["lr"] * g / (np.sqrt(_average(s, "v", o["alpha"], g * g)) + o["eps"])


def adadelta(_p: Array, g: Array, s: State, o: Options, _t: int) -> Array:
    v = _average(s, "v", o["rho"], g * g)
    delta = np.sqrt(s.get("d", 0.0) + o["eps"]) / np.sqrt(v + o["eps"]) * g
    _average(s, "d", o["rho"], delta * delta)
    return o["lr"] * delta


def _adam_direction(g: Array, s: State, o: Options, t: int) -> Array:
    beta1, beta2 = o["betas"]
    m_hat = _average(s, "m", beta1, g) / (1 - beta1**t)
    v_hat = _average(s, "v", beta2, g * g) / (1 - beta2**t)
    return m_hat / (np.sqrt(v_hat) + o["eps"])


def adam(_p: Array, g: Array, s: State, o: Options, t: int) -> Array:
    return o["lr"] * _adam_direction(g, s, o, t)


def adamw(p: Array, g: Array, s: State, o: Options, t: int) -> Array:
    return o["lr"] * (_adam_direction(g, s, o, t) + o["weight_decay"] * p)


def adamax(_p: Array, g: Array, s: State, o: Options, t: int) -> Array:
    beta1, beta2 = o["betas"]
    m = _average(s, "m", beta1, g)
    s["u"] = u = np.maximum(beta2 * s.get("u", 0.0), np.abs(g) + o["eps"])
    return o["lr"] / (1 - beta1**t) * m / u


def adabelief(_p: Array, g: Array, s: State, o: Options, t: int) -> Array:
    beta1, beta2 = o["betas"]
    m = _average(s, "m", beta1, g)
    s["v"] = v = _average(s, "v", beta2, (g - m) ** 2) + o["eps"]
    return o["lr"] * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + o["eps"])


def ademamix(_p: Array, g: Array, s: State, o: Options, t: int) -> Array:
    fast, square, slow = o["betas"]
    m_hat = _average(s, "fast", fast, g) / (1 - fast**t)
    v_hat = _average(s, "v", square, g * g) / (1 - square**t)
    mixed = m_hat + o["alpha"] * _average(s, "slow", slow, g)
    return o["lr"] * mixed / (np.sqrt(v_hat) + o["eps"])


def lion(_p: Array, g: Array, s: State, o: Options, _t: int) -> Array:
    beta1, beta2 = o["betas"]
    sign = np.sign(beta1 * s.get("m", 0.0) + (1 - beta1) * g)
    _average(s, "m", beta2, g)
    return o["lr"] * sign


def lamb(p: Array, g: Array, s: State, o: Options, t: int) -> Array:
    d = _adam_direction(g, s, o, t) + o["weight_decay"] * p
    return o["lr"] * _length(p) / _length(d) * d


def lars(p: Array, g: Array, s: State, o: Options, _t: int) -> Array:
    decay, long = o["weight_decay"], _length(p)
    rate = o["lr"] * o["trust_coefficient"] * long / (_length(g) + decay * long)
    s["m"] = o["momentum"] * s.get("m", 0.0) + rate * (g + decay * p)
    return s["m"]


FORMULAS: Mapping[str, Formula] = {
    formula.__name__: formula
    for formula in (
        *(sgd, momentum, adagrad, rmsprop, adadelta, adam, adamw, adamax),
        *(adabelief, ademamix, lion, lamb, lars),
    )
}
