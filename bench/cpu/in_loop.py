"""fusedstep and its peers where people run them: in a training loop, and beside busy cores.

    python -m bench.cpu.in_loop [--quick] [--only CASE ...] [--settings NAME ...] [--output DIR]

Writes in_loop.json and in_loop.md into the output directory, and prints the goals and summaries.
bench/README.md explains the method and how to read it.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from ..harness.processes import (
    THREAD_VARIABLES,
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
from .surroundings import NotPermittedError, surroundings

ROUNDS = 7
QUICK_SETTINGS = ("quiet", "busy1")


def arguments_of() -> argparse.Namespace:
    from .loop_cases import SETTINGS

    parser = options_of(
        __doc__,
        quick="the essential cases, in about two minutes",
        rounds=f"default: {ROUNDS}",
        stretch="seconds, default: 0.3, quick: 0.15",
    )
    parser.add_argument(
        "--settings",
        nargs="+",
        choices=SETTINGS,
        help=f"default: all; quick: {' '.join(QUICK_SETTINGS)}",
    )
    parser.add_argument("--peers", choices=("all", "none"), default="all", help="none: NumPy alone")
    return parser.parse_args()


def names() -> list[str]:
    from .loop_cases import loop_cases

    return [case.name for case in loop_cases()]


def plan(
    quick: bool, only: list[str] | None, settings: list[str] | None = None
) -> dict[str, list[str]]:
    """The cases by setting. Cases given by --only run in all the settings given."""
    from .loop_cases import SETTINGS, loop_cases

    chosen: dict[str, list[str]] = {}
    for setting in settings or (QUICK_SETTINGS if quick else SETTINGS):
        for case in loop_cases():
            usual = case.quick if quick and not only else case.settings
            asked = not only or is_selected(case.name, only)
            if asked and (setting in usual or (only and settings)):
                chosen.setdefault(setting, []).append(case.name)
    return chosen


def environment_in(setting: str) -> dict[str, str]:
    """All threads for all. On one core nothing is set: every library counts the cores itself."""
    own = environment(len(os.sched_getaffinity(0)))
    if setting == "one-core":
        return {name: value for name, value in own.items() if name not in THREAD_VARIABLES}
    return own


def measured(
    setting: str, cases: list[str], rounds: int, seconds: float, with_peers: bool
) -> Result:
    if setting == "half-core":
        seconds *= 2  # it comes in slices of 50 ms, with pauses as long between them
    print(f"{setting}: {len(cases)} cases, {rounds} rounds", file=sys.stderr)
    options = ["--rounds", str(rounds), "--stretch", str(seconds)]
    options += ["--no-peers"] * (not with_peers)
    with tempfile.TemporaryDirectory() as folder, surroundings(setting) as prefix:
        part = Path(folder) / "part.json"
        env = environment_in(setting)
        module = "bench.cpu.loop_measure"
        result = run_cases(module, options, cases, part, setting, env, prefix)
    for case in result["cases"]:
        case["setting"] = setting
    return result


def run(
    chosen: dict[str, list[str]],
    quick: bool,
    rounds: int | None = None,
    stretch: float | None = None,
    with_peers: bool = True,
) -> Result:
    start = time.time()
    result = empty_result(skipped=[])
    seconds = stretch or (0.15 if quick else 0.3)
    for setting, cases in chosen.items():
        try:
            part = measured(setting, cases, rounds or ROUNDS, seconds, with_peers)
        except NotPermittedError as error:
            print(error, file=sys.stderr)
            result["skipped"].append(f"{setting} ({error})")
            continue
        add_part(result, part)
    result["minutes"] = (time.time() - start) / 60
    return result


def write(result: Result, output: Path) -> str:
    """Write the files and print the summary. Returns the report; empty if nothing was measured."""
    if not result["cases"]:
        return ""
    from .loop_report import markdown, short

    output.mkdir(parents=True, exist_ok=True)
    text = markdown(result)
    write_json(output / "in_loop.json", result)
    (output / "in_loop.md").write_text(text)
    print(short(result))
    print(f"\n{output}: in_loop.json, in_loop.md\n")
    return text


def main() -> None:
    arguments = arguments_of()
    if arguments.list:
        print("\n".join(names()))
        return
    chosen = plan(arguments.quick, arguments.only, arguments.settings)
    if not chosen:
        sys.exit("there is no such case in these settings: see --list")
    exit_on_termination()
    with_peers = arguments.peers == "all"
    result = run(chosen, arguments.quick, arguments.rounds, arguments.stretch, with_peers)
    write(result, arguments.output)
    if not result["cases"] or result["missing"]:
        sys.exit(f"not measured: {'; '.join(result['missing'] + result['skipped'])}")


if __name__ == "__main__":
    main()
