"""fusedstep against its peers, interleaved in one process a thread count.

    python bench/compare.py [--quick] [--only CASE ...] [--rounds N] [--threads N ...] [--output DIR]

Writes results.json, report.md and ratios.png into the output directory, and prints the goals.
bench/README.md tells the method and how to read it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatchcase
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


def arguments_of() -> argparse.Namespace:
    description, _ = __doc__.split("\n", maxsplit=1)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="the essential, in about two minutes")
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", help="cases by name, prefix or pattern; see --list"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--rounds", type=int, help="default: 9, quick: 7")
    parser.add_argument(
        "--threads", type=int, nargs="+", help="default: all, then some cases on 1; quick: all"
    )
    parser.add_argument("--stretch", type=float, help="seconds, default: 0.15, quick: 0.1")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> dict[str, bool]:
    """The names of the cases to run, and whether each is for one thread too."""
    from cases import all_cases

    cases = all_cases()
    if arguments.only:
        patterns = arguments.only
        cases = [
            case
            for case in cases
            if any(fnmatchcase(case.name, p) or case.name.startswith(p) for p in patterns)
        ]
    elif arguments.quick:
        cases = [case for case in cases if case.in_quick]
    if not cases:
        sys.exit(f"no case is called {' or '.join(arguments.only)}: see --list")
    return {case.name: case.on_one_thread for case in cases}


def environment(threads: int) -> dict[str, str]:
    """What tells every library its threads before it loads."""
    own = dict.fromkeys(THREAD_VARIABLES, str(threads))
    quiet = {"DS_ACCELERATOR": "cpu", "DS_SKIP_CUDA_CHECK": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # DeepSpeed builds its kernel with the ninja beside this Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    one = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {}
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PATH": path, **quiet, **own, **one}


def survivors(
    command: list[str], names: list[str], part: Path, where: str, **process: Any
) -> dict[str, Any]:
    """The cases by name, by a command that writes them into a file one by one.

    One whose process dies is named as missing, and the next goes on.
    """
    result: dict[str, Any] = {"cases": [], "missing": []}
    left = names
    while left:
        ended = subprocess.run(
            [*command, str(part), "--cases", *left],
            stdout=subprocess.DEVNULL,  # where libraries greet
            check=False,
            **process,
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


def measured(
    threads: int, names: list[str], arguments: argparse.Namespace, part: Path
) -> dict[str, Any]:
    rounds = arguments.rounds or (7 if arguments.quick else 9)
    stretch = arguments.stretch or (0.1 if arguments.quick else 0.15)
    print(f"{len(names)} cases, {rounds} rounds, {threads} threads", file=sys.stderr)
    command = [sys.executable, str(HERE / "measure.py")]
    command += ["--rounds", str(rounds), "--stretch", str(stretch)]
    command += ["--quick"] * arguments.quick
    return survivors(command, names, part, f"on {threads} threads", env=environment(threads))


def main() -> None:
    arguments = arguments_of()
    names = chosen(arguments)
    if arguments.list:
        print("\n".join(names))
        return
    everything = len(os.sched_getaffinity(0))
    counts = arguments.threads or ([everything] if arguments.quick else [everything, 1])
    start = time.time()
    result: dict[str, Any] = {"command": " ".join(sys.argv), "cases": [], "missing": []}
    with tempfile.TemporaryDirectory() as folder:
        for threads in dict.fromkeys(counts):
            own = [n for n, one in names.items() if one or arguments.threads or threads != 1]
            if own:
                part = measured(threads, own, arguments, Path(folder) / "part.json")
                result["cases"] += part["cases"]
                result["missing"] += part["missing"]
                if "machine" in part:
                    result.setdefault("machine", part["machine"])
    result["minutes"] = (time.time() - start) / 60
    if not result["cases"]:
        sys.exit("nothing was measured")

    from picture import draw
    from report import disturbed, goals_table, markdown

    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.output / "report.md").write_text(markdown(result))
    print(goals_table(result), disturbed(result), sep="\n\n")
    drawn = draw(result, arguments.output / "ratios.png")
    print(f"\n{arguments.output}: results.json, report.md, {drawn}")
    if result["missing"]:
        sys.exit(f"not measured: {'; '.join(result['missing'])}")


if __name__ == "__main__":
    main()
