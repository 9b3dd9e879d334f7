"""fusedstep against its peers: in training loops, then back to back, interleaved in one process.

    python -m bench.cpu.compare [--quick] [--only CASE ...] [--rounds N] [--threads N ...] [--output DIR]

Writes results.json, report.md, ratios.png and what in_loop.py writes into the output directory, and
prints the goals. bench/README.md explains the method and how to read it.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..harness.processes import (
    Result,
    add_part,
    empty_result,
    environment,
    exit_on_termination,
    is_selected,
    options_of,
    run_cases,
    write_json,
)
from ..harness.report import paragraphs
from . import in_loop

if TYPE_CHECKING:
    from .cases import Case


def arguments_of() -> argparse.Namespace:
    parser = options_of(
        __doc__,
        quick="the essential cases, in about four minutes",
        rounds="default: 9, quick and in the loop: 7",
        stretch="seconds, default: 0.15, quick: 0.1; in the loop: 0.3 and 0.15",
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", help="default: all, then some cases on 1; quick: all"
    )
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> "list[Case]":
    from .cases import all_cases

    cases = all_cases()
    if arguments.only:
        cases = [case for case in cases if is_selected(case.name, arguments.only)]
    elif arguments.quick:
        cases = [case for case in cases if case.in_quick]
    return cases


def runs_on(case: "Case", threads: int, arguments: argparse.Namespace) -> bool:
    """Whether a case is run on so many threads: on those asked for, or else where it belongs."""
    if arguments.threads:
        return True
    if threads == 1:
        return case.on_one_thread and not (arguments.quick and case.on_all_threads)
    return case.on_all_threads


def measured(threads: int, names: list[str], arguments: argparse.Namespace, part: Path) -> Result:
    rounds = arguments.rounds or (7 if arguments.quick else 9)
    stretch = arguments.stretch or (0.1 if arguments.quick else 0.15)
    print(f"{len(names)} cases, {rounds} rounds, {threads} threads", file=sys.stderr)
    options = ["--rounds", str(rounds), "--stretch", str(stretch)]
    options += ["--quick"] * arguments.quick
    where = f"on {threads} threads"
    return run_cases("bench.cpu.measure", options, names, part, where, environment(threads))


def back_to_back(cases: "list[Case]", arguments: argparse.Namespace) -> Result:
    """Back-to-back steps, on all thread counts."""
    everything = len(os.sched_getaffinity(0))
    counts = arguments.threads or [everything, 1]
    start = time.time()
    result = empty_result()
    with tempfile.TemporaryDirectory() as folder:
        for threads in dict.fromkeys(counts):
            own = [case.name for case in cases if runs_on(case, threads, arguments)]
            if own:
                add_part(result, measured(threads, own, arguments, Path(folder) / "part.json"))
    result["minutes"] = (time.time() - start) / 60
    return result


def report(result: Result, in_the_loop: str, output: Path) -> None:
    from .narrow_report import narrow_table
    from .picture import draw
    from .report import disturbed, goals_table, markdown

    write_json(output / "results.json", result)
    (output / "report.md").write_text(markdown(result, in_the_loop))
    print(paragraphs(goals_table(result), narrow_table(result["cases"]), disturbed(result)))
    drawn = draw(result, output / "ratios.png")
    print(f"\n{output}: results.json, report.md, {drawn}")


def main() -> None:
    arguments = arguments_of()
    cases, loops = chosen(arguments), in_loop.plan(arguments.quick, arguments.only)
    if arguments.list:
        print("\n".join([*in_loop.names(), *(case.name for case in cases)]))
        return
    if not cases and not loops:
        sys.exit(f"no case is called {' or '.join(arguments.only)}: see --list")
    exit_on_termination()
    arguments.output.mkdir(parents=True, exist_ok=True)
    missing: list[str] = []
    section = ""
    if loops:
        found = in_loop.run(loops, arguments.quick, arguments.rounds, arguments.stretch)
        missing += found["missing"]
        section = in_loop.write(found, arguments.output)
    if cases:
        result = back_to_back(cases, arguments)
        missing += result["missing"]
        if result["cases"]:
            report(result, section, arguments.output)
    if missing:
        sys.exit(f"not measured: {'; '.join(missing)}")


if __name__ == "__main__":
    main()
