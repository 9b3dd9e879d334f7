"""fusedstep against its peers: in the training loop, then interleaved in one process a thread count.

    python bench/compare.py [--quick] [--only CASE ...] [--rounds N] [--threads N ...] [--output DIR]

Writes results.json, report.md, ratios.png and what in_loop.py writes into the output directory, and
prints the goals.
bench/README.md tells the method and how to read it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import in_loop
from processes import HERE, ends_by_exception, environment, options_of, survivors


def arguments_of() -> argparse.Namespace:
    parser = options_of(
        __doc__,
        quick="the essential, in about four minutes",
        rounds="default: 9, quick and in the loop: 7",
        stretch="seconds, default: 0.15, quick: 0.1; in the loop: 0.3 and 0.15",
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", help="default: all, then some cases on 1; quick: all"
    )
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> dict[str, bool]:
    """The names of the cases to run, and whether each is for one thread too."""
    from cases import all_cases, is_asked

    cases = all_cases()
    if arguments.only:
        cases = [case for case in cases if is_asked(case.name, arguments.only)]
    elif arguments.quick:
        cases = [case for case in cases if case.in_quick]
    return {case.name: case.on_one_thread for case in cases}


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


def in_rows(names: dict[str, bool], arguments: argparse.Namespace) -> dict[str, Any]:
    """What is measured of steps in a row, on all thread counts."""
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
    return result


def report(result: dict[str, Any], in_the_loop: str, output: Path) -> None:
    from picture import draw
    from report import disturbed, goals_table, markdown

    (output / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (output / "report.md").write_text(markdown(result, in_the_loop))
    print(goals_table(result), disturbed(result), sep="\n\n")
    drawn = draw(result, output / "ratios.png")
    print(f"\n{output}: results.json, report.md, {drawn}")


def main() -> None:
    arguments = arguments_of()
    names, loops = chosen(arguments), in_loop.plan(arguments.quick, arguments.only)
    if arguments.list:
        print("\n".join([*in_loop.names(), *names]))
        return
    if not names and not loops:
        sys.exit(f"no case is called {' or '.join(arguments.only)}: see --list")
    ends_by_exception()
    arguments.output.mkdir(parents=True, exist_ok=True)
    missing: list[str] = []
    section = ""
    if loops:
        found = in_loop.run(loops, arguments.quick, arguments.rounds, arguments.stretch)
        missing += found["missing"]
        section = in_loop.write(found, arguments.output)
    if names:
        result = in_rows(names, arguments)
        missing += result["missing"]
        if result["cases"]:
            report(result, section, arguments.output)
    if missing:
        sys.exit(f"not measured: {'; '.join(missing)}")


if __name__ == "__main__":
    main()
