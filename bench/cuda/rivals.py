"""The contestants on a device: each makes one step over a list of tensors it is given."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import fusedstep as fs
from fusedstep._bench.contestants import BETA1, BETA2, EPS, LR, OURS, Step
from fusedstep._bench.gate import Tolerance

Tensors = list[Any]

PASSED = f"{OURS}, gradients passed"
CLIPPED = f"{OURS}, clip + step"
FUSED, FOREACH, COPY = "torch fused", "torch foreach", "device copy"
TORCH_CLIPPED = "torch clip + fused"
CUPY, EIGHT_BIT = "CuPy elementwise", "bitsandbytes Adam8bit"
WEIGHT_DECAY, MAX_NORM = 0.01, 1.0

# An Adam step reads parameter, gradient and two moments, and writes all but the gradient.
BYTES_PER_PARAMETER = {"float32": 4 * 4 + 3 * 4}
COPY_BUFFER = 1 << 30  # bytes, well beyond any cache


class Rival(NamedTuple):
    """How a contestant is built, and what the gate may expect of it."""

    make: Callable[[Tensors, Tensors], Step]
    # Against the CPU's steps. None: the bits must agree.
    allowed: Tolerance | None = Tolerance()
    needs: str = ""  # a library beside torch


def ours(bound: bool = True, rule: str = "adam", **options: Any) -> Rival:
    def make(params: Tensors, grads: Tensors) -> Step:
        opt = fs.create(rule, params, lr=LR, **options)
        if not bound:
            return lambda: opt.step(grads)
        opt.bind(grads)
        return lambda: opt.step()

    return Rival(make, allowed=None)


def _with_grads(params: Tensors, grads: Tensors) -> Tensors:
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    return params


def torch_adam(name: str = "Adam", clip: float | None = None, **options: Any) -> Rival:
    def make(params: Tensors, grads: Tensors) -> Step:
        torch = importlib.import_module("torch")
        own = _with_grads(params, grads)
        opt = getattr(torch.optim, name)(own, lr=LR, betas=(BETA1, BETA2), eps=EPS, **options)
        if clip is None:
            return lambda: opt.step()

        def both() -> None:
            torch.nn.utils.clip_grad_norm_(own, clip, foreach=True)
            opt.step()

        return both

    return Rival(make)


def _bitsandbytes(params: Tensors, grads: Tensors) -> Step:
    optim = importlib.import_module("bitsandbytes").optim
    opt = optim.Adam8bit(_with_grads(params, grads), lr=LR, betas=(BETA1, BETA2), eps=EPS)
    return lambda: opt.step()


def _cupy(params: Tensors, grads: Tensors) -> Step:
    """One fused kernel per tensor: what is quickly written by hand."""
    cupy = importlib.import_module("cupy")
    kernel = cupy.ElementwiseKernel(
        "T g, T beta1, T rest1, T beta2, T rest2, T size, T eps",
        "T p, T m, T v",
        "m = beta1 * m + rest1 * g; v = beta2 * v + rest2 * g * g; p -= size * m / (sqrt(v) + eps)",
        "adam_of_the_comparison",
    )
    f = cupy.float32
    beta1, rest1, beta2, rest2 = f(BETA1), f(1 - BETA1), f(BETA2), f(1 - BETA2)
    own = [
        (cupy.from_dlpack(g), cupy.from_dlpack(p))
        for p, g in zip(params, grads, strict=True)
        if p.numel()
    ]
    work = [(g, p, cupy.zeros_like(p), cupy.zeros_like(p)) for g, p in own]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        root2 = (1 - BETA2**t) ** 0.5
        size, eps = f(LR * root2 / (1 - BETA1**t)), f(EPS * root2)
        for g, p, m, v in work:
            kernel(g, beta1, rest1, beta2, rest2, size, eps, p, m, v)

    return step


def copy_of(params: Tensors, grads: Tensors) -> Step:
    """A device-to-device copy that moves, read and written, as many bytes as an Adam step."""
    torch = importlib.import_module("torch")
    left = BYTES_PER_PARAMETER["float32"] // 2 * sum(p.numel() for p in params)
    size = min(left, COPY_BUFFER)
    # Written before it is read: unwritten memory may be one shared page.
    source = torch.ones(size, dtype=torch.uint8, device=grads[0].device)
    target = torch.zeros_like(source)
    whole, rest = divmod(left, size)

    def step() -> None:
        for _ in range(whole):
            target.copy_(source)
        if rest:
            target[:rest].copy_(source[:rest])

    return step


ADAM = {
    OURS: ours(),
    PASSED: ours(bound=False),
    COPY: Rival(copy_of),
    FUSED: torch_adam(fused=True),
    FOREACH: torch_adam(foreach=True),
    CUPY: Rival(_cupy, Tolerance(2e-6), needs="cupy"),
    # Different numerics, for information: three steps move a parameter by up to 3 LR.
    EIGHT_BIT: Rival(_bitsandbytes, Tolerance(3 * LR), needs="bitsandbytes"),
}

_DECAY = {"weight_decay": WEIGHT_DECAY}
CLIP = {
    OURS: ours(rule="adamw", **_DECAY),
    CLIPPED: ours(rule="adamw", max_grad_norm=MAX_NORM, **_DECAY),
    FUSED: torch_adam("AdamW", fused=True, **_DECAY),
    TORCH_CLIPPED: torch_adam("AdamW", MAX_NORM, fused=True, **_DECAY),
}


def missing(rival: Rival) -> str:
    """Why a contestant cannot take part; empty if it can."""
    there = not rival.needs or importlib.util.find_spec(rival.needs) is not None
    return "" if there else f"{rival.needs} is not installed"
