"""The measuring process: one thread count, some cases, one JSON file that grows case by case.

compare.py starts it, since thread counts and XLA's options are read when libraries load.
"""

import os
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from contestants import ROOFLINE, Arrays
from gate import admit, reason_of
from processes import measure_cases
from timing import Timed, progress, rounds

import fusedstep as fs
from cases import Case, all_cases, last_level_cache

LIBRARIES = [
    "numpy",
    "numba",
    "torch",
    "deepspeed",
    "jax",
    "optax",
    "thinc",
    "torchao",
    "bitsandbytes",
]


class Field:
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

    def build(self, name: str) -> Timed | None:
        """The contestant, warm, or None with the reason among those left out."""
        place = self._case.placement.get(name)
        grads = self._gradients(place)
        try:
            params = [(place or as_numpy_allocates)(g.size) for g in grads]
            for p, g in zip(params, grads, strict=True):
                np.copyto(p, g)  # any numbers of the order of 1
            contestant = self.makers[name].make(params, grads)
            if self._sweep is not None:
                contestant = contestant._replace(refresh=self._evicting(contestant.refresh))
            return Timed(contestant)
        except Exception as error:  # noqa: BLE001 - whatever stops an opponent is for the report, not for us
            self.left_out[name] = reason_of(error)
            return None

    def _evicting(self, before: Callable[[], Any] | None) -> Callable[[], None]:
        def refresh() -> None:
            if before:
                before()
            np.negative(self._sweep, out=self._sweep)

        return refresh


def as_numpy_allocates(size: int) -> np.ndarray:
    return np.empty(size, np.float32)


def available_memory() -> int:
    text = Path("/proc/meminfo")
    if not text.exists():
        return 8 << 30
    fields = dict(line.split(":") for line in text.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


class Neighbours:
    """How many cores others kept busy since the construction: processes, or guests of the host."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), self._busy()

    @staticmethod
    def _busy() -> float:
        stat = Path("/proc/stat")
        if not stat.exists():
            return 0.0
        user, nice, system, _, _, *rest = map(int, stat.read_text().split("\n")[0].split()[1:9])
        everybody = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
        return everybody - time.process_time()

    def cores(self) -> float:
        start, busy = self._start
        return max(0.0, (self._busy() - busy) / (time.perf_counter() - start))


def measure(case: Case, count: int, at_least: float, quick: bool) -> dict[str, Any]:
    """Everybody in turn, or pairs in turn where everybody at once has no room."""
    field = Field(case, quick)
    names = list(field.makers)
    # Parameters, state, and what some allocate beside: 16 bytes an element.
    together = 16 * sum(case.sizes) * len(names) < 0.6 * available_memory()
    always = [name for name in (case.reference, ROOFLINE) if name in names]
    others = [name for name in names if name not in always]
    groups = [others] if together else [[name] for name in others]
    if not together:
        count = min(count, 7)  # ours run in every pair
    times: dict[str, dict[str, list[float]]] = {}
    neighbours = Neighbours()
    with progress(case.title, count * sum(len(always) + len(group) for group in groups)) as tick:
        constant = {name: timed for name in always if (timed := field.build(name))}
        for group in groups:
            built = {name: timed for name in group if (timed := field.build(name))}
            found = rounds({**constant, **built}, count, at_least, tick)
            for name, seconds in found.items():
                entry = times.setdefault(name, {"seconds": [], "reference": []})
                entry["seconds"] += seconds
                entry["reference"] += found[case.reference]
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
        "left_out": field.left_out,
    }


def machine() -> dict[str, Any]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "not installed"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "last_level_cache": last_level_cache(),
        "load_at_start": os.getloadavg()[0],
        "isa": fs.isa(),
        "fusedstep": fs.__version__,
        "versions": versions,
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    measure_cases(
        __doc__,
        machine,
        all_cases(),
        lambda case, asked: measure(case, asked.rounds, asked.stretch, asked.quick),
        "--quick",
    )


if __name__ == "__main__":
    main()
