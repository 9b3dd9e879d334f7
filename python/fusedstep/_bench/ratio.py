"""Ratios of measured times: always within a round, then the median and the range over the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Ratio"]


class Ratio(NamedTuple):
    """The median over the rounds, with the lowest and the highest round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Ratio:
        """From one value per round."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])

    @classmethod
    def between(cls, times: Iterable[float], reference: Iterable[float]) -> Ratio:
        """Each time divided by the reference's in the same round."""
        return cls.of(a / b for a, b in zip(times, reference, strict=True))

    @property
    def inverse(self) -> Ratio:
        """The same with numerator and denominator exchanged."""
        return Ratio(1 / self.median, 1 / self.high, 1 / self.low)

    def __str__(self) -> str:
        digits = 2 if self.median < 9.95 else 1
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"
