"""``fusedstep bench``: what a step takes on this machine, against NumPy, torch and the roofline."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fusedstep as fs
from fusedstep import _core
from fusedstep.cli import CommandError
from fusedstep.demo import check_output

__all__ = ["OURS", "ROOFLINE", "ROUNDS", "Benchmark", "Timing", "run"]

Array = NDArray[Any]
Options = Mapping[str, Any]
Step = Callable[[], object]
Maker = Callable[[Array, Array], Step]  # of a parameter and its gradient

OURS, ROOFLINE = "fusedstep", "roofline"
OUTPUT = Path("fusedstep-bench.png")
ROUNDS = 7
BUSY = 20.0  # preemptions a second; an idle machine has about one
BETA1, BETA2, LR, EPS = 0.9, 0.999, 1e-3, 1e-8  # Adam's defaults
STRETCH = 0.1  # seconds: thread pools spin on after a step, at the cost of the next contestant


@dataclass(frozen=True)
class Timing:
    """Seconds a step at one size: of every contestant, one number a round."""

    parameters: int
    seconds: Mapping[str, Sequence[float]]
    preempted: float  # times a second that a thread had to make way for another program

    @property
    def disturbed(self) -> bool:
        """Whether threads waited for each other, so that the times mean little."""
        return self.preempted > BUSY

    def nanoseconds(self, name: str) -> float:
        """The median time a parameter."""
        return statistics.median(self.seconds[name]) / self.parameters * 1e9

    def ratio(self, name: str) -> float:
        """How many times as long as fusedstep it took: the median of the ratios within a round."""
        pairs = zip(self.seconds[name], self.seconds[OURS], strict=True)
        return statistics.median(other / ours for other, ours in pairs)


@dataclass(frozen=True)
class Benchmark:
    """What was measured, of whom, and who was left out and why."""

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


# The contestants ---------------------------------------------------------------------------------


def fusedstep_maker(rule: str) -> Maker:
    """The rule as this package has it, with bound gradients."""

    def make(p: Array, g: Array) -> Step:
        opt = fs.create(rule, p)
        opt.bind(g)
        return opt.step

    return make


def roofline_maker(n_states: int) -> Maker:
    """The same reads and in-place writes, one addition in the place of the rule."""

    def make(p: Array, g: Array) -> Step:
        stepper = _core.Stepper("roofline")
        [states] = _core.zeros_in_phase("parameter", ["p"], [p], n_states)
        for state in states:
            state.fill(1.0)  # memory never written is one page of zeros, in the cache
        stepper.add(
            [_core.GroupOptions(variant=n_states)],
            [_core.TensorSpec(name="p", param=p, states=states)],
        )
        stepper.bind([g])
        return stepper.step

    return make


def adam_textbook(p: Array, g: Array) -> Step:
    """Adam in NumPy as its formula says; every operation allocates its result."""
    m, v, t = np.zeros_like(p), np.zeros_like(p), 0

    def step() -> None:
        nonlocal p, m, v, t
        t += 1
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        m_hat, v_hat = m / (1 - BETA1**t), v / (1 - BETA2**t)
        p -= LR * m_hat / (np.sqrt(v_hat) + EPS)

    return step


def adam_in_place(p: Array, g: Array) -> Step:
    """The best that NumPy can do: no memory is allocated, and the corrections are scalars."""
    m, v, work, t = np.zeros_like(p), np.zeros_like(p), np.empty_like(p), 0

    def step() -> None:
        nonlocal p, m, v, work, t
        t += 1
        m *= BETA1
        m += np.multiply(g, 1 - BETA1, out=work)
        v *= BETA2
        np.multiply(g, g, out=work)
        work *= 1 - BETA2
        v += work
        np.sqrt(v, out=work)
        work *= 1 / math.sqrt(1 - BETA2**t)
        work += EPS
        np.divide(m, work, out=work)
        work *= LR / (1 - BETA1**t)
        p -= work

    return step


NUMPY: Mapping[str, Maker] = {"NumPy textbook": adam_textbook, "NumPy in place": adam_in_place}


def torch_maker(rule_name: str, options: Options) -> tuple[str, Maker]:
    """The class of torch that has this name, with the same options: fused if it can, else foreach.

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
    way = next((way for way in ("fused", "foreach") if way in known), None)

    def make(p: Array, g: Array) -> Step:
        tensor = torch.nn.Parameter(torch.from_numpy(p))
        tensor.grad = torch.from_numpy(g)
        step: Step = cls([tensor], **chosen, **({way: True} if way else {})).step
        return step

    return f"torch {way}" if way else "torch", make


def contestants(rule: str) -> tuple[dict[str, Maker], dict[str, str]]:
    """Who takes part, and who does not and why."""
    opt = fs.create(rule, np.zeros(1))
    [group] = opt.groups
    makers = {OURS: fusedstep_maker(rule), ROOFLINE: roofline_maker(len(group.state_names))}
    left_out = {} if rule == "adam" else {"NumPy": "takes part for adam alone"}
    if rule == "adam":
        makers |= NUMPY
    try:
        name, make = torch_maker(type(opt).__name__, group)
        makers[name] = make
    except LookupError as error:
        left_out["torch"] = str(error)
    return makers, left_out


def differing(makers: Mapping[str, Maker], dtype: str) -> list[str]:
    """The contestants that after three steps are elsewhere than fusedstep."""
    ends = {}
    for name, make in makers.items():
        p, g = np.random.default_rng(0).standard_normal((2, 1009)).astype(dtype)
        step = make(p, g)
        for _ in range(3):
            step()
            g *= -0.7
        ends[name] = p
    near = 64 * float(np.finfo(dtype).eps)
    return [
        name
        for name, end in ends.items()
        if name != ROOFLINE and not np.allclose(end, ends[OURS], rtol=near, atol=near)
    ]


# The measurement ---------------------------------------------------------------------------------


def stretch(step: Step) -> float:
    """Seconds a step: the median over a stretch of its own, after one step to fill the cache."""
    step()
    times: list[float] = []
    end = time.perf_counter() + STRETCH
    while True:
        before = time.perf_counter()
        step()
        after = time.perf_counter()
        times.append(after - before)
        if after >= end:
            return statistics.median(times)


def measure(size: int, makers: Mapping[str, Maker], dtype: str, tick: Step) -> Timing:
    """All contestants in turns, each on a parameter of its own."""
    rng, kind = np.random.default_rng(1), np.dtype(dtype).type
    p, g = (rng.standard_normal(size, dtype=kind) for _ in range(2))
    steps = {name: make(p.copy(), g) for name, make in makers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    start, before = time.monotonic(), _preemptions()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            seconds[name].append(stretch(step))
        tick()
    preempted = (_preemptions() - before) / (time.monotonic() - start)
    return Timing(size, seconds, preempted)


@contextmanager
def progress(n_sizes: int, quiet: bool) -> Iterator[Step]:
    """Call it after each round; it reports by a bar on a terminal that has tqdm, else by lines."""
    try:
        tqdm = importlib.import_module("tqdm").tqdm if sys.stderr.isatty() else None
    except ModuleNotFoundError:
        tqdm = None
    rounds = count(1)

    def tick() -> None:
        done, more = divmod(next(rounds), ROUNDS)
        if not (quiet or more):
            print(f"size {done} of {n_sizes}", file=sys.stderr, flush=True)

    if quiet or tqdm is None:
        yield tick
    else:
        with tqdm(total=n_sizes * ROUNDS, desc="measuring", unit="round", leave=False) as bar:
            yield bar.update


def benchmark(rule: str, dtype: str, sizes: Sequence[int], quiet: bool) -> Benchmark:
    """Check that all compute the same, and measure them. RuntimeError: NumPy disagrees."""
    makers, left_out = contestants(rule)
    for name in differing(makers, dtype):
        if name in NUMPY:
            raise RuntimeError(f"fusedstep and {name} disagree after 3 steps of {rule} ({dtype})")
        left_out[name] = f"its {rule} computes something else"
        del makers[name]
    timings = []
    np.empty(30 << 20, np.uint8)  # freed: from now on glibc keeps memory, the kinder case for NumPy
    with progress(len(sizes), quiet) as tick:
        for size in sizes:
            try:
                timings.append(measure(size, makers, dtype, tick))
            except MemoryError:
                raise CommandError(f"not enough memory for {size:,} parameters") from None
    return Benchmark(rule, dtype, fs.get_num_threads(), list(makers), left_out, timings)


def _preemptions() -> int:
    """How often the system took a CPU from this process so far."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


# The report --------------------------------------------------------------------------------------


def print_table(result: Benchmark) -> None:
    """Print a row for each size, and what the columns mean."""
    config = fs.show_config("dict")
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    print(
        f"One step of {result.rule} ({result.dtype}): fusedstep {config['fusedstep']} "
        f"({config['isa']}, {config['machine']}, {threads}), NumPy {config['numpy']}.\n"
    )
    print(
        f"{'parameters':>13}{'ns/parameter':>15}{'of roofline':>14}",
        *(f"{name:>16}" for name in result.others),
        sep="",
    )
    for timing in result.timings:
        print(
            f"{timing.parameters:>13,}{timing.nanoseconds(OURS):>15.3f}{timing.ratio(ROOFLINE):>14.0%}",
            *(
                f"{'disturbed':>16}" if timing.disturbed else f"{timing.ratio(name):>15.1f}x"
                for name in result.others
            ),
            sep="",
        )
    print(
        f"\nx: time divided by fusedstep's, the median of {ROUNDS} rounds in turns.\n"
        "Roofline: the same reads and writes with one addition in the place of the rule; 100% is\n"
        "the most that this machine gives."
    )
    if any(timing.disturbed for timing in result.timings):
        most = max(timing.preempted for timing in result.timings)
        print(
            f"Disturbed: other programs took a CPU from this one, up to {most:.0f} times a second. "
            "Then threads\nwait for each other and no time means much: measure on an idle machine, "
            "or with --threads 1."
        )
    for name, reason in result.left_out.items():
        print(f"Left out: {name} ({reason}).")


def as_json(result: Benchmark, picture: Path | None) -> str:
    """All of it, for programs."""
    return json.dumps(
        {
            "config": fs.show_config("dict"),
            "rule": result.rule,
            "dtype": result.dtype,
            "threads": result.threads,
            "rounds": ROUNDS,
            "results": [
                {
                    "parameters": timing.parameters,
                    "preemptions_per_second": timing.preempted,
                    "disturbed": timing.disturbed,
                    "roofline_fraction": timing.ratio(ROOFLINE),
                    "ns_per_parameter": {n: timing.nanoseconds(n) for n in result.contestants},
                    "times_fusedstep": {name: timing.ratio(name) for name in result.others},
                }
                for timing in result.timings
            ],
            "left_out": result.left_out,
            "picture": None if picture is None else str(picture),
        },
        indent=2,
    )


def choose_picture(output: Path | None, json_wanted: bool) -> Path | None:
    """Where the picture goes: nowhere for programs or without matplotlib, unless asked for."""
    if json_wanted and output is None:
        return None
    try:
        importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        if output is None:
            return None
        raise CommandError(
            f"cannot draw {output} without matplotlib: pip install matplotlib"
        ) from None
    check_output(output or OUTPUT)
    return output or OUTPUT


def run(
    rule: str,
    dtype: str,
    sizes: Sequence[int],
    threads: int | None,
    output: Path | None,
    json_wanted: bool,
    quiet: bool,
) -> None:
    """Measure, print the table or JSON, and draw the picture.

    Raises
    ------
    CommandError
        `output` cannot be written or drawn: before the work, if it can be known by then. Or the
        memory does not suffice.
    """
    picture = choose_picture(output, json_wanted)
    with fs.num_threads(threads) if threads else nullcontext():
        result = benchmark(rule, dtype, sorted(set(sizes)), quiet)
    if picture:
        from fusedstep.bench_figure import render

        try:
            picture.write_bytes(render(result))
        except OSError as error:
            raise CommandError(f"cannot write {picture}: {error.strerror}") from None
    if json_wanted:
        print(as_json(result, picture))
        return
    print_table(result)
    print(f"Picture: {picture}" if picture else "No picture: it needs matplotlib.")
