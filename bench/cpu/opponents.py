"""Adam in other libraries, each in the best form that its own API allows.

Libraries are imported when a contestant is built, so that a missing one does not stop the others.
"""

import importlib
from functools import cache
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep._bench import contestants
from fusedstep._bench.contestants import (
    BETA1,
    BETA2,
    EPS,
    LR,
    OURS,
    Arrays,
    Contestant,
    fusedstep,
    numpy_in_place,
    numpy_textbook,
    on_tensors,
    torch_parameters,
    torch_step,
)
from fusedstep._bench.gate import Tolerance

from ..harness.gate import Maker
from .names import DEEPSPEED, DROP_IN, FOREACH, FUSED, IN_PLACE, NUMBA, OPTAX, PASSED, TEXTBOOK


def roofline(states: int, average: bool = False) -> Maker:
    """The limit: as many streams, one addition instead of the rule."""
    return Maker(contestants.roofline(states, average), gated=False)


def states_of(rule: str, **options: Any) -> int:
    """How many state streams a rule has."""
    opt = fs.create(rule, [np.zeros(2, np.float32)], **options)
    (state,) = opt.state.values()
    return sum(np.shape(value) == (2,) for value in state.values())  # others are counters


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

    # Both options measured faster; without the second a division may raise, which prevents SIMD.
    options = {"fastmath": True, "error_model": "numpy"}
    return numba.njit(parallel=True, **options)(update), numba.njit(**options)(update)


def numba_parallel(params: Arrays, grads: Arrays) -> Contestant:
    """One fused loop per tensor, without threads if it is small: starting them would cost more."""
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


def torch_compiled(name: str, **options: Any) -> Maker:
    """An optimizer of torch.optim, its step compiled."""

    def make(params: Arrays, grads: Arrays) -> Contestant:
        torch = importlib.import_module("torch")
        eager = torch_step(name, **options)(params, grads)
        # All optimizers share one code object, whose recompilations are limited: past the limit it
        # would silently run uncompiled.
        torch.compiler.reset()
        return eager._replace(step=torch.compile(eager.step, dynamic=False))

    return Maker(make, most_tensors=10, reason="compiling long lists takes minutes")


def deepspeed(params: Arrays, grads: Arrays) -> Contestant:
    adam = importlib.import_module("deepspeed.ops.adam")
    opt = adam.DeepSpeedCPUAdam(torch_parameters(params, grads), lr=LR, adamw_mode=False)
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
    """Its old buffers are donated: JAX's way of working in place."""
    jax = importlib.import_module("jax")
    opt, compiled = optax_adam(donated=(0, 1))
    own, gradients = [jax.numpy.array(p) for p in params], [jax.numpy.array(g) for g in grads]
    state = opt.init(own)

    def step() -> None:
        nonlocal own, state
        own, state = jax.block_until_ready(compiled(own, state, gradients))

    return Contestant(step, lambda: [np.asarray(p) for p in own])


def thinc(params: Arrays, grads: Arrays) -> Contestant:
    """It leaves zeros in its gradients, which are restored before each step, untimed."""
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


drop_in = on_tensors(lambda params: importlib.import_module("fusedstep.torch").Adam(params, lr=LR))

ADAM = {
    OURS: Maker(fusedstep()),
    PASSED: Maker(fusedstep(bound=False)),
    DROP_IN: Maker(drop_in),
    FUSED: Maker(torch_step("Adam", lr=LR, fused=True)),
    FOREACH: Maker(torch_step("Adam", lr=LR, foreach=True)),
    "torch for-loop": Maker(torch_step("Adam", lr=LR, foreach=False), in_quick=False),
    "torch compiled": torch_compiled("Adam", lr=LR)._replace(in_quick=False),
    DEEPSPEED: Maker(deepspeed),
    NUMBA: Maker(numba_parallel),
    OPTAX: Maker(optax_jit),
    # Its epsilon is the paper's "epsilon hat", which differs where gradients are tiny.
    "thinc": Maker(thinc, Tolerance(worst=1e-4, mean=1e-6), in_quick=False),
    IN_PLACE: Maker(numpy_in_place),
    TEXTBOOK: Maker(numpy_textbook),
}
