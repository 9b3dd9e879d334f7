"""The machine: what it is, how much memory is free, and whether other programs are running."""

import os
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import fusedstep as fs


def version_of(*distributions: str) -> str:
    """The version of the first of them that is installed."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"


def last_level_cache() -> int:
    """Bytes, according to Linux; 32 MiB elsewhere."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(p.read_text().strip().rstrip("K")) * 1024 for p in sizes), default=32 << 20)


def describe_cpu(libraries: Iterable[str]) -> dict[str, Any]:
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
        "versions": {name: version_of(name) for name in libraries},
        "date": time.strftime("%Y-%m-%d"),
    }


class Neighbours:
    """How many cores other processes, or guests of the host, have kept busy since construction."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), self._busy()

    @staticmethod
    def _busy() -> float:
        stat = Path("/proc/stat")
        if not stat.exists():
            return 0.0
        user, nice, system, _, _, *rest = map(int, stat.read_text().split("\n")[0].split()[1:9])
        everyone = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
        return everyone - time.process_time()

    def cores(self) -> float:
        start, busy = self._start
        return max(0.0, (self._busy() - busy) / (time.perf_counter() - start))
