"""The configuration of this installation: instruction set, threads, versions."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, overload

import numpy as np

from fusedstep import _core
from fusedstep._checks import as_integer
from fusedstep._messages import shown
from fusedstep._spaces.choose import describe_cuda

__all__ = [
    "available_isas",
    "get_num_threads",
    "isa",
    "num_threads",
    "set_num_threads",
    "show_config",
]


def isa() -> str:
    """The instruction set that steps use.

    It is the best one of this CPU, or the one that the environment variable ``FUSEDSTEP_ISA`` named
    when the package was imported. All give the same bits.
    """
    return _core.isa()


def available_isas() -> list[str]:
    """The instruction sets that this CPU supports, in ascending order."""
    return _core.available_isas()


def get_num_threads() -> int:
    """The maximum number of threads of a step.

    It is the number passed to :func:`set_num_threads`; otherwise that of the environment variable
    ``FUSEDSTEP_NUM_THREADS``; otherwise the number of CPUs that this process may use (by affinity
    and cgroup quota, checked once per second), or fewer if ``OMP_NUM_THREADS`` or threadpoolctl
    limit it.

    A small step uses fewer threads, and so does one that was recently faster on fewer because the
    cores were busy: steps are timed, and occasionally one uses half or twice as many threads.
    """
    return _core.thread_limit()


def set_num_threads(n: int) -> None:
    """Set the maximum number of threads of a step, for the process. Results do not depend on it.

    Parameters
    ----------
    n
        From 1 to 4096.

    Raises
    ------
    TypeError, ValueError
        `n` is not an integer from 1 to 4096.
    """
    _core.set_thread_limit(as_integer("num_threads", n, 1, 4096))


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """``with num_threads(n):`` limits steps to `n` threads in the block, for the whole process."""
    before = _core.requested_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        _core.set_thread_limit(before)


def _config() -> dict[str, Any]:
    return {
        "fusedstep": _core.__version__,
        "isa": isa(),
        "available_isas": available_isas(),
        "num_threads": get_num_threads(),
        "threading": _core.threading(),
        "openmp": _core.has_openmp(),
        "cpu_count": os.cpu_count(),
        "compiler": _core.compiler(),
        "cuda": describe_cuda(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "environment": {
            name: os.environ[name]
            for name in (
                "FUSEDSTEP_ISA",
                "FUSEDSTEP_NUM_THREADS",
                "FUSEDSTEP_THREADING",
                "OMP_NUM_THREADS",
            )
            if name in os.environ
        },
    }


@overload
def show_config(mode: Literal["text"] = "text") -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...
def show_config(mode: Literal["text", "dict"] = "text") -> dict[str, Any] | None:
    """Print the configuration of this installation, or return it.

    Parameters
    ----------
    mode : {"text", "dict"}
        ``"text"`` prints a table, ``"dict"`` returns a dictionary that can be written as JSON.
    """
    config = _config()
    if mode == "dict":
        return config
    if mode != "text":
        raise ValueError(f"mode: expected 'text' or 'dict', got {shown(mode)}")
    for name, value in config.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k}={v}" for k, v in value.items()) or "-"
        elif isinstance(value, list):
            value = ", ".join(value)
        sys.stdout.write(f"{name + ':':<16}{value}\n")
    return None
