"""The whole end of a training step: unscale, check, clip by norm, AdamW, average the weights, zero.

The gradients are those of a scaled loss, and a step overwrites them: they are restored before each
step, untimed. The gate compares parameters, averages and gradients.
"""

import importlib
import math
from collections.abc import Callable
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import (
    BETA1,
    BETA2,
    EPS,
    LR,
    OURS,
    Arrays,
    Contestant,
    adam_direction,
    torch_parameters,
)

from ..harness.gate import Maker
from .names import IN_PLACE, ROOFLINE
from .opponents import roofline

SCALE, MAX_NORM, WEIGHT_DECAY, EMA_DECAY = 1024.0, 1.0, 0.01, 0.999


class Whole(NamedTuple):
    step: Callable[[], Any]
    averages: Callable[[], Arrays]


_latest: list[tuple[Arrays, Arrays]] = []


def _used_up(grads: Arrays) -> Arrays:
    """Memory for gradients; contestants that share `grads` share it."""
    if not _latest or _latest[0][0] is not grads:
        _latest[:] = [(grads, [np.empty_like(g) for g in grads])]
    return _latest[0][1]


def whole(build: Callable[[Arrays, Arrays], Whole]) -> Callable[[Arrays, Arrays], Contestant]:
    def make(params: Arrays, grads: Arrays) -> Contestant:
        own = _used_up(grads)
        # Every other gradient is small enough not to be clipped: a factor that is the same at all
        # steps would not change Adam's result, and a wrong one would pass the gate.
        factors = cycle((SCALE, 1.0))

        def refresh() -> None:
            factor = next(factors)
            for into, given in zip(own, grads, strict=True):
                np.multiply(given, factor, out=into)

        step, averages = build(params, own)
        return Contestant(step, lambda: [*params, *averages(), *own], refresh)

    return make


@whole
def textbook(params: Arrays, grads: Arrays) -> Whole:
    """For the gate, in float64."""
    averages = [p.copy() for p in params]
    state = [[np.zeros_like(p), np.zeros_like(p)] for p in params]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        unscaled = [g / SCALE for g in grads]
        norm = math.sqrt(sum(np.sum(g * g) for g in unscaled))
        clip = min(1.0, MAX_NORM / (norm + 1e-6))
        for p, g, s, average in zip(params, unscaled, state, averages, strict=True):
            g = clip * g
            s[0] = BETA1 * s[0] + (1 - BETA1) * g
            s[1] = BETA2 * s[1] + (1 - BETA2) * g * g
            m_hat, v_hat = s[0] / (1 - BETA1**t), s[1] / (1 - BETA2**t)
            p *= 1 - LR * WEIGHT_DECAY
            p -= LR * m_hat / (np.sqrt(v_hat) + EPS)
            average += (1 - EMA_DECAY) * (p - average)
        for g in grads:
            g.fill(0)

    return Whole(step, lambda: averages)


@whole
def _fusedstep(params: Arrays, grads: Arrays) -> Whole:
    opt = fs.AdamW(
        params,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_NORM,
        skip_nonfinite=True,
        ema_decay=EMA_DECAY,
    )
    opt.bind(grads)
    return Whole(
        lambda: opt.step(grad_scale=SCALE, zero_grads=True), lambda: list(opt.ema.values())
    )


def _torch_parts(params: Arrays, grads: Arrays) -> tuple[Any, Any, list[Any]]:
    """Its module, the optimizer, and averages that start at the parameters."""
    torch = importlib.import_module("torch")
    options = {"lr": LR, "betas": (BETA1, BETA2), "eps": EPS, "weight_decay": WEIGHT_DECAY}
    opt = torch.optim.AdamW(torch_parameters(params, grads), fused=True, **options)
    return torch, opt, [torch.from_numpy(p.copy()) for p in params]


@whole
def _torch_documented(params: Arrays, grads: Arrays) -> Whole:
    """As torch's pages on mixed precision, clipping and weight averaging show it."""
    torch, opt, averages = _torch_parts(params, grads)
    (group,) = opt.param_groups
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(EMA_DECAY)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=1 << 30)
    scaler.scale(torch.ones(()))  # of a loss: from here on it has its scale

    def step() -> None:
        scaler.unscale_(opt)
        torch.nn.utils.clip_grad_norm_(group["params"], MAX_NORM, foreach=True)
        scaler.step(opt)
        scaler.update()
        average(averages, group["params"], None)
        opt.zero_grad(set_to_none=False)

    return Whole(step, lambda: [a.numpy() for a in averages])


def _torch_merged(in_kernel: bool) -> Maker:
    """Unscaling and clipping are one factor, after one read for the norm.

    Its fused kernel takes the factor, as GradScaler makes it do, and writes the gradients too.
    """

    @whole
    def make(params: Arrays, grads: Arrays) -> Whole:
        torch, opt, averages = _torch_parts(params, grads)
        (group,) = opt.param_groups
        gradients = [p.grad for p in group["params"]]

        @torch.no_grad()
        def step() -> None:
            norm = torch.nn.utils.get_total_norm(gradients, foreach=True).item() / SCALE
            if not math.isfinite(norm):
                return
            factor = min(1.0, MAX_NORM / (norm + 1e-6)) / SCALE
            if in_kernel:
                opt.grad_scale = torch.tensor(1 / factor)
            else:
                torch._foreach_mul_(gradients, factor)
            opt.step()
            torch._foreach_lerp_(averages, group["params"], 1 - EMA_DECAY)
            torch._foreach_zero_(gradients)

        return Whole(step, lambda: [a.numpy() for a in averages])

    return Maker(make)


@whole
def _numpy_in_place(params: Arrays, grads: Arrays) -> Whole:
    """No allocation, in blocks that stay in cache."""
    block = 16_384
    averages = [p.copy() for p in params]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    pieces = [
        [a[i : i + block] for a in (p, g, *own, average)]
        for p, g, own, average in zip(params, grads, moments, averages, strict=True)
        for i in range(0, p.size, block)
    ]
    work = np.empty(block, params[0].dtype)
    t = 0

    def step() -> None:
        nonlocal t
        norm = math.sqrt(sum(float(np.dot(g, g)) for _, g, *_ in pieces)) / SCALE
        if not math.isfinite(norm):
            return
        t += 1
        factor = min(1.0, MAX_NORM / (norm + 1e-6)) / SCALE
        root2 = (1 - BETA2**t) ** 0.5
        size, eps = LR * root2 / (1 - BETA1**t), EPS * root2
        for p, g, m, v, average in pieces:
            w = work[: p.size]
            np.multiply(g, factor, out=g)
            adam_direction(g, m, v, size, eps, w)
            np.multiply(p, 1 - LR * WEIGHT_DECAY, out=p)
            np.subtract(p, w, out=p)
            np.subtract(p, average, out=w)
            np.multiply(w, 1 - EMA_DECAY, out=w)
            np.add(average, w, out=average)
            g.fill(0)

    return Whole(step, lambda: averages)


@whole
def _roofline(params: Arrays, grads: Arrays) -> Whole:
    """44 bytes per parameter in one sweep: five arrays read and written, one read.

    A step reads and writes parameter, two moments, average and (zeroing) gradient, and has read the
    gradient before for the norm. Here a third state stands for the gradient that is written, so that
    the limit contains neither the sweep for the norm nor the zeroing.
    """
    return Whole(roofline(3, average=True).make(params, grads).step, list)


WHOLE = {
    OURS: Maker(_fusedstep),
    "torch, as documented": Maker(_torch_documented),
    "torch, one multiplication": _torch_merged(in_kernel=False),
    "torch, merged": _torch_merged(in_kernel=True),
    IN_PLACE: Maker(_numpy_in_place),
    ROOFLINE: Maker(_roofline, gated=False),
}
