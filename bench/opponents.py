"""Adam by others, each in the best form that its own API allows.

Libraries are imported when a contestant is built, so that a missing one stops nobody else.
"""

import importlib
from functools import cache
from typing import Any

import numpy as np
from contestants import BETA1, BETA2, EPS, LR, OURS, PASSED, Arrays, Contestant, Maker, fusedstep


def numpy_textbook(params: Arrays, grads: Arrays) -> Contestant:
    """As lectures write it: every operation allocates."""
    state = [[np.zeros_like(p), np.zeros_like(p)] for p in params]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        for p, g, s in zip(params, grads, state, strict=True):
            s[0] = BETA1 * s[0] + (1 - BETA1) * g
            s[1] = BETA2 * s[1] + (1 - BETA2) * g * g
            m_hat, v_hat = s[0] / (1 - BETA1**t), s[1] / (1 - BETA2**t)
            p -= LR * m_hat / (np.sqrt(v_hat) + EPS)

    return Contestant(step, lambda: params)


def direction_in_place(g: Any, m: Any, v: Any, size: float, eps: float, w: Any) -> None:
    """Adam's moments, and how far it goes in `w`, without an allocation."""
    np.multiply(m, BETA1, out=m)
    np.multiply(g, 1 - BETA1, out=w)
    np.add(m, w, out=m)
    np.multiply(v, BETA2, out=v)
    np.multiply(g, g, out=w)
    np.multiply(w, 1 - BETA2, out=w)
    np.add(v, w, out=v)
    np.sqrt(v, out=w)
    np.add(w, eps, out=w)
    np.divide(m, w, out=w)
    np.multiply(w, size, out=w)


def numpy_in_place(params: Arrays, grads: Arrays) -> Contestant:
    """No allocation, corrections folded into the scalars, one work array that stays in cache."""
    block = 16_384
    pieces = [
        (
            p[i : i + block],
            g[i : i + block],
            np.zeros_like(p[i : i + block]),
            np.zeros_like(p[i : i + block]),
        )
        for p, g in zip(params, grads, strict=True)
        for i in range(0, p.size, block)
    ]
    work = np.empty(block, params[0].dtype)
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        root2 = (1 - BETA2**t) ** 0.5
        size, eps = LR * root2 / (1 - BETA1**t), EPS * root2
        for p, g, m, v in pieces:
            w = work[: p.size]
            direction_in_place(g, m, v, size, eps, w)
            np.subtract(p, w, out=p)

    return Contestant(step, lambda: params)


@cache
def _numba_updates() -> tuple[Any, Any]:
    numba = importlib.import_module("numba")
    f = np.float32
    beta1, rest1, beta2, rest2 = f(BETA1), f(1 - BETA1), f(BETA2), f(1 - BETA2)

    def update(p, g, m, v, size, eps):
        for i in numba.prange(p.size):
            m[i] = beta1 * m[i] + rest1 * g[i]
            v[i] = beta2 * v[i] + rest2 * g[i] * g[i]
            p[i] -= size * m[i] / (np.sqrt(v[i]) + eps)

    # Both options measured faster; without the second, a division may raise and nothing is SIMD.
    options = {"fastmath": True, "error_model": "numpy"}
    return numba.njit(parallel=True, **options)(update), numba.njit(**options)(update)


def numba_parallel(params: Arrays, grads: Arrays) -> Contestant:
    """One fused loop a tensor; small ones without threads, whose start costs more than it gains."""
    parallel, serial = _numba_updates()
    work = [
        (serial if p.size <= 16_384 else parallel, p, np.zeros_like(p), np.zeros_like(p))
        for p in params
    ]
    t, f = 0, np.float32

    def step() -> None:
        nonlocal t
        t += 1
        root2 = (1 - BETA2**t) ** 0.5
        size, eps = f(LR * root2 / (1 - BETA1**t)), f(EPS * root2)
        for (update, p, m, v), g in zip(work, grads, strict=True):
            update(p, g, m, v, size, eps)

    return Contestant(step, lambda: params)


def tensors(params: Arrays, grads: Arrays) -> Any:
    """torch Parameters over the same memory."""
    torch = importlib.import_module("torch")
    own = [torch.nn.Parameter(torch.from_numpy(p)) for p in params]
    for tensor, grad in zip(own, grads, strict=True):
        tensor.grad = torch.from_numpy(grad)
    return own


def torch_step(name: str, compiled: bool = False, **options: Any) -> Maker:
    """An optimizer of torch.optim by its name."""

    def make(params: Arrays, grads: Arrays) -> Contestant:
        torch = importlib.import_module("torch")
        step = getattr(torch.optim, name)(tensors(params, grads), **options).step
        if compiled:
            # All optimizers share one code object, whose recompilations are limited: past the
            # limit it would run uncompiled in silence.
            torch.compiler.reset()
            step = torch.compile(step, dynamic=False)
        return Contestant(step, lambda: params)

    if compiled:
        return Maker(make, most_tensors=10, reason="compiling long lists takes minutes")
    return Maker(make)


def deepspeed(params: Arrays, grads: Arrays) -> Contestant:
    adam = importlib.import_module("deepspeed.ops.adam")
    opt = adam.DeepSpeedCPUAdam(tensors(params, grads), lr=LR, adamw_mode=False)
    return Contestant(opt.step, lambda: params)


def optax_adam(donated: tuple[int, ...]) -> tuple[Any, Any]:
    """The rule, and its update as one compiled function over the whole list."""
    jax, optax = importlib.import_module("jax"), importlib.import_module("optax")
    opt = optax.adam(LR, b1=BETA1, b2=BETA2, eps=EPS)

    def update(p, state, g):
        updates, state = opt.update(g, state, p)
        return optax.apply_updates(p, updates), state

    return opt, jax.jit(update, donate_argnums=donated)


def optax_jit(params: Arrays, grads: Arrays) -> Contestant:
    """Its old buffers donated: JAX's way in place."""
    jax = importlib.import_module("jax")
    opt, compiled = optax_adam(donated=(0, 1))
    own, gradients = [jax.numpy.array(p) for p in params], [jax.numpy.array(g) for g in grads]
    state = opt.init(own)

    def step() -> None:
        nonlocal own, state
        own, state = jax.block_until_ready(compiled(own, state, gradients))

    return Contestant(step, lambda: [np.asarray(p) for p in own])


def thinc(params: Arrays, grads: Arrays) -> Contestant:
    """Uses up its gradients and leaves zeros: they are written anew before each step, untimed."""
    api = importlib.import_module("thinc.api")
    opt = api.Adam(LR, L2=0.0, beta1=BETA1, beta2=BETA2, eps=EPS, grad_clip=0.0, use_averages=False)
    own = [g.copy() for g in grads]

    def step() -> None:
        for i, (p, g) in enumerate(zip(params, own, strict=True)):
            opt((i, "p"), p, g)

    def refresh() -> None:
        for mine, given in zip(own, grads, strict=True):
            np.copyto(mine, given)

    return Contestant(step, lambda: params, refresh)


def torchao_8bit(params: Arrays, grads: Arrays) -> Contestant:
    optim = importlib.import_module("torchao.optim")
    opt = optim.AdamW8bit(tensors(params, grads), lr=LR, weight_decay=0.0)
    return Contestant(opt.step, lambda: params)


def bitsandbytes_8bit(params: Arrays, grads: Arrays) -> Contestant:
    optim = importlib.import_module("bitsandbytes").optim
    return Contestant(optim.Adam8bit(tensors(params, grads), lr=LR).step, lambda: params)


ADAM = {
    OURS: fusedstep(),
    PASSED: fusedstep(bound=False),
    "torch fused": torch_step("Adam", lr=LR, fused=True),
    "torch foreach": torch_step("Adam", lr=LR, foreach=True),
    "torch for-loop": torch_step("Adam", lr=LR, foreach=False)._replace(in_quick=False),
    "torch compiled": torch_step("Adam", compiled=True, lr=LR)._replace(in_quick=False),
    "DeepSpeedCPUAdam": Maker(deepspeed),
    "Numba parallel": Maker(numba_parallel),
    "optax jit": Maker(optax_jit),
    # Its epsilon is the paper's "epsilon hat", which differs where gradients are tiny.
    "thinc": Maker(thinc, worst_error=1e-4, in_quick=False),
    "NumPy in place": Maker(numpy_in_place),
    "NumPy textbook": Maker(numpy_textbook),
}

# Other numerics, for information. Three steps move a parameter by up to 3 LR.
EIGHT_BIT = {
    "torchao AdamW8bit": Maker(torchao_8bit, worst_error=3 * LR, mean_error=0.1 * LR),
    "bitsandbytes Adam8bit": Maker(bitsandbytes_8bit, worst_error=3 * LR, mean_error=0.1 * LR),
}
