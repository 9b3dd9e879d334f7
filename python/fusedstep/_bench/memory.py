"""How much memory a measurement may take."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["available_memory"]

# What limits the memory of a container: control groups of version 2, and of version 1.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available_memory(otherwise: int) -> int:
    """Bytes that are free according to Linux, within the limit of the container.

    `otherwise` is the result where there is no telling.
    """
    found = [otherwise]
    with suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":") for line in lines)
        found = [int(fields["MemAvailable"].split()[0]) * 1024]
    for limit in LIMITS:
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(int(Path(limit).read_text(encoding="ascii")))
    return min(found)
