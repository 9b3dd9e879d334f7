"""Rounds of short stretches: every contestant in turn, each in a stretch of its own."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fusedstep._bench.contestants import Contestant, Step

__all__ = ["WARM_STEPS", "Stretch", "Timed", "in_turns", "rounds"]

WARM_STEPS = 3
# Steps shorter than this are timed several at a time, since reading the clock costs 0.1 µs.
BATCH_SECONDS = 5e-5


class Stretch(NamedTuple):
    """Seconds per step: what most steps take, and what they cost, with every stall among them."""

    median: float
    mean: float


class Timed:
    """A warmed-up contestant, and how many of its steps one reading of the clock covers."""

    def __init__(self, contestant: Contestant) -> None:
        self._contestant, self._batch = contestant, 1
        seconds = [self._once() for _ in range(WARM_STEPS)][-1]
        if contestant.refresh is None:
            self._batch = max(1, int(BATCH_SECONDS / max(seconds, 1e-9)))

    def _once(self) -> float:
        step, _, refresh = self._contestant
        if refresh:
            refresh()
        start = time.perf_counter()
        for _ in range(self._batch):
            step()
        return (time.perf_counter() - start) / self._batch

    def stretch(self, seconds: float) -> Stretch:
        """Time steps for so long, without a first one and the first tenth.

        In these the caches hold another contestant's data, and the threads of the contestant before
        may still be spinning.
        """
        self._once()
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            times.append(self._once())
        kept = times[len(times) // 10 :]
        return Stretch(statistics.median(kept), statistics.fmean(kept))


def in_turns(names: Iterable[str], count: int) -> Iterator[str]:
    """Every name once per round, for so many rounds.

    Every round has another order: in a fixed one, some would always follow the same neighbour, and
    one that has just freed gigabytes is a bad one.
    """
    order, shuffle = list(names), random.Random(0).shuffle
    for _ in range(count):
        shuffle(order)
        yield from order


def rounds(
    timed: Mapping[str, Timed], count: int, seconds: float, tick: Step
) -> dict[str, list[Stretch]]:
    """The stretches, by contestant and round. `tick` is called after each."""
    times: dict[str, list[Stretch]] = {name: [] for name in timed}
    for name in in_turns(timed, count):
        times[name].append(timed[name].stretch(seconds))
        tick()
    return times
