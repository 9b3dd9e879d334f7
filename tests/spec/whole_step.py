"""What a whole step does around the rule: unscale, combine, clip, average, copy out."""

import numpy as np

from cases import awkward_numbers
from narrow import NarrowRun, decoded
from reductions import clip_factor, grad_norm
from reference import Run


def combine(grads, weights, divisor):
    """What step_mean and step_sum make of several gradients."""
    grads = [decoded(grad) for grad in grads]
    f = grads[0].dtype.type
    total = f(weights[0]) * grads[0]
    for weight, grad in zip(weights[1:], grads[1:], strict=True):
        total = total + f(weight) * grad
    return total / f(divisor)


def bfloat16_bits(x):
    """float32 rounded to bfloat16, to nearest even; a NaN stays one."""
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def same_bfloat16(a, b):
    """Equal to the last bit; NaNs by position."""
    nan = [(bits & 0x7FFF) > 0x7F80 for bits in (a, b)]
    return np.array_equal(*nan) and np.all((a == b) | nan[0])


SIZES = {"empty": 0, "small": 5, "block": 2048, "more": 2049, "large": 30_011}


def draw(rng, dtype, awkward=False):
    make = awkward_numbers if awkward else lambda r, n, d: r.standard_normal(n).astype(d)
    return {name: make(rng, size, dtype) for name, size in SIZES.items()}


class World:
    """Arrays that the reference follows through whole steps."""

    def __init__(self, rule, options, params, ema_decay=None, narrow=None, **policy):
        """`narrow` are the options of NarrowRun, which follows the arrays where they are given."""
        self.runs = {}
        for number, (name, param) in enumerate(params.items()):
            if narrow is None:
                self.runs[name] = Run(rule, options, param)
            else:
                self.runs[name] = NarrowRun(rule, options, param, number, **narrow)
        self.limit = options.get("max_grad_norm")
        self.decay, self.policy = ema_decay, policy
        self.ema = {name: run.param.copy() for name, run in self.runs.items()}

    def step(self, grads, scale=1.0):
        """The norm, and whether the step was applied."""
        grads = {name: None if grad is None else decoded(grad) for name, grad in grads.items()}
        norm = grad_norm([grads[name] for name in self.runs], scale)
        finite = all(
            np.all(np.isfinite(g / g.dtype.type(scale))) for g in grads.values() if g is not None
        )
        if self.policy.get("skip_nonfinite") and not finite:
            return norm, False
        clip = 1.0 if self.limit is None else clip_factor(self.limit, norm)
        for name, run in self.runs.items():
            if grads[name] is None:
                continue
            run.step(grads[name], scale, clip)
            if self.decay is not None:
                f = run.param.dtype.type
                with np.errstate(all="ignore"):
                    self.ema[name] = (
                        f(self.decay) * self.ema[name] + f(1.0 - self.decay) * run.param
                    )
        return norm, True
