"""What ``fusedstep bench`` measures: the peers of a rule, timed in turns, by size."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import OURS, Make
from fusedstep._bench.libraries import Unusable, reason_of
from fusedstep._bench.memory import available_memory
from fusedstep._bench.modes import Mode
from fusedstep._bench.progress import progress_bar
from fusedstep._bench.ratio import Ratio
from fusedstep._bench.timing import Stretch, Timed, rounds
from fusedstep._cli.errors import CommandError, UsageError
from fusedstep._cli.peers import IN_FLOAT32, ROOFLINE, peers

__all__ = ["ROUNDS", "Benchmark", "Timing", "benchmark", "is_uncertain"]

Tick = Callable[[], object]

ROUNDS = 9
STRETCH = 0.1  # seconds
UNCERTAIN = 1.25  # an interval that reaches from a number to this multiple of it
STALLED = 1.1  # a mean that is this multiple of the median, or more


def is_uncertain(value: Ratio) -> bool:
    """Whether its interval is so wide that another measurement may well find another value."""
    return value.high > UNCERTAIN * value.low


@dataclass(frozen=True)
class Timing:
    """Seconds per step at one size: one stretch for each contestant and round."""

    parameters: int
    stretches: Mapping[str, Sequence[Stretch]]
    preempted: float  # times per second that a thread had to make way for another program

    def seconds(self, name: str) -> Ratio:
        """What most steps take."""
        return Ratio.with_interval(stretch.median for stretch in self.stretches[name])

    def mean_seconds(self, name: str) -> float:
        """What a step costs, stalls included."""
        return statistics.fmean(stretch.mean for stretch in self.stretches[name])

    def ratio(self, name: str) -> Ratio:
        """The contestant's time divided by fusedstep's: the median of the ratios within a round."""
        pairs = zip(self.stretches[name], self.stretches[OURS], strict=True)
        return Ratio.with_interval(its.median / ours.median for its, ours in pairs)

    def mean_ratio(self, name: str) -> float:
        """The same for all the time that went by."""
        return self.mean_seconds(name) / self.mean_seconds(OURS)

    def stalled(self, name: str) -> bool:
        """Whether so many steps took so much longer that most steps are not the whole story."""
        return self.mean_seconds(name) > STALLED * self.seconds(name).median

    @property
    def of_roofline(self) -> Ratio | None:
        """How much of what the machine can do; None if it did other things meanwhile."""
        ratio = self.ratio(ROOFLINE)
        unsteady = [is_uncertain(self.seconds(name)) for name in (OURS, ROOFLINE)]
        return None if is_uncertain(ratio) or any(unsteady) else ratio


@dataclass(frozen=True)
class Benchmark:
    """What was measured, with whom, and who was left out and why."""

    rule: str
    mode: Mode
    bytes_per_parameter: float  # that a step reads and writes
    threads: int
    peers: Sequence[str]
    checked_against: Sequence[str]
    left_out: Mapping[str, str]
    timings: Sequence[Timing]


def measure(
    size: int, makers: Mapping[str, Make], mode: Mode, tick: Tick
) -> tuple[Timing, dict[str, str]]:
    """All contestants in turns, each on a parameter of its own; and those that failed, with why."""
    rng, kind = np.random.default_rng(1), np.dtype(mode.compute_dtype).type
    p, g = (rng.standard_normal(size, dtype=kind).astype(mode.dtype) for _ in range(2))
    timed, failed = {}, {}
    for name, make in makers.items():
        try:
            timed[name] = Timed(make([p.copy()], [g]))
        except MemoryError:
            raise
        except Exception as error:
            if name in (OURS, ROOFLINE, IN_FLOAT32):
                raise
            failed[name] = f"with {size:,} parameters: {reason_of(error)}"
            for _ in range(ROUNDS):
                tick()
    start, before = time.monotonic(), _preemptions()
    stretches = rounds(timed, ROUNDS, STRETCH, tick)
    preempted = (_preemptions() - before) / (time.monotonic() - start)
    return Timing(size, stretches, preempted), failed


def _preemptions() -> int:
    """How often the system has taken a CPU from this process so far."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def check_mode(rule: str, mode: Mode) -> None:
    """Raise CommandError if there is no such mode, or no such numbers here."""
    try:
        fs.create(rule, [np.zeros(1, mode.dtype)], **mode.options)
    except Unusable as error:
        raise CommandError(f"bench needs ml_dtypes for bfloat16: {error}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def check_memory(sizes: Iterable[int], makers: Mapping[str, Make], rule: str, mode: Mode) -> None:
    """Raise CommandError if the largest size cannot fit: systems kill who finds that out late."""
    [group] = fs.create(rule, np.zeros(1)).groups
    # A parameter and the state for each contestant, none of them wider than what it computes in; one
    # gradient, and where to start.
    arrays = 2 + len(makers) * (1 + len(group.state_names))
    largest = max(sizes)
    needed = arrays * largest * np.dtype(mode.compute_dtype).itemsize
    available = available_memory(otherwise=sys.maxsize)
    if needed > available:
        raise CommandError(
            f"not enough memory for {largest:,} parameters: all contestants together need "
            f"{needed / 1e9:,.1f} GB, and {available / 1e9:,.1f} GB are free"
        )


@contextmanager
def progress(n_sizes: int, n_contestants: int, quiet: bool) -> Iterator[Tick]:
    """Yield what to call after each stretch: it moves a bar on, or prints a line per size."""
    stretches = ROUNDS * n_contestants
    done = count(1)

    def tick() -> None:
        size, more = divmod(next(done), stretches)
        if not more:
            print(f"size {size} of {n_sizes}", file=sys.stderr, flush=True)

    if quiet:
        yield lambda: None
    else:
        with progress_bar("measuring", n_sizes * stretches, "stretch") as advance:
            yield advance or tick


def benchmark(rule: str, mode: Mode, sizes: Sequence[int], quiet: bool) -> Benchmark:
    """Check who computes the same, and time them.

    Raises
    ------
    CommandError
        There is no such mode, or not enough memory.
    RuntimeError
        fusedstep and NumPy's formula disagree.
    """
    check_mode(rule, mode)
    known = peers(rule, mode)
    check_memory(sizes, known.makers, rule, mode)
    timings, left_out = [], dict(known.left_out)
    np.empty(30 << 20, np.uint8)  # freed: from now on glibc keeps memory, the kinder case for NumPy
    with progress(len(sizes), len(known.makers), quiet) as tick:
        for size in sizes:
            try:
                timing, failed = measure(size, known.makers, mode, tick)
            except MemoryError:
                raise CommandError(f"not enough memory for {size:,} parameters") from None
            timings.append(timing)
            left_out |= failed
    return Benchmark(
        rule,
        mode,
        mode.bytes_per_parameter(rule),
        fs.get_num_threads(),
        known.others,
        known.checked_against,
        left_out,
        timings,
    )
