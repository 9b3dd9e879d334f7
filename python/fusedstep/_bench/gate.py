"""The accuracy gate: only a contestant that computes the right thing is timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fusedstep._bench.contestants import Array, Arrays, Contestant

__all__ = ["STEPS", "Tolerance", "result_after_steps", "why_rejected"]

STEPS = 3


class Tolerance(NamedTuple):
    """The absolute error allowed after the gate's steps; the parameters are of the order of 1."""

    worst: float = 1e-6
    mean: float = math.inf


def result_after_steps(
    contestant: Contestant, between: Callable[[], object] | None = None
) -> Arrays:
    """A copy of what the contestant reaches; `between` is called after each step."""
    for _ in range(STEPS):
        if contestant.refresh:
            contestant.refresh()
        contestant.step()
        if between:
            between()
    return [np.array(array) for array in contestant.result()]


def why_rejected(result: Sequence[Array], truth: Sequence[Array], allowed: Tolerance | None) -> str:
    """Why a result fails the gate; empty if it passes. Without a tolerance the bits must agree."""
    pairs = list(zip(result, truth, strict=True))
    if allowed is None:
        same = all(a.tobytes() == b.tobytes() for a, b in pairs)
        return "" if same else "fails the gate: the bits differ"
    errors = np.abs(np.concatenate([np.subtract(a, b, dtype=np.float64) for a, b in pairs]))
    worst, mean = float(errors.max()), float(errors.mean())
    if worst <= allowed.worst and mean <= allowed.mean:  # NaN is not
        return ""
    words = f"fails the gate: error up to {worst:.1e} (allowed {allowed.worst:.0e})"
    if allowed.mean < math.inf:
        words += f", {mean:.1e} on average (allowed {allowed.mean:.0e})"
    return words
