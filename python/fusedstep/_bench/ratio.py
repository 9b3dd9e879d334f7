"""Ratios of measured times: always within a round, then the median and a range over the rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Ratio"]


class Ratio(NamedTuple):
    """The median over the rounds, and a range: of all rounds, or an interval of confidence."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Ratio:
        """From one value per round, with the lowest and the highest round."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])

    @classmethod
    def with_interval(cls, values: Iterable[float], confidence: float = 0.95) -> Ratio:
        """From one value per round, with an interval that holds the true median that surely.

        It reaches from one order statistic to another and supposes no distribution: a round falls
        below the true median as a tossed coin falls. So the second to the eighth of 9 rounds hold it
        unless 8 coins or more agree: with 96 %.
        """
        known = sorted(values)
        dropped, missed = 0, 1  # missed: of 2**n outcomes, those with at most `dropped` below
        while 2 * (missed + math.comb(len(known), dropped + 1)) <= (1 - confidence) * 2 ** len(
            known
        ):
            dropped += 1
            missed += math.comb(len(known), dropped)
        return cls(statistics.median(known), known[dropped], known[-1 - dropped])

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
