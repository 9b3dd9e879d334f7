"""Ratios out of the measured times: always round by round, then the median and the range."""

import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from contestants import NUMBA_ONE_ARRAY, OURS, PASSED, ROOFLINE

CaseResult = dict[str, Any]


class Ratio(NamedTuple):
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Ratio":
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])

    @property
    def inverse(self) -> "Ratio":
        return Ratio(1 / self.median, 1 / self.high, 1 / self.low)

    def __str__(self) -> str:
        digits = 2 if self.median < 9.95 else 1
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def seconds(case: CaseResult, name: str) -> Ratio:
    return Ratio.of(case["contestants"][name]["seconds"])


def to_ours(case: CaseResult, name: str) -> Ratio:
    """A contestant's time divided by the reference's in the same round."""
    entry = case["contestants"][name]
    return Ratio.of(b / a for a, b in zip(entry["reference"], entry["seconds"], strict=True))


def is_ours(name: str) -> bool:
    return name.startswith(OURS)


def peers(case: CaseResult) -> list[str]:
    """Others, fastest first."""
    no_peers = (ROOFLINE, NUMBA_ONE_ARRAY)
    names = [n for n in case["contestants"] if not is_ours(n) and n not in no_peers]
    return sorted(names, key=lambda name: to_ours(case, name).median)


def fraction_of_roofline(case: CaseResult) -> Ratio | None:
    return to_ours(case, ROOFLINE) if ROOFLINE in case["contestants"] else None


class Overhead(NamedTuple):
    """Least squares of ``time = fixed + per_tensor * k + per_element * n``, relative errors."""

    fixed: Ratio  # µs a step
    per_tensor: Ratio  # ns, beside the arithmetic on its elements
    per_element: Ratio  # ns


def overhead(cases: list[CaseResult], name: str) -> Overhead | None:
    """A fit a round over the overhead cases; None where there are too few of them."""
    own = [case for case in cases if is_overhead(case) and name in case["contestants"]]
    shape = np.array([[1.0, case["tensors"], case["parameters"]] for case in own])
    if len(own) < 3 or np.linalg.matrix_rank(shape) < 3:
        return None
    times = np.array([case["contestants"][name]["seconds"] for case in own])
    # In units of the times themselves, or the longest list would decide everything.
    fits = [np.linalg.lstsq(shape / t[:, None], np.ones(len(own)), rcond=None)[0] for t in times.T]
    fixed, per_tensor, per_element = np.array(fits).T.tolist()
    return Overhead(
        Ratio.of(1e6 * t for t in fixed),
        Ratio.of(1e9 * t for t in per_tensor),
        Ratio.of(1e9 * t for t in per_element),
    )


def is_overhead(case: CaseResult) -> bool:
    return case["name"].startswith("overhead-")


def is_whole(case: CaseResult) -> bool:
    """Whether it is the step with all that comes before and after the rule."""
    return case["name"].startswith("whole-")


def is_adam(case: CaseResult) -> bool:
    """Whether it is one of the plain comparisons with everybody."""
    others = ("overhead-", "placement-", "rule-", "mean-", "whole-", "eightbit-")
    return not case["name"].startswith(others)


def overhead_names(cases: list[CaseResult]) -> list[str]:
    found = {name: None for case in cases if is_overhead(case) for name in case["contestants"]}
    first = [name for name in (OURS, PASSED) if name in found]
    return first + [name for name in found if name not in first]
