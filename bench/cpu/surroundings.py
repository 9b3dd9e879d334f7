"""The settings of a measuring process: busy cores beside it, and cores that it may not use."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

# Keeps a core busy, and ends by itself if its parent dies without ending it.
BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n for _ in range(10**6): pass"
CGROUPS = Path("/sys/fs/cgroup")
PERIOD = 100_000  # µs, the kernel's own

# What a command is prefixed with to run in a setting.
Prefix = list[str]


class NotPermittedError(Exception):
    """This machine does not allow the setting."""


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never pause."""
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def on_one_core() -> Prefix:
    first = min(os.sched_getaffinity(0))
    bind = (
        f"import os, sys\nos.sched_setaffinity(0, {{{first}}})\nos.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", bind]


def _limited_group() -> tuple[Path, dict[str, str]]:
    """A new group below this process's, and the values that limit it to half a core."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    paths = {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}
    name = f"fusedstep-bench-{os.getpid()}"
    if "cpu" in paths:  # version 1
        quota = {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(PERIOD // 2)}
        return CGROUPS / "cpu" / paths["cpu"] / name, quota
    return CGROUPS / paths[""] / name, {"cpu.max": f"{PERIOD // 2} {PERIOD}"}


def _remove(group: Path) -> None:
    for _ in range(50):
        try:
            group.rmdir()
        except OSError:  # the last of its processes is still ending
            time.sleep(0.1)
        else:
            return
    print(f"{group} is still there: remove it with rmdir", file=sys.stderr)


@contextmanager
def in_half_a_core() -> Iterator[Prefix]:
    """A control group of its own, which is removed at the end."""
    with ExitStack() as stack:
        try:
            group, limits = _limited_group()
            group.mkdir()
            stack.callback(_remove, group)
            for name, value in limits.items():
                (group / name).write_text(value)
            enter = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / "cgroup.procs")]
            subprocess.run([*enter, "true"], check=True, capture_output=True)
        except (OSError, KeyError, subprocess.SubprocessError) as error:
            raise NotPermittedError(f"no control group of half a core here: {error}") from None
        yield enter


@contextmanager
def surroundings(setting: str) -> Iterator[Prefix]:
    """One of loop_cases.SETTINGS. NotPermittedError where the machine does not allow it."""
    if setting == "half-core":
        with in_half_a_core() as prefix:
            yield prefix
    elif setting == "one-core":
        yield on_one_core()
    else:
        with busy({"quiet": 0, "busy1": 1, "busy2": 2}[setting]):
            yield []
