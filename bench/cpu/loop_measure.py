"""The measuring process of in_loop.py: some cases in one setting, one JSON file that grows."""

import statistics
import time
from contextlib import nullcontext

import fusedstep as fs
from fusedstep._bench.libraries import reason_of
from fusedstep._bench.timing import WARM_STEPS, in_turns

from ..harness.machine import Neighbours, describe_cpu
from ..harness.processes import measure_cases
from ..harness.progress import progress
from ..harness.results import CaseResult
from .loop_cases import LoopCase, loop_cases
from .loops import Loop
from .measure import LIBRARIES

# Iterations of a stretch: so many at least, and so many if they fit into three times its seconds.
FEWEST, ENOUGH, LONGEST = 8, 30, 3

Stretch = dict[str, float]


def stretch(loop: Loop, seconds: float) -> Stretch:
    """Means in seconds. The first quarter is a warm-up; everything after it counts, stalls too.

    The parameters are reset first: after long training some units never fire, and their subnormal
    moments are slow.
    """
    loop.restart()
    steps: list[float] = []
    iterations: list[float] = []
    clock = time.perf_counter
    with fs.num_threads(loop.threads) if loop.threads else nullcontext():
        begin = end = clock()
        while (
            end < begin + seconds
            or len(steps) < FEWEST
            or (len(steps) < ENOUGH and end < begin + LONGEST * seconds)
        ):
            start = clock()
            given = loop.backward()
            middle = clock()
            loop.step(given)
            end = clock()
            steps.append(end - middle)
            iterations.append(end - start)
    quarter = len(steps) // 4
    steps, iterations = steps[quarter:], iterations[quarter:]
    return {
        "step": statistics.fmean(steps),
        "iteration": statistics.fmean(iterations),
        "median": statistics.median(steps),
        "worst": max(steps),
        "count": len(steps),
    }


def warm(loop: Loop) -> Loop:
    """Compile what compiles."""
    for _ in range(WARM_STEPS):
        loop.step(loop.backward())
    return loop


def measure(case: LoopCase, rounds: int, seconds: float, with_peers: bool) -> CaseResult:
    """Interleaved stretches, in another order every round."""
    contestants: dict[str, dict[str, list[float]]] = {}
    left_out: dict[str, str] = {}
    neighbours = Neighbours()
    built: dict[str, Loop] = {}
    try:
        builds, left_out = case.contestants(with_peers)
    except ImportError as error:  # of the library that makes the gradients
        builds, left_out = {}, {case.title: reason_of(error)}
    for name, build in builds.items():
        try:
            built[name] = warm(build())
        except Exception as error:  # noqa: BLE001 - whatever stops an opponent is for the report, not for us
            left_out[name] = reason_of(error)
    with progress(case.title, rounds * len(built)) as tick:
        for name in in_turns(built, rounds):
            own = contestants.setdefault(name, {})
            for what, value in stretch(built[name], seconds).items():
                own.setdefault(what, []).append(value)
            tick()
    return {
        "name": case.name,
        "title": case.title,
        "parameters": case.parameters,
        "threads": fs.get_num_threads(),
        "reference": case.reference,
        "others_cores": neighbours.cores(),
        "contestants": {name: contestants[name] for name in built},
        "left_out": left_out,
    }


def main() -> None:
    measure_cases(
        __doc__,
        describe_cpu(LIBRARIES),
        loop_cases(),
        lambda case, asked: measure(case, asked.rounds, asked.stretch, not asked.no_peers),
        "--no-peers",
    )


if __name__ == "__main__":
    main()
