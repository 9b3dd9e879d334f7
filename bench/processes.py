"""Measuring processes: what they are told before libraries load, and what if one dies."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
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


def options_of(doc: str, **words: str) -> argparse.ArgumentParser:
    """The options that the commands share; `words` are the help of those that differ."""
    description, _ = doc.split("\n", maxsplit=1)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=words["quick"])
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", help="cases by name, prefix or pattern; see --list"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--rounds", type=int, help=words["rounds"])
    parser.add_argument("--stretch", type=float, help=words["stretch"])
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser


def measure_cases(
    doc: str | None,
    machine: Callable[[], dict[str, Any]],
    cases: Iterable[Any],
    measure: Callable[[Any, argparse.Namespace], dict[str, Any]],
    *flags: str,
) -> None:
    """The measuring process: writes the cases that it is asked for into a file, one by one."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--stretch", type=float, required=True)
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # libraries greet with warnings
    result: dict[str, Any] = {"machine": machine(), "cases": []}
    for case in cases:
        if case.name in arguments.cases:
            result["cases"].append(measure(case, arguments))
            arguments.output.write_text(json.dumps(result, indent=1))


def survivors(
    command: list[str], names: list[str], part: Path, where: str, env: dict[str, str]
) -> dict[str, Any]:
    """The cases by name, by a command that runs measure_cases().

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
