"""Measuring processes: what they are told before libraries load, and what if one dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "build" / "comparison"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "FUSEDSTEP_NUM_THREADS",
    "NPROC",  # XLA's pool
)


def environment(threads: int) -> dict[str, str]:
    """What tells every library its threads before it loads."""
    own = dict.fromkeys(THREAD_VARIABLES, str(threads))
    quiet = {"DS_ACCELERATOR": "cpu", "DS_SKIP_CUDA_CHECK": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # DeepSpeed builds its kernel with the ninja beside this Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    one = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {}
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PATH": path, **quiet, **own, **one}


def survivors(
    command: list[str], names: list[str], part: Path, where: str, env: dict[str, str]
) -> dict[str, Any]:
    """The cases by name, by a command that writes them into a file one by one.

    One whose process dies is named as missing, and the next goes on.
    """
    result: dict[str, Any] = {"cases": [], "missing": []}
    left = names
    while left:
        ended = subprocess.run(
            [*command, str(part), "--cases", *left],
            env=env,
            stdout=subprocess.DEVNULL,  # where libraries greet
            check=False,
        )
        if part.exists():
            own = json.loads(part.read_text())
            part.unlink()
            result.setdefault("machine", own["machine"])
            result["cases"] += own["cases"]
            left = left[len(own["cases"]) :]
        if left:
            died = f"{left[0]} {where}: its process ended with {ended.returncode}"
            print(died, file=sys.stderr)
            result["missing"].append(died)
            left = left[1:]
    return result


def ends_by_exception() -> None:
    """A termination from outside unwinds, as Ctrl-C does: what was set up is taken down."""

    def terminated(number: int, _: Any) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, terminated)
