"""Rounds in turn, each contestant in a stretch of its own."""

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from contestants import Contestant

WARM_STEPS = 3
# Steps shorter than this are timed several at a time, since reading the clock costs 0.1 µs.
BATCH_SECONDS = 5e-5

Times = dict[str, list[float]]


class Timed:
    """A contestant that is warm, and how many of its steps fill one reading of the clock."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant, self.batch = contestant, 1
        seconds = [self._once() for _ in range(WARM_STEPS)][-1]
        if contestant.refresh is None:
            self.batch = max(1, int(BATCH_SECONDS / seconds))

    def _once(self) -> float:
        step, _, refresh = self.contestant
        if refresh:
            refresh()
        start = time.perf_counter()
        for _ in range(self.batch):
            step()
        return (time.perf_counter() - start) / self.batch

    def stretch(self, at_least: float) -> float:
        """Seconds a step: the median, without a first step and the first tenth.

        In these, caches are another's, and the threads of whoever came before may still be spinning.
        """
        self._once()
        times, end = [], time.perf_counter() + at_least
        while not times or time.perf_counter() < end:
            times.append(self._once())
        return statistics.median(times[len(times) // 10 :])


def rounds(timed: dict[str, Timed], count: int, at_least: float, tick: Callable[[], Any]) -> Times:
    """Seconds a step, by contestant and round.

    Every round has another order, or some would always come after the same neighbour, and one that
    has just freed gigabytes is a bad one.
    """
    times: Times = {name: [] for name in timed}
    order, shuffle = list(timed), random.Random(0).shuffle
    for _ in range(count):
        shuffle(order)
        for name in order:
            times[name].append(timed[name].stretch(at_least))
            tick()
    return times


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], Any]]:
    """A bar where someone is watching, else one line a case."""
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            with tqdm(total=total, desc=title, leave=False, unit="stretch") as bar:
                yield bar.update
            return
    start = time.perf_counter()
    yield lambda: None
    print(f"  {title}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
