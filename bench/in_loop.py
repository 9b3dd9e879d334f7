"""fusedstep and its peers where people run them: in a training loop, and beside busy cores.

    python bench/in_loop.py [--quick] [--only CASE ...] [--settings NAME ...] [--output DIR]

Writes in_loop.json and in_loop.md into the output directory, and prints the goals and summaries.
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

from compare import HERE, OUTPUT, THREAD_VARIABLES, environment, survivors
from surroundings import NotPermittedError, ends_by_exception, surroundings


def arguments_of() -> argparse.Namespace:
    from loop_cases import SETTINGS

    description, _ = __doc__.split("\n", maxsplit=1)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="the essential, in about two minutes")
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", help="cases by name, prefix or pattern; see --list"
    )
    parser.add_argument(
        "--settings", nargs="+", choices=SETTINGS, help="default: all; quick: quiet, busy1"
    )
    parser.add_argument("--peers", choices=("all", "none"), default="all", help="none: NumPy alone")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stretch", type=float, help="seconds, default: 0.3, quick: 0.15")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser.parse_args()


def plan(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The cases by setting. Those that are named run in all the settings that are named."""
    from loop_cases import SETTINGS, is_asked, loop_cases

    chosen: dict[str, list[str]] = {}
    for setting in SETTINGS:
        if setting not in (arguments.settings or SETTINGS):
            continue
        for case in loop_cases():
            usual = case.quick if arguments.quick and not arguments.only else case.settings
            if arguments.only and not is_asked(case.name, arguments.only):
                continue
            if setting in usual or (arguments.only and arguments.settings):
                chosen.setdefault(setting, []).append(case.name)
    return chosen


def environment_in(setting: str) -> dict[str, str]:
    """All threads for everybody; who is bound to a core counts the cores himself."""
    own = environment(len(os.sched_getaffinity(0)))
    if setting == "one-core":
        return {name: value for name, value in own.items() if name not in THREAD_VARIABLES}
    return own


def measured(setting: str, names: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    seconds = arguments.stretch or (0.15 if arguments.quick else 0.3)
    if setting == "half-core":
        seconds *= 3  # it comes in slices of 50 ms, with as much of nothing between them
    command = [sys.executable, str(HERE / "loop_measure.py")]
    command += ["--rounds", str(arguments.rounds), "--stretch", str(seconds)]
    command += ["--no-peers"] * (arguments.peers == "none")
    print(f"{setting}: {len(names)} cases, {arguments.rounds} rounds", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory() as folder, surroundings(setting) as enter:
            part = Path(folder) / "part.json"
            env = environment_in(setting)
            result = survivors(command, names, part, setting, env=env, preexec_fn=enter)
    except NotPermittedError as error:
        print(error, file=sys.stderr)
        return {"cases": [], "missing": [f"{setting} ({error})"]}
    for case in result["cases"]:
        case["setting"] = setting
    return result


def main() -> None:
    arguments = arguments_of()
    if arguments.list:
        from loop_cases import loop_cases

        print("\n".join(case.name for case in loop_cases()))
        return
    chosen = plan(arguments)
    if not chosen:
        sys.exit(f"no case is called {' or '.join(arguments.only)} in these settings: see --list")
    ends_by_exception()
    start = time.time()
    result: dict[str, Any] = {"command": " ".join(sys.argv), "cases": [], "missing": []}
    for setting, names in chosen.items():
        part = measured(setting, names, arguments)
        result["cases"] += part["cases"]
        result["missing"] += part["missing"]
        if "machine" in part:
            result.setdefault("machine", part["machine"])
    result["minutes"] = (time.time() - start) / 60
    if not result["cases"]:
        sys.exit(f"nothing was measured: {'; '.join(result['missing'])}")

    from loop_report import markdown, short

    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "in_loop.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.output / "in_loop.md").write_text(markdown(result))
    print(short(result))
    print(f"\n{arguments.output}: in_loop.json, in_loop.md")


if __name__ == "__main__":
    main()
