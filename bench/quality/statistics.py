"""What five seeds tell: means with intervals, differences at the same seed, and who is worse."""

import math
from collections.abc import Sequence
from statistics import mean, median, stdev
from typing import Any, NamedTuple

# Student's t for an interval of 95 %, by degrees of freedom.
T_95 = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

Run = dict[str, Any]  # of learn(): one seed


class Interval(NamedTuple):
    """A mean and half the width of its confidence interval."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        n = len(values)
        if n == 1:
            return cls(values[0], math.nan)
        t = T_95[n - 1] if n <= len(T_95) else 1.96
        return cls(mean(values), t * stdev(values) / math.sqrt(n))


def values(runs: Sequence[Run], what: str) -> list[float]:
    return [run[what] for run in runs]


def differences(runs: Sequence[Run], reference: Sequence[Run], what: str) -> list[float]:
    """To the reference from the same seed, which has the same start and the same batches."""
    base = {run["seed"]: run[what] for run in reference}
    return [run[what] - base[run["seed"]] for run in runs]


def is_outside(runs: Sequence[Run], reference: Sequence[Run], what: str) -> bool:
    """Whether the mean is worse than the reference from every seed."""
    own, others = mean(values(runs, what)), values(reference, what)
    inside = own >= min(others) if what == "metric" else own <= max(others)
    return not inside  # NaN is outside


def is_worse(runs: Sequence[Run], reference: Sequence[Run], what: str) -> bool:
    """Whether the interval of the difference lies on the wrong side of 0."""
    sign = -1 if what == "metric" else 1
    difference = Interval.of(differences(runs, reference, what))
    return sign * difference.mean > difference.half


def typical_angle(runs: Sequence[Run], what: str) -> float:
    """The median over the points and the seeds, in degrees."""
    return float(median(angle for run in runs for angle in run[what]))
