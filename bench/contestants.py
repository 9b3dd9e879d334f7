"""What a contestant is, and the two of our own: fusedstep, and the limit of the memory."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep import _core

Arrays = list[np.ndarray]

OURS = "fusedstep"
PASSED = "fusedstep, gradients passed"
ROOFLINE = "same-stream roofline"
# For an own goal of a list's case: no peer, since the list is not one array.
NUMBA_ONE_ARRAY = "Numba parallel, one array"
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


class Contestant(NamedTuple):
    """One way to update one set of arrays."""

    step: Callable[[], Any]
    # The parameters after the steps so far, for the gate; with what else it shall look at.
    result: Callable[[], Sequence[np.ndarray]]
    # Untimed, before each step.
    refresh: Callable[[], Any] | None = None


class Maker(NamedTuple):
    """How a contestant is built, and what the gate may expect of it."""

    make: Callable[[Arrays, Arrays], Contestant]
    # Against float64 after three steps; the parameters are of the order of 1.
    worst_error: float = 1e-6
    mean_error: float = 1e-6
    # More tensors than this it is not asked for, and why.
    most_tensors: int = 1_000_000
    reason: str = ""
    in_quick: bool = True


def fusedstep(rule: str = "adam", bound: bool = True, **options: Any) -> Maker:
    def make(params: Arrays, grads: Arrays) -> Contestant:
        opt = fs.create(rule, params, **options)
        if not bound:
            return Contestant(lambda: opt.step(grads), lambda: params)
        opt.bind(grads)
        return Contestant(opt.step, lambda: params)

    return Maker(make)


def roofline(states: int, average: bool = False) -> Maker:
    """The library's own loop, plan and threads over the same streams, one addition each."""

    def make(params: Arrays, grads: Arrays) -> Contestant:
        names = [str(i) for i in range(len(params))]
        buffers = _core.zeros_in_phase("parameter", names, params, states + average)
        for own in buffers:
            for state in own:
                state.fill(1)  # a page never written is read from one shared page, in cache
        core = _core.Stepper("roofline")
        core.set_policy(False, False, False, 0.5 if average else 0.0)
        core.add(
            [_core.GroupOptions(variant=states)],
            [
                _core.TensorSpec(
                    name=n, param=p, states=s[:states], average=s[states] if average else None
                )
                for n, p, s in zip(names, params, buffers, strict=True)
            ],
        )
        core.bind(grads)
        return Contestant(core.step, lambda: params)

    return Maker(make)


def states_of(rule: str, **options: Any) -> int:
    """How many state streams a rule has."""
    opt = fs.create(rule, [np.zeros(2, np.float32)], **options)
    (state,) = opt.state.values()
    return sum(np.shape(value) == (2,) for value in state.values())  # others are counters
