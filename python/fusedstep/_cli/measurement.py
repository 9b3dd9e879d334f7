"""What ``fusedstep bench`` measures: the contestants of a rule, gated, timed in turns, by size."""

from __future__ import annotations

import importlib
import inspect
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import (
    OURS,
    Make,
    fusedstep,
    numpy_in_place,
    numpy_textbook,
    roofline,
    torch_step,
)
from fusedstep._bench.gate import Tolerance, result_after_steps, why_rejected
from fusedstep._bench.progress import progress_bar
from fusedstep._bench.ratio import Ratio
from fusedstep._bench.timing import Timed, rounds
from fusedstep._cli.errors import CommandError

__all__ = ["OURS", "ROOFLINE", "ROUNDS", "Benchmark", "Timing", "benchmark"]

Tick = Callable[[], object]

ROOFLINE = "roofline"
NUMPY: Mapping[str, Make] = {"NumPy textbook": numpy_textbook, "NumPy in place": numpy_in_place}
ROUNDS = 7
STRETCH = 0.1  # seconds
BUSY = 20.0  # preemptions per second; an idle machine has about one
GATE_SIZE = 1009


@dataclass(frozen=True)
class Timing:
    """Seconds per step at one size: one number per contestant and round."""

    parameters: int
    seconds: Mapping[str, Sequence[float]]
    preempted: float  # times per second that a thread had to make way for another program

    @property
    def disturbed(self) -> bool:
        """Whether other programs stalled the threads so often that the times mean little."""
        return self.preempted > BUSY

    def nanoseconds(self, name: str) -> float:
        """The median time per parameter."""
        return statistics.median(self.seconds[name]) / self.parameters * 1e9

    def ratio(self, name: str) -> float:
        """The contestant's time divided by fusedstep's: the median of the ratios within a round."""
        return Ratio.between(self.seconds[name], self.seconds[OURS]).median


@dataclass(frozen=True)
class Benchmark:
    """What was measured, for which contestants, and which were left out and why."""

    rule: str
    dtype: str
    threads: int
    contestants: Sequence[str]
    left_out: Mapping[str, str]
    timings: Sequence[Timing]

    @property
    def others(self) -> list[str]:
        """The contestants that fusedstep is compared with."""
        return [name for name in self.contestants if name not in (OURS, ROOFLINE)]


def torch_contestant(rule_name: str, options: Mapping[str, Any]) -> tuple[str, Make]:
    """The torch optimizer of this name with the same options: fused if it can be, else foreach.

    Raises
    ------
    LookupError
        There is no torch, or no such class; the message says which.
    """
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        missing = isinstance(error, ModuleNotFoundError)
        raise LookupError("not installed here: pip install torch" if missing else error) from None
    cls = getattr(torch.optim, rule_name, None)
    if cls is None:
        raise LookupError(f"its torch.optim has no {rule_name}")
    torch.set_num_threads(fs.get_num_threads())
    known = inspect.signature(cls).parameters
    chosen = {name: value for name, value in options.items() if name in known}
    form = next((form for form in ("fused", "foreach") if form in known), None)
    if form:
        chosen[form] = True
    return f"torch {form}" if form else "torch", torch_step(rule_name, **chosen)


def contestants(rule: str) -> tuple[dict[str, Make], dict[str, str]]:
    """Who takes part, and who does not and why."""
    opt = fs.create(rule, np.zeros(1))
    [group] = opt.groups
    makers = {OURS: fusedstep(rule), ROOFLINE: roofline(len(group.state_names))}
    left_out = {} if rule == "adam" else {"NumPy": "takes part for adam alone"}
    if rule == "adam":
        makers |= NUMPY
    try:
        name, make = torch_contestant(type(opt).__name__, group)
        makers[name] = make
    except LookupError as error:
        left_out["torch"] = str(error)
    return makers, left_out


def differing(makers: Mapping[str, Make], dtype: str) -> list[str]:
    """The contestants that end up elsewhere than fusedstep does."""
    ends = {}
    for name, make in makers.items():
        p, g = np.random.default_rng(0).standard_normal((2, GATE_SIZE)).astype(dtype)
        # Another gradient for each step.
        ends[name] = result_after_steps(make([p], [g]), partial(np.multiply, g, -0.7, out=g))
    allowed = Tolerance(128 * float(np.finfo(dtype).eps))
    return [
        name
        for name, end in ends.items()
        if name != ROOFLINE and why_rejected(end, ends[OURS], allowed)
    ]


def measure(size: int, makers: Mapping[str, Make], dtype: str, tick: Tick) -> Timing:
    """All contestants in turns, each on a parameter of its own."""
    rng, kind = np.random.default_rng(1), np.dtype(dtype).type
    p, g = (rng.standard_normal(size, dtype=kind) for _ in range(2))
    timed = {name: Timed(make([p.copy()], [g])) for name, make in makers.items()}
    start, before = time.monotonic(), _preemptions()
    seconds = rounds(timed, ROUNDS, STRETCH, tick)
    preempted = (_preemptions() - before) / (time.monotonic() - start)
    return Timing(size, seconds, preempted)


def _preemptions() -> int:
    """How often the system has taken a CPU from this process so far."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


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


def benchmark(rule: str, dtype: str, sizes: Sequence[int], quiet: bool) -> Benchmark:
    """Check that all compute the same, and time them. RuntimeError: NumPy disagrees."""
    makers, left_out = contestants(rule)
    for name in differing(makers, dtype):
        if name in NUMPY:
            raise RuntimeError(f"fusedstep and {name} disagree after 3 steps of {rule} ({dtype})")
        left_out[name] = f"its {rule} computes something else"
        del makers[name]
    timings = []
    np.empty(30 << 20, np.uint8)  # freed: from now on glibc keeps memory, the kinder case for NumPy
    with progress(len(sizes), len(makers), quiet) as tick:
        for size in sizes:
            try:
                timings.append(measure(size, makers, dtype, tick))
            except MemoryError:
                raise CommandError(f"not enough memory for {size:,} parameters") from None
    return Benchmark(rule, dtype, fs.get_num_threads(), list(makers), left_out, timings)
