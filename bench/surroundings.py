"""What is beside a measuring process, and what is left to it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

# Keeps a core busy, and ends by itself should its parent die without ending it.
BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n for _ in range(10**6): pass"
CGROUPS = Path("/sys/fs/cgroup")
PERIOD = 100_000  # µs, the kernel's own

# Called in the new process before its program starts.
Enter = Callable[[], None]


class NotPermittedError(Exception):
    """This machine has no such setting for us."""


def ends_by_exception() -> None:
    """A termination from outside unwinds, as Ctrl-C does, and what was set up is taken down."""

    def terminated(number: int, _: Any) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, terminated)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def _own_group() -> tuple[Path, dict[str, str]]:
    """The group that this process is in, and what limits a child of it to half a core."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    paths = {name: path for _, names, path in lines for name in names.split(",")}
    if "cpu" in paths:  # version 1
        quota = {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(PERIOD // 2)}
        return CGROUPS / "cpu" / paths["cpu"].lstrip("/"), quota
    return CGROUPS / paths[""].lstrip("/"), {"cpu.max": f"{PERIOD // 2} {PERIOD}"}


def _remove(group: Path) -> None:
    for _ in range(50):
        try:
            group.rmdir()
        except OSError:  # the last of its processes is still ending
            time.sleep(0.1)
        else:
            return
    print(f"{group} is still there: rmdir it", file=sys.stderr)


@contextmanager
def half_core() -> Iterator[Enter]:
    """A control group below the own one."""
    group = None
    try:
        parent, limits = _own_group()
        group = parent / f"fusedstep-bench-{os.getpid()}"
        group.mkdir()
    except (OSError, KeyError) as error:
        raise NotPermittedError(f"no control group of half a core: {error}") from None
    try:
        try:
            for name, value in limits.items():
                (group / name).write_text(value)
        except OSError as error:
            raise NotPermittedError(f"no control group of half a core: {error}") from None
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None
    finally:
        _remove(group)


def to_one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@contextmanager
def surroundings(setting: str) -> Iterator[Enter | None]:
    """One of loop_cases.SETTINGS. NotPermittedError where the machine does not allow it."""
    if setting == "half-core":
        with half_core() as enter:
            yield enter
    elif setting == "one-core":
        yield to_one_core
    else:
        with busy({"quiet": 0, "busy1": 1, "busy2": 2}[setting]):
            yield None
