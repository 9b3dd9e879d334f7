"""Nobody is timed who computes something else."""

from collections.abc import Callable
from functools import cache

import numpy as np
from contestants import OURS, ROOFLINE, Arrays, Contestant, Maker

# Multiples of 256, below which 8-bit optimizers keep float32, and odd lengths.
SIZES = (10_240, 4_099, 7)
STEPS = 3

Exact = Callable[[Arrays, Arrays], Contestant]


def reason_of(error: Exception) -> str:
    """One line of it."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]


def _result_of(contestant: Contestant) -> Arrays:
    for _ in range(STEPS):
        if contestant.refresh:
            contestant.refresh()
        contestant.step()
    return [np.array(a, np.float64) for a in contestant.result()]


@cache
def _truth(exact: Exact) -> tuple[Arrays, Arrays, Arrays]:
    """Start, gradient, and the result after the steps in float64."""
    rng = np.random.default_rng(0)
    start, grads = ([rng.standard_normal(n).astype(np.float32) for n in SIZES] for _ in range(2))
    wide = [a.astype(np.float64) for a in start]
    return start, grads, _result_of(exact(wide, [a.astype(np.float64) for a in grads]))


@cache
def _reason_against(maker: Maker, exact: Exact) -> str:
    start, grads, truth = _truth(exact)
    given = [g.copy() for g in grads]
    try:
        contestant = maker.make([p.copy() for p in start], given)
        result = _result_of(contestant)
    except Exception as error:  # noqa: BLE001 - whatever stops an opponent is for the report, not for us
        return reason_of(error)
    errors = np.concatenate([np.abs(a - b) for a, b in zip(result, truth, strict=True)])
    if not np.all(errors <= maker.worst_error) or errors.mean() > maker.mean_error:
        return (
            f"fails the gate: error up to {errors.max():.1e} (allowed {maker.worst_error:.0e}), "
            f"{errors.mean():.1e} on average (allowed {maker.mean_error:.0e})"
        )
    if any(not np.array_equal(a, b) for a, b in zip(given, grads, strict=True)):
        return "writes into the gradients it was given"
    return ""


def admit(
    makers: dict[str, Maker], exact: Exact, tensors: int, quick: bool = False
) -> tuple[dict[str, Maker], dict[str, str]]:
    """Those that may run on so many tensors, and the others with the reason against each."""
    able, left_out = {}, {}
    for name, maker in makers.items():
        if quick and not maker.in_quick:
            left_out[name] = "not in --quick"
        elif tensors > maker.most_tensors:
            left_out[name] = maker.reason
        elif name == ROOFLINE or not (reason := _reason_against(maker, exact)):
            able[name] = maker
        elif name == OURS:
            raise AssertionError(f"{name}: {reason}")
        else:
            left_out[name] = reason
    return able, left_out
