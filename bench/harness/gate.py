"""Who may be timed: the gate against float64, for whole tables of contestants."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from fusedstep._bench.contestants import OURS, Arrays, Contestant, Make
from fusedstep._bench.gate import Tolerance, result_after_steps, why_rejected
from fusedstep._bench.libraries import reason_of

# Multiples of 256, below which 8-bit optimizers keep float32, and odd lengths.
SIZES = (10_240, 4_099, 7)

Exact = Callable[[Arrays, Arrays], Contestant]


class Maker(NamedTuple):
    """How a contestant is built, and what the gate expects of it."""

    make: Make
    allowed: Tolerance = Tolerance()
    # Whether it is an optimizer, and has something to compare.
    gated: bool = True
    # It is not run on more tensors than this, and why.
    most_tensors: int = 1_000_000
    reason: str = ""
    in_quick: bool = True
    # The parameters that the gate begins with are of the order of this.
    scale: float = 1.0


@cache
def _truth(exact: Exact, scale: float) -> tuple[Arrays, Arrays, Arrays]:
    """Start, gradients, and the result of the steps in float64."""
    rng = np.random.default_rng(0)
    start, grads = (
        [(factor * rng.standard_normal(n)).astype(np.float32) for n in SIZES]
        for factor in (scale, 1.0)
    )
    wide = exact([a.astype(np.float64) for a in start], [a.astype(np.float64) for a in grads])
    return start, grads, result_after_steps(wide)


@cache
def _reason_against(maker: Maker, exact: Exact) -> str:
    start, grads, truth = _truth(exact, maker.scale)
    given = [g.copy() for g in grads]
    try:
        result = result_after_steps(maker.make([p.copy() for p in start], given))
    except Exception as error:  # noqa: BLE001 - whatever stops an opponent is for the report, not for us
        return reason_of(error)
    if reason := why_rejected(result, truth, maker.allowed):
        return reason
    if any(not np.array_equal(a, b) for a, b in zip(given, grads, strict=True)):
        return "writes into the gradients it was given"
    return ""


def admit(
    makers: dict[str, Maker], exact: Exact, tensors: int, quick: bool = False
) -> tuple[dict[str, Maker], dict[str, str]]:
    """The contestants that may run on so many tensors, and the others with the reason."""
    able, left_out = {}, {}
    for name, maker in makers.items():
        if quick and not maker.in_quick:
            left_out[name] = "not in --quick"
        elif tensors > maker.most_tensors:
            left_out[name] = maker.reason
        elif not maker.gated or not (reason := _reason_against(maker, exact)):
            able[name] = maker
        elif name.startswith(OURS):
            raise AssertionError(f"{name}: {reason}")
        else:
            left_out[name] = reason
    return able, left_out
