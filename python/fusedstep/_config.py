"""What this installation runs on: instruction set, threads, versions."""

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
    """The instruction set that steps run on.

    The best that this CPU has, or what the environment variable ``FUSEDSTEP_ISA`` named when the
    package was imported. All give the same bits.
    """
    return _core.isa()


def available_isas() -> list[str]:
    """The instruction sets that this CPU can run, in rising order."""
    return _core.available_isas()


def get_num_threads() -> int:
    """The most threads that a step uses.

    What :func:`set_num_threads` said; else the environment variable ``FUSEDSTEP_NUM_THREADS``;
    else the CPUs that this process may use (affinity and cgroup quotas, looked at once a second), or
    fewer where ``OMP_NUM_THREADS`` or threadpoolctl say so.

    A small step uses fewer, and so does one that has lately been faster on fewer, because the cores
    were busy: steps are timed, and now and then some are made on half or twice as many threads.
    """
    return _core.thread_limit()


def set_num_threads(n: int) -> None:
    """Let steps use at most `n` threads, in the whole process. Results do not depend on it.

    Raises
    ------
    TypeError, ValueError
        `n` is no integer, or not from 1 to 4096.
    """
    _core.set_thread_limit(as_integer("num_threads", n, 1, 4096))


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """``with num_threads(n):`` lets steps use at most `n` threads inside, in the whole process."""
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
    """Print what this installation runs on, or return it.

    Parameters
    ----------
    mode : {"text", "dict"}
        ``"text"`` prints a table, ``"dict"`` returns a dictionary that JSON can hold.
    """
    config = _config()
    if mode == "dict":
        return config
    if mode != "text":
        raise ValueError(f"mode: expected 'text' or 'dict', got {mode!r}")
    for name, value in config.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k}={v}" for k, v in value.items()) or "-"
        elif isinstance(value, list):
            value = ", ".join(value)
        sys.stdout.write(f"{name + ':':<16}{value}\n")
    return None
