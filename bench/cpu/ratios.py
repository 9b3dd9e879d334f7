"""What can be said of the measured cases: peers, overhead, and which kind of case it is."""

from typing import NamedTuple

import numpy as np

from fusedstep._bench.contestants import OURS
from fusedstep._bench.ratio import Ratio

from ..harness.results import CaseResult, to_reference
from .names import NUMBA_ONE_ARRAY, PASSED, ROOFLINE


def is_ours(name: str) -> bool:
    return name.startswith(OURS)


def peers(case: CaseResult) -> list[str]:
    """The other libraries, fastest first."""
    no_peers = (ROOFLINE, NUMBA_ONE_ARRAY)
    names = [n for n in case["contestants"] if not is_ours(n) and n not in no_peers]
    return sorted(names, key=lambda name: to_reference(case, name).median)


class Overhead(NamedTuple):
    """Least squares of ``time = fixed + per_tensor * k + per_element * n``, by relative error."""

    fixed: Ratio  # µs per step
    per_tensor: Ratio  # ns, beside the arithmetic on its elements
    per_element: Ratio  # ns


def overhead(cases: list[CaseResult], name: str) -> Overhead | None:
    """One fit per round over the overhead cases; None if there are too few of them."""
    own = [case for case in cases if is_overhead(case) and name in case["contestants"]]
    shape = np.array([[1.0, case["tensors"], case["parameters"]] for case in own])
    if len(own) < 3 or np.linalg.matrix_rank(shape) < 3:
        return None
    times = np.array([case["contestants"][name]["seconds"] for case in own])
    # Relative to the times themselves, or the longest list would decide everything.
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
    """Whether it is the step with everything before and after the rule."""
    return case["name"].startswith("whole-")


def is_adam(case: CaseResult) -> bool:
    """Whether it is one of the plain comparisons with all opponents."""
    others = ("overhead-", "placement-", "rule-", "mean-", "whole-", "narrow-")
    return not case["name"].startswith(others)


def overhead_names(cases: list[CaseResult]) -> list[str]:
    found = {name: None for case in cases if is_overhead(case) for name in case["contestants"]}
    first = [name for name in (OURS, PASSED) if name in found]
    return first + [name for name in found if name not in first]
