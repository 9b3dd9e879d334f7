"""The contestants that need no other library: fusedstep, the roofline, NumPy; and torch's optimizers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fusedstep as fs
from fusedstep import _core
from fusedstep._bench.formulas import FORMULAS
from fusedstep._specs import GroupOptions, TensorSpec

__all__ = [
    "BETA1",
    "BETA2",
    "EPS",
    "LR",
    "OURS",
    "Array",
    "Arrays",
    "Contestant",
    "Make",
    "Step",
    "adam_direction",
    "fusedstep",
    "numpy_in_place",
    "numpy_textbook",
    "on_tensors",
    "roofline",
    "roofline_of_bytes",
    "stored_as",
    "textbook",
    "torch_parameters",
    "torch_step",
]

Array = NDArray[Any]
Arrays = list[Array]
Step = Callable[[], object]

OURS = "fusedstep"
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8  # Adam's defaults
BLOCK = 16_384  # elements of a block that stays in cache


class Contestant(NamedTuple):
    """One way to update one list of arrays."""

    step: Step
    # What the gate compares: the parameters after the steps so far, and whatever else counts.
    result: Callable[[], Sequence[Array]]
    # Called before each step, and not timed.
    refresh: Step | None = None


# From parameters and gradients to who updates them.
Make = Callable[[Arrays, Arrays], Contestant]


def fusedstep(rule: str = "adam", bound: bool = True, **options: Any) -> Make:
    """A rule of this package, its gradients bound once or passed to every step."""

    def make(params: Arrays, grads: Arrays) -> Contestant:
        opt = fs.create(rule, params, **options)
        if not bound:
            return Contestant(lambda: opt.step(grads), lambda: params)
        opt.bind(grads)
        return Contestant(opt.step, lambda: params)

    return make


def roofline(n_states: int, average: bool = False) -> Make:
    """The memory's limit: the same reads and in-place writes with one addition instead of the rule.

    It runs in the library's own loop, with the same plan and threads. `average` adds the stream of
    an exponential moving average. No other code knows how the core spells any of this.
    """

    def make(params: Arrays, grads: Arrays) -> Contestant:
        names = [str(i) for i in range(len(params))]
        layouts = [["native"] * (n_states + average)] * len(params)
        buffers = _core.zeros_in_phase("parameter", names, params, layouts)
        for own in buffers:
            for state in own:
                state.fill(1.0)  # unwritten memory is read from one shared page, in cache
        stepper = _core.Stepper("roofline")
        stepper.set_policy(False, False, False, 0.5 if average else 0.0)
        stepper.add(
            [GroupOptions(variant=n_states)],  # a variant per number of states
            [
                TensorSpec(
                    name=name,
                    param=p,
                    states=own[:n_states],
                    average=own[n_states] if average else None,
                )
                for name, p, own in zip(names, params, buffers, strict=True)
            ],
        )
        stepper.bind(grads)
        return Contestant(stepper.step, lambda: params)

    return make


def roofline_of_bytes(per_parameter: float) -> Make:
    """The limit for arrays of any format: so many bytes per parameter, in streams of float32."""
    n_states = 2
    same = per_parameter / (4 * (3 + 2 * n_states))

    def make(params: Arrays, grads: Arrays) -> Contestant:
        sizes = [max(1, round(p.size * same)) for p in params]
        own, given = ([np.ones(size, np.float32) for size in sizes] for _ in (params, grads))
        return roofline(n_states)(own, given)

    return make


def stored_as(dtype: np.typing.DTypeLike, make: Make) -> Make:
    """The contestant on copies of the arrays in another format; its result is float32."""

    def build(params: Arrays, grads: Arrays) -> Contestant:
        own, given = ([a.astype(dtype) for a in arrays] for arrays in (params, grads))
        inner = make(own, given)
        return inner._replace(result=lambda: [a.astype(np.float32) for a in inner.result()])

    return build


def textbook(rule: str, options: Mapping[str, Any]) -> Make:
    """A rule as its formula is written, in NumPy: every operation allocates its result."""
    formula = FORMULAS[rule]

    def make(params: Arrays, grads: Arrays) -> Contestant:
        states: list[dict[str, Any]] = [{} for _ in params]
        t = 0

        def step() -> None:
            nonlocal t
            t += 1
            for p, g, state in zip(params, grads, states, strict=True):
                p -= formula(p, g, state, options, t)

        return Contestant(step, lambda: params)

    return make


numpy_textbook = textbook("adam", {"lr": LR, "betas": (BETA1, BETA2), "eps": EPS})


def adam_direction(g: Array, m: Array, v: Array, size: float, eps: float, out: Array) -> None:
    """Update Adam's moments, and put the step into `out`, without an allocation."""
    np.multiply(m, BETA1, out=m)
    np.multiply(g, 1 - BETA1, out=out)
    np.add(m, out, out=m)
    np.multiply(v, BETA2, out=v)
    np.multiply(g, g, out=out)
    np.multiply(out, 1 - BETA2, out=out)
    np.add(v, out, out=v)
    np.sqrt(v, out=out)
    np.add(out, eps, out=out)
    np.divide(m, out, out=out)
    np.multiply(out, size, out=out)


def numpy_in_place(params: Arrays, grads: Arrays) -> Contestant:
    """Adam at NumPy's best: no allocation, scalar bias corrections, blocks that stay in cache."""
    whole = [(p, g, np.zeros_like(p), np.zeros_like(p)) for p, g in zip(params, grads, strict=True)]
    blocks = [
        tuple(array[i : i + BLOCK] for array in arrays)
        for arrays in whole
        for i in range(0, arrays[0].size, BLOCK)
    ]
    work = np.empty(BLOCK, params[0].dtype)
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        root2 = (1 - BETA2**t) ** 0.5
        size, eps = LR * root2 / (1 - BETA1**t), EPS * root2
        for p, g, m, v in blocks:
            w = work[: p.size]
            adam_direction(g, m, v, size, eps, w)
            np.subtract(p, w, out=p)

    return Contestant(step, lambda: params)


def torch_parameters(params: Arrays, grads: Arrays) -> list[Any]:
    """The arrays as torch Parameters over the same memory, with gradients."""
    torch = importlib.import_module("torch")

    def tensor(array: Array) -> Any:
        if array.dtype.name == "bfloat16":  # of ml_dtypes, which torch does not know
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    own = [torch.nn.Parameter(tensor(p)) for p in params]
    for parameter, grad in zip(own, grads, strict=True):
        parameter.grad = tensor(grad)
    return own


def on_tensors(optimizer: Callable[[list[Any]], Any]) -> Make:
    """An optimizer as torch's are called, on the arrays' memory."""

    def make(params: Arrays, grads: Arrays) -> Contestant:
        opt = optimizer(torch_parameters(params, grads))
        return Contestant(opt.step, lambda: params)

    return make


def torch_step(name: str, **options: Any) -> Make:
    """An optimizer of torch.optim, by its name."""
    return on_tensors(
        lambda params: getattr(importlib.import_module("torch").optim, name)(params, **options)
    )
