"""The measuring process of compare.py: one thread count, some cases, one JSON file that grows.

It is a process of its own because libraries read thread counts and XLA's options when they load.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import Arrays
from fusedstep._bench.libraries import reason_of
from fusedstep._bench.memory import available_memory
from fusedstep._bench.timing import Timed, rounds

from ..harness.gate import admit
from ..harness.machine import Neighbours, describe_cpu, last_level_cache
from ..harness.processes import measure_cases
from ..harness.progress import progress
from ..harness.results import CaseResult
from .cases import Case, all_cases
from .names import ROOFLINE

LIBRARIES = (
    "numpy",
    "numba",
    "torch",
    "deepspeed",
    "jax",
    "optax",
    "thinc",
    "torchao",
    "bitsandbytes",
)


class Contest:
    """The arrays of one case, and its contestants as they are built on them."""

    def __init__(self, case: Case, quick: bool) -> None:
        self._case = case
        self._grads: dict[Any, Arrays] = {}
        self._sweep = np.ones(last_level_cache(), np.float32) if case.evict else None
        self.makers, self.left_out = admit(case.makers, case.exact, len(case.sizes), quick)

    def _gradients(self, place: Callable[[int], np.ndarray] | None) -> Arrays:
        if place not in self._grads:
            rng = np.random.default_rng(1)
            own = [(place or as_numpy_allocates)(size) for size in self._case.sizes]
            for array in own:
                rng.standard_normal(out=array, dtype=np.float32)
            self._grads[place] = own
        return self._grads[place]

    def build(self, names: list[str]) -> dict[str, Timed]:
        """The contestants, warmed up; one that fails is left out, with the reason."""
        built = {}
        for name in names:
            try:
                built[name] = self._build(name)
            except Exception as error:  # noqa: BLE001 - whatever stops an opponent is for the report, not for us
                self.left_out[name] = reason_of(error)
        return built

    def _build(self, name: str) -> Timed:
        place = self._case.placement.get(name)
        grads = self._gradients(place)
        params = [(place or as_numpy_allocates)(g.size) for g in grads]
        for p, g in zip(params, grads, strict=True):
            np.copyto(p, g)  # any numbers of the order of 1
        contestant = self.makers[name].make(params, grads)
        if self._sweep is not None:
            contestant = contestant._replace(refresh=self._evicting(contestant.refresh))
        return Timed(contestant)

    def _evicting(self, before: Callable[[], Any] | None) -> Callable[[], None]:
        def refresh() -> None:
            if before:
                before()
            np.negative(self._sweep, out=self._sweep)

        return refresh


def as_numpy_allocates(size: int) -> np.ndarray:
    return np.empty(size, np.float32)


def measure(case: Case, count: int, seconds: float, quick: bool) -> CaseResult:
    """All contestants interleaved, or in pairs with ours if there is no room for all at once."""
    contest = Contest(case, quick)
    names = list(contest.makers)
    # Parameters, state, and what some allocate beside: 16 bytes per element.
    together = 16 * sum(case.sizes) * len(names) < 0.6 * available_memory(otherwise=8 << 30)
    always = [name for name in (case.reference, ROOFLINE) if name in names]
    others = [name for name in names if name not in always]
    groups = [others] if together else [[name] for name in others]
    if not together:
        count = min(count, 7)  # ours run in every pair
    times: dict[str, dict[str, list[float]]] = {}
    neighbours = Neighbours()
    with progress(case.title, count * sum(len(always) + len(group) for group in groups)) as tick:
        constant = contest.build(always)
        for group in groups:
            found = rounds({**constant, **contest.build(group)}, count, seconds, tick)
            for name, own in found.items():
                entry = times.setdefault(name, {"seconds": [], "reference": []})
                entry["seconds"] += [stretch.median for stretch in own]
                entry["reference"] += [stretch.median for stretch in found[case.reference]]
    return {
        "name": case.name,
        "title": case.title,
        "tensors": len(case.sizes),
        "parameters": sum(case.sizes),
        "threads": fs.get_num_threads(),
        "reference": case.reference,
        "others_cores": neighbours.cores(),
        "interleaved": "all contestants" if together else "each opponent with ours in pairs",
        "contestants": times,
        "left_out": contest.left_out,
    }


def main() -> None:
    measure_cases(
        __doc__,
        describe_cpu(LIBRARIES),
        all_cases(),
        lambda case, asked: measure(case, asked.rounds, asked.stretch, asked.quick),
        "--quick",
    )


if __name__ == "__main__":
    main()
