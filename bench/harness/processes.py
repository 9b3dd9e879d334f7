"""Measuring processes: the variables set before libraries load, and what happens if one dies."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fusedstep._bench.libraries import silenced

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "build" / "comparison"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "FUSEDSTEP_NUM_THREADS",
    "NPROC",  # XLA's pool
)

Result = dict[str, Any]


def environment(threads: int) -> dict[str, str]:
    """The environment that sets every library's number of threads before it loads."""
    own = dict.fromkeys(THREAD_VARIABLES, str(threads))
    quiet = {"DS_ACCELERATOR": "cpu", "DS_SKIP_CUDA_CHECK": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # DeepSpeed builds its kernel with the ninja beside this Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    one = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {}
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PATH": path, **quiet, **own, **one}


# The commands ------------------------------------------------------------------------------------


def options_of(doc: str, **words: str) -> argparse.ArgumentParser:
    """The options that the commands share; `words` has the help of those that differ."""
    description, _ = doc.split("\n", maxsplit=1)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=words["quick"])
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", help="cases by name, prefix or pattern; see --list"
    )
    parser.add_argument("--list", action="store_true", help="list the cases and exit")
    parser.add_argument("--rounds", type=int, help=words["rounds"])
    parser.add_argument("--stretch", type=float, help=words["stretch"])
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser


def is_selected(name: str, patterns: Sequence[str]) -> bool:
    """Whether the patterns select a case: by its name, a prefix or a wildcard."""
    return any(fnmatchcase(name, p) or name.startswith(p) for p in patterns)


def command_line() -> str:
    """What this process was started with, as one types it."""
    spec = sys.modules["__main__"].__spec__
    return " ".join([f"python -m {spec.name}" if spec else sys.argv[0], *sys.argv[1:]])


def exit_on_termination() -> None:
    """Let SIGTERM unwind the stack, as Ctrl-C does: what was set up is taken down."""

    def terminated(number: int, _: Any) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, terminated)


# Results -----------------------------------------------------------------------------------------


def empty_result(**more: Any) -> Result:
    return {"command": command_line(), "cases": [], "missing": [], **more}


def add_part(result: Result, part: Result) -> None:
    """Add what one of the measuring processes found."""
    result["cases"] += part["cases"]
    result["missing"] += part["missing"]
    if "machine" in part:
        result.setdefault("machine", part["machine"])


def write_json(path: Path, result: Result) -> None:
    path.write_text(json.dumps(result, indent=1) + "\n")


# The measuring process and its parent ------------------------------------------------------------


def measure_cases(
    doc: str | None,
    machine: Result,
    cases: Iterable[Any],
    measure: Callable[[Any, argparse.Namespace], Result],
    *flags: str,
) -> None:
    """The measuring process: writes the cases it is asked for into a file, one by one."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--stretch", type=float, required=True)
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    arguments = parser.parse_args()
    result: Result = {"machine": machine, "cases": []}
    for case in cases:
        if case.name in arguments.cases:
            with silenced():
                result["cases"].append(measure(case, arguments))
            write_json(arguments.output, result)


def run_cases(
    module: str,
    options: Sequence[str],
    names: list[str],
    part: Path,
    where: str,
    env: dict[str, str],
    prefix: Sequence[str] = (),
) -> Result:
    """Measure the cases by name, in processes that run the module's measure_cases().

    If the process dies, the case it was at is reported as missing, and the next one goes on.
    `prefix` is a command that runs the process in a setting of its own.
    """
    result: Result = {"cases": [], "missing": []}
    left = names
    while left:
        ended = subprocess.run(
            [*prefix, sys.executable, "-m", module, *options, str(part), "--cases", *left],
            env=env,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,  # where libraries greet
            check=False,
        )
        if part.exists():
            own = json.loads(part.read_text())
            part.unlink()
            add_part(result, {**own, "missing": []})
            left = left[len(own["cases"]) :]
        if left:
            died = f"{left[0]} {where}: its process ended with {ended.returncode}"
            print(died, file=sys.stderr)
            result["missing"].append(died)
            left = left[1:]
    return result
